"""An object larger than memory passes through: 6 GiB encapsulated multi-frame with an extended offset table."""

import hashlib
import http.client
import base64
import os
import random
import shutil
import ssl
import struct
import uuid

import pytest

from harness import ORIGINAL, Sampler, Server, parts_of

pytestmark = pytest.mark.septum

MAX_RSS_BYTES = 512 << 20
FRAME_BYTES = 4 << 20
CHUNK_BYTES = 1 << 20


class Cine:
    """A multi-frame instance that is never in memory as a whole. Frames differ; each is a seeded block with its number."""

    def __init__(self, num_frames: int, seed: int):
        self.num_frames = num_frames
        self.block = random.Random(seed).randbytes(FRAME_BYTES - 16)
        self.study, self.series, self.instance = (f"2.25.{uuid.UUID(int=random.Random(f'{seed} {level}').getrandbits(128)).int}"
                                                  for level in range(3))

    def frame(self, number: int) -> bytes:
        """Frame of a 1-based number: looks like a JPEG 2000 codestream from outside, is noise inside."""
        return b"\xff\x4f\xff\x51" + struct.pack("<Q", number) + self.block + b"\x00\x00\xff\xd9"

    @staticmethod
    def element(tag: tuple[int, int], vr: str, value: bytes) -> bytes:
        value += (b"\x00" if vr in ("UI", "OV", "OB") else b" ") * (len(value) % 2)
        if vr in ("OB", "OW", "OV", "SQ", "UN"):
            return struct.pack("<HH2sHI", *tag, vr.encode(), 0, len(value)) + value
        return struct.pack("<HH2sH", *tag, vr.encode(), len(value)) + value

    def meta(self) -> bytes:
        elements = (self.element((2, 1), "OB", b"\x00\x01") + self.element((2, 2), "UI", b"1.2.840.10008.5.1.4.1.1.77.1.1.1")
                    + self.element((2, 3), "UI", self.instance.encode())
                    + self.element((2, 0x10), "UI", b"1.2.840.10008.1.2.4.90")
                    + self.element((2, 0x12), "UI", b"1.2.826.0.1.3680043.10.1"))
        return bytes(128) + b"DICM" + self.element((2, 0), "UL", struct.pack("<I", len(elements))) + elements

    def dataset(self):
        """The dataset in pieces."""
        e = self.element
        yield (e((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.77.1.1.1") + e((8, 0x18), "UI", self.instance.encode())
               + e((8, 0x20), "DA", b"20260102") + e((8, 0x60), "CS", b"ES") + e((0x10, 0x10), "PN", b"LARGE^CINE")
               + e((0x10, 0x20), "LO", b"LARGE-1") + e((0x20, 0x0D), "UI", self.study.encode())
               + e((0x20, 0x0E), "UI", self.series.encode()) + e((0x28, 2), "US", struct.pack("<H", 1))
               + e((0x28, 4), "CS", b"MONOCHROME2") + e((0x28, 8), "IS", str(self.num_frames).encode())
               + e((0x28, 0x10), "US", struct.pack("<H", 2048)) + e((0x28, 0x11), "US", struct.pack("<H", 2048))
               + e((0x28, 0x100), "US", struct.pack("<H", 16)) + e((0x28, 0x101), "US", struct.pack("<H", 16))
               + e((0x28, 0x102), "US", struct.pack("<H", 15)) + e((0x28, 0x103), "US", struct.pack("<H", 0)))
        item_bytes = FRAME_BYTES + 8
        assert len(self.frame(1)) == FRAME_BYTES
        yield e((0x7FE0, 1), "OV", struct.pack(f"<{self.num_frames}Q", *(n * item_bytes for n in range(self.num_frames))))
        yield e((0x7FE0, 2), "OV", struct.pack("<Q", FRAME_BYTES) * self.num_frames)
        yield struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        for number in range(1, self.num_frames + 1):
            yield struct.pack("<HHI", 0xFFFE, 0xE000, FRAME_BYTES) + self.frame(number)
        yield struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


@pytest.fixture(scope="module")
def server():
    """A server that may hold 256 MiB of objects in flight and accepts objects of any size."""
    started = Server(environment={"SEPTUM__LIMITS__MEMORY": "256MiB", "SEPTUM__LIMITS__INSTANCE": "64GiB"})
    try:
        started.start()
        yield started
        assert started.alive(), started.log_tail()
        assert started.stop(120) == 0
    finally:
        started.close()


def connect(server) -> http.client.HTTPSConnection:
    return http.client.HTTPSConnection("localhost", server.port, timeout=1800,
                                       context=ssl.create_default_context(cafile=server.verify))


def send(server, cine: Cine) -> tuple[int, bytes, str]:
    """STOW by chunked transfer; (status, body, SHA-256 of the dataset)."""
    digest = hashlib.sha256()
    boundary = uuid.uuid4().hex

    def body():
        yield f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + cine.meta()
        for piece in cine.dataset():
            digest.update(piece)
            for at in range(0, len(piece), CHUNK_BYTES):
                yield piece[at : at + CHUNK_BYTES]
        yield f"\r\n--{boundary}--\r\n".encode()

    connection = connect(server)
    token = base64.b64encode(":".join(server.auth).encode()).decode()
    connection.request("POST", server.base + "/studies", body=body(), encode_chunked=True, headers={
        "Authorization": "Basic " + token, "Accept": "application/dicom+json", "Transfer-Encoding": "chunked",
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}'})
    answer = connection.getresponse()
    return answer.status, answer.read(), digest.hexdigest()


def receive_hash(server, cine: Cine) -> tuple[str, int]:
    """(SHA-256, length) of the dataset as it comes back, read in a stream."""
    with server.request("GET", server.path(cine.study, cine.series, cine.instance), headers={"Accept": ORIGINAL}, stream=True,
                        timeout=1800) as answer:
        assert answer.status_code == 200, (answer.status_code, answer.text[:300])
        boundary = answer.headers["Content-Type"].split("boundary=")[1].split(";")[0].strip('"').encode()
        closing_bytes = len(b"\r\n--" + boundary + b"--")
        digest, length, head, tail = hashlib.sha256(), 0, b"", b""
        meta_bytes = len(cine.meta())
        for piece in answer.iter_content(CHUNK_BYTES):
            if head is not None:
                head += piece
                at = head.find(b"\r\n\r\n")
                if at < 0 or len(head) < at + 4 + meta_bytes:
                    continue
                piece, head = head[at + 4 + meta_bytes :], None
            tail += piece
            # Hold back what may be the closing boundary, with a line end after it.
            if len(tail) > closing_bytes + 2:
                cut = len(tail) - closing_bytes - 2
                digest.update(tail[:cut])
                length += cut
                tail = tail[cut:]
        rest = tail[: tail.rindex(b"\r\n--" + boundary)]
        digest.update(rest)
        return digest.hexdigest(), length + len(rest)


def test_a_large_object_in_bounded_memory(server, seed):
    gib = float(os.environ.get("SEPTUM_LARGE_GIB", "24" if os.environ.get("SEPTUM_LARGE") else "6"))
    free = shutil.disk_usage(server.root).free
    if free < (gib + 2) * (1 << 30):
        pytest.skip(f"{gib} GiB do not fit on the disk, {free >> 30} GiB are free")
    cine = Cine(int(gib * (1 << 30)) // FRAME_BYTES, seed)
    with Sampler(server) as sampler:
        status, body, sent = send(server, cine)
        assert status == 200, (status, body[:300])
        stored_peak = sampler.peak_bytes
        for number in (1, cine.num_frames // 2, cine.num_frames):
            answer = server.request("GET", server.path(cine.study, cine.series, cine.instance) + f"/frames/{number}", headers={
                "Accept": 'multipart/related; type="image/jp2"; transfer-syntax=1.2.840.10008.1.2.4.90'})
            if answer.status_code == 406:
                answer = server.request("GET", server.path(cine.study, cine.series, cine.instance) + f"/frames/{number}",
                                        headers={"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'})
            assert answer.status_code == 200, (answer.status_code, answer.text[:300])
            (_, frame), = parts_of(answer.headers["Content-Type"], answer.content)
            assert frame == cine.frame(number), f"frame {number}"
        got, num_bytes = receive_hash(server, cine)
        assert got == sent, f"{num_bytes} bytes came back"
    print(f"{gib} GiB: peak while storing {stored_peak >> 20} MiB, over all {sampler.peak_bytes >> 20} MiB")
    assert sampler.peak_bytes < MAX_RSS_BYTES
