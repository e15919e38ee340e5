//! The resolver in small made-up worlds: a host root and a release.

mod base;
mod glibc;
mod install;
mod module;
mod musl;
mod world;
