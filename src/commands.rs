//! The commands, one file each.

pub(crate) mod base;
pub(crate) mod build;
pub(crate) mod cache;
pub(crate) mod certificates;
pub(crate) mod check;
pub(crate) mod copy;
pub(crate) mod deliver;
pub(crate) mod generate;
pub(crate) mod index;
pub(crate) mod load;
pub(crate) mod options;
pub(crate) mod origin;
pub(crate) mod outputs;
pub(crate) mod provenance;
pub(crate) mod registry;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod time;
pub(crate) mod validate;
