//! The search order of musl.

use super::world::{MUSL_LOADER, World, library, names, path, program};
use crate::elf::fixture::Fixture;

fn musl() -> World {
    World::empty().host(MUSL_LOADER, &library("libc.musl-x86_64.so.1", &[]))
}

fn musl_program(needed: &[&str]) -> Fixture {
    Fixture::new().interpreter(MUSL_LOADER).needed(needed)
}

#[test]
fn the_c_library_is_the_loader_under_all_its_names() {
    let names = [
        "libc.so",
        "libc.musl-x86_64.so.1",
        "libm.so",
        "libpthread.so.0",
        "libdl.so.2",
    ];
    // glibc's text for the linker, and its math library, are no answer.
    let world = musl()
        .host_bytes("/usr/lib/libc.so", b"/* GNU ld script */")
        .host("/usr/lib/libm.so", &library("libm.so.6", &["libc.so.6"]))
        .program("/p", &musl_program(&names));
    assert_eq!(world.closure(), [""; 0]);
    let bindings = &world.resolve().bindings[&path("/p")];
    assert_eq!(bindings.len(), names.len());
    assert!(bindings.values().all(|file| *file == path(MUSL_LOADER)));
}

#[test]
fn without_the_loader_only_the_loader_is_missing() {
    let world = World::empty().program("/p", &musl_program(&["libc.so"]));
    assert_eq!(
        names(&world.resolve().missing),
        [format!("{MUSL_LOADER} for /p")]
    );
}

#[test]
fn runpath_is_inherited() {
    let world = musl()
        .host("/opt/liba.so", &library("liba.so", &["libb.so"]))
        .host("/opt/libb.so", &library("libb.so", &["libc.so"]))
        .program("/p", &musl_program(&["liba.so"]).runpath("/opt"));
    assert_eq!(
        world.closure(),
        [
            "/opt/liba.so < root/opt/liba.so",
            "/opt/libb.so < root/opt/libb.so"
        ]
    );
}

#[test]
fn a_path_with_an_unknown_token_is_dropped_as_a_whole() {
    let world = musl()
        .host("/opt/liba.so", &library("liba.so", &[]))
        .program("/p", &musl_program(&["liba.so"]).runpath("/opt:$LIB"));
    assert_eq!(names(&world.resolve().missing), ["liba.so for /p"]);
}

#[test]
fn the_default_directories_are_fixed() {
    let world = musl()
        .host("/usr/local/lib/liba.so", &library("liba.so", &[]))
        .host("/usr/lib/liba.so", &library("liba.so", &[]))
        .host("/lib64/libb.so", &library("libb.so", &[]))
        .program("/p", &musl_program(&["liba.so", "libb.so"]));
    let runtime = world.resolve();
    assert_eq!(names(&runtime.missing), ["libb.so for /p"]);
    assert_eq!(
        world.show(&runtime),
        ["/usr/local/lib/liba.so < root/usr/local/lib/liba.so"]
    );
}

#[test]
fn what_the_path_file_reaches_gets_a_link() {
    let world = musl()
        .host_bytes(
            "/etc/ld-musl-x86_64.path",
            b"/usr/lib/x86_64-linux-musl:/lib\n/more\n",
        )
        .host(
            "/usr/lib/x86_64-linux-musl/liba.so",
            &library("liba.so", &[]),
        )
        .host("/more/libb.so", &library("libb.so", &[]))
        .program("/p", &musl_program(&["liba.so", "libb.so"]));
    assert_eq!(
        world.closure(),
        [
            "/more/libb.so < root/more/libb.so",
            "/usr/lib/x86_64-linux-musl/liba.so < root/usr/lib/x86_64-linux-musl/liba.so",
            "/usr/lib/liba.so -> /usr/lib/x86_64-linux-musl/liba.so",
            "/usr/lib/libb.so -> /more/libb.so",
        ]
    );
}

#[test]
fn libraries_of_the_two_c_libraries_never_mix() {
    let world = World::glibc()
        .host(MUSL_LOADER, &library("libc.musl-x86_64.so.1", &[]))
        .host("/lib/liba.so", &library("liba.so", &["libc.so.6"]))
        .host(
            "/usr/lib/liba.so",
            &library("liba.so", &["libc.musl-x86_64.so.1"]),
        )
        .program("/glibc", &program(&["liba.so"]))
        .program("/musl", &musl_program(&["liba.so"]));
    let bindings = world.resolve().bindings;
    assert_eq!(bindings[&path("/glibc")]["liba.so"], path("/lib/liba.so"));
    assert_eq!(
        bindings[&path("/musl")]["liba.so"],
        path("/usr/lib/liba.so")
    );
}
