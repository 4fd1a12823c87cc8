"""Orthanc from Debian beside Septum: it stores to us, searches, reads and deletes here, and our command line reads there.

Every composite instance of the corpus goes through; what arrives equals what was sent, by the hash of the dataset. Known of
Orthanc's DICOMweb 1.7: it cannot read the answer of a search that finds nothing (204), so none is made here.
"""

import concurrent.futures
import os
import pathlib
import subprocess

import pytest

import corpus_files
import orthanc
from harness import binary, dataset_hash, parts_of

pytestmark = pytest.mark.septum


@pytest.fixture(scope="module")
def files(corpus):
    return corpus_files.distinct(corpus)


@pytest.fixture(scope="module")
def peer(server):
    if orthanc.installed() is None:
        pytest.skip("Orthanc with DICOMweb is not installed (.ci/install peer)")
    settings = {"Url": server.url, "Username": server.auth[0], "Password": server.auth[1], "HasDelete": True}
    started = orthanc.Orthanc(sync=False, servers={"septum": settings}, authorities=server.verify)
    try:
        started.start()
        yield started
        assert started.alive()
    finally:
        started.close()


@pytest.fixture(scope="module")
def taken(peer, files):
    """Orthanc's identifier → the file. It takes them all, also those in transfer syntaxes that it does not know."""
    def send(file):
        answer = peer.rest("POST", "/instances", data=file.read())
        assert answer.status_code == 200, (file.name, answer.text[:300])
        return answer.json()["ID"], file

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return dict(pool.map(send, files))


@pytest.fixture(scope="module")
def sent(peer, taken):
    """All of them, after Orthanc has stored them to Septum."""
    peer.ask("stow", Resources=list(taken), Synchronous=True)
    return list(taken.values())


def by_study(sent):
    studies = {}
    for file in sent:
        studies.setdefault(file.study, []).append(file)
    return studies


def test_what_orthanc_stores_is_what_it_was_given(server, sent):
    wrong = []
    for study, expected in by_study(sent).items():
        got = sorted(dataset_hash(stream) for stream in server.datasets(study))
        if got != sorted(file.dataset_sha256 for file in expected):
            wrong.append([file.name for file in expected])
    assert not wrong, wrong


def test_orthanc_searches(peer, sent):
    def uids(path, tag, **arguments):
        return sorted(item[tag]["Value"] for item in peer.ask("qido", Uri=path, Arguments=arguments).json())

    studies = by_study(sent)
    assert uids("/studies", "0020000D", limit="5000") == sorted(studies)
    study = max(studies, key=lambda uid: len(studies[uid]))
    series = {file.series for file in studies[study]}
    assert uids(f"/studies/{study}/series", "0020000E") == sorted(series)
    assert uids(f"/studies/{study}/instances", "00080018", limit="1000") == sorted(file.instance for file in studies[study])
    one = studies[study][0]
    assert uids("/instances", "00080018", SOPInstanceUID=one.instance) == [one.instance]
    name = corpus_files.text(corpus_files.read_header(one.path), "PatientName")
    assert study in uids("/studies", "0020000D", **{"00100010": f"*{name[1:-1]}*", "limit": "1000"})


def test_orthanc_reads_metadata_frames_and_pictures(peer, server, sent):
    file = next(file for file in sent if file.name.startswith("series/ct-ge-hispeed-28"))
    path = server.path(*file.key)

    metadata = peer.ask("get", Uri=path + "/metadata", HttpHeaders={"Accept": "application/dicom+json"}).json()
    assert metadata[0]["00080018"]["Value"] == [file.instance]
    frame = peer.ask("get", Uri=path + "/frames/1",
                     HttpHeaders={"Accept": 'multipart/related; type="application/octet-stream"'})
    (_, pixels), = parts_of(frame.headers["Content-Type"], frame.content)
    assert pixels and pixels in file.read()
    picture = peer.ask("get", Uri=path + "/rendered", HttpHeaders={"Accept": "image/jpeg"})
    assert picture.content.startswith(b"\xff\xd8")


def read_back(peer, resources):
    """Hashes of what Orthanc has after it retrieved `resources` from Septum; it had nothing before."""
    for identifier in peer.rest("GET", "/patients").json():
        assert peer.rest("DELETE", f"/patients/{identifier}").status_code == 200
    peer.ask("retrieve", Resources=resources, Synchronous=True)
    return sorted(dataset_hash(peer.rest("GET", f"/instances/{identifier}/file").content)
                  for identifier in peer.rest("GET", "/instances").json())


def test_what_orthanc_retrieves_is_what_was_sent(peer, sent):
    assert read_back(peer, [{"Study": study} for study in by_study(sent)]) == sorted(file.dataset_sha256 for file in sent)


def test_orthanc_retrieves_a_series_and_an_instance(peer, sent):
    file = next(file for file in sent if file.name.startswith("series/ct-ge-hispeed-28"))
    series = [other for other in sent if other.series == file.series]
    assert read_back(peer, [{"Study": file.study, "Series": file.series}]) == sorted(other.dataset_sha256 for other in series)
    assert read_back(peer, [{"Study": file.study, "Series": file.series, "Instance": file.instance}]) == [file.dataset_sha256]


def command(peer, *arguments: str, work: pathlib.Path) -> subprocess.CompletedProcess:
    """A subcommand of Septum against Orthanc's DICOMweb."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEPTUM")}
    return subprocess.run([str(binary()), *arguments, "--server", peer.origin, "--service", "dicom-web", "--user", peer.auth[0]],
                          env=kept | {"SEPTUM_PASSWORD": peer.auth[1]}, cwd=work, text=True, stdin=subprocess.DEVNULL,
                          capture_output=True, timeout=300)


def test_import_and_export_talk_to_orthanc(peer, sent, tmp_path):
    """A folder goes to Orthanc by `septum import` and comes back by `septum export`."""
    chosen = [file for file in sent if file.name.startswith(("series/", "pydicom/", "transfer-syntax/"))]
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number, file in enumerate(chosen):
        (folder / f"{number}.dcm").write_bytes(file.read())
    read_back(peer, [])
    done = command(peer, "import", str(folder), work=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(peer.rest("GET", "/instances").json()) == len(chosen)
    done = command(peer, "export", "--all", "--to", str(out), work=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    exported = [path.read_bytes() for path in (out / "DICOM").rglob("*") if path.is_file()]
    assert sorted(map(dataset_hash, exported)) == sorted(file.dataset_sha256 for file in chosen)


def test_orthanc_deletes_at_each_level(peer, server, sent):
    """Last, for it takes away what the others read."""
    studies = by_study(sent).values()
    several = next(members for members in studies if len({file.series for file in members}) > 1)
    instance = next(file for file in sent if file.name.startswith("series/ct-ge-hispeed-28"))
    for level, num_uids, file in (("Instance", 3, instance), ("Series", 2, several[0]), ("Study", 1, several[0])):
        path = server.path(*file.key[:num_uids])
        assert server.request("GET", path + "/metadata").status_code in (200, 206), level
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[:num_uids]
        peer.ask("delete", Level=level, **dict(zip(names, file.key)))
        assert server.request("GET", path + "/metadata").status_code in (404, 410), level
