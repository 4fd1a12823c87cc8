"""The verbs of PS3.18 as other people's software uses them: dicomweb-client, and plain HTTP where that has no verb."""

import io
import time
import warnings

import dicomweb_client
import numpy
import pydicom
import pytest

import corpus_files
import synthetic
from harness import ORIGINAL, dataset_hash, dataset_of, multipart, outcomes, parts_of

SERIES = "series/ct-ge-hispeed-28"


@pytest.fixture(scope="module")
def series(corpus):
    files = [file for file in corpus_files.composite_and_other(corpus) if file.name.startswith(SERIES)]
    assert len(files) == 28
    return files


@pytest.fixture(scope="module")
def client(server, series):
    """dicomweb-client against a server that holds one CT series."""
    answer = server.store([file.read() for file in series])
    assert answer.status_code == 200, (answer.status_code, answer.text[:300])
    assert len(outcomes(answer)) == len(series)
    return dicomweb_client.DICOMwebClient(server.url, session=server.session)


def test_store_by_the_library(client, corpus):
    dataset = pydicom.dcmread(corpus / "pydicom" / "CT_small.dcm")
    answer = client.store_instances([dataset])
    assert len(answer.ReferencedSOPSequence) == 1
    assert not getattr(answer, "FailedSOPSequence", [])


def test_search_studies_series_instances(client, series):
    study, one_series = series[0].study, series[0].series
    found = [item for item in client.search_for_studies(search_filters={"StudyInstanceUID": study})]
    assert len(found) == 1
    assert found[0]["00201208"]["Value"] == [28]
    assert len(client.search_for_series(study)) == len({file.series for file in series})
    assert len(client.search_for_instances(study, one_series)) == sum(file.series == one_series for file in series)
    assert len(client.search_for_instances(study, limit=5, offset=3)) == 5


@pytest.mark.parametrize("pattern", ["exact", "prefix*", "*suffix", "*infix*", "question", "lower case"])
def test_patient_name_wildcards(client, server, corpus, pattern):
    path = corpus / "pydicom" / "CT_small.dcm"
    assert server.store([path.read_bytes()]).status_code in (200, 202)
    header = corpus_files.read_header(path)
    name = str(header.PatientName)
    value = {"exact": name, "prefix*": name[:3] + "*", "*suffix": "*" + name[-3:], "*infix*": f"*{name[1:-1]}*",
             "question": "?" + name[1:], "lower case": name.lower()}[pattern]
    found = client.search_for_studies(search_filters={"PatientName": value})
    assert header.StudyInstanceUID in [item["0020000D"]["Value"][0] for item in found]


def test_search_by_date_range_and_uid_list(client, server, corpus):
    path = corpus / "pydicom" / "CT_small.dcm"
    assert server.store([path.read_bytes()]).status_code in (200, 202)
    header = corpus_files.read_header(path)
    study, date = header.StudyInstanceUID, str(header.StudyDate)
    for value in (date, f"{date}-", f"-{date}", f"{date}-{date}"):
        found = client.search_for_studies(search_filters={"StudyDate": value})
        assert study in [item["0020000D"]["Value"][0] for item in found], value
    for separator in (",", "\\"):
        found = client.search_for_studies(search_filters={"StudyInstanceUID": separator.join([study, "1.2.3.4"])})
        assert len(found) == 1


def test_nothing_found_is_no_error(client):
    assert client.search_for_studies(search_filters={"PatientID": "nobody-has-this-id"}) == []


def test_metadata(client, series):
    metadata = client.retrieve_series_metadata(series[0].study, series[0].series)
    assert len(metadata) == sum(file.series == series[0].series for file in series)
    by_uid = {item["00080018"]["Value"][0]: item for item in metadata}
    for file in series[:3]:
        header = corpus_files.read_header(file.path)
        item = by_uid[file.instance]
        assert item["00280010"]["Value"] == [header.Rows]
        assert item["00200032"]["Value"] == [float(value) for value in header.ImagePositionPatient]
        assert "Value" not in item.get("7FE00010", {})


def test_retrieve_instance_series_study(client, series):
    wanted = pydicom.dcmread(series[0].path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = client.retrieve_instance(*series[0].key)
        assert numpy.array_equal(got.pixel_array, wanted.pixel_array)
        assert len(client.retrieve_series(series[0].study, series[0].series)) == sum(
            file.series == series[0].series for file in series)
        assert len(client.retrieve_study(series[0].study)) == len(series)


def test_frames(client, server, series):
    frame, = client.retrieve_instance_frames(*series[0].key, frame_numbers=[1])
    assert frame == pydicom.dcmread(series[0].path).PixelData[: len(frame)]
    path = server.path(*series[0].key) + "/frames/"
    assert server.request("GET", path + "2", headers={"Accept": "application/octet-stream"}).status_code in (400, 404)
    single = server.request("GET", path + "1", headers={"Accept": "application/octet-stream"})
    if single.status_code == 200:
        assert parts_of(single.headers["Content-Type"], single.content)[0][1] == frame


@pytest.mark.septum
def test_multi_frame_frames_by_list(server, corpus):
    for name in ("pydicom/color3d_jpeg_baseline.dcm", "pydicom/emri_small.dcm"):
        if not (corpus / name).is_file():
            continue
        data = (corpus / name).read_bytes()
        assert server.store([data]).status_code in (200, 202)
        header = corpus_files.read_header(corpus / name)
        path = server.path(header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID)
        answer = server.request("GET", path + "/frames/3,1",
                                headers={"Accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'})
        if answer.status_code == 406:
            answer = server.request("GET", path + "/frames/3,1", headers={"Accept": "*/*"})
        assert answer.status_code == 200, (name, answer.status_code, answer.text[:200])
        assert len(parts_of(answer.headers["Content-Type"], answer.content)) == 2


@pytest.mark.septum
def test_conditional_and_head(server, client, series):
    path = server.path(*series[0].key)
    first = server.retrieve(*series[0].key)
    assert first.headers.get("ETag")
    again = server.request("GET", path, headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*',
                                                 "If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304
    head = server.request("HEAD", path, headers={"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'})
    assert head.status_code == 200 and not head.content


@pytest.mark.septum
def test_what_cannot_be_made_is_406(server, client, series):
    answer = server.retrieve(*series[0].key,
                             accept='multipart/related; type="application/dicom"; transfer-syntax=1.2.840.10008.1.2.4.103')
    assert answer.status_code == 406


@pytest.mark.septum
def test_problems_are_described(server, client):
    answer = server.retrieve("1.2.3.4.5.6.7")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["status"] == 404


@pytest.mark.septum
def test_nobody_reads_without_a_password(server, client, series):
    import requests

    for auth in (None, ("admin@localhost", "wrong")):
        for path in ("/studies", server.path(*series[0].key)):
            assert requests.get(server.url + path, auth=auth, verify=server.verify, timeout=30).status_code in (401, 403)


@pytest.mark.septum
def test_store_into_the_wrong_study_is_refused(server, client, corpus):
    data = (corpus / "pydicom" / "MR_small.dcm").read_bytes()
    content_type, body = multipart([data])
    answer = server.request("POST", "/studies/1.2.3.4.5", data=body,
                            headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
    assert answer.status_code == 409 and [word for word, _ in outcomes(answer).values()] == ["refused"]


@pytest.mark.septum
def test_delete_at_each_level(server, corpus):
    """DELETE (Septum's extension): an instance, then its study; a repeat finds nothing."""
    dataset = pydicom.dcmread(corpus / "pydicom" / "CT_small.dcm")
    dataset.StudyInstanceUID = pydicom.uid.generate_uid()
    dataset.SeriesInstanceUID = pydicom.uid.generate_uid()
    streams = []
    for number in range(3):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dataset.InstanceNumber = number
        out = io.BytesIO()
        dataset.save_as(out)
        streams.append((str(dataset.SOPInstanceUID), out.getvalue()))
    assert server.store([stream for _, stream in streams]).status_code == 200
    study, one_series = str(dataset.StudyInstanceUID), str(dataset.SeriesInstanceUID)
    assert server.request("DELETE", server.path(study, one_series, streams[0][0])).status_code in (200, 204)
    assert server.retrieve(study, one_series, streams[0][0]).status_code in (404, 410)
    assert {dataset_hash(stream) for stream in server.datasets(study)} == {dataset_hash(data) for _, data in streams[1:]}
    assert server.request("DELETE", server.path(study)).status_code in (200, 204)
    assert server.retrieve(study).status_code in (404, 410)
    assert server.search("/studies", StudyInstanceUID=study) == []


def test_original_is_what_was_sent(server, client, series):
    got = {dataset_of(stream)[0] for stream in server.datasets(series[0].study)}
    assert got == {dataset_of(file.read())[0] for file in series}


@pytest.mark.septum
def test_one_instance_without_the_form_asked_for_tears_no_study(server):
    """Bits above Bits Stored have no form in HTJ2K, which shows only when the samples are looked at."""
    htj2k, root = "1.2.840.10008.1.2.4.201", "1.2.826.0.1.3680043.10.1479.77"
    clean, overlaid = bytes(range(16)) * 32, b"\xff\xff" * 256
    sent = [synthetic.instance(f"{root}.1", f"{root}.2", f"{root}.{number}", number, pixels, 16)
            for number, pixels in ((4, bytes(low & 15 if at % 2 else low for at, low in enumerate(clean))), (5, overlaid))]
    assert server.store(sent).status_code == 200
    answer = server.retrieve(f"{root}.1", accept=f'multipart/related; type="application/dicom"; transfer-syntax={htj2k}')
    assert answer.status_code == 200, answer.text
    syntaxes = sorted(dataset_of(stream)[0] for _, stream in parts_of(answer.headers["Content-Type"], answer.content))
    assert syntaxes == ["1.2.840.10008.1.2.1", htj2k]
    # Alone it can be refused.
    alone = server.retrieve(f"{root}.1", f"{root}.2", f"{root}.5", accept=f'application/dicom; transfer-syntax={htj2k}')
    assert alone.status_code == 406


def another(corpus, **attributes):
    """A CT image of a study of its own."""
    dataset = pydicom.dcmread(corpus / "pydicom" / "CT_small.dcm")
    uids = {keyword: pydicom.uid.generate_uid() for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}
    for keyword, value in (uids | attributes).items():
        setattr(dataset, keyword, value)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def stream_of(dataset) -> bytes:
    out = io.BytesIO()
    dataset.save_as(out)
    return out.getvalue()


@pytest.mark.septum
def test_bulk_data_that_searches_name_can_be_had(server, corpus):
    text = "a{BULK}b"
    dataset = another(corpus, StudyDescription=text)
    assert server.store([stream_of(dataset)]).status_code == 200
    study = dataset.StudyInstanceUID
    for path in (f"/studies/{study}/instances", f"/instances?StudyInstanceUID={study}"):
        found = server.search(path, includefield="all")[0]
        uri = found["7FE00010"]["BulkDataURI"]
        assert uri.startswith(found["00081190"]["Value"][0]) and found["00081030"]["Value"] == [text]
        answer = server.session.get(uri, timeout=30)
        assert answer.status_code == 200 and len(answer.content) >= 32768
        xml = server.request("GET", path, params={"includefield": "all"},
                             headers={"Accept": 'multipart/related; type="application/dicom+xml"'})
        assert xml.status_code == 200 and xml.text.count("{BULK}") == 1 and f'uri="{uri}"' in xml.text
    for path in (f"/studies?StudyInstanceUID={study}", f"/studies/{study}/metadata"):
        assert server.request("GET", path).json()[0]["00081030"]["Value"] == [text]


@pytest.mark.septum
def test_the_newest_is_found_at_every_door(server, corpus):
    """An instance sent again, corrected: searches say what its metadata says."""
    dataset = another(corpus, StudyDescription="first", SeriesDescription="one", AccessionNumber="A-1479-1", Modality="CT")
    assert server.store([stream_of(dataset)]).status_code == 200
    dataset.StudyDescription, dataset.SeriesDescription, dataset.Modality = "second", "two", "MR"
    dataset.PatientName, dataset.AccessionNumber = "Corrected^Name", "A-1479-2"
    assert server.store([stream_of(dataset)]).status_code in (200, 202)
    study = dataset.StudyInstanceUID
    metadata = server.request("GET", f"/studies/{study}/metadata").json()[0]
    levels = {"studies": ("00080050", "00081030", "00100010"), "series": ("0008103E", "00080060"),
              "instances": ("00080050", "00081030", "00100010", "0008103E", "00080060")}
    for level, tags in levels.items():
        found = server.search(f"/{level}", StudyInstanceUID=study, includefield="all")[0]
        assert {tag: found[tag] for tag in tags} == {tag: metadata[tag] for tag in tags}, level
        assert found["00080061"]["Value"] == ["MR"]
        assert len(server.search(f"/{level}", AccessionNumber="A-1479-2", Modality="MR")) == 1
        assert server.search(f"/{level}", AccessionNumber="A-1479-1") == []


@pytest.mark.septum
def test_pixels_of_an_unknown_syntax_are_had_as_stored(server, corpus):
    dataset = another(corpus)
    stream = stream_of(dataset).replace(b"1.2.840.10008.1.2.1\0", b"1.2.3.4.5.6.7.8.9.10", 1)
    assert server.store([stream]).status_code in (200, 202)
    path = server.path(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    for accept in ("*/*", ORIGINAL):
        answer = server.request("GET", path, headers={"Accept": accept})
        (_, content), = parts_of(answer.headers["Content-Type"], answer.content)
        assert dataset_of(content) == dataset_of(stream)
    for where, accept in (("", 'multipart/related; type="application/dicom"'), ("/frames/1", "application/octet-stream"),
                          ("/frames/1", 'multipart/related; type="image/jphc"'), ("/rendered", "image/png"),
                          ("", 'application/dicom; transfer-syntax=1.2.840.10008.1.2.4.201')):
        assert server.request("GET", path + where, headers={"Accept": accept}).status_code == 406, (where, accept)


@pytest.mark.septum
def test_a_deep_instance_breaks_nothing(server, corpus):
    dataset = another(corpus)
    within = dataset
    for _ in range(60):
        item = pydicom.Dataset()
        item.CodeValue = "a"
        within.ContentSequence = [item]
        within = item
    assert server.store([stream_of(dataset), stream_of(another(corpus))]).status_code == 200
    study = dataset.StudyInstanceUID
    assert len(server.search("/instances", InstanceNumber=str(dataset.InstanceNumber))) >= 2
    assert server.search("/instances", StudyInstanceUID=study, includefield="all")[0]["0040A730"]["vr"] == "SQ"
    for path, accept in ((f"/studies/{study}/metadata", 'multipart/related; type="application/dicom+xml"'),
                         (f"/studies/{study}", "application/zip")):
        assert server.request("GET", path, headers={"Accept": accept}).status_code == 200, accept


@pytest.mark.septum
def test_ranges_mean_what_can_be_had_of_them(server, corpus):
    dataset = another(corpus)
    assert server.store([stream_of(dataset)]).status_code == 200
    path = server.path(dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    for where, accept, expected in (
            (server.path(dataset.StudyInstanceUID), "application/*", "application/zip"),
            (server.path(dataset.StudyInstanceUID), 'multipart/related; type="application/dicom";q=0, */*;q=0.5', "application/zip"),
            (server.path(dataset.StudyInstanceUID), "*/*", "multipart/related"),
            (path, "application/*", "application/dicom"),
            (path + "/frames/1", "image/jphc; transfer-syntax=*", "image/jphc"),
            (path + "/frames/1", "image/dicom-rle", "image/dicom-rle"),
            (path + "/frames/1", "image/*; transfer-syntax=*", "image/jphc")):
        answer = server.request("GET", where, headers={"Accept": accept})
        assert answer.status_code == 200, (where, accept, answer.text)
        assert answer.headers["Content-Type"].startswith(expected), (accept, answer.headers["Content-Type"])
    answer = server.request("GET", path + "/frames/1", headers={"Accept": "image/jp2; transfer-syntax=*"})
    assert answer.status_code == 406


@pytest.mark.septum
def test_annotations_are_burned_in(server, corpus):
    dataset = another(corpus)
    assert server.store([stream_of(dataset)]).status_code == 200
    key = dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID
    for depth, end in ((3, "/rendered"), (3, "/frames/1/rendered"), (2, "/rendered"), (1, "/rendered")):
        pictures = []
        for annotation in ({}, {"annotation": "patient"}, {"annotation": "technique"}, {"annotation": "technique,patient"}):
            answer = server.request("GET", server.path(*key[:depth]) + end, headers={"Accept": "image/png"},
                                    params=annotation | {"viewport": "512,512"})
            assert answer.status_code == 200 and "Warning" not in answer.headers, (end, annotation)
            (_, picture), = parts_of(answer.headers["Content-Type"], answer.content)
            pictures.append(picture)
        assert len(set(pictures)) == 4, (depth, end)
    small = server.request("GET", server.path(*key) + "/rendered", params={"annotation": "patient", "viewport": "8,8"})
    assert small.status_code == 200 and "no room" in small.headers["Warning"]


@pytest.mark.septum
def test_extended_tags(server, corpus):
    """Searches by them find the same before, while and after; and return them."""
    dataset, other = (another(corpus, ImageComments=text) for text in ("Extended one", "Extended two"))
    for one in (dataset, other):
        block = one.private_block(0x0029, "SEPTUM TEST", create=True)
        block.add_new(0x01, "LO", one.ImageComments[-3:])
    assert server.store([stream_of(dataset), stream_of(other)]).status_code == 200
    searches = ({"ImageComments": "Extended one"}, {"ImageComments": "*one"},
                {"00290010": "SEPTUM TEST", "00291001": "one"})

    def check():
        for search in searches:
            found = server.search("/studies", **search, StudyInstanceUID=f"{dataset.StudyInstanceUID},{other.StudyInstanceUID}")
            assert [study["0020000D"]["Value"][0] for study in found] == [dataset.StudyInstanceUID], search
        return found

    def asked(method, path="", **options):
        return server.session.request(method, server.origin + "/extended-tags" + path, timeout=60, **options)

    check()
    tags = [{"path": "ImageComments"}, {"path": "00291001", "privateCreator": "SEPTUM TEST"}]
    added = [asked("POST", json=tag) for tag in tags]
    assert [answer.status_code for answer in added] == [201, 201], added[0].text
    assert asked("POST", json=tags[0]).status_code == 409
    for bad in ({"path": "nonsense"}, {"path": "PatientName"}, {"path": "00291001"}, {"path": "PixelData"}, {}, {"paths": 1}):
        assert asked("POST", json=bad).status_code == 400, bad
    check()
    deadline = time.monotonic() + 120
    while not (listed := asked("GET").json())["progress"]["complete"]:
        assert time.monotonic() < deadline, listed
        check()
        time.sleep(0.2)
    assert [(tag["path"], tag["status"], tag["privateCreator"]) for tag in listed["extendedTags"]] == [
        ("00204000", "ready", None), ("00291001", "ready", "SEPTUM TEST")]
    check()
    found = server.search("/studies", StudyInstanceUID=other.StudyInstanceUID, includefield="ImageComments")
    assert found[0].get("00204000", {}).get("Value") in (["Extended two"], None)
    for answer in added:
        assert asked("DELETE", "/" + answer.json()["id"]).status_code == 204
    assert asked("DELETE", "/" + added[0].json()["id"]).status_code == 404
    assert asked("GET").json()["extendedTags"] == []
    check()
