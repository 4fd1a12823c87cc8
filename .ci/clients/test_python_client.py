"""The Python package dicomweb-client: every verb it has, over the composite instances of the corpus.

It writes the datasets that it stores and parses those that it gets, so both are compared as pydicom writes them; frames,
bulk data and metadata are compared with the files. `test_dicomweb.py` has the cases that need an answer looked at closely.
"""

import collections
import io
import urllib.parse
import warnings

import dicomweb_client
import numpy
import pydicom
import pytest
import requests
from PIL import Image

import corpus_files
from expected import Sent, compare_metadata
from harness import EXPLICIT_LITTLE, PATIENCE_SECONDS, dataset_hash

pytestmark = [pytest.mark.septum, pytest.mark.filterwarnings("ignore")]

ORIGINAL = (("application/dicom", "*"),)
KINDS = ("retrieve_", "iter_", "search_", "store_", "delete_")
VERBS = {name for name in dir(dicomweb_client.DICOMwebClient) if name.startswith(KINDS)}


class Counting(dicomweb_client.DICOMwebClient):
    """Notes which verbs were called."""

    used: set[str] = set()

    def __getattribute__(self, name):
        if name in VERBS:
            Counting.used.add(name)
        return super().__getattribute__(name)


def written(dataset: pydicom.Dataset) -> bytes | None:
    """The dataset as the package sends it; None where pydicom cannot write what it has read."""
    out = io.BytesIO()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pydicom.dcmwrite(out, dataset)
    except Exception:
        return None
    return out.getvalue()


@pytest.fixture(scope="module")
def sent(corpus):
    """The files that pydicom can write again: the package sends no others."""
    found = [Sent(file) for file in corpus_files.distinct(corpus)]
    for one in found:
        one.written = written(one.dataset)
    found = [one for one in found if one.written is not None]
    assert len(found) > 300
    return found


@pytest.fixture(scope="module")
def client(server, sent):
    """A client whose datasets are all stored, each study in a request of its own."""
    # In pieces, as it sends them to slow networks. A request that it gives up it repeats with a body that is used up.
    client = Counting(server.url, session=server.session, chunk_size=1 << 20, timeout=PATIENCE_SECONDS)
    for (study,), members in by(sent, 1).items():
        answer = client.store_instances([one.dataset for one in members], study_instance_uid=study)
        assert not answer.get("FailedSOPSequence"), [one.file.name for one in members]
        assert len(answer.ReferencedSOPSequence) == len(members)
    return client


def by(sent, num_uids) -> dict[tuple[str, ...], list[Sent]]:
    """The files of each study (1) or series (2)."""
    groups = collections.defaultdict(list)
    for one in sent:
        groups[one.file.key[:num_uids]].append(one)
    return groups


def values(items, tag) -> list[str]:
    return sorted(item[tag]["Value"][0] for item in items)


def hashes(datasets) -> list[str]:
    return sorted(dataset_hash(written(dataset)) for dataset in datasets)


def test_searches(client, sent):
    for search, num_uids, tag in ((client.search_for_studies, 1, "0020000D"), (client.search_for_series, 2, "0020000E"),
                                  (client.search_for_instances, 3, "00080018")):
        keys = {one.file.key[:num_uids] for one in sent}
        assert values(search(limit=100, get_remaining=True), tag) == sorted(key[-1] for key in keys)
    for (study, series), members in by(sent, 2).items():
        assert series in values(client.search_for_series(study), "0020000E")
        assert values(client.search_for_instances(study, series), "00080018") == sorted(one.file.instance for one in members)


def test_datasets_come_back_as_they_were_sent(client, sent):
    """Each instance, series and study, whole and piece by piece."""
    for one in sent:
        got = client.retrieve_instance(*one.file.key, media_types=ORIGINAL)
        assert hashes([got]) == [dataset_hash(one.written)], one.file.name
    for uids, members in by(sent, 2).items():
        expected = sorted(dataset_hash(one.written) for one in members)
        assert hashes(client.retrieve_series(*uids, media_types=ORIGINAL)) == expected, members[0].file.name
        if len(members) > 1:
            assert hashes(client.iter_series(*uids, media_types=ORIGINAL)) == expected
    for (study,), members in by(sent, 1).items():
        expected = sorted(dataset_hash(one.written) for one in members)
        assert hashes(client.retrieve_study(study, media_types=ORIGINAL)) == expected, members[0].file.name
        if len(members) > 1:
            assert hashes(client.iter_study(study, media_types=ORIGINAL)) == expected


def test_the_default_transfer_syntax(client, sent):
    """Without a media type an instance comes in Explicit VR Little Endian, as it was if it was that."""
    chosen = [members[0] for members in by(sent, 2).values() if members[0].syntax == EXPLICIT_LITTLE]
    assert len(chosen) > 30
    for one in chosen:
        assert hashes([client.retrieve_instance(*one.file.key)]) == [dataset_hash(one.written)], one.file.name


def test_metadata(client, sent):
    wrong, num_same = [], 0
    for (study,), members in by(sent, 1).items():
        of_study = client.retrieve_study_metadata(study)
        assert values(of_study, "00080018") == sorted(one.file.instance for one in members)
        of_series = [item for series in {one.file.series for one in members}
                     for item in client.retrieve_series_metadata(study, series)]
        found = {item["00080018"]["Value"][0]: item for item in of_series}
        assert found == {item["00080018"]["Value"][0]: item for item in of_study}
        for one in members:
            if one.num_frames != 1:
                assert client.retrieve_instance_metadata(*one.file.key) == found[one.file.instance]
            same, differing = compare_metadata(found[one.file.instance], one.dataset)
            num_same += same
            wrong += [(one.file.name, *what) for what in differing]
    assert not wrong, wrong[:20]
    assert num_same > 5000


def test_frames(client, sent):
    wrong, syntaxes = [], collections.Counter()
    for one in sent:
        if not one.frames:
            continue
        numbers = list(range(1, one.num_frames + 1))
        try:
            got = client.retrieve_instance_frames(*one.file.key, numbers, media_types=(one.frame_type,))
            if one.num_frames > 1:
                assert list(client.iter_instance_frames(*one.file.key, numbers, media_types=(one.frame_type,))) == got
        except (requests.HTTPError, ValueError) as problem:
            wrong.append((one.file.name, repr(problem)))
            continue
        syntaxes[one.syntax] += 1
        if got != one.frames:
            wrong.append((one.file.name, [len(frame) for frame in got], [len(frame) for frame in one.frames]))
    assert not wrong, wrong
    assert len(syntaxes) >= 7, syntaxes


def test_pictures(client, sent):
    chosen = [members[0] for members in by(sent, 2).values() if members[0].is_plain_picture]
    assert len(chosen) > 10
    for one in chosen:
        size = (one.dataset.Columns, one.dataset.Rows)
        whole = Image.open(io.BytesIO(client.retrieve_instance_rendered(*one.file.key, media_types=("image/png",))))
        frame = Image.open(io.BytesIO(client.retrieve_instance_frames_rendered(*one.file.key, [1], media_types=("image/png",))))
        assert whole.size == frame.size == size, one.file.name
        assert numpy.array_equal(numpy.asarray(whole), numpy.asarray(frame)), one.file.name
    one = chosen[0]
    # The package gives the answer's body as it is: a part for each instance.
    pictures = client.retrieve_series_rendered(*one.file.key[:2], media_types=("image/jpeg",))
    assert pictures.count(b"Content-Type: image/jpeg\r\n\r\n\xff\xd8") == len(by(sent, 2)[one.file.key[:2]])


def test_bulk_data(client, server, sent):
    """What the metadata names by address, whole and by byte range."""
    def address(element):
        # The package sends Host without the port, so that the addresses that it gets lack it.
        return server.origin + urllib.parse.urlsplit(element["BulkDataURI"]).path

    num_compared = 0
    # Of each series the first, and all that have no pixels: documents, waveforms, contours.
    for one in [one for members in by(sent, 2).values() for one in members if one is members[0] or not one.num_frames]:
        item = client.retrieve_instance_metadata(*one.file.key) if one.num_frames <= 1 else {}
        for tag, element in item.items():
            value = one.dataset[int(tag, 16)].value if int(tag, 16) in one.dataset else None
            if "BulkDataURI" not in element or not isinstance(value, bytes) or (tag == "7FE00010" and not one.frames):
                continue
            if tag == "7FE00010" and not one.is_native:
                got = client.retrieve_bulkdata(address(element), media_types=(one.frame_type,))
                assert got == one.frames, one.file.name
                continue
            got = b"".join(client.retrieve_bulkdata(address(element), media_types=("application/octet-stream",)))
            # The package pads an odd number of bytes when it writes, and that is what was sent.
            assert got in (value, value + b"\x00", b"".join(one.frames)), (one.file.name, tag)
            pieces = b"".join(client.iter_bulkdata(address(element), byte_range=(2, 5),
                                                   media_types=("application/octet-stream",)))
            assert pieces in (value[2:6], got), (one.file.name, tag)
            num_compared += 1
    assert num_compared > 30


def test_deletes(client, sent):
    """Last, for it takes away what the others read: an instance, a series of the same study, a study."""
    members = next(members for members in by(sent, 1).values() if len({one.file.series for one in members}) > 1)
    study, series, instance = members[0].file.key
    client.delete_instance(study, series, instance)
    with pytest.raises(requests.HTTPError):
        client.retrieve_instance(study, series, instance)
    series = members[-1].file.series
    client.delete_series(study, series)
    assert series not in values(client.search_for_series(study), "0020000E")
    study = sent[0].file.study
    client.delete_study(study)
    assert client.search_for_studies(search_filters={"StudyInstanceUID": study}) == []


def test_no_verb_was_left_out():
    assert not VERBS - Counting.used, VERBS - Counting.used
