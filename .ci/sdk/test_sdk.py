"""The vendor's client, unmodified, over TLS."""

import json
import os
import subprocess
import sys

import pytest
import requests
from ambra_sdk.api import AsyncApi
from ambra_sdk.exceptions.service import AccountNotFound, AlreadyExists, InvalidCredentials, MissingFields, NotFound, NotPermitted
from ambra_sdk.service.filtering import Filter, FilterCondition
from ambra_sdk.service.sorting import Sorter, SortingOrder

import harness
import synthetic
from vendor import api

EMAIL, PASSWORD = "rad@example.org", "a long enough password"


@pytest.fixture(scope="module")
def account(admin):
    return admin.ok("account/add", name="SDK")["uuid"]


@pytest.fixture(scope="module")
def user(sdk, account):
    """Of the account, in its role for users."""
    made = sdk.User.add(account_id=account, first="Rita", last="Rad", email=EMAIL, password=PASSWORD,
                        mobile_phone=None).get()
    return made.uuid


def test_signing_in(server, sdk):
    user = sdk.Session.user().get()
    assert user.email == harness.USER and user.namespace_id and user.sysadmin == 1
    with pytest.raises(InvalidCredentials):
        api(server, password="wrong").Session.user().get()


def test_a_session_that_ended_is_renewed(server):
    sdk = api(server)
    sdk.Session.user().get()
    first = sdk.sid
    sdk.Session.logout().get()
    assert sdk.Session.user().get().email == harness.USER
    assert sdk.sid != first


def test_accounts_and_flags(sdk, account):
    names = [row.name for row in sdk.Account.list().all()]
    assert "SDK" in names
    assert sdk.Account.get(uuid=account).get().name == "SDK"
    sdk.Account.set(uuid=account, vanity="sdk", must_approve=1).get()
    assert sdk.Account.get(uuid=account).get().vanity == "sdk"
    query = sdk.Session.permissions(account_id=account)
    flags = query.only_top_fields(["study_view", "study_delete"]).get()
    assert flags.to_dict() == {"study_view": 1, "study_delete": 1}
    roles = {role.name for role in sdk.Role.list(account_id=account).all()}
    assert roles == {"Administrator", "User", "PHR", "Anonymous"}


def test_groups_are_filtered_sorted_and_paged(sdk, account):
    made = [sdk.Group.add(account_id=account, name=f"Group {number}").get() for number in range(5)]
    assert all(group.namespace_id for group in made)
    query = sdk.Group.list(account_id=account).set_rows_in_page(2)
    query = query.sort_by(Sorter("name", SortingOrder.descending))
    assert [group.name for group in query.all()] == [f"Group {number}" for number in (4, 3, 2, 1, 0)]
    query = sdk.Group.list(account_id=account).filter_by(Filter("name", FilterCondition.like, "%3"))
    assert [group.uuid for group in query.all()] == [made[3].uuid]
    sdk.Group.delete(uuid=made[4].uuid).get()
    with pytest.raises(NotFound):
        sdk.Group.get(uuid=made[4].uuid).get()
    location = sdk.Location.add(account_id=account, name="East").get()
    assert sdk.Location.get(uuid=location.uuid).get().name == "East"
    with pytest.raises(AccountNotFound):
        sdk.Group.add(account_id="nobody", name="x").get()
    with pytest.raises(MissingFields):
        sdk.Group.add(account_id=account, name=None).get()


def test_a_role_counts_at_once(server, sdk, account, user):
    theirs = api(server, EMAIL, PASSWORD)
    with pytest.raises(NotPermitted):
        theirs.Group.add(account_id=account, name="Theirs").get()
    role = sdk.Role.add(account_id=account, name="Grouper").get().uuid
    sdk.Role.set(uuid=role, permissions=json.dumps({"group_edit": 1, "group_view": 1})).get()
    sdk.Account.user_set(uuid=account, user_id=user, role_id=role).get()
    group = theirs.Group.add(account_id=account, name="Theirs").get().uuid
    sdk.Role.set(uuid=role, permission_param={"group_edit": -1}).get()
    with pytest.raises(NotPermitted):
        theirs.Group.delete(uuid=group).get()
    with pytest.raises(NotPermitted):
        theirs.Role.list(account_id=account).get()
    members = sdk.Account.user_list(uuid=account).all()
    assert {member.user_email: member.role_name for member in members}[EMAIL] == "Grouper"
    sdk.Account.user_delete(uuid=account, user_id=user).get()
    with pytest.raises(NotFound):
        theirs.Group.list(account_id=account).get()
    sdk.Account.user_add(uuid=account, user_id=user).get()


def test_who_is_disabled_is_out(server, sdk, account):
    email = "gone@example.org"
    uuid = sdk.User.add(account_id=account, first="G", last="One", email=email, password=PASSWORD,
                        mobile_phone=None).get().uuid
    theirs = api(server, email, PASSWORD)
    sid = theirs.get_new_sid()
    sdk.User.enable(uuid=uuid, disable=1).get()
    answer = requests.post(f"{server.origin}/api/v3/session/user", data={"sid": sid}, timeout=60)
    assert answer.status_code == 401


def upload(server, namespace, study, number=1):
    stream = synthetic.instance(study, study + ".1", f"{study}.1.{number}", number, bytes(2 * 16 * 16), 16)
    content_type, body = harness.multipart([stream])
    answer = requests.post(f"{server.origin}/namespaces/{namespace}/dicomweb/studies", data=body, auth=server.auth,
                           headers={"Content-Type": content_type, "Accept": "application/dicom+json"}, timeout=60)
    assert answer.status_code == 200, answer.text


def test_studies(server, sdk, account):
    group = sdk.Group.add(account_id=account, name="Studies").get()
    namespace, root = group.namespace_id, "1.2.826.0.1.3680043.10.1479.77"
    field = sdk.Customfield.add(account_id=account, name="Ward", object="Study", type="text").get().uuid
    # Announced, then stored, then there, under one name.
    added = sdk.Study.add(study_uid=f"{root}.1", storage_namespace=namespace, phi_namespace=namespace,
                          study_date="20260101", study_time="101112", patient_name="Ann^Ounced").get()
    assert added.engine_fqdn == f"localhost:{server.port}"
    with pytest.raises(AlreadyExists):
        sdk.Study.add(study_uid=f"{root}.1", storage_namespace=namespace, phi_namespace=namespace, study_date="20260101",
                      study_time="101112", patient_name="Ann^Ounced").get()
    phantom = sdk.Study.get(uuid=added.uuid).get()
    assert (phantom.phantom, phantom.patient_name, phantom.image_count) == (1, "Ann^Ounced", 0)
    upload(server, namespace, f"{root}.1")
    sdk.Study.sync(study_id=added.uuid, image_count=1).get()
    for number in (2, 3, 4):
        upload(server, namespace, f"{root}.{number}")
    upload(server, namespace, f"{root}.4", 2)
    study = sdk.Study.get(study_uid=f"{root}.1", storage_namespace=namespace, phi_namespace=namespace).get()
    assert (study.uuid, study.phantom, study.image_count) == (added.uuid, 0, 1)
    assert (study.patient_name, study.patientid, study.modality) == ("QUICKSILVER^CANARY", "CRASH-1", "CT")
    assert [custom.name for custom in study.customfields] == ["Ward"]
    sdk.Study.set(study_id=added.uuid, customfield_param={field: "East"}).get()

    def found(*filters, sort=None, rows=2):
        query = sdk.Study.list().set_rows_in_page(rows).filter_by(Filter("phi_namespace", FilterCondition.equals, namespace))
        for name, condition, value in filters:
            query = query.filter_by(Filter(name, condition, value))
        if sort:
            query = query.sort_by(sort)
        return [study.study_uid.rpartition(".")[2] for study in query.all()]

    condition = FilterCondition
    assert sorted(found()) == ["1", "2", "3", "4"]
    assert found(("study_uid", condition.equals, f"{root}.3")) == ["3"]
    assert found(("image_count", condition.gt, 1)) == ["4"]
    assert found(("patient_name", condition.like, "%silver%canary%"), sort=Sorter("study_uid")) == ["1", "2", "3", "4"]
    assert found(("patientid", condition.equals, "CRASH-2")) == []
    assert len(found(("patientid", condition.in_condition, json.dumps(["CRASH-1"])))) == 4
    assert len(found(("study_date", condition.ge, "2026-01-02"), ("study_date", condition.le, "20260102"))) == 4
    assert found(("study_date", condition.gt, "2026-01-02")) == []
    assert found((f"customfield-{field}", condition.equals, "East")) == ["1"]
    assert found(("phantom", condition.equals, 1)) == []
    assert found(sort=Sorter("study_uid", SortingOrder.descending)) == ["4", "3", "2", "1"]
    assert sdk.Study.count().filter_by(Filter("phi_namespace", condition.equals, namespace)).get().count == 4
    annotation = sdk.Annotation.add(study_id=added.uuid, series_uid="1.2", instance_uid="1.2.3", frame_number=0,
                                    json=json.dumps({"a": 1}), stamp=None).get()
    listed = sdk.Annotation.list(study_id=added.uuid).get().annotations
    assert [(one.uuid, one.json.a) for one in listed] == [(annotation.uuid, 1)]
    sdk.Study.delete(uuid=added.uuid).get()
    with pytest.raises(NotFound):
        sdk.Study.get(uuid=added.uuid).get()
    assert sorted(found()) == ["2", "3", "4"]


def test_orders_and_patients(sdk, account):
    order = sdk.Order.add(account_id=account, patientid="P1", patient_name="Or^Der", accession_number="A1", patient_sex="O",
                          patient_birth_date="19700101", referring_physician="R", sending_facility="S").get().uuid
    step = sdk.Order.sps_add(order_id=order, modality="CT", scheduled_procedure_step_id="S1", requested_procedure_id="R1",
                             requested_procedure_description="D", scheduled_station_aetitle="CT1",
                             scheduled_procedure_step_start_date="20260101", scheduled_procedure_step_start_time="1200",
                             scheduled_procedure_step_description="D").get().uuid
    query = sdk.Order.sps_find(account_id=account)
    query = query.filter_by(Filter("modality", FilterCondition.equals, "CT"))
    assert [(one.uuid, one.patient_name) for one in query.get().sps] == [(step, "Or^Der")]
    patient = sdk.Patient.add(account_id=account, mrn="M1", name="Pat^Ient", sex="F", birth_date="19700101", first=None,
                              last=None).get().uuid
    assert sdk.Patient.get(uuid=patient).get().mrn == "M1"


ASYNC = """
import asyncio, sys
from ambra_sdk.api import AsyncApi

async def run(url, login, password):
    sdk = AsyncApi.with_creds(url, login, password, rate_limits=None)
    print((await sdk.Session.user().get()).email)
    print(*[row.name async for row in sdk.Account.list().all()], sep=",")
    await sdk.logout()

asyncio.run(run(*sys.argv[1:]))
"""


def test_the_async_client(server, account):
    # In a process of its own: it reads the certificate's path when it is imported.
    arguments = [sys.executable, "-c", ASYNC, f"{server.origin}/api/v3", harness.USER, server.password]
    done = subprocess.run(arguments, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    email, names = done.stdout.splitlines()
    assert email == harness.USER and "SDK" in names.split(",")
