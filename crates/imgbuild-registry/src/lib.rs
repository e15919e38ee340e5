//! Images over the network: the [OCI distribution protocol], with credentials
//! and TLS.
//!
//! The only crate that reaches the network. It reads neither the environment
//! nor the clock: credentials, proxies, certificates, time and chance are
//! handed in.
//!
//! [OCI distribution protocol]: https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md

#![deny(missing_docs)]

mod authenticator;
pub mod cached;
mod challenge;
pub mod client;
mod connector;
pub mod credentials;
pub mod error;
mod error_response;
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
