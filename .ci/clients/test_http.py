"""What HTTP itself asks for (RFC 9110, RFC 9112): slow bodies, refused media types, preconditions, clients of HTTP/1.0.

Over plain TCP, so that a test can see every byte.
"""

import base64
import io
import re
import socket
import struct
import zipfile

import pydicom
import pydicom.encaps
import pydicom.uid
import pytest

import harness
from harness import multipart, outcomes, parts_of
from synthetic import instance

pytestmark = pytest.mark.septum

JSON, XML = "application/dicom+json", "application/dicom+xml"
# Within Bits Stored, so that they have a form in every codec.
PIXELS = struct.pack("<4096H", *range(4096))


class Stored:
    """An instance on the server."""

    def __init__(self, server, study: str | None = None):
        self.server = server
        self.study, self.series, self.uid = study or pydicom.uid.generate_uid(), *(pydicom.uid.generate_uid() for _ in "ab")
        self.stream = instance(self.study, self.series, self.uid, 1, PIXELS, 64)
        assert server.store([self.stream]).status_code == 200
        self.path = server.path(self.study, self.series, self.uid)

    def get(self, path: str = "", method: str = "GET", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.server.request(method, self.path + path, headers=named)


@pytest.fixture(scope="module")
def server():
    started = harness.Server(environment={"SEPTUM__LIMITS__BODY_GRACE_S": "1"}, tls=False)
    try:
        started.start()
        yield started
        assert started.stop() == 0, f"unclean exit after SIGTERM:\n{started.log_tail()}"
    finally:
        started.close()


@pytest.fixture(scope="module")
def stored(server):
    return Stored(server)


def exchanged(server, request: str, body: bytes = b"", version: str = "1.1", headers: str = "") -> tuple[str, bytes]:
    """(head, the rest) of a request that is sent as it is. The rest ends where the server closes, or where it said."""
    token = base64.b64encode(":".join(server.auth).encode()).decode()
    method, path = request.split(" ")
    head = (f"{method} {server.base}{path} HTTP/{version}\r\nHost: localhost:{server.port}\r\n"
            f"Authorization: Basic {token}\r\n{headers}\r\n")
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        answer = connection.makefile("rb")
        said = b""
        while not said.endswith(b"\r\n\r\n") and (line := answer.readline()):
            said += line
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)\r\n", said)
        return said[:-4].decode(), answer.read(int(length[1]) if length else -1)


def test_a_body_that_stalls_may_come_again(server):
    """What is wrong is not the instance: 408, or a failure that says so, and never a refusal for good."""
    first, second = (pydicom.uid.generate_uid() for _ in "ab")
    streams = [instance(pydicom.uid.generate_uid(), pydicom.uid.generate_uid(), uid, 1, PIXELS, 64) for uid in (first, second)]
    headers = f"Content-Type: application/dicom\r\nAccept: {JSON}\r\nContent-Length: {len(streams[0])}\r\n"
    head, _ = exchanged(server, "POST /studies", streams[0][:300], headers=headers + "Connection: close\r\n")
    assert head.startswith("HTTP/1.1 408"), head
    content_type, body = multipart(streams)
    headers = f"Content-Type: {content_type}\r\nAccept: {JSON}\r\nContent-Length: {len(body)}\r\n"
    head, said = exchanged(server, "POST /studies", body[: len(streams[0]) + 1500], headers=headers + "Connection: close\r\n")
    assert head.startswith("HTTP/1.1 202"), head
    answer = type("Answer", (), {"content": said, "json": lambda self: harness.json.loads(said)})()
    # What came of the second may be too little to tell which it is.
    assert outcomes(answer) in [{first: ("stored", 0), uid: ("refused", 0xA700)} for uid in (second, "")]


@pytest.mark.parametrize("accept,path,refused", [
    (f"{JSON};q=0, */*", "/metadata", JSON),
    (f"*/*, {JSON};q=0", "/metadata", JSON),
    ("application/dicom;q=0, */*", "", "application/dicom"),
    ("application/octet-stream;q=0, */*", "/frames/1", "application/octet-stream"),
    ("image/jpeg;q=0, image/*", "/rendered", "image/jpeg"),
])
def test_what_is_refused_is_not_sent(stored, accept, path, refused):
    answer = stored.get(path, Accept=accept)
    assert answer.status_code in (200, 406), answer.text[:300]
    if answer.status_code == 200:
        assert refused not in answer.headers["Content-Type"]
        parts = parts_of(answer.headers["Content-Type"], answer.content)
        assert not [part for part, _ in parts if part["content-type"].startswith(refused)]


def test_searches_heed_what_is_refused(server, stored):
    answer = server.request("GET", f"/studies?StudyInstanceUID={stored.study}", headers={"Accept": f"{JSON};q=0, */*"})
    assert answer.status_code == 200 and JSON not in answer.headers["Content-Type"]


def test_a_plus_in_the_accept_parameter(server, stored):
    for accept in ("application/dicom+json", "application/dicom%2Bjson"):
        answer = server.request("GET", f"{stored.path}/metadata?accept={accept}")
        assert answer.status_code == 200 and answer.headers["Content-Type"] == JSON, answer.text[:300]


def test_clients_of_http_1_0_get_no_chunks(server, stored):
    for path, accept in ((stored.path + "/metadata", JSON), (stored.path, harness.ORIGINAL), ("/studies", JSON)):
        for connection in ("", "Connection: keep-alive\r\n"):
            head, body = exchanged(server, f"GET {path}", version="1.0", headers=f"Accept: {accept}\r\n{connection}")
            assert head.startswith("HTTP/1.0 200"), head
            assert "transfer-encoding" not in head.lower(), head
            if accept == JSON:
                assert isinstance(harness.json.loads(body), list)
            else:
                assert stored.stream in body


def test_preconditions(server, stored):
    gone = Stored(server)
    weak = gone.get("", Accept=harness.ORIGINAL).headers["ETag"]
    assert weak.startswith("W/")
    for path in (gone.path, server.path(gone.study, gone.series), server.path(gone.study)):
        for known in ('"x"', weak, f'"y", {weak}'):
            answer = server.request("DELETE", path, headers={"If-Match": known})
            assert answer.status_code == 412, (known, answer.text[:300])
            answer = server.request("GET", path, headers={"If-Match": known, "Accept": harness.ORIGINAL})
            assert answer.status_code == 412, (known, answer.text[:300])
    for missing in (server.path(gone.study, gone.series, "1.2.3"), server.path(gone.study, "1.2.3"), server.path("1.2.3")):
        assert server.request("DELETE", missing, headers={"If-Match": '"x"'}).status_code == 404
    content_type, body = multipart([gone.stream])
    answer = server.request("POST", "/studies", data=body, headers={"Content-Type": content_type, "If-Match": '"x"'})
    assert answer.status_code == 412
    assert gone.get("", Accept=harness.ORIGINAL, If_Match="*").status_code == 200
    assert server.request("DELETE", gone.path, headers={"If-Match": "*"}).status_code == 204
    assert gone.get("", Accept=harness.ORIGINAL, If_Match="*").status_code == 404


def test_downloads_go_on_under_a_strong_validator(stored):
    path = "/bulkdata/7FE00010"
    whole = stored.get(path, Accept="application/octet-stream")
    etag = whole.headers["ETag"]
    assert whole.content == PIXELS and not etag.startswith("W/")
    part = stored.get(path, Accept="application/octet-stream", Range="bytes=100-", If_Range=etag)
    assert part.status_code == 206 and part.content == PIXELS[100:]
    for other in ("W/" + etag, '"x"'):
        again = stored.get(path, Accept="application/octet-stream", Range="bytes=100-", If_Range=other)
        assert again.status_code == 200 and again.content == PIXELS
    assert stored.get(path, Accept="application/octet-stream", If_Match=etag).status_code == 200
    assert stored.get(path, Accept="application/octet-stream", If_None_Match=etag).status_code == 304


def test_parts_say_where_they_are(server, stored):
    url = server.url + stored.path
    octets = 'multipart/related; type="application/octet-stream"'
    for path, accept, locations in (
        ("/bulkdata/7FE00010", octets, [url + "/bulkdata/7FE00010"]),
        ("/frames/1", octets, [url + "/frames/1"]),
        ("/frames/1,1", octets, [url + "/frames/1"] * 2),
        ("", harness.ORIGINAL, [url]),
        ("/rendered", 'multipart/related; type="image/png"', [url + "/rendered"]),
        ("/frames/1/rendered", 'multipart/related; type="image/png"', [url + "/frames/1/rendered"]),
    ):
        answer = stored.get(path, Accept=accept)
        assert answer.status_code == 200, (path, answer.text[:300])
        parts = parts_of(answer.headers["Content-Type"], answer.content)
        assert [headers["content-location"] for headers, _ in parts] == locations
    answer = stored.get("/metadata", Accept=f'multipart/related; type="{XML}"')
    (headers, _), = parts_of(answer.headers["Content-Type"], answer.content)
    assert headers["content-location"].endswith(stored.path + "/metadata")


def bare(stored, uid: str, **attributes) -> bytes:
    """A dataset without pixels in the study of an instance, or one whose pixels are broken."""
    dataset = pydicom.dcmread(io.BytesIO(stored.stream))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = stored.study, attributes.pop("SeriesInstanceUID")
    for name, value in attributes.items():
        setattr(dataset, name, value)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def broken(server, stored):
    """(path of the series, path of the instance) of a JPEG image whose codestream is none."""
    series, uid = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    dataset = pydicom.dcmread(io.BytesIO(bare(stored, uid, SeriesInstanceUID=series, BitsAllocated=8, BitsStored=8, HighBit=7)))
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.50"
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xdb" + bytes(100)])
    dataset["PixelData"].VR = "OB"
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert server.store([buffer.getvalue()]).status_code in (200, 202)
    return server.path(stored.study, series), server.path(stored.study, series, uid)


def test_nothing_to_show_is_no_empty_answer(server, broken):
    series, one = broken
    reason = server.request("GET", one + "/rendered", headers={"Accept": "image/png"})
    assert reason.status_code == 406
    answer = server.request("GET", series + "/rendered", headers={"Accept": 'multipart/related; type="image/png"'})
    assert answer.status_code == 406, answer.text[:300]
    assert reason.json()["detail"] in answer.json()["detail"]


def test_a_refusal_says_why_and_what_else(server, broken):
    _, one = broken
    answer = server.request("GET", one, headers={"Accept": "application/dicom"})
    assert answer.status_code == 406
    said = answer.json()
    reason = server.request("GET", one + "/rendered", headers={"Accept": "image/png"}).json()["detail"]
    assert reason in said["detail"]
    assert len(said["choices"]) == len(set(said["choices"]))
    assert not [choice for choice in said["choices"] if choice.endswith(f"={harness.EXPLICIT_LITTLE}")]
    for choice in said["choices"]:
        assert server.request("GET", one, headers={"Accept": choice}).status_code == 200, choice


def test_zip_files_hold_the_transfer_syntax_asked_for(server):
    stored = Stored(server)
    syntax = "1.2.840.10008.1.2.4.201"
    for path in (stored.path, server.path(stored.study)):
        for asked, expected in ((f"; transfer-syntax={syntax}", syntax), ("; transfer-syntax=*", harness.EXPLICIT_LITTLE),
                                ("", harness.EXPLICIT_LITTLE)):
            answer = server.request("GET", path, headers={"Accept": "application/zip" + asked})
            assert answer.status_code == 200, answer.text[:300]
            with zipfile.ZipFile(io.BytesIO(answer.content)) as opened:
                name, = [name for name in opened.namelist() if name != "DICOMDIR"]
                assert pydicom.dcmread(io.BytesIO(opened.read(name))).file_meta.TransferSyntaxUID == expected
                records = pydicom.dcmread(io.BytesIO(opened.read("DICOMDIR"))).DirectoryRecordSequence
                assert [record.ReferencedTransferSyntaxUIDInFile for record in records
                        if "ReferencedTransferSyntaxUIDInFile" in record] == [expected]
        answer = server.request("GET", path, headers={"Accept": "application/zip; transfer-syntax=1.2.840.10008.1.2.4.90"})
        assert answer.status_code == 406, answer.status_code


def test_all_bulk_data_of_a_level(server):
    """What the metadata names by BulkDataURI, each as a part that says its address (PS3.18 table 10.4.1-1)."""
    first = Stored(server)
    second = Stored(server, first.study)
    document = bytes(range(250)) * 400
    dataset = pydicom.dcmread(io.BytesIO(second.stream))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
    dataset.EncapsulatedDocument = document
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert server.store([buffer.getvalue()]).status_code in (200, 202)
    with_document = server.path(second.study, second.series, dataset.SOPInstanceUID)
    octets = 'multipart/related; type="application/octet-stream"'
    for level, num_pixels, num_others in ((server.path(first.study), 3, 1), (server.path(first.study, second.series), 2, 1),
                                          (first.path, 1, 0), (with_document, 1, 1)):
        metadata = server.request("GET", level + "/metadata", headers={"Accept": JSON}).json()
        named = {element["BulkDataURI"] for item in metadata for element in item.values() if "BulkDataURI" in element}
        for resource, expected in (("/bulkdata", num_pixels + num_others), ("/pixeldata", num_pixels)):
            answer = server.request("GET", level + resource, headers={"Accept": octets})
            assert answer.status_code == 200, (level, resource, answer.text[:300])
            parts = parts_of(answer.headers["Content-Type"], answer.content)
            assert len(parts) == expected
            for headers, content in parts:
                assert headers["content-location"] in named
                is_pixels = headers["content-location"].endswith("/7FE00010")
                assert content == (PIXELS if is_pixels else document)
            if resource == "/bulkdata":
                assert {headers["content-location"] for headers, _ in parts} == named
    assert server.request("GET", first.path + "/bulkdata", headers={"Accept": "application/octet-stream"}).status_code == 406
    assert server.request("GET", server.path(first.study, "1.2.3") + "/bulkdata", headers={"Accept": octets}).status_code == 404


def test_pixels_that_cannot_be_decoded_are_sent_as_stored(server, broken):
    series, one = broken
    answer = server.request("GET", series + "/pixeldata", headers={"Accept": 'multipart/related; type="application/octet-stream"'})
    assert answer.status_code == 200, answer.text[:300]
    (headers, content), = parts_of(answer.headers["Content-Type"], answer.content)
    assert headers["content-type"] == "image/jpeg; transfer-syntax=1.2.840.10008.1.2.4.50"
    assert headers["content-location"].endswith(one + "/frames/1")
    assert content.startswith(b"\xff\xd8\xff\xdb")
