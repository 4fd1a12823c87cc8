use dicom_core::Tag;
use dicom_dictionary_std::uids;
use proptest::prelude::*;
use septum_core::dicom::attributes::Encoding;

use super::*;
use crate::request::{IccProfileChoice, Target, Viewport};
use crate::testing::{element, frame, header, sequence, shape, words};
use crate::{MediaType, encode};

fn request(pairs: &[(&'static str, &'static str)]) -> RenderRequest {
    RenderRequest::parse(Target::Rendered, pairs.iter().copied()).expect("valid")
}

fn state(class: &str, extra: &[Vec<u8>]) -> Header {
    let mut elements = vec![element(tags::SOP_CLASS_UID, b"UI", class.as_bytes())];
    elements.extend_from_slice(extra);
    header(&elements)
}

fn window(center: &str, width: &str) -> Vec<u8> {
    [
        element(tags::WINDOW_CENTER, b"DS", center.as_bytes()),
        element(tags::WINDOW_WIDTH, b"DS", width.as_bytes()),
    ]
    .concat()
}

/// Overlay attributes of a bitmap of one row and eight columns.
fn overlay(group: u16, bits: u8, layer: &str) -> Vec<u8> {
    [
        words(Tag(group, 0x10), b"US", &[1]),
        words(Tag(group, 0x11), b"US", &[8]),
        element(Tag(group, 0x40), b"CS", b"G"),
        words(Tag(group, 0x50), b"SS", &[1, 1]),
        element(Tag(group, 0x1001), b"CS", layer.as_bytes()),
        element(Tag(group, 0x3000), b"OW", &[bits, 0]),
    ]
    .concat()
}

#[test]
fn grayscale_images() {
    let check = |elements: &[Vec<u8>], photometric: &str, pairs: &[(&'static str, &'static str)], expected: [u8; 3]| {
        let header = header(elements);
        let bytes = [0, 51, 102];
        let frame = frame(&bytes, shape(1, 3, 1, 8), photometric);
        let image = Renderer::new(&header)
            .render(0, &frame, &request(pairs))
            .expect("rendered");
        assert_eq!((image.channels(), image.pixels()), (1, &expected[..]));
        assert!(image.warnings().is_empty());
    };
    let wide = window("127.5", "255");
    let asked = [("window", "51,102,linear-exact")];
    check(&[], "MONOCHROME2", &[], [0, 128, 255]);
    check(&[], "MONOCHROME1", &[], [255, 128, 0]);
    check(std::slice::from_ref(&wide), "MONOCHROME2", &[], [0, 51, 102]);
    check(std::slice::from_ref(&wide), "MONOCHROME2", &asked, [0, 128, 255]);
    check(std::slice::from_ref(&wide), "MONOCHROME1", &asked, [255, 128, 0]);
    // Presentation LUT Shape of an image repeats its Photometric Interpretation.
    let inverse = element(tags::PRESENTATION_LUT_SHAPE, b"CS", b"INVERSE");
    check(&[wide, inverse], "MONOCHROME1", &[], [255, 204, 153]);
}

#[test]
fn colour_images() {
    let empty = header(&[]);
    let render = |samples: &[u8], samples_per_pixel: u16, photometric: &str, pairs| {
        let frame = frame(samples, shape(1, 2, samples_per_pixel, 8), photometric);
        Renderer::new(&empty).render(0, &frame, &request(pairs))
    };
    let image = render(&[1, 2, 3, 4, 5, 6], 3, "RGB", &[("window", "1,2,linear")]).expect("rendered");
    assert_eq!(image.pixels(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(image.warnings(), [RenderWarning::WindowIgnored]);
    let image = render(&[9, 8, 128, 128], 3, "YBR_FULL_422", &[("annotation", "patient")]).expect("rendered");
    assert_eq!(image.pixels(), [9, 9, 9, 8, 8, 8], "there is nothing to be said");
    assert_eq!(image.warnings(), []);
    let named = header(&[element(tags::PATIENT_NAME, b"PN", b"Doe")]);
    let annotated = |hidden: &[u32]| {
        let frame = frame(&[1, 2, 3, 4, 5, 6], shape(1, 2, 3, 8), "RGB");
        let renderer = Renderer::new(&named).hiding(hidden);
        let image = renderer.render(0, &frame, &request(&[("annotation", "patient"), ("viewport", "90,90")]));
        let image = image.expect("rendered");
        (image.pixels().to_vec(), image.warnings().to_vec())
    };
    let hidden = annotated(&[0x0010_0010]);
    assert_eq!(hidden.1, []);
    let shown = annotated(&[]);
    assert_eq!(shown.1, []);
    assert!(shown.0 != hidden.0);
    let error = |samples, samples_per_pixel, photometric| render(samples, samples_per_pixel, photometric, &[]).err();
    assert_eq!(error(&[0; 8], 4, "CMYK"), Some(RenderError::Photometric));
    assert_eq!(error(&[0; 6], 3, "MONOCHROME2"), Some(RenderError::Photometric));
    let descriptor = RenderError::attribute(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR);
    assert_eq!(error(&[0; 2], 1, "PALETTE COLOR"), Some(descriptor));
}

/// A palette of three entries, the first for 100.
fn supplement() -> Vec<u8> {
    let channel = |descriptor: Tag, data: Tag, values: [u16; 3]| {
        let table = words(descriptor, b"US", &[3, 100, 16]);
        (table, words(data, b"OW", &values.map(|value| value * 257)))
    };
    let red = tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR;
    let green = tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR;
    let blue = tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR;
    let (tables, data): (Vec<_>, Vec<_>) = [
        channel(red, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA, [255, 1, 2]),
        channel(green, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA, [0, 3, 4]),
        channel(blue, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA, [0, 5, 6]),
    ]
    .into_iter()
    .unzip();
    [tables.concat(), data.concat()].concat()
}

#[test]
fn supplemental_palettes_colour_what_stands_above_the_grays() {
    let presentation = |value: &str| element(tags::PIXEL_PRESENTATION, b"CS", value.as_bytes());
    let bytes = [0, 50, 99, 100, 101, 255];
    let grays = [0, 0, 0, 129, 129, 129, 255, 255, 255];
    let coloured = [&grays[..], &[255, 0, 0, 1, 3, 5, 2, 4, 6]].concat();
    let render = |elements: &[Vec<u8>], frame_index: u32| {
        let header = header(elements);
        let frame = frame(&bytes, shape(1, 6, 1, 8), "MONOCHROME2");
        let image = Renderer::new(&header).render(frame_index, &frame, &request(&[]));
        let image = image.expect("rendered");
        (image.pixels().to_vec(), image.warnings().to_vec())
    };
    assert_eq!(
        render(&[presentation("COLOR"), supplement()], 0),
        (coloured.clone(), vec![])
    );
    // The window is that of the grays.
    let (pixels, _) = render(&[presentation("COLOR"), window("50", "100"), supplement()], 0);
    assert_eq!((pixels[0], &pixels[9..]), (0, &coloured[9..]));
    // Where none is asked for, or none can be read, all are grays.
    let all_gray = vec![0, 50, 99, 100, 101, 255];
    assert_eq!(
        render(&[presentation("MONOCHROME"), supplement()], 0),
        (all_gray.clone(), vec![])
    );
    let left_out = vec![RenderWarning::SupplementalPaletteLeftOut];
    assert_eq!(render(&[presentation("COLOR")], 0), (all_gray.clone(), left_out));
    // A mixed image says it frame by frame.
    let group = |value: &str| sequence(tags::CT_IMAGE_FRAME_TYPE_SEQUENCE, &[presentation(value)]);
    let groups = sequence(
        tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE,
        &[group("MONOCHROME"), group("COLOR")],
    );
    let mixed = [presentation("MIXED"), supplement(), groups];
    assert_eq!(render(&mixed, 0), (all_gray, vec![]));
    assert_eq!(render(&mixed, 1), (coloured, vec![]));
}

#[test]
fn optical_paths_have_palettes() {
    let palette = || sequence(tags::PALETTE_COLOR_LOOKUP_TABLE_SEQUENCE, &[supplement()]);
    let path = |name: &str, palette: Vec<u8>| {
        [element(tags::OPTICAL_PATH_IDENTIFIER, b"SH", name.as_bytes()), palette].concat()
    };
    let paths = |paths: &[Vec<u8>]| sequence(tags::OPTICAL_PATH_SEQUENCE, paths);
    let render = |elements: &[Vec<u8>], frame_index: u32| {
        let header = header(elements);
        let frame = frame(&[99, 100, 101], shape(1, 3, 1, 8), "MONOCHROME2");
        let image = Renderer::new(&header).render(frame_index, &frame, &request(&[]))?;
        assert_eq!(image.warnings(), []);
        Ok(image.pixels().to_vec())
    };
    let (coloured, gray) = (vec![99, 99, 99, 255, 0, 0, 1, 3, 5], vec![0, 128, 255]);
    assert_eq!(render(&[paths(&[path("1", palette())])], 0), Ok(coloured.clone()));
    let two = || paths(&[path("1", Vec::new()), path("2", palette())]);
    // Which one it is: by the frame, or by the order of frames; else there is no picture.
    let identified = |name: &str| {
        let name = element(tags::OPTICAL_PATH_IDENTIFIER, b"SH", name.as_bytes());
        sequence(tags::OPTICAL_PATH_IDENTIFICATION_SEQUENCE, &[name])
    };
    let frames = || {
        let groups = [identified("2"), identified("1"), identified("3")];
        sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, &groups)
    };
    assert_eq!(render(&[two(), frames()], 0), Ok(coloured.clone()));
    assert_eq!(render(&[two(), frames()], 1), Ok(gray.clone()));
    assert!(matches!(
        render(&[two(), frames()], 2),
        Err(RenderError::Unsupported(_))
    ));
    assert!(matches!(render(&[two()], 0), Err(RenderError::Unsupported(_))));
    let tiled = |frame_index| {
        let order = element(tags::DIMENSION_ORGANIZATION_TYPE, b"CS", b"TILED_FULL");
        let count = element(tags::NUMBER_OF_FRAMES, b"IS", b"6");
        render(&[order, count, two()], frame_index)
    };
    assert_eq!((tiled(2), tiled(3)), (Ok(gray), Ok(coloured)));
    let broken = path("1", sequence(tags::PALETTE_COLOR_LOOKUP_TABLE_SEQUENCE, &[Vec::new()]));
    assert!(matches!(
        render(&[paths(&[broken])], 0),
        Err(RenderError::Attribute { .. })
    ));
}

#[test]
fn presentation_states_take_the_images_place() {
    let image = header(&[
        element(tags::SOP_INSTANCE_UID, b"UI", b"1.2.3"),
        element(tags::RESCALE_SLOPE, b"DS", b"9"),
        window("1", "1"),
        overlay(0x6000, 0b001, ""),
        overlay(0x6002, 0b010, ""),
    ]);
    let bytes = [0, 51, 102];
    let frame = frame(&bytes, shape(1, 3, 1, 8), "MONOCHROME1");
    let check = |class: &str, elements: &[Vec<u8>], channels: usize, expected: &[u8]| {
        let state = state(class, elements);
        let state = PresentationState::new(&state).expect("a state");
        let renderer = Renderer::new(&image).with_presentation_state(state);
        let rendered = renderer.render(0, &frame, &RenderRequest::default()).expect("rendered");
        assert_eq!((rendered.channels(), rendered.pixels()), (channels, expected));
    };
    let gray = uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE;
    let identity = element(tags::PRESENTATION_LUT_SHAPE, b"CS", b"IDENTITY");
    let inverse = element(tags::PRESENTATION_LUT_SHAPE, b"CS", b"INVERSE");
    // Neither the image's rescale, window, overlays nor its photometric interpretation.
    check(gray, std::slice::from_ref(&identity), 1, &[0, 51, 102]);
    check(gray, std::slice::from_ref(&inverse), 1, &[255, 204, 153]);
    let voi = sequence(tags::SOFTCOPY_VOILUT_SEQUENCE, &[window("51.5", "103")]);
    check(gray, &[voi.clone(), identity.clone()], 1, &[0, 128, 255]);
    let other_image = sequence(
        tags::REFERENCED_IMAGE_SEQUENCE,
        &[element(tags::REFERENCED_SOP_INSTANCE_UID, b"UI", b"1.2.4")],
    );
    let other_voi = sequence(
        tags::SOFTCOPY_VOILUT_SEQUENCE,
        &[[other_image, window("5", "5")].concat()],
    );
    check(gray, &[other_voi, identity.clone()], 1, &[0, 51, 102]);
    let flip = element(tags::IMAGE_HORIZONTAL_FLIP, b"CS", b"Y");
    check(gray, &[flip.clone(), identity.clone()], 1, &[102, 51, 0]);
    // The image's overlay 6002 and one of the state's own.
    let active = element(Tag(0x6002, 0x1001), b"CS", b"LAYER");
    let overlays = [identity.clone(), active, overlay(0x6004, 0b100, "LAYER")];
    check(gray, &overlays, 1, &[0, 255, 255]);
    // A palette from black to red for what the VOI gives.
    let channel = |descriptor: Tag, data: Tag, last: u16| {
        [words(descriptor, b"US", &[2, 0, 8]), words(data, b"OW", &[0, last])].concat()
    };
    let palette = [
        channel(
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            255,
        ),
        channel(
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            0,
        ),
        channel(
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
            tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            0,
        ),
    ];
    let pseudo = uids::PSEUDO_COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE;
    let elements = [voi, identity, palette.concat()];
    check(pseudo, &elements, 3, &[0, 0, 0, 255, 0, 0, 255, 0, 0]);
}

#[test]
fn colour_states_turn_and_crop() {
    let class = uids::COLOR_SOFTCOPY_PRESENTATION_STATE_STORAGE;
    let corner = |tag, column: i32, row: i32| element(tag, b"SL", &[column, row].map(i32::to_le_bytes).concat());
    let area = [
        corner(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, 2, 1),
        corner(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, 3, 1),
    ];
    let state = state(
        class,
        &[
            words(tags::IMAGE_ROTATION, b"US", &[90]),
            sequence(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, &[area.concat()]),
        ],
    );
    let image = header(&[element(tags::PIXEL_ASPECT_RATIO, b"IS", b"1\\2")]);
    let samples: Vec<u8> = (1..=9).collect();
    let frame = frame(&samples, shape(1, 3, 3, 8), "RGB");
    let state = PresentationState::new(&state).expect("a state");
    let renderer = Renderer::new(&image).with_presentation_state(state);
    let turned = renderer.render(0, &frame, &RenderRequest::default()).expect("rendered");
    assert_eq!((turned.width(), turned.height()), (1, 2));
    assert_eq!(turned.pixels(), [4, 5, 6, 7, 8, 9]);
    // Pixels were twice as wide as high, and are twice as high as wide once turned.
    let fitted = RenderRequest {
        viewport: Some(Viewport::fit(40, 40)),
        ..RenderRequest::default()
    };
    let fitted = renderer.render(0, &frame, &fitted).expect("rendered");
    assert_eq!((fitted.width(), fitted.height()), (10, 40));
}

#[test]
fn delays() {
    let check = |tag, vr: &[u8; 2], value: &str, expected: u32| {
        let header = header(&[element(tag, vr, value.as_bytes())]);
        assert_eq!(Renderer::new(&header).frame_delay_ms(), expected);
    };
    check(tags::FRAME_TIME, b"DS", "40.5", 40);
    check(tags::CINE_RATE, b"IS", "25", 40);
    check(tags::RECOMMENDED_DISPLAY_FRAME_RATE, b"IS", "10", 100);
    check(tags::FRAME_TIME, b"DS", "0", 100);
    check(tags::CINE_RATE, b"IS", "100000", 10);
}

/// Attributes that steer the pipeline, with any values.
fn steering() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let number = prop_oneof![
        Just("0".to_owned()),
        Just("1e308".to_owned()),
        Just("nan".to_owned()),
        Just("-1e-308\\inf".to_owned()),
        any::<i16>().prop_map(|value| value.to_string()),
        any::<(i32, i8, u8)>().prop_map(|(a, b, c)| format!("{a}\\{b}\\{c}")),
    ];
    let textual = (
        prop::sample::select(vec![
            tags::RESCALE_SLOPE,
            tags::RESCALE_INTERCEPT,
            tags::WINDOW_CENTER,
            tags::WINDOW_WIDTH,
            tags::PIXEL_SPACING,
            tags::PIXEL_ASPECT_RATIO,
            tags::SHUTTER_LEFT_VERTICAL_EDGE,
            tags::SHUTTER_RIGHT_VERTICAL_EDGE,
            tags::SHUTTER_UPPER_HORIZONTAL_EDGE,
            tags::SHUTTER_LOWER_HORIZONTAL_EDGE,
            tags::CENTER_OF_CIRCULAR_SHUTTER,
            tags::RADIUS_OF_CIRCULAR_SHUTTER,
            tags::VERTICES_OF_THE_POLYGONAL_SHUTTER,
            Tag(0x6000, 0x15),
        ]),
        number,
    )
        .prop_map(|(tag, value)| element(tag, b"DS", value.as_bytes()));
    let code = prop::sample::select(vec![
        element(tags::VOILUT_FUNCTION, b"CS", b"SIGMOID"),
        element(tags::VOILUT_FUNCTION, b"CS", b"LINEAR_EXACT"),
        element(tags::SHUTTER_SHAPE, b"CS", b"RECTANGULAR\\CIRCULAR"),
        element(tags::SHUTTER_SHAPE, b"CS", b"POLYGONAL\\BITMAP"),
        element(tags::IMAGE_HORIZONTAL_FLIP, b"CS", b"Y"),
        words(tags::IMAGE_ROTATION, b"US", &[270]),
        words(tags::SHUTTER_OVERLAY_GROUP, b"US", &[0x6002]),
        overlay(0x6000, 0xFF, "L"),
        overlay(0x6002, 0x55, "L"),
    ]);
    let binary = (
        prop::sample::select(vec![
            tags::PIXEL_PADDING_VALUE,
            tags::PIXEL_PADDING_RANGE_LIMIT,
            tags::SHUTTER_PRESENTATION_VALUE,
            Tag(0x6000, 0x10),
            Tag(0x6000, 0x11),
            Tag(0x6000, 0x50),
            Tag(0x6000, 0x51),
            Tag(0x6000, 0x102),
        ]),
        prop::collection::vec(any::<u16>(), 0..3),
    )
        .prop_map(|(tag, values)| words(tag, b"US", &values));
    let table = (
        prop::sample::select(vec![
            tags::MODALITY_LUT_SEQUENCE,
            tags::VOILUT_SEQUENCE,
            tags::PRESENTATION_LUT_SEQUENCE,
        ]),
        prop::collection::vec(any::<u16>(), 0..4),
        prop::collection::vec(any::<u16>(), 0..9),
    )
        .prop_map(|(tag, descriptor, data)| {
            let item = [
                words(tags::LUT_DESCRIPTOR, b"US", &descriptor),
                words(tags::LUT_DATA, b"OW", &data),
            ];
            sequence(tag, &[item.concat()])
        });
    let area = (any::<[i32; 4]>(), any::<bool>()).prop_map(|(corners, small)| {
        let corner = |tag, values: &[i32]| {
            let values = values.iter().map(|&value| if small { value % 20 } else { value });
            element(tag, b"SL", &values.flat_map(i32::to_le_bytes).collect::<Vec<_>>())
        };
        let item = [
            corner(tags::DISPLAYED_AREA_TOP_LEFT_HAND_CORNER, &corners[..2]),
            corner(tags::DISPLAYED_AREA_BOTTOM_RIGHT_HAND_CORNER, &corners[2..]),
        ];
        sequence(tags::DISPLAYED_AREA_SELECTION_SEQUENCE, &[item.concat()])
    });
    prop::collection::vec(
        prop_oneof![4 => textual, 2 => code, 2 => binary, 2 => table, 1 => area],
        0..12,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_attributes_make_it_panic(
        (elements, state_elements) in (steering(), prop::option::of(steering())),
        samples in prop::collection::vec(any::<u8>(), 0..600),
        (rows, columns, samples_per_pixel) in (0_u32..9, 0_u32..9, prop::sample::select(vec![0_u16, 1, 3, 4])),
        (allocated, stored, high) in (prop::sample::select(vec![0_u16, 1, 8, 12, 16, 32, 64]), 0_u16..70, 0_u16..70),
        (signed, planar, frame_index) in (any::<bool>(), any::<bool>(), 0_u32..3),
        kind in prop::sample::select(vec![SampleKind::Integer, SampleKind::Float, SampleKind::Double]),
        photometric in prop::sample::select(vec![
            "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "",
        ]),
        (viewport, region) in (prop::option::of((1_u32..40, 1_u32..40)), any::<[i8; 4]>()),
    ) {
        let header = header(&elements);
        let mut shape = shape(rows, columns, samples_per_pixel, 8);
        (shape.bits_allocated, shape.bits_stored, shape.high_bit) = (allocated, stored, high);
        (shape.signed, shape.planar) = (signed, planar);
        let frame = Frame { samples: &samples, shape, photometric, kind };
        let [left, top, width, height] = region.map(f64::from);
        let request = RenderRequest {
            viewport: viewport.map(|(columns, rows)| Viewport {
                left: left / 16.0,
                top: top / 16.0,
                region_width: Some(width / 16.0),
                region_height: Some(height),
                ..Viewport::fit(columns, rows)
            }),
            icc_profile: IccProfileChoice::Srgb,
            ..RenderRequest::default()
        };
        let state = state_elements.map(|elements| {
            state(uids::GRAYSCALE_SOFTCOPY_PRESENTATION_STATE_STORAGE, &elements)
        });
        let mut renderer = Renderer::new(&header);
        if let Some(state) = &state {
            renderer = renderer.with_presentation_state(PresentationState::new(state).expect("a state"));
        }
        if let Ok(image) = renderer.render(frame_index, &frame, &request) {
            prop_assert_eq!(image.pixels().len(), image.width() * image.height() * image.channels());
            if image.pixels().len() < 10_000 {
                for media_type in [MediaType::Jpeg, MediaType::Png, MediaType::Gif] {
                    prop_assert!(encode(&image, media_type, 50).is_ok());
                }
            }
        }
    }

    #[test]
    fn no_header_bytes_make_it_panic(bytes: Vec<u8>) {
        if let Ok(header) = Header::parse(&bytes, Encoding::ExplicitLittle) {
            let frame = frame(&[0; 4], shape(2, 2, 1, 8), "MONOCHROME2");
            let _ = Renderer::new(&header).render(0, &frame, &RenderRequest::default());
        }
    }
}
