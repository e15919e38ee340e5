//! The closure of real programs, beside what this machine's loader says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgbuild_oci::path::ImagePath;
use imgbuild_release::elf::{Elf, Kind};
use imgbuild_release::runtime::{Node, Object, Role, Runtime, RuntimeOptions};

/// Programs with anything from one library to dozens; those that are not
/// there are passed over, but never all of them.
const PROGRAMS: [&str; 12] = [
    "/bin/sh",
    "/usr/bin/env",
    "/usr/bin/ldd",
    "/usr/bin/git",
    "/usr/bin/python3",
    "/usr/bin/perl",
    "/usr/bin/curl",
    "/usr/bin/ssh",
    "/usr/bin/gdb",
    "/usr/bin/gcc",
    "/usr/bin/systemctl",
    "/usr/bin/ld",
];

#[expect(
    clippy::disallowed_methods,
    reason = "the loader of this machine is what the closure is compared with"
)]
fn output(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("LD_PRELOAD")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{program} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks the loader itself: every needed name with the file that answers.
fn trace(interpreter: &str, program: &Path) -> BTreeMap<String, PathBuf> {
    let program = program.to_str().unwrap();
    let text = output(interpreter, &[program], &[("LD_TRACE_LOADED_OBJECTS", "1")]);
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(" => ")?;
            let (path, _) = rest.split_once(" (")?;
            Some((name.to_owned(), fs_err::canonicalize(path).unwrap()))
        })
        .collect()
}

fn resolve(program: &Path, elf: Elf) -> Runtime {
    let image = ImagePath::parse("/usr/local/bin/program").unwrap();
    let objects = [Object {
        image: image.clone(),
        host: program.to_owned(),
        role: Role::Program,
        elf: Arc::new(elf),
    }];
    let host = program.to_owned();
    let present = move |path: &ImagePath| (*path == image).then(|| Node::File(host.clone()));
    Runtime::resolve(&objects, &present, &RuntimeOptions::default()).unwrap()
}

/// The files that answer in the image, by name, as files of the host.
fn answers(runtime: &Runtime) -> BTreeMap<String, PathBuf> {
    let hosts: BTreeMap<&ImagePath, &PathBuf> = runtime
        .files
        .iter()
        .map(|file| (&file.path, &file.host))
        .collect();
    runtime
        .bindings
        .values()
        .flatten()
        .map(|(name, path)| (name.clone(), hosts[path].clone()))
        .collect()
}

/// Libraries that no file names and the loader's trace therefore lacks.
fn is_hidden(name: &str) -> bool {
    name == "libgcc_s.so.1" || name.starts_with("ld-linux") || name.starts_with("libnss_")
}

#[test]
fn programs_of_this_machine_find_what_its_loader_finds() {
    let mut compared = 0;
    for program in PROGRAMS.map(Path::new) {
        let Ok(program) = fs_err::canonicalize(program) else {
            continue;
        };
        let file = fs_err::File::open(&program).unwrap();
        let Some(elf) = Elf::read(&file).unwrap() else {
            continue;
        };
        let Some(interpreter) = elf.interpreter.clone() else {
            continue;
        };
        assert_eq!(elf.kind, Kind::Program, "{program:?}");
        let runtime = resolve(&program, elf);
        assert_eq!(runtime.missing, [], "{program:?}");
        assert_eq!(runtime.unsatisfied, [], "{program:?}");
        let traced = trace(&interpreter, &program);
        let found = answers(&runtime);
        for (name, path) in &traced {
            assert_eq!(found.get(name), Some(path), "{program:?}: {name}");
        }
        for name in found.keys().filter(|name| !is_hidden(name)) {
            assert!(traced.contains_key(name), "{program:?}: {name}");
        }
        compared += 1;
    }
    assert!(compared > 0, "no program was there to compare");
}
