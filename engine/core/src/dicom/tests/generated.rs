//! Split and merge are inverse for every dataset and every chunking.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::builder::{Builder, PIXEL_DATA};
use super::*;

#[derive(Debug, Clone)]
enum Node {
    Value(u16, Vec<u8>),
    Sequence {
        defined: bool,
        items: Vec<(bool, Vec<Node>)>,
    },
}

fn node() -> impl Strategy<Value = Node> {
    let value = (0_u16..0x100, vec(any::<u8>(), 0..40)).prop_map(|(tag, value)| Node::Value(tag, value));
    value.prop_recursive(5, 40, 4, |inner| {
        (any::<bool>(), vec((any::<bool>(), vec(inner, 0..4)), 0..3))
            .prop_map(|(defined, items)| Node::Sequence { defined, items })
    })
}

fn write(builder: Builder, node: &Node) -> Builder {
    match node {
        Node::Value(tag, value) => {
            let vr = [b"OB", b"LO", b"UN", b"UT"][usize::from(tag % 4)];
            builder.element((0x0021, 0x1000 + tag), vr, value)
        }
        Node::Sequence { defined, items } => {
            let mut content = Builder::new(builder.encoding);
            for (defined, nodes) in items {
                let item = nodes.iter().fold(Builder::new(builder.encoding), write);
                content = if *defined {
                    content.item(item.bytes.len() as u32).raw(&item.bytes)
                } else {
                    content.item(u32::MAX).raw(&item.bytes).item_end()
                };
            }
            if *defined {
                builder.element((0x0040, 0x0275), b"SQ", &content.bytes)
            } else {
                builder
                    .header((0x0040, 0x0275), b"SQ", u32::MAX)
                    .raw(&content.bytes)
                    .sequence_end()
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Pixels {
    None,
    Native {
        rows: u16,
        columns: u16,
        bits: u16,
        frames: u16,
        surplus: usize,
    },
    Encapsulated {
        table: Vec<u8>,
        fragments: Vec<Vec<u8>>,
    },
}

fn pixels() -> impl Strategy<Value = Pixels> {
    let native = (
        1_u16..20,
        1_u16..20,
        prop_oneof![Just(1_u16), Just(8), Just(16)],
        1_u16..5,
        0_usize..300,
    )
        .prop_map(|(rows, columns, bits, frames, surplus)| Pixels::Native {
            rows,
            columns,
            bits,
            frames,
            surplus,
        });
    let encapsulated = (vec(any::<u8>(), 0..20), vec(vec(any::<u8>(), 0..200), 0..6))
        .prop_map(|(table, fragments)| Pixels::Encapsulated { table, fragments });
    prop_oneof![Just(Pixels::None), native, encapsulated]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn split_and_merge_are_inverse(
        encoding in prop_oneof![Just(Encoding::ImplicitLittle), Just(Encoding::ExplicitLittle), Just(Encoding::ExplicitBig)],
        nodes in vec(node(), 0..6),
        after in vec(any::<u8>(), 0..20),
        pixels in pixels(),
        chunks in vec(1_usize..400, 1..30),
    ) {
        let mut dataset = nodes.iter().fold(Builder::identified(encoding), write);
        match &pixels {
            Pixels::None => {}
            Pixels::Native { rows, columns, bits, frames, surplus } => {
                let num_bits = usize::from(*rows) * usize::from(*columns) * usize::from(*bits) * usize::from(*frames);
                let payload: Vec<u8> = (0..num_bits.div_ceil(8) + surplus).map(|i| i as u8).collect();
                dataset = dataset.image(*rows, *columns, *bits, &frames.to_string());
                dataset = dataset.element(PIXEL_DATA, b"OW", &payload);
            }
            Pixels::Encapsulated { table, fragments } => {
                let fragments: Vec<&[u8]> = fragments.iter().map(Vec::as_slice).collect();
                dataset = dataset.image(4, 4, 8, "2").fragments(table, &fragments);
            }
        }
        dataset = dataset.element((0xFFFC, 0xFFFC), b"OB", &after);
        let whole = round_trip(&dataset.plain_file(), &chunks);
        let whole = whole.map_err(|rejection| TestCaseError::fail(rejection.to_string()))?;
        if let Pixels::Native { frames, rows, columns, bits, .. } = pixels {
            let layout = whole.instance.layout.as_ref().unwrap();
            prop_assert_eq!(layout.num_frames(), u32::from(frames));
            let num_bits = u64::from(rows) * u64::from(columns) * u64::from(bits);
            prop_assert_eq!(layout.frame_range(0).unwrap().num_bits, Some(num_bits));
        }
    }
}
