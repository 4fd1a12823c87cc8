"""The storage API of V3 over TLS: what goes in comes out, what is made opens in other people's software.

zipfile, pydicom's FileSet, isoinfo and xorriso read the downloads; pydicom and dciodvfy read what is wrapped; numpy
compares pixels. Signs in by HTTP Basic. Where the vendor's SDK is installed, its storage classes are driven too.
"""

import io
import json
import logging
import pathlib
import shutil
import struct
import subprocess
import warnings
import zipfile
import zlib

import numpy
import pydicom
import pydicom.fileset
import pytest
import requests
from PIL import Image

import corpus_files
from harness import dataset_of, outcomes

logging.getLogger("pydicom").setLevel(logging.CRITICAL)

pytestmark = pytest.mark.septum

BASE = "/api/v3/storage"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"


class Storage:
    """A client of the storage API."""

    def __init__(self, server):
        self.server = server
        listing = requests.get(f"{server.origin}/namespaces", auth=server.auth, verify=server.verify).json()
        listing = listing if isinstance(listing, list) else listing["namespaces"]
        self.namespace = listing[0]["id"]

    def call(self, method, path, **options):
        options.setdefault("auth", self.server.auth)
        options.setdefault("timeout", 120)
        return requests.request(method, self.server.origin + BASE + path, verify=self.server.verify, **options)

    def study(self, method, study, path="", **options):
        return self.call(method, f"/study/{self.namespace}/{study}{path}", **options)

    def upload(self, data, **options):
        answer = self.call("POST", f"/namespace/{self.namespace}/image", data=data, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def schema(self, study, **parameters):
        answer = self.study("GET", study, "/schema", params=parameters)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return answer.json()

    def image(self, study, image, path="", version="*", method="GET", **options):
        return self.study(method, study, f"/image/{image}/version/{version}{path}", **options)

    def dataset(self, study, image, **options):
        answer = self.image(study, image, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text)
        return read(answer.content)


def read(data):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


@pytest.fixture(scope="module")
def storage(server):
    return Storage(server)


@pytest.fixture(scope="module")
def ct(storage, corpus):
    """Six images of one study: names of files, and what the uploads answered."""
    files = sorted((corpus / "series" / "ct-ge-brightspeed-p14sv1").glob("*.dcm"))
    assert len(files) == 6
    return [(file, storage.upload(file.read_bytes())) for file in files]


def study_of(ct):
    return ct[0][1]["study_uid"]


def error(answer, status, code, readable):
    assert answer.status_code == status, (answer.status_code, answer.text)
    body = answer.json()
    assert body["kind"] == {"code": code, "readable_status": readable}, body
    assert body["created"] and body["message"] and isinstance(body["exception_data"], dict)
    assert body["extended"] is None
    return body


# Uploads.


def test_every_corpus_file_comes_back_byte_for_byte(storage, corpus):
    files = [file for file in corpus_files.composite_and_other(corpus)
             if file.identified and file.sop_class not in corpus_files.NON_PATIENT]
    num = held = 0
    for file in files:
        data = file.read()
        answer = storage.upload(data)
        assert (answer["study_uid"], answer["image_uid"]) == (file.study, file.instance), file.name
        assert answer["namespace"] == storage.namespace and len(answer["image_version"]) == 32
        if answer["attr"]["outcome"] == "held":
            held += 1
            continue
        sent = storage.image(file.study, file.instance, version=answer["image_version"])
        assert sent.status_code == 200, (file.name, sent.text)
        assert dataset_of(sent.content)[1] == dataset_of(data)[1], file.name
        num += 1
    print(f"{num} files came back, {held} are held apart")
    assert num > 250


def test_an_upload_that_is_sent_again_doubles_nothing(storage, ct):
    before = storage.study("GET", study_of(ct), "/count").json()
    for file, first in ct:
        again = storage.upload(file.read_bytes())
        assert again["image_version"] == first["image_version"] and again["attr"]["outcome"] == "duplicate"
    assert storage.study("GET", study_of(ct), "/count").json() == before
    assert before == {"image_count": 6, "attachment_count": 0}


def in_parts(storage, data, size=1 << 20, **parameters):
    started = storage.call("GET", "/multipart/initiate")
    assert started.status_code == 200, started.text
    upload = started.json()["upload_uuid"]
    for number in range(0, -(-len(data) // size)):
        part = data[number * size : (number + 1) * size]
        headers = {"X-File-Name": f"{number:05d}", "X-File-Size": str(len(part)),
                   "X-AmbraHealth-part-checksum": str(zlib.crc32(part))}
        answer = storage.call("POST", f"/multipart/{upload}", data=part, headers=headers)
        assert answer.status_code == 200, answer.text
    parameters = {"namespace": storage.namespace, "endpoint": "image", "tags": "", "render_wrapped_pdf": ""} | parameters
    return upload, lambda length=len(data): storage.call(
        "POST", f"/multipart/{upload}/complete", params=parameters, headers={"X-File-Size": str(length), "X-File-Name": "name"})


def test_uploads_in_parts(storage, corpus):
    data = (corpus / "large" / "cat.dcm").read_bytes()
    known = read(data)
    upload, complete = in_parts(storage, data)
    error(complete(len(data) + 1), 412, 99, "VALIDATION_ERROR")
    done = complete()
    assert done.status_code == 202, done.text
    assert complete().status_code == 202, "completing again stores nothing again"
    sent = storage.image(known.StudyInstanceUID, known.SOPInstanceUID)
    assert dataset_of(sent.content)[1] == dataset_of(data)[1]
    part = b"x" * 100
    good = {"X-File-Name": "00000", "X-File-Size": "100", "X-AmbraHealth-part-checksum": str(zlib.crc32(part))}
    fresh = storage.call("GET", "/multipart/initiate").json()["upload_uuid"]
    for change, at in (({"X-AmbraHealth-part-checksum": "1"}, fresh), ({"X-File-Size": "99"}, fresh),
                       ({"X-File-Size": "101"}, fresh), ({"X-File-Name": "x"}, fresh), ({}, "0" * 32)):
        answer = storage.call("POST", f"/multipart/{at}", data=part, headers=good | change)
        assert answer.status_code in (404, 412, 413), (change, answer.text)
    gap = storage.call("POST", f"/multipart/{fresh}", data=part, headers=good | {"X-File-Name": "00001"})
    assert gap.status_code == 200
    answer = storage.call("POST", f"/multipart/{fresh}/complete", params={"namespace": storage.namespace},
                          headers={"X-File-Size": "100"})
    error(answer, 412, 99, "VALIDATION_ERROR")


# What a study says of itself.


def test_schema_and_counts(storage, ct):
    schema = storage.schema(study_of(ct), extended=1)
    assert (schema["namespace"], schema["study_uid"]) == (storage.namespace, study_of(ct))
    images = {image["id"]: image for series in schema["series"] for image in series["images"]}
    assert set(images) == {answer["image_uid"] for _, answer in ct}
    for file, answer in ct:
        image = images[answer["image_uid"]]
        known = read(file.read_bytes())
        assert image["version"] == answer["image_version"]
        assert (image["rows"], image["columns"]) == (known.Rows, known.Columns)
        assert image["transfer_attributes"]["transfer_syntax_uid"] == known.file_meta.TransferSyntaxUID
    assert schema["attachments"] == [] and schema["phi_version"]
    assert "series" not in storage.schema(study_of(ct), attachments_only=1)
    count = storage.study("GET", study_of(ct), "/count", params={"images_only": 1, "count_files": 1}).json()
    assert count == {"image_count": 6}


def test_phi_tags_and_attributes(storage, ct):
    file, answer = ct[0]
    known = read(file.read_bytes())
    for phi in (storage.study("GET", study_of(ct), "/phi"), storage.image(study_of(ct), answer["image_uid"], "/phi")):
        assert phi.status_code == 200
        assert phi.json()["patientid"] == known.PatientID and phi.json()["patient_name"] == str(known.PatientName)
    tags = {tag["name"]: tag["value"] for tag in storage.study("GET", study_of(ct), "/tag").json()["tags"]}
    assert tags["PatientID"] == known.PatientID
    every = storage.image(study_of(ct), answer["image_uid"], "/json").json()["tags"]
    assert len([tag for tag in every if tag["group"] == 2]) == len(known.file_meta)
    of_tag = {(tag["group"], tag["element"]): tag for tag in every}
    manufacturer = of_tag[8, 112]
    assert manufacturer == {"group": 8, "element": 112, "name": "Manufacturer", "vr": "LO", "vl": 18, "value": known.Manufacturer}
    for element in known:
        if element.tag != 0x7FE00010:
            assert of_tag[element.tag.group, element.tag.element]["vr"] in (element.VR, "UN", "OB", "US", "SS"), element.tag
    assert of_tag[8, 8]["value"] == known.ImageType[0]
    whole = storage.image(study_of(ct), answer["image_uid"], "/json", params={"all_dicom_values": 1, "include_tags": "00080008"})
    assert [tag["value"] for tag in whole.json()["tags"]] == ["\\".join(known.ImageType)]
    named = storage.image(study_of(ct), answer["image_uid"], "/attribute", params={"exclude_unnamed": 1, "groups": "0x9,40"})
    assert {tag["group"] for tag in named.json()["tags"]} == {40}
    of_study = storage.study("GET", study_of(ct), "/json", params={"groups": "32"}).json()
    assert len(of_study) == 6 and all({tag["group"] for tag in image["tags"]} == {32} for image in of_study)


def test_metadata_of_dicomweb(storage, server, ct):
    file, answer = ct[0]
    series = read(file.read_bytes()).SeriesInstanceUID
    base = f"/dicomweb/{storage.namespace}/studies/{study_of(ct)}"
    for path, count in ((f"{base}/metadata", 6), (f"{base}/series/{series}/metadata", None)):
        found = storage.call("GET", path)
        assert found.status_code == 200 and isinstance(found.json(), list)
        assert count is None or len(found.json()) == count
    one = storage.call("GET", f"{base}/series/{series}/instances/{answer['image_uid']}/metadata").json()
    assert one["00080018"]["Value"] == [answer["image_uid"]]


# Pictures.


def test_frames_are_what_dicomweb_renders(storage, server, ct):
    file, answer = ct[0]
    known = read(file.read_bytes())
    path = server.path(known.StudyInstanceUID, known.SeriesInstanceUID, known.SOPInstanceUID)
    for quality, percent in (("0.9", 90), ("0.3", 30)):
        rendered = server.request("GET", f"{path}/frames/1/rendered", params={"quality": percent}, headers={"Accept": "image/jpeg"})
        frame = storage.image(study_of(ct), answer["image_uid"], "/frame/0", params={"quality": quality})
        assert frame.status_code == 200 and frame.headers["Content-Type"] == "image/jpeg"
        assert frame.content == rendered.content
    plain = storage.image(study_of(ct), answer["image_uid"], "/frame/0.jpg")
    assert Image.open(io.BytesIO(plain.content)).size == (known.Columns, known.Rows)
    for size, expected in (("64", 64), ("100x40", 40), ("0", max(known.Rows, known.Columns)), ("9999", known.Rows)):
        small = storage.image(study_of(ct), answer["image_uid"], "/frame/0", params={"size": size})
        assert max(Image.open(io.BytesIO(small.content)).size) == expected, size
    thumbnail = storage.image(study_of(ct), answer["image_uid"], "/frame/0/thumbnail")
    assert max(Image.open(io.BytesIO(thumbnail.content)).size) <= 200
    head = storage.image(study_of(ct), answer["image_uid"], "/frame/0", method="HEAD")
    assert head.status_code == 200 and head.content == b"" and head.headers["Content-Type"] == "image/jpeg"


def test_diagnostic_pictures_have_the_stored_values(storage, ct):
    file, answer = ct[0]
    known = read(file.read_bytes())
    stored = read(storage.image(study_of(ct), answer["image_uid"], params={"transfer_syntax": EXPLICIT_LITTLE}).content)
    words = numpy.frombuffer(stored.PixelData, "<u2")[: known.Rows * known.Columns].reshape(known.Rows, known.Columns)
    mask = (1 << known.BitsStored) - 1
    expected = (words & mask) ^ ((1 << (known.BitsStored - 1)) if known.PixelRepresentation else 0)
    for path in ("/diagnostic", "/tiff"):
        answer_ = storage.image(study_of(ct), answer["image_uid"], f"/frame/0{path}")
        assert answer_.status_code == 200, answer_.text
        picture = numpy.asarray(Image.open(io.BytesIO(answer_.content))).astype("u2")
        assert numpy.array_equal(picture, expected), path
        eight = Image.open(io.BytesIO(storage.image(study_of(ct), answer["image_uid"], f"/frame/0{path}", params={"depth": 8}).content))
        assert eight.mode == "L"


# Downloads.


def names(ct):
    return {answer["image_uid"] for _, answer in ct}


def check_file_set(folder, ct):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        instances = list(pydicom.fileset.FileSet(folder / "DICOMDIR"))
        found = {instance.SOPInstanceUID: pathlib.Path(instance.path) for instance in instances}
    assert set(found) == names(ct)
    for file, answer in ct:
        assert dataset_of(found[answer["image_uid"]].read_bytes())[1] == dataset_of(file.read_bytes())[1]


def test_zip_files(storage, ct, tmp_path):
    for number, parameters in enumerate(({"bundle": "dicom"}, {"bundle": "dicom", "flat_directory": 1})):
        answer = storage.study("GET", study_of(ct), "/download", params=parameters)
        assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/zip"
        archive = zipfile.ZipFile(io.BytesIO(answer.content))
        assert archive.testzip() is None
        folder = tmp_path / str(number)
        archive.extractall(folder)
        check_file_set(folder, ct)
    posted = storage.study("POST", study_of(ct), "/download", data={"bundle": "dicom", "image_uid": ct[0][1]["image_uid"]})
    assert [name for name in zipfile.ZipFile(io.BytesIO(posted.content)).namelist() if name != "DICOMDIR"] == ["DICOM/S0000001/I0000001"]
    pictures = zipfile.ZipFile(io.BytesIO(storage.study("GET", study_of(ct), "/download", params={"bundle": "image"}).content))
    assert len(pictures.namelist()) == 6
    assert all(Image.open(io.BytesIO(pictures.read(name))).format == "JPEG" for name in pictures.namelist())


def test_downloads_with_other_tags(storage, ct):
    tags = f"{0x00100010}=ANON^ONE,{0x00100020}=__DELETE__"
    answer = storage.study("GET", study_of(ct), "/download", params={"bundle": "dicom", "anonymize_tags": tags})
    archive = zipfile.ZipFile(io.BytesIO(answer.content))
    originals = {answer_["image_uid"]: read(file.read_bytes()) for file, answer_ in ct}
    images = [read(archive.read(name)) for name in archive.namelist() if name != "DICOMDIR"]
    assert len(images) == 6
    for image in images:
        original = originals[image.SOPInstanceUID]
        assert image.PatientName == "ANON^ONE" and "PatientID" not in image
        assert image.PixelData == original.PixelData and image.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert image.StudyInstanceUID == original.StudyInstanceUID
    directory = read(archive.read("DICOMDIR"))
    patient = directory.DirectoryRecordSequence[0]
    assert (patient.DirectoryRecordType, patient.PatientName) == ("PATIENT", "ANON^ONE")
    wrong = storage.study("GET", study_of(ct), "/download", params={"bundle": "dicom", "anonymize_tags": "nonsense"})
    error(wrong, 412, 41, "ANONYMIZE_TAGS_FORMAT_ERROR")


def test_disc_images(storage, ct, tmp_path):
    answer = storage.study("GET", study_of(ct), "/download", params={"bundle": "iso"})
    assert answer.status_code == 200 and len(answer.content) % 2048 == 0
    assert int(answer.headers["Content-Length"]) == len(answer.content)
    image = tmp_path / "study.iso"
    image.write_bytes(answer.content)
    tried = 0
    if shutil.which("isoinfo"):
        tried += 1
        listing = subprocess.run(["isoinfo", "-f", "-i", image], check=True, capture_output=True, text=True).stdout.split()
        assert "/DICOMDIR.;1" in listing and "/DICOM/S0000001/I0000001.;1" in listing
        folder = tmp_path / "isoinfo"
        for path in listing:
            if ";1" in path:
                target = folder / path[1:].removesuffix(";1").removesuffix(".")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(subprocess.run(["isoinfo", "-i", image, "-x", path], check=True, capture_output=True).stdout)
        check_file_set(folder, ct)
    if shutil.which("xorriso"):
        tried += 1
        folder = tmp_path / "xorriso"
        run = subprocess.run(["xorriso", "-osirrox", "on", "-abort_on", "WARNING", "-indev", image, "-extract", "/", folder],
                             capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        check_file_set(folder, ct)
    if not tried:
        pytest.skip("neither isoinfo nor xorriso")


# Documents.


@pytest.fixture(scope="module")
def picture():
    pixels = numpy.add.outer(numpy.arange(48), numpy.arange(64)).astype("u1") * 2
    return Image.fromarray(numpy.dstack([pixels, pixels[::-1], 255 - pixels]))


def encoded(picture, form, **options):
    out = io.BytesIO()
    picture.save(out, form, **options)
    return out.getvalue()


PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"


def test_attachments(storage, ct, picture):
    study = study_of(ct)
    documents = [("report 1.pdf", PDF, "application/pdf"), ("logo.png", encoded(picture, "PNG"), "image/png"),
                 ("large.bin", bytes(range(256)) * 40000, "application/octet-stream"), ("empty.txt", b"", "text/plain")]
    kept = []
    for name, data, media_type in documents:
        sent = storage.study("POST", study, "/attachment", files={"data": (name, data, media_type)})
        assert sent.status_code == 202, sent.text
        again = storage.study("POST", study, "/attachment", files={"data": (name, data, media_type)}).json()
        assert (again["id"], again["version"]) == (sent.json()["id"], sent.json()["version"])
        kept.append(sent.json())
    listed = storage.schema(study)["attachments"]
    assert [(entry["filename"], entry["length"]) for entry in listed] == [(name, len(data)) for name, data, _ in documents]
    assert storage.study("GET", study, "/count").json()["attachment_count"] == 4
    for (name, data, _), entry in zip(documents, kept):
        path = f"/attachment/{entry['id']}/version/{entry['version']}"
        for end in ("", f"/{name}"):
            assert storage.study("GET", study, path + end).content == data
        head = storage.study("HEAD", study, path)
        assert head.status_code == 200 and head.headers["Content-Length"] == str(len(data))
        error(storage.study("GET", study, f"/attachment/{entry['id']}/version/{'0' * 32}"), 404, 16, "ATTACHMENT_NOT_FOUND_EXCEPTION")
    assert storage.study("GET", study, "/attachment/latest").content == documents[-1][1]
    zipped = zipfile.ZipFile(io.BytesIO(storage.study("GET", study, "/download", params={"bundle": "dicom"}).content))
    assert zipped.read("REPORTS/A0000001.PDF") == PDF
    # Deleting an image seals the study anew: the documents go along.
    extra = read(ct[0][0].read_bytes())
    extra.SOPInstanceUID = extra.file_meta.MediaStorageSOPInstanceUID = "2.25.4711"
    out = io.BytesIO()
    extra.save_as(out)
    storage.upload(out.getvalue())
    assert storage.study("DELETE", study, "/image/2.25.4711").status_code == 202
    for (name, data, _), entry in zip(documents, kept):
        path = f"/attachment/{entry['id']}/version/{entry['version']}"
        assert storage.study("GET", study, path).content == data
        assert storage.study("DELETE", study, path).status_code == 202
        error(storage.study("GET", study, path), 404, 16, "ATTACHMENT_NOT_FOUND_EXCEPTION")
    error(storage.study("GET", study, "/attachment/latest"), 404, 16, "ATTACHMENT_NOT_FOUND_EXCEPTION")
    error(storage.study("POST", study, "/attachment", data="x"), 400, 5, "BAD_REQUEST")


def test_nothing_lies_in_the_clear(storage, server, ct):
    """A planted phrase in attachments, wrapped documents and parts: in no file that the server wrote."""
    phrase = b"Planted^Phrase^Quetzalcoatl"
    document = PDF + phrase * 1000
    study = study_of(ct)
    sent = storage.study("POST", study, "/attachment", files={"data": (phrase.decode() + ".pdf", document, "application/pdf")})
    assert sent.status_code == 202
    made = wrap(storage, document, json.dumps({"PatientName": phrase.decode(), "StudyInstanceUID": "2.25.1003"}))
    assert made.status_code == 202
    in_parts(storage, document)
    for root in (*server.roots.values(), server.work, server.log):
        files = [root] if root.is_file() else [file for file in root.rglob("*") if file.is_file()]
        for file in files:
            assert b"Quetzalcoatl" not in file.read_bytes(), file
    path = f"/attachment/{sent.json()['id']}/version/{sent.json()['version']}"
    assert storage.study("GET", study, path).content == document
    assert storage.study("GET", study, path, params={"phi_namespace": storage.namespace}).content == document
    assert storage.study("DELETE", study, path).status_code == 202
    assert storage.study("DELETE", "2.25.1003").status_code == 202


def validated(data, tmp_path):
    """What dciodvfy has against it, errors only."""
    if not shutil.which("dciodvfy"):
        return []
    file = tmp_path / "made.dcm"
    file.write_bytes(data)
    run = subprocess.run(["dciodvfy", file], capture_output=True, text=True, errors="replace")
    return [line for line in run.stderr.splitlines() if line.startswith("Error")]


def video():
    """A container with one H.264 track of 50 frames in 2 s; the stream inside is none."""
    def box(kind, content):
        return struct.pack(">I4s", len(content) + 8, kind) + content
    entry = bytearray(78)
    struct.pack_into(">HH", entry, 24, 320, 240)
    header = bytearray(24)
    struct.pack_into(">II", header, 12, 1000, 2000)
    table = box(b"stbl", box(b"stsd", struct.pack(">II", 0, 1) + box(b"avc1", bytes(entry))) + box(b"stsz", struct.pack(">III", 0, 9, 50)))
    media = box(b"mdhd", bytes(header)) + box(b"minf", table)
    return box(b"ftyp", b"isom") + box(b"moov", box(b"trak", box(b"mdia", media))) + box(b"mdat", b"x" * 1001)


def wrap(storage, data, tags=None, **options):
    return storage.call("POST", f"/namespace/{storage.namespace}/wrap", files={"file": ("any", data)},
                        data={"tags": tags} if tags else None, headers={"X-File-Size": str(len(data))} | options.pop("headers", {}), **options)


def test_wrapping(storage, picture, tmp_path):
    tags = json.dumps({"PatientName": "DOE^JANE", "00100020": "W1", "StudyInstanceUID": "2.25.1001", "(0008,1030)": "wrapped"})
    grey = picture.convert("L")
    cases = {
        "pdf": (PDF, "1.2.840.10008.5.1.4.1.1.104.1", EXPLICIT_LITTLE),
        "jpeg": (encoded(picture, "JPEG", quality=95), "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.4.50"),
        "jpeg444": (encoded(picture, "JPEG", quality=95, subsampling=0), "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.4.50"),
        "jpeg grey": (encoded(grey, "JPEG"), "1.2.840.10008.5.1.4.1.1.7", "1.2.840.10008.1.2.4.50"),
        "png": (encoded(picture, "PNG"), "1.2.840.10008.5.1.4.1.1.7", EXPLICIT_LITTLE),
        "png grey": (encoded(grey, "PNG"), "1.2.840.10008.5.1.4.1.1.7", EXPLICIT_LITTLE),
        "png alpha": (encoded(picture.convert("RGBA"), "PNG"), "1.2.840.10008.5.1.4.1.1.7", EXPLICIT_LITTLE),
        "mp4": (video(), "1.2.840.10008.5.1.4.1.1.77.1.4.1", "1.2.840.10008.1.2.4.102"),
    }
    for name, (data, sop_class, syntax) in cases.items():
        answer = wrap(storage, data, tags)
        assert answer.status_code == 202, (name, answer.text)
        made = answer.json()
        assert made["study_uid"] == "2.25.1001" and made["attr"]["outcome"] == "stored", name
        whole = storage.image("2.25.1001", made["image_uid"])
        dataset = read(whole.content)
        assert (dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID) == (sop_class, syntax), name
        assert (str(dataset.PatientName), dataset.PatientID, dataset.StudyDescription) == ("DOE^JANE", "W1", "wrapped"), name
        assert validated(whole.content, tmp_path) == [], name
        if name == "pdf":
            assert dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength] == PDF
            assert storage.image("2.25.1001", made["image_uid"], "/pdf").content == PDF
        elif name == "mp4":
            assert (int(dataset.NumberOfFrames), dataset.Rows, dataset.Columns) == (50, 240, 320)
            sent = storage.image("2.25.1001", made["image_uid"], "/video")
            assert sent.status_code == 200 and sent.headers["Content-Type"] == "video/mp4"
            assert sent.content[: len(data)] == data
        else:
            shown = Image.open(io.BytesIO(storage.image("2.25.1001", made["image_uid"], "/frame/0", params={"quality": "1"}).content))
            expected = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
            difference = numpy.abs(numpy.asarray(shown.convert("RGB")).astype(int) - expected)
            assert difference.mean() < 3, (name, difference.mean())
            error(storage.image("2.25.1001", made["image_uid"], "/pdf"), 415, 39, "NOT_PDF_FILE")
            error(storage.image("2.25.1001", made["image_uid"], "/video"), 415, 38, "NOT_VIDEO_IN_IMAGE")
    assert storage.study("GET", "2.25.1001", "/count").json()["image_count"] == len(cases)
    # Into a study that is there: its patient, not another's.
    into = wrap(storage, PDF + b"%other", json.dumps({"StudyInstanceUID": "2.25.1001"})).json()
    assert storage.dataset("2.25.1001", into["image_uid"]).PatientID == "W1"
    error(wrap(storage, b"GIF89a"), 406, 6, "NOT_ACCEPTABLE")
    error(wrap(storage, PDF, "nonsense"), 412, 99, "VALIDATION_ERROR")
    error(wrap(storage, PDF, params={"render_wrapped_pdf": 1}), 406, 6, "NOT_ACCEPTABLE")
    error(wrap(storage, PDF, headers={"X-File-Size": "1"}), 412, 99, "VALIDATION_ERROR")
    error(wrap(storage, PDF, headers={"X-File-Size": str(1 << 31)}), 413, 19, "PAYLOAD_TOO_LARGE")


def test_wrapping_in_parts(storage):
    data = PDF + b"%" + b"x" * 3_000_000
    _, complete = in_parts(storage, data, endpoint="wrap", tags=f"{0x0020000D}=2.25.1002")
    assert complete().status_code == 202
    schema = storage.schema("2.25.1002")
    assert storage.image("2.25.1002", schema["series"][0]["images"][0]["id"], "/pdf").content == data


def test_attachments_become_images(storage, ct, picture):
    study = study_of(ct)
    data = encoded(picture, "PNG")
    sent = storage.study("POST", study, "/attachment", params={"synchronous_wrap": 1}, files={"data": ("logo.png", data, "image/png")})
    assert sent.status_code == 202, sent.text
    image, = sent.json()["images"]
    path = f"/attachment/{sent.json()['id']}/version/{sent.json()['version']}"
    again = storage.study("POST", study, path + "/image")
    assert again.status_code == 202 and again.json()["image_uid"] == image["image_uid"]
    made = storage.dataset(study, image["image_uid"])
    assert made.PatientID == read(ct[0][0].read_bytes()).PatientID
    assert numpy.array_equal(made.pixel_array, numpy.asarray(picture))
    assert storage.study("DELETE", study, f"/image/{image['image_uid']}").status_code == 202
    assert storage.study("DELETE", study, path).status_code == 202


# Copies.


def images_of(storage, study):
    return [storage.dataset(study, image["id"]) for series in storage.schema(study)["series"] for image in series["images"]]


def by_place(datasets):
    return {int(dataset.InstanceNumber): dataset for dataset in datasets}


def same_but_uids(copy, original):
    uids = {"StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"}
    for element in original:
        if element.keyword not in uids and element.tag.element != 0 and element.VR != "SQ":
            assert element.tag in copy, element.tag
            assert copy[element.tag].value == element.value or element.tag == 0x00081155, element.tag


def test_split_merge_and_clone(storage, ct):
    originals = [read(file.read_bytes()) for file, _ in ct]
    for path, parameters in (("/split", {}), ("/clone", {}), ("/clone", {"new_series_uids": "true", "new_image_uids": "true"})):
        answer = storage.study("POST", study_of(ct), path, params=parameters)
        assert answer.status_code in (200, 202), answer.text
        repeated = storage.study("POST", study_of(ct), path, params=parameters)
        assert repeated.text == answer.text, "a request that is sent again starts nothing"
        copies = images_of(storage, answer.text)
        assert len(copies) == 6
        keeps = path == "/clone" and not parameters
        for copy, original in ((copy, original) for copy in copies for original in originals
                               if copy.InstanceNumber == original.InstanceNumber and copy.PixelData == original.PixelData):
            assert copy.StudyInstanceUID == answer.text
            assert (copy.SOPInstanceUID == original.SOPInstanceUID) == keeps
            assert (copy.SeriesInstanceUID == original.SeriesInstanceUID) == keeps
            assert copy.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
            same_but_uids(copy, original)
        assert sorted(copy.PixelData for copy in copies) == sorted(original.PixelData for original in originals)
        series = storage.schema(answer.text)["series"][0]["series_uid"]
        if path == "/split":
            num = len(storage.schema(answer.text)["series"][0]["images"])
            part = storage.study("POST", answer.text, "/split", params={"series_uid": series, "delete_series_from_original": 1})
            assert part.status_code in (200, 202), part.text
            assert storage.study("GET", part.text, "/count").json()["image_count"] == num
            left = storage.study("GET", answer.text, "/count")
            assert left.status_code == 404 if num == 6 else left.json()["image_count"] == 6 - num
            merged = storage.study("GET", study_of(ct), "/merge", params={"secondary_study_uid": part.text, "delete_secondary_study": 1})
            assert merged.status_code == 202, merged.text
            assert storage.study("GET", study_of(ct), "/count").json()["image_count"] == 6 + num
            error(storage.study("GET", part.text, "/schema"), 404, 18, "STUDY_NOT_FOUND")
            assert storage.study("DELETE", study_of(ct), "/images", data=",".join(
                image["id"] for entry in storage.schema(study_of(ct))["series"] if entry["series_uid"] not in
                {original.SeriesInstanceUID for original in originals} for image in entry["images"])).status_code == 202
            assert storage.study("GET", study_of(ct), "/count").json()["image_count"] == 6
    error(storage.study("POST", study_of(ct), "/split", params={"series_uid": "1.2"}), 404, 17, "SERIES_NOT_FOUND")
    error(storage.study("GET", study_of(ct), "/merge"), 412, 99, "VALIDATION_ERROR")
    error(storage.study("GET", study_of(ct), "/merge", params={"secondary_study_uid": "1.2"}), 404, 18, "STUDY_NOT_FOUND")


def test_regions_are_obscured_and_cut_out(storage, ct):
    originals = {}
    for file, answer in ct:
        native = storage.dataset(study_of(ct), answer["image_uid"], params={"transfer_syntax": EXPLICIT_LITTLE})
        originals[int(native.InstanceNumber), native.SeriesInstanceUID] = native
    series = {key[1] for key in originals}
    region = {"x": 10, "y": 20, "width": 30, "height": 40}
    box = (slice(20, 60), slice(10, 40))
    body = json.dumps({"series": {uid: {"regions": [region]} for uid in series}})
    done = storage.study("POST", study_of(ct), "/anonymize", data=body, params={"color": "#ffffff"})
    assert done.status_code in (200, 202), done.text
    copies = images_of(storage, done.text)
    assert len(copies) == 6
    matched = 0
    for copy in copies:
        assert copy.file_meta.TransferSyntaxUID == EXPLICIT_LITTLE and copy.ImageType[0] == "DERIVED"
        painted = copy.pixel_array
        for original in originals.values():
            expected = original.pixel_array.copy()
            if copy.InstanceNumber != original.InstanceNumber or not numpy.array_equal(expected[60:], painted[60:]):
                continue
            top = (1 << (original.BitsStored - original.PixelRepresentation)) - 1
            expected[box] = top
            assert numpy.array_equal(painted, expected)
            matched += 1
            break
    assert matched == 6
    cut = storage.study("POST", study_of(ct), "/crop", data=json.dumps({"region": region}), params={"to_namespace": storage.namespace})
    assert cut.status_code in (200, 202), cut.text
    for copy in images_of(storage, cut.text):
        assert (copy.Rows, copy.Columns) == (40, 30)
        original = next(original for original in originals.values()
                        if original.InstanceNumber == copy.InstanceNumber and numpy.array_equal(original.pixel_array[box], copy.pixel_array))
        along, down = numpy.array(original.ImageOrientationPatient[:3]), numpy.array(original.ImageOrientationPatient[3:])
        moved = numpy.array(original.ImagePositionPatient) + along * 10 * original.PixelSpacing[1] + down * 20 * original.PixelSpacing[0]
        assert numpy.allclose(numpy.array(copy.ImagePositionPatient, float), moved.astype(float), atol=1e-4)
    error(storage.study("POST", study_of(ct), "/crop", data=json.dumps({"region": region})), 412, 99, "VALIDATION_ERROR")
    error(storage.study("POST", study_of(ct), "/anonymize", data="{"), 400, 8, "JSON_DESERIALIZE_EXCEPTION")
    error(storage.study("POST", study_of(ct), "/anonymize", data="{}"), 400, 5, "BAD_REQUEST")
    error(storage.study("POST", study_of(ct), "/anonymize", data=body, params={"color": "red"}), 412, 99, "VALIDATION_ERROR")


# What is refused, and deleting.


def test_errors(storage, server, ct):
    study, image = study_of(ct), ct[0][1]["image_uid"]
    body = error(storage.study("GET", "bad", "/schema"), 404, 18, "STUDY_NOT_FOUND")
    assert body["exception_data"]["study_uid"] == "bad" and body["message"] == "Study wasn't found by provided ids"
    verbose = storage.study("GET", "bad", "/schema", headers={"X-AmbraHealth-Verbose-Errors": "1"}).json()
    assert verbose["extended"] is not None
    denied = (403, 7, "ACCESS_DENIED")
    for namespace in ("abra", "0" * 32, "00000000-0000-0000-0000-000000000000"):
        error(storage.call("GET", f"/study/{namespace}/kadabra/schema"), *denied)
        error(storage.call("POST", f"/namespace/{namespace}/image", data=b"x"), *denied)
        error(storage.study("GET", study, "/schema", params={"phi_namespace": namespace}), *denied)
        error(storage.study("POST", study, "/split", params={"to_namespace": namespace}), *denied)
    for auth in (None, ("nobody", "wrong")):
        error(storage.study("GET", study, "/schema", auth=auth), *denied)
        error(storage.study("GET", study, "/schema", auth=auth, params={"sid": "wrong"}), *denied)
    error(storage.call("GET", "/nothing/here"), 404, 3, "NOT_FOUND")
    assert storage.study("PUT", study, "/schema").status_code == 405
    not_found = (404, 14, "IMAGE_NOT_FOUND")
    error(storage.image(study, "1.2.3"), *not_found)
    error(storage.image(study, image, version="0" * 32), *not_found)
    error(storage.image(study, image, version="x"), *not_found)
    error(storage.image(study, image, "/frame/1"), *not_found)
    error(storage.image(study, image, "/frame/x"), *not_found)
    error(storage.image(study, image, "/pdf"), 415, 39, "NOT_PDF_FILE")
    error(storage.image(study, image, "/video"), 415, 38, "NOT_VIDEO_IN_IMAGE")
    assert storage.image(study, image, "/cadsr").json() == []
    for parameters in ({"size": "x"}, {"quality": "2"}, {"depth": "12"}):
        error(storage.image(study, image, "/frame/0", params=parameters), 400, 5, "BAD_REQUEST")
    error(storage.image(study, image, "/frame/0", params={"depth": 16}), 406, 6, "NOT_ACCEPTABLE")
    error(storage.image(study, image, params={"transfer_syntax": "1.2.840.10008.1.2.4.90"}), 406, 6, "NOT_ACCEPTABLE")
    error(storage.image(study, image, "/json", params={"groups": "x"}), 400, 5, "BAD_REQUEST")
    error(storage.study("GET", study, "/json", params={"series_uid": "1.2"}), 404, 17, "SERIES_NOT_FOUND")
    error(storage.study("GET", study, "/download"), 412, 99, "VALIDATION_ERROR")
    error(storage.study("GET", study, "/download", params={"bundle": "dicom", "image_uid": "1.2"}), 404, 15, "IMAGES_NOT_FOUND")
    error(storage.study("GET", study, "/download", params={"bundle": "osx"}), 406, 6, "NOT_ACCEPTABLE")
    error(storage.study("DELETE", study, "/images", data=""), 400, 5, "BAD_REQUEST")
    error(storage.study("DELETE", study, "/images", data=f"{image},1.2"), 404, 15, "IMAGES_NOT_FOUND")
    error(storage.study("DELETE", "unknownstudy", "/images", data=image), 404, 18, "STUDY_NOT_FOUND")
    error(storage.study("DELETE", study, "/image/1.2"), *not_found)
    error(storage.study("POST", study, "/hl7/123/sr"), 404, 12, "DOWNSTREAM_NOT_AVAILABLE")
    error(storage.study("POST", study, "/rt", data="{}"), 406, 6, "NOT_ACCEPTABLE")
    for data in (b"", b"no DICOM at all", b"\0" * 200):
        error(storage.call("POST", f"/namespace/{storage.namespace}/image", data=data), 400, 5, "BAD_REQUEST")
    other = storage.call("POST", f"/namespace/{storage.namespace}/image", data=ct[0][0].read_bytes(), params={"study_uid": "1.2.3"})
    error(other, 400, 5, "BAD_REQUEST")
    assert storage.study("DELETE", study, "/cache").status_code == 202


def test_nothing_answers_500(storage, ct):
    """Every route of the page with odd words in its path and query."""
    page = requests.get(storage.server.origin + "/api/docs/storage", verify=storage.server.verify).text
    rows = [row.split("</td><td>") for row in page.split("<tr><td>")[1:]]
    assert len(rows) > 40
    odd = ["x", "0", "*", "1.2.3", "..", "%00", "%F0%9F%92%A9", "9" * 100]
    for row in rows:
        method, path = row[0], row[1].replace("<code>", "").replace("</code>", "").removeprefix(BASE)
        for word in odd:
            for real in (False, True):
                filled = path
                if real:
                    filled = filled.replace("{namespace}", storage.namespace).replace("{study}", study_of(ct))
                    if method == "DELETE" and filled.endswith(study_of(ct)):
                        continue
                    filled = filled.replace("{image}", ct[0][1]["image_uid"]) if method != "DELETE" else filled
                while "{" in filled:
                    start, end = filled.index("{"), filled.index("}")
                    filled = filled[:start] + word + filled[end + 1 :]
                query = {"bundle": word, "size": word, "to_namespace": word, "secondary_study_uid": word, "groups": word}
                answer = storage.call(method, filled, params=query, data=word if method == "POST" else None)
                assert answer.status_code < 500, (method, filled, answer.status_code, answer.text)


def test_deleting(storage, corpus, ct):
    study = study_of(ct)
    uids = [answer["image_uid"] for _, answer in ct]
    assert storage.study("DELETE", study, f"/image/{uids[0]}").status_code == 202
    error(storage.image(study, uids[0]), 404, 14, "IMAGE_NOT_FOUND")
    assert storage.study("DELETE", study, "/images", data=",".join(uids[1:3])).status_code == 202
    assert storage.study("GET", study, "/count").json()["image_count"] == 3
    for file, answer in ct[3:]:
        assert dataset_of(storage.image(study, answer["image_uid"]).content)[1] == dataset_of(file.read_bytes())[1]
    storage.study("POST", study, "/attachment", files={"data": ("a.pdf", PDF)})
    error(storage.study("DELETE", study, params={"keep_attachments": 1}), 406, 6, "NOT_ACCEPTABLE")
    assert storage.study("DELETE", study).status_code == 202
    error(storage.study("GET", study, "/schema"), 404, 18, "STUDY_NOT_FOUND")
    error(storage.study("DELETE", study), 404, 18, "STUDY_NOT_FOUND")


# The vendor's SDK, where it is installed: its storage classes, signed in by HTTP Basic.


def test_the_sdk_drives_it(storage, server, corpus, tmp_path, picture, monkeypatch):
    ambra = pytest.importorskip("ambra_sdk.api", reason="the vendor's SDK is not installed")
    exceptions = pytest.importorskip("ambra_sdk.exceptions.storage")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.verify))
    api = ambra.Api.with_sid(f"{server.origin}/api/v3", "no-session-yet")
    api.storage_session.auth = server.auth
    engine = server.origin.removeprefix("https://")
    files = sorted((corpus / "series" / "ct-ge-brightspeed-p14sv1").glob("*.dcm"))
    where = {"engine_fqdn": engine, "namespace": storage.namespace}
    for file in files:
        with open(file, "rb") as opened:
            stored = api.Storage.Image.upload(**where, opened_file=opened)
        assert stored.image_uid and stored.namespace == storage.namespace and stored.attr
    where["study_uid"] = stored.study_uid
    schema = api.Storage.Study.schema(**where)
    image = schema.series[0]["images"][0]
    of_image = where | {"image_uid": image["id"], "image_version": image["version"]}
    assert api.Storage.Study.count(**where) and api.Storage.Study.tag(**where) and api.Storage.Study.phi(**where)
    assert api.Storage.Study.image_phi(**of_image) and api.Storage.Study.attribute(**of_image)
    for name in ("thumbnail", "diagnostic", "frame", "frame_tiff"):
        assert getattr(api.Storage.Study, name)(**of_image, frame_number=0).status_code == 200
    tags = api.Storage.Study.image_json(**of_image)
    assert len(list(tags.get_tags(filter_dict={"group": 2}))) == len(read(files[0].read_bytes()).file_meta)
    assert tags.tag_by_name("Manufacturer").vl == 18
    assert api.Storage.Study.json(**where)[0].tag_by_name("Manufacturer").value == "GE MEDICAL SYSTEMS"
    assert api.Storage.Image.dicom_payload(**of_image, pretranscode=True).content
    assert api.Storage.Image.cadsr(**of_image).status_code == 200
    with pytest.raises(exceptions.NotPdfFile):
        api.Storage.Study.pdf(**of_image)
    with pytest.raises(exceptions.NotVideoInImage):
        api.Storage.Study.video(**of_image)
    with pytest.raises(exceptions.StudyNotFound):
        api.Storage.Study.schema(**where | {"study_uid": "bad"})
    with pytest.raises(exceptions.BadRequest):
        api.Storage.Study.delete_images(**where, request_body="")
    logo = tmp_path / "logo.png"
    logo.write_bytes(encoded(picture, "PNG"))
    with open(logo, "rb") as opened:
        assert api.Storage.Image.wrap(engine_fqdn=engine, namespace=storage.namespace, opened_file=("name", opened, "application/json")).status_code == 202
    with open(logo, "rb") as opened:
        api.Storage.Study.post_attachment(**where, opened_file=opened)
    attachment = api.Storage.Study.schema(**where).attachments[0]
    of_attachment = where | {"version": attachment["version"]}
    assert api.Storage.Study.attachment(**of_attachment, attachment_id=attachment["id"]).content == logo.read_bytes()
    assert api.Storage.Study.latest(**where).content == logo.read_bytes()
    assert api.Storage.Study.attachment_image(**of_attachment, attachment_uid=attachment["id"]).study_uid
    assert api.Storage.Study.delete_attachment(**where, attachment_id=attachment["id"], hash_arg=attachment["version"]).status_code == 202
    assert api.Storage.Study.download(**where, bundle="dicom").status_code == 200
    region = {"series": {schema.series[0]["series_uid"]: {"regions": [{"x": 10, "y": 10, "width": 30, "height": 40}]}}}
    made = [api.Storage.Study.split(**where), api.Storage.Study.clone(**where),
            api.Storage.Study.anonymize(**where, to_namespace=storage.namespace, region=region, color="121197149"),
            api.Storage.Study.crop(**where, to_namespace=storage.namespace, region=region)]
    for answer in made:
        assert answer.status_code in (200, 202) and api.Storage.Study.schema(**where | {"study_uid": answer.text}).series
    assert api.Storage.Study.merge(**where, secondary_study_uid=made[0].text).status_code == 202
    assert api.Storage.Study.dicomweb_study_metadata(**where) if hasattr(api.Storage.Study, "dicomweb_study_metadata") else True
    assert api.Storage.Study.cache(**where).status_code == 202
    with pytest.raises(exceptions.AmbraResponseException):
        api.Storage.Study.hl7_to_sr(**where, hl7uuid="123")
    assert api.Storage.Study.delete(**where).status_code == 202
