#!/usr/bin/env python3
"""Seeds for the fuzz targets, made from DICOM files at run time (`SEPTUM_CORPUS`, or the corpus beside the clone).

Nothing of it is kept under version control: corpus/ is ignored. Usage: seed.py TARGET…
"""

import hashlib
import os
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
CORPUS = pathlib.Path(os.environ.get("SEPTUM_CORPUS", HERE / "../../../../shared/corpus"))
FILE_BYTES_MAX = 40_000
NUM_FILES_MAX = 250

QUERIES = [
    "PatientName=M*ll?r^*\nfuzzymatching=true\n@00100010PNMueller^Hans",
    "StudyDate=20200101-20201231\nStudyTime=1000-1100\n@00080020DA20200115\n@00080030TM1030",
    "00100020=A\\B\nmultiplevaluematching=true\nincludefield=all\nlimit=5\noffset=2\n@00100020LOA",
    "OtherPatientIDsSequence.PatientID=X1\nModalitiesInStudy=CT,MR\nStudyInstanceUID=1.2.3\\1.2.4",
    'PatientID=""\nemptyvaluematching=true\n@00081030LOThorax',
]
MULTIPART = [
    b"--B\r\nContent-Type: application/dicom\r\n\r\nabc\r\n--B\r\n\r\n\r\n--B--\r\n",
    b"preamble\r\n--B \t\r\ncontent-type: a/b; x=\"y\"\r\n\r\n--not\r\n--Bnot\r\n--B--epilogue",
    b"--B\nA: b\n\nx\n--B--",
]

NATIVE_MODELS = [
    b'<NativeDicomModel xmlns="http://dicom.nema.org/PS3.19/models/NativeDICOM">'
    b'<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"><PersonName number="1"><Alphabetic>'
    b"<FamilyName>A</FamilyName></Alphabetic></PersonName></DicomAttribute>"
    b'<DicomAttribute tag="00400275" vr="SQ"><Item number="1"><DicomAttribute tag="00400009" vr="SH">'
    b'<Value number="1">x</Value></DicomAttribute></Item></DicomAttribute>'
    b'<DicomAttribute tag="7FE00010" vr="OW"><BulkData uri="a/b"/></DicomAttribute></NativeDicomModel>',
]
DATASETS = [
    b'{"00080016":{"vr":"UI","Value":["1.2.840.10008.5.1.4.1.1.7"]},"00080018":{"vr":"UI","Value":["1.2.3"]},'
    b'"00100010":{"vr":"PN","Value":[{"Alphabetic":"A^B"}]},"00280010":{"vr":"US","Value":[4]},'
    b'"00400275":{"vr":"SQ","Value":[{"00400009":{"vr":"SH","Value":["x"]}}]},"00181041":{"vr":"DS","Value":["1.5",2]},'
    b'"00091001":{"vr":"OB","InlineBinary":"AAEC"},"7FE00010":{"vr":"OW","BulkDataURI":"a"}}',
]


def files():
    """Small DICOM files of the corpus, no two alike."""
    if not CORPUS.is_dir():
        print("no corpus here (SEPTUM_CORPUS): seeds are few", file=sys.stderr)
        return
    found = (path for path in sorted(CORPUS.rglob("*")) if path.is_file() and path.stat().st_size <= FILE_BYTES_MAX)
    by_size = sorted(found, key=lambda path: path.stat().st_size)
    for path in by_size[:: max(1, len(by_size) // NUM_FILES_MAX)]:
        if path.suffix not in (".csv", ".json", ".md", ".hl7", ".txt"):
            yield path.read_bytes()


def elements(file: bytes) -> bytes:
    """The dataset of a Part 10 file, at most 8 KiB of it."""
    if file[128:132] != b"DICM" or file[132:136] != b"\x02\0\0\0":
        return file[:8192]
    length = int.from_bytes(file[140:144], "little")
    return file[144 + length:][:8192]


def seeds(target: str):
    if target == "split":
        return (bytes([piece]) + file for file in files() for piece in (0, 200))
    if target == "header_json":
        return (bytes([choice]) + elements(file) for file in files() for choice in (64, 1, 2))
    if target == "transcode":
        return (bytes([choice, 255]) + elements(file) for file in files() for choice in (0, 9, 50))
    if target == "query":
        return (bytes([level]) + query.encode() for query in QUERIES for level in (0, 1, 2))
    if target == "multipart":
        return (bytes([pieces]) + body for body in MULTIPART for pieces in (0, 7, 255))
    if target in ("codec_round_trip", "codec_decode"):
        head = [b"", b"\2"][target == "codec_decode"]
        return (head + bytes([32, 40, samples, bits, flags]) + file[-4000:]
                for file in list(files())[::20] for samples, bits, flags in ((1, 62, 0), (3, 41, 2), (1, 82, 5)))
    if target == "native_model":
        return NATIVE_MODELS
    if target == "dataset_from_json":
        return DATASETS
    if target == "directory":
        return (path.read_bytes()[:FILE_BYTES_MAX] for path in CORPUS.glob("dicomdir/**/DICOMDIR*"))
    if target == "template":
        return (bytes([128]) + elements(file) * 2 for file in list(files())[::10])
    return (bytes([0, 0, 0]) + file[:500] for file in list(files())[::20])


for name in sys.argv[1:]:
    folder = HERE / "corpus" / name
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds(name):
        (folder / hashlib.sha256(seed).hexdigest()[:24]).write_bytes(seed)
