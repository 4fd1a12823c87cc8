"""septum-loadtest itself: every scenario for a moment against one server, so that `make load` works when it is wanted."""

import json
import os
import pathlib
import subprocess

import pytest

import harness

SCENARIOS = ["store-ct", "store-mixed", "dense", "frames", "frames-native", "frame-of-100", "instances", "metadata", "study",
             "search-prefix", "search-infix", "search-id", "search-dates", "search-offset", "reads-under-ingest", "day", "delete"]
# A few requests of each.
SMALL = ["--rounds", "1", "--count", "12", "--batch", "6", "--series", "6", "--library", "12", "--reads", "12", "--objects", "1",
         "--patients", "60", "--searches", "6", "--deletes", "3", "--day-seconds", "1", "--day-rate", "30", "--verify", "25", "--settle", "0", "--seed", "7"]


@pytest.fixture(scope="module")
def loadtest():
    path = os.environ.get("SEPTUM_LOADTEST", "")
    if not pathlib.Path(path).is_file():
        raise RuntimeError(f"no septum-loadtest at {path!r} (SEPTUM_LOADTEST, which .ci/environment sets); build it first")

    def run(*arguments, password="") -> subprocess.CompletedProcess:
        return subprocess.run([path, *arguments], env=os.environ | {"LOADTEST_PASSWORD": password}, text=True, timeout=120,
                              stdin=subprocess.DEVNULL, capture_output=True, check=False)

    return run


def target(server) -> list[str]:
    options = ["--target", f"one={server.url}", "--user", f"one={server.auth[0]}", "--pid", f"one={server.pid}"]
    if isinstance(server.verify, str):
        options += ["--certificate", f"one={server.verify}"]
    folders = server.roots.values() if isinstance(server, harness.Server) else [server.root]
    return options + [part for folder in folders for part in ("--folder", f"one={folder}")]


def test_every_scenario_runs_and_what_was_acknowledged_comes_back(server, loadtest):
    done = loadtest("run", *target(server), *SMALL, "--scenarios", ",".join(SCENARIOS), password=server.auth[1])
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    runs = {run["scenario"]: run for run in result["runs"]}
    assert list(runs) == SCENARIOS
    for name, run in runs.items():
        if name == "dense":
            assert run["live_bytes"] > 12 * 2 * 512 * 512 and run["disk_bytes"] > 0
            continue
        for kind, requests in run["requests"].items():
            assert requests["num_good"] > 0 and requests["failures"] == {}, (name, kind, requests)
            latency = requests["latency"]
            assert 0 < latency["p50_ms"] <= latency["p99_ms"] <= latency["max_ms"]
        assert run["server_memory_bytes"] > 1 << 20 and run["seconds"] > 0
    assert {"store", "frame", "search", "metadata"} <= set(runs["day"]["requests"])
    assert runs["day"]["open_loop"] and not runs["frames"]["open_loop"]
    stored = runs["store-ct"]["requests"]["store"]
    assert stored["num_instances"] == 12 and stored["native_bytes"] > 12 * 2 * 512 * 512
    verified = result["verification"]["one"]
    assert verified["num_checked"] == verified["num_exact"] == 25
    assert verified["num_frames_checked"] == 5 and verified["num_frames_wrong"] == 0
    assert verified["num_deleted_checked"] > 0 and verified["num_deleted_still_there"] == 0
    figures = {row["figure"] for row in result["table"] if row["scenario"] == "store-ct"}
    assert {"stored MB/s (native)", "server CPU s/native GB", "client share of CPU %", "server wrote bytes/native byte",
            "disk bytes/native byte"} <= figures
    assert "stored MB/s (native)" in done.stderr


def test_an_open_loop_keeps_its_rate(server, loadtest):
    # As any server is loaded: without its process and folders.
    plain = [part for pair in zip(*[iter(target(server))] * 2) if pair[0] not in ("--pid", "--folder") for part in pair]
    done = loadtest("run", *plain, *SMALL, "--scenarios", "search-id", "--searches", "30", "--rate", "20", "--arrivals",
                    "even", password=server.auth[1])
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)["runs"][0]
    assert run["open_loop"] and run["requests"]["search"]["num_good"] == 30
    # The last of 30 arrivals at 20 a second is due after 1.45 s.
    assert run["seconds"] >= 1.45


def test_refusals_are_not_taken_for_speed(server, loadtest):
    done = loadtest("run", *target(server), *SMALL, "--scenarios", "store-ct", password="not the password")
    assert done.returncode == 1, done.stderr
    result = json.loads(done.stdout)
    assert result["runs"][0]["requests"]["store"]["failures"] == {"status 401": 2}
    assert result["verification"]["one"]["num_acknowledged"] == 0


def test_a_corpus_can_be_written(tmp_path, loadtest):
    done = loadtest("generate", str(tmp_path / "out"), "--count", "5", "--series", "3")
    assert done.returncode == 0, done.stderr
    datasets = [harness.dataset_of(path.read_bytes()) for path in sorted((tmp_path / "out").iterdir())]
    assert len(datasets) == len({dataset for _, dataset in datasets}) == 5
    assert {syntax for syntax, _ in datasets} == {harness.EXPLICIT_LITTLE}
    for images in json.loads(done.stdout):
        assert abs(images["ratio_copies"] / images["ratio_original"] - 1) < 0.05, images
