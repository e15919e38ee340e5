//! Bits into bytes, least significant first ([RFC 1951, section 3.1.1]).
//!
//! [RFC 1951, section 3.1.1]: https://www.rfc-editor.org/rfc/rfc1951#section-3.1.1

/// The bytes that a write may touch beyond its bits: whole words are stored.
pub(super) const SLACK_BYTES: usize = 8;

/// Appends bits to a buffer whose size the caller has bounded beforehand.
///
/// [`add`](Self::add) only collects; [`flush`](Self::flush) makes room again.
/// After a flush at most 7 bits wait, so 57 more fit.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    buffer: &'a mut [u8],
    position: u32,
    bits: u64,
    count: u32,
}

impl<'a> BitWriter<'a> {
    /// Writes to the start of `buffer`.
    pub(super) fn new(buffer: &'a mut [u8]) -> Self {
        Self {
            buffer,
            position: 0,
            bits: 0,
            count: 0,
        }
    }

    /// Collects the `count` low bits of `bits`; the others must be zero.
    #[inline(always)]
    pub(super) fn add(&mut self, bits: u64, count: u32) {
        self.bits |= bits << (self.count & 63);
        self.count += count;
    }

    /// Moves whole bytes to the buffer.
    #[inline(always)]
    pub(super) fn flush(&mut self) {
        let start = self.position as usize;
        self.buffer[start..start + SLACK_BYTES].copy_from_slice(&self.bits.to_le_bytes());
        self.position += self.count >> 3;
        self.bits >>= self.count & 56;
        self.count &= 7;
    }

    /// Adds and flushes: for everything that is not a hot loop.
    pub(super) fn put(&mut self, bits: u64, count: u32) {
        self.add(bits, count);
        self.flush();
    }

    /// Fills the last byte with zero bits and appends `bytes`.
    pub(super) fn put_aligned(&mut self, bytes: &[u8]) {
        self.align();
        self.buffer[self.position as usize..][..bytes.len()].copy_from_slice(bytes);
        self.position += bytes.len() as u32;
    }

    /// Returns the number of bits of the current byte that are taken, 0 to 7.
    pub(super) fn pending(&self) -> u32 {
        self.count
    }

    /// Fills the last byte and returns the number of bytes written.
    pub(super) fn finish(mut self) -> usize {
        self.align();
        self.position as usize
    }

    fn align(&mut self) {
        self.count = (self.count + 7) & !7;
        self.flush();
    }
}
