"""What happens to studies over time: frozen, corrected and added to, shared again, waiting; by V3 and DICOMweb alike."""

import json
import time

import pytest
import requests
from ambra_sdk.exceptions.service import NotFound, NotPermitted

import harness
import synthetic
from test_guards import with_role
from test_sharing import FLAGS, PASSWORD, Side, link_session, upload
from vendor import api

ROOT = "1.2.826.0.1.3680043.10.1479.93"


@pytest.fixture(scope="module")
def side(server, sdk, admin):
    return Side(server, sdk, admin, "Studies")


@pytest.fixture(scope="module")
def other(server, sdk, admin):
    return Side(server, sdk, admin, "Others")


def call(server, sid, path, **parameters):
    answer = requests.post(f"{server.origin}/api/v3/{path}", data={"sid": sid} | parameters, verify=server.verify, timeout=60)
    return answer.json()


def store(side, *streams):
    content_type, body = harness.multipart(streams)
    return requests.post(f"{side.server.origin}/namespaces/{side.namespace}/dicomweb/studies", data=body, timeout=60,
                         auth=(side.email, PASSWORD), verify=side.server.verify,
                         headers={"Content-Type": content_type, "Accept": "application/dicom+json"})


def image(study, number, **changed):
    stream = synthetic.instance(study, study + ".1", f"{study}.1.{number}", number, bytes(2 * 16 * 16), 16)
    for before, after in changed.values():
        assert before in stream and len(before) == len(after)
        stream = stream.replace(before, after)
    return stream


def delete(side, path):
    return requests.delete(f"{side.server.origin}/namespaces/{side.namespace}/dicomweb{path}", verify=side.server.verify,
                           auth=(side.email, PASSWORD), timeout=60)


def names_of(side, study):
    return {one["00100010"]["Value"][0]["Alphabetic"] for one in side.web(f"/studies/{study}/metadata").json()}


def until(what, condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def test_a_frozen_study_is_frozen_at_every_door(server, sdk, admin, side, other):
    study = f"{ROOT}.1"
    uuid = upload(side, study)
    side.api.Study.share(uuid=uuid, group_id=other.group.uuid).get()
    admin.ok("study/freeze", uuid=uuid)
    assert admin.error("study/freeze", uuid=uuid)[0] == "ALREADY"
    for path in (f"/studies/{study}", f"/studies/{study}/series/{study}.1", f"/studies/{study}/series/{study}.1/instances/{study}.1.1"):
        assert delete(side, path).status_code == 409, path
    # The same again is there already; what is new is refused.
    assert store(side, image(study, 1)).status_code == 200
    refused = store(side, image(study, 2))
    assert refused.status_code == 409 and "frozen" in refused.text and 0x0124 == refused.json()["00081198"]["Value"][0]["00081197"]["Value"][0]
    assert side.studies()[study].image_count == 1
    for path, parameters in (("study/set", {"uuid": uuid, "patient_name": "A^B"}), ("study/set", {"uuid": uuid, "integration_key": "K"}),
                             ("study/delete", {"uuid": uuid}), ("study/share", {"uuid": uuid, "group_id": other.group.uuid}),
                             ("study/comment/add", {"study_id": uuid, "body": "b"}),
                             ("annotation/add", {"study_id": uuid, "series_uid": "1", "instance_uid": "1", "frame_number": 1, "json": "[]"})):
        assert admin.error(path, **parameters)[0] == "NOT_PERMITTED", path
    shown = admin.ok("study/get", uuid=uuid)
    assert (shown["is_frozen"], shown["permissions"]["study_edit"], shown["permissions"]["study_view"]) == (1, 0, 1)
    theirs = other.studies()[study]
    assert theirs.is_frozen == 1
    with pytest.raises(NotPermitted):
        other.api.Study.delete(uuid=theirs.uuid).get()
    answer = requests.delete(f"{server.origin}/api/v3/storage/study/{side.namespace}/{study}", params={"sid": side.api.sid},
                             verify=server.verify, timeout=60)
    assert answer.status_code in (403, 409), answer.text
    admin.ok("study/freeze", uuid=uuid, thaw=1)
    assert other.studies()[study].is_frozen == 0
    assert store(side, image(study, 2)).status_code == 200
    assert delete(side, f"/studies/{study}").status_code == 204


def test_nobody_sets_what_calls_of_their_own_set(server, sdk, side):
    uuid = upload(side, f"{ROOT}.2")
    theirs, *_ = with_role(server, sdk, side, "Uploader", {"study_upload": 1, "study_view": 1, "study_browse": 1})
    protected = {"is_frozen": 1, "must_approve": 1, "study_status": "X", "share_message": "boo"}
    assert call(server, theirs.sid, "study/set", study_id=uuid, **protected)["status"] == "OK"
    shown = side.api.Study.get(uuid=uuid).get()
    assert (shown.is_frozen, shown.must_approve, shown.study_status, shown.share_message) == (0, 0, None, None)
    assert call(server, theirs.sid, "study/set", study_id=uuid, thin=1)["error_type"] == "NOT_PERMITTED"


def test_narrowed_editing_needs_no_notes(server, sdk, side):
    uuid = upload(side, f"{ROOT}.3")
    theirs, *_ = with_role(server, sdk, side, "Narrow", {"study_edit": 1, "study_edit_unapproved": 1, "study_view": 1, "study_browse": 1})
    assert call(server, theirs.sid, "study/set", study_id=uuid, patient_name="A^B")["error_type"] == "NOT_PERMITTED"
    theirs, *_ = with_role(server, sdk, side, "Approving", {"study_edit": 1, "study_edit_approved": 1, "study_view": 1, "study_browse": 1})
    assert call(server, theirs.sid, "study/set", study_id=uuid, patient_name="A^B")["status"] == "OK"


def test_images_that_come_later_are_corrected_too(server, sdk, admin, side):
    study = f"{ROOT}.4"
    uuid = upload(side, study)
    admin.ok("study/set", study_id=uuid, patient_name="Alpha^Fixed", reason="a mistake")
    assert store(side, image(study, 2), image(study, 3)).status_code == 200
    until("late images were not corrected", lambda: names_of(side, study) == {"Alpha^Fixed"})
    assert len(side.web(f"/studies/{study}/metadata").json()) == 3
    assert [one["00201208"]["Value"][0] for one in side.web("/studies?PatientName=Alpha*").json()] == [3]
    # A second correction joins the first.
    admin.ok("study/set", study_id=uuid, study_description="Said later")
    assert store(side, image(study, 4)).status_code == 200
    until("a late image was not corrected", lambda: all(
        one.get("00081030", {}).get("Value") == ["Said later"] for one in side.web(f"/studies/{study}/metadata").json()))
    assert names_of(side, study) == {"Alpha^Fixed"} and side.studies()[study].image_count == 4


def test_sharing_again_keeps_what_the_receiver_corrected(server, sdk, admin, side, other):
    study = f"{ROOT}.5"
    uuid = upload(side, study)
    side.api.Study.share(uuid=uuid, group_id=other.group.uuid, message="look here").get()
    theirs = other.studies()[study]
    assert theirs.share_message == "look here"
    admin.ok("study/set", study_id=theirs.uuid, patient_name="Bravo^Own")
    assert names_of(other, study) == {"Bravo^Own"}
    side.api.Study.share(uuid=uuid, group_id=other.group.uuid, message="look here").get()
    assert names_of(other, study) == {"Bravo^Own"}
    assert store(side, image(study, 2)).status_code == 200
    side.api.Study.share(uuid=uuid, group_id=other.group.uuid, message="look here").get()
    assert other.studies()[study].image_count == 2 and names_of(other, study) == {"Bravo^Own"}
    assert names_of(side, study) == {"QUICKSILVER^CANARY"}


def test_what_waits_can_be_read_by_who_approves(sdk, side, other):
    study = f"{ROOT}.6"
    uuid = upload(side, study)
    sdk.Group.set(uuid=other.group.uuid, must_approve=1).get()
    try:
        side.api.Study.share(uuid=uuid, group_id=other.group.uuid, message="please").get()
        waiting = other.studies()[study]
        shown = other.api.Study.get(uuid=waiting.uuid).get()
        assert (shown.must_approve, shown.share_message, shown.patient_name) == (1, "please", "QUICKSILVER^CANARY")
        with pytest.raises(NotFound):
            side.api.Study.get(uuid=waiting.uuid).get()
        answer = call(other.server, other.api.sid, "study/approve", uuid=waiting.uuid, must_match=json.dumps({"patientid": "X"}))
        assert answer["error_type"] == "NOT_SUPPORTED"
        other.api.Study.reject(uuid=waiting.uuid).get()
    finally:
        sdk.Group.set(uuid=other.group.uuid, must_approve=0).get()


def test_modalities_times_comments_and_counts(server, sdk, admin, side):
    study = f"{ROOT}.7"
    uuid = upload(side, study)
    created = side.api.Study.get(uuid=uuid).get().created
    time.sleep(1.1)
    second = image(study, 2, modality=(b"CS\x02\x00CT", b"CS\x02\x00MR"), series=((study + ".1\0").encode(), (study + ".2\0").encode())) \
        if len(study + ".1") % 2 else image(study, 2, modality=(b"CS\x02\x00CT", b"CS\x02\x00MR"), series=((study + ".1" + "\x20").encode(), (study + ".2" + "\x20").encode()))
    assert store(side, second).status_code == 200
    admin.ok("study/star", uuid=uuid, star=1)
    admin.ok("study/comment/add", study_id=uuid, body="Well")
    shown = admin.ok("study/get", uuid=uuid)
    assert shown["created"] == created and shown["updated"] > created
    assert [one["body"] for one in shown["comments"]] == ["Well"] and shown["attachment_count"] == 0
    assert shown["modality"] == "CT\\MR"
    for name, value in (("equals", "MR"), ("equals", "CT"), ("like", "M%"), ("in", '["MR"]')):
        found = admin.ok("study/list", **{f"filter.modality.{name}": value, "filter.study_uid.equals": study})
        assert len(found["studies"]) == 1, (name, value)
    for words, count in (("quicksilver", 1), ("canary crash-1", 1), ("quicksilver nothing", 0)):
        found = admin.ok("study/list", **{"filter.SMART_SEARCH.equals": words, "filter.study_uid.equals": study})
        assert len(found["studies"]) == count, words
    assert admin.error("study/list", **{"filter.tz": "Mars/X"})[0] == "INVALID_CONDITION"
    assert admin.ok("study/list", **{"filter.tz": "Europe/Moscow", "filter.created.gt": "2020-01-01"})["studies"]
    admin.ok("user/set", time_zone="America/New_York")
    admin.ok("user/set", time_zone="")
    admin.ok("study/status/set", study_id=uuid, new="READ")
    assert admin.error("study/status/set", study_id=uuid, old="X", new="AGAIN")[0] == "STALE"
    assert admin.ok("study/exists", study_uid=study, account_id=side.account)["exists"] == 1
    assert admin.ok("study/exists", study_uid=study + ".9", account_id=side.account)["exists"] == 0


def test_custom_fields_keep_their_rights(server, sdk, side):
    uuid = upload(side, f"{ROOT}.8")
    field = sdk.Customfield.add(account_id=side.account, object="Study", name="Ward", type="text").get().uuid
    for letter in "OH":
        theirs, *_ = with_role(server, sdk, side, f"Field{letter}", FLAGS | {"study_edit": 1, f"study_field_customfield_{field}": letter})
        answer = call(server, theirs.sid, "study/set", study_id=uuid, **{f"customfield-{field}": "CHANGED"})
        assert answer["error_type"] == "NOT_PERMITTED", answer
    theirs, *_ = with_role(server, sdk, side, "FieldR", FLAGS | {"study_edit": 1, "study_field_patientid": "R"})
    assert call(server, theirs.sid, "study/set", study_id=uuid, patientid="")["error_type"] == "MISSING_FIELDS"


def test_links_take_what_is_said_of_them(server, sdk, side):
    uuid = upload(side, f"{ROOT}.9")

    def add(**parameters):
        return call(server, sdk.sid, "link/add", study_id=uuid, action="STUDY_VIEW", **parameters)

    first, second = add(password="first-pw"), add(password="second-pw")
    assert first["uuid"] != second["uuid"] and add(password="first-pw")["uuid"] == first["uuid"]
    assert link_session(server, second["uuid"], password="second-pw").json()["status"] == "OK"
    once = add(max_hits=1)
    assert link_session(server, once["uuid"]).json()["status"] == "OK"
    again = add(max_hits=1)
    assert again["uuid"] != once["uuid"] and link_session(server, again["uuid"]).json()["status"] == "OK"
    for name in ("anonymize", "upload_match", "pin_auth", "password_is_dob"):
        assert add(**{name: "1"})["error_type"] == "NOT_SUPPORTED", name
    assert call(server, sdk.sid, "link/add", study_id=uuid, action="DANCE")["error_type"] == "INVALID_ACTION"


def test_visitors_by_link_have_nothing_of_their_own(server, sdk, side):
    uuid = upload(side, f"{ROOT}.10")
    link = call(server, sdk.sid, "link/add", study_id=uuid, action="STUDY_VIEW")["uuid"]
    sid = link_session(server, link).json()["sid"]
    for path, parameters in (("user/delete", {}), ("user/set", {"email": "victim@example.org"}), ("setting/set", {"key": "a", "value": "b"}),
                             ("filter/add", {"type": "x", "name": "y", "configuration": "{}"}), ("message/add", {"body": "b", "user_id": side.user})):
        assert call(server, sid, path, **parameters)["error_type"] == "NOT_PERMITTED", path
    assert len(call(server, sid, "study/list")["studies"]) == 1
    assert link_session(server, link).json()["status"] == "OK"


def test_users_share_codes_and_duplicates_without_patients(server, sdk, admin, side, other):
    uuid = upload(side, f"{ROOT}.11")
    theirs = api(server, other.email, PASSWORD)
    assert call(server, theirs.sid, "user/set", share_code="myc0de")["status"] == "OK"
    assert admin.ok("namespace/share_code", share_code="myc0de")["share_type"] == "user"
    admin.ok("study/share", uuid=uuid, share_code="myc0de")
    assert [one["patientid"] for one in call(server, theirs.sid, "study/list", **{"filter.source.equals": "share"})["studies"]].count("CRASH-1") >= 1
    assert admin.error("study/duplicate", uuid=uuid, namespace_id=other.namespace, exclude_phi=1) == ("NOT_SUPPORTED", "exclude_phi")
