#!/usr/bin/env python3
"""kill -9 under load, again and again: no acknowledged instance is lost or changed.

    kill.py [--cycles 50] [--seed N] [--keep-index]

Each cycle: start, load by several clients, kill -9 after 0.2 to 3 s, start again, check. The last rounds end the server by
SIGTERM, run `septum fsck`, wipe the RocksDB index and rebuild it: nothing may be missing. Closing line: passed, failed.
"""

import argparse
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

from oracle import MARKER, Check, Ledger, Load

from harness import Server


def index_folders(server: Server) -> list[pathlib.Path]:
    """RocksDB databases: folders with the file CURRENT."""
    return [path.parent for path in server.roots["phi"].rglob("CURRENT")]


def marker_hits(server: Server) -> int:
    """Files that show the planted patient name: none may (invariant 3), also after a crash."""
    words = [MARKER.encode(), MARKER.split("^")[0].encode()]
    return sum(any(word in path.read_bytes() for word in words) for path in server.root.rglob("*") if path.is_file())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--keep-index", action="store_true", help="do not wipe the RocksDB index at the end")
    options = parser.parse_args()
    print(f"seed {options.seed}, {options.cycles} kills", flush=True)
    source = random.Random(options.seed)
    outside = pathlib.Path(tempfile.mkdtemp(prefix="septum-ledger-"))
    ledger = Ledger(outside / "ledger.jsonl")
    server, passed, failed, slowest = Server(), 0, 0, 0.0

    def end(*_):
        raise SystemExit(130)

    signal.signal(signal.SIGTERM, end)

    def judge(name: str, check: Check, extra: str = "") -> None:
        nonlocal passed, failed
        passed, failed = passed + check.ok, failed + (not check.ok)
        print(f"{name}: {len(ledger.acked)} acked so far, {check} {extra}", flush=True)
        for example in check.examples:
            print("   ", example, flush=True)

    try:
        server.start()
        for cycle in range(1, options.cycles + 1):
            before = set(ledger.sent)
            with Load(server, ledger, options.seed * 1000 + cycle, options.clients) as load:
                time.sleep(source.uniform(0.2, 3.0))
                if not server.alive():
                    print(f"the server ended by itself:\n{server.log_tail()}", flush=True)
                    failed += 1
                    break
                server.kill()
                load.stop()
            seconds = server.start()
            slowest = max(slowest, seconds)
            new = set(ledger.sent) - before
            check = Check()
            # What this cycle sent, and a sample of what was there before.
            check.run(server, ledger, new | set(source.sample(sorted(before), min(len(before), 40))))
            judge(f"kill {cycle}", check, f"ready in {seconds:.2f} s, unanswered but there {check.maybe_present}, "
                                          f"answers {dict(load.statuses)}")
        check = Check()
        check.run(server, ledger)
        judge("everything after the last kill", check)

        code = server.stop()
        report = server.command("fsck")
        print(f"SIGTERM: exit {code}; fsck: exit {report.returncode}", flush=True)
        if code != 0 or report.returncode != 0:
            failed += 1
            print(report.stdout[-2000:], report.stderr[-2000:], flush=True)
        else:
            passed += 1

        if not options.keep_index:
            wiped = index_folders(server)
            for folder in wiped:
                shutil.rmtree(folder)
            report = server.command("fsck", "--rebuild")
            server.start()
            check = Check()
            check.run(server, ledger)
            if not wiped:
                check.fail("acked_lost", "no RocksDB folder was found to wipe")
            judge(f"rebuilt after wiping {len(wiped)} indexes", check, f"fsck --rebuild: exit {report.returncode}")
            server.stop()

        hits = marker_hits(server)
        passed, failed = passed + (hits == 0), failed + (hits != 0)
        print(f"planted name found in {hits} files", flush=True)
    except (RuntimeError, OSError) as problem:
        failed += 1
        print(f"failed: {problem}\n{server.log_tail()}", flush=True)
    finally:
        if failed:
            kept = outside / "server.log"
            if server.log.exists():
                shutil.copy(server.log, kept)
            print(f"seed {options.seed}; ledger and log kept in {outside}", flush=True)
        else:
            shutil.rmtree(outside, ignore_errors=True)
        server.close()
    print(f"{len(ledger.acked)} instances acknowledged, slowest start {slowest:.2f} s")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
