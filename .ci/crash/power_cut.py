#!/usr/bin/env python3
"""Power cuts: a disk whose cache forgets what was not flushed.

    power_cut.py [--cuts 5] [--seconds 3] [--drop-sync phi|pixel|key|all] [--self-check]

The three roots lie on an ext4 file system over a block device (nbdkit with a write-back cache, by nbdfuse and a loop
device). A cut ends the cache first, with kill -9, so that only what a flush reached is in the image; then the server. The
image is mounted again and everything acknowledged must be there. Every run also writes files that nobody syncs: if none of
these canaries is lost, the cut did not bite and the run has failed.

--drop-sync makes fsync and fdatasync of one root's files return success without doing anything (a preloaded library). The
run must then fail: it shows that the rig sees a missing sync. Needs root. Closing line: passed, failed.
"""

import argparse
import contextlib
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from oracle import Check, Ledger, Load

from harness import Server

TOOLS = ("nbdkit", "nbdfuse", "losetup", "mkfs.ext4", "mount", "umount", "fusermount3", "strace")


def run(*command: str) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def wait_for(condition, what: str, timeout_seconds: float = 15) -> None:
    until = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > until:
            raise RuntimeError(f"timed out: {what}")
        time.sleep(0.02)


class Disk:
    """A file system on a disk image, either behind a write-back cache that can be cut off, or plainly mounted."""

    def __init__(self, folder: pathlib.Path, size_bytes: int):
        self.folder, self.image, self.mounted = folder, folder / "disk.img", folder / "mnt"
        self.mounted.mkdir()
        with open(self.image, "wb") as image:
            image.truncate(size_bytes)
        run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self.image))
        self.loop = self.nbdkit = self.nbdfuse = None
        self.number = 0

    def attach(self, cached: bool) -> None:
        """Mounts the image; `cached` puts the forgetful cache between."""
        self.number += 1
        device = self.image
        if cached:
            socket, point = self.folder / f"s{self.number}", self.folder / f"fuse{self.number}"
            point.mkdir()
            self.nbdkit = subprocess.Popen(
                ["nbdkit", "-f", "-U", str(socket), "--filter=cache", "file", str(self.image), "cache=writeback"],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            wait_for(socket.exists, "nbdkit")
            self.nbdfuse = subprocess.Popen(["nbdfuse", str(point / "nbd"), "--unix", str(socket)], stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
            self.point = point
            device = point / "nbd"
            wait_for(device.exists, "nbdfuse")
        self.loop = run("losetup", "-f", "--show", str(device))
        # No journal commit but those that somebody's fsync asks for, so that nothing is saved by luck.
        run("mount", "-o", "noatime,commit=120", self.loop, str(self.mounted))

    def cut(self) -> None:
        """The cache is gone at once; what it held was never written."""
        self.nbdkit.send_signal(signal.SIGKILL)
        self.nbdkit.wait()

    def detach(self) -> None:
        """Gives everything back, in whatever state it is."""
        for command in (["umount", "-l", str(self.mounted)], ["losetup", "-d", self.loop or ""]):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if self.nbdfuse is not None:
            subprocess.run(["fusermount3", "-u", "-z", str(self.point)], stdin=subprocess.DEVNULL, capture_output=True, check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.nbdfuse.wait(5)
        for process in (self.nbdfuse, self.nbdkit):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        self.loop = self.nbdkit = self.nbdfuse = None


class Canaries:
    """Files written next to the server's and never synced; and some that are, which must survive."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder / "canaries"
        self.unsynced, self.synced = {}, {}

    def write(self, source: random.Random, cut: int) -> None:
        self.folder.mkdir(exist_ok=True)
        for number in range(20):
            path, data = self.folder / f"u-{cut}-{number}", source.randbytes(40_000)
            path.write_bytes(data)
            self.unsynced[path.name] = data
        for number in range(5):
            path, data = self.folder / f"s-{cut}-{number}", source.randbytes(40_000)
            with open(path, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            directory = os.open(self.folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
            self.synced[path.name] = data

    def count(self, files: dict[str, bytes]) -> int:
        return sum((self.folder / name).exists() and (self.folder / name).read_bytes() == data for name, data in files.items())

    def verdict(self) -> tuple[int, int]:
        """(canaries lost, synced files lost); forgets both, so that each cut is judged alone."""
        lost = len(self.unsynced) - self.count(self.unsynced), len(self.synced) - self.count(self.synced)
        self.unsynced, self.synced = {}, {}
        return lost


def drop_sync(server: Server, which: str, folder: pathlib.Path) -> None:
    """From its next start on, syncs of the named root's files do nothing and say they did."""
    library = folder / "drop_sync.so"
    source = pathlib.Path(__file__).with_name("drop_sync.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    under = server.root if which == "all" else server.roots[which]
    server.extra |= {"LD_PRELOAD": str(library), "SEPTUM_DROP_SYNC_UNDER": str(under)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cuts", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="load before each cut")
    parser.add_argument("--disk-mib", type=int, default=2048)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 31))
    parser.add_argument("--drop-sync", choices=("phi", "pixel", "key", "all"))
    parser.add_argument("--self-check", action="store_true", help="try the rig alone, without a server")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        print(f"power cuts need root and {', '.join(TOOLS)}; missing: {', '.join(missing) or 'root'}")
        print("0 passed, 1 failed")
        return 1
    print(f"seed {options.seed}, {options.cuts} cuts" + (f", without syncs of {options.drop_sync}" if options.drop_sync else ""),
          flush=True)
    source = random.Random(options.seed)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="septum-cut-"))
    outside = pathlib.Path(tempfile.mkdtemp(prefix="septum-ledger-"))
    ledger = Ledger(outside / "ledger.jsonl")
    passed = failed = 0
    disk = server = None

    def end(*_):
        raise SystemExit(130)

    signal.signal(signal.SIGTERM, end)
    try:
        disk = Disk(folder, options.disk_mib << 20)
        canaries = Canaries(disk.mounted)
        if not options.self_check:
            server = Server(root=disk.mounted / "septum")
            server.log = outside / "server.log"
        for cut in range(1, options.cuts + 1):
            disk.attach(cached=True)
            if server is not None:
                if options.drop_sync and cut == 1:
                    # What is made at the first start is synced; only the load's syncs are missing.
                    server.start()
                    server.stop()
                    drop_sync(server, options.drop_sync, outside)
                server.start()
                before = set(ledger.sent)
                with Load(server, ledger, options.seed * 1000 + cut, options.clients) as load:
                    time.sleep(options.seconds)
                    canaries.write(source, cut)
                    # A moment in which no canary, but many an acknowledgement, can reach the disk.
                    time.sleep(source.uniform(0.05, 0.5))
                    disk.cut()
                    server.kill()
                    load.stop()
            else:
                before = set()
                canaries.write(source, cut)
                disk.cut()
            disk.detach()
            disk.attach(cached=False)
            lost_canaries, lost_synced = canaries.verdict()
            check, seconds = Check(), 0.0
            if server is not None:
                try:
                    seconds = server.start()
                    check.run(server, ledger, None if cut == options.cuts else set(ledger.sent) - before)
                    server.stop()
                except (RuntimeError, OSError, AssertionError) as problem:
                    check.fail("acked_lost", f"the server does not start or answer: {str(problem)[:600]}")
                    server.kill()
            if lost_canaries == 0:
                check.examples.append("no canary was lost: the cut did not bite")
            if lost_synced:
                check.examples.append(f"{lost_synced} synced files were lost: the rig is broken")
            ok = check.ok and lost_canaries > 0 and lost_synced == 0
            passed, failed = passed + ok, failed + (not ok)
            print(f"cut {cut}: {len(ledger.acked)} acked so far, {check} canaries lost {lost_canaries}/20, "
                  f"synced lost {lost_synced}/0, ready in {seconds:.2f} s", flush=True)
            for example in check.examples:
                print("   ", example, flush=True)
            disk.detach()
            if not check.ok:
                break
        if server is not None and failed == 0:
            disk.attach(cached=False)
            report = server.command("fsck")
            print(f"fsck: exit {report.returncode}", flush=True)
            passed, failed = passed + (report.returncode == 0), failed + (report.returncode != 0)
            disk.detach()
    except (RuntimeError, OSError) as problem:
        failed += 1
        print(f"failed: {problem}", flush=True)
    finally:
        if server is not None:
            server.kill()
        if disk is not None:
            disk.detach()
        shutil.rmtree(folder, ignore_errors=True)
        if failed:
            print(f"seed {options.seed}; ledger and log kept in {outside}", flush=True)
        else:
            shutil.rmtree(outside, ignore_errors=True)
    if options.drop_sync:
        # Here a loss is what was to be shown.
        passed, failed = (1, 0) if failed else (0, 1)
        print("the missing sync was noticed" if passed else "NOT NOTICED: acknowledged instances survived without the sync")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
