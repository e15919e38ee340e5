//! A client of the [OCI distribution protocol]: pulls and pushes images and
//! indexes, with credentials, TLS, retries and resumed transfers.
//!
//! This is the only crate of imgbuild that uses the network. It reads neither the
//! environment nor the clock: the caller passes credentials, proxies and
//! certificates as values, and time, random numbers and interruptions through a
//! [`ClientMonitor`](monitor::ClientMonitor).
//!
//! A [`Client`](client::Client) is connected to one registry, and a
//! [`Repository`](repository::Repository) has its blobs and manifests:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use imgbuild_registry::client::{Client, ClientOptions};
//! use imgbuild_registry::error::Result;
//! use imgbuild_registry::monitor::{Event, ClientMonitor};
//! use imgbuild_registry::repository::Repository;
//!
//! /// A monitor without waits and reports.
//! struct Silent;
//!
//! impl ClientMonitor for Silent {
//!     fn now(&self) -> Duration {
//!         Duration::ZERO
//!     }
//!     fn wait(&self, _: Duration) {}
//!     fn random(&self) -> u64 {
//!         0
//!     }
//!     fn is_interrupted(&self) -> bool {
//!         false
//!     }
//!     fn report(&self, _: Event<'_>) {}
//! }
//!
//! fn digest_of(registry: &str, name: &str, tag: &str) -> Result<Option<String>> {
//!     let monitor: Arc<dyn ClientMonitor> = Arc::new(Silent);
//!     let client = Client::connect(registry, &ClientOptions::default(), &monitor)?;
//!     let repository = Repository::to_pull(Arc::new(client), name);
//!     let digest = repository.manifest_digest(tag)?;
//!     Ok(digest.map(|digest| digest.to_string()))
//! }
//!
//! // No server listens on this port.
//! let error = digest_of("127.0.0.1:1", "me/app", "latest").unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "cannot connect to `127.0.0.1:1`: connection refused"
//! );
//! ```
//!
//! # Modules
//!
//! - [`client`]: connection, redirects, tokens and retries; its options.
//! - [`repository`]: blobs, uploads and manifests.
//! - [`push`], [`pull`], [`cached`]: whole images, and images read through a cache.
//! - [`update`]: adding to the index of a tag while other runs do the same.
//! - [`secret`], [`credentials`]: credentials, and the files of Docker and Podman.
//! - [`monitor`], [`error`]: the interface to the caller.
//!
//! [OCI distribution protocol]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

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
