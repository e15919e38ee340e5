#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! - Values: [`digest`], [`path`], [`platform`], [`mod@reference`], [`media_type`].
//! - Layers: [`entry`], [`content`] and [`xattr`] are what a layer consists of,
//!   [`changeset`] is a complete layer before a byte is read, [`compression`]
//!   and [`layer`] make it; [`cache`] and [`store`] find those of earlier
//!   builds.
//! - Images: [`document`] reads manifests, indexes and configs, [`blob`] is
//!   bytes that can be opened from any offset, and [`image`] puts them
//!   together.
//! - Reading: [`source`] opens layouts and archives, [`selection`] chooses an
//!   image in them, [`filesystem`] merges its layers, and [`validate`] finds
//!   what is wrong with it.
//! - Writing: [`destination`], with names of [`temporary`] until it is done.
//! - All of them: [`error`], [`monitor`] for progress and interruption,
//!   [`parallel`] for threads, [`root_directory`] for files in directories that
//!   other programs may write to, [`input`] for pipes that the user names,
//!   [`bounded`] for files and streams that are read
//!   whole.

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests read whole what they made; without them, the product is checked"
    )
)]
#![deny(missing_docs)]

mod archive;
pub mod blob;
pub mod bounded;
pub mod buffer;
pub mod cache;
pub mod changeset;
pub mod compression;
mod configuration;
pub mod content;
pub mod destination;
pub mod digest;
pub mod document;
pub mod entry;
pub mod error;
pub mod filesystem;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod image;
pub mod input;
mod json;
pub mod layer;
mod layout;
pub mod media_type;
pub mod monitor;
mod new_file;
pub mod parallel;
pub mod path;
mod pipeline;
pub mod platform;
mod record;
pub mod reference;
pub mod root_directory;
mod rules;
pub mod selection;
pub mod source;
mod statfs;
pub mod store;
mod tar_reader;
mod tar_writer;
pub mod temporary;
pub mod validate;
pub mod violation;
pub mod xattr;
