"""What lists and records of studies say, and what they are filtered and ordered by; whom changes of a study reach."""

import io
import json
import threading
import time

import pydicom
import pytest
import requests

import synthetic
from test_guards import with_role
from test_sharing import FLAGS, PASSWORD, Side, upload
from test_studies import call, image, names_of, store, until
from test_workflow import listen

ROOT = "1.2.826.0.1.3680043.10.1479.94"

PATIENT = {
    "patient_name": "PatientName", "patientid": "PatientID", "patient_birth_date": "PatientBirthDate",
    "patient_birth_time": "PatientBirthTime", "patient_sex": "PatientSex", "patientid_other": "OtherPatientIDs",
    "patient_name_other": "OtherPatientNames", "patient_birthname": "PatientBirthName", "patient_age": "PatientAge",
    "patient_size": "PatientSize", "patient_weight": "PatientWeight", "patient_address": "PatientAddress",
    "patient_mother_birthname": "PatientMotherBirthName", "medical_record_locator": "MedicalRecordLocator",
    "patient_phone": "PatientTelephoneNumbers", "patient_ethnic_group": "EthnicGroup", "patient_occupation": "Occupation",
    "patient_additional_history": "AdditionalPatientHistory", "patient_religious_preference": "PatientReligiousPreference",
    "patient_comments": "PatientComments", "patient_current_location": "CurrentPatientLocation",
    "patient_institution_residence": "PatientInstitutionResidence", "study_description": "StudyDescription",
    "study_date": "StudyDate", "study_time": "StudyTime", "accession_number": "AccessionNumber",
    "referring_physician": "ReferringPhysicianName",
}
VALUES = {"patient_birth_date": "19500102", "patient_birth_time": "101112", "patient_sex": "O", "patient_age": "071Y",
          "patient_size": "1.71", "patient_weight": "71.5", "study_date": "20200304", "study_time": "111213"}


@pytest.fixture(scope="module")
def side(server, sdk, admin):
    return Side(server, sdk, admin, "Fields")


@pytest.fixture(scope="module")
def other(server, sdk, admin):
    return Side(server, sdk, admin, "Fellows")


def uids(admin, side, **parameters):
    rows = admin.ok("study/list", **{"filter.phi_namespace.equals": side.namespace} | parameters)["studies"]
    return [row["study_uid"] for row in rows]


def test_lists_begin_with_what_came_last(admin, side):
    # The older its date, the later it comes.
    studies = [f"{ROOT}.1.{number}" for number in range(5)]
    for number, study in enumerate(studies):
        assert store(side, image(study, 1, date=(b"20260102", f"202{5 - number}0102".encode()))).status_code == 200
        time.sleep(0.01)
        if number == 2:
            admin.ok("study/add", study_uid=f"{ROOT}.1.9", storage_namespace=side.namespace, phi_namespace=side.namespace)
    newest = [studies[4], studies[3], f"{ROOT}.1.9", studies[2], studies[1], studies[0]]
    assert uids(admin, side) == newest
    pages = [uids(admin, side, **{"page.rows": 2, "page.number": number}) for number in (1, 2, 3)]
    assert sum(pages, []) == newest
    # A study that is added to stays where it is; DICOMweb begins with the latest date.
    assert store(side, image(studies[0], 2)).status_code == 200
    assert uids(admin, side) == newest
    assert [one["0020000D"]["Value"][0] for one in side.web("/studies").json()] == studies
    assert uids(admin, side, sort_by="study_date-asc", **{"filter.phantom.equals": 0}) == newest[:2] + newest[3:]


def test_every_patient_field_is_shown_and_filtered_by(admin, side):
    study = f"{ROOT}.2"
    dataset = pydicom.dcmread(io.BytesIO(image(study, 1)))
    values = {field: VALUES.get(field, f"Value{number}") for number, field in enumerate(PATIENT)}
    for field, keyword in PATIENT.items():
        setattr(dataset, keyword, values[field])
    made = io.BytesIO()
    dataset.save_as(made)
    assert store(side, made.getvalue()).status_code == 200
    shown = admin.ok("study/list", **{"filter.study_uid.equals": study})["studies"][0]
    for field, value in values.items():
        assert str(shown[field]) == value, field
        for condition, asked, count in (("equals", value, 1), ("not_equals", value, 0), ("equals", "X", 0), ("like", value[:2] + "%", 1)):
            found = uids(admin, side, **{f"filter.{field}.{condition}": asked, "filter.study_uid.equals": study})
            assert len(found) == count, (field, condition)
        assert uids(admin, side, sort_by=f"{field}-desc", **{f"filter.{field}.equals": value}).count(study) == 1, field


def test_records_say_what_is_known(server, sdk, admin, side):
    study = f"{ROOT}.3"
    uuid = upload(side, study)
    length = len(image(study, 1)) - len(pydicom_meta(image(study, 1)))
    admin.ok("account/set", uuid=side.account, settings=json.dumps({"study_status_tags": ["NEW", "READ"]}))
    patient = admin.ok("patient/add", account_id=side.account, name="Canary", mrn="CRASH-1")["uuid"]
    field = admin.ok("customfield/add", account_id=side.account, object="Study", name="Ward", type="text")["uuid"]
    admin.ok("study/set", study_id=uuid, **{f"customfield-{field}": "7"})
    admin.ok("tag/add", object="Study", object_id=uuid, tag="urgent")
    shown = admin.ok("study/get", uuid=uuid, extra=1, customfield_h=1)
    listed = admin.ok("study/list", extra=1, customfield_h=1, **{"filter.study_uid.equals": study})["studies"][0]
    for record in (shown, listed):
        assert (record["size"], record["patient_id"], record["study_status_tags_default"]) == (length, patient, "NEW")
        assert (record["study_status_tags"], record["is_locked"]) == (["NEW", "READ"], 0)
        assert (record["first_name"], record["last_name"], record["account_name"]) == ("CANARY", "QUICKSILVER", "Fields")
        assert (record["customfield_h"], record["attachment_count"], record["message_count"]) == ({field: "7"}, 0, 0)
        assert record["viewer_link"] == f"{server.origin}/viewer?namespace={side.namespace}&StudyInstanceUIDs={study}"
    assert shown["compressed_size"] > 0 and "permissions" in shown and "permissions" not in listed
    assert admin.ok("study/get", uuid=uuid, permissions_diff=1)["permissions"] == {}
    for name, value in (("tags.equals", "urgent"), ("size.ge", length), ("star.equals", 0)):
        assert study in uids(admin, side, **{f"filter.{name}": value}), name
    assert study not in uids(admin, side, **{"filter.tags.equals": "calm"})
    few = admin.ok("study/list", fields=json.dumps(["uuid", "size"]), **{"filter.study_uid.equals": study})["studies"]
    assert few == [{"uuid": uuid, "size": length}]
    # Twice as many images, twice the size; and half again once one is gone.
    assert store(side, image(study, 2)).status_code == 200
    assert admin.ok("study/get", uuid=uuid)["size"] == 2 * length
    assert requests.delete(f"{server.origin}/namespaces/{side.namespace}/dicomweb/studies/{study}/series/{study}.1/instances/{study}.1.2",
                           verify=server.verify, auth=(side.email, PASSWORD), timeout=60).status_code == 204
    assert admin.ok("study/get", uuid=uuid)["size"] == length
    # Who does not see patients of the account, or edit its states, learns of neither.
    theirs, *_ = with_role(server, sdk, side, "Plain", FLAGS | {"study_field_patient_name": "H"})
    plain = call(server, theirs.sid, "study/get", uuid=uuid, extra=1)
    assert not {"patient_id", "study_status_tags", "first_name", "last_name"} & set(plain)


def pydicom_meta(stream):
    """Preamble, prefix and file meta of a Part 10 stream."""
    end = 128 + 4 + 12 + int.from_bytes(stream[140:144], "little")
    return stream[:end]


def test_a_share_shows_the_study_as_it_is(admin, side, other):
    study = f"{ROOT}.4"
    uuid = upload(side, study)
    side.api.Study.share(uuid=uuid, group_id=other.group.uuid, message="look").get()
    before = other.studies()[study]
    assert store(side, image(study, 2)).status_code == 200
    until("a late image did not reach the receiver", lambda: len(other.web(f"/studies/{study}/metadata").json()) == 2)
    admin.ok("study/set", study_id=uuid, patient_name="Right^Name")
    until("a correction did not reach the receiver", lambda: names_of(other, study) == {"Right^Name"})
    after = other.studies()[study]
    assert (after.uuid, after.image_count, after.patient_name, after.share_message) == (before.uuid, 2, "Right^Name", "look")
    assert after.created == before.created
    assert [one["00201208"]["Value"][0] for one in other.web("/studies?PatientName=Right*").json()] == [2]
    # What the receiver corrected stays.
    admin.ok("study/set", study_id=after.uuid, patient_name="Own^Name")
    admin.ok("study/set", study_id=uuid, study_description="Knee")
    until("a description did not reach the receiver", lambda: other.studies()[study].study_description == "Knee")
    assert names_of(other, study) == {"Own^Name"} and names_of(side, study) == {"Right^Name"}
    side.api.Study.share_stop(uuid=uuid, group_id=other.group.uuid).get()
    assert store(side, image(study, 3)).status_code == 200
    time.sleep(2)
    assert other.web(f"/studies/{study}/metadata").status_code == 404 and study not in other.studies()


def test_ones_own_study_stands_before_a_share(admin, side, other):
    study = f"{ROOT}.5"
    theirs = upload(side, study)
    side.api.Study.share(uuid=theirs, group_id=other.group.uuid).get()
    shared = other.studies()[study].uuid
    own = image(study, 7, name=(synthetic.MARKER.encode(), b"ANOTHER^PATIENT\x20\x20\x20"))
    assert store(other, own).status_code == 200
    found = other.web(f"/studies?StudyInstanceUID={study}").json()
    assert [one["00100010"]["Value"][0]["Alphabetic"] for one in found] == ["ANOTHER^PATIENT"]
    assert [one["0020000D"]["Value"][0] for one in other.web("/studies").json()].count(study) == 1
    assert [one["00080018"]["Value"][0] for one in other.web(f"/instances?StudyInstanceUID={study}").json()] == [f"{study}.1.7"]
    assert other.web(f"/studies?PatientName=QUICK*&StudyInstanceUID={study}").status_code == 204
    assert names_of(other, study) == {"ANOTHER^PATIENT"}
    # V3 has both, each by its own name.
    rows = admin.ok("study/list", **{"filter.phi_namespace.equals": other.namespace, "filter.study_uid.equals": study})["studies"]
    assert {row["source"]: row["patient_name"] for row in rows} == {"upload": "ANOTHER^PATIENT", "share": "QUICKSILVER^CANARY"}
    assert admin.ok("study/get", uuid=shared)["patient_name"] == "QUICKSILVER^CANARY"
    assert admin.ok("study/count", **{"filter.phi_namespace.equals": other.namespace, "filter.study_uid.equals": study})["count"] == 2
    # Without one's own, the share stands for the UID.
    other.api.Study.delete(uuid=next(row["uuid"] for row in rows if row["source"] == "upload")).get()
    assert names_of(other, study) == {"QUICKSILVER^CANARY"}
    assert len(other.web(f"/studies?StudyInstanceUID={study}").json()) == 1


def test_activities_are_told_to_who_may_see_studies(server, sdk, side, other):
    hears, *_ = with_role(server, sdk, other, "Hears", {"channel_activity": 1, "study_view": 1, "study_approve": 1})
    reads, *_ = with_role(server, sdk, other, "Reads", {"channel_activity": 1, "study_view": 1})
    blind, *_ = with_role(server, sdk, other, "Sightless", {"channel_activity": 1})
    deaf, *_ = with_role(server, sdk, other, "Deaf", {"channel_study": 1, "study_view": 1})
    channel, frames = f"activity.{other.namespace}", [[], [], [], []]
    threads = [threading.Thread(target=listen, args=(server, user.sid, channel, 8, heard))
               for user, heard in zip((hears, reads, blind, deaf), frames)]
    [thread.start() for thread in threads]
    time.sleep(2)
    upload(other, f"{ROOT}.6")
    sdk.Group.set(uuid=other.group.uuid, must_approve=1).get()
    try:
        side.api.Study.share(uuid=upload(side, f"{ROOT}.7"), group_id=other.group.uuid).get()
        [thread.join() for thread in threads]
    finally:
        sdk.Group.set(uuid=other.group.uuid, must_approve=0).get()
    told = [[(frame["event"], frame["type"]) for frame in heard[1:]] for heard in frames]
    assert sorted(told[0]) == [("READY", "STUDY"), ("STUDY_APPROVE", "STUDY_APPROVE")] and told[1] == [("READY", "STUDY")]
    assert frames[1][1]["study_uid"] == f"{ROOT}.6" and frames[1][0] == {"status": "OK", "channel": channel}
    for heard in frames[2:]:
        assert [frame["error_type"] for frame in heard] == ["NOT_PERMITTED"]


def test_custom_fields_are_loaded_from_the_study(server, sdk, admin, side):
    study = f"{ROOT}.8"
    uuid = upload(side, study)
    field = {"account_id": side.account, "object": "Study", "type": "text"}
    for wrong, token in (({"dicom_tag": "00100010"}, "INVALID_DICOM_TAG"), ({"load_dicom_tag": 1}, "NO_DICOM_TAG_DEFINED"),
                         ({"dicom_tag": "(0010,0010)", "object": "Order"}, "INVALID_DICOM_TAG_OBJECT")):
        assert admin.error("customfield/add", name="Wrong", **(field | wrong))[0] == token
    name, kind, given = (admin.ok("customfield/add", name=tag, dicom_tag=tag, load_dicom_tag=load, **field)["uuid"]
                         for tag, load in (("(0010,0010)", 1), ("(0008,0060)", 1), ("(0010,0020)", 0)))

    def values(sid=None):
        return call(server, sid or admin.sid, "study/get", uuid=uuid, customfield_h=1)["customfield_h"]

    assert (values()[name], values()[kind], values()[given]) == ("QUICKSILVER^CANARY", "CT", None)
    assert study in uids(admin, side, **{f"filter.customfield-{name}.like": "QUICK%"})
    # What is corrected is loaded anew; what somebody gave stays.
    admin.ok("study/set", study_id=uuid, patient_name="Right^Name", **{f"customfield-{kind}": "Head"})
    assert (values()[name], values()[kind]) == ("Right^Name", "Head")
    theirs, *_ = with_role(server, sdk, side, "Veiled", FLAGS | {"study_field_patient_name": "H"})
    assert values(theirs.sid)[name] is None
