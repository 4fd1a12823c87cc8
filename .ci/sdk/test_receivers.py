"""Who shares with whom, what receivers ask for, and shares of studies that have not come yet."""

import csv
import io
import time
import zipfile

import pydicom
import pytest
import requests

import harness
import vendor
from conftest import Caller
from test_sharing import PASSWORD, Side, upload

ROOT = "1.2.826.0.1.3680043.10.1479.95"
PATIENCE_SECONDS = 120


@pytest.fixture(scope="module")
def sides(server, sdk, admin):
    return [Side(server, sdk, admin, name) for name in ("Giver", "Taker")]


def caller(admin, side):
    return admin.signed_in(side.email, PASSWORD)


def test_rules_say_who_shares_with_whom(admin, sides):
    giver, taker = sides
    mine = caller(admin, giver)
    study = upload(giver, f"{ROOT}.1")
    one, other = (admin.ok("group/add", account_id=giver.account, name=name)["uuid"] for name in ("One", "Other"))
    rule = {"account_id": giver.account, "by_type": "user", "by_id": giver.user, "with_type": "group", "with_id": one}
    assert admin.error("account/can/share", **rule | {"by_type": "hat"}) == ("INVALID_TYPE", "by_type")
    assert admin.error("account/can/share", **rule | {"by_id": taker.user})[0] == "BY_NOT_FOUND"
    assert admin.error("account/can/share", **rule | {"with_id": giver.account})[0] == "WITH_NOT_FOUND"
    assert mine.error("account/can/share", **rule)[0] == "NOT_PERMITTED"
    mine.ok("study/share", uuid=study, group_id=other)
    mine.ok("study/share/stop", uuid=study, group_id=other)
    for _ in range(2):
        admin.ok("account/can/share", **rule)
    named, = admin.ok("account/can/share/list", account_id=giver.account)["rules"]
    assert {"by_name": "Giver One", "with_name": "One"}.items() <= named.items()
    assert mine.error("study/share", uuid=study, group_id=other)[0] == "NOT_PERMITTED"
    assert mine.error("study/share", uuid=study, group_id=taker.group.uuid)[0] == "NOT_PERMITTED"
    assert [who["uuid"] for who in mine.ok("study/share/who", uuid=study, type="group")["shares"]] == [one]
    mine.ok("study/share", uuid=study, group_id=one)
    admin.ok("study/share", uuid=study, group_id=other)
    admin.ok("account/can/share", **rule | {"with_type": "account", "with_id": taker.account})
    mine.ok("study/share", uuid=study, group_id=taker.group.uuid)
    for row in admin.ok("account/can/share/list", account_id=giver.account)["rules"]:
        admin.ok("account/can/share/stop", account_id=giver.account,
                 **{name: row[name] for name in ("by_type", "by_id", "with_type", "with_id")})
    assert admin.ok("account/can/share/list", account_id=giver.account)["rules"] == []
    mine.ok("study/share/stop", uuid=study, group_id=one)
    mine.ok("study/share", uuid=study, group_id=one)


def test_a_study_is_shared_before_it_comes(admin, sides):
    giver, taker = sides
    mine, uid = caller(admin, giver), f"{ROOT}.2"
    triplet = {"study_uid": uid, "storage_namespace": giver.namespace, "phi_namespace": giver.namespace}
    assert mine.error("study/share", group_id=giver.group.uuid, **triplet) == ("SHARE_FAILED", "SAME")
    for _ in range(2):
        mine.ok("study/share", group_id=taker.group.uuid, message="soon", **triplet)
    assert taker.studies() == {} or uid not in taker.studies()
    announced = mine.ok("study/add", **triplet)["uuid"]
    # Who names it by its id means what is here.
    assert mine.error("study/share", uuid=announced, group_id=taker.group.uuid)[0] == "PHANTOM"
    upload(giver, uid)
    mine.ok("study/sync", image_count=1, study_id=announced)
    shared = taker.studies()[uid]
    assert (shared.source, shared.share_message, shared.image_count) == ("share", "soon", 1)
    # Once: what is stopped stays so.
    mine.ok("study/share/stop", uuid=announced, group_id=taker.group.uuid)
    mine.ok("study/sync", image_count=1, study_id=announced)
    assert uid not in taker.studies()


def test_receivers_take_nothing_twice(admin, sides):
    giver, taker = sides
    mine, uid = caller(admin, giver), f"{ROOT}.4"
    study = upload(giver, uid)
    admin.ok("namespace/settings", uuid=taker.namespace, no_dup_share=1)
    try:
        upload(taker, uid)
        assert mine.error("study/share", uuid=study, group_id=taker.group.uuid) == ("SHARE_FAILED", "NO_DUP_SHARE")
        # With another number of images it is no duplicate.
        upload(giver, uid, 2)
        for _ in range(2):
            mine.ok("study/share", uuid=study, group_id=taker.group.uuid)
    finally:
        admin.ok("namespace/settings", uuid=taker.namespace, no_dup_share=0)


def test_related_studies_go_along(admin, sides):
    giver, taker = sides
    mine = caller(admin, giver)
    group = admin.ok("group/add", account_id=taker.account, name="Related")
    admin.ok("namespace/settings", uuid=group["namespace_id"], share_related=1)
    uuids = [upload(giver, f"{ROOT}.5.{number}") for number in (1, 2)]
    admin.ok("study/set", study_id=uuids[0], patientid="SAME-1")
    admin.ok("study/set", study_id=uuids[1], patientid="SAME-1")
    mine.ok("study/share", uuid=uuids[0], group_id=group["uuid"])
    theirs = admin.ok("study/list", filter__phi_namespace__equals=group["namespace_id"])["studies"]
    assert sorted(one["study_uid"] for one in theirs) == [f"{ROOT}.5.1", f"{ROOT}.5.2"]


def test_nothing_is_shared_into_a_namespace_that_says_so(admin, sides):
    giver, taker = sides
    mine, study = caller(admin, giver), upload(giver, f"{ROOT}.6")
    admin.ok("group/set", uuid=taker.group.uuid, no_share=1)
    try:
        assert mine.error("study/share", uuid=study, group_id=taker.group.uuid)[0] == "NOT_PERMITTED"
    finally:
        admin.ok("group/set", uuid=taker.group.uuid, no_share=0)
    mine.ok("study/share", uuid=study, group_id=taker.group.uuid)


def test_downloads_lose_what_the_namespace_says(server, admin, sides):
    giver, _ = sides
    uid = f"{ROOT}.7"
    upload(giver, uid)
    wrong = admin.error("namespace/settings", uuid=giver.namespace, download_anonymize="x")
    assert wrong == ("INVALID_SETTING_VALUE", "download_anonymize")
    admin.ok("namespace/settings", uuid=giver.namespace, download_anonymize="1048592=NOBODY,1048608=__DELETE__")
    try:
        def download(**parameters):
            return requests.get(f"{server.origin}/api/v3/storage/study/{giver.namespace}/{uid}/download", timeout=60,
                                params={"sid": admin.sid, **parameters}, verify=server.verify)

        # What is asked for does not win.
        answer = download(bundle="dicom", anonymize_tags="1048592=QUICKSILVER")
        assert answer.status_code == 200 and b"QUICKSILVER" not in answer.content
        with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
            name, = (name for name in files.namelist() if name != "DICOMDIR" and not name.endswith("/") and "DICOMDIR" not in name)
            image = pydicom.dcmread(io.BytesIO(files.read(name)))
            assert image.PatientName == "NOBODY" and not image.get("PatientID")
        assert download(bundle="iso").status_code == 406
    finally:
        admin.ok("namespace/settings", uuid=giver.namespace, download_anonymize="")


def test_what_is_not_thin_is_not_retrieved(admin, sides):
    giver, _ = sides
    study = upload(giver, f"{ROOT}.8")
    assert admin.error("study/retrieve", uuid=study)[0] == "NOT_THIN"
    place = {"storage_namespace": giver.namespace, "phi_namespace": giver.namespace, "thin": 1}
    thin = admin.ok("study/add", study_uid=f"{ROOT}.9", **place)["uuid"]
    assert admin.error("study/retrieve", uuid=thin)[0] == "MISSING_INFO"
    thin = admin.ok("study/add", study_uid=f"{ROOT}.10", accession_number="A1", **place)["uuid"]
    assert admin.error("study/retrieve", uuid=thin)[0] == "NO_QUERY_DESTINATION"


def test_an_accounts_studies_are_reported(server, admin, sides):
    giver, taker = sides
    upload(giver, f"{ROOT}.11")
    assert admin.error("study/report/detail", account_id=giver.account, limit=0)[0] == "REPORT_ERROR"
    report = admin.ok("study/report/detail", account_id=giver.account, filter__study_uid__equals=f"{ROOT}.11")["report_id"]
    assert admin.ok("report/status", report_id=report)["percent"] == 100
    mine = caller(admin, giver)
    assert mine.error("report/status", report_id=report)[0] == "NOT_FOUND"

    def fetched(who):
        return requests.post(f"{server.origin}/api/v3/report/zip", data={"sid": who, "report_id": report}, timeout=60,
                             verify=server.verify)

    answer = fetched(admin.sid)
    assert answer.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as files:
        rows = list(csv.DictReader(io.StringIO(files.read("report.csv").decode())))
    assert [(row["study_uid"], row["patient_name"]) for row in rows] == [(f"{ROOT}.11", "QUICKSILVER^CANARY")]
    assert fetched(mine.sid).status_code == 404 and fetched("x").status_code == 401


def test_a_study_that_nobody_announces_is_shared_once_it_is_quiet():
    server = harness.Server(environment={"SEPTUM__PIPELINE__STABLE_AFTER_S": "2"})
    try:
        server.start()
        vendor.trust(server)
        root = Caller(server).signed_in(harness.USER, server.password)
        giver, taker = (Side(server, vendor.api(server), root, name) for name in ("Quiet", "Patient"))
        uid = f"{ROOT}.3"
        caller(root, giver).ok("study/share", group_id=taker.group.uuid, study_uid=uid,
                               storage_namespace=giver.namespace, phi_namespace=giver.namespace)
        for number in (1, 2):
            upload(giver, uid, number)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while uid not in (studies := taker.studies()):
            assert time.monotonic() < deadline, server.log_tail()
            time.sleep(0.2)
        assert studies[uid].image_count == 2
        assert server.stop() == 0
    finally:
        server.close()
