//! The tests of the program as a whole, in one binary.

#![expect(clippy::disallowed_methods, reason = "tests read whole what they made")]
#![expect(
    clippy::unwrap_used,
    reason = "a test whose preparation panics has failed"
)]

/// Support: engines, built programs, images.
mod support;

/// Helpers that run the program without an engine.
mod runs;

/// Output appears when complete: signals, full disks, closed pipes, two writers.
mod atomicity;
/// Base images: inherited fields, refusals, and overlaps with the release.
mod base;
/// Base images of registries: fetched once, checked, found again by digest.
mod base_registry;
/// Mix releases that start without a shell, as planned.
mod boot;
/// Hostile inputs, under limits of memory and processor time.
mod bounds;
/// Rebuilds: layers that are reused, and bytes that do not depend on it.
mod cache;
/// Warnings of the check, their form, and its documentation.
mod check;
/// The command line: its reference, outputs, exit codes, one digest everywhere.
mod cli;
/// `imgbuild.toml`: every flag as a key, merged with the command line.
mod configuration_file;

/// The action, the workflows and the scripts of `docs/ci.md`, run.
mod ci;
/// Readers other than Docker: skopeo, podman, buildah, umoci, containerd, tar.
mod consumers;
/// Same input, same bytes, in different environments.
mod determinism;
/// Programs built from source, put into an image, loaded and run by Docker.
mod engine;
/// Files that are exchanged while they are packed.
mod exchanges;
/// Single flags: their errors and warnings.
mod flags;
/// Images that other tools wrote, in forms of theirs.
mod foreign_images;
/// The digests of the fixtures' images.
mod goldens;
/// Flags, exit codes and JSON keys, compared with a list of them.
mod interface;
/// What killed runs leave: removed by the next one, and in no image.
mod leftovers;
/// Directories that contain a release but are not one.
mod levels;
/// The whole standard error of typical failures.
mod messages;
/// Unpacked images equal their releases.
mod nothing_lost;
/// Archives without a manifest as sources: copied, built on, checked.
mod old_archives;
/// Outputs beside the image: tags, pipes, small files.
mod outputs;
/// Images for several platforms: built in one run, merged, refused.
mod platforms;
/// Dates and labels, from git, the package and the environment.
mod provenance;
/// Refusals and their messages.
mod refusals;
/// Pushes to and copies from registries: Debian's, and one that misbehaves.
mod registry;
/// What other users of a machine may have put there: links, and caches.
mod trust;
/// Waits: what they are for, and the first signal, which ends them.
mod waits;
/// Extended attributes and file capabilities: carried, or counted in a warning.
mod xattrs;
