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
//! | module | content |
//! |---|---|
//! | [`tree`] | [`Tree`]: a release written as lines of text |
//! | [`sandbox`] | [`Sandbox`] and [`Outcome`]: one program, run in a directory of its own with a known environment |
//! | [`fuzz`] | fuzz targets, run as tests over seeds and changes of them, in bounded memory |
//! | [`redact`] | [`Redactions`]: fixed words for paths and durations in messages |
//! | [`registry`] | [`FakeRegistry`]: a registry on loopback that misbehaves on request |
//! | [`skip`] | tests that need what this machine lacks: skipped with a line, and counted |
//! | [`mod@unpack`] | [`unpack()`]: an archive or layout read by a standard tar reader, all digests recomputed |
//!
//! It depends on no other crate of the workspace, so that its reader of images is
//! independent.

#![expect(clippy::disallowed_methods, reason = "tests read whole what they made")]
#![deny(missing_docs)]

pub mod fuzz;
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
