#![doc = include_str!("../README.md")]
//!
//! # Modules
//!
//! - [`client`]: connection, redirects, tokens and retries; its options.
//! - [`repository`]: blobs, uploads and manifests.
//! - [`push`], [`pull`], [`cached`]: whole images, and images read through a cache.
//! - [`update`]: adding to the index of a tag while other runs do the same.
//! - [`secret`], [`credentials`]: credentials, and the files of Docker and Podman.
//! - [`monitor`], [`error`]: the interface to the caller.

#![deny(missing_docs)]

pub mod cached;
mod challenge;
pub mod client;
mod connector;
pub mod credentials;
pub mod error;
mod error_response;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod host;
pub mod monitor;
mod network_error;
mod protocol_error;
pub mod pull;
pub mod push;
pub mod repository;
mod retry;
pub mod secret;
mod tls;
mod transport;
pub mod update;
mod url;
