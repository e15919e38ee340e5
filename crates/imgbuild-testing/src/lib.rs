//! Test support shared by the workspace; never part of a shipped crate.
//!
//! ```
//! use imgbuild_testing::Tree;
//!
//! let scratch = tempfile::tempdir()?;
//! let release = Tree::parse(
//!     r#"
//!     0755 dir  bin
//!     0755 file bin/server "\x7fELF"
//!     link bin/run -> server
//!     "#,
//! )?;
//! release.write_to(scratch.path())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | what it offers |
//! |---|---|
//! | [`tree`] | [`Tree`]: a release written as lines of text |
//! | [`sandbox`] | [`Sandbox`] and [`Outcome`]: one program, run in a directory of its own with a known environment |
//! | [`redact`] | what varies in messages (paths, durations) by a fixed word; never a digest |
//! | [`registry`] | [`FakeRegistry`]: a registry on loopback that can be told to misbehave |
//! | [`skip`] | tests that need what this machine lacks: skipped with a line, and counted |
//! | [`mod@unpack`] | [`unpack()`]: what a standard tar reader finds in an archive or layout, all digests recomputed |
//!
//! It depends on no other crate of the workspace, so that what it finds in an
//! image is a second opinion.

#![deny(missing_docs)]

pub mod redact;
pub mod registry;
pub mod sandbox;
pub mod skip;
pub mod tree;
pub mod unpack;

pub use redact::Redactions;
pub use registry::FakeRegistry;
pub use sandbox::{Outcome, Sandbox};
pub use tree::{ParseTreeError, Tree};
pub use unpack::{
    UnpackError, UnpackedImage, UnpackedKind, UnpackedLayer, UnpackedPath, read_file, unpack,
};
