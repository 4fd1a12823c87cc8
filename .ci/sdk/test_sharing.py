"""Sharing, approving, duplicating and moving, by the vendor's client and seen through DICOMweb too."""

import json

import pytest
import requests
from ambra_sdk.exceptions.service import AlreadyExists, InvalidParameters, NotFound, NotPermitted, ShareFailed
from ambra_sdk.service.filtering import Filter, FilterCondition

import harness
import synthetic
from vendor import api

ROOT = "1.2.826.0.1.3680043.10.1479.91"
PASSWORD = "a long enough password"
FLAGS = {"study_share": 1, "study_share_group": 1, "study_share_account": 1, "study_view": 1, "study_browse": 1,
         "study_upload": 1, "study_approve": 1, "study_duplicate": 1, "study_move": 1, "study_delete": 1}


class Side:
    """An account with a group and somebody who has a role there."""

    def __init__(self, server, sdk, admin, name):
        self.server, self.account = server, admin.ok("account/add", name=name)["uuid"]
        role = sdk.Role.add(account_id=self.account, name="Sharer").get().uuid
        sdk.Role.set(uuid=role, permissions=json.dumps(FLAGS)).get()
        self.group = sdk.Group.add(account_id=self.account, name=f"{name} group").get()
        self.email = f"{name.lower()}@example.org"
        self.user = sdk.User.add(account_id=self.account, first=name, last="One", email=self.email, password=PASSWORD,
                                 mobile_phone=None).get().uuid
        sdk.Group.user_add(uuid=self.group.uuid, user_id=self.user, role_id=role).get()
        self.api = api(server, self.email, PASSWORD)

    @property
    def namespace(self):
        return self.group.namespace_id

    def studies(self):
        query = self.api.Study.list().filter_by(Filter("phi_namespace", FilterCondition.equals, self.namespace))
        return {study.study_uid: study for study in query.all()}

    def web(self, path):
        return requests.get(f"{self.server.origin}/namespaces/{self.namespace}/dicomweb{path}", verify=self.server.verify,
                            auth=(self.email, PASSWORD), headers={"Accept": "application/dicom+json"}, timeout=60)


@pytest.fixture(scope="module")
def sides(server, sdk, admin):
    return [Side(server, sdk, admin, name) for name in ("Sender", "Receiver")]


def upload(side, study, number=1):
    stream = synthetic.instance(study, study + ".1", f"{study}.1.{number}", number, bytes(2 * 16 * 16), 16)
    content_type, body = harness.multipart([stream])
    answer = requests.post(f"{side.server.origin}/namespaces/{side.namespace}/dicomweb/studies", data=body,
                           auth=(side.email, PASSWORD), verify=side.server.verify, timeout=60,
                           headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
    assert answer.status_code == 200, answer.text
    return side.studies()[study].uuid


def test_a_share_comes_and_goes(sides):
    sender, receiver = sides
    study = f"{ROOT}.1"
    uuid = upload(sender, study)
    assert receiver.web(f"/studies/{study}/metadata").status_code == 404
    for _ in range(2):
        sender.api.Study.share(uuid=uuid, group_id=receiver.group.uuid, message="look").get()
    theirs = receiver.studies()
    assert list(theirs) == [study]
    shared = theirs[study]
    assert (shared.source, shared.phi_namespace, shared.storage_namespace) == ("share", receiver.namespace, sender.namespace)
    assert (shared.patient_name, shared.image_count) == ("QUICKSILVER^CANARY", 1)
    assert receiver.web(f"/studies/{study}/metadata").json()[0]["00100010"]["Value"][0]["Alphabetic"] == "QUICKSILVER^CANARY"
    assert len(receiver.web("/studies").json()) == 1
    frame = requests.get(f"{receiver.server.origin}/namespaces/{receiver.namespace}/dicomweb/studies/{study}/series/{study}.1"
                         f"/instances/{study}.1.1/frames/1", verify=receiver.server.verify, auth=(receiver.email, PASSWORD),
                         headers={"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'},
                         timeout=60)
    assert frame.status_code == 200
    access = sender.api.Study.share_list(uuid=uuid, name=1).get()
    assert [(one.uuid, one.name, one.by) for one in access.group_id] == [(receiver.group.uuid, "Receiver group", sender.user)]
    assert [one.since for one in access.group_id][0]
    # The receiver neither sees the sender's study nor who else has it.
    with pytest.raises(NotFound):
        receiver.api.Study.get(uuid=uuid).get()
    assert receiver.api.Study.share_list(uuid=shared.uuid).get().group_id == []
    sender.api.Study.share_stop(uuid=uuid, group_id=receiver.group.uuid).get()
    assert receiver.studies() == {}
    assert receiver.web(f"/studies/{study}/metadata").status_code == 404
    with pytest.raises(NotFound):
        sender.api.Study.share_stop(uuid=uuid, group_id=receiver.group.uuid).get()
    assert sender.api.Study.share_list(uuid=uuid).get().group_id == []


def test_what_is_no_share(sides):
    sender, receiver = sides
    study = f"{ROOT}.2"
    uuid = upload(sender, study)
    with pytest.raises(ShareFailed):
        sender.api.Study.share(uuid=uuid, group_id=sender.group.uuid).get()
    with pytest.raises(InvalidParameters):
        sender.api.Study.share(uuid=uuid, group_id=receiver.group.uuid, account_id=receiver.account).get()
    with pytest.raises(NotFound):
        sender.api.Study.share(uuid=uuid, group_id=receiver.account).get()
    with pytest.raises(NotPermitted):
        sender.api.Study.share(uuid=uuid, user_id=receiver.user).get()
    with pytest.raises(NotFound):
        receiver.api.Study.share(uuid=uuid, account_id=receiver.account).get()
    sender.api.Study.delete(uuid=uuid).get()


def test_receivers_approve(sides, sdk):
    sender, receiver = sides
    sdk.Group.set(uuid=receiver.group.uuid, must_approve=1).get()
    try:
        kept, refused = f"{ROOT}.3", f"{ROOT}.4"
        uuids = {study: upload(sender, study) for study in (kept, refused)}
        for study in (kept, refused):
            for _ in range(2):
                sender.api.Study.share(uuid=uuids[study], group_id=receiver.group.uuid, message="please").get()
        waiting = receiver.studies()
        assert sorted(waiting) == [kept, refused]
        assert all((study.must_approve, study.share_message) == (1, "please") for study in waiting.values())
        assert receiver.web(f"/studies/{kept}/metadata").status_code == 404
        for _ in range(2):
            receiver.api.Study.approve(uuid=waiting[kept].uuid).get()
        receiver.api.Study.reject(uuid=waiting[refused].uuid).get()
        with pytest.raises(NotFound):
            receiver.api.Study.reject(uuid=waiting[refused].uuid).get()
        now = receiver.studies()
        assert list(now) == [kept] and now[kept].uuid == waiting[kept].uuid and not now[kept].must_approve
        assert receiver.web(f"/studies/{kept}/metadata").status_code == 200
        # The sender's study goes, the share stays.
        sender.api.Study.delete(uuid=uuids[kept]).get()
        assert receiver.web(f"/studies/{kept}/metadata").status_code == 200
        receiver.api.Study.delete(uuid=now[kept].uuid).get()
        assert receiver.studies() == {}
    finally:
        sdk.Group.set(uuid=receiver.group.uuid, must_approve=0).get()


def test_duplicates_and_moves(sides, sdk, server):
    sender, receiver = sides
    study = f"{ROOT}.5"
    uuid = upload(sender, study)
    with pytest.raises(NotFound):
        sender.api.Study.duplicate(uuid=uuid, namespace_id=receiver.namespace).get()
    sdk.Study.duplicate(uuid=uuid, namespace_id=receiver.namespace).get()
    with pytest.raises(AlreadyExists):
        sdk.Study.duplicate(uuid=uuid, namespace_id=receiver.namespace).get()
    theirs = receiver.studies()[study]
    assert theirs.storage_namespace == receiver.namespace and theirs.uuid != uuid
    upload(receiver, study, 2)
    assert receiver.studies()[study].image_count == 2 and sender.studies()[study].image_count == 1
    receiver.api.Study.delete(uuid=theirs.uuid).get()
    mark = sdk.Annotation.add(study_id=uuid, series_uid=study + ".1", instance_uid=f"{study}.1.1", frame_number=0, json="[1]").get().uuid
    sdk.Study.set(study_id=uuid, integration_key="K7").get()
    sdk.Study.move(uuid=uuid, namespace_id=receiver.namespace).get()
    moved = receiver.studies()[study]
    assert study not in sender.studies() and moved.image_count == 1 and moved.integration_key == "K7"
    # What is noted of a study goes along, and is seen from where it is now.
    annotations = sdk.Annotation.list(study_id=moved.uuid).get().annotations
    assert [(one.uuid, one.study_id) for one in annotations] == [(mark, moved.uuid)]
    with pytest.raises(NotFound):
        sender.api.Annotation.get(uuid=mark).get()
    assert receiver.web(f"/studies/{study}/metadata").status_code == 200


def link_session(server, link, **parameters):
    return requests.post(f"{server.origin}/api/v3/link/session", data={"uuid": link, **parameters}, verify=server.verify,
                         timeout=60)


def with_sid(server, sid, path, accept="application/dicom+json"):
    return requests.get(f"{server.origin}{path}", headers={"Authorization": f"Bearer {sid}", "Accept": accept},
                        verify=server.verify, timeout=60)


def test_a_link_opens_one_study(sides, server, sdk, admin):
    sender, _ = sides
    named, other = f"{ROOT}.6", f"{ROOT}.7"
    uuid = upload(sender, named)
    upload(sender, other)
    with pytest.raises(NotPermitted):
        sender.api.Link.add(study_id=uuid, action="STUDY_VIEW", prompt_for_anonymize=None).get()
    added = [sdk.Link.add(study_id=uuid, action="STUDY_VIEW", prompt_for_anonymize=0, password="tell nobody",
                          password_max_attempts=3, max_hits=2, minutes_alive=10).get() for _ in range(2)]
    link = added[0].uuid
    assert added[1].uuid == link
    listed = sdk.Link.list(study_id=uuid).all()
    assert [(one.uuid, one.has_password, one.hits) for one in listed] == [(link, 1, 0)]
    status = sdk.Link.status(uuid=link).get()
    assert (status.action, status.has_password) == ("STUDY_VIEW", 1)
    wrong = link_session(server, link, password="guessed")
    assert (wrong.status_code, wrong.json()["error_type"]) == (412, "INVALID_CREDENTIALS")
    opened = link_session(server, link, password="tell nobody")
    assert opened.status_code == 200, opened.text
    sid = opened.json()["sid"]
    # What the link names, at every door; nothing else at any.
    studies = with_sid(server, sid, "/dicomweb/studies").json()
    assert [study["0020000D"]["Value"][0] for study in studies] == [named]
    assert with_sid(server, sid, f"/dicomweb/studies/{named}/metadata").status_code == 200
    for path in (f"/dicomweb/studies/{other}/metadata", f"/namespaces/{sender.namespace}/dicomweb/studies/{named}/metadata",
                 f"/namespaces/{sender.namespace}/dicomweb/studies"):
        assert with_sid(server, sid, path).status_code == 404, path
    rows = requests.post(f"{server.origin}/api/v3/study/list", data={"sid": sid}, verify=server.verify, timeout=60).json()
    assert [row["study_uid"] for row in rows["studies"]] == [named]
    theirs = rows["studies"][0]["uuid"]
    for path in ("study/delete", "study/share/list", "study/move"):
        answer = requests.post(f"{server.origin}/api/v3/{path}", data={"sid": sid, "uuid": theirs, "namespace_id": "1"},
                               verify=server.verify, timeout=60)
        assert answer.json()["error_type"] in ("NOT_PERMITTED", "NOT_FOUND"), path
    assert link_session(server, link, password="tell nobody").status_code == 200
    assert link_session(server, link, password="tell nobody").json()["error_type"] == "NOT_FOUND"
    access = sdk.Study.share_list(uuid=uuid).get()
    assert (access.user_id, access.link_id) == ([], [link])
    sdk.Link.delete(uuid=link).get()
    assert with_sid(server, sid, "/dicomweb/studies").status_code == 401
    assert admin.error("link/get", uuid=link)[0] == "NOT_FOUND"
    assert sdk.Study.share_list(uuid=uuid).get().link_id == []


def test_a_link_goes_with_its_study(sides, server, sdk):
    sender, _ = sides
    study = f"{ROOT}.8"
    uuid = upload(sender, study)
    link = sdk.Link.add(study_id=uuid, action="STUDY_VIEW", prompt_for_anonymize=0).get().uuid
    sid = link_session(server, link).json()["sid"]
    assert with_sid(server, sid, f"/dicomweb/studies/{study}/metadata").status_code == 200
    sdk.Study.delete(uuid=uuid).get()
    assert with_sid(server, sid, f"/dicomweb/studies/{study}/metadata").status_code == 401
    assert link_session(server, link).status_code == 412


def test_wrong_passwords_lock_a_link(sides, server, sdk):
    sender, _ = sides
    uuid = upload(sender, f"{ROOT}.9")
    link = sdk.Link.add(study_id=uuid, action="STUDY_VIEW", prompt_for_anonymize=0, password="right",
                        password_max_attempts=2).get().uuid
    for _ in range(2):
        assert link_session(server, link, password="wrong").json()["error_type"] == "INVALID_CREDENTIALS"
    assert link_session(server, link, password="right").json()["error_type"] == "PIN_LOCKOUT"
    sdk.Link.delete(uuid=link).get()


def test_a_pin_stands_for_a_link(sides, server, sdk):
    sender, _ = sides
    uuid = upload(sender, f"{ROOT}.12")
    link = sdk.Link.add(study_id=uuid, action="STUDY_VIEW", prompt_for_anonymize=0).get().uuid
    first, given = sdk.Link.pin(uuid=link).get().pin, sdk.Link.pin(uuid=link).get()
    assert given.duration == 600 and given.pin.isdigit() and len(given.pin) == 9

    def by(**parameters):
        return requests.post(f"{server.origin}/api/v3/link/session", data=parameters, verify=server.verify, timeout=30)

    opened = by(pin=given.pin)
    assert opened.status_code == 200 and opened.json()["study_count"] == 1
    assert sdk.Link.status(pin=given.pin).get().action == "STUDY_VIEW"
    page = requests.get(f"{server.origin}/api/v3/link/redirect", params={"pin": given.pin}, verify=server.verify,
                        allow_redirects=False, timeout=30)
    assert page.status_code == 302 and page.headers["Location"].startswith("/viewer")
    # The next one took the first one's place.
    for wrong in ({"pin": first}, {"pin": "12345"}):
        assert by(**wrong).json()["error_type"] == "INVALID_PIN"
    assert by(pin=given.pin, uuid=link).json()["error_type"] == "ONLY_ONE"
    assert by().json()["error_type"] == "MISSING_FIELDS"
    sdk.Link.delete(uuid=link).get()
    assert by(pin=given.pin).json()["error_type"] == "NOT_FOUND"


def test_a_link_takes_uploads(sides, server, sdk):
    sender, _ = sides
    link = sdk.Link.add(namespace_id=sender.namespace, action="STUDY_UPLOAD", prompt_for_anonymize=0).get().uuid
    opened = link_session(server, link).json()
    assert (opened["action"], opened["namespace_id"]) == ("STUDY_UPLOAD", sender.namespace)
    study = f"{ROOT}.10"
    stream = synthetic.instance(study, study + ".1", f"{study}.1.1", 1, bytes(2 * 16 * 16), 16)
    content_type, body = harness.multipart([stream])
    address = f"{server.origin}/namespaces/{sender.namespace}/dicomweb/studies"
    bearer = {"Authorization": f"Bearer {opened['sid']}"}
    stored = requests.post(address, data=body, verify=server.verify, timeout=60,
                           headers=bearer | {"Content-Type": content_type, "Accept": "application/dicom+json"})
    assert stored.status_code == 200, stored.text
    assert study in sender.studies()
    # They see nothing of it.
    for path in (f"/namespaces/{sender.namespace}/dicomweb/studies", f"/namespaces/{sender.namespace}/dicomweb/studies/{study}/metadata"):
        assert with_sid(server, opened["sid"], path).status_code == 404
    sdk.Link.delete(uuid=link).get()
    again = requests.post(address, data=body, verify=server.verify, timeout=60, headers=bearer | {"Content-Type": content_type})
    assert again.status_code == 401


def test_a_link_opens_in_a_browser(sides, server, sdk):
    study = f"{ROOT}.11"
    uuid = upload(sides[0], study)
    plain, locked = (sdk.Link.add(action="STUDY_VIEW", study_id=uuid, prompt_for_anonymize=0, **more).get()
                     for more in ({}, {"password": "a long enough password"}))
    browser = requests.Session()
    browser.verify = server.verify
    answer = browser.get(plain.url, allow_redirects=False, timeout=30)
    assert answer.status_code == 302 and answer.headers["Location"] == f"/viewer?StudyInstanceUIDs={study}"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "Secure" in cookie and "SameSite=Lax" in cookie
    # As its guest the browser sees that study, and only that one.
    found = browser.get(f"{server.origin}/dicomweb/studies", headers={"Accept": "application/dicom+json"}, timeout=30)
    assert [row["0020000D"]["Value"][0] for row in found.json()] == [study]
    # Signed in already, it is asked first; and then opens with one's own hand.
    answer = browser.get(plain.url, allow_redirects=False, timeout=30)
    assert answer.status_code == 200 and "<form" in answer.text and "Set-Cookie" not in answer.headers
    other = requests.Session()
    other.verify = server.verify
    page = other.get(locked.url, allow_redirects=False, timeout=30)
    assert page.status_code == 200 and 'type="password"' in page.text
    form = {"uuid": locked.uuid, "password": "wrong"}
    address = locked.url.split("?")[0]
    assert "not the password" in other.post(address, data=form, allow_redirects=False, timeout=30).text
    form["password"] = "a long enough password"
    assert other.post(address, data=form, allow_redirects=False, timeout=30).status_code == 302
    foreign = other.post(address, data=form, headers={"Origin": "https://elsewhere.example"}, allow_redirects=False, timeout=30)
    assert foreign.status_code == 403
    for gone in (plain, locked):
        sdk.Link.delete(uuid=gone.uuid).get()
    for address in (plain.url, server.origin + "/api/v3/link/redirect?uuid=" + "0" * 32, server.origin + "/api/v3/link/redirect"):
        answer = requests.get(address, verify=server.verify, allow_redirects=False, timeout=30)
        assert answer.status_code == 404 and "opens nothing" in answer.text
