//! The closure of real programs, beside what this machine's loader says.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use imgbuild_oci::path::ImagePath;
use imgbuild_release::elf::{Elf, ElfKind};
use imgbuild_release::runtime::{ImageNode, Object, Role, Runtime, RuntimeOptions};

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
fn run(program: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .env_remove("LD_LIBRARY_PATH")
        .env_remove("LD_PRELOAD")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{program:?} {arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Asks the loader itself: every needed name with the file that answers, or
/// none. The program is not run.
fn trace(program: &Path) -> BTreeMap<String, Option<PathBuf>> {
    let text = run(program, &[], &[("LD_TRACE_LOADED_OBJECTS", "1")]);
    text.lines()
        .filter_map(|line| {
            let (name, rest) = line.trim().split_once(" => ")?;
            let path = rest.split_once(" (").map(|(path, _)| path);
            let path = path.map(|path| fs_err::canonicalize(path).unwrap());
            Some((name.to_owned(), path))
        })
        .collect()
}

fn read(program: &Path) -> Option<Elf> {
    let file = fs_err::File::open(program).unwrap();
    Elf::read(&file).unwrap()
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
    let present = move |path: &ImagePath| (*path == image).then(|| ImageNode::File(host.clone()));
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
        let Some(elf) = read(&program) else {
            continue;
        };
        // Another loader would run the program instead of tracing it.
        let interpreter = elf.interpreter.clone().unwrap_or_default();
        if !interpreter.contains("/ld-linux") {
            continue;
        }
        assert_eq!(elf.kind, ElfKind::Program, "{program:?}");
        let runtime = resolve(&program, elf);
        assert_eq!(runtime.missing, [], "{program:?}");
        assert_eq!(runtime.unsatisfied, [], "{program:?}");
        let traced = trace(&program);
        let found = answers(&runtime);
        for (name, path) in &traced {
            assert_eq!(found.get(name), path.as_ref(), "{program:?}: {name}");
        }
        for name in found.keys().filter(|name| !is_hidden(name)) {
            assert!(traced.contains_key(name), "{program:?}: {name}");
        }
        compared += 1;
    }
    assert!(compared > 0, "no program was there to compare");
}

/// Builds a program that needs `liba.so` in `a/`, which needs `libb.so` in
/// `b/`; `options` say how each is linked.
fn build(directory: &Path, program: &[&str], library: &[&str]) -> PathBuf {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    for name in ["a", "b"] {
        fs_err::create_dir_all(directory.join(name)).unwrap();
    }
    fs_err::write(path("b.c"), "int b(void) { return 1; }").unwrap();
    fs_err::write(path("a.c"), "int b(void); int a(void) { return b(); }").unwrap();
    fs_err::write(path("p.c"), "int a(void); int main(void) { return a(); }").unwrap();
    let search = [format!("-L{}", path("a")), format!("-L{}", path("b"))];
    let compile = |source: &str, to: &str, options: &[&str]| {
        let (source, to) = (path(source), path(to));
        let mut arguments = vec![source.as_str(), "-o", to.as_str(), "-fPIC"];
        arguments.push("-Wl,--no-as-needed,--allow-shlib-undefined");
        arguments.extend(search.iter().map(String::as_str));
        arguments.extend(options);
        run(Path::new("cc"), &arguments, &[]);
    };
    compile("b.c", "b/libb.so", &["-shared"]);
    compile("a.c", "a/liba.so", &[&["-shared", "-lb"], library].concat());
    compile("p.c", "p", &[&["-la"], program].concat());
    directory.join("p")
}

#[test]
fn search_paths_lead_where_the_loader_goes() {
    const OLD: &str = "-Wl,--disable-new-dtags";
    const NEW: &str = "-Wl,--enable-new-dtags";
    let both = "-Wl,-rpath,$ORIGIN/a:${ORIGIN}/b";
    let first = "-Wl,-rpath,$ORIGIN/none:$ORIGIN/./a/";
    let second = "-Wl,-rpath,$ORIGIN/../b";
    let other = "-Wl,-rpath,$ORIGIN/../c";
    let cases: [(&[&str], &[&str]); 7] = [
        (&[OLD, both], &[]),
        (&[NEW, both], &[]),
        (&[OLD, both], &[NEW, other]),
        (&[OLD, both], &[OLD, other]),
        (&[NEW, first], &[NEW, second]),
        (&[NEW, first], &[OLD, second]),
        (&[NEW, first], &[]),
    ];
    let mut missing = 0;
    for (program, library) in cases {
        let directory = tempfile::tempdir().unwrap();
        let directory = fs_err::canonicalize(directory.path()).unwrap();
        let path = build(&directory, program, library);
        let runtime = resolve(&path, read(&path).unwrap());
        let found = answers(&runtime);
        let traced = trace(&path);
        assert!(traced.contains_key("libb.so"));
        for (name, answer) in &traced {
            assert_eq!(
                found.get(name),
                answer.as_ref(),
                "{program:?} {library:?} {name}"
            );
        }
        missing += runtime.missing.len();
    }
    assert!(missing > 0, "inheritance must matter in some of the cases");
}
