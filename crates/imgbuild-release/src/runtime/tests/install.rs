//! The paths of files in the image.

use super::world::{LOADER, World, library, names, path, program};
use crate::runtime::{RuntimeError, RuntimeFileKind};

#[test]
fn files_are_regular_and_keep_only_an_executable_bit() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::glibc()
        .host("/usr/lib/liba.so.1.2", &library("liba.so.1", &[]))
        .host_link("/usr/lib/liba.so.1", "liba.so.1.2")
        .program("/p", &program(&["liba.so.1", "libc.so.6"]));
    for (file, mode) in [
        (LOADER, 0o600),
        ("/lib/x86_64-linux-gnu/libc.so.6", 0o711),
        ("/usr/lib/liba.so.1.2", 0o4664),
    ] {
        let permissions = std::fs::Permissions::from_mode(mode);
        fs_err::set_permissions(world.host_path(file), permissions).unwrap();
    }
    let runtime = world.resolve();
    let files: Vec<(String, u32, RuntimeFileKind)> = runtime
        .files
        .iter()
        .map(|file| (file.path.to_string(), file.mode, file.kind))
        .collect();
    assert_eq!(
        files,
        [
            (
                "/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
                0o755,
                RuntimeFileKind::Library
            ),
            (LOADER.to_owned(), 0o755, RuntimeFileKind::Interpreter),
            (
                "/usr/lib/liba.so.1".to_owned(),
                0o644,
                RuntimeFileKind::Library
            ),
        ]
    );
    assert!(runtime.links.is_empty());
    assert_eq!(
        runtime.files[2].host,
        world.host_path("/usr/lib/liba.so.1.2")
    );
}

#[test]
fn a_library_of_the_release_is_used_where_it_is() {
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .program(
            "/app/lib/liba.so",
            &library("liba.so", &["libb.so"]).runpath("$ORIGIN/more"),
        )
        .program("/app/lib/more/libb.so", &library("libb.so", &[]))
        .program(
            "/app/bin/p",
            &program(&["liba.so"]).runpath("$ORIGIN/../lib"),
        );
    assert_eq!(world.closure(), [""; 0]);
    let bindings = world.resolve().bindings;
    assert_eq!(
        bindings[&path("/app/bin/p")]["liba.so"],
        path("/app/lib/liba.so")
    );
}

#[test]
fn what_lies_beside_the_program_on_the_host_lands_beside_it_in_the_image() {
    let world = World::glibc()
        .beside(
            "/usr/local/bin/deps/liba.so",
            &library("liba.so", &["libb.so"]).runpath("$ORIGIN"),
        )
        .beside("/usr/local/bin/deps/libb.so", &library("libb.so", &[]))
        .program(
            "/usr/local/bin/p",
            &program(&["liba.so"]).runpath("$ORIGIN/deps"),
        );
    assert_eq!(
        world.closure(),
        [
            "/usr/local/bin/deps/liba.so < release/usr/local/bin/deps/liba.so",
            "/usr/local/bin/deps/libb.so < release/usr/local/bin/deps/libb.so",
        ]
    );
}

#[test]
fn what_only_the_configuration_reaches_gets_a_link_in_the_last_default_directory() {
    let world = World::glibc()
        .host_bytes(
            "/etc/ld.so.conf",
            b"/usr/local/lib\n/lib/x86_64-linux-gnu\n",
        )
        .host("/usr/local/lib/liba.so", &library("liba.so", &["libb.so"]))
        .host("/lib/x86_64-linux-gnu/libb.so", &library("libb.so", &[]))
        .program("/p", &program(&["liba.so"]));
    assert_eq!(
        world.closure(),
        [
            "/lib/x86_64-linux-gnu/libb.so < root/lib/x86_64-linux-gnu/libb.so",
            "/usr/local/lib/liba.so < root/usr/local/lib/liba.so",
            "/usr/lib/liba.so -> /usr/local/lib/liba.so",
        ]
    );
}

#[test]
fn a_library_of_the_release_that_only_a_library_path_reaches_gets_a_link() {
    let mut world = World::glibc()
        .program("/app/deps/liba.so", &library("liba.so", &[]))
        .program("/app/p", &program(&["liba.so"]));
    let missing = world.resolve().missing;
    assert_eq!(names(&missing), ["liba.so for /app/p"]);
    assert_eq!(missing[0].elsewhere, [path("/app/deps/liba.so")]);
    let deps = world.release_path("/app/deps");
    world.options.library_paths.push(deps);
    assert_eq!(world.closure(), ["/usr/lib/liba.so -> /app/deps/liba.so"]);
}

#[test]
fn a_second_path_of_a_file_is_a_link_to_the_first() {
    let world = World::glibc()
        .host("/usr/lib/libz.so.1", &library("libz.so.1", &[]))
        .host_link("/opt/lib", "/usr/lib")
        .program("/a", &program(&["libz.so.1"]))
        .program("/b", &program(&["libz.so.1"]).runpath("/opt/lib"));
    assert_eq!(
        world.closure(),
        [
            "/usr/lib/libz.so.1 < root/usr/lib/libz.so.1",
            "/opt/lib/libz.so.1 -> /usr/lib/libz.so.1",
        ]
    );
}

#[test]
fn linked_directories_of_the_image_are_followed() {
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .program("/usr/lib/x", &library("x", &[]))
        .program("/p", &program(&["liba.so"]))
        .image_link("/lib", "usr/lib")
        .image_link("/lib64", "/usr/lib64");
    let runtime = world.resolve();
    let paths: Vec<String> = runtime
        .files
        .iter()
        .map(|file| file.path.to_string())
        .collect();
    assert_eq!(
        paths,
        ["/usr/lib/liba.so", "/usr/lib64/ld-linux-x86-64.so.2"]
    );
}

#[test]
fn a_loader_of_the_release_is_used_where_it_is() {
    let loader = library("ld-linux-x86-64.so.2", &[]).appendix(b"\0/own/lib/\0");
    let world = World::empty()
        .program("/own/ld.so", &loader)
        .program(
            "/own/lib/libc.so.6",
            &library("libc.so.6", &["ld-linux-x86-64.so.2"]),
        )
        .program("/p", &program(&["libc.so.6"]).interpreter("/own/ld.so"));
    assert_eq!(world.closure(), [""; 0]);
}

#[test]
fn a_path_that_another_file_has_is_not_used() {
    // The release has a file where the library would have to lie.
    let world = World::glibc()
        .host("/opt/liba.so", &library("liba.so", &[]))
        .host("/usr/lib/liba.so", &library("liba.so", &[]))
        .program("/opt/liba.so", &library("liba.so", &[]).os_abi(9))
        .program("/p", &program(&["liba.so"]).runpath("/opt"));
    let runtime = world.resolve();
    assert_eq!(runtime.missing, []);
    assert_eq!(
        world.show(&runtime),
        ["/usr/lib/liba.so < root/usr/lib/liba.so"]
    );
    let world = World::glibc()
        .host("/opt/liba.so", &library("liba.so", &[]))
        .program("/opt/liba.so", &library("liba.so", &[]).os_abi(9))
        .program("/p", &program(&["liba.so"]).runpath("/opt"));
    let missing = &world.resolve().missing[0];
    let reasons: Vec<&str> = missing
        .unusable
        .iter()
        .map(|unusable| unusable.reason.as_str())
        .collect();
    assert_eq!(
        reasons,
        [
            "it is not for Linux",
            "the image has another file at `/opt/liba.so`"
        ]
    );
}

#[test]
fn a_link_takes_the_last_default_directory_that_is_free() {
    let wrong = library("liba.so", &[]).os_abi(9);
    let mut world = World::glibc()
        .host_bytes("/etc/ld.so.conf", b"/opt\n")
        .host("/opt/liba.so", &library("liba.so", &[]))
        .program("/p", &program(&["liba.so"]))
        .module("/usr/lib/liba.so", &wrong)
        .module("/lib/liba.so", &wrong);
    let runtime = world.resolve();
    assert_eq!(
        world.show(&runtime),
        [
            "/opt/liba.so < root/opt/liba.so",
            "/usr/lib/x86_64-linux-gnu/liba.so -> /opt/liba.so"
        ]
    );
    world = world
        .module("/usr/lib/x86_64-linux-gnu/liba.so", &wrong)
        .module("/lib/x86_64-linux-gnu/liba.so", &wrong);
    let runtime = world.resolve();
    assert_eq!(names(&runtime.missing), ["liba.so for /p"]);
    assert_eq!(world.show(&runtime), [""; 0]);
}

#[test]
fn added_libraries_are_found_by_name_and_by_path() {
    let world = World::glibc()
        .host(
            "/usr/lib/x86_64-linux-gnu/liba.so",
            &library("liba.so", &["libb.so"]),
        )
        .host("/usr/lib/libb.so", &library("libb.so", &[]))
        .beside(
            "/libp.so",
            &library("libp.so", &["libq.so"]).runpath("$ORIGIN"),
        )
        .beside("/libq.so", &library("libq.so", &[]))
        .program("/p", &program(&[]))
        .add_library("liba.so");
    let by_path = world.release_path("/libp.so");
    let world = world.add_library(by_path.to_str().unwrap());
    assert_eq!(
        world.closure(),
        [
            "/usr/lib/libb.so < root/usr/lib/libb.so",
            "/usr/lib/libp.so < release/libp.so",
            "/usr/lib/libq.so < release/libq.so",
            "/usr/lib/x86_64-linux-gnu/liba.so < root/usr/lib/x86_64-linux-gnu/liba.so",
        ]
    );
    let asked_for: Vec<String> = world
        .resolve()
        .files
        .iter()
        .filter(|file| file.needed_by.is_none())
        .map(|file| file.path.to_string())
        .collect();
    assert_eq!(
        asked_for,
        ["/usr/lib/libp.so", "/usr/lib/x86_64-linux-gnu/liba.so"]
    );
}

#[test]
fn an_added_library_that_is_nowhere_is_missing() {
    let world = World::glibc().program("/p", &program(&[]));
    let world = world.add_library("libnone.so").add_library("/none/liba.so");
    let missing = world.resolve().missing;
    assert_eq!(names(&missing), ["/none/liba.so", "libnone.so"]);
    assert!(missing.iter().all(|missing| !missing.searched.is_empty()));
    let world = World::glibc().add_library("liba.so");
    assert_eq!(names(&world.resolve().missing), ["liba.so"]);
}

#[test]
fn the_order_of_objects_changes_nothing() {
    let mut world = World::glibc()
        .host("/usr/lib/libz.so.1", &library("libz.so.1", &[]))
        .host_link("/opt/lib", "/usr/lib")
        .module("/m.so", &library("m.so", &["libz.so.1", "libnone.so"]))
        .program("/a", &program(&["libz.so.1", "libnone.so"]))
        .program("/b", &program(&["libz.so.1"]).runpath("/opt/lib"));
    let first = format!("{:?}", world.resolve());
    world.objects.reverse();
    assert_eq!(format!("{:?}", world.resolve()), first);
}

#[test]
fn directories_of_the_options_must_exist() {
    let world = World::glibc().library_path("/none");
    let error = world.try_resolve().unwrap_err();
    assert!(matches!(error, RuntimeError::LibraryPath(_)), "{error}");
    let mut world = World::glibc();
    world.options.sysroot = Some(world.host_path("/none"));
    let error = world.try_resolve().unwrap_err();
    assert!(matches!(error, RuntimeError::Sysroot(_)), "{error}");
}
