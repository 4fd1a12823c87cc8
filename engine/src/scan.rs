//! Walking all rows below a prefix, a page at a time.

use septum_storage::Shard;

use crate::error::Result;

/// Rows fetched at once.
const PAGE_ROWS: usize = 512;

/// The smallest key after `key`.
pub(crate) fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}

/// Every row whose key starts with `prefix`, in key order. Rows that come or go while it runs may or may not show.
pub fn rows(shard: &Shard, prefix: Vec<u8>) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + '_ {
    rows_from(shard, prefix, None)
}

/// Those of [`rows`] whose key is not before `from`.
pub fn rows_from(
    shard: &Shard,
    prefix: Vec<u8>,
    mut from: Option<Vec<u8>>,
) -> impl Iterator<Item = Result<(Vec<u8>, Vec<u8>)>> + '_ {
    let mut page: std::vec::IntoIter<(Vec<u8>, Vec<u8>)> = Vec::new().into_iter();
    let mut done = false;
    std::iter::from_fn(move || {
        loop {
            if let Some(row) = page.next() {
                return Some(Ok(row));
            }
            if done {
                return None;
            }
            match shard.scan(&prefix, from.as_deref(), PAGE_ROWS) {
                Ok(rows) => {
                    done = rows.len() < PAGE_ROWS;
                    from = rows.last().map(|(key, _)| after(key));
                    page = rows.into_iter();
                }
                Err(error) => {
                    done = true;
                    return Some(Err(error.into()));
                }
            }
        }
    })
}
