//! Parts of paths and query parameters.

use super::describe::{Kind, QueryParameter};

/// A part of a path.
#[derive(Debug)]
pub struct PathParameter {
    /// Its name in the route table.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// What it must look like (ECMA-262 regular expression).
    pub pattern: &'static str,
    /// One that could be.
    pub example: &'static str,
}

const UID: &str = "^[0-9]+(\\.[0-9]+)*$";
const ID: &str = "^[0-9a-f]{32}$";

/// Every part of a path that the route table names.
pub const PATH: &[PathParameter] = &[
    PathParameter {
        name: "account",
        about: "Id of an account, from `GET /accounts`.",
        pattern: ID,
        example: "0f3a5c8e1b7d42906e8f1a2b3c4d5e6f",
    },
    PathParameter {
        name: "transaction",
        about: "Transaction UID (0008,1195) of a storage commitment, chosen by the client.",
        pattern: UID,
        example: "2.25.112233445566778899",
    },
    PathParameter {
        name: "namespace",
        about: "Id of a namespace, from `GET /namespaces`.",
        pattern: ID,
        example: "5b0c9e2f7a6d41388c1f2e3d4c5b6a79",
    },
    PathParameter {
        name: "tag",
        about: "Id of an extended tag, from `GET /extended-tags`.",
        pattern: ID,
        example: "3e1d0c9b8a796857463524130f1e2d3c",
    },
    PathParameter {
        name: "exception",
        about: "Id of a held study, from the namespace's exception list.",
        pattern: "^[0-9a-f]{64}$",
        example: "9d8c7b6a5f4e3d2c1b0a9988776655449d8c7b6a5f4e3d2c1b0a998877665544",
    },
    PathParameter {
        name: "study",
        about: "Study Instance UID (0020,000D).",
        pattern: UID,
        example: "1.2.826.0.1.3680043.8.498.1",
    },
    PathParameter {
        name: "series",
        about: "Series Instance UID (0020,000E).",
        pattern: UID,
        example: "1.2.826.0.1.3680043.8.498.1.1",
    },
    PathParameter {
        name: "instance",
        about: "SOP Instance UID (0008,0018).",
        pattern: UID,
        example: "1.2.826.0.1.3680043.8.498.1.1.1",
    },
    PathParameter {
        name: "frames",
        about: "Frame numbers from 1, parted by commas.",
        pattern: "^[1-9][0-9]*(,[1-9][0-9]*)*$",
        example: "1",
    },
    PathParameter {
        name: "bulk",
        about: "What the metadata's BulkDataURI says: the tag of an element, for one inside sequences the path of tags and \
                item numbers, parted by slashes.",
        pattern: "^[0-9A-Fa-f]{8}(/[0-9]+/[0-9A-Fa-f]{8})*$",
        example: "7FE00010",
    },
    PathParameter {
        name: "page",
        about: "What the viewer itself reads.",
        pattern: "^[0-9A-Za-z./_-]+$",
        example: "viewer",
    },
    PathParameter {
        name: "file",
        about: "A file of the viewer.",
        pattern: "^[0-9A-Za-z./_-]+$",
        example: "app-config.js",
    },
];

/// Of pictures.
pub const RENDERED: &[QueryParameter] = &[
    QueryParameter {
        name: "viewport",
        kind: Kind::Text,
        about: "Width and height of the picture; rendered ones also the left, top, width and height of the region shown: \
                `512,512` or `512,512,0,0,256,256` (PS3.18 section 8.3.5.1.3).",
    },
    QueryParameter {
        name: "window",
        kind: Kind::Text,
        about: "Center, width and function, as in `40,400,linear` (PS3.18 section 8.3.5.1.4).",
    },
    QueryParameter {
        name: "quality",
        kind: Kind::Number,
        about: "1 to 100, of JPEG.",
    },
    QueryParameter {
        name: "annotation",
        kind: Kind::Text,
        about: "`patient`, `technique` or both are written into the picture (PS3.18 section 8.3.5.1.1), but for what the \
                caller's roles hide.",
    },
    QueryParameter {
        name: "iccprofile",
        kind: Kind::Text,
        about: "`no`, `yes`, `srgb`, `adobergb`, `rommrgb` or `displayp3` (PS3.18 section 8.3.5.1.5).",
    },
    ACCEPT,
    VERSION,
];

/// Of thumbnails.
pub const THUMBNAIL: &[QueryParameter] = &[
    QueryParameter {
        name: "viewport",
        kind: Kind::Text,
        about: "Most width and height of the picture, as in `128,128`.",
    },
    ACCEPT,
    VERSION,
];

const fn uri(name: &'static str, kind: Kind, about: &'static str) -> QueryParameter {
    QueryParameter { name, kind, about }
}

/// Of WADO-URI (PS3.18 section 9.1).
pub const URI: &[QueryParameter] = &[
    uri("requestType", Kind::Text, "`WADO`. Must be there."),
    uri("studyUID", Kind::Text, "Study Instance UID. Must be there."),
    uri("seriesUID", Kind::Text, "Series Instance UID. Must be there."),
    uri("objectUID", Kind::Text, "SOP Instance UID. Must be there."),
    uri(
        "contentType",
        Kind::MediaType,
        "Media types, the most wanted first, parted by commas; with weights if need be. In place of `Accept`.",
    ),
    uri(
        "transferSyntax",
        Kind::Text,
        "A transfer syntax, or `*` for the stored one; of `application/dicom`.",
    ),
    uri("frameNumber", Kind::Number, "A frame, counted from 1."),
    uri(
        "annotation",
        Kind::Text,
        "Answered with a Warning: no text is burned in.",
    ),
    uri("rows", Kind::Number, "Most height of the picture."),
    uri("columns", Kind::Number, "Most width of the picture."),
    uri(
        "region",
        Kind::Text,
        "Left, top, right and bottom of what is shown, each from 0 to 1.",
    ),
    uri("windowCenter", Kind::Text, "With `windowWidth`."),
    uri("windowWidth", Kind::Text, "With `windowCenter`."),
    uri("imageQuality", Kind::Number, "1 to 100, of JPEG."),
    uri(
        "anonymize",
        Kind::Text,
        "Refused unless it is `no`: instances are sent as they are.",
    ),
    uri(
        "presentationUID",
        Kind::Text,
        "A presentation state to show the image with; without `objectUID`, the first image that it names.",
    ),
    uri("presentationSeriesUID", Kind::Text, "With `presentationUID`."),
];

/// Of the viewer.
pub const VIEWER: &[QueryParameter] = &[
    uri(
        "StudyInstanceUIDs",
        Kind::Text,
        "Studies to open together, parted by commas.",
    ),
    uri("namespace", Kind::Id, "Id of the namespace in which to look."),
];

/// The stand-in for `Accept`.
pub const ACCEPT: QueryParameter = QueryParameter {
    name: "accept",
    kind: Kind::MediaType,
    about: "Media types as in `Accept`, for clients that cannot set headers; beats the header (PS3.18 section 8.3.3.1). May \
            repeat.",
};

/// One of several versions.
pub const VERSION: QueryParameter = QueryParameter {
    name: "version",
    kind: Kind::Id,
    about: "Id of a version, from the instance's `/versions`; without it, the current one.",
};

/// Of retrievals of one instance.
pub const INSTANCE: &[QueryParameter] = &[ACCEPT, VERSION];

/// Of retrievals of more than one.
pub const ACCEPT_ONLY: &[QueryParameter] = &[ACCEPT];

/// Of searches.
pub const SEARCH: &[QueryParameter] = &[
    QueryParameter {
        name: "limit",
        kind: Kind::Number,
        about: "Most results wanted. More than the server's own limit (`limits.search_results`) are never sent; a Warning \
                header says when there are more.",
    },
    QueryParameter {
        name: "offset",
        kind: Kind::Number,
        about: "How many results to skip.",
    },
    QueryParameter {
        name: "includefield",
        kind: Kind::List,
        about: "Attributes that shall come back beyond the required ones: keyword, eight hexadecimal digits, or a path of \
                them with dots; several parted by commas; `all` for all that are known.",
    },
    QueryParameter {
        name: "fuzzymatching",
        kind: Kind::Truth,
        about: "Names also match without diacritics and in any order of their words.",
    },
    QueryParameter {
        name: "emptyvaluematching",
        kind: Kind::Truth,
        about: "The value `\"\"` matches attributes that are absent or empty.",
    },
    QueryParameter {
        name: "multiplevaluematching",
        kind: Kind::Truth,
        about: "A list of values, parted by backslashes, matches attributes that have all of them.",
    },
    QueryParameter {
        name: "orderby",
        kind: Kind::Text,
        about: "Extension: attributes to sort by, most important first, parted by commas, each with `-` before it for \
                descending, as in `-StudyDate,PatientName`. Without it, newest study first.",
    },
    ACCEPT,
];

/// Of the change feed.
pub const CHANGES: &[QueryParameter] = &[
    QueryParameter {
        name: "since",
        kind: Kind::Text,
        about: "A cursor: `next` of the page before. Without it, from the beginning.",
    },
    QueryParameter {
        name: "limit",
        kind: Kind::Number,
        about: "Most changes wanted in this page.",
    },
];
