"""Fixtures of the tests that drive the vendor's client, whose pinned libraries clash with those of the other clients."""

import pathlib
import sys

import pytest
import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "clients"))

import harness  # noqa: E402
import vendor  # noqa: E402


@pytest.fixture(scope="module")
def server():
    """A fresh server for each file; it must be alive at the end and stop cleanly."""
    started = harness.Server()
    try:
        started.start()
        vendor.trust(started)
        yield started
        assert started.alive(), f"the server died during the tests\n{started.log_tail()}"
        assert started.stop() == 0, f"unclean exit after SIGTERM:\n{started.log_tail()}"
        text = started.log.read_text(errors="replace")
        assert "panicked" not in text, f"a panic in the log:\n{started.log_tail()}"
    finally:
        started.close()


class Caller:
    """Calls of API V3 as they go over the wire."""

    def __init__(self, server, sid=None):
        self.base, self.sid, self.verify = f"{server.origin}/api/v3", sid, server.verify
        self.session = requests.Session()

    def post(self, path, **parameters):
        data = {name.replace("__", "."): value for name, value in parameters.items() if value is not None}
        if self.sid and "sid" not in data:
            data["sid"] = self.sid
        return self.session.post(f"{self.base}/{path}", data=data, verify=self.verify, timeout=60)

    def ok(self, path, **parameters):
        answer = self.post(path, **parameters)
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text}"
        assert answer.json()["status"] == "OK"
        return answer.json()

    def error(self, path, **parameters):
        """(token, subtype) of a call that must fail with 412."""
        answer = self.post(path, **parameters)
        assert answer.status_code == 412, f"{path}: {answer.status_code} {answer.text}"
        assert answer.json()["status"] == "ERROR"
        return answer.json()["error_type"], answer.json().get("error_subtype")

    def signed_in(self, login, password):
        other = object.__new__(Caller)
        other.base, other.verify, other.session = self.base, self.verify, requests.Session()
        other.sid = None
        other.sid = other.ok("session/login", login=login, password=password)["sid"]
        return other


@pytest.fixture(scope="module")
def admin(server):
    return Caller(server).signed_in(harness.USER, server.password)


@pytest.fixture(scope="module")
def sdk(server):
    return vendor.api(server)
