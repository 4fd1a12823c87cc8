#!/usr/bin/env python3
"""Figures of Septum under load, alone or beside a peer in the same run.

    load.py [--peer orthanc] [--rounds 5] [--quick] [--tls] [--scenarios store-ct,frames] [-- MORE OPTIONS OF septum-loadtest]

Starts the servers with empty folders on one disk, all on loopback and all syncing before they answer (Orthanc:
SyncStorageArea), has `septum-loadtest run` alternate between them and passes its table on. Plain HTTP on both sides;
--tls measures storing and frames once more over TLS, in a table of its own. Real images are used where the test corpus
is at hand (SEPTUM_CORPUS), phantoms elsewhere. JSON on stdout, tables on stderr.

"Stored codec": Septum is asked for High-Throughput JPEG 2000, which is what its dense tier holds, and for octets where a frame
is not dense yet; the peer for what it holds. Caches: Orthanc keeps stored files in memory, as many bytes as --cache says; Septum keeps no pixels in memory. Frames are read
with the page cache of both servers' files dropped.
"""

import argparse
import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

from harness import CORPUS, Server  # noqa: E402
from orthanc import Orthanc  # noqa: E402

# Counts for a machine that has little time: every scenario runs, figures are coarse.
QUICK = ["--rounds", "1", "--count", "50", "--library", "60", "--series", "60", "--reads", "40", "--patients", "120", "--searches",
         "10", "--deletes", "5", "--day-seconds", "4", "--day-rate", "15", "--verify", "20"]


# Frames as Septum holds them.
STORED = ('multipart/related; type="image/jphc"; transfer-syntax=1.2.840.10008.1.2.4.201, '
          'multipart/related; type="application/octet-stream"; transfer-syntax=*; q=0.5')


def program() -> str:
    path = os.environ.get("SEPTUM_LOADTEST", "")
    if not pathlib.Path(path).is_file():
        raise SystemExit("septum-loadtest is not built (make load)")
    return path


def target(name: str, server, cache_bytes: int | None = None) -> tuple[list[str], dict[str, str]]:
    """Options and environment that make a running server a target."""
    user, password = server.auth
    options = ["--target", f"{name}={server.url}", "--user", f"{name}={user}", "--pid", f"{name}={server.pid}"]
    for folder in server.roots.values() if isinstance(server, Server) else [server.root]:
        options += ["--folder", f"{name}={folder}"]
    if isinstance(server.verify, str):
        options += ["--certificate", f"{name}={server.verify}"]
    if isinstance(server, Server):
        options += ["--frame-accept", f"{name}={STORED}"]
    if cache_bytes is not None:
        options += ["--cache-bytes", f"{name}={cache_bytes}"]
    return options, {"LOADTEST_PASSWORD_" + name.upper().replace("-", "_"): password}


def load(targets: list[tuple[list[str], dict[str, str]]], options: list[str]) -> dict:
    """One run of septum-loadtest; its table goes to stderr."""
    environment = dict(os.environ)
    command = [program(), "run"]
    for arguments, passwords in targets:
        command += arguments
        environment |= passwords
    with tempfile.NamedTemporaryFile(suffix=".json") as result:
        done = subprocess.run([*command, "--json", result.name, *options], env=environment, stdin=subprocess.DEVNULL, check=False)
        if done.returncode not in (0, 1):
            raise SystemExit("septum-loadtest could not measure")
        return json.loads(pathlib.Path(result.name).read_text()) | {"good": done.returncode == 0}


def stages(server: Server) -> dict[str, float]:
    """Seconds spent in each pipeline stage since the start, summed over instances, from the metrics."""
    wanted = re.compile(r"septum_(stage_duration_seconds_sum|stage_blocked_seconds_total|fsync_duration_seconds_(sum|count))")
    return {name: round(value, 3) for name, value in server.metrics().items() if wanted.match(name)}


@contextlib.contextmanager
def running(peer: str | None, only_peer: bool, tls: bool, cache_bytes: int):
    """The servers by name, started; stopped and their folders removed at the end."""
    with contextlib.ExitStack() as stack:
        servers = {}
        septum = Server(tls=tls)
        stack.callback(septum.close)
        if not only_peer or tls:
            septum.start()
            stack.callback(lambda: septum.alive() and septum.stop())
        if not only_peer:
            servers["septum"] = septum
        if peer == "orthanc":
            pem = None
            if tls:
                # The same certificate and key, in the one file that Orthanc wants.
                pem = septum.root / "peer.pem"
                pem.touch(0o600)
                pem.write_text("".join((septum.tls_dir / name).read_text() for name in ("cert.pem", "key.pem")))
            servers[peer] = Orthanc(tls=pem, cache_bytes=cache_bytes)
            stack.callback(servers[peer].close)
            servers[peer].start()
        yield servers


def measure(options, tls: bool, more: list[str]) -> dict:
    with running(options.peer, options.only_peer, tls, options.cache) as servers:
        suffix = "-tls" if tls else ""
        targets = [target(name + suffix, server, options.cache if name == "orthanc" else None) for name, server in servers.items()]
        result = load(targets, more)
        if "septum" in servers:
            result["stages"] = stages(servers["septum"])
        return result


def main() -> int:
    arguments = sys.argv[1:]
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", choices=("orthanc",))
    parser.add_argument("--only-peer", action="store_true", help="measure the peer alone, to try the rig")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--clients", type=int)
    parser.add_argument("--count", type=int, help="instances stored in a round")
    parser.add_argument("--scenarios", help="what to measure, separated by commas (septum-loadtest run --help lists them)")
    parser.add_argument("--corpus", type=pathlib.Path, help="folder with images to perturb")
    parser.add_argument("--phantoms", action="store_true", help="phantoms even where real images are at hand")
    parser.add_argument("--cache", type=int, default=64 << 20, help="bytes that the peer may cache")
    parser.add_argument("--tls", action="store_true", help="storing and frames over TLS too")
    parser.add_argument("--quick", action="store_true", help="small counts and one round, to try the rig")
    options = parser.parse_args(arguments[:cut])
    if options.only_peer and not options.peer:
        parser.error("--only-peer needs --peer")
    more = QUICK[:] if options.quick else []
    for name in ("rounds", "clients", "count", "scenarios"):
        if getattr(options, name) is not None:
            if f"--{name}" in more:
                at = more.index(f"--{name}")
                del more[at : at + 2]
            more += [f"--{name}", str(getattr(options, name))]
    corpus = options.corpus or (CORPUS / "series" if (CORPUS / "series").is_dir() else None)
    if corpus and not options.phantoms:
        more += ["--corpus", str(corpus)]
    more += arguments[cut + 1 :]
    results = {"plain": measure(options, False, more)}
    if options.tls:
        if "--scenarios" in more:
            at = more.index("--scenarios")
            del more[at : at + 2]
        results["tls"] = measure(options, True, [*more, "--scenarios", "store-ct,frames"])
    for name, seconds in sorted(results["plain"].get("stages", {}).items(), key=lambda item: -item[1])[:16]:
        print(f"  {name} {seconds}", file=sys.stderr)
    json.dump(results, sys.stdout, indent=1)
    print()
    return 0 if all(result["good"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
