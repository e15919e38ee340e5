//! The job: from a finished release to a plan to an image.

#![deny(missing_docs)]

pub mod elf;
pub mod runtime;
