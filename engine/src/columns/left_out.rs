//! Studies that searches leave out because something of them cannot be read: whoever searches must hear of them, since
//! corrupt is never "not found" (invariant 7).

use septum_core::ids::NamespaceId;

use super::{Columns, namespace_of};
use crate::accounts::Namespace;

/// A shard and the key of a study's row; where not even that could be read, no key.
pub(super) type Place = (usize, Vec<u8>);

impl Columns {
    /// A study cannot be opened; with an empty key, of a shard not all could be listed.
    pub(super) fn leave_out(&self, shard: usize, study_row_key: &[u8]) {
        self.state().left_out.insert((shard, study_row_key.to_vec()));
    }

    /// How many studies searches leave out, as far as they can be told apart.
    pub fn num_left_out(&self) -> usize {
        self.state().left_out.len()
    }

    /// Whether a search of these namespaces may lack studies.
    pub fn leaves_out(&self, namespaces: &[std::sync::Arc<Namespace>]) -> bool {
        let is_searched = |of: NamespaceId| namespaces.iter().any(|namespace| namespace.id == of);
        let state = self.state();
        let mut left_out = state.left_out.iter();
        left_out.any(|(_, study_row_key)| namespace_of(study_row_key).map_or(true, is_searched))
    }
}
