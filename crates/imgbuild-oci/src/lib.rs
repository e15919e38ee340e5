//! The image format: what an image *is*.

#![deny(missing_docs)]

mod archive;
pub mod blob;
mod buffer;
pub mod cache;
pub mod changeset;
pub mod compression;
pub mod content;
mod delivery;
pub mod destination;
pub mod digest;
pub mod entry;
pub mod error;
pub mod filesystem;
pub mod image;
mod index;
pub mod json;
pub mod layer;
pub mod layout;
pub mod monitor;
mod new_file;
pub mod parallel;
pub mod parcel;
pub mod path;
mod pipeline;
pub mod platform;
pub mod platform_images;
pub mod platform_index;
mod record;
pub mod reference;
pub mod selection;
pub mod source;
pub mod store;
pub mod tar_reader;
mod tar_writer;
pub mod validate;
