//! Layouts that no build of ours makes yet.

use fs_err as fs;
use imgbuild_testing::Sandbox;

use crate::runs::{hex, words};
use sha2::{Digest, Sha256};

/// Builds the small release for two platforms, and puts both under one index
/// in the layout `index`; returns how it is named.
pub(super) fn two_platforms(sandbox: &Sandbox) -> String {
    let mut entries = Vec::new();
    for (architecture, label) in [("amd64", "one=1"), ("arm64", "two=2")] {
        let platform = format!("linux/{architecture}");
        let all = [
            "--output",
            "oci:index",
            "--tag",
            "x/y:1",
            "--label",
            label,
            "--platform",
            &platform,
        ];
        // The platform of the shared words comes first, and the last one wins.
        let mut all: Vec<_> = words("release", &all);
        if let Some(at) = all.iter().position(|word| word == "--platform") {
            all.drain(at..at + 2);
        }
        let outcome = sandbox.run(all).success();
        let digest = outcome.stdout_text().trim_end().to_owned();
        let blob = sandbox
            .path("index/blobs/sha256")
            .join(digest.trim_start_matches("sha256:"));
        let size = fs::read(blob).expect("it was written").len();
        entries.push(serde_json::json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": size,
            "platform": {"os": "linux", "architecture": architecture},
        }));
    }
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": entries,
    });
    let bytes = serde_json::to_vec(&index).expect("it is JSON");
    let digest = hex(&Sha256::digest(&bytes));
    let blob = sandbox
        .path("index/blobs/sha256")
        .join(digest.trim_start_matches("sha256:"));
    fs::write(blob, &bytes).expect("the layout is ours");
    let root = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": digest,
            "size": bytes.len(),
            "annotations": {"org.opencontainers.image.ref.name": "1"},
        }],
    });
    fs::write(sandbox.path("index/index.json"), root.to_string()).expect("the layout is ours");
    "oci:index:1".to_owned()
}
