#!/usr/bin/env python3
"""Ingest and retrieval figures, Septum alone or beside a peer in the same run.

    load.py [--clients 4] [--count 3000] [--batch 10] [--read 300] [--rounds 3] [--peer orthanc] [--template FILE]

Both servers run on loopback without TLS, both sync before they answer (Orthanc: SyncStorageArea), each with empty folders on
the same disk. With a peer the rounds alternate, so that a noisy machine is noisy for both; the ratio is of medians.
Results as JSON on stdout, a table on stderr.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

from harness import Server  # noqa: E402
from orthanc import Orthanc  # noqa: E402


def program() -> str:
    path = os.environ.get("SEPTUM_LOADTEST", "")
    if not pathlib.Path(path).is_file():
        raise SystemExit("septum-loadtest is not built (make load)")
    return path


def measure(name: str, server, options, seed: int) -> dict:
    user, password = server.auth
    command = [program(), server.url, "--user", user, "--name", name, "--clients", str(options.clients),
               "--count", str(options.count), "--batch", str(options.batch), "--read", str(options.read),
               "--pid", str(server.pid), "--seed", str(seed)]
    if options.template:
        command += ["--template", options.template]
    done = subprocess.run(command, env=os.environ | {"LOADTEST_PASSWORD": password}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, text=True, check=False)
    if not done.stdout:
        raise SystemExit(f"no result for {name}")
    result = json.loads(done.stdout)
    roots = server.roots.values() if isinstance(server, Server) else [server.root]
    result["disk_bytes"] = sum(path.stat().st_blocks * 512 for root in roots for path in root.rglob("*") if path.is_file())
    if isinstance(server, Server):
        result["stages"] = stages(server)
    return result


def stages(server: Server) -> dict[str, float]:
    """Seconds spent in each pipeline stage, summed over instances, from the metrics."""
    found = {}
    for name, value in server.metrics().items():
        for metric in ("septum_stage_duration_seconds_sum", "septum_stage_blocked_seconds_total",
                       "septum_fsync_duration_seconds_sum", "septum_fsync_duration_seconds_count"):
            if name.startswith(metric):
                found[name] = round(value, 3)
    return found


def run_once(name: str, options, round_number: int) -> dict:
    server = Orthanc() if name == "orthanc" else Server(tls=False)
    try:
        server.start()
        return measure(name, server, options, 1000 + round_number)
    finally:
        if isinstance(server, Server) and server.alive():
            server.stop()
        server.close()


def figure(result: dict, path: str) -> float:
    for key in path.split("."):
        result = result[key] if result is not None else None
    return float("nan") if result is None else float(result)


# What is compared: title, where it is in the result, whether more is better.
FIGURES = [
    ("stored/s", "store.instances_per_second", True),
    ("stored MB/s", "store.megabytes_per_second", True),
    ("store p50 ms", "store.latency.p50_ms", False),
    ("store p99 ms", "store.latency.p99_ms", False),
    ("store server CPU s", "store.server_cpu_seconds", False),
    ("written MB", "store.written_bytes", False),
    ("on disk MB", "disk_bytes", False),
    ("read/s", "read.instances_per_second", True),
    ("read p99 ms", "read.latency.p99_ms", False),
    ("peak memory MB", "server_peak_memory_bytes", False),
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--count", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--read", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", choices=("orthanc",))
    parser.add_argument("--template")
    parser.add_argument("--only-peer", action="store_true", help="measure the peer alone, to try the rig")
    options = parser.parse_args()
    names = ["septum"] if options.peer is None else ["septum", options.peer]
    if options.only_peer:
        names = [options.peer]
    results = {name: [] for name in names}
    for round_number in range(options.rounds):
        # The order turns in each round.
        for name in names if round_number % 2 == 0 else names[::-1]:
            results[name].append(run_once(name, options, round_number))
    say = lambda text: print(text, file=sys.stderr)
    say(f"\nmedians of {options.rounds} rounds, {options.count} instances of {results[names[0]][0]['instance_bytes']} bytes, "
        f"{options.clients} clients, {options.batch} a request")
    say(f"{'':20}" + "".join(f"{name:>12}" for name in names) + ("       ratio" if len(names) == 2 else ""))
    for title, path, more_is_better in FIGURES:
        medians = [statistics.median(figure(result, path) for result in results[name]) for name in names]
        shown = [value / 1e6 if title.endswith("MB") else value for value in medians]
        line = f"{title:20}" + "".join(f"{value:12.1f}" for value in shown)
        if len(names) == 2 and medians[0] > 0 and medians[1] > 0:
            ratio = medians[0] / medians[1] if more_is_better else medians[1] / medians[0]
            line += f"{ratio:11.2f}× better" if ratio >= 1 else f"{1 / ratio:11.2f}× worse"
        say(line)
    if "septum" in results:
        last = results["septum"][-1].get("stages", {})
        for name, seconds in sorted(last.items(), key=lambda item: -item[1])[:16]:
            say(f"  {name} {seconds}")
    json.dump(results, sys.stdout, indent=1)
    print()
    return 1 if any(result["num_failed"] for runs in results.values() for result in runs) else 0


if __name__ == "__main__":
    sys.exit(main())
