//! Retrieve Transaction, pictures, versions.

use super::super::describe::{Content, Description, Group, Media, Reply, Shape};
use super::super::parameters;
use super::{ACCEPT_DICOM_JSON, DICOM, DICOM_JSON, JSON, MULTIPART, NOT_MODIFIED, OCTETS, VALIDATOR, json};

const METADATA: &[Reply] = &[
    Reply {
        status: 200,
        about: "A dataset for each instance, without pixel data; large values as BulkDataURI.",
        content: &[
            Content::new(DICOM_JSON, Shape::Json("DicomJsonDatasets")),
            Content::new(JSON, Shape::Json("DicomJsonDatasets")),
            Content::new(MULTIPART, Shape::Bytes),
        ],
        headers: VALIDATOR,
    },
    NOT_MODIFIED,
];

const INSTANCES: &[Reply] = &[
    Reply {
        status: 200,
        about: "Every current instance as a part of application/dicom, each of which says its transfer syntax; or a ZIP file \
                with the originals, or the transfer syntax asked for, and a DICOMDIR.",
        content: &[
            Content::new(MULTIPART, Shape::Bytes),
            Content::new("application/zip", Shape::Bytes),
        ],
        headers: VALIDATOR,
    },
    Reply {
        status: 206,
        about: "Some instances cannot be had in the transfer syntax asked for and are left out.",
        content: &[Content::new(MULTIPART, Shape::Bytes)],
        headers: &["ETag", "Warning"],
    },
    NOT_MODIFIED,
];

const PICTURE: &[Content] = &[
    Content::new("image/jpeg", Shape::Bytes),
    Content::new("image/png", Shape::Bytes),
    Content::new("image/gif", Shape::Bytes),
    Content::new(MULTIPART, Shape::Bytes),
];

/// A picture, or a document or video as it is.
const SHOWN: &[Content] = &[
    Content::new("image/jpeg", Shape::Bytes),
    Content::new("image/png", Shape::Bytes),
    Content::new("image/gif", Shape::Bytes),
    Content::new(MULTIPART, Shape::Bytes),
    Content::new("application/pdf", Shape::Bytes),
    Content::new(OCTETS, Shape::Bytes),
    Content::new("video/mpeg", Shape::Bytes),
    Content::new("video/mp4", Shape::Bytes),
];

const BULK: &[Content] = &[
    Content::new(MULTIPART, Shape::Bytes),
    Content::new(OCTETS, Shape::Bytes),
    Content::new("video/mpeg", Shape::Bytes),
    Content::new("video/mp4", Shape::Bytes),
    Content {
        media: Media::StoredFrames,
        shape: Shape::Bytes,
    },
];

const ALL_BULK: &[Reply] = &[Reply {
    status: 200,
    about: "Each bulk data as a part that says its address: values as bytes, little endian; pixels as native samples, or as \
            stored where they cannot be decoded.",
    content: &[Content::new(MULTIPART, Shape::Bytes)],
    headers: &[],
}];

const ALL_BULK_CURL: &str = "-H 'Accept: multipart/related; type=\"application/octet-stream\"' -o bulkdata.multipart";

const ALL_BULK_DETAILS: &str = "What the metadata names by BulkDataURI. Where there is none, 404.";

const RANGED: &[&str] = &["ETag", "Accept-Ranges"];
const PART: &[&str] = &["ETag", "Accept-Ranges", "Content-Range"];

/// The replies of what may be asked for in ranges of bytes (RFC 9110 section 14).
const fn ranged(status: u16, content: &'static [Content]) -> Reply {
    Reply {
        status,
        about: match status {
            206 => "The range of bytes that was asked for.",
            _ => "The range of bytes asked for is not in it; there is no body.",
        },
        content,
        headers: PART,
    }
}

const THUMBNAIL: &[Reply] = &[
    Reply {
        status: 200,
        about: "The picture.",
        content: PICTURE,
        headers: VALIDATOR,
    },
    NOT_MODIFIED,
];

const PICTURES: &[Reply] = &[Reply {
    status: 200,
    about: "A picture of each instance that can be shown as one; the others are left out.",
    content: &[Content::new(MULTIPART, Shape::Bytes)],
    headers: &[],
}];

const RETRIEVE_DETAILS: &str = "Without a transfer syntax, pixels are decoded and sent as Explicit VR Little Endian, and \
    instances that cannot be decoded as stored; with `transfer-syntax=*`, everything leaves byte for byte as it was received.";

pub(super) static TABLE: &[Description] = &[
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: INSTANCES,
        curl: "-H 'Accept: multipart/related; type=\"application/dicom\"; transfer-syntax=*' -o study.multipart",
        ..Description::new("retrieve_study", Group::Retrieve, "Retrieve a study", RETRIEVE_DETAILS)
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: INSTANCES,
        curl: "-H 'Accept: multipart/related; type=\"application/dicom\"' -o series.multipart",
        ..Description::new(
            "retrieve_series",
            Group::Retrieve,
            "Retrieve a series",
            RETRIEVE_DETAILS,
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: &[
            Reply {
                status: 200,
                about: "The instance, as a part or alone; or a ZIP file with the original and a DICOMDIR.",
                content: &[
                    Content::new(MULTIPART, Shape::Bytes),
                    Content::new(DICOM, Shape::Bytes),
                    Content::new("application/zip", Shape::Bytes),
                ],
                headers: VALIDATOR,
            },
            NOT_MODIFIED,
        ],
        curl: "-H 'Accept: application/dicom; transfer-syntax=*' -o instance.dcm",
        ..Description::new(
            "retrieve_instance",
            Group::Retrieve,
            "Retrieve an instance",
            RETRIEVE_DETAILS,
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: METADATA,
        curl: ACCEPT_DICOM_JSON,
        ..Description::new(
            "retrieve_study_metadata",
            Group::Retrieve,
            "Retrieve a study's metadata",
            "",
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: METADATA,
        curl: ACCEPT_DICOM_JSON,
        ..Description::new(
            "retrieve_series_metadata",
            Group::Retrieve,
            "Retrieve a series' metadata",
            "",
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: METADATA,
        curl: ACCEPT_DICOM_JSON,
        ..Description::new(
            "retrieve_instance_metadata",
            Group::Retrieve,
            "Retrieve an instance's metadata",
            "",
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: &[
            Reply {
                status: 200,
                about: "The frames, in the order asked for; a single one alone, where no multipart/related is accepted.",
                content: &[
                    Content::new(MULTIPART, Shape::Bytes),
                    Content::new(OCTETS, Shape::Bytes),
                    Content {
                        media: Media::StoredFrames,
                        shape: Shape::Bytes,
                    },
                ],
                headers: VALIDATOR,
            },
            NOT_MODIFIED,
        ],
        curl: "-H 'Accept: application/octet-stream' -o frame.raw",
        ..Description::new(
            "retrieve_frames",
            Group::Retrieve,
            "Retrieve frames",
            "As native samples, little endian (`application/octet-stream`); as stored, under their own media type or with \
             `transfer-syntax=*`; as High-Throughput JPEG 2000, JPEG-LS or RLE, all lossless (`image/jphc`, \
             `image/jls`, `image/dicom-rle`), made on the way where nothing else is accepted.",
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: &[
            Reply {
                status: 200,
                about: "The value's bytes, little endian; pixel data also frame by frame, as stored.",
                content: BULK,
                headers: RANGED,
            },
            ranged(206, BULK),
            ranged(416, BULK),
            NOT_MODIFIED,
        ],
        curl: "-H 'Accept: application/octet-stream' -o value.bin",
        ..Description::new(
            "retrieve_bulk_data",
            Group::Retrieve,
            "Retrieve bulk data",
            "The address is the BulkDataURI of the metadata, ready to use.",
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_study_bulk_data",
            Group::Retrieve,
            "Retrieve the bulk data of a study",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_series_bulk_data",
            Group::Retrieve,
            "Retrieve the bulk data of a series",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_all_bulk_data",
            Group::Retrieve,
            "Retrieve the bulk data of an instance",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_study_pixel_data",
            Group::Retrieve,
            "Retrieve the pixel data of a study",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        query: parameters::ACCEPT_ONLY,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_series_pixel_data",
            Group::Retrieve,
            "Retrieve the pixel data of a series",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        query: parameters::INSTANCE,
        replies: ALL_BULK,
        curl: ALL_BULK_CURL,
        ..Description::new(
            "retrieve_pixel_data",
            Group::Retrieve,
            "Retrieve the pixel data of an instance",
            ALL_BULK_DETAILS,
        )
    },
    Description {
        replies: &[json(
            200,
            "The versions, newest first; the first one is current.",
            &[Content::new(JSON, Shape::Json("Versions"))],
        )],
        ..Description::new(
            "list_versions",
            Group::Retrieve,
            "List an instance's versions",
            "A resend with other content never overwrites: it becomes the current version, and the older ones stay readable \
             with `?version=`.",
        )
    },
    Description {
        query: parameters::RENDERED,
        replies: &[
            Reply {
                status: 200,
                about: "The picture; all frames as `image/gif`; a document or video as it is.",
                content: SHOWN,
                headers: RANGED,
            },
            ranged(206, SHOWN),
            ranged(416, SHOWN),
            NOT_MODIFIED,
        ],
        curl: "-H 'Accept: image/png' -o picture.png",
        curl_query: "?window=40,400,linear&viewport=512,512",
        ..Description::new(
            "render_instance",
            Group::Retrieve,
            "Render an instance",
            "JPEG where the client does not choose.",
        )
    },
    Description {
        query: parameters::RENDERED,
        replies: THUMBNAIL,
        curl: "-H 'Accept: image/jpeg' -o frame.jpg",
        ..Description::new("render_frames", Group::Retrieve, "Render frames", "Several as parts.")
    },
    Description {
        query: parameters::RENDERED,
        replies: PICTURES,
        curl: "-H 'Accept: multipart/related; type=\"image/jpeg\"' -o series.multipart",
        ..Description::new("render_series", Group::Retrieve, "Render a series", "")
    },
    Description {
        query: parameters::RENDERED,
        replies: PICTURES,
        curl: "-H 'Accept: multipart/related; type=\"image/jpeg\"' -o study.multipart",
        ..Description::new("render_study", Group::Retrieve, "Render a study", "")
    },
    Description {
        query: parameters::THUMBNAIL,
        replies: THUMBNAIL,
        curl: "-o thumbnail.jpg",
        ..Description::new("thumbnail_of_instance", Group::Retrieve, "Thumbnail of an instance", "")
    },
    Description {
        query: parameters::THUMBNAIL,
        replies: THUMBNAIL,
        curl: "-o thumbnail.jpg",
        ..Description::new("thumbnail_of_frames", Group::Retrieve, "Thumbnail of frames", "")
    },
    Description {
        query: parameters::THUMBNAIL,
        replies: THUMBNAIL,
        curl: "-o thumbnail.jpg",
        ..Description::new(
            "thumbnail_of_series",
            Group::Retrieve,
            "Thumbnail of a series",
            "The instance in the middle of it.",
        )
    },
    Description {
        query: parameters::THUMBNAIL,
        replies: THUMBNAIL,
        curl: "-o thumbnail.jpg",
        ..Description::new(
            "thumbnail_of_study",
            Group::Retrieve,
            "Thumbnail of a study",
            "The instance in the middle of it.",
        )
    },
    Description {
        query: parameters::URI,
        replies: &[
            Reply {
                status: 200,
                about: "The instance, a picture of it, or its document or video as it is.",
                content: &[
                    Content::new(DICOM, Shape::Bytes),
                    Content::new("image/jpeg", Shape::Bytes),
                    Content::new("image/png", Shape::Bytes),
                    Content::new("image/gif", Shape::Bytes),
                    Content::new("application/pdf", Shape::Bytes),
                    Content::new(OCTETS, Shape::Bytes),
                    Content::new("video/mpeg", Shape::Bytes),
                    Content::new("video/mp4", Shape::Bytes),
                ],
                headers: RANGED,
            },
            ranged(206, SHOWN),
            ranged(416, SHOWN),
            NOT_MODIFIED,
        ],
        problems: &[404, 406, 409],
        curl: "-o picture.jpg",
        curl_query: "?requestType=WADO&studyUID=1.2.3&seriesUID=1.2.3.1&objectUID=1.2.3.1.1&contentType=image/jpeg",
        ..Description::new(
            "retrieve_by_uri",
            Group::Retrieve,
            "Retrieve by query parameters (WADO-URI)",
            "`Accept` counts where there is no `contentType`. For `*/*`: a picture where there are pixels, else the document, else \
             the instance.",
        )
    },
];
