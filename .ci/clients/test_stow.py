"""STOW-RS of metadata and bulk data, content and transfer codings of bodies, XML answers, storage commitment."""

import base64
import copy
import gzip
import io
import json
import random
import socket
import ssl
import uuid
import warnings
import xml.etree.ElementTree as ElementTree
import zlib
from xml.sax.saxutils import escape, quoteattr

import pydicom
import pydicom.encaps
import pydicom.uid
import pytest

import corpus_files
import harness
from harness import outcomes, parts_of
from synthetic import instance

pytestmark = pytest.mark.septum

JSON, XML = "application/dicom+json", "application/dicom+xml"
NATIVE_MODEL = "{http://dicom.nema.org/PS3.19/models/NativeDICOM}"
# A parser makes a line feed of it when it stands plainly (XML 1.0 section 2.11).
CARRIAGE = {"\r": "&#13;"}
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def related(kind: str, parts: list[tuple[dict[str, str], bytes]]) -> tuple[dict[str, str], bytes]:
    """(headers, body) of a multipart/related request with headers of its parts."""
    boundary = uuid.uuid4().hex
    body = b"".join(
        b"--%s\r\n%s\r\n%s\r\n" % (boundary.encode(), "".join(f"{n}: {v}\r\n" for n, v in headers.items()).encode(), content)
        for headers, content in parts)
    headers = {"Content-Type": f'multipart/related; type="{kind}"; boundary={boundary}', "Accept": JSON}
    return headers, body + b"--%s--\r\n" % boundary.encode()


def post(server, kind, parts, **options):
    headers, body = related(kind, parts)
    return server.request("POST", "/studies", data=body, headers=headers | options.pop("headers", {}), **options)


def native_xml(dataset: dict) -> bytes:
    """DICOM JSON Model to Native DICOM Model (PS3.19 A.1)."""
    def attributes(dataset):
        for tag, element in dataset.items():
            yield f'<DicomAttribute tag="{tag}" vr="{element["vr"]}">'
            if "BulkDataURI" in element:
                yield f"<BulkData uri={quoteattr(element['BulkDataURI'])}/>"
            elif "InlineBinary" in element:
                yield f"<InlineBinary>{element['InlineBinary']}</InlineBinary>"
            for number, value in enumerate(element.get("Value", []), 1):
                if element["vr"] == "SQ":
                    yield f'<Item number="{number}">' + "".join(attributes(value or {})) + "</Item>"
                elif value is None:
                    yield f'<Value number="{number}"/>'
                elif element["vr"] == "PN":
                    yield f'<PersonName number="{number}">'
                    for group, text in value.items():
                        names = zip(("FamilyName", "GivenName", "MiddleName", "NamePrefix", "NameSuffix"), text.split("^"))
                        yield f"<{group}>" + "".join(f"<{n}>{escape(t, CARRIAGE)}</{n}>" for n, t in names if t) + f"</{group}>"
                    yield "</PersonName>"
                else:
                    yield f'<Value number="{number}">{escape(str(value), CARRIAGE)}</Value>'
            yield "</DicomAttribute>"

    return ('<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel '
            'xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">'
            + "".join(attributes(dataset)) + "</NativeDicomModel>").encode()


def metadata_part(kind: str, *datasets: dict) -> list[tuple[dict[str, str], bytes]]:
    if kind == JSON:
        return [({"Content-Type": JSON}, json.dumps(datasets).encode())]
    return [({"Content-Type": XML}, native_xml(dataset)) for dataset in datasets]


def taken_apart(dataset: pydicom.Dataset) -> tuple[dict, dict[str, bytes]]:
    """(metadata, bulk data by address); pixels are always bulk data."""
    bulk = {}

    def keep(element):
        address = f"bulk/{uuid.uuid4().hex}"
        bulk[address] = element.value
        return address

    metadata = dataset.to_json_dict(bulk_data_threshold=1024, bulk_data_element_handler=keep)
    for tag in ("7FE00010", "7FE00008", "7FE00009"):
        if "InlineBinary" in metadata.get(tag, {}):
            address = f"bulk/{uuid.uuid4().hex}"
            bulk[address] = base64.b64decode(metadata[tag].pop("InlineBinary"))
            metadata[tag]["BulkDataURI"] = address
    return metadata, bulk


def bulk_parts(dataset, metadata, bulk, as_items=False):
    """Parts of the bulk data; compressed pixels frame by frame, or with their item headers."""
    syntax = dataset.file_meta.TransferSyntaxUID
    pixels = metadata.get("7FE00010", {}).get("BulkDataURI")
    for address, value in bulk.items():
        headers = {"Content-Type": "application/octet-stream", "Content-Location": address}
        if address != pixels or not syntax.is_compressed or not syntax.is_encapsulated:
            yield headers, value
            continue
        headers["Content-Type"] += f"; transfer-syntax={syntax}"
        if as_items:
            yield headers, value
            continue
        frames = int(dataset.get("NumberOfFrames") or 1)
        for number, frame in enumerate(pydicom.encaps.generate_frames(value, number_of_frames=frames), 1):
            yield headers | ({"Content-Location": f"{address}/frames/{number}"} if frames > 1 else {}), frame


def comparable(dataset: pydicom.Dataset) -> dict:
    """Without what may differ: character set, group lengths, offset tables, padding, UN, pixels."""
    def walk(found):
        kept = {}
        for tag, element in found.items():
            if tag.endswith("0000") or tag in ("00080005", "7FE00001", "7FE00002", "7FE00003", "7FE00010"):
                continue
            if "InlineBinary" in element:
                kept[tag] = base64.b64decode(element["InlineBinary"]).rstrip(b"\0")
            elif element["vr"] == "SQ":
                kept[tag] = [walk(item or {}) for item in element.get("Value", [])]
            else:
                values = [number(value) for value in element.get("Value", [])]
                kept[tag] = [] if values == [{}] else values
        return kept

    def number(value):
        if isinstance(value, dict):
            return {group: text.rstrip("^= ") for group, text in value.items() if text.rstrip("^= ")}
        return f"{value:.9g}" if isinstance(value, float) else value.strip() if isinstance(value, str) else value

    return walk(dataset.to_json_dict(bulk_data_threshold=1 << 40, suppress_invalid_tags=False))


def frames_of(dataset: pydicom.Dataset) -> list[bytes]:
    if "PixelData" not in dataset:
        return []
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        return [f.rstrip(b"\0") for f in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=frames)]
    return [dataset.PixelData.rstrip(b"\0")]


def fresh(dataset: pydicom.Dataset) -> pydicom.Dataset:
    """The same under new UIDs, so that no two files meet in one study."""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = (
        pydicom.uid.generate_uid() for _ in range(3))
    return dataset


def retrieved(server, dataset) -> pydicom.Dataset:
    stream, = server.datasets(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    return pydicom.dcmread(io.BytesIO(stream))


@pytest.fixture(scope="module")
def samples(corpus):
    """Files that pydicom can take apart, without loss, into metadata and bulk data."""
    found = []
    for file in corpus_files.composite_and_other(corpus):
        if not file.identified or file.sop_class in corpus_files.NON_PATIENT or file.path.stat().st_size > 4 << 20:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                dataset = pydicom.dcmread(file.path)
                syntax = dataset.file_meta.TransferSyntaxUID
                if not syntax.is_little_endian or syntax == pydicom.uid.DeflatedExplicitVRLittleEndian:
                    continue
                frames_of(dataset), comparable(dataset), taken_apart(dataset)
            except Exception:  # noqa: BLE001 - what pydicom cannot take apart is no sample
                continue
        found.append(file)
    assert len(found) > 100
    return found


@pytest.mark.parametrize("kind", [JSON, XML])
def test_corpus_as_metadata_and_bulk_data(server, samples, kind):
    refused, different, compared = [], [], 0
    for number, file in enumerate(samples):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = fresh(pydicom.dcmread(file.path))
            metadata, bulk = taken_apart(dataset)
            parts = list(bulk_parts(dataset, metadata, bulk, as_items=number % 2 == 0))
            answer = post(server, kind, metadata_part(kind, metadata) + parts)
            assert answer.status_code < 500, (file.name, answer.status_code, answer.text[:300])
            if outcomes(answer).get(dataset.SOPInstanceUID, ("", 0))[0] != "stored":
                refused.append((file.name, answer.status_code, answer.text[:300]))
                continue
            got = retrieved(server, dataset)
            compared += 1
            wanted, found = comparable(dataset), comparable(got)
            if wanted != found:
                keys = [tag for tag in wanted.keys() | found.keys() if wanted.get(tag) != found.get(tag)]
                different.append((file.name, keys[:4], [(wanted.get(tag), found.get(tag)) for tag in keys[:1]]))
            if frames_of(dataset) != frames_of(got):
                different.append((file.name, "pixels", [len(f) for f in frames_of(dataset)][:3],
                                  [len(f) for f in frames_of(got)][:3]))
    print(f"{compared} compared, {len(refused)} refused, {len(different)} different")
    assert not different, different[:10]
    assert len(refused) <= len(samples) // 20, refused[:10]


def made(number: int, pixels: bytes, side: int) -> pydicom.Dataset:
    stream = instance(pydicom.uid.generate_uid(), pydicom.uid.generate_uid(), pydicom.uid.generate_uid(), number, pixels, side)
    return pydicom.dcmread(io.BytesIO(stream))


def test_many_instances_in_one_request(server):
    datasets = [made(number, random.Random(number).randbytes(8192), 64) for number in range(20)]
    apart = [taken_apart(dataset) for dataset in datasets]
    parts = [part for dataset, (metadata, bulk) in zip(datasets, apart) for part in bulk_parts(dataset, metadata, bulk)]
    for kind in (JSON, XML):
        for order in (parts, parts[::-1]):
            answer = post(server, kind, metadata_part(kind, *(metadata for metadata, _ in apart)) + order)
            assert answer.status_code == 200, answer.text[:300]
            assert len(outcomes(answer)) == 20
    for dataset in datasets:
        assert retrieved(server, dataset).PixelData == dataset.PixelData


def test_addresses_meet_in_any_form(server):
    for uri, location in (("bulk/1", "bulk/1"), ("bulk/1", "/dicomweb/bulk/1"), ("urn:uuid:1", "urn:uuid:1"),
                          (server.url + "/bulk/1", "./bulk/1"), ("https://elsewhere/a?b=c", "https://elsewhere/a?b=c")):
        dataset = made(1, bytes(8192), 64)
        metadata, bulk = taken_apart(dataset)
        metadata["7FE00010"]["BulkDataURI"] = uri
        answer = post(server, JSON, metadata_part(JSON, metadata) + [({"Content-Location": location}, bytes(8192))])
        assert answer.status_code == 200, (uri, answer.text[:300])


def test_long_bulk_data_is_not_held(server):
    """Longer than all that may be held: with Content-Length, or as long as rows and columns say; of wrong length; and as
    many frames."""
    side = 10000
    pixels = random.Random(1).randbytes(1 << 20) * (2 * side * side >> 20) + bytes(2 * side * side % (1 << 20))
    length = {"Content-Length": str(len(pixels))}
    for headers, cut, stored in ((length, 0, True), ({}, 0, True), ({}, 10, False), (length, 10, False)):
        dataset = made(1, b"", side)
        metadata, _ = taken_apart(dataset)
        metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/long"}
        part = ({"Content-Type": "application/octet-stream", "Content-Location": "bulk/long"} | headers,
                pixels[: len(pixels) - cut])
        answer = post(server, JSON, metadata_part(JSON, metadata) + [part], timeout=300)
        assert answer.status_code == (200 if stored else 409), (headers, cut, answer.text[:300])
        assert outcomes(answer)[dataset.SOPInstanceUID][0] == ("stored" if stored else "refused")
        if stored:
            assert retrieved(server, dataset).PixelData == pixels
    frames = [b"\xFF\xD8\xFF\xF7" + random.Random(n).randbytes(1 << 20) + bytes([n]) for n in range(200)]
    dataset = made(1, b"", 1024)
    dataset.NumberOfFrames = len(frames)
    metadata, _ = taken_apart(dataset)
    metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "bulk/frames"}
    parts = [({"Content-Type": "image/jls", "Content-Location": "bulk/frames"}, frame) for frame in frames]
    answer = post(server, JSON, metadata_part(JSON, metadata) + parts, timeout=300)
    assert outcomes(answer)[dataset.SOPInstanceUID][0] == "stored", answer.text[:300]
    got = retrieved(server, dataset)
    assert list(pydicom.encaps.generate_frames(got.PixelData, number_of_frames=200)) == [
        frame + b"\0" * (len(frame) % 2) for frame in frames]
    answer = post(server, JSON, metadata_part(JSON, fresh_metadata(metadata)) + parts[:-1], timeout=300)
    assert answer.status_code == 409, answer.text[:300]


def test_codestreams_come_out_of_their_boxes(server, corpus):
    """`image/jp2` is a file format around the codestream that a fragment holds; and what is no codestream is refused."""
    files = corpus_files.composite_and_other(corpus)
    bare = lambda frame: frame.startswith(b"\xFF\x4F\xFF\x51")  # noqa: E731
    found = (read for file in files if b"1.2.840.10008.1.2.4.90" in (data := file.read())[:1024]
             if "PixelData" in (read := pydicom.dcmread(io.BytesIO(data), force=True)))
    dataset, frame = next((dataset, frame) for dataset in found if int(dataset.get("NumberOfFrames") or 1) == 1
                          for frame in pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=1) if bare(frame))
    signature = b"\0\0\0\x0CjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 "
    boxed = signature + (len(frame) + 8).to_bytes(4, "big") + b"jp2c" + frame + b"\0\0\0\x08free"
    to_the_end = signature + b"\0\0\0\0jp2c" + frame
    for content, kind, stored in ((frame, "image/jp2", True), (boxed, "image/jp2", True), (to_the_end, "image/jp2", True),
                                  (signature, "image/jp2", False), (frame, "image/jls", False), (boxed, "image/jphc", True),
                                  (frame, "image/dicom-rle", False), (b"no image", "image/jphc", False)):
        one = copy.deepcopy(dataset)
        one.StudyInstanceUID, one.SOPInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
        metadata, bulk = taken_apart(one)
        del bulk[metadata["7FE00010"]["BulkDataURI"]]
        metadata["7FE00010"] = {"vr": "OB", "BulkDataURI": "bulk/frame"}
        answer = post(server, JSON, metadata_part(JSON, metadata) + list(bulk_parts(one, metadata, bulk)) + [
            ({"Content-Type": kind, "Content-Location": "bulk/frame"}, content)])
        assert outcomes(answer)[one.SOPInstanceUID][0] == ("stored" if stored else "refused"), (kind, answer.text[:300])
        if stored:
            got = retrieved(server, one)
            assert list(pydicom.encaps.generate_frames(got.PixelData, number_of_frames=1)) == [
                frame + b"\0" * (len(frame) % 2)], kind


def fresh_metadata(metadata: dict) -> dict:
    metadata = copy.deepcopy(metadata)
    metadata["00080018"]["Value"] = [pydicom.uid.generate_uid()]
    return metadata


def test_what_is_wrong_stays_with_its_instance(server):
    dataset = made(1, random.Random(5).randbytes(8192), 64)
    sound, bulk = taken_apart(dataset)
    part = list(bulk_parts(dataset, sound, bulk))

    def broken(**changes):
        metadata = fresh_metadata(sound)
        for name, value in changes.items():
            metadata[name.lstrip("t")] = value
        return metadata

    for bad in (
        broken(t7FE00010={"vr": "OW", "BulkDataURI": "bulk/missing"}),
        broken(t00280010={"vr": "US", "Value": ["x"]}),
        broken(t00280010={"vr": "??", "Value": [1]}),
        broken(t00080018={"vr": "UI"}),
        broken(tnonsense={"vr": "CS"}),
        broken(t00091001={"vr": "OB", "InlineBinary": "§"}),
    ):
        answer = post(server, JSON, metadata_part(JSON, bad, sound) + part)
        assert answer.status_code == 202, answer.text[:300]
        said = outcomes(answer)
        assert said[dataset.SOPInstanceUID][0] == "stored"
        assert [word for word, reason in said.values() if reason >= 0xA700 or word == "stored"] in (
            ["stored", "refused"], ["refused", "stored"]), said


def test_what_cannot_be_held_is_refused():
    """Two long values in one instance: only one of them can be passed on. The server holds no more than it may."""
    small = harness.Server(environment={"SEPTUM__LIMITS__HELD": "2MiB"})
    try:
        small.start()
        dataset = made(1, random.Random(6).randbytes(8192), 64)
        metadata, bulk = taken_apart(dataset)
        pixels = list(bulk_parts(dataset, metadata, bulk))
        metadata["00420011"] = {"vr": "OB", "BulkDataURI": "bulk/document"}
        long = ({"Content-Location": "bulk/document"}, bytes(32 << 20))
        answer = post(small, JSON, metadata_part(JSON, metadata) + [long] + pixels)
        assert answer.status_code == 409, answer.text[:300]
        assert outcomes(answer)[dataset.SOPInstanceUID] == ("refused", 0xA700)
        stray = ({"Content-Location": "bulk/stray"}, bytes(32 << 20))
        del metadata["00420011"]
        answer = post(small, JSON, metadata_part(JSON, metadata) + [stray] + pixels)
        assert answer.status_code == 202 and outcomes(answer)[dataset.SOPInstanceUID][0] == "stored", answer.text[:300]
        answer = post(small, JSON, [({"Content-Type": JSON}, b"[" + b" " * (8 << 20) + b"]")])
        assert answer.status_code == 413, answer.text[:300]
        answer = post(small, JSON, [({"Content-Type": JSON}, b'[{"00091001":' + b"[" * 100 + b"{}," * 20_000)])
        assert 400 <= answer.status_code < 500, answer.text[:300]
        answer = post(small, JSON, metadata_part(JSON, metadata) + pixels)
        assert answer.status_code == 200, "nothing is held any more"
    finally:
        small.close()


def test_parts_nobody_asked_for_are_told(server):
    dataset = made(1, bytes(8192), 64)
    metadata, bulk = taken_apart(dataset)
    extra = [({"Content-Location": "bulk/extra"}, b"x"), ({}, b"y")]
    answer = post(server, JSON, metadata_part(JSON, metadata) + list(bulk_parts(dataset, metadata, bulk)) + extra)
    assert answer.status_code == 202
    assert answer.headers["Warning"].startswith('299 septum "2 parts')


def test_bad_bodies_are_the_senders_fault(server):
    dataset = made(1, bytes(8192), 64)
    metadata, bulk = taken_apart(dataset)
    text = json.dumps([metadata]).encode()
    for kind, content in (
        (JSON, b""), (JSON, b"["), (JSON, b"[1]"), (JSON, b"{"), (JSON, text[:-5]), (JSON, b"[" * 100_000),
        (JSON, b"[" + b"{}," * 100_000 + b"{}]"), (JSON, b'[{"00081115":{"vr":"SQ","Value":[' * 1), (JSON, b"[{\xff}]"),
        (JSON, b'[' + b'{"00081115":{"vr":"SQ","Value":[' * 500 + b"]}}" * 500 + b"]"),
        (XML, b""), (XML, b"<a>"), (XML, b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), (XML, b"\xff"),
        (XML, b'<NativeDicomModel><DicomAttribute tag="00080008" vr="CS"><Value number="4000000000">A</Value>'
              b"</DicomAttribute></NativeDicomModel>"),
        (XML, native_xml(metadata)[:-20]), (XML, b"<NativeDicomModel>" + b"<DicomAttribute>" * 100_000),
    ):
        answer = post(server, kind, [({"Content-Type": kind}, content)])
        assert 400 <= answer.status_code < 500, (kind, content[:40], answer.status_code, answer.text[:200])
    headers, body = related(JSON, metadata_part(JSON, metadata) + list(bulk_parts(dataset, metadata, bulk)))
    for cut in range(0, len(body) - 1, max(1, len(body) // 25)):
        answer = server.request("POST", "/studies", data=body[:cut], headers=headers)
        assert answer.status_code < 500, (cut, answer.status_code, answer.text[:200])
    generator = random.Random(7)
    for _ in range(60):
        spoiled = bytearray(body)
        for _ in range(8):
            spoiled[generator.randrange(len(spoiled) - 8192)] = generator.randrange(256)
        answer = server.request("POST", "/studies", data=bytes(spoiled), headers=headers)
        assert answer.status_code < 500, (answer.status_code, answer.text[:200])


def zstd(data: bytes) -> bytes:
    """Raw blocks in one frame (RFC 8878): a valid coding without a library."""
    blocks = [data[at:at + 65536] for at in range(0, len(data), 65536)] or [b""]
    frame = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x58"
    for number, block in enumerate(blocks, 1):
        frame += (len(block) << 3 | (number == len(blocks))).to_bytes(3, "little") + block
    return frame


CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd}


@pytest.mark.parametrize("coding", CODINGS)
def test_content_codings(server, coding):
    for kind in ("application/dicom", JSON):
        dataset = made(1, random.Random(3).randbytes(512 * 1024), 512)
        if kind == JSON:
            metadata, bulk = taken_apart(dataset)
            parts = metadata_part(JSON, metadata) + list(bulk_parts(dataset, metadata, bulk))
        else:
            stream = io.BytesIO()
            dataset.save_as(stream)
            parts = [({"Content-Type": kind}, stream.getvalue())]
        headers, body = related(kind, parts)
        coded = CODINGS[coding](body)
        answer = server.request("POST", "/studies", data=coded, headers=headers | {"Content-Encoding": coding})
        assert answer.status_code == 200, answer.text[:300]
        assert retrieved(server, dataset).PixelData == dataset.PixelData
        for wrong in (coded[:-5], coded[: len(coded) // 2], body, b"\0" + coded):
            answer = server.request("POST", "/studies", data=wrong, headers=headers | {"Content-Encoding": coding})
            assert 200 < answer.status_code < 500, (answer.status_code, answer.text[:200])


def test_other_codings_and_bombs(server):
    headers, body = related("application/dicom", [({}, b"x")])
    for coding in ("br", "gzip, gzip", "compress"):
        answer = server.request("POST", "/studies", data=body, headers=headers | {"Content-Encoding": coding})
        assert answer.status_code == 415 and answer.headers["Accept-Encoding"] == "gzip, deflate, zstd"
    bomb = gzip.compress(bytes(200 << 20))
    answer = server.request("POST", "/studies", data=bomb,
                            headers=headers | {"Content-Type": "application/dicom", "Content-Encoding": "gzip"})
    assert answer.status_code in (409, 413), answer.text[:200]
    headers, _ = related(JSON, [])
    boundary = headers["Content-Type"].rpartition("=")[2].encode()
    bomb = gzip.compress(b"--" + boundary + b"\r\nContent-Type: application/dicom+json\r\n\r\n" + b" " * (200 << 20))
    answer = server.request("POST", "/studies", data=bomb, headers=headers | {"Content-Encoding": "gzip"})
    assert answer.status_code == 413, answer.text[:200]


def raw_connection(server) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(server.verify))
    connection = context.wrap_socket(socket.create_connection(("localhost", server.port), timeout=30), server_hostname="localhost")
    return connection


def test_chunked_and_100_continue(server):
    dataset = made(1, random.Random(4).randbytes(8192), 64)
    metadata, bulk = taken_apart(dataset)
    headers, body = related(JSON, metadata_part(JSON, metadata) + list(bulk_parts(dataset, metadata, bulk)))
    user = base64.b64encode(":".join(server.auth).encode()).decode()
    head = (f"POST {server.base}/studies HTTP/1.1\r\nHost: localhost:{server.port}\r\nAuthorization: Basic {user}\r\n"
            f"Content-Type: {headers['Content-Type']}\r\nAccept: {JSON}\r\nConnection: close\r\n")
    with raw_connection(server) as connection:
        connection.sendall((head + f"Content-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n").encode())
        interim = connection.recv(4096)
        assert interim.startswith(b"HTTP/1.1 100"), interim[:100]
        connection.sendall(body)
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200")
    with raw_connection(server) as connection:
        connection.sendall((head + "Transfer-Encoding: chunked\r\n\r\n").encode())
        for at in range(0, len(body), 1000):
            piece = body[at:at + 1000]
            connection.sendall(b"%x;name=value\r\n%s\r\n" % (len(piece), piece))
        connection.sendall(b"0\r\nTrailer: x\r\n\r\n")
        assert connection.makefile("rb").read().startswith(b"HTTP/1.1 200")


def documents(answer) -> list[ElementTree.Element]:
    found = []
    for headers, content in parts_of(answer.headers["Content-Type"], answer.content):
        assert headers["content-type"] == XML
        found.append(ElementTree.fromstring(content))
        assert found[-1].tag == NATIVE_MODEL + "NativeDicomModel"
    return found


def xml_value(document, tag):
    return [value.text for value in document.findall(f"./{NATIVE_MODEL}DicomAttribute[@tag='{tag}']/{NATIVE_MODEL}Value")]


def test_xml_answers(server):
    datasets = [made(number, bytes(8192), 64) for number in range(3)]
    for dataset in datasets:
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = datasets[0].StudyInstanceUID, datasets[0].SeriesInstanceUID
    apart = [taken_apart(dataset) for dataset in datasets]
    parts = [part for dataset, (metadata, bulk) in zip(datasets, apart) for part in bulk_parts(dataset, metadata, bulk)]
    answer = post(server, XML, metadata_part(XML, *(metadata for metadata, _ in apart)) + parts, headers={"Accept": XML})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == XML, answer.text[:300]
    stored = ElementTree.fromstring(answer.content)
    assert len(stored.findall(f".//{NATIVE_MODEL}Item")) == 3
    wanted = {dataset.SOPInstanceUID for dataset in datasets}
    accept = {"Accept": f'multipart/related; type="{XML}"'}
    path = server.path(datasets[0].StudyInstanceUID)
    for address, tag, expected in (
        (path + "/metadata", "00080018", wanted),
        (path + "/instances", "00080018", wanted),
        (path + f"/series/{datasets[0].SeriesInstanceUID}/instances/{datasets[0].SOPInstanceUID}/metadata", "00080018",
         {datasets[0].SOPInstanceUID}),
        (f"/studies?StudyInstanceUID={datasets[0].StudyInstanceUID}", "0020000D", {datasets[0].StudyInstanceUID}),
    ):
        answer = server.request("GET", address, headers=accept)
        assert answer.status_code == 200, (address, answer.text[:300])
        assert answer.headers["Content-Type"].startswith("multipart/related")
        assert {xml_value(document, tag)[0] for document in documents(answer)} == expected
        json_answer = server.request("GET", address, headers={"Accept": f"{XML};q=0.1, {JSON}"})
        assert json_answer.headers["Content-Type"] == JSON
        assert json_answer.headers.get("ETag") != answer.headers.get("ETag") or "ETag" not in answer.headers
    assert server.request("GET", path + "/metadata", headers={"Accept": "image/png"}).status_code == 406
    assert server.request("GET", path + "/metadata").json()


def test_nothing_found_has_no_body(server):
    for path in ("/studies", "/series", "/instances", "/studies/1.2.3/series"):
        for accept in (JSON, f'multipart/related; type="{XML}"'):
            answer = server.request("GET", path, params={"PatientID": "nobody"} if path == "/studies" else
                                    {"Modality": "ZZ"}, headers={"Accept": accept})
            assert answer.status_code == 204 and answer.content == b"", (path, answer.status_code)


def test_storage_commitment(server):
    dataset = made(1, bytes(8192), 64)
    metadata, bulk = taken_apart(dataset)
    assert post(server, JSON, metadata_part(JSON, metadata) + list(bulk_parts(dataset, metadata, bulk))).status_code == 200

    def ui(*values):
        return {"vr": "UI", "Value": list(values)}

    def sq(*items):
        return {"vr": "SQ", "Value": list(items)}

    flat = {"00081199": sq({"00081150": ui(CT_IMAGE), "00081155": ui(dataset.SOPInstanceUID)},
                           {"00081150": ui(CT_IMAGE), "00081155": ui("1.2.3.4")},
                           {"00081150": ui("1.2.840.10008.5.1.4.1.1.4"), "00081155": ui(dataset.SOPInstanceUID)})}
    nested = {"00081110": sq({"0020000D": ui(dataset.StudyInstanceUID), "00081115": sq(
        {"0020000E": ui(dataset.SeriesInstanceUID), "00081112": sq(
            {"00081150": ui(CT_IMAGE), "0008114A": sq({"00081155": ui(dataset.SOPInstanceUID)}, {"00081155": ui("1.2.3")})})})})}
    for request, kept, failed in ((flat, "00081199", "00081198"), (nested, "00081110", "0008119B")):
        for kind in (JSON, XML):
            path = f"/commitment-requests/{pydicom.uid.generate_uid()}"
            body = json.dumps(request).encode() if kind == JSON else native_xml(request)
            assert server.request("GET", path).status_code == 404
            answer = server.request("POST", path, data=body, headers={"Content-Type": kind, "Accept": JSON})
            assert answer.status_code == 200, answer.text[:300]
            result = answer.json()
            assert len(result[kept]["Value"]) == 1
            if request is flat:
                assert [item["00081197"]["Value"] for item in result[failed]["Value"]] == [[0x112], [0x119]]
            else:
                assert "1.2.3" in json.dumps(result[failed]) and "274" in json.dumps(result[failed])
            again = server.request("GET", path, headers={"Accept": JSON})
            assert again.status_code == 200 and again.json() == result
            assert server.request("GET", path, headers={"Accept": XML}).headers["Content-Type"] == XML
            assert server.request("POST", path, data=body, headers={"Content-Type": kind}).status_code == 409
    answer = server.request("POST", "/commitment-requests/1.2", headers={"Content-Type": XML}, data=(
        b'<NativeDicomModel><DicomAttribute tag="00081199" vr="SQ"><Item number="4000000000"/></DicomAttribute></NativeDicomModel>'))
    assert answer.status_code == 400
    for path, body, status in (("x", b"{}", 400), ("1.2", b"{}", 400), ("1.2", b"[", 400)):
        answer = server.request("POST", "/commitment-requests/" + path, data=body, headers={"Content-Type": JSON})
        assert answer.status_code == status


def test_the_root_part_may_have_an_address(server):
    """The root is the first part, or the one that `start` names (RFC 2387), whatever else its header says."""
    for kind in (JSON, XML):
        dataset = made(1, random.Random(7).randbytes(8192), 64)
        metadata, bulk = taken_apart(dataset)
        (root, text), = metadata_part(kind, metadata)
        pixels = list(bulk_parts(dataset, metadata, bulk))
        located = root | {"Content-Location": "metadata", "Content-ID": "<root@here>"}
        answer = post(server, kind, [(located, text)] + pixels)
        assert answer.status_code == 200, answer.text[:300]
        headers, body = related(kind, pixels + [({**located, "Content-Type": kind.replace("dicom+", "")}, text)])
        headers["Content-Type"] += '; start="<root@here>"'
        answer = server.request("POST", "/studies", data=body, headers=headers)
        assert answer.status_code == 200, answer.text[:300]
        assert retrieved(server, dataset).PixelData == dataset.PixelData


def test_bulk_data_by_uuid_and_content_id(server):
    name = str(uuid.uuid4())
    for reference, header in (
        (f'uuid="{name}"', {"Content-Location": name.upper()}),
        (f'uuid="{name.upper()}"', {"Content-Location": f"urn:uuid:{name}"}),
        (f'uuid="{name}"', {"Content-ID": f"<{name}>"}),
        (f'uri="cid:{name}@here"', {"Content-ID": f"<{name}@here>"}),
        ('uri="cid:a%2Fb+c@here"', {"Content-ID": "<a/b+c@here>"}),
        (f'uri="cid:{name}@here"', {"Content-ID": f"<{name}@here>", "Content-Location": "somewhere/else"}),
    ):
        dataset = made(1, bytes(8192), 64)
        metadata, _ = taken_apart(dataset)
        metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": "REFERENCE"}
        (root, text), = metadata_part(XML, metadata)
        text = text.replace(b'uri="REFERENCE"', reference.encode())
        answer = post(server, XML, [(root, text), ({"Content-Type": "application/octet-stream"} | header, bytes(8192))])
        assert answer.status_code == 200, (reference, header, answer.text[:300])


@pytest.mark.parametrize("coding", [{"Content-Transfer-Encoding": "base64"}, {"Content-Transfer-Encoding": "quoted-printable"},
                                    {"Content-Encoding": "gzip"}])
def test_coded_parts_are_refused(server, coding):
    """Nothing is stored whose bytes stand for others."""
    dataset, plain = made(1, bytes(8192), 64), made(2, bytes(8192), 64)
    metadata, bulk = taken_apart(dataset)
    metadata["7FE00010"] = {"vr": "OW", "BulkDataURI": "bulk/pixels"}
    part = ({"Content-Type": "application/octet-stream", "Content-Location": "bulk/pixels"}, bytes(8192))
    answer = post(server, JSON, metadata_part(JSON, metadata) + [(part[0] | coding, part[1])])
    assert answer.status_code == 409 and outcomes(answer)[dataset.SOPInstanceUID] == ("refused", 0xC000), answer.text[:300]
    assert "Encoding" in answer.text
    answer = post(server, JSON, [(metadata_part(JSON, metadata)[0][0] | coding, metadata_part(JSON, metadata)[0][1]), part])
    assert answer.status_code == 400, answer.text[:300]
    streams = [instance(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, 1, bytes(8192), 64) for d in (dataset, plain)]
    dicom = {"Content-Type": "application/dicom"}
    answer = post(server, "application/dicom", [(dicom | coding, streams[0]), (dicom | {"Content-Transfer-Encoding": "Binary"}, streams[1])])
    assert outcomes(answer) == {"": ("refused", 0xC000), plain.SOPInstanceUID: ("stored", 0)}, answer.text[:300]
