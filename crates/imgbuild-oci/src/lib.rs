//! The format of container images: layers, documents, layouts and archives, by
//! the [OCI image specification] and in Docker's forms of it.
//!
//! An [`Image`](image::Image) is a manifest or an index with everything below
//! it. It is assembled from layers that are built here, or read from a layout,
//! an archive or, with `imgbuild-registry`, from a registry; and it is written
//! to a [`Destination`](destination::Destination). The same input always gives
//! the same bytes.
//!
//! This crate reads neither the environment nor the clock, starts no program
//! and does not reach the network. It knows nothing of the releases that
//! `imgbuild-release` packages.
//!
//! # Example
//!
//! An image of one file, in an image layout:
//!
//! ```
//! use imgbuild_oci::cache::Cache;
//! use imgbuild_oci::changeset::Changeset;
//! use imgbuild_oci::compression::Compression;
//! use imgbuild_oci::destination::{Destination, WriteOptions, write};
//! use imgbuild_oci::entry::Member;
//! use imgbuild_oci::image::{Image, ImageOptions};
//! use imgbuild_oci::layer::{LayerOptions, build_layers};
//! use imgbuild_oci::monitor::Monitor;
//! use imgbuild_oci::path::ImagePath;
//! use imgbuild_oci::source::Source;
//! use imgbuild_oci::validate::validate;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let directory = tempfile::tempdir()?;
//!
//! let path = ImagePath::parse("/greeting")?;
//! let file = Member::file(path, 0o644, b"hello\n".to_vec());
//! let changeset = Changeset::new("greeting", vec![file])?;
//! let options = LayerOptions {
//!     compression: Compression::None,
//!     threads: 1,
//!     scratch: directory.path().to_path_buf(),
//!     cache: Cache::default(),
//! };
//! let layers = build_layers(vec![changeset], &options, &|_| {}, Monitor::silent())?;
//! let image = Image::assemble(&ImageOptions::default(), &layers);
//!
//! let layout = directory.path().join("layout");
//! let destination = Destination::Layout(layout.clone(), Some("1".to_owned()));
//! let options = WriteOptions {
//!     references: &[],
//!     threads: 1,
//!     sync: false,
//!     store: None,
//! };
//! write(&image, &destination, options, &mut std::io::sink(), Monitor::silent())?;
//!
//! let source = Source::open(&layout, directory.path())?;
//! assert!(validate(&source, 1).violations.is_empty());
//! assert_eq!(source.roots()?[0].digest, image.root().digest);
//! # Ok(())
//! # }
//! ```
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
//!
//! [OCI image specification]: https://github.com/opencontainers/image-spec/blob/v1.1.0/spec.md

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
