//! Fuzz targets: each takes any bytes, and panics if a promise is broken.
//!
//! `fuzz/` runs them under libFuzzer, the tests below over seeds and changes of
//! them.

use std::io::Write as _;
use std::path::Path;

use fs_err as fs;
use sha1::{Digest as _, Sha1};
use tempfile::TempDir;

use imgbuild_oci::image::Configuration;

use crate::base::configuration::history;
use crate::certificates::{Certificate, CertificateSource, Certificates};
use crate::elf::Elf;
use crate::git::WorkTree;
use crate::host_packages::PackageDatabase;
use crate::kind::mix::boot::term::{FileCall, with_calls};
use crate::kind::mix::{MIX, parse};
use crate::locale::LocaleArchive;
use crate::release::{Boot, Release, ReleaseOptions};
use crate::runtime::cache;
use crate::runtime::host::Host;
use crate::script::{Shebang, calls};

/// The script `releases/VSN/elixir`.
pub(crate) const ELIXIR: &str = "#!/bin/sh\nif [ \"$MODE\" != \"iex\" ]; then ERL=\"-noshell -s elixir start_cli $ERL\"; fi\n\
    set -- \"$ERTS_BIN$ERL_EXEC\" $ELIXIR_ERL_OPTIONS $ERL \"$@\"\n";

/// The start script of a release of `mix release`.
pub(crate) const OWN: &str = "#!/bin/sh\n\nstart () {\n  exec x --erl \"-mode $RELEASE_MODE\" --erl-config \"$RELEASE_SYS_CONFIG\" \
    --boot \"$REL_VSN_DIR/$RELEASE_BOOT_SCRIPT\" --boot-var RELEASE_LIB \"$RELEASE_ROOT/lib\" \
    --vm-args \"$RELEASE_VM_ARGS\" \"$@\"\n}\n";

/// `{script, {}, [{kernelProcess, application_controller, []}]}`.
pub(crate) const BOOT: &[u8] =
    b"\x83h\x03w\x06scripth\0l\0\0\0\x01h\x03w\x0dkernelProcessw\x16application_controllerjj";

/// Reads a program or library.
pub fn elf(data: &[u8]) {
    if let Ok(Some(elf)) = Elf::read(data) {
        assert!(data.starts_with(b"\x7fELF"));
        // For messages: calls of it are all that can fail.
        let _text = (elf.architecture(), elf.is_for_linux());
    }
}

/// Reads a certificate, and a file of certificates: the bundle made of them has
/// the same ones.
pub fn certificates(data: &[u8]) {
    if let Ok(certificate) = Certificate::from_der(data) {
        assert!(certificate.der == data);
        assert!(!certificate.subject.chars().any(char::is_control));
        let _text = certificate.not_after.to_string();
    }
    let directory = temporary();
    let path = directory.path().join("ca.pem");
    let source = CertificateSource::Path(path.clone());
    let load = |bytes: &[u8]| {
        write(directory.path(), "ca.pem", bytes);
        Certificates::load(
            std::slice::from_ref(&source),
            Some(1_700_000_000),
            imgbuild_oci::monitor::Monitor::silent(),
        )
    };
    match load(data) {
        Ok((found, _)) => {
            let (again, _) = load(&found.to_pem()).expect("a bundle is valid");
            assert!(again == found);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads a boot file. With calls in it, it is a boot file, too.
pub fn boot_file(data: &[u8]) {
    let before = [
        FileCall::Write("/tmp/a", b"[]."),
        FileCall::Rename("/tmp/b", "/tmp/a"),
    ];
    let after = [FileCall::Delete("/tmp/a")];
    if let Some(changed) = with_calls(data, &before, &after) {
        assert_eq!(with_calls(data, &[], &[]).as_deref(), Some(data));
        let again = with_calls(&changed, &[], &[]);
        assert!(again.as_deref() == Some(&changed[..]));
    }
}

/// Reads a mix release that starts without a shell. The first byte decides which
/// of its files the rest is; the others are in order.
pub fn mix_release(data: &[u8]) {
    let [which, rest @ ..] = data else {
        return;
    };
    drop(parse(&String::from_utf8_lossy(rest)));
    let mut files: [(&str, &[u8]); 9] = [
        ("releases/start_erl.data", b"13.1 1.0"),
        (
            "releases/1.0/shop.rel",
            b"{release,{\"shop\",\"1.0\"},{erts,\"13.1\"},[]}.",
        ),
        ("releases/1.0/start.boot", BOOT),
        ("releases/1.0/sys.config", b"%% RUNTIME_CONFIG=true\n[].\n"),
        ("releases/1.0/vm.args", b"-sname a\n"),
        ("releases/1.0/elixir", ELIXIR.as_bytes()),
        ("releases/1.0/env.sh", b"#!/bin/sh\nexport A=1\n"),
        ("bin/shop", OWN.as_bytes()),
        ("bin/server", b"#!/bin/sh\nexec ./shop start\n"),
    ];
    files[usize::from(*which) % 9].1 = rest;
    let directory = temporary();
    for (path, bytes) in files {
        write(directory.path(), path, bytes);
    }
    write(directory.path(), "erts-13.1/bin/erlexec", b"");
    write(directory.path(), "lib/shop-1.0/ebin/shop.app", b"");
    let options = ReleaseOptions {
        kind: Some(&MIX),
        boot: Boot::Direct,
        ..ReleaseOptions::default()
    };
    match Release::open(directory.path(), &options) {
        Ok(release) => drop(release.package()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// Reads `ld.so.cache`.
pub fn loader_cache(data: &[u8]) {
    for path in cache::parse(data).values().flatten() {
        assert!(path.starts_with(b"/"));
    }
}

/// Reads an archive of locales, and every locale in it.
pub fn locale_archive(data: &[u8]) {
    let directory = temporary();
    write(directory.path(), "locale-archive", data);
    let Ok(mut archive) = LocaleArchive::open(&directory.path().join("locale-archive")) else {
        return;
    };
    let names: Vec<String> = archive.names.iter().map(|(name, _)| name.clone()).collect();
    for name in names.into_iter().take(4) {
        assert!(!name.contains('/'));
        drop(archive.locale(&name));
    }
}

/// Reads a package database. The first byte decides which of its files the rest
/// is: dpkg's packages, a list of files, diversions or alternatives, or apk's
/// packages.
pub fn package_database(data: &[u8]) {
    let [which, rest @ ..] = data else {
        return;
    };
    let directory = temporary();
    let write = |path: &str, bytes: &[u8]| write(directory.path(), path, bytes);
    let dpkg = "var/lib/dpkg";
    if which % 5 == 4 {
        write("lib/apk/db/installed", rest);
    } else {
        let package = b"Package: a\nStatus: install ok installed\nDepends: a\n";
        write(&format!("{dpkg}/status"), package);
        let file =
            ["status", "info/a.list", "diversions", "alternatives/a"][usize::from(which % 5)];
        write(&format!("{dpkg}/{file}"), rest);
    }
    let host = Host::new(Some(directory.path()));
    let database = PackageDatabase::open(&host);
    drop(database.alternatives(&host));
    for package in database.packages().take(4) {
        let set = database.closure(&[package], true);
        assert!(set.packages.contains(package));
        for path in database.files(package) {
            assert!(!path.contains('\n'));
            let _owner = database.owners(&path).next();
        }
    }
}

/// Reads a script: its first line, and the programs that it calls.
pub fn shell_script(data: &[u8]) {
    if let Some(line) = Shebang::parse(data) {
        drop(line.looked_up());
    }
    for program in calls(&String::from_utf8_lossy(data)).programs {
        assert!(!program.contains(char::is_whitespace), "{program:?}");
    }
}

/// Reads the configuration that an image inherits from its base.
pub fn base_configuration(data: &[u8]) {
    if let Ok(document) = serde_json::from_slice(data) {
        drop(Configuration::of_document(&document));
        for layers in [0, 2] {
            let steps = history(&document, layers).into_iter();
            let of_layers = steps.filter(|step| step.get("empty_layer") != Some(&true.into()));
            assert_eq!(of_layers.count(), layers);
        }
    }
}

const COMMIT: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
    author a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nx\n";
const EMPTY_TREE: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

/// The forms of the inputs of [`git`], by their first byte.
pub(crate) const GIT_INDEX: u8 = 0;
pub(crate) const GIT_CONFIG: u8 = 1;
pub(crate) const GIT_COMMIT: u8 = 2;
pub(crate) const GIT_LOOSE: u8 = 3;
pub(crate) const GIT_PACKED_REFS: u8 = 4;
/// The offset of an object in two bytes, and a pack.
pub(crate) const GIT_PACK: u8 = 5;
/// The index of a pack.
pub(crate) const GIT_PACK_INDEX: u8 = 6;
pub(crate) const GIT_HEAD: u8 = 7;

/// Reads a repository: its index, its configuration, a commit, a loose object,
/// packed references, a pack, the index of one, `HEAD`. The first byte decides
/// which the rest is; the others are in order.
pub fn git(data: &[u8]) {
    let [which, rest @ ..] = data else {
        return;
    };
    let directory = temporary();
    let write = |name: &str, bytes: &[u8]| write(&directory.path().join(".git"), name, bytes);
    let commit = hex(&object_id("commit", COMMIT.as_bytes()));
    let object = |id: &str| format!("objects/{}/{}", &id[..2], &id[2..]);
    write("HEAD", b"ref: refs/heads/main\n");
    write("config", b"[core]\n\trepositoryformatversion = 0\n");
    write(&object(EMPTY_TREE), &loose("tree", b""));
    write(&object(&commit), &loose("commit", COMMIT.as_bytes()));
    write("refs/heads/main", format!("{commit}\n").as_bytes());
    let named = |id: &[u8; 20]| write("refs/heads/main", format!("{}\n", hex(id)).as_bytes());
    match which % (GIT_HEAD + 1) {
        GIT_INDEX => write("index", rest),
        GIT_CONFIG => write("config", rest),
        GIT_COMMIT => {
            let id = object_id("commit", rest);
            write(&object(&hex(&id)), &loose("commit", rest));
            named(&id);
        }
        GIT_LOOSE => write(&object(&commit), rest),
        GIT_PACKED_REFS => {
            write("packed-refs", rest);
            write("HEAD", b"ref: refs/heads/packed\n");
        }
        GIT_PACK => {
            let (offset, pack) = rest.split_at(rest.len().min(2));
            let id = [7; 20];
            write("objects/pack/pack-1.idx", &pack_index(&id, offset));
            write("objects/pack/pack-1.pack", pack);
            named(&id);
        }
        GIT_PACK_INDEX => {
            write("objects/pack/pack-1.idx", rest);
            write("objects/pack/pack-1.pack", b"PACK\0\0\0\x02\0\0\0\0");
            // The first name in the index.
            let id = rest.get(1032..1052).and_then(|id| id.try_into().ok());
            named(&id.unwrap_or([7; 20]));
        }
        _ => write("HEAD", rest),
    }
    if let Ok(Some(tree)) = WorkTree::holding(directory.path()) {
        drop(tree.origin());
        if let Ok(Some(head)) = tree.head() {
            drop(tree.is_dirty(&head));
        }
    }
}

/// The index of a pack with one object.
fn pack_index(id: &[u8; 20], offset: &[u8]) -> Vec<u8> {
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..=u8::MAX {
        index.extend(u32::from(first >= id[0]).to_be_bytes());
    }
    index.extend(id);
    index.extend([0; 4]);
    let offset = offset
        .iter()
        .fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    index.extend(offset.to_be_bytes());
    index.extend([0; 40]);
    index
}

/// A loose object: its kind, its size and its content, compressed.
fn loose(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(encoder, "{kind} {}\0", content.len()).expect("memory takes it");
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}

fn object_id(kind: &str, content: &[u8]) -> [u8; 20] {
    let mut hasher = Sha1::new();
    hasher.update(format!("{kind} {}\0", content.len()));
    hasher.update(content);
    hasher.finalize().into()
}

fn hex(id: &[u8; 20]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn temporary() -> TempDir {
    tempfile::tempdir().expect("there is room for a directory")
}

fn write(root: &Path, name: &str, bytes: &[u8]) {
    let path = root.join(name);
    let parent = path.parent().expect("it is below the root");
    fs::create_dir_all(parent).expect("there is room for a directory");
    fs::write(path, bytes).expect("there is room for a file");
}

#[cfg(test)]
mod tests;
