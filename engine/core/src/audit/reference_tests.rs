//! The Certificate Transparency reference trees, and proofs over all small trees, from leaves and from kept nodes.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;

const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];

const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

fn hash(text: &str) -> Hash {
    unhex(text).try_into().unwrap()
}

fn reference_leaf(index: u64) -> Result<Hash, Infallible> {
    Ok(leaf_hash(&unhex(LEAVES[index as usize])))
}

#[test]
fn reference_roots() {
    let mut tree = Tree::new();
    for (size, expected) in ROOTS.iter().enumerate() {
        assert_eq!(tree.root(), hash(expected), "{size} leaves");
        assert_eq!(root_of(&LeafHashes(reference_leaf), size as u64), Ok(hash(expected)));
        if size < 8 {
            tree.append(reference_leaf(size as u64).unwrap());
        }
    }
}

#[test]
fn reference_inclusion_proofs() {
    for (index, size, expected) in [
        (0, 1, &[][..]),
        (
            0,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            &[
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            3,
            &["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
        ),
        (
            1,
            5,
            &[
                "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let expected: Vec<Hash> = expected.iter().map(|text| hash(text)).collect();
        assert_eq!(
            inclusion_proof(&LeafHashes(reference_leaf), index, size),
            Ok(expected),
            "{index} in {size}"
        );
    }
}

#[test]
fn reference_consistency_proofs() {
    for (old, new, expected) in [
        (1, 1, &[][..]),
        (
            1,
            8,
            &[
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            &[
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            &[
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ] {
        let expected: Vec<Hash> = expected.iter().map(|text| hash(text)).collect();
        assert_eq!(
            consistency_proof(&LeafHashes(reference_leaf), old, new),
            Ok(expected),
            "{old} in {new}"
        );
    }
}

/// A tree whose nodes are all kept.
struct Kept(BTreeMap<(u32, u64), Hash>);

impl TreeNodes for Kept {
    type Error = ();

    fn node(&self, level: u32, index: u64) -> Result<Hash, ()> {
        self.0.get(&(level, index)).copied().ok_or(())
    }
}

fn kept(num_leaves: u64) -> (Kept, Vec<Hash>) {
    let (mut tree, mut nodes) = (Tree::new(), BTreeMap::new());
    let mut roots = vec![tree.root()];
    for number in 0..num_leaves {
        tree.append_with(leaf_hash(&number.to_be_bytes()), |level, index, hash| {
            nodes.insert((level, index), *hash);
        });
        roots.push(tree.root());
    }
    (Kept(nodes), roots)
}

#[test]
fn every_inclusion_in_every_small_tree() {
    let (nodes, roots) = kept(70);
    for size in 1..=70 {
        for index in 0..size {
            let path = inclusion_proof(&nodes, index, size).unwrap();
            let from_leaves = LeafHashes(|leaf| nodes.node(0, leaf));
            assert_eq!(inclusion_proof(&from_leaves, index, size), Ok(path.clone()));
            let leaf = nodes.0[&(0, index)];
            let root = &roots[size as usize];
            assert_eq!(
                verify_inclusion(&leaf, index, size, &path, root),
                Ok(()),
                "{index} in {size}"
            );
            for other in (0..size + 2).filter(|&other| other != index) {
                assert!(
                    verify_inclusion(&leaf, other, size, &path, root).is_err(),
                    "{index} as {other} in {size}"
                );
            }
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place][7] ^= 1;
                assert_eq!(
                    verify_inclusion(&leaf, index, size, &changed, root),
                    Err(ProofError::Root)
                );
                changed.remove(place);
                assert!(verify_inclusion(&leaf, index, size, &changed, root).is_err());
            }
            let longer = [path, vec![[0; 32]]].concat();
            assert!(verify_inclusion(&leaf, index, size, &longer, root).is_err());
        }
        assert_eq!(
            inclusion_proof(&nodes, size, size),
            Err(ProofError::OutOfRange(size, size))
        );
    }
}

#[test]
fn every_consistency_of_small_trees() {
    let (nodes, roots) = kept(70);
    for new in 0..=70 {
        for old in 0..=new {
            let path = consistency_proof(&nodes, old, new).unwrap();
            let (old_root, new_root) = (&roots[old as usize], &roots[new as usize]);
            assert_eq!(
                verify_consistency(old, new, old_root, new_root, &path),
                Ok(()),
                "{old} in {new}"
            );
            assert!(verify_consistency(old, new, &[1; 32], new_root, &path).is_err());
            // Nothing is a prefix of everything: only then does the new root not matter.
            assert_eq!(
                verify_consistency(old, new, old_root, &[1; 32], &path).is_ok(),
                old == 0 && new > 0
            );
            for place in 0..path.len() {
                let mut changed = path.clone();
                changed[place][7] ^= 1;
                assert!(verify_consistency(old, new, old_root, new_root, &changed).is_err());
                changed.remove(place);
                assert!(verify_consistency(old, new, old_root, new_root, &changed).is_err());
            }
            let longer = [path, vec![[0; 32]]].concat();
            assert!(verify_consistency(old, new, old_root, new_root, &longer).is_err());
        }
        assert_eq!(
            consistency_proof(&nodes, new + 1, new),
            Err(ProofError::OutOfRange(new + 1, new))
        );
    }
}

#[test]
fn huge_sizes_neither_overflow_nor_pass() {
    let root = [0; 32];
    for size in [u64::MAX, 1 << 63, (1 << 63) + 1] {
        for path in [
            vec![],
            vec![[0; 32]; 63],
            vec![[0; 32]; 64],
            vec![[0; 32]; 65],
            vec![[0; 32]; 1000],
        ] {
            assert!(verify_inclusion(&root, size - 1, size, &path, &root).is_err());
            assert!(verify_inclusion(&root, 0, size, &path, &root).is_err());
            assert!(verify_consistency(size - 1, size, &root, &root, &path).is_err());
            assert!(verify_consistency(1, size, &root, &root, &path).is_err());
        }
    }
}

#[test]
fn a_proof_in_a_tree_of_ten_million_leaves_is_short() {
    // Equal leaves: every complete subtree of a level is the same, so the large tree needs no memory.
    struct Equal(Vec<Hash>);
    impl TreeNodes for Equal {
        type Error = Infallible;
        fn node(&self, level: u32, _: u64) -> Result<Hash, Infallible> {
            Ok(self.0[level as usize])
        }
    }
    let mut levels = vec![leaf_hash(b"x")];
    (0..24).for_each(|level| levels.push(node_hash(&levels[level], &levels[level])));
    let nodes = Equal(levels);
    let size = 10_000_000;
    let root = root_of(&nodes, size).unwrap();
    for index in [0, 1, 4_999_999, 8_388_607, 8_388_608, size - 1] {
        let path = inclusion_proof(&nodes, index, size).unwrap();
        assert!(path.len() <= 24);
        assert_eq!(verify_inclusion(&leaf_hash(b"x"), index, size, &path, &root), Ok(()));
    }
}
