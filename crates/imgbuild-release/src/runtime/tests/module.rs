//! Files that only something else may load.

use super::world::{World, library, names, path, program, warnings};
use crate::elf::fixture::Fixture;
use crate::elf::{Class, Endianness};
use crate::runtime::{Flavor, Role};

#[test]
fn static_programs_bring_nothing() {
    let world = World::glibc()
        .program("/a", &Fixture::new().file_type(2))
        .program("/b", &Fixture::new().flags_1(0x0800_0000));
    let runtime = world.resolve();
    assert!(runtime.files.is_empty() && runtime.links.is_empty());
    assert!(runtime.flavors.is_empty());
}

#[test]
fn a_module_that_nothing_can_load_brings_nothing() {
    let world = World::glibc()
        .program("/p", &Fixture::new().file_type(2))
        .module("/m.so", &library("m.so", &["libc.so.6"]));
    let runtime = world.resolve();
    assert!(runtime.files.is_empty());
    assert_eq!(warnings(&runtime), ["/m.so: no program"]);
}

#[test]
fn modules_bring_what_they_need() {
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .program("/p", &program(&[]))
        .module("/m.so", &library("m.so", &["liba.so"]));
    assert_eq!(world.closure(), ["/lib/liba.so < root/lib/liba.so"]);
}

#[test]
fn what_a_module_lacks_is_a_warning_and_what_a_program_lacks_is_missing() {
    let world = World::glibc()
        .program("/app/lib/libown.so", &library("libown.so", &["libdeep.so"]))
        .program("/app/p", &program(&["libown.so"]).runpath("$ORIGIN/lib"))
        .module("/app/m.so", &library("m.so", &["libnone.so"]));
    let runtime = world.resolve();
    assert_eq!(
        names(&runtime.missing),
        ["libdeep.so for /app/lib/libown.so"]
    );
    assert_eq!(warnings(&runtime), ["/app/m.so: libnone.so for /app/m.so"]);
}

#[test]
fn modules_find_what_their_program_has_loaded_or_can_find() {
    let world = World::glibc()
        .program("/app/lib/liba.so", &library("liba.so", &[]))
        .program("/app/lib/libb.so", &library("libb.so", &[]))
        .program("/app/run", &program(&["liba.so"]).runpath("$ORIGIN/lib"))
        .module("/app/m.so", &library("m.so", &["liba.so"]));
    assert_eq!(world.closure(), [""; 0]);
    let world = World::glibc()
        .program("/app/lib/libb.so", &library("libb.so", &[]))
        .program("/app/old", &program(&[]).rpath("$ORIGIN/lib"))
        .module("/app/m.so", &library("m.so", &["libb.so"]));
    assert_eq!(world.closure(), [""; 0]);
    let bindings = world.resolve().bindings;
    assert_eq!(
        bindings[&path("/app/m.so")]["libb.so"],
        path("/app/lib/libb.so")
    );
}

#[test]
fn modules_for_other_platforms_and_c_libraries_are_warnings() {
    let world = World::glibc()
        .program("/p", &program(&[]))
        .module(
            "/arm.so",
            &library("a.so", &["libc.so.6"]).machine(183, Class::Bits64, Endianness::Little),
        )
        .module("/bsd.so", &library("b.so", &["libc.so.7"]).os_abi(9))
        .module("/musl.so", &library("m.so", &["libc.so"]))
        .module("/object.o", &library("o.o", &["libnone.so"]).file_type(1))
        .module(
            "/sparc.so",
            &library("s.so", &[]).machine(2, Class::Bits32, Endianness::Big),
        );
    let runtime = world.resolve();
    assert_eq!(runtime.missing, []);
    assert_eq!(
        warnings(&runtime),
        [
            "/arm.so: for arm64",
            "/bsd.so: for another system",
            "/musl.so: for musl",
            "/sparc.so: for another machine"
        ]
    );
}

#[test]
fn modules_that_are_programs_bring_their_own_loader() {
    let starts =
        |interpreter: &str, needed: &[&str]| Fixture::new().interpreter(interpreter).needed(needed);
    let world = World::glibc()
        .host("/own/ld.so", &library("own-ld.so", &[]))
        .host("/lib/liba.so", &library("liba.so", &[]))
        .program("/p", &program(&[]))
        .module("/tool", &starts("/own/ld.so", &["liba.so"]));
    assert_eq!(
        world.closure(),
        [
            "/lib/liba.so < root/lib/liba.so",
            "/own/ld.so < root/own/ld.so"
        ]
    );
    // With scripts only, nothing says which of them are right.
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .module("/tool", &program(&["liba.so", "libnone.so"]))
        .module("/musl", &starts("/lib/ld-musl-x86_64.so.1", &["libc.so"]));
    let runtime = world.resolve();
    assert_eq!(runtime.missing, []);
    assert_eq!(
        warnings(&runtime),
        [
            "/musl: /lib/ld-musl-x86_64.so.1 for /musl",
            "/tool: libnone.so for /tool"
        ]
    );
    assert_eq!(world.show(&runtime), ["/lib/liba.so < root/lib/liba.so"]);
}

#[test]
fn modules_that_are_programs_for_something_else_bring_nothing() {
    let arm = Fixture::new()
        .interpreter("/lib/ld-linux-aarch64.so.1")
        .machine(183, Class::Bits64, Endianness::Little);
    let musl = Fixture::new().interpreter("/lib/ld-musl-x86_64.so.1");
    let with = |starter: &Fixture| {
        let world = World::glibc()
            .host("/lib/ld-linux-aarch64.so.1", &arm)
            .host("/lib/ld-musl-x86_64.so.1", &musl)
            .program("/p", starter)
            .module("/arm", &arm)
            .module("/musl", &musl);
        let runtime = world.resolve();
        let files: Vec<String> = runtime
            .files
            .iter()
            .map(|file| file.path.to_string())
            .collect();
        (warnings(&runtime), files)
    };
    let (told, files) = with(&program(&[]));
    assert_eq!(told, ["/arm: for arm64", "/musl: for musl"]);
    assert_eq!(files, ["/lib64/ld-linux-x86-64.so.2"]);
    // A static program says nothing about the C library.
    let (told, files) = with(&Fixture::new().file_type(2));
    assert_eq!(told, ["/arm: for arm64"]);
    assert_eq!(files, ["/lib/ld-musl-x86_64.so.1"]);
}

#[test]
fn architectures_and_c_libraries_are_told_with_their_files() {
    let world = World::glibc()
        .program("/b", &program(&[]))
        .program("/a", &program(&[]))
        .program(
            "/c",
            &Fixture::new()
                .interpreter("/lib/ld-musl-aarch64.so.1")
                .machine(183, Class::Bits64, Endianness::Little),
        )
        .module("/m.so", &library("m.so", &[]));
    let runtime = world.resolve();
    let shown: Vec<(Role, String, Vec<String>)> = runtime
        .architectures
        .iter()
        .flat_map(|(role, of_role)| {
            of_role.iter().map(|(architecture, paths)| {
                let paths = paths.iter().map(ToString::to_string).collect();
                (*role, architecture.to_string(), paths)
            })
        })
        .collect();
    let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    assert_eq!(
        shown,
        [
            (Role::Program, "amd64".to_owned(), strings(&["/a", "/b"])),
            (Role::Program, "arm64".to_owned(), strings(&["/c"])),
            (Role::Module, "amd64".to_owned(), strings(&["/m.so"])),
        ]
    );
    assert_eq!(runtime.flavors[&Flavor::Glibc], [path("/a"), path("/b")]);
    assert_eq!(runtime.flavors[&Flavor::Musl], [path("/c")]);
}
