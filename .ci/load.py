#!/usr/bin/env python3
"""Figures of Septum under load, alone or beside a peer in the same run.

    load.py [--peer orthanc] [--rounds 5] [--quick] [--tls] [--aes] [--scenarios store-ct,frames] [-- MORE OPTIONS OF septum-loadtest]

Starts the servers with empty folders on one disk, all on loopback and all syncing before they answer (Orthanc:
SyncStorageArea), has `septum-loadtest run` alternate between them and passes its table on. Plain HTTP on both sides;
--aes puts a second Septum beside the first, sealing with AES-256-GCM; --tls measures storing and frames in a table of its own, Septum over TLS beside Septum without (the peer has no TLS that works). Real images are used where the test corpus
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
QUICK = ["--rounds", "1", "--count", "50", "--library", "60", "--series", "60", "--reads", "40", "--objects", "1",
         "--patients", "120", "--searches", "10", "--deletes", "5", "--day-seconds", "4", "--day-rate", "15", "--verify", "20"]


# Frames and studies as Septum holds them.
STORED = ('multipart/related; type="image/jphc"; transfer-syntax=1.2.840.10008.1.2.4.201, '
          'multipart/related; type="application/octet-stream"; transfer-syntax=*; q=0.5')

STORED_STUDY = 'multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.201'


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
        options += ["--frame-accept", f"{name}={STORED}", "--study-accept", f"{name}={STORED_STUDY}"]
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
def running(servers: dict):
    """The servers, started; stopped and their folders removed at the end."""
    with contextlib.ExitStack() as stack:
        for server in servers.values():
            stack.callback(server.close)
            server.start()
            if isinstance(server, Server):
                stack.callback(lambda server=server: server.alive() and server.stop())
        yield servers


def measure(servers: dict, cache_bytes: int, more: list[str]) -> dict:
    with running(servers):
        result = load([target(name, server, cache_bytes if name == "orthanc" else None) for name, server in servers.items()], more)
        return result | {"stages": {name: stages(server) for name, server in servers.items() if isinstance(server, Server)}}


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
    parser.add_argument("--aes", action="store_true", help="a second Septum that seals with AES-256-GCM")
    parser.add_argument("--tls", action="store_true", help="storing and frames over TLS too, in a table of its own")
    parser.add_argument("--quick", action="store_true", help="small counts and one round, to try the rig")
    options = parser.parse_args(arguments[:cut])
    if options.only_peer and not options.peer:
        parser.error("--only-peer needs --peer")
    more = QUICK[:] if options.quick else []
    for name in ("rounds", "clients", "count", "scenarios"):
        if getattr(options, name) is not None:
            # Of a count that is given twice the last one holds.
            more += [f"--{name}", str(getattr(options, name))]
    corpus = options.corpus or (CORPUS / "series" if (CORPUS / "series").is_dir() else None)
    if corpus and not options.phantoms:
        more += ["--corpus", str(corpus)]
    more += arguments[cut + 1 :]
    servers = {} if options.only_peer else {"septum": Server(tls=False)}
    if options.aes:
        servers["septum-aes"] = Server(tls=False, environment={"SEPTUM__STORAGE__SUITE": "aes-256-gcm"})
    if options.peer == "orthanc":
        servers["orthanc"] = Orthanc(cache_bytes=options.cache)
    results = {"plain": measure(servers, options.cache, more)}
    if options.tls:
        if "--scenarios" in more:
            at = more.index("--scenarios")
            del more[at : at + 2]
        both = {"septum-tls": Server(), "septum": Server(tls=False)}
        results["tls"] = measure(both, options.cache, [*more, "--scenarios", "store-ct,frames"])
    for name, seconds in sorted(results["plain"]["stages"].get("septum", {}).items(), key=lambda item: -item[1])[:16]:
        print(f"  {name} {seconds}", file=sys.stderr)
    json.dump(results, sys.stdout, indent=1)
    print()
    return 0 if all(result["good"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
