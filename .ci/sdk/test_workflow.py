"""A hospital's day through the vendor's client, unmodified: its own helpers for folders, jobs and waiting included."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import zipfile

import aiohttp
import asyncio
import pydicom
import pytest
import requests
from ambra_sdk.exceptions.service import NotFound, NotPermitted, PreconditionFailed
from ambra_sdk.service.filtering import Filter, FilterCondition
from ambra_sdk.service.sorting import Sorter, SortingOrder
from ambra_sdk.service.ws import WSManager

import harness
import synthetic
from vendor import api

SIDE = 64
ROOT, PASSWORD = "1.2.826.0.1.3680043.10.1479.900", "a long enough password"


@pytest.fixture(scope="module")
def place(sdk, admin):
    """A group of a new account."""
    account = admin.ok("account/add", name="Workflow")["uuid"]
    return account, sdk.Group.add(account_id=account, name="Ward").get()


def folder(path, study, num_series=2, num_images=2, name="Work^Flow", patient="WF-1"):
    """A study as a folder of files."""
    path.mkdir(parents=True, exist_ok=True)
    for series in range(1, num_series + 1):
        for image in range(1, num_images + 1):
            uid = f"{study}.{series}.{image}"
            pixels = b"".join((100 + series * 10 + (x + y) % 50).to_bytes(2, "little") for y in range(SIDE) for x in range(SIDE))
            stream = synthetic.instance(study, f"{study}.{series}", uid, image, pixels, SIDE)
            dataset = pydicom.dcmread(io.BytesIO(stream))
            dataset.PatientName, dataset.PatientID, dataset.StudyTime = name, patient, "101500"
            dataset.StudyDescription = f"Study of {name}"
            dataset.AccessionNumber = f"A{study.rsplit('.', 1)[-1]}"
            (path / f"s{series}").mkdir(exist_ok=True)
            dataset.save_as(path / f"s{series}" / f"{image}.dcm")
    return path


def upload(sdk, tmp_path, place, number, **how):
    """A folder through the client's own helper, which waits for it."""
    study = f"{ROOT}.{number}"
    return sdk.Addon.Study.upload_dir_and_get(study_dir=folder(tmp_path / str(number), study, **how),
                                              namespace_id=place[1].namespace_id, timeout=60)


def member(server, sdk, place, name, **permissions):
    """Somebody with a role of their own in the group: what they sign in with."""
    role = sdk.Role.add(account_id=place[0], name=name).get().uuid
    sdk.Role.set(uuid=role, permissions=json.dumps(permissions)).get()
    email = f"{name}@example.org"
    user = sdk.User.add(account_id=place[0], first=name, last="One", email=email, password=PASSWORD, mobile_phone=None).get().uuid
    sdk.Group.user_add(uuid=place[1].uuid, user_id=user, role_id=role).get()
    return email


def patient_image(study, number, patient):
    dataset = pydicom.dcmread(io.BytesIO(synthetic.instance(study, f"{study}.1", f"{study}.1.{number}", number, bytes(2 * 16 * 16), 16)))
    dataset.PatientID = patient
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


def store(server, namespace, stream):
    content_type, body = harness.multipart([stream])
    answer = requests.post(f"{server.origin}/namespaces/{namespace}/dicomweb/studies", data=body, auth=server.auth, timeout=60,
                           headers={"Content-Type": content_type, "Accept": "application/dicom+json"}, verify=server.verify)
    return answer.status_code


def target(study):
    return {"engine_fqdn": study.engine_fqdn, "namespace": study.storage_namespace, "study_uid": study.study_uid}


def pixels_of(sdk, study):
    """Every image's pixels, by SOP Instance UID."""
    schema = sdk.Storage.Study.schema(**target(study), extended=True)
    found = {}
    for series in schema["series"]:
        for image in series["images"]:
            dataset = sdk.Addon.Dicom.get(namespace_id=study.storage_namespace, study_uid=study.study_uid,
                                          image_uid=image["id"], engine_fqdn=study.engine_fqdn)
            found[image["id"]] = dataset
    return found


def test_a_folder_is_uploaded_and_waited_for(sdk, place, tmp_path):
    started = time.monotonic()
    study = upload(sdk, tmp_path, place, 1)
    assert study.phantom == 0 and study.image_count == 4 and study.study_uid == f"{ROOT}.1"
    assert study.patient_name == "Work^Flow" and study.phi_namespace == place[1].namespace_id
    assert time.monotonic() - started < 20
    assert len(pixels_of(sdk, study)) == 4


@pytest.fixture(scope="module")
def listed(sdk, place, tmp_path_factory):
    for number, name in ((2, "One^List"), (3, "Other^List")):
        upload(sdk, tmp_path_factory.mktemp("listed"), place, number, num_series=1, num_images=1, name=name,
               patient=f"LIST-{number}")


@pytest.mark.parametrize("condition, field, value, expected", [
    (FilterCondition.equals, "patientid", "LIST-2", {2}),
    (FilterCondition.like, "patient_name", "%oth%", {3}),
    (FilterCondition.in_condition, "patientid", ["LIST-2", "LIST-3"], {2, 3}),
    (FilterCondition.not_equals, "patientid", "LIST-2", {3}),
    (FilterCondition.gt, "accession_number", "A2", {3}),
])
def test_lists_are_filtered(sdk, place, listed, condition, field, value, expected):
    query = sdk.Study.list().filter_by(Filter("phi_namespace", FilterCondition.equals, place[1].namespace_id))
    query = query.filter_by(Filter("patientid", FilterCondition.like, "LIST-%"))
    query = query.filter_by(Filter(field, condition, value)).sort_by(Sorter("patientid", SortingOrder.descending))
    found = [study.study_uid for study in query.all()]
    assert found == [f"{ROOT}.{number}" for number in sorted(expected, reverse=True)]


def test_frames_and_downloads(sdk, place, tmp_path):
    study = upload(sdk, tmp_path, place, 4)
    image = {**target(study), "image_uid": f"{ROOT}.4.1.1", "image_version": "*", "frame_number": "0"}
    storage = sdk.Storage.Study
    for method, magic in ((storage.frame, b"\xff\xd8"), (storage.thumbnail, b"\xff\xd8"), (storage.diagnostic, b"\x89PNG"),
                          (storage.frame_tiff, b"II*\0")):
        assert method(**image).content.startswith(magic)
    answer = storage.download(**target(study), bundle="dicom")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        datasets = [pydicom.dcmread(io.BytesIO(archive.read(name)), force=True) for name in archive.namelist()
                    if "DICOMDIR" not in name]
    uids = {dataset.SOPInstanceUID for dataset in datasets if "SOPInstanceUID" in dataset}
    assert uids == {f"{ROOT}.4.{series}.{number}" for series in (1, 2) for number in (1, 2)}


def test_split_and_merge(sdk, place, tmp_path):
    study = upload(sdk, tmp_path, place, 5)
    answer = sdk.Storage.Study.split(**target(study), series_uid=f"{ROOT}.5.2", delete_series_from_original="1")
    half = sdk.Addon.Study.wait(study_uid=answer.text, namespace_id=study.storage_namespace, timeout=30, ws_timeout=5)
    assert half.image_count == 2
    assert sdk.Study.get(uuid=study.uuid).get().image_count == 2
    sdk.Addon.Job.wait_completion(sdk.Storage.Study.merge, **target(study), secondary_study_uid=half.study_uid,
                                  delete_secondary_study=True)
    assert sdk.Study.get(uuid=study.uuid).get().image_count == 4
    with pytest.raises(NotFound):
        sdk.Study.get(uuid=half.uuid).get()


def test_regions_are_anonymised(sdk, place, tmp_path):
    study = upload(sdk, tmp_path, place, 6)
    region = {"regions": [{"x": 0, "y": 0, "width": 8, "height": 8}]}
    made = sdk.Addon.Study.anonymize_and_get(**target(study), region=region, color="000000", timeout=60)
    assert made.study_uid != study.study_uid and made.image_count == 4
    before = next(iter(pixels_of(sdk, study).values()))
    for dataset in pixels_of(sdk, made).values():
        assert dataset.PixelData[:16] == bytes(16), "obscured"
        assert dataset.PixelData[-SIDE * 2:] != bytes(SIDE * 2), "the rest is there"
        assert len(dataset.PixelData) == len(before.PixelData)


def test_sharing_and_taking_back(server, sdk, place, tmp_path):
    study = upload(sdk, tmp_path, place, 7)
    other = sdk.Group.add(account_id=place[0], name="Clinic").get()
    sdk.Study.share(uuid=study.uuid, group_id=other.uuid).get()
    shared = sdk.Study.list().filter_by(Filter("phi_namespace", FilterCondition.equals, other.namespace_id)).all()
    assert [one.study_uid for one in shared] == [study.study_uid]
    sdk.Study.share_stop(uuid=study.uuid, group_id=other.uuid).get()
    shared = sdk.Study.list().filter_by(Filter("phi_namespace", FilterCondition.equals, other.namespace_id)).all()
    assert list(shared) == []
    link = sdk.Link.add(action="STUDY_VIEW", study_id=study.uuid, prompt_for_anonymize=0).get()
    session = requests.post(f"{server.origin}/api/v3/link/session", data={"uuid": link.uuid}, verify=server.verify, timeout=30)
    assert session.json()["sid"]
    sdk.Link.delete(uuid=link.uuid).get()
    copy = sdk.Addon.Study.duplicate_and_get(study.uuid, other.namespace_id, timeout=30)
    assert copy.phi_namespace == other.namespace_id and copy.image_count == 4
    for gone in (study, copy):
        sdk.Study.delete(uuid=gone.uuid).get()
        with pytest.raises(NotFound):
            sdk.Study.get(uuid=gone.uuid).get()


def test_patient_data_are_corrected(server, sdk, place, tmp_path):
    study = upload(sdk, tmp_path, place, 8, name="Wrong^Name", patient="WRONG-1")
    before = pixels_of(sdk, study)
    # A title that is no value of its attribute is refused, and nothing changes.
    with pytest.raises(PreconditionFailed):
        sdk.Study.set(uuid=study.uuid, patient_name="Right^Name", patient_birth_date="the third").get()
    assert sdk.Study.get(uuid=study.uuid).get().patient_name == "Wrong^Name"
    sdk.Study.set(uuid=study.uuid, patient_name="Right^Name", patientid="RIGHT-1", patient_birth_date="1980-02-03",
                  study_description="Corrected").get()
    now = sdk.Study.get(uuid=study.uuid).get()
    assert (now.patient_name, now.patientid, now.patient_birth_date) == ("Right^Name", "RIGHT-1", "19800203")
    # Every door says the same.
    after = pixels_of(sdk, study)
    assert after.keys() == before.keys()
    for uid, dataset in after.items():
        assert (dataset.PatientName, dataset.PatientID, dataset.StudyDescription) == ("Right^Name", "RIGHT-1", "Corrected")
        assert dataset.PixelData == before[uid].PixelData
        history = dataset.OriginalAttributesSequence[-1]
        assert history.ReasonForTheAttributeModification == "CORRECT"
        assert history.ModifiedAttributesSequence[0].PatientName == "Wrong^Name"
        assert dataset.PatientName.original_string == b"Right^Name"
    namespace = place[1].namespace_id
    base = f"{server.origin}/namespaces/{namespace}/dicomweb"
    accept = {"Accept": "application/dicom+json"}
    get = lambda path, **more: requests.get(base + path, auth=server.auth, verify=server.verify, headers=accept, timeout=30, **more)
    found = get("/studies", params={"PatientID": "RIGHT-1"}).json()
    assert [row["0020000D"]["Value"][0] for row in found] == [study.study_uid]
    assert get("/studies", params={"PatientID": "WRONG-1"}).status_code == 204
    metadata = get(f"/studies/{study.study_uid}/metadata").json()
    assert {row["00100010"]["Value"][0]["Alphabetic"] for row in metadata} == {"Right^Name"}
    names = {row.name for row in sdk.Study.list().filter_by(Filter("patientid", FilterCondition.equals, "RIGHT-1")).all() if "name" in row}
    assert not names
    answer = sdk.Storage.Study.download(**target(now), bundle="dicom")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            if data[128:132] == b"DICM" and "DICOMDIR" not in name:
                assert pydicom.dcmread(io.BytesIO(data)).PatientName == "Right^Name"
    # The original is an older version, which needs a permission of its own: this one's administrator has it not.
    image = f"/studies/{study.study_uid}/series/{study.study_uid}.1/instances/{study.study_uid}.1.1"
    versions = get(image + "/versions").json()["versions"]
    assert [version["original"] for version in versions] == [False, True]
    assert versions[0]["correction"]["of"] == versions[1]["version"]
    viewer = member(server, sdk, place, "viewer", study_view=1, study_browse=1)
    original = {"params": {"version": versions[1]["version"]}, "verify": server.verify, "timeout": 30,
                "headers": {"Accept": "application/dicom; transfer-syntax=*"}}
    assert requests.get(base + image, auth=(viewer, PASSWORD), **original).status_code == 403
    assert requests.get(base + image, auth=server.auth, **original).status_code == 200
    # Who may not edit does not correct, and who may only look at a field does not correct that one.
    with pytest.raises(NotPermitted):
        api(server, viewer, PASSWORD).Study.set(uuid=study.uuid, patient_name="Other").get()
    editor = member(server, sdk, place, "editor", study_view=1, study_browse=1, study_edit=1, study_field_patient_name="O")
    with pytest.raises(NotPermitted):
        api(server, editor, PASSWORD).Study.set(uuid=study.uuid, patient_name="Other").get()
    api(server, editor, PASSWORD).Study.set(uuid=study.uuid, accession_number="B7").get()
    now = sdk.Study.get(uuid=study.uuid).get()
    assert (now.patient_name, now.accession_number, now.image_count) == ("Right^Name", "B7", 4)


def test_reasons_are_asked_for(server, sdk, admin, place, tmp_path):
    study = upload(sdk, tmp_path, place, 12, num_series=1, num_images=1)
    admin.ok("account/set", uuid=place[0], setting_study_edit_reason=1)
    assert admin.error("study/set", uuid=study.uuid, patient_sex="F") == ("MISSING_FIELDS", ["reason"])
    admin.ok("study/set", uuid=study.uuid, patient_sex="F", reason="the form said so")
    admin.ok("account/set", uuid=place[0], setting_study_edit_reason=0)
    assert sdk.Study.get(uuid=study.uuid).get().patient_sex == "F"
    admin.ok("study/freeze", uuid=study.uuid)
    assert admin.error("study/set", uuid=study.uuid, patient_sex="M")[0] == "NOT_PERMITTED"


def test_clone_and_split_as_calls(server, sdk, admin, place, tmp_path):
    study = upload(sdk, tmp_path, place, 13)
    copy = sdk.Study.clone(uuid=study.uuid, new_image_uids=1, new_series_uids=1).get().study_uid
    again = sdk.Study.clone(uuid=study.uuid, new_image_uids=1, new_series_uids=1).get().study_uid
    assert copy == again != study.study_uid, "sent again, it is the same clone"
    assert sdk.Study.get(study_uid=copy, storage_namespace=study.storage_namespace).get().image_count == 4
    other = sdk.Group.add(account_id=place[0], name="Parts").get()
    admin.ok("study/split", uuid=study.uuid, namespace_id=other.namespace_id)
    parts = sdk.Study.list().filter_by(Filter("phi_namespace", FilterCondition.equals, other.namespace_id)).all()
    assert sorted(part.image_count for part in parts) == [2, 2]
    assert admin.error("study/split", uuid=study.uuid, namespace_id="0" * 32) == ("NOT_FOUND", "namespace_id")


def test_patients_are_merged_and_parted(server, sdk, admin, place, tmp_path):
    account, namespace = place[0], place[1].namespace_id
    one = upload(sdk, tmp_path, place, 14, num_series=1, num_images=1, patient="MERGE-1")
    upload(sdk, tmp_path, place, 15, num_series=1, num_images=1, patient="MERGE-2")
    stays, goes = (admin.ok("patient/add", account_id=account, name=f"P{number}", mrn=f"MERGE-{number}")["uuid"] for number in (1, 2))
    studies = lambda: {row["study_uid"] for row in admin.ok("patient/study/list", uuid=stays)["studies"]}
    assert studies() == {f"{ROOT}.14"}
    admin.ok("patient/merge", uuid=stays, src=json.dumps([goes]), do_delete=1, email="p@example.org")
    admin.ok("patient/merge", uuid=stays, src=json.dumps([goes]), do_delete=1)
    assert studies() == {f"{ROOT}.14", f"{ROOT}.15"}
    assert admin.ok("patient/get", uuid=stays)["email"] == "p@example.org"
    assert admin.error("patient/get", uuid=goes)[0] == "NOT_FOUND"
    # An image of the study under the merged number belongs to it now.
    stream = lambda number, patient: patient_image(f"{ROOT}.14", number, patient)
    assert store(server, namespace, stream(7, "MERGE-2")) == 200
    assert sdk.Study.get(uuid=one.uuid).get().image_count == 2
    back = admin.ok("patient/merge/undo", uuid=stays, src=json.dumps([goes]))["patients"]
    assert studies() == {f"{ROOT}.14"} and admin.ok("patient/get", uuid=back[0])["mrn"] == "MERGE-2"
    # Once they are two again, it is held, and somebody decides.
    assert store(server, namespace, stream(8, "MERGE-2")) in (200, 202)
    held = admin.ok("exception/list", namespace_id=namespace)["exceptions"]
    assert [(row["study_uid"], row["patientid"]) for row in held] == [(f"{ROOT}.14", "MERGE-2")]
    assert sdk.Study.get(uuid=one.uuid).get().image_count == 2
    clinic = sdk.Group.add(account_id=account, name="Held").get().namespace_id
    moved = admin.ok("exception/move", uuid=held[0]["uuid"], namespace_id=namespace, to_namespace=clinic)
    assert moved["image_count"] == 1 and admin.ok("exception/list", namespace_id=namespace)["exceptions"] == []
    store(server, namespace, stream(9, "MERGE-3"))
    held = admin.ok("exception/list", namespace_id=namespace)["exceptions"]
    admin.ok("exception/reject", uuid=held[0]["uuid"], namespace_id=namespace)
    store(server, namespace, stream(10, "MERGE-4"))
    held = admin.ok("exception/list", namespace_id=namespace)["exceptions"]
    admin.ok("exception/accept", uuid=held[0]["uuid"], namespace_id=namespace)
    assert admin.ok("exception/list", namespace_id=namespace)["exceptions"] == []
    assert sdk.Study.get(uuid=one.uuid).get().image_count == 3


def test_what_waits_for_approval_is_an_activity(server, sdk, admin, place, tmp_path):
    study = upload(sdk, tmp_path, place, 16, num_series=1, num_images=1)
    careful = sdk.Group.add(account_id=place[0], name="Careful", must_approve=1).get()
    sdk.Study.share(uuid=study.uuid, group_id=careful.uuid, message="please look").get()
    rows = list(sdk.Activity.list(account_id=place[0]).all())
    assert [(row.type, row.share_message, row.study.study_uid) for row in rows] == [("STUDY_APPROVE", "please look", study.study_uid)]
    assert sdk.Activity.get(uuid=rows[0].uuid).get().namespace_name == "Careful"
    assert admin.ok("activity/list/count", account_id=place[0])["count"] == 1
    sdk.Study.approve(uuid=rows[0].study_id).get()
    assert admin.ok("activity/list/count", account_id=place[0])["count"] == 0


def listen(server, sid, channel, seconds, frames):
    async def run():
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(f"{server.origin}/api/v3/channel/websocket") as socket:
                await socket.send_str(json.dumps({"action": "subscribe", "channel": channel, "sid": sid}))
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    try:
                        frame = await socket.receive(timeout=max(0.1, end - time.monotonic()))
                    except asyncio.TimeoutError:
                        return
                    if frame.type != aiohttp.WSMsgType.TEXT:
                        frames.append(frame.type.name)
                        return
                    frames.append(frame.json())

    asyncio.run(run())


def test_channels_tell_only_who_may_hear(server, sdk, admin, place, tmp_path):
    namespace = place[1].namespace_id
    sdk.Session.user().get()
    sdk.User.add(account_id=place[0], first="No", last="Body", email="nobody@example.org",
                        password=PASSWORD, mobile_phone=None).get()
    stranger = api(server, "nobody@example.org", PASSWORD)
    stranger.Session.user().get()
    heard = {name: [] for name in ("own", "stranger", "nobody", "nonsense")}
    threads = [threading.Thread(target=listen, args=(server, sid, channel, 8, heard[name])) for name, sid, channel in (
        ("own", sdk.sid, f"study.{namespace}"), ("stranger", stranger.sid, f"study.{namespace}"),
        ("nobody", "0" * 64, f"study.{namespace}"), ("nonsense", sdk.sid, "study.everything"))]
    [thread.start() for thread in threads]
    time.sleep(2)
    upload(sdk, tmp_path, place, 9, num_series=1, num_images=1)
    [thread.join() for thread in threads]
    events = [frame for frame in heard["own"] if frame.get("event")]
    assert heard["own"][0] == {"status": "OK", "channel": f"study.{namespace}"}
    assert {(event["event"], event["study_uid"]) for event in events} == {("READY", f"{ROOT}.9")}
    for name, token in (("stranger", "NOT_PERMITTED"), ("nobody", "INVALID_SID"), ("nonsense", "NOT_PERMITTED")):
        assert [frame["error_type"] for frame in heard[name]] == [token], name

def test_a_channel_ends_with_its_session(server, sdk, place, tmp_path):
    namespace, frames = place[1].namespace_id, []
    other = api(server)
    other.Session.user().get()
    thread = threading.Thread(target=listen, args=(server, other.sid, f"study.{namespace}", 6, frames))
    thread.start()
    time.sleep(1)
    other.Session.logout().get()
    upload(sdk, tmp_path, place, 10, num_series=1, num_images=1)
    thread.join()
    assert frames[0]["status"] == "OK"
    assert [frame.get("error_type") for frame in frames[1:]] == ["INVALID_SID"], frames


def test_a_plain_request_for_the_channel_is_answered(server):
    answer = requests.get(f"{server.origin}/api/v3/channel/websocket", verify=server.verify, timeout=10)
    assert answer.status_code in (401, 412)
    answer = requests.get(f"{server.origin}/api/v3/channel/websocket", verify=server.verify, timeout=10,
                          headers={"Connection": "Upgrade", "Upgrade": "websocket"})
    assert answer.status_code == 400


def test_jobs_of_others_are_not_there(server, sdk, place):
    manager = WSManager(sdk.ws_url)
    with manager.channel(sdk.sid, f"job.{place[1].namespace_id}"):
        pass
    caller = requests.post(f"{server.origin}/api/v3/job/get", data={"sid": sdk.sid, "id": "nobody's"}, verify=server.verify,
                           timeout=10)
    assert caller.status_code == 412 and caller.json()["error_type"] == "NOT_FOUND"


ASYNC = """
import asyncio, pathlib, sys
from ambra_sdk.api import AsyncApi

async def run(url, login, password, folder, namespace):
    sdk = AsyncApi.with_creds(url, login, password, rate_limits=None)
    study = await sdk.Addon.Study.upload_dir_and_get(study_dir=pathlib.Path(folder), namespace_id=namespace, timeout=60)
    print(study.study_uid, study.image_count, study.phantom)
    await sdk.logout()

asyncio.run(run(*sys.argv[1:]))
"""


def test_the_async_client_uploads_and_waits(server, place, tmp_path):
    study = f"{ROOT}.11"
    arguments = [sys.executable, "-c", ASYNC, f"{server.origin}/api/v3", harness.USER, server.password,
                 str(folder(tmp_path, study)), place[1].namespace_id]
    done = subprocess.run(arguments, env=os.environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [study, "4", "0"]


def test_words_for_things_people_and_pages(server, sdk, admin, place, tmp_path):
    study = upload(sdk, tmp_path, place, 17, num_series=1, num_images=1)
    for _ in range(2):
        sdk.Tag.add(tag="teaching", object="Study", object_id=study.uuid).get()
    assert [tag.tag for tag in sdk.Study.get(uuid=study.uuid).get().tags] == ["teaching"]
    assert [(row.tag, row.object_id) for row in sdk.Tag.list(object="Study").get().tags] == [("teaching", study.uuid)]
    assert admin.error("tag/add", tag="x", object="Hat", object_id=study.uuid)[0] == "INVALID_OBJECT"
    sdk.Tag.delete(tag="teaching", object="Study", object_id=study.uuid).get()
    assert admin.error("tag/delete", tag="teaching", object="Study", object_id=study.uuid)[0] == "NOT_FOUND"
    # A message to the group is read by who reads messages there, and counted until the count is set back.
    reader = api(server, member(server, sdk, place, "mail", message_view=1, message_edit=1), PASSWORD)
    sent = sdk.Message.add(body="look at this", subject="study", study_id=study.uuid).get().uuid
    row = next(row for row in reader.Message.list().all() if row.uuid == sent)
    assert (row.body, row.is_mine, row.study_id) == ("look at this", 0, study.uuid)
    assert reader.Message.count().get()["count"] == 1
    reader.Message.count(reset=1).get()
    assert reader.Message.count().get()["count"] == 0
    answer = reader.Message.add(body="seen", group_id=place[1].uuid, parent_id=sent).get().uuid
    assert sdk.Message.get(uuid=answer).get().parent_id == sent
    with pytest.raises(NotPermitted):
        reader.Message.delete(uuid=sent).get()
    reader.Message.delete(uuid=answer).get()
    # An account's words stand over those of the installation; pages read them before anybody is signed in.
    for more in ({}, {"account_id": place[0]}):
        admin.ok("terminology/set", tag="study", language="en", value="Exam" if more else "Study", **more)
    ask = lambda **more: requests.post(f"{server.origin}/api/v3/terminology/tags", data={"language": "en", **more},
                                       verify=server.verify, timeout=10).json()["values"]
    assert (ask(), ask(account_id=place[0]), ask(account_id="0" * 32)) == ({"study": "Study"}, {"study": "Exam"}, {"study": "Study"})
    assert admin.ok("terminology/account/overrides", account_id=place[0])["tags"][0]["val"] == "Exam"
    admin.ok("terminology/set", tag="study", language="en", value="", account_id=place[0])
    assert ask(account_id=place[0]) == {"study": "Study"}
    assert admin.error("terminology/set", tag="study", language="en") == ("NO_VALUE", None)
