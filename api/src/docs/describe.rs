//! What a description is made of.

use septum_core::dicom::TransferSyntax;
use septum_core::query::Level;

use crate::routes::frame_media_type;

/// The routes that are shown under one heading.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// QIDO-RS.
    Search,
    /// WADO-RS and what is like it.
    Retrieve,
    /// STOW-RS.
    Store,
    /// Our extensions to the Studies Service.
    Change,
    /// What happened, what is held.
    Watch,
    /// The viewer's page and files; what a service can do.
    View,
    /// Accounts and namespaces.
    Manage,
    /// Pages and documents.
    Documents,
}

impl Group {
    /// All, in the order shown.
    pub const ALL: [Self; 8] = [
        Self::Search,
        Self::Retrieve,
        Self::Store,
        Self::Change,
        Self::Watch,
        Self::View,
        Self::Manage,
        Self::Documents,
    ];

    /// Its heading.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Search => "Search (QIDO-RS)",
            Self::Retrieve => "Retrieve (WADO-RS, WADO-URI)",
            Self::Store => "Store (STOW-RS)",
            Self::Change => "Delete",
            Self::Watch => "Changes and exceptions",
            Self::View => "Viewer and capabilities",
            Self::Manage => "Accounts and namespaces",
            Self::Documents => "Documents",
        }
    }

    /// What it is about.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Search => "Search Transaction of the Studies Service (PS3.18 section 10.6).",
            Self::Retrieve => {
                "Retrieve Transaction of the Studies Service (PS3.18 section 10.4), the URI Service (PS3.18 section 9), and the versions of an instance."
            }
            Self::Store => "Store Transaction of the Studies Service (PS3.18 section 10.5).",
            Self::Change => "Extensions of the Studies Service that DICOM does not define.",
            Self::Watch => {
                "What became of studies, and studies that are held because their UID belongs to another patient."
            }
            Self::View => {
                "The viewer, rooted at one namespace; and what a DICOMweb service can do (PS3.18 section 8.9)."
            }
            Self::Manage => "Tenants, and the spaces in which a study UID is unique.",
            Self::Documents => "Open to everybody; they hold nothing about this installation.",
        }
    }
}

/// What one route does; holds for all its paths.
#[derive(Debug)]
pub struct Description {
    /// The route's name in the route table.
    pub name: &'static str,
    /// Where it is shown.
    pub group: Group,
    /// What it does, in a few words.
    pub summary: &'static str,
    /// What else is to be known, in whole sentences.
    pub details: &'static str,
    /// Query parameters beside attributes.
    pub query: &'static [QueryParameter],
    /// The level whose attributes, and those of the levels above, may be matched as query parameters.
    pub attributes_of: Option<Level>,
    /// What the request's body may be; empty where there is none.
    pub body: &'static [Content],
    /// Answers that are no problem.
    pub replies: &'static [Reply],
    /// Statuses of problems that this route has beyond those of all routes of its kind.
    pub problems: &'static [u16],
    /// Options for curl in the example: headers, body.
    pub curl: &'static str,
    /// The query in the example, with its question mark; may be empty.
    pub curl_query: &'static str,
}

impl Description {
    /// One without parameters, body, problems and options.
    pub const fn new(name: &'static str, group: Group, summary: &'static str, details: &'static str) -> Self {
        Self {
            name,
            group,
            summary,
            details,
            query: &[],
            attributes_of: None,
            body: &[],
            replies: &[],
            problems: &[],
            curl: "",
            curl_query: "",
        }
    }
}

/// What a query parameter's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number from 0.
    Number,
    /// `true` or `false`.
    Truth,
    /// Texts: the parameter may repeat.
    List,
    /// 32 hexadecimal digits.
    Id,
    /// A media type.
    MediaType,
}

/// A query parameter.
#[derive(Debug, Clone, Copy)]
pub struct QueryParameter {
    /// Its name.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// What it is for.
    pub about: &'static str,
}

/// A media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// This one.
    Type(&'static str),
    /// Those in which stored frames leave, by their transfer syntax.
    StoredFrames,
}

/// What bytes of a media type mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// JSON of the shape of this name in [`super::schemas`].
    Json(&'static str),
    /// Bytes, whose shape the media type says.
    Bytes,
    /// Text for people.
    Text,
}

/// A body in one media type.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// Its media type.
    pub media: Media,
    /// What it means.
    pub shape: Shape,
}

impl Content {
    /// Of one media type.
    pub const fn new(media_type: &'static str, shape: Shape) -> Self {
        Self {
            media: Media::Type(media_type),
            shape,
        }
    }

    /// The media types without parameters.
    pub fn media_types(&self) -> Vec<&'static str> {
        match self.media {
            Media::Type(media_type) => vec![media_type],
            Media::StoredFrames => {
                let mut all: Vec<_> = TransferSyntax::all()
                    .filter(|syntax| !syntax.is_video())
                    .map(|syntax| frame_media_type(syntax.uid()))
                    .filter(|media_type| media_type.starts_with("image/"))
                    .collect();
                all.sort_unstable();
                all.dedup();
                all
            }
        }
    }
}

/// An answer that is no problem.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// What it means.
    pub about: &'static str,
    /// What its body may be.
    pub content: &'static [Content],
    /// Names of its headers, see [`super::schemas::HEADERS`].
    pub headers: &'static [&'static str],
}
