"""Every entrypoint that answers: without a session, without its flag, with nothing but its flag.

Which flags an entrypoint needs is read from the reference (SEPTUM_REFERENCE, or shared/reference beside the clone), not
from the table the server uses.
"""

import itertools
import os
import pathlib
import re

import pytest

import harness
from conftest import Caller

REFERENCE = pathlib.Path(os.environ.get("SEPTUM_REFERENCE", harness.TOP.parent / "shared" / "reference")) / "api_v3.md"
EMAIL, PASSWORD = "matrix@example.org", "a long enough password"
NARROWING = ("_only_own", "_approved", "_unapproved")
# Rules that are about the caller or the object alone, or about what the installation's own administrator does.
NO_FLAG = {"account/delete", "account/add"}


def reference():
    """{path: flags of which one is needed}, empty where the reference names none; and all flags there are."""
    text = REFERENCE.read_text()
    flags = re.findall(r"`([a-z0-9_]+)=[01]{4}`", text)
    assert len(flags) == 201
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)]
        if len(cells) > 6 and re.fullmatch(r"`/[a-z0-9/_]+`", cells[1]) and cells[2] in ("S", "1", "2"):
            needed = re.sub(r"\\", "", cells[3])
            # Flags that narrow another one give nothing by themselves.
            giving = [flag for flag in flags if not flag.endswith(NARROWING)]
            rows[cells[1].strip("`/")] = {flag for flag in giving if re.search(rf"\b{flag}\b", needed)}
    assert len(rows) == 169
    return rows, flags


@pytest.fixture(scope="module")
def rows():
    if not REFERENCE.is_file():
        pytest.skip(f"no reference at {REFERENCE} (set SEPTUM_REFERENCE)")
    return reference()


class World:
    """An account with one of everything, and a user whose role is changed for each cell."""

    def __init__(self, server, admin):
        self.admin, self.numbers = admin, itertools.count()
        made = admin.ok("account/add", name="Matrix")
        self.account, self.namespace = made["uuid"], made["namespace_id"]
        self.role = admin.ok("role/add", account_id=self.account, name="Matrix")["uuid"]
        self.user_id = admin.ok("user/add", account_id=self.account, first="M", last="X", email=EMAIL,
                                password=PASSWORD)["uuid"]
        admin.ok("account/user/set", uuid=self.account, user_id=self.user_id, role_id=self.role)
        self.other = admin.ok("user/add", account_id=self.account, first="O", last="X", email="other@example.org",
                              password=PASSWORD)["uuid"]
        self.caller = admin.signed_in(EMAIL, PASSWORD)

    def study(self):
        uid = f"1.2.3.{next(self.numbers)}"
        return self.admin.ok("study/add", study_uid=uid, storage_namespace=self.namespace,
                             phi_namespace=self.namespace)["uuid"], uid

    def parameters(self, path):
        """What the call needs, about something of the account's own."""
        number, group = next(self.numbers), path.split("/")[0]
        name, ok, account = f"n{number}", self.admin.ok, {"account_id": self.account}
        mark = {"series_uid": "1.2", "instance_uid": "1.2.3", "frame_number": "0"}
        patient = {"patientid": name, "patient_name": "a", "accession_number": "b", "patient_sex": "O",
                   "patient_birth_date": "20000101", "referring_physician": "c", "sending_facility": "d"}
        needed = {"name": name, **account, "object": "Study", "mrn": name, **patient, "rules": "{}", "old": "x", "new": "y",
                  "user_id": self.other, "namespace_id": self.namespace, "key": "k", "value": "v", "action": "VIEW",
                  "detail": "d", "type": "account", "body": "b", "star": "1", "json": "{}", "version": "1", **mark}
        if group in ("group", "location"):
            needed["uuid"] = ok(f"{group}/add", name=name + "x", **account)["uuid"]
            if path.endswith("user/delete"):
                ok(f"{group}/user/add", uuid=needed["uuid"], user_id=self.other)
        elif group == "account":
            needed["uuid"] = self.account
            needed.pop("name")
            if path in ("account/user/add", "account/user/delete"):
                needed["user_id"] = ok("user/add", **account, first="N", last="N", email=f"{name}@example.org",
                                       password=PASSWORD)["uuid"]
                if path == "account/user/add":
                    ok("account/user/delete", uuid=self.account, user_id=needed["user_id"])
        elif group == "role":
            needed["uuid"] = ok("role/add", name=name + "x", description=name, **account)["uuid"]
        elif group == "customfield":
            needed["uuid"] = ok("customfield/add", name=name + "x", object="Study", **account)["uuid"]
        elif group == "anonymization":
            needed["uuid"] = ok("anonymization/add", name=name + "x", rules="{}", **account)["uuid"]
        elif group == "patient":
            needed["uuid"] = ok("patient/add", name=name + "x", mrn=name + "x", **account)["uuid"]
        elif group == "order":
            needed["uuid"] = ok("order/add", **account, **(patient | {"patientid": name + "x"}))["uuid"]
        elif group in ("annotation", "keyimage", "study", "namespace"):
            uuid, uid = self.study()
            needed |= {"study_id": uuid, "uuid": uuid, "study_uid": uid}
            for kind, added in (("annotation", {"json": "{}"}), ("keyimage", {"version": name})):
                if path in (f"{kind}/get", f"{kind}/set", f"{kind}/delete"):
                    needed["uuid"] = self.caller_made(f"{kind}/add", study_id=uuid, **mark, **added)
            if path in ("study/comment/get", "study/comment/delete"):
                needed["uuid"] = self.caller_made("study/comment/add", study_id=uuid, body=name)
            if path == "study/add":
                needed |= {"study_uid": uid + ".1", "storage_namespace": self.namespace, "phi_namespace": self.namespace}
                needed.pop("study_id"), needed.pop("uuid")
            if path == "namespace/settings":
                needed["uuid"] = self.namespace
        elif group == "link":
            needed["study_id"] = self.study()[0]
            needed["uuid"] = ok("link/add", action="STUDY_UPLOAD", namespace_id=self.namespace, description=name)["uuid"]
        elif path == "user/add":
            needed |= {"first": "N", "last": "N", "email": f"{name}@example.org", "password": PASSWORD}
        return needed

    def caller_made(self, path, **parameters):
        """By the user themselves, so that permissions upon one's own things hold."""
        self.permit({"annotation_edit", "keyimage_edit", "study_comment_edit"})
        return self.caller.ok(path, **parameters)["uuid"]

    def permit(self, flags):
        """The user's role permits just these."""
        every = {flag: int(flag in flags) for flag in self.flags}
        self.admin.ok("role/set", uuid=self.role, permissions=harness.json.dumps(every))


@pytest.fixture(scope="module")
def world(server, admin, rows):
    made = World(server, admin)
    made.flags = rows[1]
    return made


# Whoever has a link is nobody yet.
PUBLIC = {"link/session", "link/status"}
# Of `a/b` in the reference some alternatives are no flags; of others more is needed than one flag, or the object decides.
DIFFERENT = {
    "study/clone", "study/duplicate", "study/split", "link/pin", "study/status/set", "order/sps/find",
    "study/approve", "study/reject", "study/move", "link/add",
}


def test_every_answering_entrypoint_asks_for_its_flag(server, world, rows):
    expected, flags = rows
    nobody, cells, wrong, silent = Caller(server), 0, [], []
    for path, needed in sorted(expected.items()):
        if path in ("session/login", "session/oauth/token", "session/logout", "user/delete"):
            continue
        if world.admin.post(path).json().get("error_type") == "NOT_SUPPORTED":
            silent.append(path)
            continue
        parameters = world.parameters(path)
        cells += 1
        status = nobody.post(path, **parameters).status_code
        if status != 401 and path not in PUBLIC:
            wrong.append((path, "nobody", status))
        if not needed or path in DIFFERENT or path in NO_FLAG:
            continue
        refused = ("NOT_PERMITTED", "NOT_FOUND", "ACCOUNT_NOT_FOUND")
        world.permit(set(flags) - needed)
        answer = world.caller.post(path, **parameters)
        cells += 1
        if answer.status_code != 412 or answer.json()["error_type"] not in refused:
            wrong.append((path, "without", answer.status_code, answer.text[:200]))
        for flag in sorted(needed):
            parameters = world.parameters(path)
            world.permit({flag})
            answer = world.caller.post(path, **parameters)
            cells += 1
            if answer.status_code != 200 and answer.json().get("error_type") in (*refused, "MISSING_FIELDS"):
                wrong.append((path, flag, answer.status_code, answer.text[:200]))
    print(f"{cells} cells, {len(expected) - len(silent)} of {len(expected)} entrypoints answer; not: {' '.join(silent)}")
    assert not wrong, "\n".join(map(str, wrong))
    assert cells > 150
