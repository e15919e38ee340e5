//! Registries that misbehave: every test ends in success or in one clear
//! sentence, nothing wrong is tagged, and no secret is told to others.

#![expect(clippy::disallowed_methods, reason = "tests read whole what they made")]
#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation panics has failed"
)]

#[path = "hostile/ahead.rs"]
mod ahead;
#[path = "hostile/auth.rs"]
mod auth;
#[path = "hostile/early.rs"]
mod early;
#[path = "hostile/lenient.rs"]
mod lenient;
#[path = "hostile/lines.rs"]
mod lines;
#[path = "hostile/mounting.rs"]
mod mounting;
#[path = "hostile/mute.rs"]
mod mute;
#[path = "hostile/pulling.rs"]
mod pulling;
#[path = "hostile/pushing.rs"]
mod pushing;
#[path = "hostile/redirects.rs"]
mod redirects;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[path = "hostile/secure.rs"]
mod secure;
#[path = "hostile/signals.rs"]
mod signals;
#[path = "hostile/support.rs"]
mod support;
#[path = "hostile/updating.rs"]
mod updating;
#[path = "hostile/ways.rs"]
mod ways;
