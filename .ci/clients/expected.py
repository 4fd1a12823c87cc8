"""What must come back of a file of the corpus, made from the file by pydicom and never by the server."""

import warnings

import pydicom
from pydicom.encaps import get_frame

import corpus_files
from harness import EXPLICIT_LITTLE, dataset_of

# Of instances with more frames only the dataset is compared.
MAX_FRAMES = 16
# The media types by which clients ask for frames of a transfer syntax as they are stored (PS3.18 table 8.7.3-5); for RLE and
# JPEG-LS the names of earlier editions too, for they are what the clients know.
FRAME_TYPES = {"5": "image/x-dicom-rle"} | {f"4.{number}": "image/jpeg" for number in (50, 51, 57, 70)} | {
    "4.80": "image/jls", "4.81": "image/x-jls"} | {f"4.{number}": "image/jp2" for number in (90, 91)}
NATIVE = ("1.2.840.10008.1.2", EXPLICIT_LITTLE)
# Value representations whose JSON form is their text or number.
PLAIN = ("IS", "US", "UI", "DA", "CS", "SH", "LO")


def read(path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, force=True)


class Sent:
    """A file of the corpus that was sent."""

    def __init__(self, file: corpus_files.CorpusFile):
        self.file, self.dataset = file, read(file.path)
        self.syntax = dataset_of(file.read())[0]
        self.num_frames = int(self.dataset.get("NumberOfFrames") or 1) if "PixelData" in self.dataset else 0
        self.is_native = self.syntax in NATIVE and "PixelData" in self.dataset
        media = FRAME_TYPES.get(self.syntax.removeprefix("1.2.840.10008.1.2."))
        # Media type and transfer syntax to ask frames in.
        self.frame_type = (media, self.syntax) if media else None
        if self.is_native:
            self.frame_type = ("application/octet-stream", EXPLICIT_LITTLE)
        # The frames that must come then; none where pydicom cannot tell.
        self.frames = self.expected_frames() if self.frame_type and 0 < self.num_frames <= MAX_FRAMES else []

    @property
    def is_plain_picture(self) -> bool:
        """One frame of native pixels: any server can make a picture of it."""
        return self.syntax == EXPLICIT_LITTLE and self.num_frames == 1 and bool(self.frames)

    def expected_frames(self) -> list[bytes]:
        pixels = self.dataset.PixelData
        if not self.is_native:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return [get_frame(pixels, index, number_of_frames=self.num_frames) for index in range(self.num_frames)]
            except Exception:  # what pydicom cannot cut is no yardstick
                return []
        dataset = self.dataset
        frame_bits = dataset.Rows * dataset.Columns * dataset.get("SamplesPerPixel", 1) * dataset.BitsAllocated
        if frame_bits % 8 or dataset.get("PhotometricInterpretation") == "YBR_FULL_422":
            return []
        frame_bytes = frame_bits // 8
        total_bytes = frame_bytes * self.num_frames
        if len(pixels) not in (total_bytes, total_bytes + total_bytes % 2):
            return []
        return [pixels[at : at + frame_bytes] for at in range(0, total_bytes, frame_bytes)]


def plain(element: pydicom.DataElement) -> list:
    """The values without padding; whole numbers however they are written."""
    values = element.value if element.VM > 1 else [element.value]
    return [int(value) if element.VR == "IS" else str(value).strip() for value in values]


def compare_metadata(item: dict, dataset: pydicom.Dataset) -> tuple[int, list[tuple[str, str]]]:
    """How many attributes of the DICOM JSON are alike to the file's, and (tag, value representation) of those that differ."""
    num_same, differing = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The JSON is UTF-8 and says so (PS3.18 section F.2), whatever the file's character set is.
        got = pydicom.Dataset.from_json({tag: element for tag, element in item.items()
                                         if element["vr"] in PLAIN and tag != "00080005"})
        for element in dataset:
            if element.tag not in got or element.tag.is_private or not element.value or element.VR != got[element.tag].VR:
                continue
            if plain(element) == plain(got[element.tag]):
                num_same += 1
            else:
                differing.append((str(element.tag), element.VR))
    return num_same, differing
