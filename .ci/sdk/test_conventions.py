"""The conventions of every call: envelope, error tokens, sessions, filters, paging, bundles."""

import base64
import datetime
import json

import pytest
import requests

import harness
from conftest import Caller


@pytest.fixture(scope="module")
def account(admin):
    return admin.ok("account/add", name="Conventions")


def test_errors_have_their_form(admin):
    assert admin.error("nothing/here") == ("NOT_SUPPORTED", None)
    assert admin.error("group/add") == ("MISSING_FIELDS", ["name", "account_id"])
    assert admin.error("account/get", uuid="0" * 32) == ("NOT_FOUND", None)
    assert admin.error("group/add", name="x", account_id="nonsense") == ("ACCOUNT_NOT_FOUND", None)
    assert admin.error("session/login", login="a@b", password="wrong", sid="") == ("INVALID_CREDENTIALS", None)


def test_methods(server, admin):
    login = requests.get(f"{admin.base}/session/login", verify=server.verify, timeout=60)
    assert (login.status_code, login.headers["Allow"]) == (405, "POST")
    user = requests.get(f"{admin.base}/session/user", params={"sid": admin.sid}, verify=server.verify, timeout=60)
    assert user.status_code == 200 and user.json()["email"] == harness.USER
    assert requests.get(f"{admin.base}/bundle", verify=server.verify, timeout=60).status_code == 405


def test_every_way_to_sign_in(server, admin):
    url, data = f"{admin.base}/session/user", {}
    token = admin.ok("session/oauth/token", grant_type="client_credentials", client_id=harness.USER,
                     client_secret=server.password, duration=600, sid="")
    assert token["token_type"] == "Bearer" and token["expires_in"] == 600
    basic = base64.b64encode(f"{harness.USER}:{server.password}".encode()).decode()
    for headers in ({"Authorization": f"Bearer {token['access_token']}"}, {"Authorization": f"Basic {basic}"},
                    {"Cookie": f"sid={admin.sid}"}):
        answer = requests.post(url, data=data, headers=headers, verify=server.verify, timeout=60)
        assert answer.status_code == 200, headers.keys()
        # The other door takes the same.
        listed = requests.get(f"{server.origin}/namespaces", headers=headers, verify=server.verify, timeout=60)
        assert listed.status_code == 200, headers.keys()
    by_query = requests.get(f"{server.origin}/namespaces?sid={admin.sid}", verify=server.verify, timeout=60)
    assert by_query.status_code == 200


def test_a_session_that_is_over_is_401(server, admin):
    other = admin.signed_in(harness.USER, server.password)
    assert 0 < other.ok("session/ttl")["ttl"] <= 3 * 3600
    other.ok("session/logout")
    assert other.post("session/user").status_code == 401
    assert requests.get(f"{server.origin}/namespaces?sid={other.sid}", verify=server.verify, timeout=60).status_code == 401
    assert admin.post("session/user", sid="wrong").status_code == 401
    assert Caller(server).post("session/user").status_code == 401


def test_ten_sessions_a_user(server, admin, account):
    email, password = "many@example.org", "a long enough password"
    admin.ok("user/add", account_id=account["uuid"], first="A", last="B", email=email, password=password)
    sessions = [admin.signed_in(email, password) for _ in range(11)]
    assert sessions[0].post("session/user").status_code == 401
    assert all(session.post("session/user").status_code == 200 for session in sessions[1:])


def test_fields_are_selected(admin, account):
    whole = admin.ok("account/get", uuid=account["uuid"])
    assert {"uuid", "name", "namespace_id", "settings"} <= whole.keys()
    assert admin.ok("account/get", uuid=account["uuid"], fields___top='["name"]').keys() == {"status", "name"}
    top = json.dumps(["study_view", "study_edit"])
    flags = admin.ok("session/permissions", account_id=account["uuid"], fields___top=top)
    assert flags == {"status": "OK", "study_view": 1, "study_edit": 1}
    rows = admin.ok("account/list", fields__account='["uuid","name"]')["accounts"]
    assert all(row.keys() == {"uuid", "name"} for row in rows)


def test_lists(admin, account):
    uuid = account["uuid"]
    for name in ("Gamma", "Alpha", "Beta"):
        admin.ok("group/add", account_id=uuid, name=name, must_approve=int(name == "Beta"))

    def names(**parameters):
        return [group["name"] for group in admin.ok("group/list", account_id=uuid, **parameters)["groups"]]

    for parameters, expected in [
        ({"sort_by": "name-asc"}, ["Alpha", "Beta", "Gamma"]),
        ({"sort_by": "must_approve-desc,name-desc"}, ["Beta", "Gamma", "Alpha"]),
        ({"filter__name__equals": "Beta"}, ["Beta"]),
        ({"filter__name__not_equals": "Beta", "sort_by": "name-asc"}, ["Alpha", "Gamma"]),
        ({"filter__name__like": "%a%m%"}, ["Gamma"]),
        ({"filter__name__in": '["Alpha","Delta"]'}, ["Alpha"]),
        ({"filter__name__gt": "Alpha", "sort_by": "name-asc"}, ["Beta", "Gamma"]),
        ({"filter__must_approve__equals": 1}, ["Beta"]),
        ({"filter__share_code__equals_or_null": "x", "sort_by": "name-asc"}, ["Alpha", "Beta", "Gamma"]),
        ({"filter__created__ge": "2001-01-01", "sort_by": "name-asc", "page__rows": 2}, ["Alpha", "Beta"]),
        ({"sort_by": "name-asc", "page__rows": 2, "page__number": 2}, ["Gamma"]),
    ]:
        assert names(**parameters) == expected, parameters
    page = admin.ok("group/list", account_id=uuid, page__rows=2)["page"]
    assert page == {"more": 1, "rows": 2, "number": 1}
    created = admin.ok("group/list", account_id=uuid)["groups"][0]["created"]
    datetime.datetime.strptime(created + "00", "%Y-%m-%d %H:%M:%S.%f%z")
    for parameters, expected in [
        ({"filter__secret__equals": 1}, ("INVALID_FIELD", "secret")),
        ({"filter__name__about": 1}, ("INVALID_CONDITION", "about")),
        ({"sort_by": "secret-asc"}, ("INVALID_SORT_FIELD", "secret")),
        ({"sort_by": "name-up"}, ("INVALID_SORT_ORDER", "name")),
        ({"filter_id": "0" * 32}, ("FILTER_NOT_FOUND", None)),
    ]:
        assert admin.error("group/list", account_id=uuid, **parameters) == expected


def test_saved_filters(admin, account):
    configuration = json.dumps({"filter.name.equals": "Alpha"})
    made = [admin.ok("filter/add", name="f", type="group", configuration=configuration)["uuid"] for _ in range(2)]
    assert made[0] == made[1], "the same sent twice makes one"
    groups = admin.ok("group/list", account_id=account["uuid"], filter_id=made[0])["groups"]
    assert [group["name"] for group in groups] == ["Alpha"]


def test_answers_are_packed(server, admin, account):
    answer = requests.post(f"{admin.base}/session/permissions", verify=server.verify, timeout=60,
                           data={"sid": admin.sid, "account_id": account["uuid"]})
    assert answer.headers["Content-Encoding"] == "gzip" and answer.headers["Content-Type"] == "application/json"


def test_bundles(server, admin):
    calls = [
        {"URL": "/session/login", "login": harness.USER, "password": server.password},
        {"URL": "/account/list", "sid": "{{sid}}", "sort_by": "name-asc"},
        {"URL": "/account/get", "sid": "{{sid}}", "uuid": "{{accounts.[0].uuid}}"},
        {"URL": "/account/get", "sid": "{{sid}}", "uuid": "nonsense"},
        {"URL": "/account/list", "sid": "wrong"},
        {"URL": "/no/such", "sid": "{{sid}}"},
    ]
    answers = requests.post(f"{admin.base}/bundle", json=calls, verify=server.verify, timeout=60).json()
    assert [answer["HTTP_STATUS_CODE"] for answer in answers] == [200, 200, 200, 412, 401, 412]
    assert answers[2]["name"] == answers[1]["accounts"][0]["name"]
    assert answers[5]["error_type"] == "NOT_SUPPORTED"
    broken = requests.post(f"{admin.base}/bundle", data="[1]", verify=server.verify, timeout=60)
    assert broken.status_code == 400


def test_retried_calls_double_nothing(admin, account):
    uuid = account["uuid"]
    roles = [admin.ok("role/add", account_id=uuid, name="Twice")["uuid"] for _ in range(2)]
    assert roles[0] == roles[1]
    assert admin.error("role/set", uuid=roles[0], permissions="{") == (["INVALID_JSON", "permissions"], "permissions")
    field = {"account_id": uuid, "name": "Twice", "object": "Study", "type": "text"}
    assert len({admin.ok("customfield/add", **field)["uuid"] for _ in range(2)}) == 1
    assert admin.error("group/add", account_id=uuid, name="Alpha") == ("DUP_NAMESPACE_NAME", None)
    assert admin.error("account/add", name="Conventions") == ("DUPLICATE_NAME", None)


def test_sessions_outlive_a_restart(server, admin):
    server.stop()
    server.start()
    assert admin.ok("session/user")["email"] == harness.USER


def test_no_sid_in_the_log(server, admin):
    requests.get(f"{server.origin}/namespaces?sid={admin.sid}", verify=server.verify, timeout=60)
    text = server.log.read_text(errors="replace")
    assert admin.sid not in text and server.password not in text
