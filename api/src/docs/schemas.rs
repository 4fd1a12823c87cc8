//! Shapes of JSON bodies (JSON Schema 2020-12, as OpenAPI 3.1 uses it), headers, and what problems there are.

use serde_json::{Value, json};

/// Headers of answers and what they say.
pub const HEADERS: &[(&str, &str)] = &[
    ("ETag", "Changes whenever the content does; for `If-None-Match`."),
    (
        "Warning",
        "What is missing from the answer (RFC 7234 section 5.5, as PS3.18 uses it).",
    ),
    ("Accept-Ranges", "`bytes`: ranges may be asked for."),
    ("Content-Range", "Which bytes these are (RFC 9110 section 14.4)."),
    ("Location", "Where to go."),
    ("Retry-After", "Seconds after which trying again makes sense."),
    ("WWW-Authenticate", "How to sign in (RFC 7617)."),
    ("X-Request-Id", "Names this answer in the server's logs."),
];

/// A kind of problem.
#[derive(Debug)]
pub struct ProblemKind {
    /// Its status.
    pub status: u16,
    /// The last parts of its type, `urn:septum:problem:…`.
    pub kinds: &'static [&'static str],
    /// What it means.
    pub about: &'static str,
    /// Headers that come with it.
    pub headers: &'static [&'static str],
}

const fn kind(status: u16, kinds: &'static [&'static str], about: &'static str) -> ProblemKind {
    ProblemKind {
        status,
        kinds,
        about,
        headers: &[],
    }
}

/// Every status that a problem may have.
pub const PROBLEMS: &[ProblemKind] = &[
    kind(
        400,
        &["bad-request"],
        "The request makes no sense; `detail` names the part.",
    ),
    ProblemKind {
        headers: &["WWW-Authenticate"],
        ..kind(
            401,
            &["unauthenticated"],
            "Nobody is signed in, or the name or password is wrong.",
        )
    },
    kind(403, &["forbidden"], "Signed in, and not permitted."),
    kind(
        404,
        &["not-found", "no-such-frame", "no-viewer"],
        "Not there, or not the caller's to know of.",
    ),
    kind(
        405,
        &["method-not-allowed"],
        "The address does not take this method; `Allow` names those it takes.",
    ),
    kind(
        406,
        &["not-acceptable"],
        "It cannot be had in a form that the client takes; `choices` names those in which it can.",
    ),
    kind(408, &["too-slow"], "The body comes too slowly."),
    kind(
        409,
        &["conflict", "rejected"],
        "Contradicts what is stored; or several namespaces are meant, and `choices` names their addresses.",
    ),
    kind(410, &["gone"], "It was there, and is kept no longer."),
    kind(
        412,
        &["precondition-failed"],
        "What is there is not what `If-Match` names; weak validators never match. Nothing was done.",
    ),
    kind(413, &["too-large"], "The body is longer than `limit_bytes`."),
    kind(
        415,
        &["unsupported-media-type"],
        "A body of another media type is asked for.",
    ),
    ProblemKind {
        headers: &["Retry-After"],
        ..kind(
            429,
            &["too-many-attempts"],
            "Too many failed attempts to sign in from this address.",
        )
    },
    kind(
        500,
        &["corrupt"],
        "What is stored does not pass its own check, so it is not served. Never an answer to anything that a client sends.",
    ),
    ProblemKind {
        headers: &["Retry-After"],
        ..kind(
            503,
            &["overloaded", "unavailable", "audit-unavailable"],
            "Too much work at the moment, or a part of the server does not work.",
        )
    },
    kind(507, &["disk-full"], "There is no space left."),
];

/// What a status of a problem means.
pub fn problem(status: u16) -> Option<&'static ProblemKind> {
    PROBLEMS.iter().find(|kind| kind.status == status)
}

const VALUE_REPRESENTATIONS: &[&str] = &[
    "AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO", "LT", "OB", "OD", "OF", "OL", "OV", "OW", "PN",
    "SH", "SL", "SQ", "SS", "ST", "SV", "TM", "UC", "UI", "UL", "UN", "UR", "US", "UT", "UV",
];

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn id() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-f]{32}$" })
}

fn uid() -> Value {
    json!({ "type": "string", "pattern": "^[0-9.]+$", "maxLength": 64 })
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

fn url() -> Value {
    json!({ "type": "string", "format": "uri" })
}

fn name() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 200 })
}

/// An object all of whose members must be there, but for those that are named optional.
fn object(about: &str, members: Value, optional: &[&str]) -> Value {
    let required: Vec<&String> = members
        .as_object()
        .map(|members| members.keys().filter(|key| !optional.contains(&key.as_str())).collect())
        .unwrap_or_default();
    json!({ "type": "object", "description": about, "required": required, "properties": members })
}

fn list(name: &str, items: &str) -> Value {
    object("", json!({ name: { "type": "array", "items": reference(items) } }), &[])
}

/// All shapes by their names.
pub fn all() -> Value {
    json!({
        "Problem": {
            "type": "object",
            "description": "Problem details (RFC 9457). Holds nothing of a dataset and no part of the request's path.",
            "required": ["type", "title", "status", "detail"],
            "properties": {
                "type": { "type": "string", "pattern": "^urn:septum:problem:[a-z-]+$" },
                "title": { "type": "string" },
                "status": { "type": "integer", "minimum": 400, "maximum": 599 },
                "detail": { "type": "string" },
                "choices": { "type": "array", "items": { "type": "string" }, "description": "What can be asked for instead." },
                "limit_bytes": { "type": "integer" },
                "frames": { "type": "integer", "description": "How many frames there are." },
            },
        },
        "DicomJsonDataset": {
            "type": "object",
            "description": "A dataset in the DICOM JSON Model (PS3.18 annex F): attributes by their tags.",
            "patternProperties": { "^[0-9A-F]{8}$": reference("DicomJsonAttribute") },
            "additionalProperties": false,
        },
        "DicomJsonDatasets": { "type": "array", "items": reference("DicomJsonDataset") },
        "DicomJsonAttribute": {
            "type": "object",
            "description": "One attribute. Without values it has neither Value nor BulkDataURI nor InlineBinary.",
            "required": ["vr"],
            "properties": {
                "vr": { "enum": VALUE_REPRESENTATIONS },
                "Value": {
                    "type": "array",
                    "items": { "anyOf": [
                        { "type": ["string", "number", "null"] },
                        reference("DicomJsonPersonName"),
                        reference("DicomJsonDataset"),
                    ] },
                },
                "BulkDataURI": url(),
                "InlineBinary": { "type": "string", "contentEncoding": "base64" },
            },
            "additionalProperties": false,
        },
        "DicomJsonPersonName": {
            "type": "object",
            "properties": {
                "Alphabetic": { "type": "string" },
                "Ideographic": { "type": "string" },
                "Phonetic": { "type": "string" },
            },
            "additionalProperties": false,
        },
        "StoreResponse": {
            "description": "Store Instances Response (PS3.18 section 10.5.3): what is stored in Referenced SOP Sequence \
                (0008,1199), what is not in Failed SOP Sequence (0008,1198), with Failure Reason (0008,1197) and Error \
                Comment (0000,0902).",
            "allOf": [reference("DicomJsonDataset")],
            "anyOf": [{ "required": ["00081198"] }, { "required": ["00081199"] }],
        },
        "Namespace": object(
            "The space in which a study UID is unique.",
            json!({ "id": id(), "name": { "type": "string" }, "account": id(), "dicomweb": url() }),
            &[],
        ),
        "Namespaces": list("namespaces", "Namespace"),
        "Resolved": object(
            "What became of a held study.",
            json!({ "instances": { "type": "integer", "minimum": 0 } }),
            &[],
        ),
        "MoveTarget": {
            "type": "object",
            "description": "Where a held study is to go.",
            "properties": { "namespace": id() },
            "required": ["namespace"],
            "additionalProperties": false,
        },
        "NewNamespace": {
            "type": "object",
            "required": ["name"],
            "properties": {
                "name": name(),
                "defaultIssuer": {
                    "type": "string",
                    "maxLength": 200,
                    "description": "Issuer of Patient ID where an instance names none.",
                },
            },
            "additionalProperties": false,
        },
        "Account": object("A tenant.", json!({ "id": id(), "name": { "type": "string" } }), &[]),
        "Accounts": list("accounts", "Account"),
        "NewAccount": {
            "type": "object",
            "required": ["name"],
            "properties": { "name": name() },
            "additionalProperties": false,
        },
        "ExtendedTag": object(
            "An attribute that searches are extended by.",
            json!({
                "id": id(),
                "path": { "type": "string", "description": "Tags, with dots into sequences." },
                "vr": { "type": "string", "description": "By the dictionary; LO for private attributes." },
                "privateCreator": { "type": ["string", "null"] },
                "status": {
                    "enum": ["building", "ready"],
                    "description": "Until it is ready, a search by it finds the same and opens more.",
                },
            }),
            &[],
        ),
        "ExtendedTags": {
            "type": "object",
            "required": ["extendedTags", "progress"],
            "properties": {
                "extendedTags": { "type": "array", "items": { "$ref": "#/components/schemas/ExtendedTag" } },
                "progress": {
                    "type": "object",
                    "description": "How many studies were looked at for the list as it is.",
                    "required": ["studies", "done", "failed", "complete"],
                    "properties": {
                        "studies": { "type": "integer" },
                        "done": { "type": "integer" },
                        "failed": { "type": "integer", "description": "Could not be read, and are tried again." },
                        "complete": { "type": "boolean" },
                    },
                },
            },
        },
        "NewExtendedTag": {
            "type": "object",
            "required": ["path"],
            "properties": {
                "path": {
                    "type": "string",
                    "maxLength": 256,
                    "description": "An attribute of instances: keywords or tags, with dots into sequences.",
                },
                "privateCreator": {
                    "type": ["string", "null"],
                    "maxLength": 64,
                    "description": "Who made the private attributes in the path; searches name the creator too.",
                },
            },
            "additionalProperties": false,
        },
        "Version": object(
            "One version of an instance.",
            json!({
                "version": id(),
                "current": { "type": "boolean" },
                "received": time(),
                "transferSyntax": { "type": "string" },
                "warnings": {
                    "type": "array",
                    "items": { "type": "string" },
                    "description": "Leniencies with which it was taken.",
                },
                "correction": {
                    "type": ["object", "null"],
                    "description": "Where it corrects an earlier version: which, who did it, when and why.",
                    "properties": { "of": id(), "by": id(), "at": time(), "reason": { "type": "string" } },
                },
                "original": {
                    "type": "boolean",
                    "description": "A correction came after it: reading it needs `study_view_original`.",
                },
                "url": url(),
            }),
            &[],
        ),
        "Versions": list("versions", "Version"),
        "Change": object(
            "Something that happened.",
            json!({
                "sequence": {
                    "type": "string",
                    "description": "Its number: the same whenever and however the feed is read, and of no other change.",
                },
                "kind": { "enum": [
                    "instance-stored", "instance-replaced", "instance-deleted", "series-deleted", "study-deleted",
                    "study-shared", "study-corrected", "study-stable",
                ] },
                "time": time(),
                "studyInstanceUID": uid(),
                "seriesInstanceUID": uid(),
                "sopInstanceUID": uid(),
            }),
            &["seriesInstanceUID", "sopInstanceUID"],
        ),
        "Changes": object(
            "A page of the change feed.",
            json!({
                "changes": { "type": "array", "items": reference("Change") },
                "next": { "type": "string", "description": "Cursor of the next page." },
            }),
            &[],
        ),
        "Exception": object(
            "A held study.",
            json!({
                "id": { "type": "string", "pattern": "^[0-9a-f]{64}$" },
                "reason": { "type": "string" },
                "studyInstanceUID": uid(),
                "attributes": reference("DicomJsonDataset"),
                "url": url(),
            }),
            &[],
        ),
        "Exceptions": list("exceptions", "Exception"),
        "Capabilities": object(
            "What a service can do.",
            json!({
                "base": url(),
                "resources": {
                    "type": "array",
                    "items": object("", json!({
                        "path": { "type": "string" },
                        "methods": {
                            "type": "array",
                            "items": object(
                                "",
                                json!({ "method": { "type": "string" }, "name": { "type": "string" } }),
                                &[],
                            ),
                        },
                    }), &[]),
                },
            }),
            &[],
        ),
        "OpenApi": {
            "type": "object",
            "description": "An OpenAPI description.",
            "required": ["openapi", "info", "paths"],
        },
    })
}
