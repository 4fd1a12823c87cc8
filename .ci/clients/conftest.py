"""Fixtures of the client tests. SEPTUM_TEST_PEER=orthanc tries the clients themselves on another DICOMweb server."""

import os
import pathlib
import random
import shutil
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import harness  # noqa: E402


def pytest_configure(config):
    config.addinivalue_line("markers", "septum: needs Septum's own behaviour, so it is not run on a peer")


def pytest_collection_modifyitems(items):
    if os.environ.get("SEPTUM_TEST_PEER"):
        for item in items:
            if item.get_closest_marker("septum"):
                item.add_marker(pytest.mark.skip(reason="runs on Septum only"))


@pytest.fixture(scope="session")
def seed():
    """Seed of every random choice; printed, and taken from SEPTUM_TEST_SEED to repeat a run."""
    value = int(os.environ.get("SEPTUM_TEST_SEED") or random.SystemRandom().randrange(1 << 32))
    print(f"\nSEPTUM_TEST_SEED={value}")
    return value


@pytest.fixture(scope="session")
def corpus():
    if not (harness.CORPUS / "manifest.csv").is_file():
        pytest.skip(f"no test corpus at {harness.CORPUS} (set SEPTUM_CORPUS)")
    return harness.CORPUS


@pytest.fixture(scope="module")
def server():
    """A fresh server for each test file; it must be alive at the end and stop cleanly."""
    if os.environ.get("SEPTUM_TEST_PEER") == "orthanc":
        from orthanc import Orthanc

        started = Orthanc()
    else:
        started = harness.Server()
    try:
        started.start()
        yield started
        assert started.alive(), "the server died during the tests"
        if isinstance(started, harness.Server):
            assert started.stop() == 0, f"unclean exit after SIGTERM:\n{started.log_tail()}"
            if "panicked" in started.log.read_text(errors="replace"):
                pytest.fail(f"a panic in the log:\n{started.log_tail()}")
    finally:
        if os.environ.get("SEPTUM_TEST_KEEP") and isinstance(started, harness.Server):
            print(f"kept: {started.root}")
            shutil.copy(started.log, "/dev/stderr")
        started.close()
