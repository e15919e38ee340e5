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
/// Base images: what is inherited, what is refused, and where things land.
mod base;
/// Base images of registries: fetched once, checked, found again by digest.
mod base_registry;
/// Mix releases that start without a shell, as planned.
mod boot;
/// Rebuilds: what is found again, and that no byte depends on it.
mod cache;
/// What the check warns of and how it says it; that its table is complete.
mod check;
/// The command line: its reference, outputs, exit codes, one digest everywhere.
mod cli;
/// `imgbuild.toml`: every flag as a key, merged with the command line.
mod configuration_file;

/// The action, the workflows and the scripts of `docs/ci.md`, run.
mod ci;
/// Readers other than Docker: skopeo, podman, buildah, umoci, containerd, tar.
mod consumers;
/// Same input, same bytes, whatever else differs.
mod determinism;
/// Programs built from source, put into an image, loaded and run by Docker.
mod engine;
/// Single flags: what they refuse, what they warn of.
mod flags;
/// The digests of the fixtures' images.
mod goldens;
/// Flags, exit codes and JSON keys, compared with a list of them.
mod interface;
/// Directories that hold a release and are none.
mod levels;
/// What is unpacked from an image is what was in the release.
mod nothing_lost;
/// Archives without a manifest as sources: copied, built on, checked.
mod old_archives;
/// What is written beside the image itself: tags, pipes, small files.
mod outputs;
/// Images for several platforms: built in one run, merged, refused.
mod platforms;
/// Dates and labels, from git, the package and the environment.
mod provenance;
/// What is refused, and how it is said.
mod refusals;
/// Pushing to and copying from registries: Debian's, and one that misbehaves.
mod registry;
