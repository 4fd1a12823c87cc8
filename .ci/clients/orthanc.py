"""Orthanc from Debian as a peer on loopback: for comparing figures, and for trying the clients on another server."""

import json
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

import requests

from harness import Archive, free_port


def installed() -> tuple[str, pathlib.Path] | None:
    """The server and its DICOMweb plugin, where Debian or a person put them."""
    executable = shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")
    plugins = [path for path in map(pathlib.Path, (
        "/usr/share/orthanc/plugins/libOrthancDicomWeb.so", "/usr/lib/orthanc/libOrthancDicomWeb.so",
    )) if path.exists()]
    return (executable, plugins[0]) if executable and plugins else None


class Orthanc(Archive):
    """Orthanc with DICOMweb, its files synced before it answers, as Septum's always are.

    `servers` are the DICOMweb servers that it knows; `authorities` is a PEM file of certificates to trust there;
    `cache_bytes` is how much of the stored files it may keep in memory. Plain HTTP only: Debian's 1.10 ends with a
    segmentation fault at the first connection over TLS, with any certificate.
    """

    def __init__(self, sync: bool = True, cache_bytes: int = 128 << 20, servers: dict[str, dict] | None = None,
                 authorities: pathlib.Path | None = None):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="septum-peer-"))
        self.log = self.root / "server.log"
        self.port = free_port()
        self.sync, self.cache_bytes = sync, cache_bytes
        self.servers, self.authorities = servers or {}, authorities
        self.password = secrets.token_urlsafe(18)
        self.process = None
        super().__init__(f"http://127.0.0.1:{self.port}", "/dicom-web", ("peer", self.password))

    def start(self, timeout_seconds: float = 60) -> float:
        executable, plugin = installed()
        configuration = self.root / "orthanc.json"
        configuration.write_text(json.dumps({
            "Name": "peer", "StorageDirectory": str(self.root / "db"), "IndexDirectory": str(self.root / "db"),
            "HttpPort": self.port, "RemoteAccessAllowed": False, "DicomServerEnabled": False,
            "AuthenticationEnabled": True, "RegisteredUsers": {"peer": self.password},
            "SyncStorageArea": self.sync, "OverwriteInstances": True, "HttpThreadsCount": 16, "HttpTimeout": 240,
            "MaximumStorageCacheSize": max(1, self.cache_bytes >> 20),
            "Plugins": [str(plugin)], "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": self.servers},
            "HttpsVerifyPeers": True, "HttpsCACertificates": str(self.authorities or ""),
        }))
        began = time.monotonic()
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([executable, str(configuration)], stdin=subprocess.DEVNULL, stdout=log,
                                            stderr=log, cwd=self.root)
        while True:
            try:
                if requests.get(self.origin + "/system", auth=self.auth, timeout=2).status_code == 200:
                    return time.monotonic() - began
            except requests.RequestException:
                pass
            if self.process.poll() is not None or time.monotonic() - began > timeout_seconds:
                self.close()
                raise RuntimeError("Orthanc did not start")
            time.sleep(0.05)

    def rest(self, method: str, path: str, **options) -> requests.Response:
        """Orthanc's own interface, beside its DICOMweb."""
        return self.session.request(method, self.origin + path, timeout=240, **options)

    def ask(self, verb: str, **body) -> requests.Response:
        """Lets its DICOMweb client do something at the server named septum."""
        answer = self.rest("POST", f"/dicom-web/servers/septum/{verb}", json=body)
        assert answer.status_code == 200, f"{verb}: {answer.status_code}\n{self.log_tail()}"
        return answer

    def log_tail(self, num_lines: int = 20) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-num_lines:])

    @property
    def pid(self) -> int:
        return self.process.pid

    def alive(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.root, ignore_errors=True)
