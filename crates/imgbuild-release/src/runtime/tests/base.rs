//! LoadedPrograms on a base image.

use super::world::{LOADER, MUSL_LOADER, World, library, names, path, program};
use crate::elf::fixture::Fixture;

/// An older glibc than the host's, under merged directories.
fn base(world: World) -> World {
    let directories = b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0";
    let libc = library("libc.so.6", &["ld-linux-x86-64.so.2"]);
    world
        .image_link("/lib", "usr/lib")
        .image_link("/lib64", "usr/lib64")
        .base(
            "/usr/lib64/ld-linux-x86-64.so.2",
            &library("ld-linux-x86-64.so.2", &[]).appendix(directories),
        )
        .base(
            "/usr/lib/x86_64-linux-gnu/libc.so.6",
            &libc.defines_versions(&["GLIBC_2.2.5", "GLIBC_2.31"]),
        )
}

/// The files and links that are added, without the loaders' names.
fn brought(world: &World) -> Vec<String> {
    let runtime = world.resolve();
    assert_eq!(names(&runtime.missing), [""; 0]);
    let files = runtime.files.iter().map(|file| file.path.to_string());
    let links = runtime.links.iter();
    files
        .chain(links.map(|(path, target)| format!("{path} -> {target}")))
        .collect()
}

#[test]
fn what_the_base_has_is_not_brought() {
    let world = base(World::glibc()).program("/app/x", &program(&["libc.so.6"]));
    assert_eq!(brought(&world), [""; 0]);
    let runtime = world.resolve();
    assert_eq!(
        runtime.bindings[&path("/app/x")]["libc.so.6"],
        path("/usr/lib/x86_64-linux-gnu/libc.so.6")
    );
}

#[test]
fn what_the_base_lacks_lands_where_its_loader_looks() {
    let world = base(World::glibc())
        .host(
            "/lib/x86_64-linux-gnu/libz.so.1",
            &library("libz.so.1", &["libc.so.6"]),
        )
        .program("/app/x", &program(&["libz.so.1", "libc.so.6"]));
    assert_eq!(brought(&world), ["/usr/lib/x86_64-linux-gnu/libz.so.1"]);
}

#[test]
fn versions_that_the_base_lacks_are_told_with_what_is_there() {
    let needs = |version| program(&["libc.so.6"]).needs_version("libc.so.6", &[(version, false)]);
    let world = base(World::glibc()).program("/app/x", &needs("GLIBC_2.31"));
    assert_eq!(world.resolve().unsatisfied, []);
    let world = base(World::glibc()).program("/app/x", &needs("GLIBC_2.34"));
    let unsatisfied = world.resolve().unsatisfied;
    assert_eq!(unsatisfied.len(), 1);
    assert_eq!(unsatisfied[0].object, path("/app/x"));
    assert_eq!(unsatisfied[0].version, "GLIBC_2.34");
    assert_eq!(unsatisfied[0].available.as_deref(), Some("GLIBC_2.31"));
}

#[test]
fn a_library_of_the_base_may_need_one_that_is_brought() {
    let world = base(World::glibc())
        .base(
            "/usr/lib/x86_64-linux-gnu/liba.so",
            &library("liba.so", &["libb.so"]),
        )
        .host("/usr/lib/libb.so", &library("libb.so", &[]))
        .program("/app/x", &program(&["liba.so"]));
    assert_eq!(brought(&world), ["/usr/lib/libb.so"]);
}

#[test]
fn the_cache_of_the_base_is_read_and_that_of_the_host_is_not_taken_for_it() {
    // A cache of one name (dl-cache.h of glibc).
    let (name, file) = ("liba.so", "/opt/lib/liba.so");
    let mut cache = b"glibc-ld.so.cache1.1".to_vec();
    cache.extend(1_u32.to_le_bytes());
    cache.extend(0_u32.to_le_bytes());
    cache.push(2);
    cache.resize(48, 0);
    cache.extend(0x303_u32.to_le_bytes());
    cache.extend(72_u32.to_le_bytes());
    cache.extend(80_u32.to_le_bytes());
    cache.extend([0; 12]);
    cache.extend(format!("{name}\0{file}\0").bytes());
    let with_library = || {
        base(World::glibc())
            .base(file, &library(name, &[]))
            .program("/app/x", &program(&[name]))
    };
    let world = with_library().base_bytes("/etc/ld.so.cache", &cache);
    assert_eq!(brought(&world), [""; 0]);
    let world = with_library().host_bytes("/etc/ld.so.cache", &cache);
    assert_eq!(names(&world.resolve().missing), ["liba.so for /app/x"]);
}

#[test]
fn a_base_of_the_other_c_library_changes_nothing() {
    let musl = Fixture::new().soname("libc.musl-x86_64.so.1");
    let world = World::glibc()
        .base(MUSL_LOADER, &musl)
        .base(
            "/lib/libz.so.1",
            &library("libz.so.1", &["libc.musl-x86_64.so.1"]),
        )
        .host("/usr/lib/libz.so.1", &library("libz.so.1", &["libc.so.6"]))
        .program("/app/x", &program(&["libz.so.1", "libc.so.6"]));
    assert_eq!(
        brought(&world),
        [
            "/lib/x86_64-linux-gnu/libc.so.6",
            LOADER,
            "/usr/lib/libz.so.1"
        ]
    );
}
