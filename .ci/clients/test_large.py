"""Objects larger than memory pass through: native pixels just below what an element's length can say, and encapsulated frames
with an extended offset table beyond that. In as a whole; out as a whole, frame by frame, by byte range, as a picture.

SEPTUM_LARGE=1 makes them 3.9 and 24 GiB long, else 0.5 and 6; SEPTUM_LARGE_GIB=… sets the second.
"""

import base64
import hashlib
import http.client
import io
import os
import random
import shutil
import ssl
import struct
import time
import uuid

import numpy
import pytest
from PIL import Image

from harness import ORIGINAL, Sampler, Server, parts_of

pytestmark = pytest.mark.septum

MAX_RSS_BYTES = 512 << 20
ROWS, COLUMNS = 2048, 1024
NATIVE_BYTES = ROWS * COLUMNS * 2
CHUNK_BYTES = 1 << 20
EXPLICIT_LITTLE, RLE = b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.5"
OCTETS = "application/octet-stream"


class Cine:
    """A multi-frame instance that is never in memory as a whole: frames of noise, each with its number in the first pixels."""

    def __init__(self, gib: float, is_native: bool, seed: int):
        self.is_native = is_native
        self.frame_bytes = NATIVE_BYTES if is_native else 64 + NATIVE_BYTES // 128 * 129
        self.num_frames = int(gib * (1 << 30)) // self.frame_bytes
        name = f"{seed} {is_native}"
        # The high bytes of the pixels, then the low ones.
        self.planes = numpy.frombuffer(random.Random(name).randbytes(NATIVE_BYTES), "u1").reshape(2, -1).copy()
        self.study, self.series, self.instance = (f"2.25.{uuid.UUID(int=random.Random(f'{name} {level}').getrandbits(128)).int}"
                                                  for level in range(3))
        self.meta_bytes = len(self.meta())

    def numbered(self, number: int) -> numpy.ndarray:
        self.planes[0, :8] = numpy.frombuffer(struct.pack("<Q", number), "u1")
        return self.planes

    def native_frame(self, number: int) -> bytes:
        """The samples of a frame by its number from 1, little endian."""
        return self.numbered(number)[::-1].T.tobytes()

    def frame(self, number: int) -> bytes:
        """The frame as it is sent: native, or RLE in runs that repeat nothing (PS3.5 annex G)."""
        if self.is_native:
            return self.native_frame(number)
        runs = self.numbered(number).reshape(2, -1, 128)
        segments = numpy.concatenate([numpy.full((*runs.shape[:2], 1), 127, "u1"), runs], axis=2)
        return struct.pack("<16I", 2, 64, 64 + segments[0].size, *[0] * 13) + segments.tobytes()

    def native_range(self, start: int, end: int) -> bytes:
        """Bytes of all native frames one after the other."""
        first, last = start // NATIVE_BYTES, (end - 1) // NATIVE_BYTES
        whole = b"".join(self.native_frame(index + 1) for index in range(first, last + 1))
        return whole[start - first * NATIVE_BYTES : end - first * NATIVE_BYTES]

    @staticmethod
    def element(tag: tuple[int, int], vr: str, value: bytes) -> bytes:
        value += (b"\x00" if vr in ("UI", "OV", "OB") else b" ") * (len(value) % 2)
        if vr in ("OB", "OW", "OV", "SQ", "UN"):
            return struct.pack("<HH2sHI", *tag, vr.encode(), 0, len(value)) + value
        return struct.pack("<HH2sH", *tag, vr.encode(), len(value)) + value

    def meta(self) -> bytes:
        elements = (self.element((2, 1), "OB", b"\x00\x01") + self.element((2, 2), "UI", b"1.2.840.10008.5.1.4.1.1.7.3")
                    + self.element((2, 3), "UI", self.instance.encode())
                    + self.element((2, 0x10), "UI", EXPLICIT_LITTLE if self.is_native else RLE)
                    + self.element((2, 0x12), "UI", b"1.2.826.0.1.3680043.10.1"))
        return bytes(128) + b"DICM" + self.element((2, 0), "UL", struct.pack("<I", len(elements))) + elements

    def dataset(self):
        """The dataset in pieces."""
        e = self.element
        yield (e((8, 0x16), "UI", b"1.2.840.10008.5.1.4.1.1.7.3") + e((8, 0x18), "UI", self.instance.encode())
               + e((8, 0x20), "DA", b"20260102") + e((8, 0x60), "CS", b"OT") + e((0x10, 0x10), "PN", b"LARGE^CINE")
               + e((0x10, 0x20), "LO", b"LARGE-1") + e((0x20, 0x0D), "UI", self.study.encode())
               + e((0x20, 0x0E), "UI", self.series.encode()) + e((0x28, 2), "US", struct.pack("<H", 1))
               + e((0x28, 4), "CS", b"MONOCHROME2") + e((0x28, 8), "IS", str(self.num_frames).encode())
               + e((0x28, 0x10), "US", struct.pack("<H", ROWS)) + e((0x28, 0x11), "US", struct.pack("<H", COLUMNS))
               + e((0x28, 0x100), "US", struct.pack("<H", 16)) + e((0x28, 0x101), "US", struct.pack("<H", 16))
               + e((0x28, 0x102), "US", struct.pack("<H", 15)) + e((0x28, 0x103), "US", struct.pack("<H", 0)))
        assert len(self.frame(1)) == self.frame_bytes
        if self.is_native:
            yield struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OW", 0, self.num_frames * self.frame_bytes)
            for number in range(1, self.num_frames + 1):
                yield self.frame(number)
            return
        item_bytes = self.frame_bytes + 8
        yield e((0x7FE0, 1), "OV", struct.pack(f"<{self.num_frames}Q", *(n * item_bytes for n in range(self.num_frames))))
        yield e((0x7FE0, 2), "OV", struct.pack("<Q", self.frame_bytes) * self.num_frames)
        yield struct.pack("<HH2sHI", 0x7FE0, 0x10, b"OB", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0)
        for number in range(1, self.num_frames + 1):
            yield struct.pack("<HHI", 0xFFFE, 0xE000, self.frame_bytes) + self.frame(number)
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
        meta_bytes = cine.meta_bytes
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


def check_frames(server, path: str, cine: Cine) -> None:
    for number in (1, cine.num_frames // 2, cine.num_frames):
        for syntax, expected in (("; transfer-syntax=*", cine.frame), ("", cine.native_frame)):
            answer = server.request("GET", f"{path}/frames/{number}", headers={
                "Accept": f'multipart/related; type="{OCTETS}"{syntax}'})
            assert answer.status_code == 200, (answer.status_code, answer.text[:300])
            (_, frame), = parts_of(answer.headers["Content-Type"], answer.content)
            assert frame == expected(number), f"frame {number}{syntax}"


def check_ranges(server, address: str, cine: Cine) -> None:
    """Pieces of the native pixels as one value: at its begin and end, over the edges of frames, beyond 4 GiB."""
    total = cine.num_frames * NATIVE_BYTES
    middle = cine.num_frames // 2 * NATIVE_BYTES
    pieces = [(0, 10), (middle - 5, middle + 5), (middle - 1, middle + NATIVE_BYTES + 1), (total - 7, total)]
    if total > (1 << 32) + 8:
        pieces.append(((1 << 32) - 8, (1 << 32) + 8))
    for start, end in pieces:
        answer = server.session.get(address, headers={"Accept": OCTETS, "Range": f"bytes={start}-{end - 1}"}, timeout=240)
        assert answer.status_code == 206, (answer.status_code, answer.text[:300])
        assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/{total}"
        assert answer.content == cine.native_range(start, end), (start, end)
    answer = server.session.get(address, headers={"Accept": OCTETS, "Range": "bytes=-100"}, timeout=240)
    assert answer.status_code == 206 and answer.content == cine.native_range(total - 100, total)
    answer = server.session.get(address, headers={"Accept": OCTETS, "Range": f"bytes={total}-"}, timeout=240)
    assert answer.status_code == 416 and answer.headers["Content-Range"] == f"bytes */{total}"


def check_picture(server, path: str, cine: Cine) -> None:
    """A frame as a picture: brighter where the samples are greater."""
    number = cine.num_frames // 3
    answer = server.request("GET", f"{path}/frames/{number}/rendered", headers={"Accept": "image/png"})
    assert answer.status_code == 200, (answer.status_code, answer.text[:300])
    picture = numpy.asarray(Image.open(io.BytesIO(answer.content)).convert("L"))
    samples = numpy.frombuffer(cine.native_frame(number), "<u2").reshape(ROWS, COLUMNS)
    assert picture.shape == samples.shape
    order = numpy.argsort(samples, axis=None, kind="stable")
    assert numpy.all(numpy.diff(picture.ravel()[order].astype("i2")) >= 0)
    assert picture.min() < 10 and picture.max() > 245


@pytest.mark.parametrize("kind", ["native", "encapsulated"])
def test_a_large_object_in_bounded_memory(server, seed, kind):
    is_large = bool(os.environ.get("SEPTUM_LARGE"))
    if kind == "native":
        gib = 3.9 if is_large else 0.5
    else:
        gib = float(os.environ.get("SEPTUM_LARGE_GIB", "24" if is_large else "6"))
    free = shutil.disk_usage(server.root).free
    if free < (gib + 2) * (1 << 30):
        pytest.skip(f"{gib} GiB do not fit on the disk, {free >> 30} GiB are free")
    cine = Cine(gib, kind == "native", seed)
    path = server.path(cine.study, cine.series, cine.instance)
    with Sampler(server) as sampler:
        began = time.monotonic()
        status, body, sent = send(server, cine)
        assert status == 200, (status, body[:300])
        stored_seconds, stored_peak = time.monotonic() - began, server.status("VmHWM")
        metadata, = server.request("GET", path + "/metadata", headers={"Accept": "application/dicom+json"}).json()
        assert metadata["00280008"]["Value"] == [cine.num_frames]
        check_frames(server, path, cine)
        check_ranges(server, metadata["7FE00010"]["BulkDataURI"], cine)
        check_picture(server, path, cine)
        began = time.monotonic()
        got, num_bytes = receive_hash(server, cine)
        assert got == sent, f"{num_bytes} bytes came back"
        read_seconds = time.monotonic() - began
    assert server.request("DELETE", server.path(cine.study)).status_code in (200, 204)
    peak = server.status("VmHWM")
    print(f"{kind}, {gib} GiB: stored in {stored_seconds:.0f} s, read in {read_seconds:.0f} s; "
          f"most memory while storing {stored_peak >> 20} MiB, over all {peak >> 20} MiB (sampled {sampler.peak_bytes >> 20})")
    assert peak < MAX_RSS_BYTES
