//! The page of a result list that a client asked for, gathered in bounded memory.

use std::collections::BinaryHeap;

use super::OrderKey;

/// Keeps the results from `offset` to `offset + limit` of the order, of however many are offered in whatever order.
/// Holds at most `offset + limit + 1` items, the last to know that there is more.
pub struct Window<T> {
    offset: usize,
    limit: usize,
    num_offered: usize,
    /// The last one on top.
    kept: BinaryHeap<Entry<T>>,
}

impl<T> Window<T> {
    /// An empty page.
    pub fn new(offset: usize, limit: usize) -> Self {
        Self {
            offset,
            limit,
            num_offered: 0,
            kept: BinaryHeap::new(),
        }
    }

    /// Offers a result. `item` is made only if it can be on the page. Of results with equal keys the one offered first
    /// comes first.
    pub fn offer(&mut self, key: OrderKey, item: impl FnOnce() -> T) {
        let number = self.num_offered;
        self.num_offered += 1;
        let room = self.offset.saturating_add(self.limit).saturating_add(1);
        if self.kept.len() >= room {
            if self
                .kept
                .peek()
                .is_some_and(|last| (&last.key, last.number) < (&key, number))
            {
                return;
            }
            self.kept.pop();
        }
        self.kept.push(Entry {
            key,
            number,
            item: item(),
        });
    }

    /// Number of results offered.
    pub fn num_offered(&self) -> usize {
        self.num_offered
    }

    /// The page in order, and whether there is more behind it.
    pub fn finish(self) -> (Vec<T>, bool) {
        let is_truncated = self.num_offered > self.offset.saturating_add(self.limit);
        let sorted = self.kept.into_sorted_vec().into_iter();
        let page = sorted.skip(self.offset).take(self.limit).map(|entry| entry.item);
        (page.collect(), is_truncated)
    }
}

impl<T> std::fmt::Debug for Window<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Window({} of {})", self.kept.len(), self.num_offered)
    }
}

struct Entry<T> {
    key: OrderKey,
    number: usize,
    item: T,
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.key, self.number).cmp(&(&other.key, other.number))
    }
}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}
