//! Images built by the program under test; no two are equal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use imgbuild_testing::{
    Outcome, Sandbox, UnpackedImage, UnpackedKind, UnpackedLayer, read_file, unpack,
};

use super::{unique, unique_time};

/// An archive and the sandbox that it was built in.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) sandbox: Sandbox,
    /// The archive, in the form that every engine loads.
    pub(crate) archive: PathBuf,
    /// Its name and tag.
    pub(crate) reference: String,
    /// The digest that the program printed and the archive has.
    pub(crate) digest: String,
    /// The content of the archive.
    pub(crate) image: UnpackedImage,
}

/// Makes a sandbox for the program under test, with the engine of the environment.
pub(crate) fn sandbox() -> Sandbox {
    let mut sandbox = Sandbox::new(env!("CARGO_BIN_EXE_imgbuild")).expect("there is room for it");
    if let Some(host) = std::env::var_os("DOCKER_HOST") {
        sandbox.set("DOCKER_HOST", host);
    }
    sandbox
}

/// Builds an image of a release with `--cacert` and further arguments.
///
/// # Panics
///
/// If the program fails, or prints another digest than the archive has.
pub(crate) fn build(release: &Path, name: &str, arguments: &[&str]) -> Built {
    build_in(sandbox(), release, name, arguments)
}

/// Builds an image as [`build`] does, in a sandbox with the release or other
/// inputs.
pub(crate) fn build_in(sandbox: Sandbox, release: &Path, name: &str, arguments: &[&str]) -> Built {
    // Every tool shows a name with a host as it is.
    let reference = format!("localhost/imgbuild-test/{name}:{}", unique());
    let archive = sandbox.path(format!("{name}.tar"));
    let mtime = unique_time();
    let mut words: Vec<OsString> = vec!["--release".into(), release.into()];
    words.extend(
        [
            "--tag", &reference, "--mtime", &mtime, "--cacert", "--output",
        ]
        .map(Into::into),
    );
    words.push(archive.clone().into());
    words.extend(arguments.iter().map(Into::into));
    let outcome = sandbox.run(words).success();
    let digest = result_digest(&outcome);
    let image = confirmed(&archive, &digest);
    Built {
        sandbox,
        archive,
        reference,
        digest,
        image,
    }
}

/// Returns the digest that is the only line of standard output.
pub(crate) fn result_digest(outcome: &Outcome) -> String {
    let output = outcome.stdout_text();
    let line = output.strip_suffix('\n').unwrap_or_default();
    let digest = line.rsplit('@').next().unwrap_or_default();
    assert!(
        digest.len() == 71 && digest.starts_with("sha256:") && !line.contains('\n'),
        "standard output is one digest, or a name with one:\n{}",
        outcome.report()
    );
    digest.to_owned()
}

/// Unpacks an archive or layout and checks the digest of its image.
pub(crate) fn confirmed(source: &Path, digest: &str) -> UnpackedImage {
    let image = unpack(source)
        .unwrap_or_else(|error| panic!("`{}` does not unpack: {error:?}", source.display()));
    assert_eq!(image.manifest_digest, digest);
    assert!(
        (1..=125).contains(&image.layers.len()),
        "{} layers",
        image.layers.len()
    );
    let steps = image.config["history"].as_array();
    let is_ours = |step: &&serde_json::Value| {
        let text = step["created_by"].as_str().unwrap_or_default();
        text.starts_with("imgbuild: ")
    };
    // The layers below are those of a base image.
    let ours = steps.into_iter().flatten().filter(is_ours).count();
    assert!(ours > 0, "no layer is imgbuild's");
    for layer in image.layers.iter().rev().take(ours) {
        assert_layer_rules(layer);
    }
    image
}

/// Checks what engines need of every layer: order, parents, and links that resolve.
fn assert_layer_rules(layer: &UnpackedLayer) {
    let mut seen: BTreeMap<&Path, &UnpackedKind> = BTreeMap::new();
    let mut last: &[u8] = b"";
    for (path, found) in &layer.entries {
        let name = path.as_os_str().as_bytes();
        // A directory is sorted by its name without the slash.
        let sorted_by = name.strip_suffix(b"/").unwrap_or(name);
        assert!(last < sorted_by, "{} is out of order", path.display());
        assert!(
            !name.starts_with(b"/") && !name.starts_with(b"./"),
            "{}",
            path.display()
        );
        let is_directory = found.kind == UnpackedKind::Directory;
        assert_eq!(name.ends_with(b"/"), is_directory, "{}", path.display());
        let parent = path.parent().expect("a layer has no entry for the root");
        let parent_is_there = seen.get(parent) == Some(&&UnpackedKind::Directory);
        assert!(
            parent.as_os_str().is_empty() || parent_is_there,
            "no parent: {}",
            path.display()
        );
        if let UnpackedKind::Hardlink { target } = &found.kind {
            let target = seen.get(target.as_path());
            assert!(
                matches!(target, Some(UnpackedKind::File { .. })),
                "{}",
                path.display()
            );
        }
        seen.insert(path, &found.kind);
        last = sorted_by;
    }
    assert!(!seen.is_empty(), "an empty layer");
}

impl Built {
    /// Returns the number of certificates in the image, as text.
    pub(crate) fn roots(&self) -> String {
        let bundle = Path::new("etc/ssl/certs/ca-certificates.crt");
        let bundle = read_file(&self.archive, bundle).expect("the bundle is a file");
        let text = String::from_utf8(bundle).expect("it is text");
        text.matches("-----BEGIN CERTIFICATE-----")
            .count()
            .to_string()
    }

    /// Returns `true` if the image has a path, given without its leading `/`.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.image.files().contains_key(Path::new(path))
    }

    /// Returns the paths below a directory.
    pub(crate) fn paths_below(&self, directory: &str) -> Vec<String> {
        let files = self.image.files();
        let below = files.keys().filter(|path| path.starts_with(directory));
        below.map(|path| path.display().to_string()).collect()
    }

    /// Returns a field of the configuration of containers.
    pub(crate) fn config(&self, field: &str) -> &serde_json::Value {
        &self.image.config["config"][field]
    }
}

/// Returns the content of a member of a tar archive.
pub(crate) fn member(archive: &[u8], name: &str) -> Vec<u8> {
    let mut reader = tar::Archive::new(archive);
    for entry in reader.entries().expect("it is a tar") {
        let mut entry = entry.expect("it is a tar");
        if entry.path().expect("it has a name") == Path::new(name) {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("it is whole");
            return bytes;
        }
    }
    panic!("no {name}");
}
