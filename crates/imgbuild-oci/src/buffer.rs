//! Buffers that files are read into, and a pool that bounds their number.

use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};

use imgbuild_deflate::{BLOCK_BYTES, HISTORY_BYTES};

const PAGE_BYTES: usize = 4096;

/// The offset in a page at which a buffer starts, in bytes.
///
/// Some processors copy from the kernel four times slower into a buffer that
/// starts at the first bytes of a page, as every large allocation does, and
/// some into one that starts at a page; 64 bytes further all are fast.
const PAGE_OFFSET: usize = 64;

/// Zeroed memory that starts 64 bytes into a page.
#[derive(Debug)]
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// Makes a buffer of `length` bytes.
    #[must_use]
    pub fn new(length: usize) -> Self {
        let bytes = vec![0; length + PAGE_BYTES + PAGE_OFFSET];
        let start = bytes.as_ptr().align_offset(PAGE_BYTES) + PAGE_OFFSET;
        Self {
            bytes,
            start,
            length,
        }
    }

    /// Returns its bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.length]
    }

    /// Returns its bytes to be written.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.length]
    }
}

/// One block: its input, and its compressed output.
#[derive(Debug)]
pub(crate) struct Buffers {
    /// Room for the history, then the block.
    pub(crate) input: AlignedBuffer,
    pub(crate) output: Vec<u8>,
}

/// A fixed number of [`Buffers`], lent and given back.
///
/// It bounds the memory of a run: a reader waits here until a block was
/// written.
#[derive(Debug)]
pub(crate) struct Pool {
    free: Mutex<FreeBuffers>,
    returns: Sender<Buffers>,
}

#[derive(Debug)]
struct FreeBuffers {
    returned: Receiver<Buffers>,
    /// The number of buffers that may still be allocated.
    unallocated: usize,
}

/// Buffers on loan; they return to their pool when dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    buffers: Option<Buffers>,
    returns: Sender<Buffers>,
}

impl Pool {
    pub(crate) fn new(count: usize) -> Self {
        let (returns, returned) = mpsc::channel();
        let free = Mutex::new(FreeBuffers {
            returned,
            unallocated: count,
        });
        Self { free, returns }
    }

    /// Takes buffers, waiting until there are some.
    pub(crate) fn take(&self) -> Loan {
        let mut free = self.free.lock().expect("no holder of the lock panics");
        let buffers = match free.returned.try_recv() {
            Ok(buffers) => buffers,
            Err(_) if free.unallocated > 0 => {
                free.unallocated -= 1;
                Buffers {
                    input: AlignedBuffer::new(HISTORY_BYTES + BLOCK_BYTES),
                    output: Vec::new(),
                }
            }
            Err(_) => free.returned.recv().expect("the pool keeps a sender"),
        };
        Loan {
            buffers: Some(buffers),
            returns: self.returns.clone(),
        }
    }
}

impl Loan {
    pub(crate) fn get(&self) -> &Buffers {
        self.buffers.as_ref().expect("taken only when dropped")
    }

    pub(crate) fn get_mut(&mut self) -> &mut Buffers {
        self.buffers.as_mut().expect("taken only when dropped")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        if let Some(buffers) = self.buffers.take() {
            // The pool is gone when the run is over; then no reader waits.
            drop(self.returns.send(buffers));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_start_64_bytes_into_a_page() {
        for length in [1, 4096, 1 << 20] {
            let mut buffer = AlignedBuffer::new(length);
            assert_eq!(buffer.as_slice().as_ptr() as usize % PAGE_BYTES, 64);
            assert_eq!(buffer.as_mut_slice().len(), length);
        }
    }

    #[test]
    fn a_pool_lends_what_was_given_back() {
        let pool = Pool::new(2);
        let first = pool.take();
        let address = first.get().input.as_slice().as_ptr();
        let second = pool.take();
        drop(first);
        assert_eq!(pool.take().get().input.as_slice().as_ptr(), address);
        drop(second);
    }
}
