//! The tests of the program as a whole, in one binary.

/// What the modules below share: the program's runs, engines, built programs.
mod support;

/// Readers other than Docker: skopeo, podman, buildah, umoci, containerd, tar.
mod consumers;
/// Programs built from source, put into an image, loaded and run by Docker.
mod engine;
