"""The rows of the permission matrix of API V3, and what the reference says of them.

What is expected comes from the reference alone (SEPTUM_REFERENCE, or shared/reference beside the clone): section 8 of
`api_v3.md`, for entrypoints that it leaves out the page `vendor/api.html` beside it, and section 9 for the 201 flags.
"""

import dataclasses
import html
import os
import pathlib
import re
import string

import harness

REFERENCE = pathlib.Path(os.environ.get("SEPTUM_REFERENCE", harness.TOP.parent / "shared" / "reference"))
ROOT = "1.2.826.0.1.3680043.10.1479.93"

@dataclasses.dataclass(frozen=True)
class Call:
    """A call about some place: `$name` in a value is what the place has of that name."""

    path: str
    parameters: tuple = ()
    answer: str = "OK"

    @property
    def names(self):
        return {name for _, value in self.parameters for name in re.findall(r"\$(\w+)", value)}

    def filled(self, place):
        return {string.Template(name).substitute(place): string.Template(value).substitute(place)
                for name, value in self.parameters}


def call(line):
    line, _, answer = line.partition(" : ")
    path, *pairs = line.split()
    return Call(path, tuple(tuple(pair.split("=", 1)) for pair in pairs), answer.strip() or "OK")


# Words of the permission column that are no flags: whatever they mean, no flag stands for them.
NOT_FLAGS = {
    "sysadmin",  # runs the installation, is no tenant's user
    "site_management_account_id",  # a parameter of account/set with a rule of its own
    "use_upload_permission",  # a parameter of study/set, given below: study_upload is enough then
    "image_count",  # a parameter of study/sync, given below: study_upload is enough then
}
# Columns that say more than flags: the flags of which one is needed, and why.
RULES = {
    "annotation/set": ({"annotation_edit"}, "…_only_own narrows annotation_edit and gives nothing alone (section 9)"),
    "annotation/delete": ({"annotation_edit"}, "as annotation/set"),
    "keyimage/delete": ({"keyimage_edit"}, "and one's own: see OWNERSHIP"),
    "study/comment/delete": ({"study_comment_edit"}, "and one's own: see OWNERSHIP"),
    "order/sps/find": ({"order_view"}, "for sessions, and these are"),
    "role/settings": ({"role_setting_edit"}, "where a setting is given, and it is"),
    "study/duplicate": ({"study_duplicate"}, "with study_upload where it goes to: everybody here has that there"),
    "tag/delete": ({"study_tag"}, "the column is empty; as tag/add"),
    "message/add": ({"message_edit"}, "query_reply is for questions, which are not here"),
    "message/get": ({"message_view"}, "query_view as message/add"),
    "message/delete": ({"message_edit"}, "and one's own: see OWNERSHIP"),
    "terminology/account/overrides": ({"account_edit"}, "the column is empty; as terminology/set"),
    "study/split": ({"study_split"}, "as study/duplicate"),
    "study/get": ({"study_view", "study_browse"}, "the column is empty, yet NOT_PERMITTED is an answer"),
    "study/status/set": ({"study_status_edit", "study_status_manual_edit"}, "as study/get"),
    "link/add": ({"link_edit"}, "of a link to view; link_edit_upload is for uploads, the others are not here"),
    "link/get": ({"link_view"}, "the row runs into the next column"),
    "link/delete": ({"link_edit"}, "as link/add"),
    "user/get": ({"account_user_view"}, "of others; as study/get"),
    "user/set": ({"user_edit"}, "of others; as study/get"),
    "user/enable": ({"user_edit"}, "as study/get"),
    "study/retrieve": ({"study_thin"}, "as study/get; what is retrieved is thin"),
}
# Of other people than one's own nobody learns that they are there: what others are told who lack the flag.
HIDDEN = {"user/get", "user/set", "user/enable"}
# No flag at all: they answer 401 without a session, and beside that what the reason says.
NO_FLAG = {
    "is how sessions begin": "session/login session/oauth/token",
    "is about oneself": """session/user session/logout session/ttl user/delete user/namespace/list setting/set
        setting/get setting/get/all report/status filter/list filter/add filter/get filter/set filter/delete""",
    "shows what the caller may see": """account/list study/list study/count study/exists role/default/permissions
        activity/list activity/list/count activity/get tag/list message/list message/count""",
    "is what pages say before anybody is signed in": "terminology/list terminology/tags terminology/i18next",
    "needs any role there": """account/get account/settings session/permissions namespace/permissions
        study/permissions study/audit""",
    "the client asks for before it signs in": "namespace/engine/fqdn session/uuid",
    "is for whoever was given the code": "namespace/share_code",
    "is for whoever was given the link": "link/status link/session",
    "is for whoever reads the mail": "user/invite/accept user/password/lost user/password/reset",
    "runs the installation": "account/add account/delete",
}
NO_FLAG = {path for paths in NO_FLAG.values() for path in paths.split()}

# Every call: parameters about a place, and what it answers where it is permitted. Where that changed what later cells
# need, a wrong value or something in use stands in the way behind the permission.
_MARK = "study_id=$study series_uid=1.2 instance_uid=1.2.3 frame_number=0"
_ORDER = "patientid=p patient_name=n accession_number=a patient_sex=O patient_birth_date=20000101 referring_physician=r"
_UNIT = """
    UNIT/list account_id=$account
    UNIT/add account_id=$account name=Own : DUP_NAMESPACE_NAME
    UNIT/get uuid=$UNIT
    UNIT/set uuid=$UNIT
    UNIT/delete uuid=$UNIT : NOT_EMPTY
    UNIT/user/add uuid=$UNIT user_id=$user
    UNIT/user/list uuid=$UNIT
    UNIT/user/delete uuid=$UNIT user_id=$stranger : USER_NOT_FOUND"""
CALL_LINES = f"""
    account/can/share account_id=$account by_type=hat by_id=x with_type=user with_id=x : INVALID_TYPE
    account/can/share/stop account_id=$account by_type=user by_id=x with_type=user with_id=x
    account/can/share/list account_id=$account
    account/set uuid=$account
    account/user/add uuid=$account user_id=$user : ALREADY_EXISTS
    account/user/delete uuid=$account user_id=$stranger : USER_NOT_FOUND
    account/user/get uuid=$account user_id=$user
    account/user/list uuid=$account
    account/user/set uuid=$account user_id=$user
    annotation/list study_id=$study
    annotation/add {_MARK} json={{}}
    annotation/get uuid=$annotation
    annotation/set uuid=$annotation json=[]
    annotation/delete uuid=$annotation
    anonymization/list account_id=$account
    anonymization/add account_id=$account name=x rules=[] : NOT_HASH
    anonymization/get uuid=$profile
    anonymization/set uuid=$profile
    anonymization/delete uuid=$profile
    customfield/list account_id=$account
    customfield/add account_id=$account name=x object=Hat : INVALID_OBJECT
    customfield/get uuid=$field
    customfield/set uuid=$field
    customfield/delete uuid=$field
    {_UNIT.replace("UNIT", "group")}
    {_UNIT.replace("UNIT", "location")}
    keyimage/list study_id=$study
    keyimage/add {_MARK} version=1
    keyimage/get uuid=$keyimage
    keyimage/delete uuid=$keyimage
    namespace/settings uuid=$namespace no_dup_share=0
    order/list account_id=$account
    order/add account_id=$account {_ORDER} sending_facility=s
    order/get uuid=$order
    order/set uuid=$order
    order/delete uuid=$order
    order/sps/add order_id=$order modality=CT
    order/sps/set uuid=$step modality=MR
    order/sps/delete uuid=$step
    order/sps/find account_id=$account
    patient/list account_id=$account
    patient/add account_id=$account name=x email=x : INVALID_EMAIL
    patient/get uuid=$patient
    patient/set uuid=$patient
    patient/delete uuid=$patient
    patient/merge uuid=$patient src=[]
    patient/study/list uuid=$patient
    role/list account_id=$account
    role/add account_id=$account name=x permissions=x : INVALID_JSON
    role/get uuid=$role
    role/set uuid=$role
    role/settings uuid=$role setting_x=1
    role/delete uuid=$role : IN_USE
    study/add study_uid=$uid storage_namespace=$storage phi_namespace=$phi : ALREADY_EXISTS
    study/set study_id=$study use_upload_permission=1
    study/get uuid=$study
    study/delete uuid=$study
    study/sync study_id=$study image_count=1
    study/freeze uuid=$study thaw=1 : ALREADY
    study/report/detail account_id=$account limit=-1 : REPORT_ERROR
    study/retrieve uuid=$study : NOT_THIN
    study/star uuid=$study star=1
    study/status/get study_id=$study
    study/status/set study_id=$study old=a new=b : STALE
    study/clone uuid=$study new_series_uids=x : INVALID_FLAG
    study/split uuid=$study namespace_id=$destination no_split=x : INVALID_FLAG
    study/comment/add study_id=$study body=b
    study/comment/get uuid=$comment
    study/comment/delete uuid=$comment
    study/share uuid=$study rsna=1 : NOT_SUPPORTED
    study/share/stop uuid=$study group_id=$group location_id=$location : INVALID_PARAMETERS
    study/share/list uuid=$study
    study/share/who uuid=$study type=hat : INVALID_TYPE
    study/approve uuid=$study
    study/reject uuid=$offer
    study/duplicate uuid=$study namespace_id=$destination : ALREADY_EXISTS
    study/move uuid=$study namespace_id=$destination : ALREADY_EXISTS
    link/add action=STUDY_VIEW study_id=$study max_hits=0 : INVALID_INTEGER
    link/list study_id=$study
    link/get uuid=$link
    link/delete uuid=$link
    link/mail uuid=$link email=x : INVALID_EMAIL
    link/pin uuid=$link
    tag/add tag=t object=Study object_id=$study
    tag/delete tag=t object=Study object_id=$study
    message/add body=b study_id=$study
    message/get uuid=$message
    message/delete uuid=$message
    terminology/set tag=t language=en account_id=$account value=v
    terminology/account/overrides account_id=$account
    user/add account_id=$account first=f last=l password=p email=x : INVALID_EMAIL
    user/invite account_id=$account email=x link=x : INVALID_EMAIL
    user/get uuid=$user
    user/set uuid=$user
    user/enable uuid=$user : NOT_DISABLED
"""
# What a call takes away where it is allowed: its name, and the call that makes it. The caller makes it for the cell: what
# is one's own is not refused.
MAKE = {
    "annotation/delete": ("annotation", call(f"annotation/add {_MARK} json={{}}")),
    "anonymization/delete": ("profile", call("anonymization/add account_id=$account name=x rules={}")),
    "customfield/delete": ("field", call("customfield/add account_id=$account name=x object=Study")),
    "keyimage/delete": ("keyimage", call(f"keyimage/add {_MARK} version=2")),
    "patient/delete": ("patient", call("patient/add account_id=$account name=x")),
    "order/delete": ("order", call(f"order/add account_id=$account {_ORDER} sending_facility=s")),
    "order/sps/delete": ("step", call("order/sps/add order_id=$order modality=US")),
    "study/comment/delete": ("comment", call("study/comment/add study_id=$study body=b")),
    "message/delete": ("message", call("message/add body=m study_id=$study")),
    "link/delete": ("link", call("link/add action=STUDY_VIEW study_id=$study description=$fresh")),
    "study/delete": ("study", call(f"study/add study_uid={ROOT}.99.$fresh storage_namespace=$storage phi_namespace=$phi")),
}
# Things of others: the flags of the caller, and whether they are enough.
OWNERSHIP = [
    ("annotation/get uuid=$annotation", "annotation_view", True),
    ("annotation/get uuid=$annotation", "annotation_view annotation_view_only_own", False),
    ("annotation/set uuid=$annotation json=[]", "annotation_edit", True),
    ("annotation/set uuid=$annotation json=[]", "annotation_edit annotation_edit_only_own", False),
    ("annotation/delete uuid=$annotation", "annotation_edit annotation_edit_only_own", False),
    ("keyimage/delete uuid=$keyimage", "keyimage_edit", False),
    ("study/comment/delete uuid=$comment", "study_comment_edit", False),
    ("message/delete uuid=$message", "message_edit message_view", False),
]
# A study that is shared no more, for who may do everything where it was.
REVOKED = """
    study/share uuid=$study group_id=$group
    study/share/stop uuid=$study account_id=$account
    study/share/who uuid=$study type=group
    study/reject uuid=$study
    study/permissions uuid=$study
    study/audit uuid=$study action=VIEW detail=d"""
# Calls that need no flag, about a place of somebody's.
WITHOUT_FLAG = """
    account/get uuid=$account
    account/settings account_id=$account
    account/delete uuid=$account
    session/permissions account_id=$account
    session/permissions namespace_id=$phi
    namespace/permissions namespace_id=$phi
    namespace/permissions study_id=$study
    namespace/share_code namespace_id=$phi
    study/permissions uuid=$study
    study/audit uuid=$study action=VIEW detail=d
    study/audit study_uid=$uid storage_namespace=$storage phi_namespace=$phi action=VIEW detail=d
    study/exists uuid=$study
    study/exists study_uid=$uid storage_namespace=$storage phi_namespace=$phi
    study/list filter.phi_namespace.equals=$phi
    study/count filter.phi_namespace.equals=$phi
    setting/get key=x user_id=$user
    user/namespace/list account_id=$account
    role/default/permissions account_id=$account
    filter/get uuid=$patient"""
# By a UID that nobody else has.
BY_UID = """
    study/list filter.study_uid.equals=$uid
    GET /dicomweb/studies StudyInstanceUID=$uid
    GET /dicomweb/studies/$uid
    GET /dicomweb/studies/$uid/metadata
    GET /dicomweb/studies/$uid/series/$uid.1/instances/$uid.1.1/rendered"""
# One's own with a part of somebody else's. Left out is what such an id is given for: sharing with it, inviting it.
MIXED = """
    study/duplicate uuid=$my_study namespace_id=$phi
    study/move uuid=$my_study namespace_id=$phi
    study/get study_uid=$uid storage_namespace=$storage phi_namespace=$my_phi
    study/get study_uid=$uid storage_namespace=$storage phi_namespace=$phi
    group/add account_id=$my_account name=x role_id=$role
    group/set uuid=$my_group role_id=$role
    group/user/add uuid=$my_group user_id=$user
    account/user/get uuid=$my_account user_id=$user
    account/user/set uuid=$my_account user_id=$my_user role_id=$role
    account/user/set uuid=$my_account user_id=$my_user global_role_id=$role
    study/set study_id=$my_study customfield-$field=x
    order/sps/add order_id=$order modality=CT
    study/list filter_id=$patient
    study/add study_uid=$uid storage_namespace=$phi phi_namespace=$my_phi"""
# Reads through the other doors: each answers whoever may.
READS = """
    GET /namespaces/$phi/dicomweb/studies
    GET /namespaces/$phi/dicomweb/studies PatientName=QUICK*
    GET /namespaces/$phi/dicomweb/studies/$uid
    GET /namespaces/$phi/dicomweb/studies/$uid/metadata
    GET /namespaces/$phi/dicomweb/studies/$uid/rendered
    GET /namespaces/$phi/dicomweb/studies/$uid/series/$uid.1/instances
    GET /namespaces/$phi/dicomweb/studies/$uid/series/$uid.1/instances/$uid.1.1
    GET /namespaces/$phi/dicomweb/studies/$uid/series/$uid.1/instances/$uid.1.1/frames/1
    GET /namespaces/$phi/dicomweb/studies/$uid/series/$uid.1/instances/$uid.1.1/versions
    GET /namespaces/$phi/changes
    GET /namespaces/$phi/exceptions
    GET /api/v3/storage/study/$phi/$uid/schema
    GET /api/v3/storage/study/$phi/$uid/count
    GET /api/v3/storage/study/$phi/$uid/tag
    GET /api/v3/storage/study/$phi/$uid/phi
    GET /api/v3/storage/study/$phi/$uid/json
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/dicom
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/json
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/attribute
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/phi
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/frame/0
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/frame/0/thumbnail
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/frame/0/diagnostic
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/frame/0/tiff
    GET /api/v3/storage/study/$phi/$uid/image/$uid.1.1/version/*/cadsr
    GET /api/v3/storage/study/$phi/$uid/download bundle=dicom
    GET /api/v3/storage/study/$phi/$uid/download bundle=iso
    GET /api/v3/storage/dicomweb/$phi/studies/$uid/metadata
    GET /api/v3/storage/dicomweb/$phi/studies/$uid/series/$uid.1/metadata
    GET /api/v3/storage/dicomweb/$phi/studies/$uid/series/$uid.1/instances/$uid.1.1/metadata"""
# Changes through them, and reads of what is not there; `body` is what is sent.
CHANGES = """
    GET /viewer/namespaces/$phi
    GET /api/v3/storage/study/$my_phi/$uid/json phi_namespace=$phi
    GET /api/v3/storage/study/$phi/$uid/json phi_namespace=$my_phi
    GET /api/v3/storage/study/$phi/$uid/attachment/latest
    GET /api/v3/storage/study/$phi/$uid/attachment/$patient/version/$order
    GET /api/v3/storage/study/$phi/$uid/merge secondary_study_uid=$uid
    POST /api/v3/storage/study/$phi/$uid/clone
    POST /api/v3/storage/study/$phi/$uid/split to_namespace=$phi series_uid=$uid.1
    POST /api/v3/storage/study/$phi/$uid/split to_namespace=$my_phi series_uid=$uid.1
    POST /api/v3/storage/study/$my_phi/$my_uid/split to_namespace=$phi series_uid=$my_uid.1
    POST /api/v3/storage/study/$my_phi/$my_uid/clone to_namespace=$phi
    POST /api/v3/storage/study/$phi/$uid/attachment body=x
    POST /api/v3/storage/namespace/$phi/image body=x
    POST /api/v3/storage/namespace/$phi/wrap body=x
    DELETE /api/v3/storage/study/$phi/$uid/image/$uid.1.1
    DELETE /api/v3/storage/study/$phi/$uid/images body=$uid.1.1
    DELETE /api/v3/storage/study/$phi/$uid/cache
    DELETE /api/v3/storage/study/$phi/$uid
    POST /namespaces/$phi/dicomweb/studies body=x
    DELETE /namespaces/$phi/dicomweb/studies/$uid
    POST /namespaces/$phi/exceptions/$patient/accept
    DELETE /namespaces/$phi/exceptions/$patient
    POST /accounts/$account/namespaces body={}"""


def calls(lines):
    return [call(line.strip()) for line in lines.splitlines() if line.strip()]


CALLS = calls(CALL_LINES)
# Those that are about a study, or a group or location: they need no role in the account.
STUDIES = [row for row in CALLS if row.names & {"study", "phi", "annotation", "keyimage", "comment", "link", "offer"}]
UNITS = [row for row in CALLS if row.names & {"group", "location"} and row not in STUDIES]


class Document:
    """What the reference says: all flags, and for each documented path its permission column."""

    def __init__(self):
        text = (REFERENCE / "api_v3.md").read_text()
        self.flags = re.findall(r"`([a-z0-9_]+)=[01]{4}`", text)
        self.columns = {}
        for table in re.findall(r"<table.*?</table>", (REFERENCE / "vendor" / "api.html").read_text(), re.S):
            cells = {name: " ".join(html.unescape(re.sub("<.*?>", " ", value)).split())
                     for name, value in re.findall(r"<th>(.*?)</th>\s*<td>(.*?)</td>", table, re.S)}
            self.columns[cells.get("URL", "").strip("/ ")] = cells.get("Permission", "–")
        rows = re.findall(r"^\| `/([a-z0-9/_]+)` \| [S12] \| (.*?) \|", text, re.M)
        self.columns |= dict(rows)
        assert (len(self.flags), len(rows)) == (201, 169)

    def all_of(self, path):
        """The flags that are needed together, where one is not enough."""
        words = set() if path in RULES else set(re.split(r" and | ; ", self.columns[path]))
        return words if len(words) > 1 and words <= set(self.flags) else set()

    def needed(self, path):
        """The flags of which one is needed, and enough."""
        if path in RULES:
            return RULES[path][0]
        if self.all_of(path):
            return set()
        words = set(re.split(r" or |/", self.columns[path]))
        assert words <= {*self.flags, *NOT_FLAGS}, f"{path}: {words}"
        return words & set(self.flags)
