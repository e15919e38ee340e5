#![doc = include_str!("../README.md")]
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
