"""Studies of one small image each, in great numbers: what catalogues are measured with."""

import random
import sys
import threading
import pathlib

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

import harness  # noqa: E402
import synthetic  # noqa: E402

FIRST = "ANNA BERTA CARLA DORA EMMA FRIDA GRETA HANNA IDA JULIA KARLA LENA MARTA NORA OLGA PAULA".split()
LAST = "ADAM BECKER CONRAD DREWS EBERT FISCHER GRAF HAHN ILLING JUNG KELLER LANG MAURER NEUMANN OTTO PETERS".split()
ROOT = "1.2.826.0.1.3680043.10.1479.800"
PER_REQUEST, THREADS = 100, 4


def frames(side: int) -> list[bytes]:
    """Pixels of 12 bits that compress as soft tissue does: a slope with noise upon it."""
    found = []
    for seed in range(32):
        noise = random.Random(seed)
        samples = [(1000 + 3 * (i % side) + 2 * (i // side) + noise.randint(-20, 20)) & 0xFFF for i in range(side * side)]
        found.append(b"".join(sample.to_bytes(2, "little") for sample in samples))
    return found


class Catalogue:
    """Makes the image of any study by its number: name, Patient ID and date follow from it."""

    def __init__(self, side: int = 8):
        self.side, self.frames = side, frames(side)

    def image(self, number: int) -> bytes:
        uid = f"{ROOT}.{number + 1}"
        pixels = self.frames[number % len(self.frames)]
        # No two images are the same.
        pixels = pixels[:-4] + (number & 0x0FFF).to_bytes(2, "little") + (number >> 12 & 0x0FFF).to_bytes(2, "little")
        stream = synthetic.instance(uid, uid + ".1", uid + ".1.1", 1, pixels, self.side)
        choose = random.Random(number)
        name = f"{choose.choice(LAST)}^{choose.choice(FIRST)}".ljust(len(synthetic.MARKER))[: len(synthetic.MARKER)].encode()
        date = f"2020{choose.randint(1, 12):02d}{choose.randint(1, 28):02d}".encode()
        patient = synthetic.element(0x10, 0x20, "LO", b"CRASH-1")
        return (stream.replace(synthetic.MARKER.encode(), name).replace(b"20260102", date)
                .replace(patient, synthetic.element(0x10, 0x20, "LO", f"P{number:07d}".encode())))

    def fill(self, server: harness.Server, address: str, numbers: range) -> None:
        """Stores the studies of these numbers at `address` (of DICOMweb), from several clients."""
        numbers, lock, failed = iter(numbers), threading.Lock(), []

        def work():
            session = requests.Session()
            session.trust_env = False
            while not failed:
                with lock:
                    batch = [number for number, _ in zip(numbers, range(PER_REQUEST))]
                if not batch:
                    return
                content_type, body = harness.multipart([self.image(number) for number in batch])
                answer = session.post(f"{server.origin}{address}/studies", data=body, auth=server.auth,
                                      verify=server.verify, headers={"Content-Type": content_type}, timeout=300)
                if answer.status_code != 200:
                    failed.append(answer.text[:300])

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        if failed:
            raise RuntimeError(f"a request was refused: {failed[0]}")
