"""`septum export` brings home what is stored, and `septum import` takes it in from ZIP files, disc images and media.

What is compared is always the hash of the dataset: everything behind the file meta.
"""

import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import warnings
import zipfile

import pydicom
import pydicom.fileset
import pytest

import corpus_files
from harness import USER, Server, binary, dataset_hash, dataset_of, free_port

pytestmark = pytest.mark.septum

FOLDERS = ("series/", "dicomdir/", "transfer-syntax/", "multiframe/", "presentation-state/", "rt/", "wsi-seg-sr/",
           "charset/", "encapsulation/", "derived-ts/")
NAME = re.compile(r"DICOM/P\d{7}/T\d{7}/S\d{7}/I\d{7}")
# Record types that pydicom 3.0 and DCMTK 3.6 do not know yet: Microscopy Bulk Simple Annotations.
TOO_NEW = {"1.2.840.10008.5.1.4.1.1.91.1"}
OK, REFUSED, UNREACHABLE, USAGE, STOPPED = 0, 1, 2, 64, 130


@pytest.fixture(scope="module")
def archive(corpus):
    """A server with part of the corpus; and what is stored there: (study, series, instance) → hash."""
    server = Server()
    try:
        server.start()
        files = [file for file in corpus_files.composite_and_other(corpus)
                 if file.name.startswith(FOLDERS) and file.identified
                 and file.sop_class not in corpus_files.NON_PATIENT and file.sop_class not in TOO_NEW]
        for start in range(0, len(files), 20):
            answer = server.store([file.read() for file in files[start : start + 20]])
            assert answer.status_code in (200, 202), answer.text[:300]
        server.content = content(server)
        assert len(server.content) > 200
        yield server
        assert server.alive(), "the server died during the tests"
    finally:
        server.close()


def key_and_hash(data: bytes) -> tuple[tuple[str, str, str], str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True, force=True)
    key = tuple(str(header.get(word) or "") for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"))
    return key, dataset_hash(data)


def content(server) -> dict:
    """Everything on a server."""
    studies = [study["0020000D"]["Value"][0] for study in server.search("/studies")]
    return dict(key_and_hash(stream) for study in studies for stream in server.datasets(study))


def in_folder(folder: pathlib.Path) -> dict:
    names = [path for path in (folder / "DICOM").rglob("*") if path.is_file()]
    assert all(NAME.fullmatch(str(path.relative_to(folder))) for path in names)
    found = dict(key_and_hash(path.read_bytes()) for path in names)
    assert len(found) == len(names), "an instance is there twice"
    return found


def in_zip(path: pathlib.Path) -> dict:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        names = [name for name in archive.namelist() if name != "DICOMDIR"]
        assert all(NAME.fullmatch(name) for name in names)
        found = dict(key_and_hash(archive.read(name)) for name in names)
    assert len(found) == len(names), "an instance is there twice"
    return found


def command_line(server, *arguments, url=None) -> tuple[list[str], dict]:
    """The client's command line and environment. SEPTUM_CLIENT: another binary than the server's."""
    program = os.environ.get("SEPTUM_CLIENT") or str(binary())
    line = [program, arguments[0], "--server", url or server.origin, "--user", USER, "--ca", str(server.verify), "--json",
            *map(str, arguments[1:])]
    environment = server.environment() | {"SEPTUM_PASSWORD": server.password, "XDG_STATE_HOME": str(server.work)}
    return line, environment


def client(server, *arguments, url=None) -> tuple[int, dict, list[dict]]:
    """(exit code, summary, other lines)."""
    line, environment = command_line(server, *arguments, url=url)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
    lines = [json.loads(text) for text in done.stdout.splitlines()]
    assert lines and lines[-1]["event"] == "summary", (done.returncode, done.stdout[-500:], done.stderr[-1000:])
    assert done.returncode == lines[-1]["exit_code"]
    return done.returncode, lines[-1], lines[:-1]


def told(server, summary: dict, others: list[dict]) -> str:
    """All that was said, uncut: by the command, and by the server."""
    return "\n".join([json.dumps(line) for line in [*others, summary]] + [server.log_tail()])


class SlowPath:
    """A way to the server with so many bytes a second, that breaks every connection after so many bytes."""

    def __init__(self, port: int, bytes_per_second: int | None = None, break_after_bytes: int | None = None):
        self.port, self.rate, self.break_after = port, bytes_per_second, break_after_bytes
        self.listener = socket.create_server(("127.0.0.1", free_port()))
        self.url = f"https://localhost:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.port))
            threading.Thread(target=self.pump, args=(near, far, None, None), daemon=True).start()
            threading.Thread(target=self.pump, args=(far, near, self.rate, self.break_after), daemon=True).start()

    @staticmethod
    def pump(source, sink, rate, break_after):
        count = 0
        try:
            while data := source.recv(16384):
                sink.sendall(data)
                count += len(data)
                if rate:
                    time.sleep(len(data) / rate)
                if break_after and count > break_after:
                    break
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.close()


def check_directory(folder: pathlib.Path, stored: dict) -> None:
    """The DICOMDIR lists every file, for pydicom and for DCMTK."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        files = pydicom.fileset.FileSet(folder / "DICOMDIR")
    listed = {(instance.StudyInstanceUID, instance.SeriesInstanceUID, instance.ReferencedSOPInstanceUIDInFile)
              for instance in files}
    assert listed == set(stored)
    for instance in files:
        path = pathlib.Path(instance.path)
        assert path.is_file() and path.is_relative_to(folder)
        syntax, _ = dataset_of(path.read_bytes())
        assert str(instance.ReferencedTransferSyntaxUIDInFile) == syntax
    assert files.find_values("PatientID"), "no patients in the DICOMDIR"
    done = subprocess.run(["dcmdump", "-q", "-M", str(folder / "DICOMDIR")], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.count("DirectoryRecordType") >= len(stored)


def check_dcmtk_goes_on(folder: pathlib.Path, work: pathlib.Path) -> None:
    """DCMTK takes the DICOMDIR as its own: it opens it, adds a file and writes it again."""
    medium = work / "medium"
    shutil.copytree(folder, medium)
    first = next(path for path in sorted((medium / "DICOM").rglob("I*")) if path.is_file())
    done = subprocess.run(["dcmmkdir", "-q", "--update", "--output-file", "DICOMDIR",
                           "--input-directory", ".", str(first.relative_to(medium))],
                          cwd=medium, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-1000:]


@pytest.fixture(scope="module")
def folder(archive, tmp_path_factory):
    target = tmp_path_factory.mktemp("export") / "medium"
    code, summary, others = client(archive, "export", "--all", "--to", target)
    assert (code, others, summary["fetched"]) == (OK, [], len(archive.content)), summary
    return target


def test_a_folder_has_what_is_stored(archive, folder):
    assert in_folder(folder) == archive.content
    assert oct(folder.stat().st_mode & 0o777) == "0o700"


def test_the_directory_lists_it(archive, folder, tmp_path):
    check_directory(folder, archive.content)
    check_dcmtk_goes_on(folder, tmp_path)


def test_a_second_run_fetches_nothing_and_completes_what_is_damaged(archive, folder, tmp_path):
    target = tmp_path / "medium"
    shutil.copytree(folder, target)
    code, summary, _ = client(archive, "export", "--all", "--to", target)
    assert (code, summary["fetched"], summary["already_there"]) == (OK, 0, len(archive.content))
    files = sorted(path for path in (target / "DICOM").rglob("*") if path.is_file())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-1])
    code, summary, _ = client(archive, "export", "--all", "--to", target)
    assert (code, summary["fetched"]) == (OK, 2)
    assert in_folder(target) == archive.content
    check_directory(target, archive.content)


def test_a_zip_file_has_what_is_stored(archive, folder, tmp_path):
    path = tmp_path / "out.zip"
    code, summary, _ = client(archive, "export", "--all", "--zip", path)
    assert (code, summary["fetched"]) == (OK, len(archive.content))
    assert in_zip(path) == archive.content
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.zip"]
    with zipfile.ZipFile(path) as opened:
        assert all(entry.compress_type == zipfile.ZIP_STORED for entry in opened.infolist())
        opened.extractall(tmp_path / "unpacked")
    check_directory(tmp_path / "unpacked", archive.content)
    code, _, _ = client(archive, "export", "--all", "--zip", path)
    assert code == USAGE


def test_what_is_selected(archive, tmp_path):
    study = sorted(archive.content)[0][0]
    expected = {key: value for key, value in archive.content.items() if key[0] == study}
    code, _, _ = client(archive, "export", "--study", study, "--to", tmp_path / "study")
    assert code == OK and in_folder(tmp_path / "study") == expected
    code, _, _ = client(archive, "export", "--match", "Modality=MR", "--to", tmp_path / "mr", "--no-dicomdir")
    of_mr = {(series["0020000D"]["Value"][0], series["0020000E"]["Value"][0])
             for series in archive.search("/series", Modality="MR")}
    assert of_mr and code == OK
    assert in_folder(tmp_path / "mr") == {key: value for key, value in archive.content.items() if key[:2] in of_mr}
    assert not (tmp_path / "mr" / "DICOMDIR").exists()
    code, summary, others = client(archive, "export", "--study", "1.2.3.4.5", "--to", tmp_path / "none")
    assert (code, summary["missing"], others[0]["path"]) == (REFUSED, 1, "studies/1.2.3.4.5")
    assert not (tmp_path / "none").exists()
    code, summary, _ = client(archive, "export", "--match", "PatientID=nobody of this name", "--to", tmp_path / "none")
    assert (code, summary["fetched"]) == (OK, 0)


def test_in_another_transfer_syntax(archive, tmp_path):
    code, summary, _ = client(archive, "export", "--match", "Modality=CT", "--transfer-syntax", "1.2.840.10008.1.2.1",
                              "--to", tmp_path / "ct")
    assert code in (OK, REFUSED) and summary["fetched"] > 20
    files = [path.read_bytes() for path in (tmp_path / "ct" / "DICOM").rglob("I*") if path.is_file()]
    assert len(files) == summary["fetched"]
    assert {dataset_of(data)[0] for data in files} == {"1.2.840.10008.1.2.1"}


def test_what_is_not_ours_is_left_alone(archive, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    code, summary, _ = client(archive, "export", "--all", "--to", tmp_path)
    assert code == USAGE and "not a new or empty folder" in summary["error"]
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def ledger_lines(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("form", ["folder", "zip"])
def test_an_export_that_was_stopped_goes_on(archive, tmp_path, form, how):
    target = tmp_path / "out"
    words = ["--to", target] if form == "folder" else ["--zip", target]
    ledger = (target / ".septum-export" if form == "folder" else tmp_path / "out.part") / "ledger.jsonl"
    with SlowPath(archive.port, bytes_per_second=400_000) as path:
        line, environment = command_line(archive, "export", "--all", *words, url=path.url)
        process = subprocess.Popen(line, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while ledger_lines(ledger) < 30 and time.monotonic() < limit:
            time.sleep(0.01)
        process.send_signal(how)
        output, _ = process.communicate(timeout=60)
        before = ledger_lines(ledger)
        assert 30 <= before < len(archive.content)
        if how != signal.SIGKILL:
            assert process.returncode == STOPPED
            assert json.loads(output.splitlines()[-1])["exit_code"] == STOPPED
    if form == "folder":
        # Not a half file under a final name.
        assert in_folder(target).items() <= archive.content.items()
        assert not (target / "DICOMDIR").exists()
    else:
        assert not target.exists()
    # The server is named as before: another address is another export.
    code, summary, _ = client(archive, "export", "--all", *words)
    assert code == USAGE and "from another server" in summary["error"]
    text = ledger.read_text().replace(path.url, archive.origin)
    ledger.write_text(text)
    code, summary, _ = client(archive, "export", "--all", *words)
    assert code == OK and summary["already_there"] >= 20, summary
    assert summary["already_there"] + summary["fetched"] == len(archive.content)
    assert (in_folder if form == "folder" else in_zip)(target) == archive.content
    if form == "folder":
        check_directory(target, archive.content)
        assert not list((target / ".septum-export").glob("*.arriving"))


def test_a_connection_that_breaks_is_no_loss(archive, tmp_path):
    # Longer than the largest instance of this study, shorter than its series.
    sizes = {}
    for study, series, instance in archive.content:
        sizes.setdefault((study, series), []).append(instance)
    (study, series), _ = max(sizes.items(), key=lambda item: len(item[1]))
    with SlowPath(archive.port, break_after_bytes=2_000_000) as path:
        code, summary, _ = client(archive, "export", "--study", study, "--to", tmp_path / "out", "--retry-wait-ms", "20",
                                  url=path.url)
    assert code == OK, summary
    assert in_folder(tmp_path / "out") == {key: value for key, value in archive.content.items() if key[0] == study}


def test_a_server_that_is_away(archive, tmp_path):
    code, summary, _ = client(archive, "export", "--all", "--to", tmp_path / "out", "--retries", "1", "--retry-wait-ms",
                              "10", url=f"https://localhost:{free_port()}")
    assert code == UNREACHABLE and summary["error"]
    assert not (tmp_path / "out").exists()


# Import of what an export or a modality burnt.

@pytest.fixture
def empty():
    server = Server()
    try:
        server.start()
        yield server
        assert server.alive(), "the server died during the test"
    finally:
        server.close()


def test_import_of_a_medium(archive, folder, empty):
    """By its folder, and by its DICOMDIR alone."""
    code, summary, others = client(empty, "import", folder / "DICOMDIR")
    done = (code, summary["sent"], summary["skipped"]["dicomdir"])
    assert done == (OK, len(archive.content), 1), told(empty, summary, others)
    assert content(empty) == archive.content
    code, summary, _ = client(empty, "import", folder)
    assert (code, summary["sent"], summary["already_there"]) == (OK, 0, len(archive.content))


def test_import_tells_what_a_medium_lacks(archive, folder, empty, tmp_path):
    medium = tmp_path / "medium"
    shutil.copytree(folder, medium)
    files = sorted(path for path in (medium / "DICOM").rglob("*") if path.is_file())
    files[3].unlink()
    code, summary, others = client(empty, "import", medium)
    assert (code, summary["sent"], summary["missing"]) == (REFUSED, len(archive.content) - 1, 1)
    assert [(line["event"], line["path"]) for line in others] == [("missing", str(files[3]))]


def test_import_of_a_zip_file(archive, folder, empty, tmp_path):
    path = tmp_path / "burnt.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for file in sorted(folder.rglob("*")):
            if file.is_file() and ".septum-export" not in file.parts:
                packed.write(file, f"CD 1/{file.relative_to(folder)}")
        packed.writestr("readme.txt", "hello")
        packed.writestr("inner.zip", path.read_bytes()[:0] + b"PK\x05\x06" + bytes(18))
    code, summary, _ = client(empty, "import", tmp_path)
    assert (code, summary["sent"]) == (OK, len(archive.content)), summary
    assert summary["skipped"] == {"dicomdir": 1, "not_dicom": 1, "nested": 1}
    assert content(empty) == archive.content
    code, summary, _ = client(empty, "import", tmp_path)
    assert (code, summary["sent"], summary["already_there"]) == (OK, 0, len(archive.content))


def test_import_of_a_damaged_zip_file(empty, corpus, tmp_path):
    files = sorted((corpus / "series" / "ct-ge-hispeed-28").glob("*"))[:3]
    path = tmp_path / "burnt.zip"
    with zipfile.ZipFile(path, "w") as packed:
        for file in files:
            packed.write(file, file.name)
        at = packed.infolist()[1].header_offset + 5000
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)
    code, summary, others = client(empty, "import", path)
    assert (code, summary["sent"], summary["unreadable"]) == (REFUSED, 2, 1)
    assert others[0]["path"] == f"{path}/{files[1].name}"


@pytest.mark.parametrize("options", [["-iso-level", "1"], ["-iso-level", "3", "-r"], ["-iso-level", "1", "-J"],
                                     ["-iso-level", "4", "-r", "-J"], ["-iso-level", "3", "-udf"]],
                         ids=lambda options: " ".join(options))
def test_import_of_a_disc_image(archive, folder, empty, tmp_path, options):
    if not shutil.which("genisoimage"):
        pytest.skip("no genisoimage")
    image = tmp_path / "disc.iso"
    subprocess.run(["genisoimage", "-quiet", *options, "-m", ".septum-export", "-o", str(image), str(folder)], check=True,
                   capture_output=True, timeout=120)
    code, summary, others = client(empty, "import", image)
    assert (code, summary["sent"], summary["missing"]) == (OK, len(archive.content), 0), told(empty, summary, others)
    assert summary["skipped"]["dicomdir"] == 1
    assert content(empty) == archive.content
