//! The image format: what an image *is*.

#![deny(missing_docs)]

pub mod deflate;
pub mod digest;
pub mod entry;
pub mod gzip;
pub mod json;
pub mod path;
