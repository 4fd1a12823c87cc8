"""`application/zip`: studies, series and instances as ZIP files with a DICOMDIR, opened by other people's software.

Python's zipfile and Info-ZIP test and unpack them; pydicom and DCMTK read the DICOMDIR; every dataset is the stored one.
"""

import collections
import io
import logging
import pathlib
import random
import shutil
import subprocess
import warnings
import zipfile

import pydicom
import pydicom.fileset
import pytest

import corpus_files
import synthetic
from harness import ORIGINAL, dataset_hash, dataset_of, outcomes, stored_at

logging.getLogger("pydicom").setLevel(logging.CRITICAL)

ZIP = "application/zip"

pytestmark = pytest.mark.septum


class Archive:
    """The server with the corpus in it: for each instance the digest of its dataset as it is stored."""

    def __init__(self, server):
        self.server = server
        self.stored = {}
        for item in server.search("/instances"):
            key = tuple(item[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
            stream, = server.datasets(*key)
            self.stored[key] = dataset_hash(stream)

    def of(self, *prefix) -> dict:
        return {key: digest for key, digest in self.stored.items() if key[: len(prefix)] == prefix}

    def levels(self, depth: int) -> list:
        return sorted({key[:depth] for key in self.stored})

    def zip(self, *key, **options):
        return self.server.request("GET", self.server.path(*key), headers={"Accept": ZIP} | options.pop("headers", {}), **options)


@pytest.fixture(scope="module")
def archive(server, corpus):
    files = [file for file in corpus_files.composite_and_other(corpus)
             if file.identified and file.sop_class not in corpus_files.NON_PATIENT]
    for file in files:
        assert outcomes(server.store([file.read()])), file.name
    found = Archive(server)
    print(f"{len(found.stored)} instances, {len(found.levels(2))} series, {len(found.levels(1))} studies")
    assert len(found.stored) > 250
    return found


def key_of(data: bytes):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    return tuple(str(header.get(keyword, "")).strip() for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))


def check_zip(data: bytes, wanted: dict) -> zipfile.ZipFile:
    """The entries are the stored instances and one DICOMDIR, under File IDs that media allow (PS3.10 8.2)."""
    opened = zipfile.ZipFile(io.BytesIO(data))
    assert opened.testzip() is None
    names = opened.namelist()
    assert len(set(names)) == len(names) == len(wanted) + 1 and names.count("DICOMDIR") == 1
    found = {}
    for entry in opened.infolist():
        # Lengths follow the data, so a reader without seeking needs a method that ends by itself.
        assert not entry.is_dir() and entry.compress_type == zipfile.ZIP_DEFLATED
        components = entry.filename.split("/")
        assert len(components) <= 8
        assert all(1 <= len(part) <= 8 and set(part) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_") for part in components)
        content = opened.read(entry)
        assert content[128:132] == b"DICM"
        if entry.filename != "DICOMDIR":
            key = key_of(content)
            assert key not in found
            found[key] = dataset_hash(content)
    assert found == wanted
    return opened


# Keys of the records and how much of (study, series, instance) they are the same for.
TEXTS = {"PatientID": 1, "PatientName": 1, "StudyDate": 1, "StudyID": 1, "Modality": 2, "SeriesNumber": 2, "InstanceNumber": 3}


def text_of(dataset, keyword: str):
    value = getattr(dataset, keyword, None)
    value = "" if value is None else str(value).strip()
    return int(value) if keyword.endswith("Number") and value else value


def check_texts(records: dict, headers: dict) -> None:
    """Records say what an instance below them says, in whatever character set; instances of a series may disagree."""
    said_below = collections.defaultdict(set)
    for key, header in headers.items():
        for keyword, depth in TEXTS.items():
            said_below[key[:depth], keyword].add(text_of(header, keyword))
    for key, record in records.items():
        for keyword, depth in TEXTS.items():
            below = said_below[key[:depth], keyword]
            # Type 1 keys have a value where no instance has one.
            assert text_of(record, keyword) in below or "" in below, (key, keyword)


def check_directory(opened: zipfile.ZipFile, wanted: dict, folder: pathlib.Path) -> int:
    """Every instance that a DICOMDIR can list is listed, with its file, class and transfer syntax. Returns how many are."""
    opened.extractall(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = pydicom.dcmread(folder / "DICOMDIR")
        assert directory.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.1.3.10"
        assert directory.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
        if not directory.DirectoryRecordSequence:
            return 0
        files = list(pydicom.fileset.FileSet(folder / "DICOMDIR"))
    listed, records, headers = set(), {}, {}
    for instance in files:
        path = pathlib.Path(instance.path)
        assert path.is_file() and path.is_relative_to(folder)
        content = path.read_bytes()
        key = key_of(content)
        listed.add(key)
        assert key == (instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.ReferencedSOPInstanceUIDInFile)
        assert str(instance.ReferencedTransferSyntaxUIDInFile) == dataset_of(content)[0]
        records[key] = instance
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            headers[key] = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, force=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check_texts(records, headers)
    assert listed <= set(wanted)
    return len(listed)


def dcmtk_reads(folder: pathlib.Path, least: int) -> None:
    if not shutil.which("dcmdump"):
        pytest.skip("no DCMTK")
    done = subprocess.run(["dcmdump", "-q", "-M", "DICOMDIR"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.count("ReferencedFileID") >= least
    assert not done.stderr.strip(), done.stderr[-500:]


def info_zip_takes(path: pathlib.Path) -> None:
    if shutil.which("unzip"):
        done = subprocess.run(["unzip", "-t", str(path)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "No errors" in done.stdout, done.stdout[-500:] + done.stderr[-500:]
        assert "warning" not in (done.stdout + done.stderr).lower()


def test_every_study(archive, tmp_path):
    """All of the corpus, study by study: what is inside is what is stored; the DICOMDIR lists it."""
    counts, unlisted = collections.Counter(), []
    for number, (study,) in enumerate(archive.levels(1)):
        wanted = archive.of(study)
        answer = archive.zip(study)
        assert answer.status_code == 200, (study, answer.status_code, answer.text[:200])
        assert answer.headers["Content-Type"] == ZIP
        assert answer.headers["Content-Disposition"] == 'attachment; filename="study.zip"'
        opened = check_zip(answer.content, wanted)
        folder = tmp_path / str(number)
        (tmp_path / "study.zip").write_bytes(answer.content)
        info_zip_takes(tmp_path / "study.zip")
        listed = check_directory(opened, wanted, folder)
        dcmtk_reads(folder, listed)
        counts["instances"] += len(wanted)
        counts["listed"] += listed
        counts["bytes"] += len(answer.content)
        if listed < len(wanted):
            unlisted.append((study, listed, len(wanted)))
        shutil.rmtree(folder)
    print(dict(counts), "not all listed:", unlisted)
    assert counts["instances"] == len(archive.stored)
    assert counts["listed"] >= 0.97 * counts["instances"], unlisted


def test_every_series(archive, tmp_path):
    for number, (study, series) in enumerate(archive.levels(2)):
        wanted = archive.of(study, series)
        answer = archive.zip(study, series)
        assert answer.status_code == 200 and answer.headers["Content-Disposition"] == 'attachment; filename="series.zip"'
        opened = check_zip(answer.content, wanted)
        assert len({name.split("/")[1] for name in opened.namelist() if "/" in name}) == 1
        check_directory(opened, wanted, tmp_path / str(number))
        shutil.rmtree(tmp_path / str(number))


def test_every_instance(archive):
    for key, digest in archive.stored.items():
        answer = archive.zip(*key)
        assert answer.status_code == 200 and answer.headers["Content-Disposition"] == 'attachment; filename="instance.zip"'
        check_zip(answer.content, {key: digest})


def test_series_have_folders_of_their_own(archive):
    studies = collections.Counter(study for study, _ in archive.levels(2))
    study, num_series = max(studies.items(), key=lambda item: item[1])
    assert num_series > 1
    opened = zipfile.ZipFile(io.BytesIO(archive.zip(study).content))
    folders = collections.defaultdict(set)
    for name in opened.namelist():
        if name != "DICOMDIR":
            folders[name.rsplit("/", 1)[0]].add(key_of(opened.read(name))[1])
    assert len(folders) == num_series and all(len(series) == 1 for series in folders.values())


def test_info_zip(archive, tmp_path):
    """`unzip` tests and unpacks the largest study, and what it unpacks is the same."""
    if not shutil.which("unzip"):
        pytest.skip("no unzip")
    (study,) = max(archive.levels(1), key=lambda key: len(archive.of(*key)))
    path = tmp_path / "study.zip"
    path.write_bytes(archive.zip(study).content)
    info_zip_takes(path)
    done = subprocess.run(["unzip", "-q", str(path), "-d", str(tmp_path / "out")], capture_output=True, timeout=120)
    assert done.returncode == 0
    found = [file.read_bytes() for file in (tmp_path / "out" / "DICOM").rglob("I*") if file.is_file()]
    assert {key_of(data): dataset_hash(data) for data in found} == archive.of(study)
    listing = subprocess.run(["unzip", "-Z", "-v", str(path)], capture_output=True, text=True, timeout=120)
    assert listing.returncode == 0


@pytest.mark.parametrize("tool", [["7z", "t"], ["bsdtar", "-tf"], ["jar", "tf"], ["zip", "-T"]], ids=lambda tool: tool[0])
def test_other_archivers(archive, tmp_path, tool):
    if not shutil.which(tool[0]):
        pytest.skip(f"no {tool[0]}")
    path = tmp_path / "study.zip"
    path.write_bytes(archive.zip(*archive.levels(1)[0]).content)
    done = subprocess.run([*tool, str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-500:]


def test_dcmtk_goes_on_with_the_directory(archive, tmp_path):
    if not shutil.which("dcmmkdir"):
        pytest.skip("no dcmmkdir")
    (study,) = max(archive.levels(1), key=lambda key: len(archive.of(*key)))
    zipfile.ZipFile(io.BytesIO(archive.zip(study).content)).extractall(tmp_path)
    first = next(path for path in sorted((tmp_path / "DICOM").rglob("I*")) if path.is_file())
    done = subprocess.run(["dcmmkdir", "-q", "--update", "--output-file", "DICOMDIR", "--input-directory", ".",
                           str(first.relative_to(tmp_path))], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]


def test_the_accept_parameter(archive):
    """`accept=application/zip` for those who cannot set headers, such as a link on a page; it wins over the header."""
    key = archive.levels(3)[0]
    for depth in (1, 2, 3):
        wanted = archive.of(*key[:depth])
        for headers in ({}, {"Accept": ORIGINAL}, {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}):
            answer = archive.zip(*key[:depth], headers=headers | {"Accept": headers.get("Accept")}, params={"accept": ZIP})
            assert answer.status_code == 200 and answer.headers["Content-Type"] == ZIP
            check_zip(answer.content, wanted)
        answer = archive.zip(*key[:depth], params={"accept": ORIGINAL})
        assert answer.headers["Content-Type"].startswith("multipart/related")


@pytest.mark.parametrize("accept, is_zip", [
    (ZIP, True), ("application/zip;q=0.9, */*;q=0.1", True), (f"{ORIGINAL}, application/zip;q=0.5", False),
    ("text/html, application/zip", True), ("*/*", False), ("application/zip;q=0, */*", False), ("application/*", None),
    ("application/zip; transfer-syntax=*", True)])
def test_what_is_wanted_most(archive, accept, is_zip):
    key = archive.levels(3)[0]
    for depth in (1, 2, 3):
        answer = archive.zip(*key[:depth], headers={"Accept": accept})
        # `application/*` alone names one DICOM stream, which a study is not.
        expected = depth < 3 if is_zip is None else is_zip
        assert answer.status_code == 200 and (answer.headers["Content-Type"] == ZIP) == expected, (depth, answer.headers)
        assert "Accept" in answer.headers["Vary"]


def test_conditional_and_head(archive):
    key = archive.levels(3)[0]
    for depth in (1, 2, 3):
        answer = archive.zip(*key[:depth])
        tag = answer.headers["ETag"]
        for known in (tag, "*", f'"other", {tag}'):
            again = archive.zip(*key[:depth], headers={"If-None-Match": known})
            assert again.status_code == 304 and not again.content
        original = archive.server.retrieve(*key[:depth])
        assert original.headers.get("ETag") != tag
        head = archive.server.request("HEAD", archive.server.path(*key[:depth]), headers={"Accept": ZIP})
        assert head.status_code == 200 and not head.content
        assert head.headers["Content-Type"] == ZIP and head.headers["ETag"] == tag


def test_what_is_not_there(archive):
    study, series, instance = archive.levels(3)[0]
    for key in (("1.2.3.4",), (study, "1.2.3.4"), (study, series, "1.2.3.4"), (study, instance)):
        answer = archive.zip(*key)
        assert answer.status_code == 404 and answer.headers["Content-Type"].startswith("application/problem+json")
    answer = archive.server.request("GET", archive.server.path(study) + "/metadata", headers={"Accept": ZIP})
    assert answer.status_code == 406
    answer = archive.server.request("GET", archive.server.path(study, series, instance) + "/frames/1", headers={"Accept": ZIP})
    assert answer.status_code in (404, 406)


def test_it_goes_in_again(archive, seed):
    """What is unpacked is stored again and is known: nothing of it changed."""
    for (study,) in random.Random(seed).sample(archive.levels(1), 10):
        opened = zipfile.ZipFile(io.BytesIO(archive.zip(study).content))
        for name in opened.namelist():
            if name != "DICOMDIR":
                answer = archive.server.store([opened.read(name)])
                assert answer.status_code in (200, 202) and stored_at(answer), name
        assert {key: dataset_hash(archive.server.datasets(*key)[0]) for key in archive.of(study)} == archive.of(study)
        check_zip(archive.zip(study).content, archive.of(study))


def test_the_current_version_is_packed_and_the_validator_changes(archive):
    server = archive.server
    study, series = str(pydicom.uid.generate_uid()), str(pydicom.uid.generate_uid())
    uids = [str(pydicom.uid.generate_uid()) for _ in range(3)]
    tags = set()

    def check():
        stored = {(study, series, uid): dataset_hash(server.datasets(study, series, uid)[0]) for uid in present}
        answer = archive.zip(study)
        check_zip(answer.content, stored)
        assert answer.headers["ETag"] not in tags
        tags.add(answer.headers["ETag"])

    present = []
    for number, uid in enumerate(uids):
        present.append(uid)
        pixels = bytes([number]) * (2 * 16 * 16)
        assert server.store([synthetic.instance(study, series, uid, number + 1, pixels, 16)]).status_code == 200
        check()
    # Another version of the first.
    answer = server.store([synthetic.instance(study, series, uids[0], 1, b"\x07\x00" * 256, 16)])
    assert answer.status_code in (200, 202)
    check()
    assert server.request("DELETE", server.path(study, series, uids[1])).status_code in (200, 204)
    present.remove(uids[1])
    check()
    assert server.request("DELETE", server.path(study)).status_code in (200, 204)
    assert archive.zip(study).status_code == 404


def test_many_instances(archive):
    """More than fit in one piece of anything: names go on, the directory is whole."""
    server = archive.server
    study = synthetic.ROOT_UID + f".{random.randrange(1 << 60)}"
    series = study + ".1"
    count = 1200
    for start in range(0, count, 200):
        parts = [synthetic.instance(study, series, f"{series}.{number}", number, bytes(2 * 8 * 8), 8)
                 for number in range(start + 1, start + 201)]
        assert server.store(parts).status_code == 200
    opened = zipfile.ZipFile(io.BytesIO(archive.zip(study).content))
    assert opened.testzip() is None and len(opened.namelist()) == count + 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        directory = pydicom.dcmread(io.BytesIO(opened.read("DICOMDIR")))
    kinds = collections.Counter(record.DirectoryRecordType for record in directory.DirectoryRecordSequence)
    assert kinds == {"PATIENT": 1, "STUDY": 1, "SERIES": 1, "IMAGE": count}
    assert server.request("DELETE", server.path(study)).status_code in (200, 204)


def test_nobody_reads_without_a_password(archive):
    import requests

    key = archive.levels(3)[0]
    for depth in (1, 2, 3):
        answer = requests.get(archive.server.url + archive.server.path(*key[:depth]), headers={"Accept": ZIP},
                              verify=archive.server.verify, timeout=30)
        assert answer.status_code == 401
