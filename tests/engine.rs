//! Does it run? Everything here is built from source, put into an image by one
//! command, loaded into every engine there is, and run.

mod configuration;
pub(crate) mod findings;
mod itself;
mod libraries;
mod loading;
mod mix;
mod programs;
mod scripts;
mod server;
mod workspace;
