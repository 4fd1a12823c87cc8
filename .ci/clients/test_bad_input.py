"""Broken files and broken requests: refused or stored with a warning, never a 5xx, a crash or unbounded memory."""

import base64
import os
import random
import socket
import ssl
import time

import pytest
import requests

import corpus_files
from harness import ORIGINAL, PATIENCE_SECONDS, Sampler, dataset_hash, multipart, outcomes, parts_of, stored_at
from synthetic import ROOT_UID, instance

pytestmark = pytest.mark.septum

# Above what the server holds when it starts; the corpus has a 60 MB bomb and files that claim 4 GiB.
MAX_GROWTH_BYTES = 256 << 20

# What nobody could identify or bound, so that "stored" would be wrong.
MUST_BE_REFUSED = {
    "empty.dcm", "preamble_only.dcm", "text_file.dcm", "html_error_page.dcm", "gzip_wrapped.dcm.gz", "truncated_in_meta.dcm",
    "element_length_4gb.dcm", "uid_empty.dcm", "uid_path_traversal.dcm", "uid_too_long.dcm", "nested_500_undefined.dcm",
    "deflate_bomb_60MB.dcm", "deflate_corrupt.dcm",
}
# What is whole enough to be kept as it is, with a warning at most.
MUST_BE_STORED = {
    "odd_length_value.dcm", "trailing_garbage.dcm", "duplicate_tag.dcm", "rows_cols_65535.dcm", "frames_negative.dcm",
    "meta_group_length_wrong.dcm", "meta_group_length_zero.dcm", "jpeg_garbage_stream.dcm", "J2K_pixelrep_mismatch.dcm",
    "MR_small_padded.dcm", "no-pixel-spacing.dcm", "tags_out_of_order.dcm",
}


def sound(number: int) -> tuple[str, bytes]:
    """(SOP Instance UID, stream) of a sound instance that travels with a broken one."""
    uid = f"{ROOT_UID}.7.1.1.{number}"
    return uid, instance(f"{ROOT_UID}.7.1", f"{ROOT_UID}.7.1.1", uid, number, random.Random(number).randbytes(8192), 64)


def store(server, parts: list[bytes]):
    """The answer, or None when the server closed the connection instead of answering."""
    try:
        return server.store(parts)
    except requests.ConnectionError:
        return None


def kept(server, url: str, data: bytes) -> bool:
    """Whether what was acknowledged is the newest or an older version of the instance at its Retrieve URL."""
    def streams(**parameters):
        answer = server.session.get(url, headers={"Accept": ORIGINAL}, params=parameters, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 200, (answer.status_code, answer.text[:300])
        return [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]

    wanted = dataset_hash(data)
    if wanted in map(dataset_hash, streams()):
        return True
    listing = server.session.get(url + "/versions", headers={"Accept": "application/json"}, timeout=PATIENCE_SECONDS).json()
    listed = listing["versions"] if isinstance(listing, dict) else listing
    return any(wanted in map(dataset_hash, streams(version=entry["version"])) for entry in listed)


def test_every_bad_file(server, corpus):
    idle_bytes = server.status("VmRSS")
    server_errors, wrongly_stored, wrongly_refused, not_kept, partner_lost = [], [], [], [], []
    with Sampler(server) as sampler:
        for number, path in enumerate(corpus_files.bad(corpus), 1):
            data = path.read_bytes()
            partner, partner_data = sound(number)
            began = time.monotonic()
            answer = store(server, [data, partner_data])
            if answer is None or answer.status_code >= 500 or time.monotonic() - began > 30:
                server_errors.append((path.name, answer and answer.status_code, round(time.monotonic() - began, 1)))
                assert server.alive(), f"{path.name} ended the server:\n{server.log_tail()}"
                continue
            said = outcomes(answer) if answer.content and "json" in answer.headers.get("Content-Type", "") else {}
            if said.get(partner, ("", 0))[0] != "stored":
                partner_lost.append((path.name, answer.status_code, answer.text[:200]))
            stored = [uid for uid, (word, _) in said.items() if uid != partner and word == "stored"]
            if stored and path.name in MUST_BE_REFUSED:
                wrongly_stored.append(path.name)
            if not stored and path.name in MUST_BE_STORED:
                wrongly_refused.append((path.name, answer.text[:400]))
            if stored and not kept(server, stored_at(answer)[stored[0]], data):
                not_kept.append(path.name)
    assert server.alive()
    assert not server_errors, server_errors
    assert not partner_lost, partner_lost
    assert not wrongly_stored, wrongly_stored
    assert not wrongly_refused, wrongly_refused
    assert not not_kept, not_kept
    growth = sampler.peak_bytes - idle_bytes
    assert growth < MAX_GROWTH_BYTES, f"{growth >> 20} MiB more than at rest"


def mutate(data: bytes, random_source: random.Random) -> bytes:
    """One to four changes of the kinds that broken writers, disks and attackers make."""
    data = bytearray(data)
    for _ in range(random_source.randint(1, 4)):
        if len(data) < 8:
            break
        # Most of a file is pixels, where a change is harmless: aim at the header.
        at = random_source.randrange(min(len(data) - 4, 8192) if random_source.random() < 0.8 else len(data) - 4)
        kind = random_source.randrange(9)
        if kind == 0:
            data[at] ^= 1 << random_source.randrange(8)
        elif kind == 1:
            data[at : at + 4] = random_source.choice([b"\xff\xff\xff\xff", b"\xfe\xff\xff\xff", b"\x00\x00\x00\x80", bytes(4)])
        elif kind == 2:
            del data[at:]
        elif kind == 3:
            data[at:at] = random_source.randbytes(random_source.randint(1, 16))
        elif kind == 4:
            del data[at : at + random_source.randint(1, 64)]
        elif kind == 5:
            data[at:at] = data[at : at + random_source.randint(1, 512)]
        elif kind == 6:
            data[at:at] = b"\x08\x00\x40\x11SQ\x00\x00\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * random_source.randint(1, 40)
        elif kind == 7:
            data[at : at + 2] = random_source.choice([b"SQ", b"UN", b"OB", b"OW", b"UT", b"US", b"ZZ", b"\x00\x00"])
        else:
            data[at : at + 4] = random_source.choice([b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0", b"\xfe\xff\xdd\xe0", b"\xe0\x7f\x10\x00"])
    return bytes(data)


def test_mutation_of_the_corpus(server, corpus, seed):
    random_source = random.Random(seed)
    files = [file for file in corpus_files.composite_and_other(corpus) if file.path.stat().st_size < 300_000]
    files += [file for file in files if file.path.stat().st_size < 20_000]
    until = time.monotonic() + float(os.environ.get("SEPTUM_FUZZ_SECONDS", "20"))
    idle_bytes, num_sent, num_stored = server.status("VmRSS"), 0, 0
    with Sampler(server) as sampler:
        while time.monotonic() < until:
            parts = [mutate(random_source.choice(files).read(), random_source) for _ in range(random_source.randint(1, 6))]
            answer = store(server, parts)
            num_sent += len(parts)
            if answer is None or answer.status_code >= 500 or not server.alive():
                folder = server.root.parent / "septum-mutation"
                folder.mkdir(exist_ok=True)
                for number, part in enumerate(parts):
                    (folder / f"{seed}-{num_sent}-{number}.dcm").write_bytes(part)
                pytest.fail(f"{answer and answer.status_code} for a mutated file; kept in {folder}\n{server.log_tail()}")
            if answer.content and "json" in answer.headers.get("Content-Type", ""):
                stored = [uid for uid, (word, _) in outcomes(answer).items() if word == "stored"]
                num_stored += len(stored)
    print(f"{num_sent} mutated instances sent, {num_stored} stored, peak {sampler.peak_bytes >> 20} MiB")
    assert num_sent > 50
    assert sampler.peak_bytes - idle_bytes < 2 * MAX_GROWTH_BYTES


def test_what_was_stored_of_the_mutations_can_be_searched(server):
    answer = server.request("GET", "/instances", params={"limit": 100}, headers={"Accept": "application/dicom+json"})
    assert answer.status_code in (200, 204)
    for study in server.search("/studies")[:50]:
        answer = server.request("GET", server.path(study["0020000D"]["Value"][0]) + "/metadata",
                                headers={"Accept": "application/dicom+json"})
        assert answer.status_code == 200, answer.text[:300]


BOUNDARY = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.mark.parametrize(("content_type", "body"), [
    (BOUNDARY, b""),
    (BOUNDARY, b"--b\r\n"),
    (BOUNDARY, b"--b--\r\n"),
    (BOUNDARY, b"no boundary at all"),
    (BOUNDARY, b"--b\r\nContent-Type: application/dicom\r\n\r\nnever closed"),
    (BOUNDARY, b"--b\r\nContent-Type: application/dicom\r\n\r\n\r\n--b--\r\n"),
    (BOUNDARY, b"--b\r\n" + b"X: y\r\n" * 10_000 + b"\r\nx\r\n--b--\r\n"),
    (BOUNDARY, b"--b\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\nx\r\n--b--\r\n"),
    (BOUNDARY, b"--b\r\n\r\nx\r\n" * 20_000 + b"--b--\r\n"),
    (BOUNDARY, b"--b\r\nContent-Type: text/html\r\n\r\n<html>\r\n--b--\r\n"),
    ('multipart/related; type="application/dicom"', b"--b\r\n\r\nx\r\n--b--\r\n"),
    ('multipart/related; type="application/dicom"; boundary=""', b"--\r\n\r\nx\r\n----\r\n"),
    ('multipart/related; type="application/dicom"; boundary=' + "b" * 4000, b"x"),
    ("application/json", b"{}"),
    ("text/plain", b"hello"),
    ("", b"hello"),
])
def test_broken_multipart(server, content_type, body):
    try:
        answer = server.request("POST", "/studies", data=body, headers={"Content-Type": content_type})
    except requests.ConnectionError:
        # It may hang up on a body that it will not read to the end; it must still be there.
        assert server.alive() and server.request("GET", "/studies", params={"limit": 1}).status_code in (200, 204)
        return
    assert 400 <= answer.status_code < 500, (answer.status_code, answer.text[:200])


@pytest.mark.parametrize("path", [
    "/studies/../../etc/passwd", "/studies/%00", "/studies/" + "1." * 3000, "/studies/1.2/series/abc/instances/x",
    "/studies?limit=-1", "/studies?limit=99999999999999999999", "/studies?offset=abc", "/studies?PatientName=" + "*" * 2000,
    "/studies?StudyDate=yesterday", "/studies?00100010=%ff%fe", "/studies?nonsense=1", "/studies/1.2.3/instances/1.2.3/frames/0",
    "/studies/1.2.3/series/1/instances/1/frames/1,,2", "/studies/1.2.3/series/1/instances/1/frames/" + ",".join(["1"] * 5000),
])
def test_broken_addresses(server, path):
    answer = server.request("GET", path, headers={"Accept": "application/dicom+json"})
    assert answer.status_code < 500, (answer.status_code, answer.text[:200])


def raw(server, data: bytes, then_wait_seconds: float = 0.0) -> bytes:
    """Sends bytes over TLS as they are and closes without a word."""
    context = ssl.create_default_context(cafile=server.verify)
    with socket.create_connection(("localhost", server.port), timeout=20) as plain, \
            context.wrap_socket(plain, server_hostname="localhost") as connection:
        try:
            connection.sendall(data)
        except OSError:
            return b""  # refused before all was sent
        if then_wait_seconds:
            connection.settimeout(then_wait_seconds)
            try:
                return connection.recv(65536)
            except (TimeoutError, OSError):
                return b""
    return b""


def test_uploads_that_break_off(server):
    content_type, body = multipart([sound(1001)[1]])
    token = base64.b64encode(":".join(server.auth).encode()).decode()
    head = (f"POST {server.base}/studies HTTP/1.1\r\nHost: localhost\r\nAuthorization: Basic {token}\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n").encode()
    free_bytes = server.metrics()["septum_memory_permits_bytes"]
    for cut in range(0, len(body), max(1, len(body) // 40)):
        raw(server, head + body[:cut])
    raw(server, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 2_000_000)
    raw(server, b"\x00" * 1000)
    raw(server, b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\nHost: x\r\n\r\nzz\r\n", 2)
    assert server.alive()
    assert server.store([sound(1002)[1]]).status_code in (200, 202)
    # What the broken uploads held is given back.
    for _ in range(100):
        if server.metrics()["septum_memory_permits_bytes"] >= free_bytes:
            return
        time.sleep(0.1)
    pytest.fail("memory permits were not given back")
