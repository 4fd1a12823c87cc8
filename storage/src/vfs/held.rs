//! A file's bytes in memory, for going through all of them in small steps without a call to the system each.

use std::io;

use super::VfsFile;

/// The bytes. Whoever writes to them is refused.
#[derive(Debug)]
pub(crate) struct HeldFile(pub(crate) Vec<u8>);

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::ReadOnlyFilesystem.into())
}

impl VfsFile for HeldFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.0.get(offset..))
            .unwrap_or_default();
        let num_read = rest.len().min(buffer.len());
        buffer[..num_read].copy_from_slice(&rest[..num_read]);
        Ok(num_read)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        refused()
    }
}
