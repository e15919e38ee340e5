//! From a finished build to a container image.
//!
//! A [`Release`](release::Release) is the directory that a build tool leaves.
//! The [`closure`] is everything that it needs beside its own files: the
//! loaders and libraries of the host, interpreters of its scripts, and the
//! command that starts it. From both, a [`Plan`](plan::Plan) decides every
//! detail of the image without reading a file, and [`build`](build::build)
//! makes the layers and the documents of a plan.
//!
//! ```
//! use std::os::unix::fs::PermissionsExt as _;
//!
//! use imgbuild_release::closure::{self, ClosureOptions};
//! use imgbuild_release::plan::{Ingredients, Plan, PlanOptions};
//! use imgbuild_release::release::{Release, ReleaseOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // A release of one file, a script.
//! let directory = tempfile::tempdir()?;
//! let script = directory.path().join("hello");
//! fs_err::write(&script, "#!/bin/sh\necho hello\n")?;
//! fs_err::set_permissions(&script, std::fs::Permissions::from_mode(0o755))?;
//!
//! let release = Release::open(directory.path(), &ReleaseOptions::default())?;
//! let closure = closure::resolve(&release, &[], None, &ClosureOptions::default())?;
//! let plan = Plan::new(Ingredients::new(release, closure), &PlanOptions::default())?;
//!
//! println!("{}", serde_json::to_string_pretty(&plan)?);
//! let entrypoint = plan.image.config.entrypoint.as_deref();
//! assert_eq!(entrypoint, Some(&["/app/hello".to_owned()][..]));
//! assert_eq!(plan.layers.len(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! # Modules
//!
//! | modules | content |
//! |---|---|
//! | [`release`], [`kind`], [`pattern`], [`addition`], [`xattr`] | the files that are included, by the kind of the release and by the wishes of the user |
//! | [`base`] | the image that another one is built on |
//! | [`closure`], [`runtime`], [`elf`], [`programs`], [`locale`] | programs, libraries and locales of the host |
//! | [`certificates`], [`skeleton`] | CA bundles; users and directories |
//! | [`plan`], [`build`] | the decisions, and the image that is made from them |
//! | [`check`], [`finding`] | reasons why an image would not start, and likely mistakes |
//! | [`package`], [`git`], [`provenance`] | labels: the version, the commit and the source of what was built |
//! | [`error`], [`refusal`], [`warning`] | failures, files that cannot be packaged, and surprises |

#![cfg_attr(
    test,
    expect(
        clippy::disallowed_methods,
        reason = "tests read whole what they made; without them, the product is checked"
    )
)]
#![deny(missing_docs)]

pub mod addition;
pub mod base;
pub mod build;
pub mod certificates;
pub mod check;
pub mod closure;
mod command;
mod contents;
pub mod elf;
pub mod error;
pub mod finding;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod git;
mod host_file;
mod host_packages;
pub mod kind;
mod layering;
pub mod locale;
pub mod package;
pub mod pattern;
pub mod plan;
pub mod programs;
pub mod provenance;
pub mod refusal;
pub mod release;
pub mod runtime;
mod script;
pub mod skeleton;
mod walk;
pub mod warning;
pub mod xattr;
