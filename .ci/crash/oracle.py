"""Load that remembers: what was sent, what was acknowledged, and whether the server still has it.

The ledger lies outside the server's folders and every line is on disk before the next step, so that it survives what the
server does not. Rules of the check: acknowledged → must be there, bit for bit; no answer → may be there; refused → must not.
"""

import collections
import json
import os
import pathlib
import random
import struct
import sys
import threading
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients"))

from harness import Archive, dataset_hash, outcomes, parts_of  # noqa: E402
from synthetic import MARKER, ROOT_UID, instance  # noqa: E402

__all__ = ["MARKER", "Check", "Ledger", "Load"]


class Ledger:
    """Appends one JSON line an event and fsyncs it before it returns."""

    def __init__(self, path: pathlib.Path):
        self.file = open(path, "a")
        self.lock = threading.Lock()
        self.key = {}        # uid → (study, series)
        self.sent = {}       # uid → SHA-256 of the dataset
        self.acked = set()
        self.refused = set()
        self.deleted = set()

    def write(self, **event) -> None:
        with self.lock:
            self.file.write(json.dumps(event) + "\n")
            self.file.flush()
            os.fsync(self.file.fileno())


class Load:
    """Clients that store batches of instances until they are stopped, each request answered or not."""

    def __init__(self, archive: Archive, ledger: Ledger, seed: int, num_clients: int = 4):
        self.archive, self.ledger = archive, ledger
        self.stopping = threading.Event()
        self.statuses = collections.Counter()
        self.threads = [threading.Thread(target=self.run, args=(random.Random(f"{seed} {number}"), f"{seed}.{number}"), daemon=True)
                        for number in range(num_clients)]

    def run(self, source: random.Random, name: str) -> None:
        number = 0
        while not self.stopping.is_set():
            study = f"{ROOT_UID}.{name}.{number // 60 + 1}"
            series = f"{study}.1"
            parts, uids = [], []
            for _ in range(source.choice((1, 2, 4, 8))):
                number += 1
                uid = f"{series}.{number}"
                side = source.choice((32, 64, 128, 256))
                # Half smooth, half noise, so that every codec path is met.
                noise = source.randbytes(side * side * 2) if source.random() < 0.5 else bytes(
                    struct.pack(f"<{side}H", *((number * 7 + x) & 0xFFF for x in range(side)))) * side
                data = instance(study, series, uid, number, noise, side)
                self.ledger.key[uid], self.ledger.sent[uid] = (study, series), dataset_hash(data)
                parts.append(data)
                uids.append(uid)
            self.ledger.write(send={uid: self.ledger.sent[uid] for uid in uids})
            try:
                answer = self.archive.store(parts, timeout=60)
                said = outcomes(answer) if answer.status_code in (200, 202, 409) else {}
            except (requests.RequestException, ValueError):
                self.statuses["none"] += 1
                time.sleep(0.02)
                continue
            self.statuses[answer.status_code] += 1
            acked = [uid for uid in uids if said.get(uid, ("", 0))[0] == "stored"]
            refused = [uid for uid in uids if said.get(uid, ("", 0))[0] == "refused"]
            self.ledger.write(ack=acked, refused=refused, status=answer.status_code)
            self.ledger.acked.update(acked)
            self.ledger.refused.update(refused)
            if answer.status_code >= 500:
                time.sleep(0.02)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def stop(self) -> None:
        self.stopping.set()

    def __exit__(self, *_):
        self.stop()
        for thread in self.threads:
            thread.join(90)


class Check:
    """Compares a running server with the ledger; counters as the reliability figures name them."""

    COUNTERS = ("acked_lost", "wrong_bytes", "half_visible", "phantom", "resurrected", "surfaces_disagree")

    def __init__(self):
        self.counters = dict.fromkeys(self.COUNTERS, 0)
        self.examples = []
        self.maybe_present = 0

    def fail(self, counter: str, what: str) -> None:
        self.counters[counter] += 1
        if len(self.examples) < 20:
            self.examples.append(f"{counter}: {what}")

    def run(self, archive: Archive, ledger: Ledger, only=None) -> None:
        """Checks the instances of `only` (all when None) and, whatever that is, the listing of each of their studies."""
        uids = ledger.sent.keys() if only is None else only
        studies = collections.defaultdict(set)
        for uid in uids:
            studies[ledger.key[uid][0]].add(uid)
        for study, wanted in studies.items():
            listed = {item["00080018"]["Value"][0]: item for item in archive.search(archive.path(study) + "/instances")}
            got = {}
            answer = archive.retrieve(study, timeout=300)
            if answer.status_code == 200:
                for _, stream in parts_of(answer.headers["Content-Type"], answer.content):
                    at = stream.find(b"\x08\x00\x18\x00UI")
                    length = int.from_bytes(stream[at + 6 : at + 8], "little")
                    got[stream[at + 8 : at + 8 + length].rstrip(b"\x00").decode()] = dataset_hash(stream)
            elif answer.status_code != 404:
                self.fail("half_visible", f"study answers {answer.status_code}")
            counted = archive.search("/studies", StudyInstanceUID=study, includefield="00201208")
            counts = [item.get("00201208", {}).get("Value", [None])[0] for item in counted]
            if counts != ([len(listed)] if listed else []):
                self.fail("surfaces_disagree", f"study counts {counts}, lists {len(listed)}")
            if set(got) != set(listed):
                self.fail("half_visible", f"{len(listed)} listed, {len(got)} readable")
            for uid in set(got) | set(listed):
                if uid not in ledger.sent:
                    self.fail("phantom", uid)
                elif uid in ledger.refused:
                    self.fail("resurrected", uid)
            for uid in wanted:
                if uid in got and got[uid] != ledger.sent[uid]:
                    self.fail("wrong_bytes", uid)
                if uid in ledger.acked and uid not in got:
                    self.fail("acked_lost", uid)
                if uid in got and uid not in ledger.acked:
                    self.maybe_present += 1

    @property
    def ok(self) -> bool:
        return not any(self.counters.values())

    def __str__(self):
        return " ".join(f"{name} {value}/0" for name, value in self.counters.items())
