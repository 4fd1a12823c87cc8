"""A tenant of the permission matrix: an account with one of everything, and users whose role changes from flag to flag."""

import json
import secrets

import requests

import harness
import synthetic
from conftest import Caller
from matrix import MAKE, ROOT

PASSWORD = "a long enough password"
NUM_PER_BUNDLE = 100


def bundle(caller, calls, place):
    """What each call about a place answers: OK, 401 or its token."""
    sid = {"sid": caller.sid} if caller.sid else {}
    items, tokens = [{"URL": row.path, **sid, **row.filled(place)} for row in calls], []
    for start in range(0, len(items), NUM_PER_BUNDLE):
        answer = caller.session.post(f"{caller.base}/bundle", json=items[start : start + NUM_PER_BUNDLE],
                                     verify=caller.verify, timeout=harness.PATIENCE_SECONDS)
        assert answer.status_code == 200, answer.text
        for one in answer.json():
            token = one.get("error_type", "OK")
            token = token[0] if isinstance(token, list) else token
            tokens.append("401" if one["HTTP_STATUS_CODE"] == 401 else token)
    return tokens


class Tenant:
    """What calls are about lies in `own` (a group and a location), `other` (others of the account), `shared` (a study of
    another group that was shared into the own one) and `revoked` (one that is shared no more).

    The member has the role whose flags change in the account and in its own group and location; so has the guest, but for
    the account, where a role permits nothing. Everybody may upload into one more group: where copies go.
    """

    def __init__(self, server, admin, number):
        self.server, self.admin, self.number, self.now = server, Caller(server, admin.sid), number, set()
        made = self.admin.ok("account/add", name=f"Tenant {number}")
        self.account = {"account_id": made["uuid"]}
        self.role, nothing, uploads, spare = (self.admin.ok("role/add", name=name, **self.account)["uuid"]
                                              for name in ("Flags", "Nothing", "Uploads", "Spare"))
        self.admin.ok("role/set", uuid=uploads, permission_study_upload=1)
        units = {(kind, name): self.admin.ok(f"{kind}/add", name=name, **self.account)
                 for kind in ("group", "location") for name in ("Own", "Other", "Source", "Copies")}
        self.source, self.waiting = units["group", "Source"]["namespace_id"], units["location", "Own"]
        self.own = {"account": made["uuid"], "namespace": made["namespace_id"], "role": spare,
                    "destination": units["group", "Copies"]["namespace_id"], "stranger": secrets.token_hex(16)}
        self.callers, users = {}, {}
        for name, role in (("member", self.role), ("guest", nothing), ("gone", self.role), ("user", spare)):
            users[name] = self.user(name, role)
            if name != "user":
                for unit, role in (("Own", self.role), ("Copies", uploads)):
                    for kind in ("group", "location"):
                        self.admin.ok(f"{kind}/user/add", uuid=units[kind, unit]["uuid"], user_id=users[name], role_id=role)
                self.callers[name] = self.admin.signed_in(f"{name}{number}@example.org", PASSWORD)
        self.admin.ok("user/enable", uuid=users["gone"], disable=1)
        self.own["user"] = users["user"]
        for name, made in MAKE.values():
            if "study" not in made.names and name != "study":
                self.own[name] = self.admin.ok(made.path, **made.filled(self.own))["uuid"]
        self.other = self.furnished(units, "Other")
        self.own = self.furnished(units, "Own")
        self.share_things()

    def user(self, name, role):
        email = f"{name}{self.number}@example.org"
        uuid = self.admin.ok("user/add", first=name, last="x", email=email, password=PASSWORD, **self.account)["uuid"]
        self.admin.ok("account/user/set", uuid=self.account["account_id"], user_id=uuid, role_id=role)
        return uuid

    def furnished(self, units, name):
        """What is the account's, and a group and a location that are not empty."""
        group, location, uid = units["group", name], units["location", name], f"{ROOT}.1.{self.number}"
        self.store(location["namespace_id"], uid)
        study = self.store(group["namespace_id"], uid)[uid]
        place = {"group": group["uuid"], "location": location["uuid"], "phi": group["namespace_id"],
                 "storage": group["namespace_id"], "uid": uid, "study": study, "offer": study}
        return self.own | place | self.marks(study)

    def marks(self, study):
        """Things of a study that the administrator made."""
        self.admin.ok("study/star", uuid=study, star=1)
        mark = {"study_id": study, "series_uid": "1.2", "instance_uid": "1.2.3", "frame_number": 0}
        return {"annotation": self.admin.ok("annotation/add", json="{}", **mark)["uuid"],
                "keyimage": self.admin.ok("keyimage/add", version=0, **mark)["uuid"],
                "message": self.admin.ok("message/add", study_id=study, body="b")["uuid"],
                "comment": self.admin.ok("study/comment/add", study_id=study, body="b")["uuid"],
                "link": self.admin.ok("link/add", action="STUDY_VIEW", study_id=study)["uuid"]}

    def store(self, namespace, *uids):
        """Stores studies of one image; {study UID: uuid} of the namespace."""
        streams = [synthetic.instance(uid, f"{uid}.1", f"{uid}.1.1", 1, bytes(512), 16) for uid in uids]
        if streams:
            content_type, body = harness.multipart(streams)
            answer = requests.post(f"{self.server.origin}/namespaces/{namespace}/dicomweb/studies", data=body, timeout=60,
                                   params={"sid": self.admin.sid}, verify=self.server.verify,
                                   headers={"Content-Type": content_type, "Accept": "application/dicom+json"})
            assert answer.status_code == 200, answer.text
        listed = self.admin.ok("study/list", filter__phi_namespace__equals=namespace)["studies"]
        return {study["study_uid"]: study["uuid"] for study in listed}

    def share_things(self):
        """Studies of another group: one shared, one shared no more, one that waits; and copies where copies go."""
        shared, revoked, waiting = (f"{ROOT}.{number}" for number in (2, 3, 4))
        self.sources = self.store(self.source, shared, revoked, waiting)
        self.shared = self.share(shared)
        self.revoked = self.share(revoked)
        self.admin.ok("study/share/stop", uuid=self.sources[revoked], group_id=self.own["group"])
        for place in (self.own, self.shared):
            self.admin.ok("study/duplicate", uuid=place["study"], namespace_id=self.own["destination"])
        self.admin.ok("location/set", uuid=self.waiting["uuid"], must_approve=1)
        self.offer(waiting)
        self.own["offer"] = self.store(self.waiting["namespace_id"])[waiting]

    def share(self, uid):
        self.admin.ok("study/share", uuid=self.sources[uid], group_id=self.own["group"])
        study = self.store(self.own["phi"])[uid]
        return self.own | {"storage": self.source, "study": study, "uid": uid} | self.marks(study)

    def offer(self, uid):
        self.admin.ok("study/share", uuid=self.sources[uid], location_id=self.waiting["uuid"])

    def mend(self, path):
        """Puts back what a call took that was permitted."""
        if path == "study/delete":
            self.shared = self.share(f"{ROOT}.2")
        if path == "study/reject":
            self.offer(f"{ROOT}.4")

    def permit(self, flags, denied=()):
        """The role permits just these, and denies those."""
        wanted = {flag: 1 for flag in flags} | {flag: -1 for flag in denied}
        changed = {flag: 0 for flag in self.now} | wanted
        self.admin.ok("role/set", uuid=self.role, permissions=json.dumps(changed))
        self.now = set(wanted)
