use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use fs_err as fs;
use imgbuild_testing::{Outcome, Sandbox};
use serde_json::{Value, json};

use crate::runs;
use crate::support::base::{BaseImage, Packing};

/// The address space of each run in KiB, and its seconds of processor time. A
/// debug build takes some 60 MiB of it for itself.
const LIMITS: &str = "ulimit -v 400000; ulimit -t 30; export MALLOC_ARENA_MAX=1; exec \"$@\"";

fn limited(sandbox: Sandbox) -> Sandbox {
    sandbox.under(["/bin/sh", "-c", LIMITS, "sh"])
}

/// Makes a sandbox for the program with a small release.
fn sandbox() -> Sandbox {
    limited(runs::with_small_release())
}

/// Makes a tar of empty files, and of links to a target.
fn tar<'a>(entries: impl IntoIterator<Item = (String, Option<&'a str>)>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, target) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_size(0);
        if let Some(target) = target {
            header.set_entry_type(tar::EntryType::Symlink);
            builder.append_link(&mut header, path, target).unwrap();
        } else {
            builder.append_data(&mut header, path, &b""[..]).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn image(layers: Vec<Vec<u8>>) -> BaseImage {
    let mut image = BaseImage::new(Vec::new());
    image.layers = layers;
    image
}

/// Checks an image, builds on it and copies it, each within the limits; returns
/// what the check says.
fn used(image: &BaseImage) -> String {
    let sandbox = sandbox();
    image.write_layout(&sandbox.path("base"), "1");
    let said = ended(&sandbox.run(["check", "oci:base"]));
    let words = runs::words("release", &["--base=oci:base", "--output=o.tar"]);
    ended(&sandbox.run(words));
    if image.config == json!({}) {
        ended(&sandbox.run(["validate", "oci:base"]));
        ended(&sandbox.run(["copy", "oci:base", "oci:copy"]));
    }
    said
}

/// Returns what a run said that ended by itself.
#[track_caller]
fn ended(outcome: &Outcome) -> String {
    assert!(matches!(outcome.code, Some(0..=2)), "{}", outcome.report());
    outcome.stderr_text().to_owned()
}

#[test]
fn directories_that_a_layer_does_not_list_need_bounded_memory() {
    let deep = (0..1500).map(|number| (format!("{number}/{}x", "d/".repeat(2000)), None));
    let said = used(&image(vec![tar(deep)]));
    assert!(
        said.contains("the names in the image need more than 128 MiB"),
        "{said}"
    );
}

#[test]
fn links_of_a_base_are_bounded() {
    let target = format!("x{}", "/..".repeat(1700));
    let links = (0..38).map(|number| (format!("k{number}"), Some(target.as_str())));
    let said = used(&image(vec![tar(links)]));
    assert!(
        said.contains("the target of a link that is too long: `k0`; refused by every engine"),
        "{said}"
    );

    // Short enough, but each path through them is walked for a long time.
    let targets: Vec<String> = (0..38)
        .map(|number| format!("k{}{}", number + 1, "/d/..".repeat(800)))
        .collect();
    let links = targets.iter().enumerate();
    let links = links.map(|(number, target)| (format!("k{number}"), Some(target.as_str())));
    let files = (0..3000).map(|number| (format!("k0/x{number}"), None));
    let said = used(&image(vec![tar(links.chain(files))]));
    assert!(said.contains("take too long to follow"), "{said}");
}

#[test]
fn whiteouts_of_a_base_are_bounded() {
    let lower = (0..200).map(|number| (format!("{}x{number}", "d/".repeat(1900)), None));
    let upper = (1..1500).map(|depth| (format!("{}.wh..wh..opq", "d/".repeat(depth)), None));
    used(&image(vec![tar(lower), tar(upper)]));
    // A file that takes the place of a deep tree, again and again.
    let flips = (0..800).flat_map(|_| {
        let deep = (format!("d/{}x", "e/".repeat(1900)), None);
        [deep, ("d".to_owned(), None)]
    });
    let said = used(&image(vec![tar(flips)]));
    assert!(
        said.contains("has a path below one that is not a directory: `d/e/"),
        "{said}"
    );
}

#[test]
fn a_small_layer_expands_to_a_bounded_size() {
    let mut image = image(vec![vec![0; 300 << 20]]);
    image.packing = Packing::Zstd;
    let said = used(&image);
    assert!(
        said.contains("decompresses to more than 268435456 bytes"),
        "{said}"
    );
}

#[test]
fn configurations_of_a_base_are_merged_in_bounded_time() {
    let texts = |prefix: &str| {
        (0..60_000)
            .map(|number| format!("{prefix}{number}"))
            .collect()
    };
    let set = |names: Vec<String>| -> Value {
        let names = names.into_iter().map(|name| (name, json!({})));
        names.collect::<BTreeMap<_, _>>().into_iter().collect()
    };
    let labels: BTreeMap<String, String> = (0..60_000)
        .map(|number| (format!("l{number}"), String::new()))
        .collect();
    let variables = (0..150_000)
        .map(|number| format!("V{number}="))
        .collect::<Vec<_>>();
    for config in [
        json!({ "Env": variables }),
        json!({ "Labels": labels }),
        json!({ "Volumes": set(texts("/v")), "ExposedPorts": set(texts("")) }),
        json!({ "Cmd": vec!["x"; 500_000] }),
    ] {
        used(&image(vec![tar([])]).with_config(config));
    }
    let mut image = image(vec![tar([])]);
    image.history = vec![json!({ "empty_layer": true }); 100_000].into();
    used(&image);
}

#[test]
fn documents_of_an_image_are_bounded() {
    let deep = format!("{}{}", "[".repeat(500_000), "]".repeat(500_000));
    let empty = format!("[{}{{}}]", "{},".repeat(1_300_000));
    for text in [
        format!(r#"{{"schemaVersion":2,"manifests":{empty}}}"#),
        format!(r#"{{"schemaVersion":2,"layers":{empty},"manifests":[]}}"#),
        format!(r#"{{"schemaVersion":2,"manifests":{deep}}}"#),
    ] {
        let sandbox = sandbox();
        image(vec![tar([])]).write_layout(&sandbox.path("base"), "1");
        fs::write(sandbox.path("base/index.json"), text).unwrap();
        for words in [
            ["check", "oci:base"].as_slice(),
            &["validate", "oci:base"],
            &["copy", "oci:base", "oci:copy"],
        ] {
            let outcome = sandbox.run(words);
            assert_eq!(outcome.code, Some(1), "{}", outcome.report());
        }
        let words = runs::words("release", &["--output=oci:base"]);
        let outcome = sandbox.run(words);
        assert_eq!(outcome.code, Some(1), "{}", outcome.report());
    }
}

/// Makes a file of a gigabyte that takes no room.
fn sparse(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::File::create(path).unwrap().set_len(1 << 30).unwrap();
}

/// A file that is too large, the arguments of a run that reads it, and a part of
/// what it says.
type SmallFile = (&'static str, &'static [&'static str], &'static str);

const TREE: [&str; 4] = [
    "--release=release",
    "--kind=tree",
    "--no-entrypoint",
    "--dry-run",
];
const MIX: [&str; 3] = ["--release=mix", "--kind=mix", "--dry-run"];
const LAYOUT: [&str; 3] = [
    "--release=release",
    "--no-entrypoint",
    "--output=oci:layout",
];
const COPY: [&str; 3] = ["copy", "docker://127.0.0.1:9/x", "o.tar"];

const SMALL_FILES: [SmallFile; 14] = [
    (
        "env",
        &["--env-file=env"],
        "`env` has more than 4 MiB, the limit",
    ),
    (
        "imgbuild.toml",
        &TREE,
        "`imgbuild.toml` has more than 1 MiB",
    ),
    ("Cargo.toml", &TREE, ""),
    ("ca.pem", &["--cacert=ca.pem"], "larger than 16 MiB"),
    (
        "ca.pem",
        &["--ca-file=ca.pem"],
        "`ca.pem` has more than 16 MiB",
    ),
    (
        ".docker/config.json",
        &COPY,
        "config.json` has more than 4 MiB",
    ),
    (
        "layout/oci-layout",
        &LAYOUT,
        "layout/oci-layout` has more than 4 MiB",
    ),
    (
        "layout/index.json",
        &LAYOUT,
        "layout/index.json` has more than 4 MiB",
    ),
    (
        "mix/releases/start_erl.data",
        &MIX,
        "start_erl.data` has more than 8 MiB",
    ),
    ("mix/releases/1.0/a.rel", &MIX, "a.rel` has more than 8 MiB"),
    (
        "mix/releases/1.0/vm.args",
        &MIX,
        "vm.args` has more than 8 MiB",
    ),
    ("mix/bin/a", &MIX, ""),
    (".git/HEAD", &TREE, ".git/HEAD` has more than 64 KiB"),
    (".git/config", &TREE, ".git/config` has more than 1 MiB"),
];

/// Makes a sandbox with a mix release, an image layout and a repository.
fn with_small_files() -> Sandbox {
    let mut sandbox = sandbox();
    let home = sandbox.root().to_owned();
    sandbox.set("HOME", home);
    let tree = r##"
        0644 file mix/releases/start_erl.data "13.1 1.0"
        0755 dir mix/releases/1.0
        0755 dir mix/lib
        0755 file mix/bin/a "#!/bin/sh"
        0644 file layout/oci-layout "{\"imageLayoutVersion\":\"1.0.0\"}"
        0755 dir .git/objects
        0644 file .git/HEAD "ref: refs/heads/main\n"
    "##;
    sandbox.tree("", tree).unwrap();
    sandbox
}

#[test]
fn small_files_are_read_up_to_a_limit() {
    for (file, flags, expected) in SMALL_FILES {
        let sandbox = with_small_files();
        sparse(&sandbox.path(file));
        let words = match flags {
            ["--ca-file=ca.pem"] => [&COPY, flags].concat(),
            [_] => [&TREE, flags].concat(),
            words => words.to_vec(),
        };
        let outcome = sandbox.run(words);
        ended(&outcome);
        let said = outcome.stderr_text();
        assert!(said.contains(expected), "{file}: {said}");
    }
}

#[test]
fn inputs_without_an_end_are_refused() {
    let sandbox = sandbox();
    let said = |outcome: Outcome| outcome.exited(1).stderr_text().to_owned();
    let words = runs::words("release", &["--output=o.tar", "--env-file=/dev/zero"]);
    let zero = said(sandbox.run(words));
    assert!(
        zero.contains("`/dev/zero` has more than 4 MiB, the limit"),
        "{zero}"
    );
    let words = [
        "copy",
        "docker://127.0.0.1:9/x",
        "o.tar",
        "--username=u",
        "--password-stdin",
    ];
    let password = said(sandbox.finish(&mut sandbox.command(words), &[b'x'; 1 << 20]));
    assert!(
        password.contains("the input has more than 64 KiB"),
        "{password}"
    );
    // Process substitution gives a pipe like this one.
    let words = runs::words("release", &["--output=o.tar", "--env-file=/dev/stdin"]);
    let outcome = sandbox.finish(&mut sandbox.command(words), b"A=b\n");
    drop(outcome.success());
}

#[test]
fn scripts_that_containers_start_are_read_in_bounded_time() {
    const SIZE: usize = 1 << 20;
    let repeated = [
        "<<A\n", "\\\n", "\"\"", "a\\${;", "\"$(a", "if ", "a|", "`a", "a=${b:-",
    ];
    let numbered = [
        "<<AN\n",
        "aN\n",
        "./N\n",
        ". ./sN\n",
        "\"$A/N\" && test -x \"$A/N\"\n",
    ];
    let shapes = repeated.map(|form| form.repeat(SIZE / form.len()));
    let number = |form: &str| -> String {
        let lines = (0..SIZE / 8).map(|number| form.replace('N', &number.to_string()));
        lines.collect()
    };
    let shapes = shapes.into_iter().chain(numbered.map(number));
    // Others that each have many names for others.
    let shapes = shapes.chain(["./s0\n".to_owned()]);
    let sandbox = sandbox();
    let script = sandbox.path("release/bin/server");
    let called: String = (0..400).map(|number| format!("./s{number}\n")).collect();
    for number in 0..400 {
        let path = script.with_file_name(format!("s{number}"));
        let text = format!("#!/bin/sh\n./r{number}/x\n{called}");
        fs::write(path, text).unwrap();
    }
    let words = "--release=release --kind=tree --no-cache --dry-run --runtime=none";
    for shape in shapes {
        fs::write(&script, format!("#!/bin/sh\n{shape}")).unwrap();
        let outcome = sandbox.run(words.split(' '));
        assert_ne!(outcome.code, Some(2), "{}", outcome.report());
        ended(&outcome);
    }
}

/// An object of a repository, deflated.
fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

/// Writes a pack of one object that `count` deltas make, each anew, and whose
/// name is all ones; returns its size.
fn write_pack(git: &Path, count: usize) {
    let mut pack = b"PACK\0\0\0\x02\0\0\0\x01".to_vec();
    // A commit of 64 KiB: its kind and size, seven bits at a time.
    let mut places = vec![pack.len()];
    pack.extend([0x90, 0x80, 0x20]);
    pack.extend(deflated(&[0; 1 << 16]));
    let size = |mut size: usize| {
        let mut bytes = Vec::new();
        while size > 0x7f {
            bytes.push((size & 0x7f) as u8 | 0x80);
            size >>= 7;
        }
        bytes.push(size as u8);
        bytes
    };
    let made = (1 << 16) * 60;
    for number in 0..count {
        let base = if number == 0 { 1 << 16 } else { made };
        let delta = [size(base), size(made), vec![0x80; 60]].concat();
        let distance = pack.len() - places.last().unwrap();
        places.push(pack.len());
        pack.push(0xe0 | (delta.len() & 0x0f) as u8);
        pack.push((delta.len() >> 4) as u8);
        let mut offset = vec![(distance & 0x7f) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            offset.insert(0, (rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        pack.extend(offset);
        pack.extend(deflated(&delta));
    }
    let mut index = b"\xfftOc\0\0\0\x02".to_vec();
    for first in 0..256_u32 {
        index.extend(u32::from(first >= 0x11).to_be_bytes());
    }
    index.extend([0x11; 20]);
    index.extend([0; 4]);
    let last = u32::try_from(*places.last().unwrap()).unwrap();
    index.extend(last.to_be_bytes());
    index.extend([0; 40]);
    fs::create_dir_all(git.join("objects/pack")).unwrap();
    fs::write(git.join("objects/pack/p.pack"), pack).unwrap();
    fs::write(git.join("objects/pack/p.idx"), index).unwrap();
    fs::write(git.join("HEAD"), "1".repeat(40)).unwrap();
}

#[test]
fn a_repository_is_read_in_bounded_memory_and_time() {
    let words = [
        "--release=release",
        "--kind=tree",
        "--no-entrypoint",
        "--dry-run",
    ];
    let sandbox = sandbox();
    let git = sandbox.path(".git");
    write_pack(&git, 4000);
    let said = ended(&sandbox.run(words));
    assert!(
        said.contains("an object in it cannot be read") || said.contains("too long"),
        "{said}"
    );

    let mut config = format!("[core \"{}\"]\n", "x".repeat(500_000));
    for _ in 0..100_000 {
        writeln!(config, "a").unwrap();
    }
    fs::write(git.join("config"), config).unwrap();
    ended(&sandbox.run(words));
}

#[test]
fn an_index_of_git_repeats_no_long_path() {
    let sandbox = sandbox();
    if !crate::support::has_programs(&["git"]) {
        return;
    }
    let git = |words: &[&str]| {
        let mut command = std::process::Command::new("git");
        let config = ["-c", "user.name=x", "-c", "user.email=x@x"];
        command.current_dir(sandbox.root()).args(config).args(words);
        drop(imgbuild_testing::sandbox::finish(&mut command, b"").success());
    };
    git(&["init", "--quiet"]);
    git(&["add", "release"]);
    git(&["commit", "--quiet", "--message=x"]);
    let count = 3000_u32;
    let mut index = [
        b"DIRC".as_slice(),
        &4_u32.to_be_bytes(),
        &count.to_be_bytes(),
    ]
    .concat();
    let long = "a".repeat(1_000_000);
    for number in 0..count {
        index.extend([0; 40]);
        index.extend([0x11; 20]);
        index.extend([0x0f, 0xff, 0]);
        index.extend(if number == 0 { long.as_bytes() } else { b"b" });
        index.push(0);
    }
    index.extend([0; 20]);
    fs::write(sandbox.path(".git/index"), index).unwrap();
    let words = [
        "--release=release",
        "--kind=tree",
        "--no-entrypoint",
        "--dry-run",
    ];
    let said = ended(&sandbox.run(words));
    assert!(said.contains("a path is too long"), "{said}");
}
