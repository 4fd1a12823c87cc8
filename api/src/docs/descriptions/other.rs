//! All that is not DICOMweb: what happened, accounts, the viewer, documents.

use super::super::describe::{Content, Description, Group, Reply, Shape};
use super::super::parameters;
use super::{DELETED, HTML, JSON, NOT_MODIFIED, VALIDATOR, json};

const PAGE: &[Content] = &[Content::new(HTML, Shape::Text)];

const fn page(about: &'static str) -> Reply {
    Reply {
        status: 200,
        about,
        content: PAGE,
        headers: &[],
    }
}

pub(super) static TABLE: &[Description] = &[
    Description {
        query: parameters::CHANGES,
        replies: &[json(
            200,
            "Changes behind the cursor, and the next cursor; it equals `since` when there is nothing new.",
            &[Content::new(JSON, Shape::Json("Changes"))],
        )],
        curl_query: "?limit=100",
        ..Description::new(
            "list_changes",
            Group::Watch,
            "What happened in a namespace",
            "Stored, replaced, deleted, stable: in the order in which it happened, each at least once.",
        )
    },
    Description {
        replies: &[json(
            200,
            "The held studies, each with the address under which it can be looked at.",
            &[Content::new(JSON, Shape::Json("Exceptions"))],
        )],
        ..Description::new(
            "list_exceptions",
            Group::Watch,
            "List held studies",
            "A study whose UID belongs to another patient already is kept apart until somebody decides.",
        )
    },
    Description {
        replies: &[json(200, "Done.", &[Content::new(JSON, Shape::Json("Resolved"))])],
        problems: &[409],
        curl: "-X POST",
        ..Description::new(
            "accept_exception",
            Group::Watch,
            "Accept a held study",
            "Its patient is the one of the study whose UID it has: an alias joins both patients, and the held instances go into \
             that study.",
        )
    },
    Description {
        body: &[Content::new(JSON, Shape::Json("MoveTarget"))],
        replies: &[json(200, "Done.", &[Content::new(JSON, Shape::Json("Resolved"))])],
        problems: &[409],
        curl: "-H 'Content-Type: application/json' -d '{\"namespace\": \"0f3a5c8e1b7d42906e8f1a2b3c4d5e6f\"}'",
        ..Description::new(
            "move_exception",
            Group::Watch,
            "Move a held study",
            "Into another namespace, in which the caller may store.",
        )
    },
    Description {
        replies: &[DELETED],
        curl: "-X DELETE",
        ..Description::new("reject_exception", Group::Watch, "Reject a held study", "It is erased.")
    },
    Description {
        replies: &[json(
            200,
            "The namespaces that the caller may search.",
            &[Content::new(JSON, Shape::Json("Namespaces"))],
        )],
        ..Description::new("list_namespaces", Group::Manage, "List namespaces", "")
    },
    Description {
        replies: &[json(
            200,
            "All accounts.",
            &[Content::new(JSON, Shape::Json("Accounts"))],
        )],
        ..Description::new("list_accounts", Group::Manage, "List accounts", "")
    },
    Description {
        replies: &[json(
            200,
            "The extended tags, and how far the work is.",
            &[Content::new(JSON, Shape::Json("ExtendedTags"))],
        )],
        ..Description::new(
            "list_extended_tags",
            Group::Manage,
            "List extended tags",
            "Searches take every attribute. Those that an administrator lists here are kept for each study, so that the \
             instances of studies that do not match need not be opened; and searches for studies return them where all \
             instances of a study say the same.",
        )
    },
    Description {
        body: &[Content::new(JSON, Shape::Json("NewExtendedTag"))],
        replies: &[json(
            201,
            "Added; studies that are there already follow in the background.",
            &[Content::new(JSON, Shape::Json("ExtendedTag"))],
        )],
        problems: &[409],
        curl: "-H 'Content-Type: application/json' -d '{\"path\": \"ImageComments\"}'",
        ..Description::new(
            "add_extended_tag",
            Group::Manage,
            "Add an extended tag",
            "An attribute of instances, also a private one or one in a sequence. Studies and series are searched by their own \
             attributes without.",
        )
    },
    Description {
        replies: &[DELETED],
        curl: "-X DELETE",
        ..Description::new(
            "remove_extended_tag",
            Group::Manage,
            "Remove an extended tag",
            "What was kept of it goes in the background; searches by it go on.",
        )
    },
    Description {
        query: parameters::VIEWER,
        replies: &[
            Reply {
                status: 302,
                about: "Into the one namespace that comes into question.",
                content: &[],
                headers: &["Location"],
            },
            json(
                300,
                "Several namespaces come into question: a page to choose from.",
                PAGE,
            ),
        ],
        problems: &[404],
        curl_query: "?StudyInstanceUIDs=1.2.3",
        ..Description::new("open_viewer", Group::View, "Open the viewer", "")
    },
    Description {
        replies: &[
            Reply {
                status: 200,
                about: "The page.",
                content: PAGE,
                headers: VALIDATOR,
            },
            NOT_MODIFIED,
        ],
        ..Description::new(
            "view_page",
            Group::View,
            "The viewer's page",
            "It asks nothing but the namespace in its address.",
        )
    },
    Description {
        replies: &[
            Reply {
                status: 200,
                about: "The file.",
                content: &[Content::new("*/*", Shape::Bytes)],
                headers: VALIDATOR,
            },
            NOT_MODIFIED,
        ],
        ..Description::new("view_file", Group::View, "A file of the viewer", "")
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: &[json(
            200,
            "The service's resources and methods.",
            &[
                Content::new("application/vnd.sun.wadl+xml", Shape::Text),
                Content::new("application/xml", Shape::Text),
                Content::new(JSON, Shape::Json("Capabilities")),
            ],
        )],
        curl: "-H 'Accept: application/json'",
        ..Description::new("describe_service", Group::View, "What a DICOMweb service can do", "")
    },
    Description {
        body: &[Content::new(JSON, Shape::Json("NewAccount"))],
        replies: &[json(201, "Made.", &[Content::new(JSON, Shape::Json("Account"))])],
        curl: "-H 'Content-Type: application/json' -d '{\"name\": \"Radiology\"}'",
        ..Description::new(
            "create_account",
            Group::Manage,
            "Make an account",
            "An account is a tenant: nothing of one can be told from another, and each has keys of its own.",
        )
    },
    Description {
        body: &[Content::new(JSON, Shape::Json("NewNamespace"))],
        replies: &[json(201, "Made.", &[Content::new(JSON, Shape::Json("Namespace"))])],
        curl: "-H 'Content-Type: application/json' -d '{\"name\": \"Trial 7\"}'",
        ..Description::new(
            "create_namespace",
            Group::Manage,
            "Make a namespace",
            "A namespace is the space in which a study UID is unique.",
        )
    },
    Description {
        replies: &[page("A page that says what this is.")],
        ..Description::new("home", Group::Documents, "The home page", "")
    },
    Description {
        replies: &[page("This description, for people.")],
        ..Description::new("docs", Group::Documents, "This description", "")
    },
    Description {
        replies: &[json(
            200,
            "This description, for programs.",
            &[Content::new(JSON, Shape::Json("OpenApi"))],
        )],
        ..Description::new("openapi", Group::Documents, "OpenAPI 3.1", "")
    },
    Description {
        replies: &[page("The statement.")],
        ..Description::new(
            "conformance",
            Group::Documents,
            "DICOM Conformance Statement",
            "As PS3.2 asks for it, generated from the tables that the archive works by.",
        )
    },
    Description {
        replies: &[page("The table of the service calls, for people.")],
        ..Description::new("calls_docs", Group::Documents, "The service calls of V3", "")
    },
    Description {
        replies: &[page("The table of the storage API, for people.")],
        ..Description::new("storage_docs", Group::Documents, "The storage API of V3", "")
    },
];
