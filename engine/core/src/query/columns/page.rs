//! The page itself.

use std::collections::HashSet;

use memchr::memmem::Finder;

use super::{Column, FIELD_BYTES_MAX, NUM_COLUMNS, ROW_KEY_BYTES, ROWS_MAX, Row, RowKey};

const VERSION: u8 = 1;

/// The length that stands for a field that was too long to be kept.
const NOT_KEPT: u16 = u16::MAX;

/// Why a page cannot be read, or cannot take a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// Written by a version that is not known here.
    #[error("a column page of version {0}, only version 1 is known")]
    Version(u8),
    /// The bytes are not those of a page.
    #[error("a column page is damaged")]
    Damaged,
    /// [`ROWS_MAX`] rows are in the page.
    #[error("the column page is full")]
    Full,
}

/// Up to [`ROWS_MAX`] rows by columns. Every column is one heap of text and the rows' ends in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Page {
    keys: Vec<RowKey>,
    came_ms: Vec<u64>,
    columns: [ColumnData; NUM_COLUMNS],
}

#[derive(Clone, Default, PartialEq, Eq)]
struct ColumnData {
    heap: String,
    /// Where each row's value ends in `heap`; it starts where the one before it ends.
    ends: Ends,
    /// Rows whose field was too long, ascending; hardly ever any.
    not_kept: Vec<u16>,
}

/// Ends of values, in as few bytes as they need: pages of a million studies lie in memory.
#[derive(Clone)]
enum Ends {
    /// So many values, all empty.
    Empty(usize),
    Short(Vec<u16>),
    Long(Vec<u32>),
}

impl Default for Ends {
    fn default() -> Self {
        Self::Empty(0)
    }
}

impl PartialEq for Ends {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && (0..self.len()).all(|row| self.get(row) == other.get(row))
    }
}

impl Eq for Ends {}

impl Ends {
    fn len(&self) -> usize {
        match self {
            Self::Empty(count) => *count,
            Self::Short(ends) => ends.len(),
            Self::Long(ends) => ends.len(),
        }
    }

    fn get(&self, row: usize) -> Option<usize> {
        match self {
            Self::Empty(count) => (row < *count).then_some(0),
            Self::Short(ends) => ends.get(row).map(|&end| usize::from(end)),
            Self::Long(ends) => ends.get(row).map(|&end| end as usize),
        }
    }

    fn push(&mut self, end: usize) {
        match (&mut *self, u16::try_from(end)) {
            (Self::Empty(count), Ok(0)) => *count += 1,
            (Self::Empty(count), Ok(end)) => {
                let mut ends = vec![0; *count];
                ends.push(end);
                *self = Self::Short(ends);
            }
            (Self::Short(ends), Ok(end)) => ends.push(end),
            // At most 512 fields of 4 KiB.
            (Self::Long(ends), _) => ends.push(end as u32),
            (known, Err(_)) => {
                let mut ends: Vec<u32> = (0..known.len())
                    .filter_map(|row| known.get(row))
                    .map(|end| end as u32)
                    .collect();
                ends.push(end as u32);
                *self = Self::Long(ends);
            }
        }
    }

    /// The row whose value has the byte at `place`.
    fn row_at(&self, place: usize) -> usize {
        match self {
            Self::Empty(_) => 0,
            Self::Short(ends) => ends.partition_point(|&end| usize::from(end) <= place),
            Self::Long(ends) => ends.partition_point(|&end| end as usize <= place),
        }
    }

    fn shrink(&mut self) {
        match self {
            Self::Empty(_) => {}
            Self::Short(ends) => ends.shrink_to_fit(),
            Self::Long(ends) => ends.shrink_to_fit(),
        }
    }

    fn byte_size(&self) -> usize {
        match self {
            Self::Empty(_) => 0,
            Self::Short(ends) => 2 * ends.capacity(),
            Self::Long(ends) => 4 * ends.capacity(),
        }
    }
}

impl ColumnData {
    fn push(&mut self, field: Option<&str>) {
        match field {
            Some(field) => self.heap.push_str(field),
            // Rows number at most 512.
            None => self.not_kept.push(self.ends.len() as u16),
        }
        self.ends.push(self.heap.len());
    }

    fn get(&self, row: usize) -> Option<&str> {
        if !self.not_kept.is_empty() && self.not_kept.contains(&(row as u16)) {
            return None;
        }
        let end = self.ends.get(row)?;
        let start = if row == 0 { 0 } else { self.ends.get(row - 1)? };
        self.heap.get(start..end)
    }

    /// The rows in whose value one of `literals` lies, ascending; `None` where not every value is kept.
    fn rows_with(&self, literals: &[Finder<'_>]) -> Option<Vec<usize>> {
        if !self.not_kept.is_empty() {
            return None;
        }
        let mut rows = Vec::new();
        for literal in literals {
            let mut start = 0;
            while let Some(found) = literal.find(&self.heap.as_bytes()[start..]) {
                let row = self.ends.row_at(start + found);
                let end = self.ends.get(row)?;
                if start + found + literal.needle().len() <= end {
                    rows.push(row);
                    start = end;
                } else {
                    // It reaches into the next value; that one may have it too.
                    start += found + 1;
                }
            }
        }
        rows.sort_unstable();
        rows.dedup();
        Some(rows)
    }

    /// Gives back memory that rows to come would take.
    fn shrink(&mut self) {
        self.heap.shrink_to_fit();
        self.ends.shrink();
        self.not_kept.shrink_to_fit();
    }
}

impl Page {
    /// An empty page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.keys.len()
    }

    /// Whether no further row fits.
    pub fn is_full(&self) -> bool {
        self.keys.len() >= ROWS_MAX
    }

    /// The key of row `row`, below [`Self::num_rows`].
    pub fn key(&self, row: usize) -> Option<RowKey> {
        self.keys.get(row).copied()
    }

    /// When the study of a row came, milliseconds since 1970; 0 where that is not known.
    pub fn came_ms(&self, row: usize) -> u64 {
        self.came_ms.get(row).copied().unwrap_or(0)
    }

    /// The row with this key.
    pub fn find(&self, key: &RowKey) -> Option<usize> {
        self.keys.iter().position(|candidate| candidate == key)
    }

    /// A field in comparable form (names in lower case, several values separated by U+001E), empty when the study has
    /// none: what results are sorted by. `None` when there is no such row or the field was too long to be kept.
    pub fn field(&self, row: usize, column: Column) -> Option<&str> {
        self.columns[column as usize].get(row)
    }

    /// See [`ColumnData::rows_with`].
    pub(super) fn rows_with(&self, column: Column, literals: &[Finder<'_>]) -> Option<Vec<usize>> {
        self.columns[column as usize].rows_with(literals)
    }

    /// Whether every field of the row is kept, so that a match of the row is a match of its study.
    pub fn is_exact(&self, row: usize) -> bool {
        self.columns
            .iter()
            .all(|column| !column.not_kept.contains(&(row as u16)))
    }

    /// Puts a row in, in place of the one with its key if there is one. Fails only with [`PageError::Full`].
    pub fn upsert(&mut self, row: &Row) -> Result<(), PageError> {
        match self.find(&row.key) {
            Some(place) => self.rebuild(Some((place, row)), None),
            None if self.is_full() => return Err(PageError::Full),
            None => self.push(row.key, row.came_ms, |column| row.fields[column].as_deref()),
        }
        Ok(())
    }

    /// Takes the row with this key out; tells whether there was one.
    pub fn remove(&mut self, key: &RowKey) -> bool {
        let place = self.find(key);
        if place.is_some() {
            self.rebuild(None, place);
        }
        place.is_some()
    }

    fn push<'a>(&mut self, key: RowKey, came_ms: u64, field: impl Fn(usize) -> Option<&'a str>) {
        self.keys.push(key);
        self.came_ms.push(came_ms);
        for (number, column) in self.columns.iter_mut().enumerate() {
            column.push(field(number));
        }
    }

    /// Pages are small: copying one costs less than keeping gaps in it would.
    fn rebuild(&mut self, replaced: Option<(usize, &Row)>, removed: Option<usize>) {
        let mut page = Self::default();
        for (place, &key) in self
            .keys
            .iter()
            .enumerate()
            .filter(|(place, _)| Some(*place) != removed)
        {
            match replaced {
                Some((at, row)) if at == place => page.push(key, row.came_ms, |column| row.fields[column].as_deref()),
                _ => page.push(key, self.came_ms(place), |column| self.columns[column].get(place)),
            }
        }
        *self = page;
    }

    /// Memory that the page takes, in bytes.
    pub fn byte_size(&self) -> usize {
        let columns = self
            .columns
            .iter()
            .map(|column| column.heap.capacity() + column.ends.byte_size() + column.not_kept.capacity() * 2);
        size_of::<Self>() + self.keys.capacity() * ROW_KEY_BYTES + self.came_ms.capacity() * 8 + columns.sum::<usize>()
    }

    /// The page's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let heaps: usize = self.columns.iter().map(|column| column.heap.len()).sum();
        let mut out = Vec::with_capacity(3 + self.keys.len() * (ROW_KEY_BYTES + 8 + 2 * NUM_COLUMNS) + heaps);
        out.push(VERSION);
        out.extend_from_slice(&(self.keys.len() as u16).to_le_bytes());
        self.keys.iter().for_each(|key| out.extend_from_slice(key));
        for came_ms in &self.came_ms {
            out.extend_from_slice(&came_ms.to_le_bytes());
        }
        for column in &self.columns {
            for row in 0..self.keys.len() {
                let length = column.get(row).map_or(NOT_KEPT, |field| field.len() as u16);
                out.extend_from_slice(&length.to_le_bytes());
            }
            out.extend_from_slice(column.heap.as_bytes());
        }
        out
    }

    /// Reads a page's bytes; takes no more memory than they are long, times a small factor.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let (&version, mut rest) = bytes.split_first().ok_or(PageError::Damaged)?;
        if version != VERSION {
            return Err(PageError::Version(version));
        }
        let num_rows = usize::from(u16::from_le_bytes(take(&mut rest)?));
        if num_rows > ROWS_MAX {
            return Err(PageError::Damaged);
        }
        let mut page = Self::default();
        page.keys.reserve_exact(num_rows);
        let mut seen = HashSet::with_capacity(num_rows);
        for _ in 0..num_rows {
            let key = take(&mut rest)?;
            if !seen.insert(key) {
                return Err(PageError::Damaged);
            }
            page.keys.push(key);
        }
        for _ in 0..num_rows {
            page.came_ms.push(u64::from_le_bytes(take(&mut rest)?));
        }
        for column in &mut page.columns {
            let (lengths, after) = rest.split_at_checked(num_rows * 2).ok_or(PageError::Damaged)?;
            let lengths = lengths
                .as_chunks::<2>()
                .0
                .iter()
                .map(|&length| u16::from_le_bytes(length));
            rest = after;
            for length in lengths {
                if length == NOT_KEPT {
                    column.push(None);
                    continue;
                }
                let (field, after) = rest.split_at_checked(usize::from(length)).ok_or(PageError::Damaged)?;
                let field = str::from_utf8(field).map_err(|_| PageError::Damaged)?;
                if field.len() > FIELD_BYTES_MAX {
                    return Err(PageError::Damaged);
                }
                column.push(Some(field));
                rest = after;
            }
            column.shrink();
        }
        if rest.is_empty() {
            Ok(page)
        } else {
            Err(PageError::Damaged)
        }
    }
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Page({} rows)", self.keys.len())
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], PageError> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(PageError::Damaged)?;
    *bytes = rest;
    Ok(*taken)
}
