//! What one untrusted object may cost. Invariant 6: crossing a limit gives a clear rejection, never growth.

/// Limits of the [`super::Splitter`]. All are checked before memory grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SplitLimits {
    /// Longest stream, and longest inflated dataset, in bytes.
    pub instance_bytes_max: u64,
    /// Most bytes of everything that is not pixel payload, together: file meta, elements, trailing bytes. At most
    /// 2 GiB counts.
    pub header_bytes_max: usize,
    /// Most sequences that may be open at once.
    pub depth_max: u16,
    /// Most data elements and items, nested ones included, fragments not.
    pub elements_max: u64,
    /// Most inflated bytes per deflated byte, counted after the first inflated MiB.
    pub inflate_ratio_max: u32,
    /// Most fragments of an encapsulated pixel element.
    pub fragments_max: u32,
}

impl Default for SplitLimits {
    fn default() -> Self {
        Self {
            instance_bytes_max: 16 << 30,
            header_bytes_max: 64 << 20,
            depth_max: 64,
            elements_max: 2_000_000,
            inflate_ratio_max: 200,
            fragments_max: 4 << 20,
        }
    }
}
