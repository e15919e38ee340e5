//! The image format: what an image *is*.

#![deny(missing_docs)]

mod archive;
pub mod blob;
mod buffer;
pub mod cache;
pub mod changeset;
pub mod compression;
pub mod content;
pub mod destination;
pub mod digest;
pub mod document;
pub mod entry;
pub mod error;
pub mod filesystem;
pub mod image;
pub mod json;
pub mod layer;
pub mod layout;
pub mod media_type;
pub mod monitor;
mod new_file;
pub mod parallel;
pub mod path;
mod pipeline;
pub mod platform;
mod record;
pub mod reference;
pub mod selection;
pub mod source;
pub mod store;
pub mod tar_reader;
mod tar_writer;
pub mod validate;
