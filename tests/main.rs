//! The tests of the program as a whole, in one binary.

#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation panics has failed"
)]

/// What the modules below share: the program's runs, engines, built programs.
mod support;

/// Short ways to run the program where no engine is needed.
mod runs;

/// Output appears when complete: signals, full disks, closed pipes, two writers.
mod atomicity;
/// Rebuilds: what is found again, and that no byte depends on it.
mod cache;
/// What the check warns of and how it says it; that its table is complete.
mod check;
/// The command line: its reference, outputs, exit codes, one digest everywhere.
mod cli;

/// Readers other than Docker: skopeo, podman, buildah, umoci, containerd, tar.
mod consumers;
/// Same input, same bytes, whatever else differs.
mod determinism;
/// Programs built from source, put into an image, loaded and run by Docker.
mod engine;
/// The digests of the fixtures' images.
mod goldens;
/// What is unpacked from an image is what was in the release.
mod nothing_lost;
/// What is refused, and how it is said.
mod refusals;
