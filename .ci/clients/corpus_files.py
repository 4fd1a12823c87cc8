"""The files of the test corpus with what a client knows about them."""

import collections
import csv
import dataclasses
import functools
import hashlib
import pathlib
import warnings

import pydicom

from harness import dataset_of

# Not part of a patient's study: refused with 0122H (SOP class not supported, PS3.18 I.2.1).
NON_PATIENT = {
    "1.2.840.10008.1.3.10": "Media Storage Directory",
    "1.2.840.10008.5.1.4.38.1": "Hanging Protocol",
    "1.2.840.10008.5.1.4.39.1": "Color Palette",
}


@dataclasses.dataclass(frozen=True)
class CorpusFile:
    path: pathlib.Path
    name: str
    sop_class: str
    study: str
    series: str
    instance: str
    patient: tuple[str, str]

    def read(self) -> bytes:
        return self.path.read_bytes()

    @functools.cached_property
    def dataset_sha256(self) -> str:
        return hashlib.sha256(dataset_of(self.read())[1]).hexdigest()

    @property
    def identified(self) -> bool:
        return bool(self.study and self.series and self.instance)

    @property
    def key(self) -> tuple[str, str, str]:
        return self.study, self.series, self.instance


def read_header(path) -> pydicom.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pydicom.dcmread(path, stop_before_pixels=True, force=True)


def text(dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip()


def composite_and_other(corpus: pathlib.Path) -> list[CorpusFile]:
    """Every DICOM file of the corpus outside `bad`."""
    found = []
    with open(corpus / "manifest.csv", newline="") as manifest:
        for line in csv.DictReader(manifest):
            name = line["path"]
            if name.startswith(("bad/", "hl7/")) or line["parseable_by_pydicom"] != "yes":
                continue
            header = read_header(corpus / name)
            sop_class = text(header, "SOPClassUID") or text(header.file_meta, "MediaStorageSOPClassUID")
            found.append(CorpusFile(corpus / name, name, sop_class, text(header, "StudyInstanceUID"),
                                    text(header, "SeriesInstanceUID"), text(header, "SOPInstanceUID"),
                                    (text(header, "IssuerOfPatientID"), text(header, "PatientID"))))
    return found


def distinct(corpus: pathlib.Path) -> list[CorpusFile]:
    """The composite instances whose UIDs no other file has, in studies of one patient: what a server must show as it came."""
    found = [file for file in composite_and_other(corpus) if file.identified and file.sop_class not in NON_PATIENT]
    times = collections.Counter(file.key for file in found)
    patients = collections.defaultdict(set)
    for file in found:
        patients[file.study].add(file.patient)
    return [file for file in found if times[file.key] == 1 and len(patients[file.study]) == 1]


def bad(corpus: pathlib.Path) -> list[pathlib.Path]:
    return sorted(path for path in (corpus / "bad").rglob("*") if path.is_file() and path.name != "WHY.json")
