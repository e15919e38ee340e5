//! Options of writing an image, and the outcome.

use crate::reference::Reference;
use crate::store::Store;

/// Options of writing an image.
#[derive(Debug, Clone, Copy)]
pub struct WriteOptions<'a> {
    /// The names of the image; without any it can be found by digest only.
    pub references: &'a [Reference],
    /// The number of threads; it never changes a byte.
    pub threads: usize,
    /// True to have everything on the disk before it gets its final name.
    pub sync: bool,
    /// The store that remembers the archives that were written.
    pub store: Option<&'a Store>,
}

/// The outcome of writing to a destination.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The image was written there.
    New,
    /// The image was there already, and nothing was touched.
    Unchanged,
}
