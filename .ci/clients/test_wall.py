"""What a thief finds: every planted name is searched for over every byte that the product wrote (invariants 2 and 3)."""

import json
import pathlib
import re

import pytest

import corpus_files
from harness import DEFAULT

pytestmark = pytest.mark.septum

# Shorter strings turn up in noise by chance.
MIN_NEEDLE_BYTES = 6


@pytest.fixture(scope="module")
def planted(corpus):
    return json.loads((corpus / "phi" / "phi_expected.json").read_text())["files"]


@pytest.fixture(scope="module")
def filled(server, corpus, planted):
    """The planted files, put through every door that might leave a trace: store, search, read, refuse, restart."""
    for name in planted:
        data = (corpus / "phi" / name).read_bytes()
        answer = server.store([data])
        assert answer.status_code in (200, 202), (name, answer.status_code, answer.text[:300])
        header = corpus_files.read_header(corpus / "phi" / name)
        key = (str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID))
        server.datasets(*key)
        server.retrieve(*key, accept=DEFAULT)
        server.search("/studies", PatientName=str(header.get("PatientName", "")), PatientID=str(header.get("PatientID", "")))
        server.request("GET", server.path(*key) + "/metadata", headers={"Accept": "application/dicom+json"})
        # Refusals and errors must not spell out what they met.
        server.store([data[: len(data) // 2]])
        server.store([data.replace(key[2].encode(), b"x" * len(key[2]))])
        server.request("GET", f"/studies/{header.get('PatientName', '')}")
    assert server.stop() == 0
    server.start()
    return server


def needles(planted, corpus) -> dict[bytes, str]:
    """Bytes to look for → what they are: each planted value and name part in its own encoding, UTF-8 and UTF-16."""
    found = {}
    for name, file in planted.items():
        for plant in file["plants"]:
            value = plant["value"]
            found[bytes.fromhex(plant["bytes_hex"])] = f"{name} {plant['where']}"
            texts = {value} | {part for part in re.split(r"[\^=\\]", value) if len(part) > 3}
            for text in texts:
                for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1"):
                    try:
                        found[text.encode(encoding)] = f"{name} {plant['where']} as {encoding}"
                    except UnicodeEncodeError:
                        pass
        header = corpus_files.read_header(corpus / "phi" / name)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            found[str(header[keyword].value).encode()] = f"{name} {keyword}"
    return {needle: what for needle, what in found.items() if len(needle) >= MIN_NEEDLE_BYTES}


def written_files(server) -> list[pathlib.Path]:
    return [path for path in server.root.rglob("*") if path.is_file() and path != pathlib.Path(server.verify)]


def hits(paths, wanted: dict[bytes, str]) -> list[str]:
    found = []
    for path in paths:
        data = path.read_bytes()
        lowered = data.lower()
        names = str(path).encode()
        for needle, what in wanted.items():
            if needle in data or needle.lower() in lowered or needle in names:
                found.append(f"{what} in {path.name}")
    return found


def test_the_search_itself_finds_what_is_there(tmp_path, planted, corpus):
    """A search that finds nothing proves something only if it can find."""
    wanted = needles(planted, corpus)
    assert len(wanted) > 200
    for name in planted:
        (tmp_path / name).write_bytes((corpus / "phi" / name).read_bytes())
    seen = {what.split(" ")[0] for what in hits(tmp_path.iterdir(), wanted)}
    assert seen == set(planted)


def test_no_planted_name_on_disk_or_in_the_log(filled, planted, corpus):
    paths = written_files(filled)
    assert any(filled.roots["phi"] in path.parents for path in paths)
    assert any(filled.roots["pixel"] in path.parents for path in paths)
    assert any(filled.roots["key"] in path.parents for path in paths)
    found = hits(paths, needles(planted, corpus))
    assert not found, found


def test_no_pixels_in_the_clear(filled, planted, corpus):
    """Runs of the original pixel bytes, which compression would not always hide, are under none of the roots."""
    wanted = {}
    for name in planted:
        data = (corpus / "phi" / name).read_bytes()
        for at in range(len(data) * 3 // 4, len(data) - 48, max(48, len(data) // 64)):
            run = data[at : at + 48]
            if len(set(run)) > 12:
                wanted[run] = f"{name} at {at}"
    found = hits(written_files(filled), wanted)
    assert not found, found


def test_one_root_alone_names_nobody(filled, planted, corpus):
    """Each root by itself looks like noise: no DICOM marker, no readable words, names of files that are only numbers."""
    for root in ("pixel", "phi"):
        for path in filled.roots[root].rglob("*"):
            if not path.is_file():
                continue
            data = path.read_bytes()
            assert b"DICM" not in data or len(data) > 1 << 20, path.name
            for word in (b"PatientName", b"CompressedSamples", b"ORIGINAL\\PRIMARY", b"1.2.840.10008.5.1.4.1.1"):
                assert word not in data, f"{word} in {path.name}"
        if root == "pixel":
            names = [path.name for path in filled.roots[root].rglob("*") if path.is_file()]
            assert not [name for name in names if re.search(r"\d+\.\d+\.\d+\.\d+", name)], names


def test_the_roots_are_closed_to_others(filled):
    for root in filled.roots.values():
        assert root.stat().st_mode & 0o077 == 0, f"{root.name} is open to other users"
        for path in root.rglob("*"):
            assert path.stat().st_mode & 0o007 == 0, f"{path.name} is open to other users"


def test_metrics_name_nobody(filled, planted, corpus, tmp_path):
    import requests

    text = requests.get(f"http://127.0.0.1:{filled.admin_port}/metrics", timeout=10).content
    (tmp_path / "metrics").write_bytes(text)
    assert not hits([tmp_path / "metrics"], needles(planted, corpus))
