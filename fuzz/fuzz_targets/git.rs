//! Whatever lies in a repository is read or refused: its index, a pack with
//! its index, packed references, its configuration, a loose object.
//!
//! The first byte says which of them the rest is; everything else is in order.

#![no_main]

use std::fs;
use std::io::Write as _;

use imgbuild_release::git::WorkTree;
use libfuzzer_sys::fuzz_target;

const COMMIT: &str = "tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n\
    author a <a> 1 +0000\ncommitter a <a> 1 +0000\n\nx\n";
const COMMIT_ID: &str = "7a19904e34ddef94f9bc9889c2e3a51289cbbdad";
const EMPTY_TREE_ID: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";

fuzz_target!(|data: &[u8]| {
    let [which, rest @ ..] = data else {
        return;
    };
    let directory = tempfile::tempdir().expect("there is room for a directory");
    let write = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(".git").join(name);
        let parent = path.parent().expect("it lies in the repository");
        fs::create_dir_all(parent).expect("there is room for a directory");
        fs::write(path, bytes).expect("there is room for a file");
    };
    let object = |id: &str| format!("objects/{}/{}", &id[..2], &id[2..]);
    write("HEAD", b"ref: refs/heads/main\n");
    write("config", b"[core]\n\trepositoryformatversion = 0\n");
    write(&object(EMPTY_TREE_ID), &loose("tree", b""));
    let mut head = COMMIT_ID;
    match which % 6 {
        0 => write("index", rest),
        1 => write("config", rest),
        2 => write(&object(COMMIT_ID), &loose("commit", rest)),
        3 => write(&object(COMMIT_ID), rest),
        4 => write("packed-refs", rest),
        _ => {
            write("objects/pack/pack-1.idx", rest);
            write("objects/pack/pack-1.pack", rest);
            // The first name of the pack, as its index lists it.
            head = "0000000000000000000000000000000000000000";
        }
    }
    if !matches!(which % 6, 2 | 3) {
        write(&object(COMMIT_ID), &loose("commit", COMMIT.as_bytes()));
    }
    if which % 6 != 4 {
        write("refs/heads/main", format!("{head}\n").as_bytes());
    }
    if let Ok(Some(tree)) = WorkTree::holding(directory.path()) {
        let _ = tree.origin();
        if let Ok(Some(head)) = tree.head() {
            let _ = tree.is_dirty(&head);
        }
    }
});

/// A loose object: its kind, its size and its content, compressed.
fn loose(kind: &str, content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    write!(encoder, "{kind} {}\0", content.len()).expect("memory takes it");
    encoder.write_all(content).expect("memory takes it");
    encoder.finish().expect("memory takes it")
}
