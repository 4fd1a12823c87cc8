"""What people may not do with roles, hidden fields and other accounts' users; and that nothing is lost while studies change."""

import json
import threading

import pytest
import requests
from ambra_sdk.exceptions.service import CanNotPromote, NotPermitted

import harness
import synthetic
from test_sharing import FLAGS, PASSWORD, Side, upload
from vendor import api

ROOT = "1.2.826.0.1.3680043.10.1479.92"


@pytest.fixture(scope="module")
def side(server, sdk, admin):
    return Side(server, sdk, admin, "Guards")


def with_role(server, sdk, side, name, permissions):
    """A user of the account whose role in the group says just this."""
    role = sdk.Role.add(account_id=side.account, name=name).get().uuid
    sdk.Role.set(uuid=role, permissions=json.dumps(permissions)).get()
    email = f"{name.lower()}@example.org"
    user = sdk.User.add(account_id=side.account, first=name, last="One", email=email, password=PASSWORD,
                        mobile_phone=None).get().uuid
    sdk.Group.user_add(uuid=side.group.uuid, user_id=user, role_id=role).get()
    return api(server, email, PASSWORD), email, user, role


def test_hidden_fields_are_hidden_at_every_door(server, sdk, side):
    study = f"{ROOT}.1"
    uuid = upload(side, study)
    theirs, email, _, role = with_role(server, sdk, side, "Blind", FLAGS | {
        "study_download": 1, "role_edit": 1, "study_field_patient_name": "H"})
    shown = theirs.Study.get(uuid=uuid).get().to_dict()
    assert "patient_name" not in shown and shown["patientid"] == "CRASH-1"

    def get(path, accept="application/dicom+json"):
        return requests.get(f"{server.origin}{path}", auth=(email, PASSWORD), verify=server.verify, timeout=60,
                            headers={"Accept": accept})

    web = f"/namespaces/{side.namespace}/dicomweb/studies"
    instance = f"{web}/{study}/series/{study}.1/instances/{study}.1.1"
    for path in (f"{web}/{study}/metadata", f"{instance}/metadata", f"{web}?PatientID=CRASH-1&includefield=all"):
        answer = get(path)
        assert answer.status_code == 200 and "QUICKSILVER" not in answer.text, path
        assert "00100020" in answer.json()[0] and "00100010" not in answer.json()[0], path
    for path in (f"{web}?PatientName=QUICKSILVER*", f"{web}?PatientName=X*"):
        assert get(path).status_code == 204, path
    octets = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    assert get(f"{instance}/frames/1", octets).status_code == 200
    for path in (instance, f"{web}/{study}"):
        assert get(path, 'multipart/related; type="application/dicom"; transfer-syntax=*').status_code == 403, path
    assert get(f"/dicomweb/studies/{study}", 'multipart/related; type="application/dicom"; transfer-syntax=*').status_code == 404
    assert get(f"/dicomweb/studies/{study}/metadata").status_code == 200
    sid = theirs.sid
    base = f"/api/v3/storage/study/{side.namespace}/{study}"
    for path in ("tag", "phi", "json", f"image/{study}.1.1/version/*/json", f"image/{study}.1.1/version/*", "download?bundle=dicom"):
        answer = requests.get(f"{server.origin}{base}/{path}", params={"sid": sid}, verify=server.verify, timeout=60)
        assert answer.status_code in (401, 403) and b"QUICKSILVER" not in answer.content, path
    with pytest.raises(NotPermitted):
        theirs.Study.share(uuid=uuid, group_id=side.group.uuid).get()
    # Nobody takes the veil off themselves.
    answer = requests.post(f"{server.origin}/api/v3/role/set", verify=server.verify, timeout=60, data={
        "sid": sid, "uuid": role, "permissions": json.dumps({"study_field_patient_name": "F"})}).json()
    assert answer["status"] == "ERROR", answer


def test_nobody_promotes_or_takes_over(server, sdk, admin, side):
    role = sdk.Role.add(account_id=side.account, name="Clerk").get().uuid
    sdk.Role.set(uuid=role, permissions=json.dumps({"group_edit": 1, "group_view": 1, "account_edit": 1, "account_user_edit": 1,
                                                   "user_edit": 1, "account_user_view": 1})).get()
    email = "clerk@example.org"
    clerk = sdk.User.add(account_id=side.account, first="C", last="One", email=email, password=PASSWORD, mobile_phone=None).get().uuid
    sdk.Account.user_set(uuid=side.account, user_id=clerk, role_id=role).get()
    theirs = api(server, email, PASSWORD)
    administrator = next(one.uuid for one in sdk.Role.list(account_id=side.account).all() if one.name == "Administrator")
    with pytest.raises(CanNotPromote):
        theirs.Group.user_add(uuid=side.group.uuid, user_id=clerk, role_id=administrator).get()
    for path, parameters in (("group/set", {"uuid": side.group.uuid}), ("account/set", {"uuid": side.account}),
                             ("group/add", {"account_id": side.account, "name": "Mine"})):
        answer = requests.post(f"{server.origin}/api/v3/{path}", verify=server.verify, timeout=60,
                               data={"sid": theirs.sid, "role_id": administrator} | parameters).json()
        assert answer.get("error_type") == "CAN_NOT_PROMOTE", (path, answer)
    # Somebody who belongs to another account too stays their own.
    other = admin.ok("account/add", name="Elsewhere")["uuid"]
    victim = sdk.User.add(account_id=other, first="V", last="One", email="victim@example.org", password=PASSWORD,
                          mobile_phone=None).get().uuid
    theirs.Account.user_add(uuid=side.account, email="victim@example.org").get()
    for path, parameters in (("user/set", {"password": "another long password"}), ("user/enable", {"disable": "1"})):
        answer = requests.post(f"{server.origin}/api/v3/{path}", verify=server.verify, timeout=60,
                               data={"sid": theirs.sid, "uuid": victim} | parameters).json()
        assert answer.get("error_type") == "NOT_FOUND", (path, answer)
    requests.post(f"{server.origin}/api/v3/account/user/set", verify=server.verify, timeout=60, data={
        "sid": theirs.sid, "uuid": side.account, "user_id": victim, "password_reset": "1", "session_expire": "1"})
    assert api(server, "victim@example.org", PASSWORD).Session.user().get().email == "victim@example.org"


def test_what_the_client_sends_by_itself(server, sdk, side):
    upload(side, f"{ROOT}.2")
    rows = sdk.Study.list().only({"study": ["uuid"]}).all()
    assert all(list(row.to_dict()) == ["uuid"] for row in rows)
    answer = requests.post(f"{server.origin}/api/v3/namespace/engine/fqdn", data={"namespace_id": side.namespace},
                           verify=server.verify, timeout=60).json()
    assert answer["engine_fqdn"] == f"localhost:{server.port}"
    found = requests.post(f"{server.origin}/api/v3/study/list", verify=server.verify, timeout=60, data={
        "sid": sdk.sid, "filter.Study.study_uid.equals": f"{ROOT}.2"}).json()
    assert [row["study_uid"] for row in found["studies"]] == [f"{ROOT}.2"]


@pytest.mark.parametrize("change", ["merge", "split", "move"])
def test_nothing_acknowledged_is_lost_while_studies_change(server, sdk, side, change):
    """Invariant 1, whatever is merged, split or moved meanwhile."""
    target = sdk.Group.add(account_id=side.account, name=f"Target of {change}").get()
    first, second = f"{ROOT}.{len(change) * 7}.1", f"{ROOT}.{len(change) * 7}.2"
    upload(side, first)
    uuid = upload(side, second)
    acknowledged, stop = [1], threading.Event()

    def send():
        session, number = requests.Session(), 2
        while not stop.is_set() and number < 400:
            stream = synthetic.instance(second, second + ".1", f"{second}.1.{number}", number, bytes(2 * 16 * 16), 16)
            content_type, body = harness.multipart([stream])
            answer = session.post(f"{server.origin}/namespaces/{side.namespace}/dicomweb/studies", data=body,
                                  auth=server.auth, verify=server.verify, timeout=60,
                                  headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
            if answer.status_code == 200:
                acknowledged.append(number)
            number += 1

    sender = threading.Thread(target=send)
    sender.start()
    base, parameters = f"{server.origin}/api/v3/storage/study/{side.namespace}", {"sid": sdk.get_new_sid()}
    try:
        for _ in range(4):
            if change == "merge":
                requests.get(f"{base}/{first}/merge", verify=server.verify, timeout=120, params=parameters | {
                    "secondary_study_uid": second, "delete_secondary_study": "1"})
            elif change == "split":
                requests.post(f"{base}/{second}/split", verify=server.verify, timeout=120, params=parameters | {
                    "series_uid": second + ".1", "delete_series_from_original": "1"})
            else:
                requests.post(f"{server.origin}/api/v3/study/move", verify=server.verify, timeout=120, data=parameters | {
                    "uuid": uuid, "namespace_id": target.namespace_id})
    finally:
        stop.set()
        sender.join()
    found = set()
    for namespace in (side.namespace, target.namespace_id):
        answer = requests.get(f"{server.origin}/namespaces/{namespace}/dicomweb/instances", auth=server.auth, verify=server.verify,
                              params={"limit": 10000, "includefield": "InstanceNumber"}, timeout=60,
                              headers={"Accept": "application/dicom+json"})
        for row in answer.json() if answer.status_code == 200 else []:
            if change == "split" or row["0020000D"]["Value"][0] in (first, second):
                found.add(row["00200013"]["Value"][0])
    lost = set(acknowledged) - found
    assert not lost, f"{len(lost)} of {len(acknowledged)} are gone"
    assert len(acknowledged) > 5
