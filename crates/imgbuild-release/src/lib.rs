//! The job: from a finished release to a plan to an image.

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
pub mod git;
mod host_file;
pub mod kind;
pub mod layering;
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
