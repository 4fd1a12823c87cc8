"""WADO-URI (PS3.18 section 9): one instance by query parameters."""

import io

import numpy
import pydicom
import pydicom.uid
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset

from synthetic import instance

pytestmark = pytest.mark.septum

SIDE = 32
STATE_CLASS = "1.2.840.10008.5.1.4.1.1.11.1"
REPORT_CLASS = "1.2.840.10008.5.1.4.1.1.88.11"
STUDY, SERIES, OTHER = (pydicom.uid.generate_uid() for _ in "abc")


def bytes_of(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def bare(sop_class: str, uid: str) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, OTHER
    dataset.PatientName, dataset.PatientID = "QUICKSILVER^CANARY", "CRASH-1"
    return dataset


def state_of(uid: str, image_uids: list[str]) -> bytes:
    """A presentation state that shows images the other way round: dark is bright."""
    state = bare(STATE_CLASS, uid)
    state.Modality, state.PresentationLUTShape = "PR", "INVERSE"
    series = Dataset()
    series.SeriesInstanceUID = SERIES
    series.ReferencedImageSequence = []
    for image_uid in image_uids:
        image = Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", image_uid
        series.ReferencedImageSequence.append(image)
    state.ReferencedSeriesSequence = [series]
    return bytes_of(state)


class Made:
    """What is stored: two images, one of three frames, a presentation state of the two, and a report."""

    def __init__(self, server):
        self.server = server
        self.first, self.second, self.frames, self.state, self.report = (pydicom.uid.generate_uid() for _ in "abcde")
        ramp = numpy.arange(SIDE * SIDE, dtype="<u2")
        streams = [instance(STUDY, SERIES, uid, number, pixels.astype("<u2").tobytes(), SIDE) for number, (uid, pixels) in
                   enumerate([(self.first, ramp), (self.second, ramp.reshape(SIDE, SIDE).T)], 1)]
        several = pydicom.dcmread(io.BytesIO(instance(STUDY, SERIES, self.frames, 3, b"", SIDE)))
        several.NumberOfFrames, several.PixelData = 3, b"".join((ramp * n).astype("<u2").tobytes() for n in (1, 2, 3))
        report = bare(REPORT_CLASS, self.report)
        report.Modality = "SR"
        streams += [bytes_of(several), state_of(self.state, [self.first, self.second]), bytes_of(report)]
        answer = server.store(streams)
        assert answer.status_code in (200, 202), answer.text[:300]

    def get(self, uid: str, series: str = SERIES, headers=None, **parameters):
        query = {"requestType": "WADO", "studyUID": STUDY, "seriesUID": series, "objectUID": uid} | parameters
        return self.server.request("GET", "/wado", params=query, headers=headers or {})

    def picture(self, uid: str, **parameters) -> numpy.ndarray:
        answer = self.get(uid, contentType="image/png", **parameters)
        assert answer.status_code == 200, answer.text[:300]
        return numpy.array(Image.open(io.BytesIO(answer.content)).convert("L")).astype(int)


@pytest.fixture(scope="module")
def made(server):
    return Made(server)


def test_a_presentation_state_shows_the_image_that_is_named(made):
    for uid in (made.first, made.second):
        plain = made.picture(uid)
        shown = made.picture(uid, presentationUID=made.state, presentationSeriesUID=OTHER)
        assert numpy.corrcoef(plain.ravel(), shown.ravel())[0, 1] < -0.99
    assert not numpy.array_equal(made.picture(made.first), made.picture(made.second))
    answer = made.get(made.frames, presentationUID=made.state, presentationSeriesUID=OTHER)
    assert answer.status_code == 400, answer.text[:300]
    # Without an image, the first that the state names.
    query = {"requestType": "WADO", "studyUID": STUDY, "presentationUID": made.state, "presentationSeriesUID": OTHER}
    assert made.server.request("GET", "/wado", params=query).headers["Content-Type"] == "image/jpeg"


@pytest.mark.parametrize("accept,content_type,expected", [
    ("*/*", None, "image/jpeg"),
    ("image/png", None, "image/png"),
    ("application/dicom", None, "application/dicom"),
    ("image/png;q=0.1, image/gif", None, "image/gif"),
    ("image/jpeg;q=0, */*", None, "image/png"),
    ("image/png", "image/jpeg", "image/jpeg"),
    ("*/*", "image/jpeg;q=0.5, image/png;q=0.9", "image/png"),
    ("*/*", "image/jpeg;q=0.5, application/dicom", "application/dicom"),
    ("*/*", "application/dicom; transfer-syntax=*", "application/dicom"),
    ("text/html", None, None),
    ("*/*", "text/html", None),
])
def test_what_is_wanted_most_is_sent(made, accept, content_type, expected):
    answer = made.get(made.first, headers={"Accept": accept}, **({"contentType": content_type} if content_type else {}))
    if expected is None:
        assert answer.status_code == 406
    else:
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith(expected), answer.text[:300]


def test_what_has_no_picture_is_sent_as_it_is(made):
    for parameters in ({}, {"contentType": "*/*"}, {"contentType": "image/jpeg, */*;q=0.1"}):
        answer = made.get(made.report, OTHER, **parameters)
        assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/dicom"), parameters
    answer = made.get(made.report, OTHER, contentType="image/jpeg")
    assert answer.status_code == 406 and "no pixels" in answer.json()["detail"]


def test_parameters_of_pictures(made):
    for bad in ({"rows": "0"}, {"columns": "0"}, {"annotation": "everything"}, {"frameNumber": "0"}, {"contentType": "jpeg"}):
        assert made.get(made.first, **bad).status_code == 400, bad
    answer = made.get(made.first, annotation="patient")
    # The picture has no room for text.
    assert answer.status_code == 200 and "annotation" in answer.headers["Warning"]
    assert "Warning" not in made.get(made.first).headers


def test_validators(made):
    answer = made.get(made.first, contentType="image/png")
    known = {"If-None-Match": answer.headers["ETag"]}
    assert made.get(made.first, headers=known, contentType="image/png").status_code == 304
    for other in ({"contentType": "image/jpeg"}, {"contentType": "image/png", "rows": "8"}):
        assert made.get(made.first, headers=known, **other).status_code == 200, other


def test_a_gif_has_all_frames(made):
    frames = Image.open(io.BytesIO(made.get(made.frames, contentType="image/gif").content)).n_frames
    assert frames == 3
    one = made.get(made.frames, contentType="image/gif", frameNumber="2")
    assert Image.open(io.BytesIO(one.content)).n_frames == 1
