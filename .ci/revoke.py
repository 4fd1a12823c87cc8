#!/usr/bin/env python3
"""How soon a right that is taken away ends what is being read with it, while the server is kept busy.

    python3 .ci/revoke.py [--rounds 5]

Somebody reads a study of 60 MB slowly; then the share is taken back, the user disabled, the role taken away or the link
deleted, and the rest is read as fast as it comes. What counts is the time from the call to the end of the stream, which
includes what was in the sockets already; a stream that comes to its end whole fails. Meanwhile three clients store and search.
"""

import argparse
import pathlib
import secrets
import statistics
import sys
import threading
import time

import requests

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "clients"))

import harness  # noqa: E402
import synthetic  # noqa: E402

ROOT = "1.2.826.0.1.3680043.10.1479.700"
SIDE, IMAGES = 512, 120
PASSWORD = "a long enough password"
ACCEPT = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'}


def images(study, count, pixels):
    return [synthetic.instance(study, study + ".1", f"{study}.1.{number}", number, pixels, SIDE) for number in range(1, count + 1)]


class Site:
    def __init__(self, server):
        self.server = server
        self.sid = self.call("session/login", login=harness.USER, password=server.password)["sid"]
        self.account = self.call("account/add", name="Revoke")["uuid"]
        self.ward, self.clinic = (self.call("group/add", account_id=self.account, name=name) for name in ("Ward", "Clinic"))
        self.role = self.call("role/add", account_id=self.account, name="Reader")["uuid"]
        self.call("role/set", uuid=self.role, permissions='{"study_view": 1, "study_browse": 1, "study_download": 1}')
        self.user = self.call("user/add", account_id=self.account, first="R", last="R", email="reader@example.org", password=PASSWORD)["uuid"]
        self.join()

    def call(self, path, **data):
        if path != "session/login":
            data["sid"] = self.sid
        answer = requests.post(f"{self.server.origin}/api/v3/{path}", data=data, verify=self.server.verify, timeout=60)
        assert answer.status_code == 200, f"{path}: {answer.text}"
        return answer.json()

    def join(self):
        self.call("group/user/add", uuid=self.clinic["uuid"], user_id=self.user, role_id=self.role)

    def store(self, parts, namespace):
        content_type, body = harness.multipart(parts)
        answer = requests.post(f"{self.server.origin}/namespaces/{namespace}/dicomweb/studies", data=body, auth=self.server.auth,
                               verify=self.server.verify, headers={"Content-Type": content_type}, timeout=120)
        assert answer.status_code == 200, answer.text[:200]

    def keep_busy(self, over):
        number = secrets.randbelow(10**9)
        while not over.is_set():
            number += 1
            self.store(images(f"{ROOT}.{number}", 8, secrets.token_bytes(2 * SIDE * SIDE)), self.ward["namespace_id"])
            requests.get(f"{self.server.origin}/namespaces/{self.ward['namespace_id']}/dicomweb/studies?PatientName=*A*&limit=50",
                         auth=self.server.auth, verify=self.server.verify, timeout=60)

    def reading(self, study, namespace, auth, params, take_away):
        """Seconds from taking the right away to the end of the stream."""
        with requests.get(f"{self.server.origin}/namespaces/{namespace}/dicomweb/studies/{study}", headers=ACCEPT, auth=auth,
                          params=params, verify=self.server.verify, stream=True, timeout=60) as answer:
            assert answer.status_code == 200, answer.text[:200]
            total = 0
            for _ in range(20):
                total += len(answer.raw.read(64 << 10))
                time.sleep(0.02)
            began = time.perf_counter()
            take_away()
            try:
                while piece := answer.raw.read(256 << 10):
                    total += len(piece)
            except Exception:  # noqa: BLE001
                pass
            took = time.perf_counter() - began
        assert total < IMAGES * 2 * SIDE * SIDE, f"{total} bytes came: the stream was not ended"
        return took


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    server = harness.Server()
    over = threading.Event()
    threads = []
    try:
        server.start()
        site = Site(server)
        study, here, there = ROOT + ".1", site.ward["namespace_id"], site.clinic["namespace_id"]
        site.store(images(study, IMAGES, secrets.token_bytes(2 * SIDE * SIDE)), here)
        uuid = site.call("study/get", study_uid=study, storage_namespace=here)["uuid"]
        threads = [threading.Thread(target=site.keep_busy, args=(over,), daemon=True) for _ in range(3)]
        [thread.start() for thread in threads]
        reader = ("reader@example.org", PASSWORD)
        took = {"share taken back": [], "user disabled": [], "role taken away": [], "link deleted": []}
        for _ in range(options.rounds):
            share = lambda: site.call("study/share", uuid=uuid, group_id=site.clinic["uuid"])
            share()
            stop = lambda: site.call("study/share/stop", uuid=uuid, group_id=site.clinic["uuid"])
            took["share taken back"].append(site.reading(study, there, reader, {}, stop))
            share()
            took["user disabled"].append(site.reading(study, there, reader, {}, lambda: site.call("user/enable", uuid=site.user, disable=1)))
            site.call("user/enable", uuid=site.user)
            leave = lambda: site.call("group/user/delete", uuid=site.clinic["uuid"], user_id=site.user)
            took["role taken away"].append(site.reading(study, there, reader, {}, leave))
            site.join()
            stop()
            link = site.call("link/add", action="STUDY_VIEW", study_id=uuid, prompt_for_anonymize=0)["uuid"]
            session = requests.post(f"{server.origin}/api/v3/link/session", data={"uuid": link}, verify=server.verify, timeout=60).json()
            place = requests.post(f"{server.origin}/api/v3/session/user", data={"sid": session["sid"]}, verify=server.verify, timeout=60).json()
            seen = place["namespaces"][0]["uuid"]
            took["link deleted"].append(site.reading(study, seen, None, {"sid": session["sid"]}, lambda: site.call("link/delete", uuid=link)))
        for name, times in took.items():
            print(f"{name:18} median {1000 * statistics.median(times):6.0f} ms, longest {1000 * max(times):6.0f} ms of {len(times)}")
    finally:
        over.set()
        [thread.join(30) for thread in threads]
        server.close()


if __name__ == "__main__":
    main()
