//! Programs that are built from source, packaged by one command, loaded into
//! every engine, and run.

mod applications;
mod base;
mod configuration;
mod direct;
mod erlang;
pub(crate) mod findings;
mod itself;
mod java;
mod kinds;
mod libraries;
mod loading;
mod locales;
mod mix;
mod packages;
mod programs;
mod refused;
mod relx;
mod scripts;
mod server;
mod workspace;
