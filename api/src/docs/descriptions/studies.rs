//! Search, store and delete.

use septum_core::query::Level;

use super::super::describe::{Content, Description, Group, Reply, Shape};
use super::super::parameters;
use super::{ACCEPT_DICOM_JSON, DELETED, DICOM, DICOM_JSON, DICOM_XML, JSON, MULTIPART, json};

const RESULTS: &[Reply] = &[
    Reply {
        status: 200,
        about: "The results.",
        content: &[
            Content::new(DICOM_JSON, Shape::Json("DicomJsonDatasets")),
            Content::new(JSON, Shape::Json("DicomJsonDatasets")),
            Content::new(MULTIPART, Shape::Bytes),
        ],
        headers: &["Warning"],
    },
    json(204, "Nothing matches.", &[]),
];

const STORED: &[Content] = &[
    Content::new(DICOM_JSON, Shape::Json("StoreResponse")),
    Content::new(JSON, Shape::Json("StoreResponse")),
    Content::new(DICOM_XML, Shape::Bytes),
];

const COMMITMENT: &[Content] = &[
    Content::new(DICOM_JSON, Shape::Json("DicomJsonDataset")),
    Content::new(JSON, Shape::Json("DicomJsonDataset")),
    Content::new(DICOM_XML, Shape::Bytes),
];

pub(super) static TABLE: &[Description] = &[
    Description {
        query: parameters::SEARCH,
        attributes_of: Some(Level::Study),
        replies: RESULTS,
        curl: ACCEPT_DICOM_JSON,
        curl_query: "?PatientName=Doe*&StudyDate=20260101-&limit=25",
        ..Description::new(
            "search_studies",
            Group::Search,
            "Search for studies",
            "Attributes are matched by keyword, by tag or by a path into a sequence (`00400275.00400009`), of every level: \
             what lies below the study matches when one series or instance has it all.",
        )
    },
    Description {
        query: parameters::SEARCH,
        attributes_of: Some(Level::Series),
        replies: RESULTS,
        curl: ACCEPT_DICOM_JSON,
        curl_query: "?Modality=MR",
        ..Description::new(
            "search_series",
            Group::Search,
            "Search for series",
            "Of all studies, or of the one in the path. Attributes are matched as in the search for studies.",
        )
    },
    Description {
        query: parameters::SEARCH,
        attributes_of: Some(Level::Instance),
        replies: RESULTS,
        curl: ACCEPT_DICOM_JSON,
        curl_query: "?SOPClassUID=1.2.840.10008.5.1.4.1.1.4&includefield=WindowCenter",
        ..Description::new(
            "search_instances",
            Group::Search,
            "Search for instances",
            "Of all studies, of the study in the path, or of its series. Attributes are matched as in the search for studies.",
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        body: &[Content::new(MULTIPART, Shape::Bytes), Content::new(DICOM, Shape::Bytes)],
        replies: &[
            json(200, "All instances are stored, and durable.", STORED),
            json(
                202,
                "Some are stored; or all are, with warnings. The body says what became of each.",
                STORED,
            ),
            json(409, "None is stored: the reason of each stands in the body.", STORED),
            json(500, "None is stored, and it is the server's fault.", STORED),
            json(503, "None is stored: too much work at the moment.", STORED),
            json(507, "None is stored: there is no space left.", STORED),
        ],
        problems: &[409, 503, 507, 500],
        curl: "-H 'Content-Type: application/dicom' --data-binary @instance.dcm",
        ..Description::new(
            "store",
            Group::Store,
            "Store instances",
            "Each part of `multipart/related; type=\"application/dicom\"` is one Part 10 stream; a single one may be the \
             whole body. With `type=\"application/dicom+json\"` or `\"application/dicom+xml\"` metadata comes first, then \
             bulk data under the Content-Location that a BulkDataURI names. Bodies may be coded with gzip, deflate or \
             zstd. Instances are kept byte for byte. An answer comes when they are durable. With a study in the path, \
             instances of other studies are refused.",
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        body: &[
            Content::new(DICOM_JSON, Shape::Json("DicomJsonDataset")),
            Content::new(DICOM_XML, Shape::Bytes),
        ],
        replies: &[json(200, "The result: what is kept, and what is not.", COMMITMENT)],
        problems: &[409, 503],
        curl: "-H 'Content-Type: application/dicom+json' --data-binary @references.json",
        ..Description::new(
            "request_commitment",
            Group::Store,
            "Request storage commitment",
            "Storage Commitment Service (PS3.18 section 13). References come as Referenced Study Sequence or Referenced SOP \
             Sequence. What was acknowledged is durable, so the result is there at once.",
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: &[json(200, "The result.", COMMITMENT)],
        problems: &[410],
        curl: ACCEPT_DICOM_JSON,
        ..Description::new(
            "read_commitment",
            Group::Store,
            "Read a storage commitment's result",
            "For an hour, for the user who asked.",
        )
    },
    Description {
        replies: &[DELETED],
        curl: "-X DELETE",
        ..Description::new(
            "delete_study",
            Group::Change,
            "Delete a study",
            "Its keys are destroyed, so that copies of its bytes in backups cannot be read either.",
        )
    },
    Description {
        replies: &[DELETED],
        curl: "-X DELETE",
        ..Description::new("delete_series", Group::Change, "Delete a series", "")
    },
    Description {
        replies: &[DELETED],
        curl: "-X DELETE",
        ..Description::new(
            "delete_instance",
            Group::Change,
            "Delete an instance",
            "With all its versions.",
        )
    },
];
