"""What an operator does: check a configuration, import, fsck, back up and restore, fill a disk, stop under load."""

import os
import random
import shutil
import sys
import threading
import time
import pathlib

import pytest

import corpus_files
import synthetic
from harness import Server, dataset_hash

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "crash"))

pytestmark = pytest.mark.septum

SERIES = "series/ct-ge-hispeed-28"


@pytest.fixture
def own_server():
    """A server of one test's own, which may stop, break or fill it."""
    started = Server()
    try:
        started.start()
        yield started
    finally:
        started.close()


@pytest.fixture(scope="module")
def series(corpus):
    return [file for file in corpus_files.composite_and_other(corpus) if file.name.startswith(SERIES)]


def hashes(server, study) -> list[str]:
    return sorted(dataset_hash(stream) for stream in server.datasets(study))


@pytest.mark.parametrize(("settings", "named"), [
    ({"SEPTUM__SERVER__LISTNE": "127.0.0.1:1"}, ["listne"]),
    ({"SEPTUM__SERVER__TLS": "off", "SEPTUM__SERVER__LISTEN": "0.0.0.0:8443"}, ["tls"]),
    ({"SEPTUM__SERVER__TLS": "sometimes"}, ["tls"]),
    ({"SEPTUM__STORAGE__SHARDS": "0", "SEPTUM__SERVER__LISTEN": "nonsense"}, ["shards", "listen"]),
])
def test_a_wrong_configuration_is_refused_with_all_its_problems(tmp_path, settings, named):
    probe = Server(root=tmp_path, environment=settings)
    probe.work.mkdir(exist_ok=True)
    done = probe.command("config", "check", timeout_seconds=30)
    assert done.returncode != 0
    for word in named:
        assert word in (done.stdout + done.stderr).lower()


def test_help_and_version():
    probe = Server()
    probe.work.mkdir(parents=True)
    try:
        for command in ("serve", "init", "import", "fsck", "scrub", "backup", "restore", "config"):
            done = probe.command(command, "--help", timeout_seconds=30)
            assert done.returncode == 0 and "Usage" in done.stdout, command
        assert probe.command("--version").stdout.startswith("septum ")
        assert probe.command("nonsense").returncode not in (0, 1)
    finally:
        probe.close()


def test_import_is_resumable(own_server, corpus, series):
    environment = own_server.extra | {"SEPTUM_PASSWORD": own_server.password, "XDG_STATE_HOME": str(own_server.work)}
    own_server.extra = environment
    arguments = ["import", "--server", own_server.origin, "--user", "admin@localhost", "--ca", own_server.verify,
                 str(corpus / SERIES)]
    done = own_server.command(*arguments)
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-500:])
    assert hashes(own_server, series[0].study) == sorted(file.dataset_sha256 for file in series)
    began = time.monotonic()
    done = own_server.command(*arguments)
    assert done.returncode == 0 and "already there" in done.stdout, done.stdout
    assert time.monotonic() - began < 20
    # What the server has not any more is sent again, whatever was noted here.
    assert own_server.request("DELETE", own_server.path(series[0].study)).status_code < 300
    done = own_server.command(*arguments)
    assert done.returncode == 0 and "was gone" in done.stdout, done.stdout
    assert hashes(own_server, series[0].study) == sorted(file.dataset_sha256 for file in series)


def test_import_says_what_the_server_said_and_what_it_left_behind(own_server, tmp_path, series):
    import io
    import zipfile

    own_server.extra = own_server.extra | {"SEPTUM_PASSWORD": own_server.password, "XDG_STATE_HOME": str(own_server.work)}

    def run(path):
        return own_server.command("import", "--server", own_server.origin, "--user", "admin@localhost", "--ca",
                                  own_server.verify, str(path))

    cut = tmp_path / "cut.dcm"
    cut.write_bytes(series[0].read()[:-1000])
    done = run(cut)
    assert done.returncode == 1 and "offset" in done.stderr, (done.stdout, done.stderr)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("image.dcm", series[0].read())
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.writestr("inner.zip", inner.getvalue())
    done = run(tmp_path / "outer.zip")
    assert done.returncode == 1 and "inner.zip" in done.stderr, (done.stdout, done.stderr)


def test_fsck_finds_a_lost_partition_map_and_makes_it_anew(own_server, series):
    assert own_server.store([series[0].read()]).status_code == 200
    assert own_server.stop() == 0
    (own_server.roots["phi"] / "layout").unlink()
    done = own_server.command("fsck")
    assert done.returncode == 1 and "partition map" in done.stdout, (done.stdout, done.stderr)
    assert own_server.command("fsck", "--rebuild").returncode == 0
    own_server.start()
    assert hashes(own_server, series[0].study) == [series[0].dataset_sha256]


@pytest.mark.parametrize("root", ["phi_root", "pixel_root", "key_root"])
def test_an_unusable_root_is_named(tmp_path, root):
    probe = Server(root=tmp_path, environment={f"SEPTUM__STORAGE__{root.upper()}": "/dev/null/below"})
    probe.work.mkdir(exist_ok=True)
    for command in ("serve", "fsck"):
        done = probe.command(command, timeout_seconds=30)
        assert done.returncode == 2, command
        assert f'storage.{root} = "/dev/null/below"' in done.stderr, (command, done.stderr)


def segment_files(server) -> list[pathlib.Path]:
    return sorted((path for path in server.roots["pixel"].rglob("*") if path.is_file() and path.stat().st_size > 100_000),
                  key=lambda path: -path.stat().st_size)


def test_fsck_is_quiet_on_a_sound_store_and_finds_damage(own_server, series):
    assert own_server.store([file.read() for file in series]).status_code == 200
    assert own_server.stop() == 0
    done = own_server.command("fsck")
    assert done.returncode == 0, (done.stdout[-1000:], done.stderr[-1000:])
    path = segment_files(own_server)[0]
    data = bytearray(path.read_bytes())
    # All over the largest file: some of it may be of objects that were made denser, and lies there for nobody.
    for at in range(20_000, len(data), 50_000):
        data[at] ^= 0x10
    path.write_bytes(bytes(data))
    done = own_server.command("fsck")
    assert done.returncode != 0, "a flipped bit in a pixel segment was not found"
    own_server.start()
    statuses = {own_server.retrieve(*file.key).status_code for file in series}
    assert 404 not in statuses, "corrupt is never 'not found'"
    for file in series:
        answer = own_server.retrieve(*file.key)
        if answer.status_code == 200:
            assert hashes_of(answer) == [file.dataset_sha256], "corrupt bytes were served"
    assert any(status >= 500 for status in statuses)


def test_a_damaged_study_is_not_missing_in_silence(own_server):
    """Corrupt is never "not found" (invariant 7): searches say that they may lack studies."""
    keys = own_server.root / "key" / "keys" / "00000001.seg"
    ends = []
    for number in range(3):
        root = f"1.2.826.0.1.3680043.10.1479.78.{number}"
        sent = synthetic.instance(f"{root}.1", f"{root}.2", f"{root}.3", 1, bytes(512), 16)
        assert own_server.store([sent]).status_code == 200
        ends.append(len(keys.read_bytes().rstrip(b"\0")))
    answer = own_server.request("GET", "/studies")
    assert len(answer.json()) == 3 and "Warning" not in answer.headers
    own_server.kill()
    content = bytearray(keys.read_bytes())
    content[(ends[0] + ends[1]) // 2] ^= 1
    keys.write_bytes(content)
    own_server.start()
    answer = own_server.request("GET", "/studies")
    assert answer.status_code == 200 and len(answer.json()) == 2, answer.text[:300]
    assert "damaged" in answer.headers["Warning"]
    answer = own_server.request("GET", "/studies", params={"PatientName": "nobody"})
    assert answer.status_code == 204 and "damaged" in answer.headers["Warning"]
    assert own_server.metrics()["septum_studies_left_out"] == 1


def hashes_of(answer) -> list[str]:
    from harness import parts_of

    try:
        return [dataset_hash(stream) for _, stream in parts_of(answer.headers["Content-Type"], answer.content)]
    except AssertionError:
        return ["cut short"]


def test_backup_and_restore_on_an_empty_machine(own_server, series, tmp_path):
    assert own_server.store([file.read() for file in series[:14]]).status_code == 200
    done = own_server.command("backup", str(tmp_path / "backup"))
    assert done.returncode == 0, (done.stdout[-500:], done.stderr[-500:])
    # Stored after the backup: not in it.
    assert own_server.store([file.read() for file in series[14:]]).status_code == 200
    other = Server()
    try:
        other.work.mkdir(parents=True)
        other.password = own_server.password
        other.auth = own_server.auth
        done = other.command("restore", str(tmp_path / "backup"))
        assert done.returncode == 0, (done.stdout[-500:], done.stderr[-500:])
        # The root key is not part of a backup, or the backup would not need it.
        done = other.command("fsck")
        assert done.returncode == 1 and "root key is missing" in done.stdout, (done.stdout, done.stderr)
        shutil.copy(own_server.root / "key" / "root.key", other.root / "key" / "root.key")
        other.start()
        assert hashes(other, series[0].study) == sorted(file.dataset_sha256 for file in series[:14])
        assert other.stop() == 0
        assert other.command("restore", str(tmp_path / "backup")).returncode != 0, "restored over a store in use"
        assert other.command("fsck").returncode == 0
        for inside in (other.roots["pixel"] / "backup", other.roots["pixel"].parent):
            done = other.command("backup", str(inside))
            assert done.returncode == 2 and "inside each other" in done.stderr, (done.stdout, done.stderr)
    finally:
        other.close()


def test_a_backup_that_rots_is_noticed(own_server, series, tmp_path):
    assert own_server.store([file.read() for file in series[:5]]).status_code == 200
    assert own_server.command("backup", str(tmp_path / "backup")).returncode == 0
    copy = max((tmp_path / "backup" / "pixel").rglob("*.seg"), key=lambda path: path.stat().st_size)
    clean = copy.read_bytes()
    copy.write_bytes(clean[:500] + bytes([clean[500] ^ 1]) + clean[501:])
    other = Server()
    try:
        other.work.mkdir(parents=True)
        for _ in range(2):
            # The second time the same: nothing was left in the roots.
            done = other.command("restore", str(tmp_path / "backup"))
            assert done.returncode == 2 and str(copy) in done.stderr, (done.stdout, done.stderr)
        done = own_server.command("backup", str(tmp_path / "backup"))
        assert done.returncode == 1 and str(copy) in done.stdout, (done.stdout, done.stderr)
        assert own_server.command("backup", str(tmp_path / "backup")).returncode == 0
        assert other.command("restore", str(tmp_path / "backup")).returncode == 0
    finally:
        other.close()


def test_a_full_disk_answers_507_and_recovers(tmp_path, seed):
    """On a small disk of its own; a ballast file takes the rest of the space and gives it back."""
    if os.geteuid() != 0 or not shutil.which("losetup"):
        pytest.fail("needs root and loop devices, which the build machine has")
    from power_cut import Disk
    from synthetic import instance

    source = random.Random(seed)

    def image(number: int) -> bytes:
        return instance("1.2.826.0.1.3680043.10.1479.9", "1.2.826.0.1.3680043.10.1479.9.1",
                        f"1.2.826.0.1.3680043.10.1479.9.1.{number}", number, source.randbytes(512 * 512 * 2), 512)

    disk = Disk(tmp_path, 512 << 20)
    disk.attach(cached=False)
    server = Server(root=disk.mounted / "septum")
    server.log = tmp_path / "server.log"
    try:
        server.start()
        stored = {}
        for number in range(1, 5):
            data = image(number)
            assert server.store([data]).status_code == 200
            stored[number] = dataset_hash(data)
        ballast = disk.mounted / "ballast"
        with open(ballast, "wb") as file:
            try:
                while True:
                    os.write(file.fileno(), bytes(1 << 20))
            except OSError:
                pass
        answers = set()
        for number in range(5, 60):
            data = image(number)
            answer = server.store([data])
            answers.add(answer.status_code)
            if answer.status_code == 200:
                stored[number] = dataset_hash(data)
            if answer.status_code == 507:
                break
        assert 507 in answers, answers
        assert server.alive()
        assert len(server.datasets("1.2.826.0.1.3680043.10.1479.9")) == len(stored)
        ballast.unlink()
        for _ in range(50):
            data = image(100)
            if server.store([data]).status_code == 200:
                stored[100] = dataset_hash(data)
                break
            time.sleep(0.2)
        assert 100 in stored, "no recovery within 10 s after space came back"
        server.kill()
        server.start()
        assert hashes(server, "1.2.826.0.1.3680043.10.1479.9") == sorted(stored.values())
        assert server.stop() == 0
    finally:
        server.kill()
        disk.detach()


def test_sigterm_under_load_loses_nothing(own_server, tmp_path, seed):
    from oracle import Check, Ledger, Load

    ledger = Ledger(tmp_path / "ledger")
    with Load(own_server, ledger, seed) as load:
        time.sleep(1.5)
        stopper = threading.Thread(target=load.stop)
        began = time.monotonic()
        code = own_server.stop()
        stopper.start()
    assert code == 0 and time.monotonic() - began < 15
    assert ledger.acked
    own_server.start()
    check = Check()
    check.run(own_server, ledger)
    assert check.ok, (str(check), check.examples)


def test_metrics_and_health(own_server, series):
    import requests

    assert own_server.store([series[0].read()]).status_code == 200
    own_server.datasets(*series[0].key)
    origin = f"http://127.0.0.1:{own_server.admin_port}"
    assert requests.get(origin + "/healthz", timeout=5).status_code == 200
    assert requests.get(origin + "/readyz", timeout=5).status_code == 200
    names = {name.split("{")[0] for name in own_server.metrics()}
    wanted = {"septum_stage_duration_seconds_bucket", "septum_stage_blocked_seconds_total", "septum_stage_credits",
              "septum_ingest_bytes_total", "septum_instances_total", "septum_pipeline_restarts_total",
              "septum_http_requests_total", "septum_http_request_duration_seconds_bucket", "septum_memory_permits_bytes",
              "septum_commit_batch_instances_bucket", "septum_fsync_duration_seconds_bucket", "septum_storage_bytes",
              "septum_densify_queue"}
    assert wanted <= names, wanted - names


def test_dashboards_and_alerts_name_only_metrics_that_exist(own_server, series):
    import json
    import re

    from harness import TOP

    own_server.store([series[0].read()])
    names = {re.sub(r"_(bucket|sum|count)$", "", name.split("{")[0]) for name in own_server.metrics()}
    dashboard = json.loads((TOP / "config" / "dashboards" / "septum.json").read_text())
    text = json.dumps(dashboard) + (TOP / "config" / "alerts" / "septum.yml").read_text()
    used = {re.sub(r"_(bucket|sum|count)$", "", name) for name in re.findall(r"\bseptum_[a-z_]+\b", text)}
    assert used <= names, used - names
