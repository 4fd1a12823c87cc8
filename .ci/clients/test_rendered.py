"""Pictures and bulk data of the whole corpus, against what pydicom and DCMTK make of the same instances.

Every reference is computed from the Part 10 stream that the server gives back, so that files which share a UID are no
trouble. A picture agrees when no sample is more than one grey level away.
"""

import collections
import hashlib
import io
import logging
import random
import re
import shutil
import struct
import subprocess
import urllib.parse
import warnings

import numpy
import pydicom
import pytest
from PIL import Image, ImageCms
from pydicom.encaps import generate_frames
from pydicom.pixels import iter_pixels
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut, convert_color_space

import corpus_files
from harness import outcomes, parts_of

logging.getLogger("pydicom").setLevel(logging.CRITICAL)

pytestmark = [pytest.mark.septum, pytest.mark.filterwarnings("ignore")]

PNG, JPEG, GIF, PDF, OCTETS = "image/png", "image/jpeg", "image/gif", "application/pdf", "application/octet-stream"
PIXELS = {"7FE00010": "PixelData", "7FE00008": "FloatPixelData", "7FE00009": "DoubleFloatPixelData"}
GREY = ("MONOCHROME1", "MONOCHROME2")
BIG_ENDIAN = "1.2.840.10008.1.2.2"
VIDEO = {**{f"1.2.840.10008.1.2.4.{n}": "video/mpeg" for n in (100, 101)},
         **{f"1.2.840.10008.1.2.4.{n}": "video/mp4" for n in range(102, 109)}}
# Inverse transforms of lossy colour streams, and the way chroma is spread, differ between decoders.
LOSSY = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55",
         "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203", "1.2.840.10008.1.2.4.112", "1.2.840.10008.1.2.4.111"}
WORD_BYTES = {"OW": 2, "US": 2, "SS": 2, "OL": 4, "UL": 4, "SL": 4, "OF": 4, "FL": 4, "AT": 2, "OD": 8, "FD": 8, "OV": 8,
              "UV": 8, "SV": 8}


class Archive:
    """What the server holds of the corpus."""

    def __init__(self, server, found):
        self.server, self.found, self.streams = server, found, {}

    def dataset(self, key) -> pydicom.Dataset:
        """The stored instance, read anew: pydicom changes datasets while it decodes."""
        if key not in self.streams:
            self.streams[key] = self.server.datasets(*key)[0]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(io.BytesIO(self.streams[key]), force=True)

    def with_pixels(self):
        for key, name in sorted(self.found.items(), key=lambda item: item[1]):
            dataset = self.dataset(key)
            if any(keyword in dataset for keyword in PIXELS.values()):
                yield key, name, dataset

    def key_of(self, name: str):
        """The key of a corpus file."""
        return next(key for key, file in self.found.items() if file == name)

    def path(self, name: str) -> str:
        return self.server.path(*self.key_of(name))

    def get(self, path: str, accept: str = PNG, method: str = "GET", **options):
        return self.server.request(method, path, headers={"Accept": accept} | options.pop("headers", {}), **options)

    def picture(self, path: str, accept: str = PNG, **parameters) -> numpy.ndarray:
        answer = self.get(path, accept, params=parameters)
        assert answer.status_code == 200, (path[-40:], answer.status_code, answer.text[:300])
        assert answer.headers["Content-Type"] == accept
        return pixels_of(answer.content)


def another_uid(uid: str, taken: set[str]) -> str:
    """A UID of the same length that is not taken: files are changed in place."""
    components = uid.split(".")
    longest = max(range(len(components)), key=lambda at: len(components[at]))
    low = 10 ** (len(components[longest]) - 1)
    for number in range(low, 10 * low):
        components[longest] = str(number)
        if ".".join(components) not in taken:
            return ".".join(components)
    raise AssertionError("all UIDs of this length are taken")


def with_uid(data: bytes, place: int, old: str, new: str) -> bytes:
    """The stream with another UID of the same length in its study (0) or instance (2) elements."""
    tags = {0: [(0x20, 0xD)], 2: [(2, 3), (8, 0x18)]}[place]
    heads = b"|".join(re.escape(struct.pack(order + "HH", *tag)) for tag in tags for order in "<>")
    padded = len(old) + len(old) % 2
    lengths = [struct.pack("<I", padded), b"UI" + struct.pack("<H", padded), b"UI" + struct.pack(">H", padded),
               b"UN\0\0" + struct.pack("<I", padded)]
    pattern = b"((?:" + heads + b")(?:" + b"|".join(re.escape(length) for length in lengths) + b"))" + re.escape(old.encode())
    return re.sub(pattern, lambda found: found[1] + new.encode(), data)


@pytest.fixture(scope="module")
def archive(server, corpus):
    """The corpus; where files share a SOP Instance UID, or a study has two patients, the later file gets UIDs of its own."""
    found, taken, patients, moved, left_out = {}, set(), {}, {}, []
    # Presentation states and their images first, so that these keep the UIDs that those name.
    files = sorted(corpus_files.composite_and_other(corpus), key=lambda file: not file.name.startswith("presentation-state/"))
    for file in files:
        if not file.identified or file.sop_class in corpus_files.NON_PATIENT:
            continue
        data, key = file.read(), list(file.key)
        if file.instance in taken:
            key[2] = another_uid(file.instance, taken)
        if patients.setdefault(file.study, file.patient) != file.patient:
            key[0] = moved.setdefault((file.study, file.patient), another_uid(file.study, taken))
        for place in (0, 2):
            data = with_uid(data, place, file.key[place], key[place])
        header = corpus_files.read_header(io.BytesIO(data))
        if (str(header.StudyInstanceUID), str(header.SOPInstanceUID)) != (key[0], key[2]):
            # Such as in a deflated dataset.
            left_out.append(file.name)
            continue
        taken.update(key)
        answer = server.store([data])
        assert [word for word, _ in outcomes(answer).values()] == ["stored"], (file.name, answer.status_code, answer.text[:300])
        found[tuple(key)] = file.name
    listed = {tuple(item[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
              for item in server.search("/instances")}
    print(f"{len(found)} instances; left out, as their UIDs cannot be changed in place: {left_out}")
    assert set(found) == listed
    return Archive(server, found)


def pixels_of(data: bytes) -> numpy.ndarray:
    """A picture as rows, columns and, in colour, three channels."""
    image = Image.open(io.BytesIO(data))
    image.load()
    return numpy.array(image if image.mode in ("L", "RGB") else image.convert("RGB")).astype(float)


def is_refusal(answer) -> bool:
    return 400 <= answer.status_code < 500


# The reference.

ATTRIBUTES = ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "VOILUTSequence", "WindowCenter", "WindowWidth",
              "VOILUTFunction", "PhotometricInterpretation", "SamplesPerPixel", "BitsStored", "BitsAllocated",
              "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit")


def of_frame(dataset, index: int) -> pydicom.Dataset:
    """The attributes of the grayscale pipeline that apply to a frame, functional groups included, flat."""
    flat = pydicom.Dataset()
    flat.file_meta = dataset.file_meta
    flat.set_original_encoding(False, True)
    for keyword in ATTRIBUTES:
        if keyword in dataset:
            setattr(flat, keyword, getattr(dataset, keyword))
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    groups += list(dataset.get("PerFrameFunctionalGroupsSequence") or [])[index : index + 1]
    for group in groups:
        for keyword in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            for element in (group.get(keyword) or [[]])[0]:
                flat[element.tag] = element
    if dataset.get("Modality") in ("XA", "XRF", "RF") and dataset.get("PixelIntensityRelationship") in ("LOG", "DISP"):
        # The transformation is to linear X-ray values, not for display (PS3.3 C.8.7.1.1.2).
        for keyword in ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"):
            if keyword in flat:
                delattr(flat, keyword)
    return flat


def first(value) -> float:
    return float(value if isinstance(value, (str, float, int)) else value[0])


def stored_range(flat) -> tuple[float, float]:
    """The least and the greatest value that the modality transformation can give."""
    bits = flat.get("BitsStored", 32)
    if "ModalityLUTSequence" in flat:
        return 0, 2 ** flat.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if flat.get("PixelRepresentation") else (0, 2**bits - 1)
    if flat.get("RescaleSlope") is not None:
        low, high = (value * float(flat.RescaleSlope) + float(flat.RescaleIntercept) for value in (low, high))
    return float(low), float(high)


def unpadded(flat, samples):
    """Which samples are of the patient (PS3.3 C.7.5.1.1.2)."""
    kept = numpy.isfinite(samples)
    if "PixelPaddingValue" in flat and not numpy.issubdtype(samples.dtype, numpy.floating):
        ends = [int(flat.PixelPaddingValue), int(flat.get("PixelPaddingRangeLimit", flat.PixelPaddingValue))]
        if flat.get("PixelRepresentation"):
            ends = [end - 65536 if end > 32767 else end for end in ends]
        kept &= ~((samples >= min(ends)) & (samples <= max(ends)))
    return kept


def grey(dataset, samples, index: int):
    """(levels 0 to 255, what was done) by pydicom's own transformations.

    pydicom divides by zero for a window of width 0 and has none for floating point pixels: for these, and for widths
    below 1, the formula of PS3.3 C.11.2.1.2 stands here.
    """
    flat = of_frame(dataset, index)
    is_float = numpy.issubdtype(samples.dtype, numpy.floating)
    values = samples.astype(float) if is_float else apply_modality_lut(samples, flat).astype(float)
    has_window = bool(flat.get("WindowCenter") not in (None, "") and flat.get("WindowWidth") not in (None, ""))
    if flat.get("VOILUTSequence"):
        table = flat.VOILUTSequence[0]
        data = table.LUTData
        greatest = numpy.frombuffer(data, "<u2").max() if isinstance(data, bytes) else max(data)
        bits = table.LUTDescriptor[2]
        if bits == 16 and greatest < 4096:
            # A table of twelve bits or fewer that says 16, as is common.
            bits = max(8, int(greatest).bit_length())
        levels = apply_voi_lut(numpy.round(values).astype(int), flat).astype(float) / (2**bits - 1)
        label = "VOI LUT"
    elif has_window and (is_float or first(flat.WindowWidth) < 1):
        centre, width = first(flat.WindowCenter), first(flat.WindowWidth)
        if width <= 0:
            levels, label = (values - values.min()) / max(values.max() - values.min(), 1e-9), "window of width 0"
        elif width < 1 or flat.get("VOILUTFunction") == "LINEAR_EXACT":
            levels, label = (values - centre) / width + 0.5, "narrow window"
        else:
            levels, label = (values - (centre - 0.5)) / (width - 1) + 0.5, "window of floating point"
    elif has_window:
        low, high = stored_range(flat)
        if high < low:
            pytest.fail("a falling rescale slope is not in the corpus")
        levels = (apply_voi_lut(values, flat, prefer_lut=False).astype(float) - low) / (high - low)
        label = "window " + (flat.get("VOILUTFunction") or "LINEAR")
    else:
        used = values[unpadded(flat, samples) & (samples < first_colour(dataset, index))]
        if used.size and used.max() > used.min() and dataset.get("BitsStored", 32) > 1:
            (low, high), label = (used.min(), used.max()), "least to greatest"
        else:
            (low, high), label = (0, 1) if is_float else stored_range(flat), "constant or one bit"
        levels = (numpy.nan_to_num(values, nan=-1e300) - low) / (high - low)
    levels = numpy.clip(numpy.nan_to_num(levels), 0, 1)
    if "ModalityLUTSequence" in flat:
        label += ", modality LUT"
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        levels, label = 1 - levels, label + ", MONOCHROME1"
    if is_float:
        label += ", floating point"
    return levels * 255, label


def first_colour(dataset, index: int) -> float:
    """The first stored value that a supplemental palette maps (PS3.3 C.8.16.2.1.1.1)."""
    presentation = dataset.get("PixelPresentation")
    if presentation == "MIXED":
        kinds = [element.value[0] for element in dataset.PerFrameFunctionalGroupsSequence[index]
                 if element.keyword.endswith("FrameTypeSequence")]
        presentation = kinds[0].get("PixelPresentation") if kinds else None
    is_there = presentation == "COLOR" and "RedPaletteColorLookupTableData" in dataset
    return float(dataset.RedPaletteColorLookupTableDescriptor[1]) if is_there else numpy.inf


def supplemented(dataset, samples, levels, start: float):
    """Levels with the palette's colours from `start` on."""
    bits = dataset.RedPaletteColorLookupTableDescriptor[2]
    tables = [numpy.frombuffer(dataset[f"{name}PaletteColorLookupTableData"].value, "<u2" if bits > 8 else "u1")
              for name in ("Red", "Green", "Blue")]
    table = numpy.stack(tables, axis=-1).astype(float)
    if bits > 8 and table.max() > 255:
        table /= 257
    colours = table[numpy.clip(samples.astype(int) - int(start), 0, len(table) - 1)]
    return numpy.where((samples < start)[..., None], levels[..., None], colours)


def colour(dataset, samples):
    photometric = dataset.PhotometricInterpretation
    if photometric == "PALETTE COLOR":
        shown = apply_color_lut(samples, dataset)[..., :3].astype(float)
        kind = "segmented palette" if "SegmentedRedPaletteColorLookupTableData" in dataset else "palette"
        if dataset.RedPaletteColorLookupTableDescriptor[2] > 8 and shown.max() > 255:
            return shown / 257, kind + " of 16 bits"
        return shown, kind + " of 8 bits"
    if photometric.startswith("YBR_FULL"):
        return convert_color_space(samples, "YBR_FULL", "RGB").astype(float), photometric
    return samples * (255 / (2**dataset.BitsStored - 1)), f"{photometric} of {dataset.BitsStored} bits"


def burn_overlays(dataset, levels, index: int) -> bool:
    """Draws graphic overlays in white (PS3.3 C.9.2); whether there are any."""
    is_drawn = False
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x10) not in dataset or dataset[group, 0x40].value == "R":
            continue
        is_drawn = True
        if (group, 0x3000) in dataset:
            bits = dataset.overlay_array(group)
            if bits.ndim == 3:
                start = int(dataset.get((group, 0x51)).value if (group, 0x51) in dataset else 1) - 1
                if not 0 <= index - start < len(bits):
                    continue
                bits = bits[index - start]
            top, left = (int(value) - 1 for value in dataset[group, 0x50].value)
            for row, column in numpy.argwhere(bits):
                if 0 <= row + top < levels.shape[0] and 0 <= column + left < levels.shape[1]:
                    levels[row + top, column + left] = 255
        elif not is_encapsulated(dataset) and dataset.BitsAllocated == 16:
            order = ">" if dataset.file_meta.TransferSyntaxUID == BIG_ENDIAN else "<"
            count = dataset.Rows * dataset.Columns
            words = numpy.frombuffer(dataset.PixelData, order + "u2", count, index * count * 2).reshape(levels.shape)
            levels[words >> dataset[group, 0x102].value & 1 == 1] = 255
    return is_drawn


def some_frames(dataset) -> list[int]:
    count = int(dataset.get("NumberOfFrames") or 1)
    return sorted({0, count // 2, count - 1})


def is_lossy(dataset) -> bool:
    """By the syntax, and by the stream: a file of the corpus has sequential DCT where it says lossless."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == "1.2.840.10008.1.2.4.70":
        return b"\xff\xc0\x00\x0b\x08" in next(generate_frames(dataset.PixelData, number_of_frames=1))[:2000]
    return syntax in LOSSY


def references(dataset):
    """(frame index, levels, class) of some frames; raises what pydicom raises where it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for index in some_frames(dataset):
            samples = numpy.ascontiguousarray(next(iter_pixels(dataset, raw=True, indices=[index])))
            if dataset.PhotometricInterpretation in GREY:
                levels, label = grey(dataset, samples, index)
                label = f"{dataset.get('BitsAllocated', 0)} bits, " + label
                start = first_colour(dataset, index)
                if numpy.isfinite(start):
                    levels, label = supplemented(dataset, samples, levels, start), label + ", supplemental palette"
            else:
                levels, label = colour(dataset, samples)
            if burn_overlays(dataset, levels, index):
                label += ", overlays"
            if is_lossy(dataset):
                label += ", lossy"
            yield index, levels, label


class Figures:
    """Pictures compared, by class."""

    def __init__(self):
        self.of_class = collections.defaultdict(lambda: [0, 0.0, 0.0])
        self.wrong = []

    def add(self, label: str, name: str, got, wanted, most: float = 1.0, share: float = 0.0) -> None:
        """`share` of the samples may be further away than `most` levels."""
        if got.shape != wanted.shape:
            self.wrong.append((label, name, got.shape, wanted.shape))
            return
        difference = numpy.abs(got - wanted)
        line = self.of_class[label]
        line[0] += 1
        line[1] = max(line[1], float(difference.max()))
        line[2] = max(line[2], float(difference.mean()))
        if (difference > most + 1e-9).mean() > share:
            self.wrong.append((label, name, f"worst {difference.max():.2f}", f"{(difference > most).mean():.4f} of samples"))

    def print(self, title: str) -> None:
        print(f"\n{title}: {sum(line[0] for line in self.of_class.values())} compared")
        for label, (count, worst, mean) in sorted(self.of_class.items()):
            print(f"  {label:60} {count:5} pictures, worst {worst:6.2f}, worst mean {mean:.3f}")
        for line in self.wrong:
            print("  WRONG", *line)


def test_every_picture_is_what_pydicom_shows(archive):
    figures, undecoded, refused = Figures(), collections.Counter(), []
    for key, name, dataset in archive.with_pixels():
        path = archive.server.path(*key)
        if dataset.file_meta.get("TransferSyntaxUID") in VIDEO:
            continue
        try:
            wanted = list(references(dataset))
        except Exception as error:
            undecoded[type(error).__name__] += 1
            answer = archive.get(path + "/rendered")
            assert answer.status_code in (200, 406), (name, answer.status_code, answer.text[:200])
            continue
        for index, levels, label in wanted:
            answer = archive.get(path + (f"/frames/{index + 1}" if index else "") + "/rendered")
            if answer.status_code != 200:
                refused.append((name, index, answer.status_code, answer.text[:200]))
                continue
            assert answer.headers["Content-Type"] == PNG
            # Decoders of lossy streams differ by one sample here and there, which a narrow window makes many levels.
            allowed = {"most": 3 if levels.ndim == 3 else 1, "share": 0.02} if "lossy" in label else {}
            figures.add(label, f"{name} frame {index + 1}", pixels_of(answer.content), levels, **allowed)
    figures.print("pydicom")
    print("  not decoded by pydicom:", dict(undecoded))
    for line in refused:
        print("  REFUSED", *line)
    assert not refused and not figures.wrong, (refused[:5], figures.wrong[:20])
    assert sum(line[0] for line in figures.of_class.values()) > 400


def dcmtk_options(dataset) -> list[str] | None:
    if dataset.get("VOILUTSequence"):
        return ["+Wl", "1"]
    if dataset.get("WindowCenter") not in (None, ""):
        return ["+Wi", "1"] if first(dataset.WindowWidth) >= 1 else None
    # DCMTK rounds the modality transformation to whole numbers before it looks for the least and the greatest.
    is_whole = float(dataset.get("RescaleSlope") or 1).is_integer()
    return ["+Wm"] if is_whole and "PixelPaddingValue" not in dataset else None


def test_every_picture_is_what_dcmtk_shows(archive, tmp_path):
    """DCMTK has neither functional groups nor JPEG 2000: those are left out."""
    if not shutil.which("dcmj2pnm"):
        pytest.skip("no DCMTK")
    figures, left_out = Figures(), collections.Counter()
    for key, name, dataset in archive.with_pixels():
        grouped = "SharedFunctionalGroupsSequence" in dataset
        options = dcmtk_options(dataset)
        if dataset.get("PhotometricInterpretation") not in GREY or grouped or not options or "PixelData" not in dataset:
            left_out["colour, functional groups, floating point, or no such window"] += 1
            continue
        if dataset.BitsAllocated == 1 or dataset.BitsAllocated == 32 and dataset.file_meta.TransferSyntaxUID == BIG_ENDIAN:
            # Of 32 bits in big endian, DCMTK takes the two words the other way round than pydicom.
            left_out["one bit, or 32 bits in big endian"] += 1
            continue
        (tmp_path / "in.dcm").write_bytes(archive.streams[key])
        tool = "dcml2pnm" if dataset.file_meta.TransferSyntaxUID in ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81") \
            else "dcmj2pnm"
        done = subprocess.run([tool, "-q", *options, "--frame", "1", "--write-raw-pnm", "in.dcm", "out.pgm"], cwd=tmp_path,
                              capture_output=True, timeout=60)
        if done.returncode != 0 or not (tmp_path / "out.pgm").exists():
            left_out["DCMTK cannot"] += 1
            continue
        wanted = pixels_of((tmp_path / "out.pgm").read_bytes())
        (tmp_path / "out.pgm").unlink()
        answer = archive.get(archive.server.path(*key) + "/rendered")
        if answer.status_code != 200:
            left_out[f"status {answer.status_code}"] += 1
            continue
        got = pixels_of(answer.content)
        figures.add(" ".join(options) + " " + dataset.PhotometricInterpretation, name, got, wanted)
    figures.print("DCMTK")
    print("  left out:", dict(left_out))
    assert not figures.wrong, figures.wrong[:20]
    assert sum(line[0] for line in figures.of_class.values()) > 150


# Parameters.

GREY_NAME, COLOUR_NAME = "pydicom/CT_small.dcm", "photometric/cornerstone-testpattern/TestPattern_RGB.dcm"


@pytest.mark.parametrize("name", [GREY_NAME, COLOUR_NAME])
def test_jpeg_and_gif_show_the_same(archive, name):
    path = archive.path(name) + "/rendered"
    wanted = archive.picture(path)
    sizes, differences = [], []
    for quality in (5, 50, 90, 100):
        answer = archive.get(path, JPEG, params={"quality": quality})
        assert answer.status_code == 200 and answer.content[:3] == b"\xff\xd8\xff"
        sizes.append(len(answer.content))
        differences.append(float(numpy.abs(pixels_of(answer.content) - wanted).mean()))
    assert sizes == sorted(set(sizes)) and differences == sorted(differences, reverse=True)
    assert differences[-1] < (1 if wanted.ndim == 2 else 3), differences
    assert archive.get(path, JPEG).content == archive.get(path, JPEG, params={"quality": 90}).content
    gif = archive.picture(path, GIF)
    if wanted.ndim == 2:
        assert numpy.array_equal(gif if gif.ndim == 2 else gif[..., 0], wanted)
    else:
        assert numpy.abs(gif - wanted).mean() < 3


def test_many_jpeg_pictures(archive, seed):
    """A sample of the corpus: at quality 100, JPEG is close to PNG; size and channels agree."""
    choices = list(archive.with_pixels())
    wrong = []
    for key, name, _ in random.Random(seed).sample(choices, 60):
        path = archive.server.path(*key) + "/rendered"
        png, jpeg, gif = (archive.get(path, accept, params={"quality": 100}) for accept in (PNG, JPEG, GIF))
        assert png.status_code == jpeg.status_code
        if png.status_code != 200:
            continue
        one, other = pixels_of(png.content), pixels_of(jpeg.content)
        if one.shape != other.shape or numpy.abs(one - other).mean() > (1 if one.ndim == 2 else 4):
            wrong.append((name, one.shape, other.shape))
        if gif.status_code == 200 and pixels_of(gif.content).shape[:2] != one.shape[:2]:
            wrong.append((name, "gif"))
    assert not wrong


def axis_shares(num_pixels: int, start: float, length: float, num_shown: int) -> numpy.ndarray:
    """The share of every source pixel in every shown one: the area it covers."""
    shares, step = numpy.zeros((num_shown, num_pixels)), length / num_shown
    for shown in range(num_shown):
        low, high = start + shown * step, start + (shown + 1) * step
        for pixel in range(num_pixels):
            shares[shown, pixel] = max(0, min(high, pixel + 1) - max(low, pixel))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("viewport, region, size, flips", [
    ("64,64", (0, 0, 128, 128), (64, 64), ""), ("50,50", (0, 0, 128, 128), (50, 50), ""),
    ("33,90", (0, 0, 128, 128), (33, 33), ""), ("20,20,10,20,60,40", (10, 20, 60, 40), (20, 13), ""),
    ("77,77,3.5,7.25,100.5,90", (3.5, 7.25, 100.5, 90), (77, 69), ""), ("128,128", (0, 0, 128, 128), (128, 128), ""),
    ("20,20,10,20,-60,40", (10, 20, 60, 40), (20, 13), "h"), ("128,128,0,0,128,-128", (0, 0, 128, 128), (128, 128), "v"),
    ("30,30,,,60,60", (0, 0, 60, 60), (30, 30), ""), ("64,64,64,64", (64, 64, 64, 64), (64, 64), "")])
def test_viewports(archive, viewport, region, size, flips):
    path = archive.path(GREY_NAME) + "/rendered"
    whole = archive.picture(path)
    left, top, width, height = region
    wanted = axis_shares(128, top, height, size[1]) @ whole @ axis_shares(128, left, width, size[0]).T
    wanted = wanted[:, ::-1] if flips == "h" else wanted[::-1] if flips == "v" else wanted
    got = archive.picture(path, viewport=viewport)
    assert got.shape == wanted.shape and numpy.abs(got - wanted).max() <= 1


def test_a_larger_viewport_enlarges(archive):
    path = archive.path(GREY_NAME) + "/rendered"
    whole = Image.fromarray(archive.picture(path).astype("u1"))
    wanted = numpy.array(whole.resize((256, 256), Image.Resampling.BILINEAR)).astype(float)
    assert numpy.abs(archive.picture(path, viewport="256,256") - wanted).max() <= 1


def test_a_viewport_keeps_the_shape_of_pixels(archive):
    """Pixels that are not square are shown as the rectangles that they are."""
    found = 0
    for key, name, dataset in archive.with_pixels():
        ratio = dataset.get("PixelAspectRatio") or dataset.get("PixelSpacing")
        if not ratio or not float(ratio[1]) or not 1.2 < float(ratio[0]) / float(ratio[1]) < 20 or \
                "SharedFunctionalGroupsSequence" in dataset:
            continue
        answer = archive.get(archive.server.path(*key) + "/rendered", params={"viewport": "500,500"})
        if answer.status_code != 200:
            continue
        found += 1
        aspect = float(ratio[0]) / float(ratio[1])
        rows, columns = pixels_of(answer.content).shape[:2]
        assert abs(rows / columns - dataset.Rows * aspect / dataset.Columns) < 0.02 * rows / columns, name
    print(f"{found} images with pixels that are not square")


@pytest.mark.parametrize("window", ["40,400,linear", "40,400", "-100.5,1e3,linear-exact", "0,300,sigmoid", "40,1,linear"])
@pytest.mark.parametrize("name", [GREY_NAME, "pydicom/MR_small.dcm", "pydicom/MR_small_bigendian.dcm"])
def test_a_window_takes_the_place_of_the_image_s(archive, name, window):
    key = archive.key_of(name)
    dataset = archive.dataset(key)
    values = apply_modality_lut(dataset.pixel_array, dataset).astype(float)
    centre, width = (float(text) for text in window.split(",")[:2])
    if window.endswith("exact"):
        levels = (values - centre) / width + 0.5
    elif window.endswith("sigmoid"):
        levels = 1 / (1 + numpy.exp(-4 * (values - centre) / width))
    elif width == 1:
        levels = (values > centre - 0.5).astype(float)
    else:
        levels = (values - (centre - 0.5)) / (width - 1) + 0.5
    got = archive.picture(archive.server.path(*key) + "/rendered", window=window)
    assert numpy.abs(got - numpy.clip(levels, 0, 1) * 255).max() <= 1


@pytest.mark.parametrize("accept", [PNG, JPEG])
@pytest.mark.parametrize("name", [GREY_NAME, COLOUR_NAME])
def test_colour_profiles(archive, name, accept):
    path = archive.path(name) + "/rendered"

    def profile(choice):
        answer = archive.get(path, accept, params={"iccprofile": choice})
        assert answer.status_code == 200, answer.text[:200]
        return Image.open(io.BytesIO(answer.content)).info.get("icc_profile")

    assert not profile("no")
    for choice in ("yes", "srgb", "adobergb", "rommrgb", "displayp3"):
        found = profile(choice)
        assert found and found[36:40] == b"acsp" and len(found) == struct.unpack(">I", found[:4])[0], choice
        opened = ImageCms.ImageCmsProfile(io.BytesIO(found))
        # ICC.1 8.2: every profile has a description.
        assert ImageCms.getProfileDescription(opened).strip(), choice


BAD = ["viewport=", "viewport=0,1", "viewport=1", "viewport=a,b", "viewport=1.5,2", "viewport=-1,5", "viewport=1,2,3,4,5,6,7",
       "viewport=99999,2", "viewport=65535,65535", "viewport=10,10,0,0,0,5", "viewport=10,10,5000,0,10,10",
       "viewport=10,10,nan,0", "viewport=10,10,inf,0", "viewport=4294967297,1", "viewport=10,10,-500,0,20,20", "window=",
       "window=40", "window=40,0", "window=40,-5,linear", "window=40,0.5,linear", "window=nan,1,linear", "window=1,inf,linear",
       "window=1,2,cubic", "window=1,2,linear,3", "window=1e400,1,linear", "quality=0", "quality=101", "quality=x", "quality=",
       "quality=-1", "quality=50.5", "iccprofile=cmyk", "iccprofile=", "annotation=name", "annotation="]


@pytest.mark.parametrize("query", BAD)
def test_bad_parameters_are_the_client_s_fault(archive, query):
    for resource in ("/rendered", "/frames/1/rendered"):
        answer = archive.get(archive.path(GREY_NAME) + resource + "?" + query)
        assert answer.status_code == 400, (query, answer.status_code)
        assert answer.headers["Content-Type"].startswith("application/problem+json")
    study, series, _ = archive.key_of(GREY_NAME)
    for path in (archive.server.path(study), archive.server.path(study, series)):
        answer = archive.get(path + "/rendered?" + query)
        outside = "5000" in query or "-500" in query
        # Of many pictures, one whose region is empty may be left out.
        assert answer.status_code == 400 or outside and answer.status_code in (200, 406), (query, answer.status_code)


@pytest.mark.parametrize("frames, status", [("0", 400), ("x", 400), ("-1", 400), ("1,", 400), ("2", 404), ("1,2", 404),
                                            ("4294967296", 400), ("4294967295", 404)])
def test_frames_that_are_not_there(archive, frames, status):
    for kind in ("rendered", "thumbnail"):
        assert archive.get(f"{archive.path(GREY_NAME)}/frames/{frames}/{kind}").status_code == status


@pytest.mark.parametrize("accept, status", [("image/webp", 406), ("application/dicom", 406), ("video/mp4", 406), ("image", 400),
                                            ("image/png;q=2", 400), ("image/png;q=0", 406), ("*/*", 200), ("image/*", 200),
                                            ("image/webp, image/png;q=0.5", 200), ("", 200)])
def test_what_is_accepted(archive, accept, status):
    answer = archive.get(archive.path(GREY_NAME) + "/rendered", accept)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["Content-Type"] == (PNG if "png" in accept else JPEG)
    answer = archive.get(archive.path(GREY_NAME) + "/rendered", JPEG, params={"accept": accept})
    assert answer.status_code == (status if accept else 200)


def test_random_parameters_never_fail_the_server(archive, seed):
    rng = random.Random(seed)
    words = ["0", "1", "-1", "128", "1e308", "-1e308", "1e-308", "0.0001", "nan", "99999999999", "", " ", "%", "\x00", "ü", "5,5",
             "linear", "65535", "127.999999", "1e14", "-0.0", "+3", "4e2"]
    keys = [archive.key_of(GREY_NAME), archive.key_of(COLOUR_NAME)] + [key for key, _, _ in rng.sample(
        [entry for entry in archive.with_pixels()], 10)]
    statuses = collections.Counter()

    def number(low, high):
        return str(rng.choice([rng.uniform(low, high), rng.randrange(low, high), low, high, 0, 0.5, 1e-9]))

    for _ in range(600):
        query = {rng.choice(["viewport", "window", "quality", "iccprofile", "annotation", "accept", "other"]):
                 ",".join(rng.choice(words) for _ in range(rng.randrange(1, 7))) for _ in range(2)}
        if rng.random() < 0.7:
            query = {"viewport": f"{rng.choice([1, 3, 64, 500])},{rng.choice([1, 3, 64, 500])},{number(-5, 90)},"
                                 f"{number(-5, 90)},{number(-200, 300)},{number(-200, 300)}",
                     "window": f"{number(-2000, 2000)},{number(2, 2000)},{rng.choice(['linear', 'linear-exact', 'sigmoid'])}"}
        kind = rng.choice(["/rendered", "/thumbnail", "/frames/1/rendered"])
        answer = archive.get(archive.server.path(*rng.choice(keys)) + kind, rng.choice([PNG, JPEG, GIF]), params=query)
        statuses[answer.status_code] += 1
        assert answer.status_code in (200, 400, 406), (query, kind, answer.status_code, answer.text[:200])
    print(dict(statuses))


# Frames, series, studies, thumbnails.

def test_frames_as_parts(archive):
    path = archive.path("pydicom/examples_ybr_color.dcm")
    wanted = [archive.get(f"{path}/frames/{number}/rendered").content for number in (3, 1, 3)]
    answer = archive.get(path + "/frames/3,1,3/rendered")
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("multipart/related")
    parts = parts_of(answer.headers["Content-Type"], answer.content)
    assert [content for _, content in parts] == wanted and wanted[0] != wanted[1]
    assert all(headers["content-type"] == PNG for headers, _ in parts)
    answer = archive.get(path + "/rendered", 'multipart/related; type="image/png"')
    assert [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)] == [wanted[1]]


def test_animations(archive):
    """GIF of several frames: as many, each as long as the instance says, each the frame's picture."""
    found = 0
    for key, name, dataset in archive.with_pixels():
        count = int(dataset.get("NumberOfFrames") or 1)
        if count < 2 or dataset.file_meta.TransferSyntaxUID in VIDEO:
            continue
        path = archive.server.path(*key)
        answer = archive.get(path + "/rendered", GIF)
        if archive.get(path + "/rendered").status_code == 406:
            assert answer.status_code == 406
            continue
        assert answer.status_code == 200, (name, answer.status_code, answer.text[:200])
        image = Image.open(io.BytesIO(answer.content))
        assert image.n_frames == count, (name, image.n_frames, count)
        delay = dataset.get("FrameTime") or None
        rate = dataset.get("RecommendedDisplayFrameRate") or dataset.get("CineRate")
        either = [value for value in (1000 / float(rate) if rate else None, float(delay) if delay else None) if value]
        if either:
            assert any(abs(image.info["duration"] - max(value, 20)) <= 5.01 for value in either), \
                (name, image.info["duration"], either)
        for index in (0, count - 1):
            image.seek(index)
            got = numpy.array(image.convert("RGB")).astype(float)
            picture = archive.picture(f"{path}/frames/{index + 1}/rendered")
            picture = picture if picture.ndim == 3 else numpy.repeat(picture[..., None], 3, axis=2)
            if archive.picture(f"{path}/frames/1/rendered").ndim == 2:
                assert numpy.array_equal(got, picture), (name, index)
            else:
                assert numpy.abs(got - picture).mean() < 6, (name, index, numpy.abs(got - picture).mean())
        found += 1
    print(f"{found} animations")
    assert found > 20


def test_series_and_studies(archive):
    studies = collections.defaultdict(lambda: collections.defaultdict(set))
    for key, _, _ in archive.with_pixels():
        studies[key[0]][key[1]].add(key[2])
    num_pictures = 0
    for study, all_series in sorted(studies.items()):
        of_study = []
        for series, instances in all_series.items():
            wanted = collections.Counter()
            for instance in instances:
                answer = archive.get(archive.server.path(study, series, instance) + "/rendered")
                assert answer.status_code in (200, 406)
                if answer.status_code == 200:
                    wanted[hashlib.sha256(answer.content).hexdigest()] += 1
            answer = archive.get(archive.server.path(study, series) + "/rendered", 'multipart/related; type="image/png"')
            if answer.status_code == 406:
                assert not wanted or not set(instances), (study, series)
                continue
            assert answer.status_code == 200, answer.text[:200]
            got = [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]
            assert collections.Counter(hashlib.sha256(content).hexdigest() for content in got) == wanted
            of_study += got
        answer = archive.get(archive.server.path(study) + "/rendered", 'multipart/related; type="image/png"')
        if answer.status_code == 200:
            got = [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]
            assert sorted(got) == sorted(of_study)
            num_pictures += len(got)
        else:
            assert answer.status_code == 406 and not of_study
    print(f"{num_pictures} pictures of {len(studies)} studies")
    assert num_pictures > 300


def test_thumbnails(archive):
    levels = collections.Counter()
    seen = set()
    for key, name, _ in archive.with_pixels():
        for depth in (1, 2, 3):
            if key[:depth] in seen:
                continue
            seen.add(key[:depth])
            answer = archive.get(archive.server.path(*key[:depth]) + "/thumbnail", JPEG if depth != 2 else PNG)
            assert answer.status_code in (200, 406), (name, answer.status_code, answer.text[:200])
            levels[depth, answer.status_code] += 1
            if answer.status_code == 200:
                rows, columns = pixels_of(answer.content).shape[:2]
                assert max(rows, columns) <= 128 and min(rows, columns) >= 1, (name, rows, columns)
            elif depth == 3:
                assert archive.get(archive.server.path(*key) + "/rendered").status_code == 406
    print(dict(levels))
    path = archive.path(GREY_NAME)
    assert archive.picture(path + "/thumbnail", viewport="40,30").shape == (30, 30)
    assert archive.picture(path + "/frames/1/thumbnail").shape == (128, 128)
    assert archive.get(path + "/thumbnail?viewport=40,30,0,0,5,5").status_code == 400


# Presentation states, documents, videos.

@pytest.mark.parametrize("state, image", [("prLUTs", "imageForPrLUTs"), ("prOverlay", "overlay")])
def test_presentation_states(archive, corpus, tmp_path, state, image):
    """The image that a presentation state is about, shown as it says: DCMTK's dcmp2pgm is the judge."""
    path = archive.path(f"presentation-state/{state}.dcm")
    got = archive.picture(path + "/rendered")
    if not shutil.which("dcmp2pgm"):
        pytest.skip("no dcmp2pgm")
    (tmp_path / "state.dcm").write_bytes((corpus / f"presentation-state/{state}.dcm").read_bytes())
    plain = tmp_path / "image.dcm"
    plain.write_bytes((corpus / f"presentation-state/{image}.dcm").read_bytes())
    done = subprocess.run(["dcmp2pgm", "--pstate", "state.dcm", "image.dcm", "out.pgm"], cwd=tmp_path, capture_output=True,
                          text=True, timeout=60)
    if done.returncode != 0 or not (tmp_path / "out.pgm").exists():
        pytest.skip("dcmp2pgm cannot show it: " + done.stderr[-200:])
    wanted = pixels_of((tmp_path / "out.pgm").read_bytes())
    assert got.shape == wanted.shape
    # dcmp2pgm leaves out overlays; all of these are activated, in layers whose gray value is white.
    shown, described = (archive.dataset(archive.key_of(f"presentation-state/{name}.dcm")) for name in (image, state))
    num_drawn = 0
    for group in range(0x6000, 0x6020, 2):
        if (group, 0x1001) not in described:
            continue
        source = described if (group, 0x3000) in described else shown
        if (group, 0x3000) in source:
            bits = source.overlay_array(group)
        else:
            words = numpy.frombuffer(shown.PixelData, "<u2", shown.Rows * shown.Columns).reshape(got.shape)
            bits = words >> shown[group, 0x102].value & 1
        wanted[bits == 1] = 255
        num_drawn += 1
    assert numpy.abs(got - wanted).max() <= 1
    assert num_drawn == (6 if state == "prOverlay" else 0)


def test_a_state_whose_image_is_away_is_not_acceptable(archive, server):
    """Of the same state in another study, where its image is not."""
    dataset = archive.dataset(archive.key_of("presentation-state/prLUTs.dcm"))
    dataset.StudyInstanceUID, dataset.SOPInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    out = io.BytesIO()
    dataset.save_as(out)
    assert server.store([out.getvalue()]).status_code == 200
    path = server.path(str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
    for resource in ("/rendered", "/thumbnail"):
        assert archive.get(path + resource).status_code == 406
    assert server.request("DELETE", server.path(str(dataset.StudyInstanceUID))).status_code in (200, 204)


def test_a_state_is_anew_when_its_image_is(archive, server):
    """A state's picture follows the image that it shows: it has no validator that could say otherwise."""
    streams = []
    study, uids = pydicom.uid.generate_uid(), {}
    for name in ("imageForPrLUTs", "prLUTs"):
        dataset = archive.dataset(archive.key_of(f"presentation-state/{name}.dcm"))
        dataset.StudyInstanceUID = study
        uids[name] = server.path(study, str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID))
        streams.append(dataset)
    image, state = streams

    def store(dataset):
        out = io.BytesIO()
        dataset.save_as(out)
        assert server.store([out.getvalue()]).status_code == 200

    store(image)
    store(state)
    path = uids["prLUTs"] + "/rendered"
    before = archive.get(path)
    assert before.status_code == 200
    image.PixelData = bytes(len(image.PixelData))
    store(image)
    after = archive.get(path)
    assert after.status_code == 200 and after.content != before.content
    assert "ETag" not in before.headers and "ETag" not in after.headers
    assert server.request("DELETE", server.path(study)).status_code in (200, 204)


def test_documents(archive):
    found = 0
    for key, name in archive.found.items():
        dataset = archive.dataset(key)
        if "EncapsulatedDocument" not in dataset:
            continue
        found += 1
        path = archive.server.path(*key) + "/rendered"
        wanted = dataset.EncapsulatedDocument[: dataset.get("EncapsulatedDocumentLength") or None]
        for accept in (PDF, "*/*", "application/*"):
            answer = archive.get(path, accept)
            assert answer.status_code == 200 and answer.headers["Content-Type"] == PDF and answer.content == wanted, name
            assert answer.content.startswith(b"%PDF")
        again = archive.get(path, PDF, headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status_code == 304 and not again.content
        assert archive.get(path, PNG).status_code == 406
        head = archive.get(path, PDF, method="HEAD")
        assert head.status_code == 200 and not head.content and int(head.headers["Content-Length"]) == len(wanted)
    assert found


def test_what_has_no_picture_is_not_acceptable(archive):
    count = 0
    for key, name in archive.found.items():
        dataset = archive.dataset(key)
        has_picture = "EncapsulatedDocument" in dataset or any(keyword in dataset for keyword in PIXELS.values())
        if has_picture or "ReferencedSeriesSequence" in dataset and dataset.get("Modality") == "PR":
            continue
        for resource in ("/rendered", "/thumbnail"):
            answer = archive.get(archive.server.path(*key) + resource)
            assert answer.status_code == 406, (name, answer.status_code)
        count += 1
    assert count > 10


def check_ranges(archive, path: str, accept: str, content: bytes, **parameters) -> None:
    """Ranges, HEAD and validators of one resource (RFC 9110 sections 13 and 14)."""
    def get(method="GET", **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return archive.get(path, accept, method, headers=headers, params=parameters)

    length = len(content)
    whole = get()
    assert whole.status_code == 200 and whole.content == content, (whole.status_code, len(whole.content), length)
    assert whole.headers.get("Accept-Ranges") == "bytes" and int(whole.headers["Content-Length"]) == length
    tag = whole.headers["ETag"]
    middle = length // 2
    for text, start, end in [("0-0", 0, 1), (f"{middle}-{middle + 99}", middle, middle + 100), (f"{length - 1}-", length - 1, length),
                             ("-7", length - 7, length), (f"3-{length + 500}", 3, length), (f"-{length + 5}", 0, length),
                             (f"{middle}-", middle, length), ("1-1", 1, 2)]:
        part = get(Range=f"bytes={text}")
        start, end = max(start, 0), min(end, length)
        if start >= length or start >= end:
            continue
        assert part.status_code == 206, (text, part.status_code)
        assert part.content == content[start:end], (text, len(part.content))
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{length}"
        assert int(part.headers["Content-Length"]) == end - start
    for text in (f"{length}-", f"{length + 5}-{length + 9}", "-0"):
        none = get(Range=f"bytes={text}")
        assert none.status_code == 416 and none.headers["Content-Range"] == f"bytes */{length}", (text, none.status_code)
    for text in ("bytes=5-4", "bytes=a-b", "lines=1-2", "bytes=", "bytes=99999999999999999999999-"):
        other = get(Range=text)
        assert other.status_code in (200, 416) and (other.status_code == 416 or other.content == content), text
    several = get(Range="bytes=0-1,4-5")
    assert several.status_code == 200 and several.content == content or several.status_code == 206
    assert get(Range="bytes=0-1", If_Range='"another"').status_code == 200
    head = get("HEAD")
    assert head.status_code == 200 and not head.content and int(head.headers["Content-Length"]) == length
    assert head.headers["ETag"] == tag
    same = get(If_None_Match=tag)
    assert same.status_code == 304 and not same.content and same.headers["ETag"] == tag, same.status_code
    assert get(If_None_Match="*").status_code == 304
    assert get(If_None_Match='"another"').status_code == 200
    # A weak validator is no match for If-Range by RFC 9110 13.1.5: the whole may come, never a wrong part.
    conditional = get(Range="bytes=0-1", If_Range=tag)
    assert (conditional.status_code, conditional.content) in ((206, content[:2]), (200, content))


def test_videos(archive):
    found = 0
    for key, name, dataset in archive.with_pixels():
        media_type = VIDEO.get(dataset.file_meta.TransferSyntaxUID)
        if not media_type:
            continue
        found += 1
        fragments = b"".join(pydicom.encaps.generate_fragments(dataset.PixelData))
        # The first fragment is the offset table.
        stream = fragments if not pydicom.encaps.parse_basic_offsets(dataset.PixelData) else b"".join(
            generate_frames(dataset.PixelData, number_of_frames=1))
        path = archive.server.path(*key)
        for resource in ("/rendered", "/bulkdata/7FE00010"):
            for accept in (media_type, "video/*", "*/*"):
                check_ranges(archive, path + resource, accept, stream)
        for resource in ("/rendered", "/thumbnail"):
            assert archive.get(path + resource, PNG).status_code == 406, name
        assert archive.get(path + "/frames/1/rendered", PNG).status_code in (404, 406), name
        assert archive.get(path + "/rendered", media_type).headers["Content-Type"] == media_type
    print(f"{found} videos")
    assert found


@pytest.mark.parametrize("accept", [f'multipart/related; type="{OCTETS}"; transfer-syntax=*', "multipart/related",
                                    'multipart/related; type="video/mp4"'])
def test_a_video_as_a_part(archive, accept):
    """The stream is one part, never an answer without parts."""
    path = archive.path("derived-ts/h264_hp41_102.dcm") + "/bulkdata/7FE00010"
    whole = archive.get(path, "video/mp4")
    answer = archive.get(path, accept)
    assert answer.status_code == 200, answer.text[:200]
    assert [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)] == [whole.content]


# Bulk data.

def references_in(item: dict, path=()):
    for tag, element in item.items():
        if "BulkDataURI" in element:
            yield (*path, tag), element["vr"], element["BulkDataURI"]
        if element.get("vr") == "SQ":
            for number, inner in enumerate(element.get("Value", [])):
                yield from references_in(inner or {}, (*path, tag, number))


def raw_value(dataset, path) -> bytes | None:
    """The value bytes as they stand in the file."""
    for step in path[:-1]:
        dataset = dataset[step].value if isinstance(step, str) else dataset[step]
    element = dataset.get_item(pydicom.tag.Tag(path[-1]))
    value = element.value
    if isinstance(element, pydicom.dataelem.DataElement) and not isinstance(value, bytes):
        return None
    return value


def little_endian(value: bytes, vr: str, syntax: str) -> bytes:
    unit = WORD_BYTES.get(vr, 1)
    if syntax != BIG_ENDIAN or unit == 1:
        return value
    return numpy.frombuffer(value, f">u{unit}").astype(f"<u{unit}").tobytes()


def path_in(archive, uri: str) -> str:
    """A BulkDataURI names the instance in its namespace; here it is asked for where the client's base is."""
    assert uri.startswith(archive.server.origin + "/"), uri
    base, found, path = urllib.parse.urlsplit(uri).path.partition("/dicomweb/")
    assert found and re.fullmatch(r"|/namespaces/[0-9a-f]{32}", base), uri
    return "/" + path


def test_the_address_itself(archive, seed):
    """A BulkDataURI as it stands, in the instance's namespace, gives the same as on the client's base."""
    for key in random.Random(seed).sample(sorted(archive.found), 40):
        item, = archive.get(archive.server.path(*key) + "/metadata", "application/dicom+json").json()
        for _, _, uri in list(references_in(item))[:3]:
            one = archive.server.session.get(uri, headers={"Accept": "*/*"}, timeout=60)
            other = archive.get(path_in(archive, uri), "*/*")
            assert one.status_code == other.status_code == 200
            assert len(one.content) == len(other.content)
            if not one.headers["Content-Type"].startswith("multipart/"):
                assert one.content == other.content


@pytest.fixture(scope="module")
def bulk(archive):
    """Every BulkDataURI: (key, name, path of tags and item numbers, VR, path of the resource)."""
    found = []
    for key, name in sorted(archive.found.items(), key=lambda item: item[1]):
        answer = archive.get(archive.server.path(*key) + "/metadata", "application/dicom+json")
        assert answer.status_code == 200
        item, = answer.json()
        for tags, vr, uri in references_in(item):
            found.append((key, name, tags, vr, path_in(archive, uri)))
    return found


def test_every_bulk_value_is_the_element_s(archive, bulk):
    counts, wrong = collections.Counter(), []
    for key, name, tags, vr, path in bulk:
        if tags[-1] in PIXELS and len(tags) == 1:
            continue
        dataset = archive.dataset(key)
        wanted = raw_value(dataset, tags)
        if wanted is None:
            counts["pydicom has no raw bytes"] += 1
            continue
        wanted = little_endian(wanted, vr, str(dataset.file_meta.get("TransferSyntaxUID", "")))
        answer = archive.get(path, OCTETS)
        if answer.status_code != 200 or answer.content != wanted:
            wrong.append((name, tags, vr, answer.status_code, len(answer.content), len(wanted)))
        parts = archive.get(path, f'multipart/related; type="{OCTETS}"')
        if parts.status_code != 200 or parts_of(parts.headers["Content-Type"], parts.content)[0][1] != wanted:
            wrong.append((name, tags, vr, "multipart", parts.status_code))
        counts[f"{vr} {'nested' if len(tags) > 1 else 'top'}"] += 1
    print(dict(counts))
    assert not wrong, wrong[:20]
    assert sum(counts.values()) > 30


def is_encapsulated(dataset) -> bool:
    return "PixelData" in dataset and dataset["PixelData"].is_undefined_length


def native_bytes(dataset) -> bytes:
    """Pixel data as Explicit VR Little Endian has it, without padding."""
    keyword = next(keyword for keyword in PIXELS.values() if keyword in dataset)
    element = dataset[keyword]
    vr = {"FloatPixelData": "OF", "DoubleFloatPixelData": "OD"}.get(keyword, element.VR)
    syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
    value = element.value
    if syntax == BIG_ENDIAN and vr == "OW" and dataset.BitsAllocated == 32:
        return numpy.frombuffer(value, ">u4").astype("<u4").tobytes()
    return little_endian(value, vr, syntax)


def test_native_pixels(archive, bulk):
    """Of every instance that is not compressed: all of them, and ranges; padding aside."""
    counts, wrong = collections.Counter(), []
    for key, name, tags, _, path in bulk:
        if tags[-1] not in PIXELS or len(tags) > 1:
            continue
        dataset = archive.dataset(key)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", ""))
        if is_encapsulated(dataset):
            continue
        wanted = native_bytes(dataset)
        answer = archive.get(path, OCTETS)
        frames = int(dataset.get("NumberOfFrames") or 1)
        kind = f"{'big' if syntax == BIG_ENDIAN else 'little'} endian, {dataset.get('BitsAllocated')} bits" + (
            ", frames" if frames > 1 else "")
        counts[kind] += 1
        if answer.status_code != 200:
            wrong.append((name, kind, answer.status_code, answer.text[:200]))
            continue
        got = answer.content
        if not (wanted.startswith(got) and len(wanted) - len(got) <= 1 or got.startswith(wanted) and len(got) - len(wanted) <= 1):
            wrong.append((name, kind, "other bytes", len(got), len(wanted)))
            continue
        parts = archive.get(path, f'multipart/related; type="{OCTETS}"; transfer-syntax=*')
        if parts.status_code != 200 or parts_of(parts.headers["Content-Type"], parts.content)[0][1].rstrip(b"\0") != got.rstrip(b"\0"):
            wrong.append((name, kind, "multipart", parts.status_code))
    print(dict(counts))
    assert not wrong, wrong[:20]
    assert sum(counts.values()) > 150


RANGED = ["pydicom/CT_small.dcm", "pydicom/MR_small_bigendian.dcm", "pydicom/SC_rgb_small_odd.dcm", "pydicom/rtdose.dcm",
          "pydicom/SC_rgb_small_odd_big_endian.dcm", "pydicom/rtdose_expb.dcm", "pydicom/liver_expb_1frame.dcm",
          "pydicom-data/emri_small.dcm", "pydicom-data/emri_small_big_endian.dcm", "pydicom-data/emri_small_RLE.dcm",
          "pydicom-data/emri_small_jpeg_2k_lossless.dcm", "pydicom-data/SC_rgb_expb_32bit_2frame.dcm",
          "pydicom-data/SC_rgb_expb_16bit_2frame.dcm", "pydicom-data/SC_rgb_expb_2frame.dcm", "pydicom-data/liver.dcm",
          "pydicom-data/liver_expb.dcm", "pydicom-data/OBXXXX1A_rle_2frame.dcm", "pydicom/SC_rgb_rle_2frame.dcm",
          "pydicom-data/parametric_map_float.dcm", "photometric/dcm4che/US-RGB-8-epicard", "multiframe/US-PAL-8-10x-echo",
          "encapsulation/dicomparser/IM00001.implicit_little_endian.dcm", "misc/dcmjs/cine-test.dcm", "large/cat.dcm",
          "wsi-seg-sr/highdicom/seg_image_sm_dots_tiled_full.dcm"]



@pytest.mark.parametrize("name", RANGED)
def test_ranges_of_pixels(archive, name):
    key = archive.key_of(name)
    dataset = archive.dataset(key)
    keyword = next(tag for tag, keyword in PIXELS.items() if keyword in dataset)
    path = f"{archive.server.path(*key)}/bulkdata/{keyword}"
    whole = archive.get(path, OCTETS)
    assert whole.status_code == 200, whole.text[:200]
    if not is_encapsulated(dataset):
        wanted = native_bytes(dataset)
        assert abs(len(whole.content) - len(wanted)) <= 1 and whole.content.rstrip(b"\0") == wanted.rstrip(b"\0")
    check_ranges(archive, path, OCTETS, whole.content)


def test_ranges_of_values(archive, bulk):
    """Every tenth value that is no pixels; at least one of each VR."""
    seen = set()
    for number, (key, name, tags, vr, path) in enumerate(bulk):
        if tags[-1] in PIXELS and len(tags) == 1 or vr in seen and number % 10:
            continue
        seen.add(vr)
        content = archive.get(path, OCTETS).content
        check_ranges(archive, path, OCTETS, content)
    assert seen


@pytest.mark.parametrize("name", [GREY_NAME, "pydicom-data/emri_small_RLE.dcm", "pydicom-data/emri_small_big_endian.dcm"])
def test_a_range_is_of_get_alone(archive, name):
    """RFC 9110 14.2: Range is ignored where the method is not GET."""
    path = archive.path(name) + "/bulkdata/7FE00010"
    whole = archive.get(path, OCTETS)
    head = archive.get(path, OCTETS, "HEAD", headers={"Range": "bytes=0-1"})
    assert head.status_code == 200 and head.headers["Content-Length"] == whole.headers["Content-Length"]


def test_compressed_pixels(archive, bulk):
    """As stored: one part a frame. Decoded: what pydicom decodes, for codecs without loss."""
    counts, wrong, num_decoded = collections.Counter(), [], 0
    for key, name, tags, _, path in bulk:
        dataset = archive.dataset(key)
        if tags != ("7FE00010",) or not is_encapsulated(dataset) or dataset.file_meta.TransferSyntaxUID in VIDEO:
            continue
        syntax = dataset.file_meta.TransferSyntaxUID
        counts[syntax.name] += 1
        answer = archive.get(path, f'multipart/related; type="{OCTETS}"; transfer-syntax=*')
        if answer.status_code != 200:
            wrong.append((name, "stored", answer.status_code, answer.text[:100]))
            continue
        got = [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]
        count = int(dataset.get("NumberOfFrames") or 1)
        try:
            offsets = {}
            if "ExtendedOffsetTable" in dataset:
                offsets["extended_offsets"] = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
            wanted = list(generate_frames(dataset.PixelData, number_of_frames=count, **offsets))
        except Exception as error:
            counts[f"pydicom cannot split: {type(error).__name__}"] += 1
            continue
        if [frame.rstrip(b"\0") for frame in got] != [frame.rstrip(b"\0") for frame in wanted]:
            wrong.append((name, "stored", [len(frame) for frame in got[:3]], [len(frame) for frame in wanted[:3]]))
        if is_lossy(dataset):
            continue
        decoded = archive.get(path, OCTETS)
        if decoded.status_code == 406:
            counts[f"not decoded: {syntax.name}"] += 1
            continue
        assert decoded.status_code == 200, (name, decoded.status_code)
        try:
            samples = numpy.stack(list(iter_pixels(dataset, raw=True)))
        except Exception:
            continue
        if dataset.BitsAllocated == 1:
            packed = numpy.packbits(samples.ravel(), bitorder="little").tobytes()
            if decoded.content[: len(packed)] != packed:
                wrong.append((name, "decoded bits otherwise"))
            continue
        num_decoded += 1
        data = numpy.frombuffer(decoded.content, samples.dtype.newbyteorder("<"))[: samples.size]
        if data.size != samples.size:
            wrong.append((name, "decoded", data.size, samples.size))
        elif not numpy.array_equal(data.reshape(samples.shape), samples) and not (
                samples.ndim == 4 and numpy.array_equal(data.reshape(len(samples), 3, *samples.shape[1:3]),
                                                        samples.transpose(0, 3, 1, 2))):
            wrong.append((name, "decoded otherwise"))
    print(dict(counts), f"{num_decoded} decoded as pydicom does")
    assert not wrong, wrong[:20]


def test_bulk_data_that_is_not_there(archive):
    path = archive.path(GREY_NAME) + "/bulkdata/"
    for resource in ("00100010x", "99990010", "7FE00011", "", "../../metadata", "54000100/0/54001010", "00081140/0/7FE00010",
                     "00081140/999999999999/00081155", "%00", "7FE00010/0", "7FE00008", "/", "00081140"):
        answer = archive.get(path + resource, OCTETS)
        assert is_refusal(answer) or resource.startswith(".."), (resource, answer.status_code)
    assert archive.get(path + "7FE00010", "text/html").status_code == 406


# Validators.

@pytest.mark.parametrize("resource, accept", [("/rendered", PNG), ("/rendered", JPEG), ("/rendered", GIF), ("/thumbnail", JPEG),
                                              ("/frames/1/rendered", PNG), ("/frames/1/thumbnail", PNG), ("/metadata", "*/*"),
                                              ("/frames/1", f'multipart/related; type="{OCTETS}"'),
                                              ("/bulkdata/7FE00010", OCTETS)])
def test_what_is_known_is_not_sent_again(archive, resource, accept):
    path = archive.path(GREY_NAME) + resource
    answer = archive.get(path, accept)
    tag = answer.headers["ETag"]
    assert answer.status_code == 200 and "Accept" in answer.headers.get("Vary", "")
    for known in (tag, f'"other", {tag}', "*", tag.removeprefix("W/")):
        again = archive.get(path, accept, headers={"If-None-Match": known})
        assert again.status_code == 304 and not again.content, known
        assert again.headers["ETag"] == tag
    assert archive.get(path, accept, headers={"If-None-Match": '"other"'}).status_code == 200
    head = archive.get(path, accept, method="HEAD")
    assert head.status_code == 200 and not head.content and head.headers["ETag"] == tag
    assert head.headers["Content-Type"].split(";")[0] == answer.headers["Content-Type"].split(";")[0]


def test_validators_tell_pictures_apart(archive):
    path = archive.path(GREY_NAME)
    tags = [archive.get(path + resource, accept).headers["ETag"] for resource, accept in [
        ("/rendered", PNG), ("/rendered", JPEG), ("/rendered?window=40,400", PNG), ("/rendered?viewport=10,10", PNG),
        ("/rendered?iccprofile=yes", PNG)]]
    assert len(set(tags)) == len(tags)
    study, series, _ = archive.key_of(GREY_NAME)
    for depth in ((study,), (study, series)):
        answer = archive.get(archive.server.path(*depth) + "/thumbnail", JPEG)
        known = archive.get(archive.server.path(*depth) + "/thumbnail", JPEG, headers={"If-None-Match": answer.headers["ETag"]})
        assert known.status_code == 304


def synthetic_image(archive, study: str, series: str, uid: str, number: int, level: int) -> bytes:
    dataset = archive.dataset(archive.key_of(GREY_NAME))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = study, series, uid
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.InstanceNumber = number
    dataset.PixelData = struct.pack("<h", level) * (dataset.Rows * dataset.Columns)
    dataset.WindowCenter, dataset.WindowWidth, dataset.RescaleIntercept, dataset.RescaleSlope = 500, 1000, 0, 1
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def test_a_validator_is_never_that_of_another_picture(archive, server):
    """The thumbnail of a study changes with its middle instance, a picture with its instance's version."""
    study, series = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    uids = [pydicom.uid.generate_uid() for _ in range(6)]
    known = {}

    def check(path, accept=PNG):
        answer = archive.get(path, accept)
        assert answer.status_code == 200
        tag = answer.headers["ETag"]
        assert known.setdefault((path, tag), answer.content) == answer.content, "one validator, two pictures"
        conditional = archive.get(path, accept, headers={"If-None-Match": ", ".join(
            tag for (other, tag), content in known.items() if other == path and content != answer.content) or '"none"'})
        assert conditional.status_code == 200

    for number, uid in enumerate(uids):
        assert server.store([synthetic_image(archive, study, series, uid, number, 100 + 120 * number)]).status_code == 200
        check(server.path(study) + "/thumbnail")
        check(server.path(study, series) + "/thumbnail")
        check(server.path(study, series, uids[0]) + "/rendered")
    for level in (7, 700):
        answer = server.store([synthetic_image(archive, study, series, uids[0], 0, level)])
        assert answer.status_code in (200, 202, 409)
        check(server.path(study, series, uids[0]) + "/rendered")
        check(server.path(study) + "/thumbnail")
    assert server.request("DELETE", server.path(study)).status_code in (200, 204)
