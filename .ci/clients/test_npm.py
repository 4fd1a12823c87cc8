"""The npm package dicomweb-client, run by Node: every verb it has, over the composite instances of the corpus.

The script `npm/exercise.mjs` calls the verbs and keeps what came. Here it is compared with the files that were sent, read by
pydicom, never with another answer of the server.
"""

import base64
import io
import json
import pathlib
import shutil
import subprocess

import pytest
from PIL import Image

import corpus_files
from expected import Sent, compare_metadata, read
from harness import EXPLICIT_LITTLE, TOP, dataset_hash, dataset_of

pytestmark = pytest.mark.septum


def plan(one: Sent, first_of_series: Sent) -> dict:
    """What the script needs to know of a file."""
    study, series, instance = one.file.key
    media, syntax = one.frame_type or (None, None)
    return {"path": str(one.file.path), "study": study, "series": series, "instance": instance,
            "frames": {"mediaType": media, "transferSyntaxUID": syntax}, "num_frames": len(one.frames),
            "is_native": one.is_native and bool(one.frames),
            # One of each series is enough.
            "pictures": one.is_plain_picture and one is first_of_series}


@pytest.fixture(scope="module")
def sent(corpus):
    return {str(file.path): Sent(file) for file in corpus_files.distinct(corpus)}


@pytest.fixture(scope="module")
def done(server, sent, tmp_path_factory):
    """What the script says, after it has called every verb."""
    installed = subprocess.run([str(TOP / ".ci/clients/npm/install")], text=True, capture_output=True, check=False)
    assert installed.returncode == 0, installed.stderr
    node = shutil.which("node")
    assert node, "Node is missing, though the packages could be installed"
    wanted = {"url": server.url, "packages": installed.stdout.strip(), "folder": str(tmp_path_factory.mktemp("npm")),
              "authorization": "Basic " + base64.b64encode(":".join(server.auth).encode()).decode(),
              "instances": [plan(one, members[0]) for members in grouped(sent, 2).values() for one in members]}
    run = subprocess.run([node, str(TOP / ".ci/clients/npm/exercise.mjs")], input=json.dumps(wanted), text=True, check=False,
                         capture_output=True, timeout=240, env={"NODE_EXTRA_CA_CERTS": server.verify})
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout)


def came(done, verb) -> dict[str, dict]:
    return {result["about"]: result for result in done["results"] if result["verb"] == verb}


def contents(result) -> list[bytes]:
    return [pathlib.Path(path).read_bytes() for path in result["files"]]


def values(items, tag) -> list:
    return sorted(item[tag]["Value"][0] for item in items)


def grouped(sent, num_uids) -> dict[str, list[Sent]]:
    """The files of each study (1) or series (2), under its UIDs as the script joins them."""
    groups = {}
    for one in sent.values():
        groups.setdefault("/".join(one.file.key[:num_uids]), []).append(one)
    return groups


def test_no_verb_is_left_out(done):
    assert done["unused"] == []


def test_nothing_went_wrong(done):
    """But for what is not there."""
    problems = [problem for problem in done["problems"] if problem["about"] != "nothing"]
    assert not problems, problems[:20]
    assert [problem["status"] for problem in done["problems"]] == [404]


def test_every_instance_is_stored(done, sent):
    stored = []
    for result in came(done, "storeInstances").values():
        answer = json.loads(result["value"])
        assert "00081198" not in answer
        stored += [item["00081155"]["Value"][0] for item in answer["00081199"]["Value"]]
    assert sorted(stored) == sorted(one.file.instance for one in sent.values())


def test_searches(done, sent):
    """Over everything, and below a study or series."""
    for verb, num_uids, tag in (("searchForStudies", 1, "0020000D"), ("searchForSeries", 2, "0020000E"),
                                ("searchForInstances", 3, "00080018")):
        keys = {one.file.key[:num_uids] for one in sent.values()}
        assert values(came(done, verb)["all"]["value"], tag) == sorted(key[-1] for key in keys), verb
    for verb, num_uids, tag in (("searchForSeries", 1, "0020000E"), ("searchForInstances", 2, "00080018")):
        for uid, members in grouped(sent, num_uids).items():
            expected = {one.file.key[num_uids] for one in members}
            assert values(came(done, verb)[uid]["value"], tag) == sorted(expected), (verb, members[0].file.name)


@pytest.mark.parametrize(("verb", "num_uids"), [("retrieveStudyMetadata", 1), ("retrieveSeriesMetadata", 2)])
def test_metadata_of_many(done, sent, verb, num_uids):
    for uid, members in grouped(sent, num_uids).items():
        assert values(came(done, verb)[uid]["value"], "00080018") == sorted(one.file.instance for one in members)


def test_metadata_says_what_the_file_says(done, sent):
    """Text and numbers outside sequences and private groups, as pydicom reads them from the JSON and from the file."""
    wrong, num_compared = [], 0
    for path, result in came(done, "retrieveInstanceMetadata").items():
        item, = result["value"]
        num_same, differing = compare_metadata(item, sent[path].dataset)
        num_compared += num_same
        wrong += [(sent[path].file.name, *what) for what in differing]
    assert not wrong, wrong[:20]
    assert num_compared > 5000


def test_an_instance_comes_back_byte_for_byte(done, sent):
    found = came(done, "retrieveInstance")
    wrong = [one.file.name for path, one in sent.items() if [dataset_hash(content) for content in contents(found[path])]
             != [one.file.dataset_sha256]]
    assert not wrong, wrong


def test_a_series_comes_back_byte_for_byte(done, sent):
    found = came(done, "retrieveSeries")
    for uid, members in grouped(sent, 2).items():
        got = sorted(dataset_hash(content) for content in contents(found[uid]))
        assert got == sorted(one.file.dataset_sha256 for one in members), members[0].file.name


def test_a_study_comes_in_the_default_transfer_syntax(done, sent):
    """Explicit VR Little Endian is not touched; what is stored so comes as it was."""
    found = came(done, "retrieveStudy")
    for uid, members in grouped(sent, 1).items():
        got = {str(read(io.BytesIO(content)).SOPInstanceUID): dataset_of(content) for content in contents(found[uid])}
        for one in members:
            syntax, dataset = got[one.file.instance]
            if one.syntax == EXPLICIT_LITTLE:
                assert (syntax, dataset) == dataset_of(one.file.read()), one.file.name


def test_frames_are_those_of_the_file(done, sent):
    found, wrong = came(done, "retrieveInstanceFrames"), []
    for path, one in sent.items():
        if one.frames and (path not in found or contents(found[path]) != one.frames):
            wrong.append(one.file.name)
    assert not wrong, wrong
    assert {sent[path].syntax for path in found} >= {"1.2.840.10008.1.2", EXPLICIT_LITTLE, "1.2.840.10008.1.2.5"} | {
        f"1.2.840.10008.1.2.4.{number}" for number in (50, 70, 80, 90)}


@pytest.mark.parametrize("verb", ["retrieveInstanceRendered", "retrieveInstanceFramesRendered", "retrieveInstanceThumbnail",
                                  "retrieveInstanceFramesThumbnail"])
def test_pictures(done, sent, verb):
    found = came(done, verb)
    assert len(found) > 10
    for path, result in found.items():
        content, = contents(result)
        picture = Image.open(io.BytesIO(content))
        picture.load()
        dataset = sent[path].dataset
        if "Thumbnail" in verb:
            assert picture.format == "JPEG" and max(picture.size) <= 512, sent[path].file.name
        else:
            assert picture.format == "PNG" and picture.size == (dataset.Columns, dataset.Rows), sent[path].file.name


def test_bulk_data_are_the_values_of_the_file(done, sent):
    found, num_compared = came(done, "retrieveBulkData"), 0
    for about, result in found.items():
        path, tag, *part = about.rsplit(" ", 2) if about.endswith(" part") else about.rsplit(" ", 1)
        one, content = sent[path], contents(result)
        element = one.dataset[int(tag, 16)]
        if not isinstance(element.value, bytes) or (element.VR == "OW" and one.syntax == "1.2.840.10008.1.2.2"):
            continue
        expected = element.value[2:6] if part else element.value
        assert content == [expected], (one.file.name, tag, part)
        num_compared += 1
    assert num_compared > 20


def test_addresses_of_wado_uri(done, sent):
    found = came(done, "buildInstanceWadoURIUrl")
    assert len(found) == 20
    for path, result in found.items():
        content, = contents(result)
        assert dataset_hash(content) == sent[path].file.dataset_sha256, sent[path].file.name
