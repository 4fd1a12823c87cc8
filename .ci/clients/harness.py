"""Starts the real server binary for a test and talks to it as a client would.

`Server` is Septum with temporary roots on free loopback ports. `Archive` speaks DICOMweb to any server, so that the same
calls work on a peer. Where the product's own extensions of DICOMweb are used (versions, exception list), it is in one
function each, at the end of `Archive`.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.parse
import uuid
import zlib

import requests

# Everything here is on loopback: a proxy of the environment must not see it.
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1"

TOP = pathlib.Path(__file__).resolve().parents[2]
CORPUS = pathlib.Path(os.environ.get("SEPTUM_CORPUS", TOP.parent / "shared" / "corpus"))
DEFLATED = "1.2.840.10008.1.2.1.99"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
USER = "admin@localhost"
ORIGINAL = 'multipart/related; type="application/dicom"; transfer-syntax=*'
DEFAULT = 'multipart/related; type="application/dicom"'


def binary() -> pathlib.Path:
    """The server to test: SEPTUM_BINARY, which .ci/environment sets."""
    path = pathlib.Path(os.environ.get("SEPTUM_BINARY", TOP / "target" / "release" / "septum"))
    if not path.is_file():
        raise RuntimeError(f"no server at {path}; build it first (make binary)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def dataset_of(data: bytes) -> tuple[str, bytes]:
    """(transfer syntax UID, dataset bytes) of a Part 10 stream, inflated when deflated.

    The end of the file meta is where the group number stops being 0002, whatever its group length says (PS3.10 7.1).
    A stream without preamble and file meta is all dataset; its transfer syntax is then "".
    """
    if data[128:132] == b"DICM":
        at = 132
    elif data[:2] == b"\x02\x00":
        at = 0
    else:
        return "", data
    syntax = ""
    while data[at : at + 2] == b"\x02\x00":
        if data[at + 4 : at + 6] in (b"OB", b"OW", b"UN", b"SQ", b"UT"):
            length, start = int.from_bytes(data[at + 8 : at + 12], "little"), at + 12
        else:
            length, start = int.from_bytes(data[at + 6 : at + 8], "little"), at + 8
        if data[at + 2 : at + 4] == b"\x10\x00":
            syntax = data[start : start + length].rstrip(b"\x00 ").decode("ascii", "replace")
        at = start + length
    dataset = data[at:]
    if syntax == DEFLATED:
        dataset = zlib.decompressobj(-zlib.MAX_WBITS).decompress(dataset)
    return syntax, dataset


def dataset_hash(data: bytes) -> str:
    return hashlib.sha256(dataset_of(data)[1]).hexdigest()


def multipart(parts: list[bytes], media_type: str = "application/dicom") -> tuple[str, bytes]:
    """(Content-Type, body) of a multipart/related request (RFC 2387)."""
    boundary = uuid.uuid4().hex
    body = b"".join(
        b"--%s\r\nContent-Type: %s\r\n\r\n%s\r\n" % (boundary.encode(), media_type.encode(), part) for part in parts
    )
    return f'multipart/related; type="{media_type}"; boundary={boundary}', body + b"--%s--\r\n" % boundary.encode()


def parts_of(content_type: str, body: bytes) -> list[tuple[dict[str, str], bytes]]:
    """[(headers, content)] of a multipart answer; an answer that is not multipart is one part."""
    if not content_type.lower().startswith("multipart/"):
        return [({"content-type": content_type}, body)]
    boundary = re.search(r'boundary="?([^";]+)"?', content_type, re.I).group(1).encode()
    found = []
    for piece in (b"\r\n" + body).split(b"\r\n--" + boundary)[1:]:
        if piece.startswith(b"--"):
            return found
        head, _, content = piece.lstrip(b"\r\n").partition(b"\r\n\r\n")
        headers = {}
        for line in head.decode("latin-1").split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        found.append((headers, content))
    raise AssertionError("the multipart answer has no closing boundary")


# A machine that has just compiled may take long to sync a file.
PATIENCE_SECONDS = 240


class Archive:
    """A DICOMweb client without opinions: it shows what came back."""

    def __init__(self, origin: str, base: str, auth=None, verify=True):
        self.origin, self.base, self.auth, self.verify = origin.rstrip("/"), base, auth, verify
        self.local = threading.local()

    @property
    def url(self) -> str:
        return self.origin + self.base

    @property
    def session(self) -> requests.Session:
        """One connection pool a thread."""
        if not hasattr(self.local, "session"):
            self.local.session = requests.Session()
            self.local.session.auth = self.auth
            self.local.session.verify = self.verify
            self.local.session.trust_env = False
        return self.local.session

    def request(self, method: str, path: str, **options) -> requests.Response:
        options.setdefault("timeout", PATIENCE_SECONDS)
        try:
            return self.session.request(method, self.url + path, **options)
        except requests.Timeout as timeout:
            raise AssertionError(f"no answer to {method} within {options['timeout']} s\n{self.stuck()}") from timeout

    def stuck(self) -> str:
        """What is known of a server that does not answer."""
        return ""

    def store(self, parts: list[bytes], **options) -> requests.Response:
        """STOW-RS (PS3.18 10.5)."""
        content_type, body = multipart(parts)
        headers = {"Content-Type": content_type, "Accept": "application/dicom+json"} | options.pop("headers", {})
        return self.request("POST", "/studies", data=body, headers=headers, **options)

    @staticmethod
    def path(study: str, series: str | None = None, instance: str | None = None) -> str:
        path = "/studies/" + urllib.parse.quote(study)
        if series is not None:
            path += "/series/" + urllib.parse.quote(series)
        if instance is not None:
            path += "/instances/" + urllib.parse.quote(instance)
        return path

    def retrieve(self, study, series=None, instance=None, accept=ORIGINAL, **options) -> requests.Response:
        return self.request("GET", self.path(study, series, instance), headers={"Accept": accept}, **options)

    def datasets(self, study, series=None, instance=None, accept=ORIGINAL, **options) -> list[bytes]:
        """The Part 10 streams of a study, series or instance."""
        answer = self.retrieve(study, series, instance, accept, **options)
        assert answer.status_code == 200, (answer.status_code, answer.text[:300])
        return [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]

    def search(self, path: str, **parameters) -> list[dict]:
        """QIDO-RS; all pages."""
        found = []
        while True:
            answer = self.request("GET", path, headers={"Accept": "application/dicom+json"},
                                  params=parameters | {"limit": 200, "offset": len(found)})
            if answer.status_code == 204:
                return found
            assert answer.status_code == 200, (answer.status_code, answer.text[:300])
            page = answer.json()
            found += page
            if len(page) < 200:
                return found

    def versions(self, study: str, series: str, instance: str) -> list[bytes]:
        """Every stored version of an instance as a Part 10 stream, newest first (Septum's extension)."""
        path = self.path(study, series, instance)
        listing = self.request("GET", path + "/versions", headers={"Accept": "application/json"})
        assert listing.status_code == 200, (listing.status_code, listing.text[:300])
        listed = listing.json()
        if isinstance(listed, dict):
            listed = listed["versions"]
        found = []
        for entry in listed:
            number = entry["version"] if isinstance(entry, dict) else entry
            answer = self.request("GET", path, headers={"Accept": ORIGINAL}, params={"version": number})
            assert answer.status_code == 200, (answer.status_code, answer.text[:300])
            found += [content for _, content in parts_of(answer.headers["Content-Type"], answer.content)]
        return found


def outcomes(answer: requests.Response) -> dict[str, tuple[str, int]]:
    """SOP Instance UID → ("stored" | "refused", warning or failure reason) of a STOW-RS answer (PS3.18 10.5.3)."""
    body = answer.json() if answer.content else {}
    found = {}
    for tag, word, reason in (("00081199", "stored", "00081196"), ("00081198", "refused", "00081197")):
        for item in body.get(tag, {}).get("Value", []):
            uid = (item.get("00081155", {}).get("Value") or [""])[0]
            found[uid] = (word, int((item.get(reason, {}).get("Value") or [0])[0]))
    return found


def stored_at(answer: requests.Response) -> dict[str, str]:
    """SOP Instance UID → Retrieve URL of what a STOW-RS answer says is stored."""
    items = answer.json().get("00081199", {}).get("Value", [])
    return {item["00081155"]["Value"][0]: item["00081190"]["Value"][0] for item in items}


class Server(Archive):
    """Septum in a process of its own."""

    def __init__(self, root: pathlib.Path | None = None, environment: dict[str, str] | None = None, tls: bool = True,
                 wrapper: list[str] | None = None):
        self.owns_root = root is None
        self.root = pathlib.Path(root or tempfile.mkdtemp(prefix="septum-test-"))
        self.roots = {name: self.root / name for name in ("phi", "pixel", "key")}
        self.tls_dir = self.root / "tls"
        self.work = self.root / "work"
        self.log = self.root / "server.log"
        self.tls = tls
        self.wrapper = wrapper or []
        self.password = secrets.token_urlsafe(18)
        self.extra = environment or {}
        self.process: subprocess.Popen | None = None
        self.port, self.admin_port = free_port(), free_port()
        origin = f"{'https' if tls else 'http'}://localhost:{self.port}"
        base = os.environ.get("SEPTUM_TEST_BASE", "/dicomweb")
        super().__init__(origin, base, (USER, self.password), str(self.tls_dir / "cert.pem") if tls else True)

    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SEPTUM")}
        return kept | {
            "SEPTUM__SERVER__LISTEN": f"127.0.0.1:{self.port}",
            "SEPTUM__SERVER__TLS": "self-signed" if self.tls else "off",
            "SEPTUM__SERVER__TLS_DIR": str(self.tls_dir),
            "SEPTUM__ADMIN__LISTEN": f"127.0.0.1:{self.admin_port}",
            "SEPTUM__STORAGE__PHI_ROOT": str(self.roots["phi"]),
            "SEPTUM__STORAGE__PIXEL_ROOT": str(self.roots["pixel"]),
            "SEPTUM__STORAGE__KEY_ROOT": str(self.roots["key"]),
            "SEPTUM_ADMIN_PASSWORD": self.password,
            "TMPDIR": str(self.work),
            "RUST_BACKTRACE": "1",
        } | self.extra

    def start(self, timeout_seconds: float = 60) -> float:
        """Starts and waits until ready; returns the seconds that took."""
        self.work.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([*self.wrapper, str(binary()), "serve"], cwd=self.work, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, env=self.environment(), start_new_session=True)
        while not self.ready():
            if self.process.poll() is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode}:\n{self.log_tail()}")
            if time.monotonic() - began > timeout_seconds:
                self.kill()
                raise RuntimeError(f"not ready after {timeout_seconds} s:\n{self.log_tail()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def ready(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self.admin_port}/readyz", timeout=2).status_code == 200
        except requests.RequestException:
            return False

    def stuck(self) -> str:
        """Where each thread waits, and for which disk."""
        lines = []
        for task in sorted(pathlib.Path(f"/proc/{self.process.pid}/task").glob("*")):
            def said(name, task=task):
                try:
                    return (task / name).read_text().strip()
                except OSError:
                    return "?"
            state = said("stat").rpartition(")")[2].split()[:1]
            lines.append(f"{said('comm'):<18} {''.join(state)} {said('wchan')}  {said('syscall').split(' ')[0]}")
        pressure = pathlib.Path("/proc/pressure/io")
        if pressure.exists():
            lines.append(pressure.read_text())
        return "\n".join(lines) + f"\n{self.log_tail()}"

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        """The server itself, also below a wrapper."""
        pid = self.process.pid
        while self.wrapper:
            children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            if not children or os.readlink(f"/proc/{pid}/exe") == str(binary().resolve()):
                return pid
            pid = int(children[0])
        return pid

    def stop(self, timeout_seconds: float = 30) -> int:
        """SIGTERM, drain, exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"no exit within {timeout_seconds} s of SIGTERM:\n{self.log_tail()}") from None
        finally:
            self.local = threading.local()

    def kill(self) -> None:
        """kill -9, of nothing but what this object started."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        self.local = threading.local()

    def close(self) -> None:
        self.kill()
        if self.owns_root and not os.environ.get("SEPTUM_TEST_KEEP"):
            shutil.rmtree(self.root, ignore_errors=True)

    def command(self, *arguments: str, timeout_seconds: float = 300) -> subprocess.CompletedProcess:
        """Runs a subcommand of the binary with this server's configuration."""
        return subprocess.run([str(binary()), *arguments], cwd=self.work, env=self.environment(), text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_seconds)

    def log_tail(self, num_lines: int = 40) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-num_lines:]) if self.log.exists() else ""

    def status(self, field: str) -> int:
        """A size field of /proc/PID/status in bytes: VmRSS, VmHWM."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
        raise KeyError(field)

    def metrics(self) -> dict[str, float]:
        text = requests.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10).text
        return {name: float(value) for name, value in
                (line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))}


class Sampler:
    """Watches a server's resident memory while a block runs."""

    def __init__(self, server: Server, every_seconds: float = 0.05):
        self.server, self.every_seconds, self.peak_bytes = server, every_seconds, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self) -> None:
        while not self.done.wait(self.every_seconds):
            with contextlib.suppress(OSError, KeyError):
                self.peak_bytes = max(self.peak_bytes, self.server.status("VmRSS"))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def write_json(path: pathlib.Path, value) -> None:
    path.write_text(json.dumps(value, indent=1))
