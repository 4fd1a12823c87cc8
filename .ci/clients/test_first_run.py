"""A stranger's first minute: start in an empty folder, take the printed password, store and read with curl."""

import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

import corpus_files
from harness import binary, dataset_hash, free_port, parts_of

pytestmark = pytest.mark.septum


@pytest.fixture
def first_run(tmp_path):
    """(origin, password, folder, process) of a server that was started with nothing but its ports."""
    port, admin = free_port(), free_port()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SEPTUM")}
    output = tmp_path / "output"
    with open(output, "wb") as out:
        process = subprocess.Popen([str(binary()), "serve"], cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                   env=kept | {"SEPTUM__SERVER__LISTEN": f"127.0.0.1:{port}",
                                               "SEPTUM__ADMIN__LISTEN": f"127.0.0.1:{admin}"})
    try:
        password = None
        for _ in range(600):
            text = output.read_text(errors="replace")
            password = re.search(r"[Pp]assword[^\n:=]*[:=]\s*(\S+)", text)
            if password and f"localhost:{port}" in text or process.poll() is not None:
                break
            time.sleep(0.05)
        assert process.poll() is None, output.read_text(errors="replace")
        assert password, f"no one-time password was printed:\n{output.read_text(errors='replace')}"
        assert "admin@localhost" in output.read_text(errors="replace")
        for _ in range(600):
            if subprocess.run(["curl", "-sf", f"http://127.0.0.1:{admin}/readyz"], capture_output=True).returncode == 0:
                break
            time.sleep(0.05)
        yield f"https://localhost:{port}", password.group(1).strip(), tmp_path, process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def curl(folder: pathlib.Path, password: str, *arguments: str) -> bytes:
    done = subprocess.run(["curl", "-sS", "--fail-with-body", "--cacert", str(folder / "data" / "tls" / "cert.pem"),
                           "-u", f"admin@localhost:{password}", *arguments], capture_output=True)
    assert done.returncode == 0, (done.stdout[:300], done.stderr[:300])
    return done.stdout


def test_curl_stores_a_series_and_reads_it_back(first_run, corpus):
    origin, password, folder, process = first_run
    for name in ("cert.pem", "key.pem"):
        assert (folder / "data" / "tls" / name).is_file()
    assert (folder / "data" / "tls" / "key.pem").stat().st_mode & 0o077 == 0
    files = [file for file in corpus_files.composite_and_other(corpus) if file.name.startswith("series/ct-ge-hispeed-28")]
    body = b"".join(b"--b0\r\nContent-Type: application/dicom\r\n\r\n" + file.read() + b"\r\n" for file in files) + b"--b0--\r\n"
    (folder / "body").write_bytes(body)
    curl(folder, password, "-H", 'Content-Type: multipart/related; type="application/dicom"; boundary=b0',
         "-H", "Accept: application/dicom+json", "--data-binary", f"@{folder / 'body'}", f"{origin}/dicomweb/studies")
    answer = curl(folder, password, "-D", str(folder / "head"), "-H",
                  'Accept: multipart/related; type="application/dicom"; transfer-syntax=*',
                  f"{origin}/dicomweb/studies/{files[0].study}")
    content_type = re.search(r"(?i)^content-type: (.*)$", (folder / "head").read_text(), re.M).group(1).strip()
    got = sorted(dataset_hash(stream) for _, stream in parts_of(content_type, answer))
    assert got == sorted(file.dataset_sha256 for file in files)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0


def test_the_password_is_shown_once(first_run):
    _, password, folder, process = first_run
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    for path in folder.rglob("*"):
        if path.is_file() and path.name != "output":
            assert password.encode() not in path.read_bytes(), path.name
