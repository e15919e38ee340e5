//! The image format: what an image *is*.

#![deny(missing_docs)]

pub mod digest;
pub mod entry;
pub mod json;
pub mod path;
pub mod platform;
pub mod reference;
pub mod source;
pub mod tar_reader;
pub mod validate;
