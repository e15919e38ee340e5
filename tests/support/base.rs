//! Base images made by the tests, with known bytes.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::{Compression as Level, GzBuilder};
use fs_err as fs;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

/// The compression of the layers of a base image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Plain,
    Gzip,
    Zstd,
    /// The first bytes of a compression that is not read.
    Unread(&'static [u8]),
    /// Gzip of the tar and 5 GiB of zeros after it.
    Bomb,
    /// Gzip with zeros after it.
    Padded,
}

impl Packing {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Plain | Self::Unread(_) => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip | Self::Bomb | Self::Padded => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }

    pub(crate) fn pack(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => gzip(tar, Level::fast()),
            Self::Padded => [gzip(tar, Level::fast()), vec![0; 512]].concat(),
            Self::Unread(start) => [start, &[0; 600]].concat(),
            Self::Bomb => {
                let zeros = gzip(&vec![0; 64 << 20], Level::best());
                [gzip(tar, Level::best()), zeros.repeat(80)].concat()
            }
            Self::Zstd => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                ruzstd::encoding::compress_to_vec(tar, level)
            }
        }
    }
}

fn gzip(bytes: &[u8], level: Level) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), level);
    encoder.write_all(bytes).expect("a vector takes everything");
    encoder.finish().expect("a vector takes everything")
}

/// The tar of one layer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layer(Vec<u8>);

impl Layer {
    fn entry(mut self, kind: EntryType, path: &str, mode: u32, what: (&str, &[u8])) -> Self {
        let (link, contents) = what;
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(if mode & 0o2000 == 0 { 0 } else { 12 });
        header.set_mtime(1_600_000_000);
        header.set_size(contents.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(contents);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    /// Adds a directory; one with the set-group-ID bit belongs to group 12.
    pub(crate) fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, &format!("{path}/"), mode, ("", b""))
    }

    pub(crate) fn file(self, path: &str, mode: u32, contents: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, ("", contents.as_ref()))
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, (target, b""))
    }

    /// Adds an entry of another kind, which may lead to a path.
    pub(crate) fn special(self, kind: u8, path: &str, target: &str) -> Self {
        self.entry(EntryType::new(kind), path, 0o644, (target, b""))
    }

    /// Adds a PAX record for the next entry.
    pub(crate) fn pax(self, key: &str, value: &[u8]) -> Self {
        // The length counts itself.
        let rest = key.len() + value.len() + 3;
        let digits = (rest + rest.to_string().len()).to_string().len();
        let length = rest + digits;
        let record = [format!("{length} {key}=").as_bytes(), value, b"\n"].concat();
        self.entry(EntryType::XHeader, "pax", 0o644, ("", &record))
    }

    /// Adds a file of the host; links are followed.
    pub(crate) fn host_file(self, path: &str, host: &Path) -> Self {
        self.file(path, 0o755, fs::read(host).expect("the host has it"))
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// Files by name, in the order in which they are written.
type Files = Vec<(String, Vec<u8>)>;

/// A base image that is not written yet.
#[derive(Debug, Clone)]
pub(crate) struct BaseImage {
    pub(crate) layers: Vec<Vec<u8>>,
    pub(crate) packing: Packing,
    /// Another media type of the layers.
    pub(crate) label: Option<&'static str>,
    pub(crate) architecture: &'static str,
    /// The `config` object.
    pub(crate) config: Value,
    pub(crate) history: Value,
    /// Further fields of the configuration.
    pub(crate) fields: Value,
}

impl BaseImage {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        Self {
            layers: layers.into_iter().map(Layer::finish).collect(),
            packing: Packing::Gzip,
            label: None,
            architecture: "amd64",
            config: json!({}),
            history: Value::Null,
            fields: json!({}),
        }
    }

    pub(crate) fn with_config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }

    /// Returns the files of an image layout, the descriptor of the manifest, and the
    /// names of config and layers.
    fn blobs(&self) -> (Files, Value, Vec<String>) {
        let mut files = Vec::new();
        let mut layers = Vec::new();
        let mut names = Vec::new();
        for tar in &self.layers {
            let blob = self.packing.pack(tar);
            let media_type = self.label.unwrap_or(self.packing.media_type());
            layers.push(descriptor(media_type, &blob));
            names.push(add(&mut files, blob));
        }
        let diff_ids: Vec<String> = self.layers.iter().map(|tar| digest(tar)).collect();
        let mut config = json!({
            "os": "linux",
            "architecture": self.architecture,
            "config": self.config,
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        if !self.history.is_null() {
            config["history"] = self.history.clone();
        }
        let fields = self.fields.as_object().expect("it is an object");
        let object = config.as_object_mut().expect("it is an object");
        object.extend(fields.clone());
        let config = config.to_string().into_bytes();
        let config_type = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(config_type, &config),
            "layers": layers,
        });
        names.insert(0, add(&mut files, config));
        let manifest = manifest.to_string().into_bytes();
        let root = descriptor(MANIFEST, &manifest);
        add(&mut files, manifest);
        (files, root, names)
    }

    /// Writes an image layout with this image alone.
    pub(crate) fn write_layout(&self, directory: &Path, tag: &str) -> PathBuf {
        write_layout(directory, &[(tag, self)])
    }

    /// Writes an archive in the form of `docker save` of old engines.
    pub(crate) fn write_docker_archive(&self, file: &Path, tag: &str) {
        let (mut files, _, names) = self.blobs();
        let manifest = json!([{ "Config": names[0], "RepoTags": [tag], "Layers": names[1..] }]);
        files.push((
            "manifest.json".to_owned(),
            manifest.to_string().into_bytes(),
        ));
        fs::write(file, archive(&files)).expect("there is room for it");
    }

    /// Writes an image layout in a tar.
    pub(crate) fn write_oci_archive(&self, file: &Path, tag: &str) {
        let files = layout_files(&[(tag, self)]);
        fs::write(file, archive(&files)).expect("there is room for it");
    }
}

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Writes an image layout of several images.
pub(crate) fn write_layout(directory: &Path, images: &[(&str, &BaseImage)]) -> PathBuf {
    for (name, contents) in layout_files(images) {
        let path = directory.join(name);
        fs::create_dir_all(path.parent().expect("it is below")).expect("there is room for it");
        fs::write(path, contents).expect("there is room for it");
    }
    directory.to_path_buf()
}

fn layout_files(images: &[(&str, &BaseImage)]) -> Files {
    let mut all = Vec::new();
    let mut roots = Vec::new();
    for (tag, image) in images {
        let (files, mut root, _) = image.blobs();
        root["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
        root["platform"] = json!({ "os": "linux", "architecture": image.architecture });
        roots.push(root);
        all.extend(files);
    }
    let index = json!({ "schemaVersion": 2, "manifests": roots });
    all.push(("index.json".to_owned(), index.to_string().into_bytes()));
    let mark = br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec();
    all.push(("oci-layout".to_owned(), mark));
    all
}

pub(crate) fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let layer = Layer::default();
    let files = files.iter();
    files
        .fold(layer, |layer, (name, contents)| {
            layer.file(name, 0o644, contents)
        })
        .finish()
}

fn add(files: &mut Files, blob: Vec<u8>) -> String {
    let name = digest(&blob).replacen(':', "/", 1);
    let name = format!("blobs/{name}");
    files.push((name.clone(), blob));
    name
}

fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(blob), "size": blob.len() })
}

/// Returns `sha256:…` of bytes.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Makes a small system with the C library of the host and the links of Debian.
pub(crate) fn small_debian() -> BaseImage {
    let libraries = "usr/lib/x86_64-linux-gnu";
    let host = Path::new("/lib/x86_64-linux-gnu");
    let mut lower = Layer::default()
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .directory("usr/lib", 0o755)
        .directory("usr/lib64", 0o755)
        .directory(libraries, 0o755)
        .directory("etc", 0o755)
        .directory("tmp", 0o1777)
        .directory("var", 0o755)
        .directory("var/spool", 0o2770)
        .link("bin", "usr/bin")
        .link("lib", "usr/lib")
        .link("lib64", "usr/lib64")
        .link(
            "usr/lib64/ld-linux-x86-64.so.2",
            "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        )
        .file(
            "etc/passwd",
            0o644,
            "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/srv:/bin/sh\n",
        )
        .file("etc/group", 0o644, "root:x:0:\nweb:x:1001:\n");
    for name in ["libc.so.6", "ld-linux-x86-64.so.2"] {
        lower = lower.host_file(&format!("{libraries}/{name}"), &host.join(name));
    }
    let upper = Layer::default()
        .directory("usr", 0o755)
        .directory("usr/bin", 0o755)
        .host_file("usr/bin/busybox", Path::new("/bin/busybox"));
    let upper = ["sh", "cat", "id", "stat"]
        .iter()
        .fold(upper, |layer, name| {
            layer.link(&format!("usr/bin/{name}"), "busybox")
        });
    BaseImage::new(vec![lower, upper])
}
