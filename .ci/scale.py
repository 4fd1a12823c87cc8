#!/usr/bin/env python3
"""How a catalogue grows: bytes, memory, start-up and searches at 10,000 studies and more, and what follows for a node.

    scale.py measure [--studies 1000000] [--steps 4] [--keep FOLDER] [--json FILE]
    scale.py project --json FILE [--instances 1e7 1e9] [--instances-per-study 300] [--native-kb 350] ...

`measure` stores studies of one 64×64 image each and stops at every step to measure. With --keep the archive stays in
that folder, and a run that was interrupted goes on there. `project` computes from the result of a run what larger
catalogues need; it measures nothing, and says of each figure from which measured ones it follows. benches/scale.md holds
both and says how to read them.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
import tempfile
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

import harness  # noqa: E402

from catalogue import Catalogue  # noqa: E402

SIDE = 64
QUERIES = {
    "exact": lambda call, studies: {"PatientID": f"P{(call * 7919) % studies:07d}"},
    "prefix": lambda call, studies: {"PatientName": "KELLER^A*", "limit": 20},
    "infix": lambda call, studies: {"PatientName": "*AURE*", "limit": 20},
    "rare infix": lambda call, studies: {"PatientName": "*NO SUCH NAME*", "limit": 20},
    "dates": lambda call, studies: {"StudyDate": "20200301-20200630", "limit": 20},
    "offset 10,000": lambda call, studies: {"offset": min(10_000, studies - 20), "limit": 20},
}
# What the words of a run's result mean, for the tables.
GROWS_WITH_STUDIES = ("rare infix", "infix", "offset 10,000", "dates", "prefix", "exact")


# Measuring

def bytes_of(server: harness.Server) -> dict[str, int]:
    """Bytes on disk of each folder in each root."""
    found: dict[str, int] = {}
    for root, folder in server.roots.items():
        for path in folder.rglob("*"):
            if path.is_file():
                first = path.relative_to(folder).parts[0] if len(path.relative_to(folder).parts) > 1 else "files"
                name = f"{root}/{first.rstrip('0123456789-')}"
                found[name] = found.get(name, 0) + 512 * path.stat().st_blocks
    return found


def memory_mb(server: harness.Server) -> float:
    status = pathlib.Path(f"/proc/{server.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1000


def wait_until_dense(server: harness.Server, patience_seconds: float = 1200) -> None:
    """Until nothing waits for the dense tier, or no more of it gets done."""
    ends = time.monotonic() + patience_seconds
    while time.monotonic() < ends:
        if server.metrics().get("septum_densify_queue", 0) == 0:
            return
        time.sleep(1)


def searches(server: harness.Server, studies: int, calls: int) -> dict[str, dict]:
    session, found = requests.Session(), {}
    session.trust_env = False
    for name, parameters in QUERIES.items():
        took, rows = [], 0
        for call in range(calls + 5):
            began = time.perf_counter()
            answer = session.get(f"{server.url}/studies", params=parameters(call, studies), auth=server.auth, timeout=60,
                                 headers={"Accept": "application/dicom+json"})
            took.append(1000 * (time.perf_counter() - began))
            if answer.status_code not in (200, 204):
                raise RuntimeError(f"{name}: {answer.status_code} {answer.text[:300]}")
            rows = len(answer.json()) if answer.status_code == 200 else 0
        # The first ones open pages; what follows is what users meet.
        took = sorted(took[5:])
        found[name] = {"p50_ms": statistics.median(took), "p99_ms": took[math.ceil(0.99 * len(took)) - 1], "rows": rows}
    return found


def start_seconds(server: harness.Server) -> dict[str, float]:
    """From the start of the process until it is ready, after it was stopped and after it was killed."""
    server.stop(120)
    clean = server.start(600)
    server.kill()
    dirty = server.start(600)
    return {"clean": clean, "dirty": dirty}


def ingest_beside_an_empty_archive(server: harness.Server, catalogue: Catalogue, first: int, count: int, rounds: int) -> dict:
    """Instances a second into this archive and into an empty one, in turns."""
    full, empty = [], []
    for index in range(rounds):
        numbers = range(first + index * count, first + (index + 1) * count)
        fresh = harness.Server(tls=False)
        try:
            fresh.start()
            for target, speeds in ((server, full), (fresh, empty)):
                catalogue.fill(target, target.base, range(0, 200) if target is fresh else numbers[:200])
                began = time.monotonic()
                catalogue.fill(target, target.base, numbers[200:])
                speeds.append((count - 200) / (time.monotonic() - began))
        finally:
            fresh.close()
    return {"per_second": statistics.median(full), "empty_per_second": statistics.median(empty),
            "ratio": statistics.median(one / other for one, other in zip(full, empty))}


def measure(options) -> int:
    catalogue = Catalogue(SIDE)
    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="septum-scale-"))
    state_file = folder / "scale.json"
    state = json.loads(state_file.read_text()) if state_file.exists() else {"stored": 0, "steps": {}}
    server = harness.Server(root=folder, tls=False)
    if "password" in state:
        server.password = state["password"]
        server.auth = (harness.USER, server.password)
    state["password"] = server.password
    first = min(10_000, options.studies)
    steps = [round(first * (options.studies / first) ** (index / max(1, options.steps - 1))) for index in range(options.steps)]
    try:
        server.start(600)
        for studies in steps:
            if str(studies) in state["steps"]:
                continue
            while state["stored"] < studies:
                numbers = range(state["stored"], min(studies, state["stored"] + 10_000))
                began = time.monotonic()
                catalogue.fill(server, server.base, numbers)
                state["stored"] = numbers.stop
                state_file.write_text(json.dumps(state))
                print(f"{numbers.stop:>9} studies, {len(numbers) / (time.monotonic() - began):.0f} a second", file=sys.stderr, flush=True)
            wait_until_dense(server)
            step = {"studies": state["stored"], "bytes": bytes_of(server)}
            step["searches"] = searches(server, state["stored"], options.calls)
            step["memory_mb"] = memory_mb(server)
            step["start_seconds"] = start_seconds(server)
            step["ingest"] = ingest_beside_an_empty_archive(server, catalogue, state["stored"], options.batch, options.rounds)
            state["stored"] += options.batch * options.rounds
            state["steps"][str(studies)] = step
            state_file.write_text(json.dumps(state))
            print(json.dumps(step), file=sys.stderr, flush=True)
    finally:
        server.kill()
        if not options.keep:
            server.owns_root = True
            server.close()
    result = {"instance_pixels": f"{SIDE}×{SIDE}×16 bit", "steps": list(state["steps"].values())}
    options.json.write_text(json.dumps(result, indent=1))
    print_measured(result)
    return 0


def table(head: list[str], rows: list[list[str]]) -> None:
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def print_measured(result: dict) -> None:
    steps = result["steps"]
    head = ["measured", *(f"{step['studies']:,}" for step in steps)]
    rows = [[f"{name}, bytes a study", *(f"{step['bytes'].get(name, 0) / step['studies']:,.0f}" for step in steps)]
            for name in sorted(steps[-1]["bytes"]) if steps[-1]["bytes"][name] > 10 * steps[-1]["studies"]]
    rows.append(["all roots, bytes a study", *(f"{sum(step['bytes'].values()) / step['studies']:,.0f}" for step in steps)])
    rows.append(["memory, MB", *(f"{step['memory_mb']:,.0f}" for step in steps)])
    for word in ("clean", "dirty"):
        rows.append([f"start to ready, {word}, s", *(f"{step['start_seconds'][word]:.2f}" for step in steps)])
    rows.append(["storing, beside an empty archive", *(f"{step['ingest']['ratio']:.2f}×" for step in steps)])
    for name in QUERIES:
        rows.append([f"{name}: p50 / p99, ms", *(f"{step['searches'][name]['p50_ms']:.1f} / {step['searches'][name]['p99_ms']:.1f}" for step in steps)])
    table(head, rows)


# Projecting

def line(points: list[tuple[float, float]]) -> tuple[float, float]:
    """Least squares: what it is at nothing, and what each one more adds. Never less than nothing."""
    mean_x, mean_y = (statistics.fmean(values) for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
    slope = max(0.0, slope)
    return max(0.0, mean_y - slope * mean_x), slope


class Model:
    """What a run says of any number of studies. Each figure is a line through the measured ones: constant and per study."""

    def __init__(self, result: dict):
        self.steps = result["steps"]

    def fit(self, value) -> tuple[float, float]:
        return line([(step["studies"], value(step)) for step in self.steps])

    def at(self, studies: float, value) -> float:
        constant, each = self.fit(value)
        return constant + each * studies

    def catalogue_bytes(self, studies: float, instances: float) -> dict[str, float]:
        """PHI and key roots: here every study has one instance, so a study's part and an instance's part cannot be told
        apart; each further instance is taken to cost as much as a study does, which is too much rather than too little."""
        each = {root: self.fit(lambda step, root=root: sum(count for name, count in step["bytes"].items() if name.startswith(root + "/")))[1]
                for root in ("phi", "key")}
        return {"phi": each["phi"] * max(studies, instances), "key": each["key"] * studies}


def project(options) -> int:
    model = Model(json.loads(options.json.read_text()))
    largest = model.steps[-1]["studies"]
    print(f"Measured up to {largest:,} studies; everything beyond is a straight line through the measured figures.\n")
    head = ["instances", "studies", "pixel root, TB", "PHI root, TB", "key root, GB", "memory, GB", "clean start, s", "dirty start, s",
            "rare infix p99, ms", "exact p99, ms", "nodes"]
    rows = []
    for instances in options.instances:
        studies = instances / options.instances_per_study
        catalogue = model.catalogue_bytes(studies, instances)
        pixels = instances * options.native_kb * 1000 / options.compression
        memory = model.at(studies, lambda step: step["memory_mb"]) / 1000
        starts = [model.at(studies, lambda step, word=word: step["start_seconds"][word]) for word in ("clean", "dirty")]
        infix, exact = (model.at(studies, lambda step, name=name: step["searches"][name]["p99_ms"]) for name in ("rare infix", "exact"))
        # A node is full when the first of these is.
        full = {"disk": (pixels + catalogue["phi"] + catalogue["key"]) / (options.disk_tb * 1e12), "memory": memory / options.memory_gb,
                "searching": infix / options.search_ms}
        reason = max(full, key=full.get)
        rows.append([f"{instances:,.0f}", f"{studies:,.0f}", f"{pixels / 1e12:,.2f}", f"{catalogue['phi'] / 1e12:,.3f}", f"{catalogue['key'] / 1e9:,.2f}",
                     f"{memory:,.2f}", f"{starts[0]:,.1f}", f"{starts[1]:,.1f}", f"{infix:,.0f}", f"{exact:,.1f}",
                     f"{math.ceil(full[reason])} ({reason})"])
    table(head, rows)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure", help="store studies and measure at each step")
    measuring.add_argument("--studies", type=int, default=1_000_000)
    measuring.add_argument("--steps", type=int, default=4, help="measure so many times, at equal ratios from 10,000 on")
    measuring.add_argument("--calls", type=int, default=200, help="searches of each kind")
    measuring.add_argument("--rounds", type=int, default=5, help="storing into this archive and into an empty one in turns")
    measuring.add_argument("--batch", type=int, default=2_000, help="instances stored in such a round")
    measuring.add_argument("--keep", type=pathlib.Path, help="keep the archive in this folder and go on there")
    measuring.add_argument("--json", type=pathlib.Path, default=pathlib.Path("scale.json"))
    projecting = commands.add_parser("project", help="what larger catalogues need, computed from a run")
    projecting.add_argument("--json", type=pathlib.Path, required=True)
    projecting.add_argument("--instances", type=float, nargs="+", default=[1e6, 1e7, 1e8, 1e9])
    projecting.add_argument("--instances-per-study", type=float, default=300)
    projecting.add_argument("--native-kb", type=float, default=350, help="pixels of an instance as sent, kB")
    projecting.add_argument("--compression", type=float, default=3.0, help="native bytes in one byte once dense")
    projecting.add_argument("--disk-tb", type=float, default=100, help="disk of a node")
    projecting.add_argument("--memory-gb", type=float, default=32, help="memory of a node")
    projecting.add_argument("--search-ms", type=float, default=500, help="slowest search that users put up with")
    options = parser.parse_args()
    if options.command == "measure":
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
        return measure(options)
    return project(options)


if __name__ == "__main__":
    sys.exit(main())
