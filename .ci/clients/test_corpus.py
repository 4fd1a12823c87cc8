"""Every composite instance of the corpus goes in, in random order, and comes back exactly.

One account that is never wiped, as in a hospital: files that share a SOP Instance UID meet each other.
"""

import collections
import io
import random
import shutil
import subprocess
import warnings

import numpy
import pydicom
import pytest

import corpus_files
from harness import DEFAULT, EXPLICIT_LITTLE, dataset_hash, dataset_of, outcomes, parts_of

# Lossy colour and grey decoders may differ in the last step of their inverse transforms.
LOSSY = {"1.2.840.10008.1.2.4.50": 3, "1.2.840.10008.1.2.4.51": 3, "1.2.840.10008.1.2.4.81": 0, "1.2.840.10008.1.2.4.91": 1,
         "1.2.840.10008.1.2.4.203": 1, "1.2.840.10008.1.2.4.112": 3}


class Stored:
    """What was sent and what the server said of it."""

    def __init__(self):
        self.answers = {}  # file name → (status, word, reason)
        self.by_key = collections.defaultdict(list)
        self.held = []


@pytest.fixture(scope="module")
def files(corpus):
    return corpus_files.composite_and_other(corpus)


@pytest.fixture(scope="module")
def stored(server, files, seed):
    result = Stored()
    order = list(files)
    random.Random(seed).shuffle(order)
    patients = {}
    for file in order:
        answer = server.store([file.read()])
        word, reason = next(iter(outcomes(answer).values()), ("nothing", 0)) if answer.content else ("nothing", 0)
        result.answers[file.name] = (answer.status_code, word, reason)
        if word == "stored":
            if patients.setdefault(file.study, file.patient) != file.patient:
                result.held.append(file)
            else:
                result.by_key[file.key].append(file)
    return result


def test_every_composite_instance_is_stored(files, stored):
    refused = [(file.name, stored.answers[file.name]) for file in files
               if file.identified and file.sop_class not in corpus_files.NON_PATIENT
               and stored.answers[file.name][1] != "stored"]
    assert not refused, refused


@pytest.mark.septum
def test_what_has_no_identity_is_refused(files, stored):
    taken = [(file.name, stored.answers[file.name]) for file in files
             if not file.identified and file.sop_class not in corpus_files.NON_PATIENT
             and (stored.answers[file.name][1] == "stored" or stored.answers[file.name][0] >= 500)]
    assert not taken, taken


@pytest.mark.septum
def test_directories_and_non_patient_objects_are_refused_with_0122H(files, stored):
    wrong = [(file.name, stored.answers[file.name]) for file in files if file.sop_class in corpus_files.NON_PATIENT
             and stored.answers[file.name] != (409, "refused", 0x0122)]
    assert not wrong, wrong


@pytest.mark.septum
def test_the_dataset_comes_back_byte_for_byte(server, stored):
    wrong = []
    for key, sent in stored.by_key.items():
        if len(sent) > 1:
            continue
        got = [dataset_hash(stream) for stream in server.datasets(*key)]
        if got != [sent[0].dataset_sha256]:
            wrong.append(sent[0].name)
    assert not wrong, wrong


def same_image(one: bytes, other: bytes) -> bool:
    """Equal but for the encoding: the second was a duplicate, acknowledged and stored once."""
    try:
        a, b = read(one), read(other)
        a_pixels, b_pixels = a.pixel_array, b.pixel_array
    except Exception:
        return False
    if not numpy.array_equal(a_pixels, b_pixels):
        return False
    return {element.tag for element in a if element.tag.group < 0x7FE0} == {
        element.tag for element in b if element.tag.group < 0x7FE0}


@pytest.mark.septum
def test_files_that_share_a_uid_come_back_as_their_own_versions(server, stored):
    shared = {key: sent for key, sent in stored.by_key.items() if len(sent) > 1}
    assert shared
    lost, invented, duplicates = [], [], 0
    for key, sent in shared.items():
        versions = server.versions(*key)
        got = {dataset_hash(stream) for stream in versions}
        invented += [sent[0].name for digest in got if digest not in {file.dataset_sha256 for file in sent}]
        for file in sent:
            if file.dataset_sha256 not in got:
                if any(same_image(file.read(), stream) for stream in versions):
                    duplicates += 1
                else:
                    lost.append(file.name)
    print(f"{len(shared)} shared UIDs, {duplicates} files stored once as duplicates of another encoding")
    assert not lost and not invented, (lost, invented)


@pytest.mark.septum
def test_a_study_under_a_second_patient_is_never_shown_mixed(server, stored):
    if not stored.held:
        pytest.skip("the corpus has no study with two patients")
    for file in stored.held:
        shown = server.search(server.path(file.study) + "/instances", includefield="PatientID")
        ids = {tuple(item.get("00100020", {}).get("Value", [""])) for item in shown}
        assert len(ids) <= 1, f"{file.name}: two patients in one study"
        mixed = [stream for stream in server.datasets(file.study) if dataset_hash(stream) == file.dataset_sha256]
        assert not mixed, f"{file.name}: the held instance is in its study"


def read(data: bytes) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(io.BytesIO(data), force=True)


JPEG = {f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 57, 70)}


def is_dct(original) -> bool:
    """Whether the first frame is a baseline or extended stream, whatever the transfer syntax says."""
    from pydicom.encaps import get_frame

    frame = get_frame(original.PixelData, 0, number_of_frames=int(original.get("NumberOfFrames", 1) or 1))
    return b"\xff\xc0" in frame[:4096] or b"\xff\xc1" in frame[:4096]


def other_decoders(path):
    from pydicom.pixels import pixel_array

    for plugin in ("pillow", "pylibjpeg"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield pixel_array(path, decoding_plugin=plugin)
        except Exception:  # not every decoder reads every stream
            continue


def test_the_default_transfer_syntax_has_the_same_pixels(server, stored):
    wrong, undecoded, compared = [], collections.Counter(), 0
    for key, sent in stored.by_key.items():
        if len(sent) > 1:
            continue
        original = read(sent[0].read())
        syntax = dataset_of(sent[0].read())[0]
        answer = server.retrieve(*key, accept=DEFAULT)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                expected = original.pixel_array if "PixelData" in original else None
        except Exception as problem:  # what the reference cannot decode proves nothing
            undecoded[(syntax, type(problem).__name__)] += 1
            if answer.status_code not in (200, 406):
                wrong.append((sent[0].name, syntax, answer.status_code))
            continue
        if answer.status_code != 200:
            wrong.append((sent[0].name, syntax, answer.status_code))
            continue
        (headers, stream), = parts_of(answer.headers["Content-Type"], answer.content)
        got_syntax, _ = dataset_of(stream)
        if got_syntax != EXPLICIT_LITTLE:
            wrong.append((sent[0].name, syntax, f"came as {got_syntax}"))
            continue
        if f"transfer-syntax={EXPLICIT_LITTLE}" not in headers["content-type"].replace('"', ""):
            wrong.append((sent[0].name, syntax, f"Content-Type {headers['content-type']}"))
        if expected is None:
            continue
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                got = read(stream).pixel_array
        except Exception as problem:
            wrong.append((sent[0].name, syntax, f"pydicom cannot read it: {type(problem).__name__}: {problem}"))
            continue
        compared += 1
        if got.shape != expected.shape:
            wrong.append((sent[0].name, syntax, f"shape {got.shape}, expected {expected.shape}"))
            continue
        if syntax in JPEG and is_dct(original):
            # How chroma is brought back to full size is the decoder's choice: one of the reference's decoders is right.
            got_all = [expected, *other_decoders(sent[0].path)]
            expected = min(got_all, key=lambda array: int(numpy.abs(got.astype("int64") - array.astype("int64")).max(initial=0)))
            if int(numpy.abs(got.astype("int64") - expected.astype("int64")).max(initial=0)) <= 3:
                continue
        difference = int(numpy.abs(got.astype("int64") - expected.astype("int64")).max(initial=0)) \
            if got.dtype.kind in "iu" else int(not numpy.array_equal(got, expected))
        if difference > LOSSY.get(syntax, 0):
            wrong.append((sent[0].name, syntax, f"differs by up to {difference}"))
    print(f"{compared} compared, reference could not decode: {dict(undecoded)}")
    assert not wrong, "\n".join(map(str, wrong))


HTJ2K, JPEG_LS, RLE = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5"
NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99"}
LOSSLESS = {RLE, "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70", JPEG_LS, "1.2.840.10008.1.2.4.90", HTJ2K}


def has_a_form_in(syntax: str, dataset) -> bool:
    """Grey, palette and RGB samples of 8 or 16 bits at the low end of their cells; JPEG-LS knows no sign and no samples
    of up to 8 bits in cells of 16; RLE takes cells and YBR_FULL as they are."""
    allocated, bits = dataset.BitsAllocated, dataset.BitsStored
    if syntax == RLE:
        return allocated in (8, 16) and (
            dataset.SamplesPerPixel == 1 or dataset.PhotometricInterpretation in ("RGB", "YBR_FULL", "YBR_RCT"))
    if syntax == JPEG_LS and (bits < 2 or (allocated == 16 and bits <= 8)
                              or (dataset.PixelRepresentation == 1 and bits != allocated)):
        return False
    return (allocated in (8, 16) and dataset.HighBit + 1 == bits <= allocated
            and (dataset.SamplesPerPixel == 1 or dataset.PhotometricInterpretation in ("RGB", "YBR_RCT")))


@pytest.mark.septum
@pytest.mark.parametrize("syntax, photometric_of_rgb", [(HTJ2K, "YBR_RCT"), (JPEG_LS, "RGB"), (RLE, "RGB")],
                         ids=["htj2k", "jpegls", "rle"])
def test_lossless_pixels_can_be_had_in_other_lossless_forms(server, stored, syntax, photometric_of_rgb):
    wrong, seen = [], collections.Counter()
    for key, sent in stored.by_key.items():
        original = read(sent[0].read())
        came_as = dataset_of(sent[0].read())[0]
        if len(sent) > 1 or "PixelData" not in original or came_as not in NATIVE | LOSSLESS - {syntax}:
            continue
        if came_as in JPEG and is_dct(original):  # it says that it is lossless, and is not
            continue
        answer = server.retrieve(*key, accept=f'multipart/related; type="application/dicom"; transfer-syntax={syntax}')
        try:
            expected = original.pixel_array
        except Exception:  # what the reference cannot decode proves nothing
            if answer.status_code not in (200, 406):
                wrong.append((sent[0].name, answer.status_code))
            continue
        if answer.status_code != 200:
            # Samples that leave Bits Stored are found when the frame is looked at; some decoders refuse what others take.
            stays = original.BitsStored == original.BitsAllocated and came_as in NATIVE
            if answer.status_code != 406 or (has_a_form_in(syntax, original) and stays):
                wrong.append((sent[0].name, answer.status_code, answer.text[:200]))
            seen["none"] += 1
            continue
        (headers, stream), = parts_of(answer.headers["Content-Type"], answer.content)
        got = read(stream)
        if got.file_meta.TransferSyntaxUID != syntax or syntax not in headers["content-type"]:
            wrong.append((sent[0].name, got.file_meta.TransferSyntaxUID, headers["content-type"]))
        changed = {"PixelData", "PhotometricInterpretation", "PlanarConfiguration", "ExtendedOffsetTable",
                   "ExtendedOffsetTableLengths"}
        is_rgb = original.PhotometricInterpretation in ("RGB", "YBR_RCT")
        if is_rgb and (got.PhotometricInterpretation, got.PlanarConfiguration) != (photometric_of_rgb, 0):
            wrong.append((sent[0].name, got.PhotometricInterpretation, got.PlanarConfiguration))
        values = [{element.tag: str(element.value) for element in dataset
                   if element.keyword not in changed and element.tag.element != 0 and not element.is_undefined_length
                   and element.VR not in ("OW", "OB", "UN", "SQ")} for dataset in (original, got)]
        if values[0] != values[1]:
            wrong.append((sent[0].name, "other elements differ", set(values[0].items()) ^ set(values[1].items())))
        if not numpy.array_equal(expected, got.pixel_array):
            wrong.append((sent[0].name, "other pixels"))
        seen[came_as] += 1
        seen[original.PhotometricInterpretation] += 1
        seen["frames"] += int(original.get("NumberOfFrames", 1) or 1)
    print(dict(seen))
    assert not wrong, "\n".join(map(str, wrong))
    assert seen["MONOCHROME2"] > 20 and seen["RGB"] and seen["PALETTE COLOR"] and seen["frames"] > 100, seen
    assert all(seen[source] for source in LOSSLESS - {syntax, "1.2.840.10008.1.2.4.57"}), seen


def test_dcmtk_reads_what_comes_back(server, stored, tmp_path):
    dcmdump = shutil.which("dcmdump")
    assert dcmdump, "dcmdump (package dcmtk) is missing"
    wrong = []
    chosen = [sent[0] for sent in stored.by_key.values() if len(sent) == 1][:120]
    for file in chosen:
        # A file that DCMTK cannot read as it was sent says nothing about us.
        if subprocess.run([dcmdump, "-q", str(file.path)], capture_output=True, check=False).returncode != 0:
            continue
        for accept in ("original", "default"):
            answer = server.retrieve(*file.key) if accept == "original" else server.retrieve(*file.key, accept=DEFAULT)
            if answer.status_code == 406 and accept == "default":
                continue
            if answer.status_code != 200:
                wrong.append((file.name, accept, answer.status_code))
                continue
            (_, stream), = parts_of(answer.headers["Content-Type"], answer.content)
            (tmp_path / "one.dcm").write_bytes(stream)
            run = subprocess.run([dcmdump, "-q", str(tmp_path / "one.dcm")], capture_output=True, check=False)
            if run.returncode != 0:
                wrong.append((file.name, accept, run.stderr[:200]))
    assert not wrong, wrong


def test_every_stored_instance_is_found_by_search(server, stored):
    wrong = []
    for study in {key[0] for key in stored.by_key}:
        expected = {key[1:] for key in stored.by_key if key[0] == study}
        found = {(item["0020000E"]["Value"][0], item["00080018"]["Value"][0])
                 for item in server.search(server.path(study) + "/instances")}
        if found != expected:
            wrong.append((study, len(found), len(expected)))
    assert not wrong, f"{len(wrong)} studies differ, for example {wrong[:3]}"


def test_sending_everything_again_changes_nothing(server, stored, seed):
    again = [sent[0] for sent in stored.by_key.values() if len(sent) == 1]
    random.Random(seed + 1).shuffle(again)
    for file in again[:60]:
        answer = server.store([file.read()])
        assert answer.status_code in (200, 202), (file.name, answer.status_code, answer.text[:200])
        assert [dataset_hash(stream) for stream in server.datasets(*file.key)] == [file.dataset_sha256], file.name
