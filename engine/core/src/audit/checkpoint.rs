//! Checkpoints: signed statements of how large the trees are and what their roots are.
//!
//! A C2SP signed note (c2sp.org/signed-note) whose text is a C2SP checkpoint (c2sp.org/tlog-checkpoint): origin, size and
//! Base64 root of the main tree, one a line; then one extension line `name size root` for each further tree, ordered by
//! name; an empty line; one Ed25519 signature line:
//!
//! ```text
//! septum.example/audit
//! 1042
//! 5RzgqFcPSRC5pUi4p/8jkFvCBGVBnFdWBG3YU9YJk2M=
//! shard-0 998 0VyuJPbBfmzYpvQe1nFDD6J1KxMb5+Oq5RYqB/OjSMg=
//!
//! — septum.example/audit RwdG7V…
//! ```
//!
//! The key name is the origin. Key id: first 4 bytes of SHA-256 of name ‖ 0x0A ‖ 0x01 ‖ public key.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::tree::{Hash, Tree};

/// Longest checkpoint that is read, in bytes: some 10,000 trees.
const CHECKPOINT_BYTES_MAX: usize = 1 << 20;
const SIGNATURE_PREFIX: &str = "\u{2014} ";
const ALGORITHM_ED25519: u8 = 1;

/// Size and root of one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeHead {
    /// Number of leaves.
    pub size: u64,
    /// Merkle tree hash of all of them.
    pub root: Hash,
}

impl From<&Tree> for TreeHead {
    fn from(tree: &Tree) -> Self {
        Self {
            size: tree.size(),
            root: tree.root(),
        }
    }
}

/// The heads of all trees at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    head: TreeHead,
    trees: Vec<(String, TreeHead)>,
}

/// Why a checkpoint is not to be trusted or cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// An origin is 1 to 200 visible ASCII characters without `+`.
    #[error("the checkpoint's origin is no valid name")]
    Origin,
    /// A tree name is 1 to 64 lower-case letters, digits and hyphens; each once.
    #[error("a checkpoint's tree name is invalid or occurs twice")]
    TreeName,
    /// The text is no checkpoint in its one form.
    #[error("the text is no checkpoint")]
    Malformed,
    /// More than 1 MiB.
    #[error("a checkpoint of {0} bytes is too long")]
    TooLong(usize),
    /// No signature of the expected key is there.
    #[error("the checkpoint is not signed by the expected key")]
    UnknownSigner,
    /// The signature does not hold.
    #[error("the checkpoint's signature does not hold")]
    Signature,
    /// The bytes are no Ed25519 public key.
    #[error("the bytes are no Ed25519 public key")]
    PublicKey,
}

impl Checkpoint {
    /// A checkpoint of the main tree and, by name, of others.
    ///
    /// # Errors
    /// [`CheckpointError::Origin`], [`CheckpointError::TreeName`].
    pub fn new(
        origin: &str,
        head: TreeHead,
        trees: impl IntoIterator<Item = (String, TreeHead)>,
    ) -> Result<Self, CheckpointError> {
        let mut trees: Vec<_> = trees.into_iter().collect();
        trees.sort_by(|left, right| left.0.cmp(&right.0));
        let checkpoint = Self {
            origin: origin.to_owned(),
            head,
            trees,
        };
        checkpoint.validate()?;
        Ok(checkpoint)
    }

    fn validate(&self) -> Result<(), CheckpointError> {
        if !is_origin(&self.origin) {
            return Err(CheckpointError::Origin);
        }
        let names_hold = self.trees.iter().all(|(name, _)| is_tree_name(name));
        // Strictly ascending: one order, no name twice.
        if names_hold && self.trees.is_sorted_by(|left, right| left.0 < right.0) {
            Ok(())
        } else {
            Err(CheckpointError::TreeName)
        }
    }

    /// Who signs: also the name of the key.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The head of the main tree.
    pub fn main(&self) -> TreeHead {
        self.head
    }

    /// The head of a further tree; `None` where it has none of that name.
    pub fn tree(&self, name: &str) -> Option<TreeHead> {
        let index = self
            .trees
            .binary_search_by(|(other, _)| other.as_str().cmp(name))
            .ok()?;
        self.trees.get(index).map(|(_, head)| *head)
    }

    /// The further trees, by name.
    pub fn trees(&self) -> impl Iterator<Item = (&str, TreeHead)> {
        self.trees.iter().map(|(name, head)| (name.as_str(), *head))
    }

    /// The text that is signed.
    fn text(&self) -> String {
        let mut text = format!(
            "{}\n{}\n{}\n",
            self.origin,
            self.head.size,
            BASE64_STANDARD.encode(self.head.root)
        );
        for (name, head) in &self.trees {
            text.push_str(&format!("{name} {} {}\n", head.size, BASE64_STANDARD.encode(head.root)));
        }
        text
    }

    fn parse_text(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(CheckpointError::Malformed);
        let (origin, size, root) = (line()?, line()?, line()?);
        let head = parse_head(size, root)?;
        let tree = |line: &str| {
            let mut fields = line.split(' ');
            let (Some(name), Some(size), Some(root), None) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                return Err(CheckpointError::Malformed);
            };
            Ok((name.to_owned(), parse_head(size, root)?))
        };
        let trees = lines.map(tree).collect::<Result<_, _>>()?;
        let checkpoint = Self {
            origin: origin.to_owned(),
            head,
            trees,
        };
        checkpoint.validate()?;
        // One text for one meaning: leading zeros, other line ends and the like fall here.
        if checkpoint.text() == text {
            Ok(checkpoint)
        } else {
            Err(CheckpointError::Malformed)
        }
    }
}

fn parse_head(size: &str, root: &str) -> Result<TreeHead, CheckpointError> {
    let size = size.parse().map_err(|_| CheckpointError::Malformed)?;
    let root = BASE64_STANDARD.decode(root).map_err(|_| CheckpointError::Malformed)?;
    Ok(TreeHead {
        size,
        root: root.try_into().map_err(|_| CheckpointError::Malformed)?,
    })
}

fn is_origin(name: &str) -> bool {
    (1..=200).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'+')
}

fn is_tree_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(is_allowed)
}

fn key_id(name: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest = Sha256::new_with_prefix(name)
        .chain_update([b'\n', ALGORITHM_ED25519])
        .chain_update(key.as_bytes())
        .finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}

/// Signs checkpoints. The key is wiped on drop.
pub struct CheckpointSigner(SigningKey);

impl CheckpointSigner {
    /// The signer with this Ed25519 seed (RFC 8032 section 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key, to be kept outside.
    pub fn verifier(&self) -> CheckpointVerifier {
        CheckpointVerifier(self.0.verifying_key())
    }

    /// The signed note.
    pub fn sign(&self, checkpoint: &Checkpoint) -> String {
        let text = checkpoint.text();
        let mut signature = key_id(&checkpoint.origin, &self.0.verifying_key()).to_vec();
        signature.extend_from_slice(&self.0.sign(text.as_bytes()).to_bytes());
        format!(
            "{text}\n{SIGNATURE_PREFIX}{} {}\n",
            checkpoint.origin,
            BASE64_STANDARD.encode(signature)
        )
    }
}

impl fmt::Debug for CheckpointSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CheckpointSigner(…)")
    }
}

/// Verifies checkpoints.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckpointVerifier(VerifyingKey);

impl CheckpointVerifier {
    /// The verifier of this Ed25519 public key.
    ///
    /// # Errors
    /// [`CheckpointError::PublicKey`], also for weak keys (small order).
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, CheckpointError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| CheckpointError::PublicKey)?;
        if key.is_weak() {
            Err(CheckpointError::PublicKey)
        } else {
            Ok(Self(key))
        }
    }

    /// The public key's bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key as operators keep it: `name+id+base64` (c2sp.org/signed-note).
    pub fn to_text(&self, origin: &str) -> String {
        let id = key_id(origin, &self.0).map(|byte| format!("{byte:02x}")).concat();
        let mut key = vec![ALGORITHM_ED25519];
        key.extend_from_slice(self.0.as_bytes());
        format!("{origin}+{id}+{}", BASE64_STANDARD.encode(key))
    }

    /// Reads what [`CheckpointVerifier::to_text`] writes: origin and key.
    ///
    /// # Errors
    /// [`CheckpointError::PublicKey`].
    pub fn from_text(text: &str) -> Result<(String, Self), CheckpointError> {
        let mut fields = text.trim_end().splitn(3, '+');
        let (Some(origin), Some(_), Some(key)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(CheckpointError::PublicKey);
        };
        let key = BASE64_STANDARD.decode(key).map_err(|_| CheckpointError::PublicKey)?;
        let Some((&ALGORITHM_ED25519, key)) = key.split_first() else {
            return Err(CheckpointError::PublicKey);
        };
        let verifier = Self::from_bytes(key.try_into().map_err(|_| CheckpointError::PublicKey)?)?;
        if verifier.to_text(origin) == text.trim_end() {
            Ok((origin.to_owned(), verifier))
        } else {
            Err(CheckpointError::PublicKey)
        }
    }

    /// Reads a signed note and checks its signature. Signatures of other keys beside it are allowed and not looked at.
    ///
    /// # Errors
    /// [`CheckpointError`], where anything is wrong.
    pub fn verify(&self, note: &str) -> Result<Checkpoint, CheckpointError> {
        if note.len() > CHECKPOINT_BYTES_MAX {
            return Err(CheckpointError::TooLong(note.len()));
        }
        let (text, signatures) = note.split_once("\n\n").ok_or(CheckpointError::Malformed)?;
        // The text ends with the first of the two line ends.
        let text = note.get(..text.len() + 1).ok_or(CheckpointError::Malformed)?;
        let checkpoint = Checkpoint::parse_text(text)?;
        let signatures = signatures.strip_suffix('\n').ok_or(CheckpointError::Malformed)?;
        let id = key_id(&checkpoint.origin, &self.0);
        let mut found = Err(CheckpointError::UnknownSigner);
        for line in signatures.split('\n') {
            let fields = line
                .strip_prefix(SIGNATURE_PREFIX)
                .and_then(|line| line.split_once(' '));
            let (name, encoded) = fields.ok_or(CheckpointError::Malformed)?;
            let bytes = BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| CheckpointError::Malformed)?;
            let Some((line_id, signature)) = bytes.split_first_chunk::<4>() else {
                return Err(CheckpointError::Malformed);
            };
            if name == checkpoint.origin && *line_id == id {
                let signature = Signature::from_slice(signature).map_err(|_| CheckpointError::Signature)?;
                self.0
                    .verify_strict(text.as_bytes(), &signature)
                    .map_err(|_| CheckpointError::Signature)?;
                found = Ok(());
            }
        }
        found.map(|()| checkpoint)
    }
}

impl fmt::Debug for CheckpointVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointVerifier({})", BASE64_STANDARD.encode(self.0.as_bytes()))
    }
}

#[cfg(test)]
mod tests;
