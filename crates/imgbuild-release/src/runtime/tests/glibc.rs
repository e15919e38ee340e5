//! The search order of glibc.

use super::world::{LOADER, World, library, names, path, program};
use crate::elf::fixture::Fixture;
use crate::elf::{Class, Endianness};
use crate::runtime::ImageOnly;

/// A new cache, little-endian, with these names and paths.
fn cache(entries: &[(&str, &str)]) -> Vec<u8> {
    let mut strings = Vec::new();
    let mut table = Vec::new();
    let base = 48 + 24 * entries.len();
    for (name, path) in entries {
        table.extend(0x303_u32.to_le_bytes());
        for text in [name, path] {
            table.extend(u32::try_from(base + strings.len()).unwrap().to_le_bytes());
            strings.extend([text.as_bytes(), b"\0"].concat());
        }
        table.extend([0; 12]);
    }
    let mut bytes = b"glibc-ld.so.cache1.1".to_vec();
    bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
    bytes.extend([0, 0, 0, 0, 2]);
    bytes.resize(48, 0);
    [bytes, table, strings].concat()
}

#[test]
fn the_closure_is_the_loader_and_all_that_is_needed_in_turn() {
    let world = World::glibc()
        .host(
            "/usr/lib/x86_64-linux-gnu/liba.so.1",
            &library("liba.so.1", &["libb.so.2"]),
        )
        .host(
            "/usr/lib/libb.so.2",
            &library("libb.so.2", &["libc.so.6", "liba.so.1"]),
        )
        .host("/usr/lib/libunused.so", &library("libunused.so", &[]))
        .program("/app/server", &program(&["liba.so.1", "libc.so.6"]));
    let runtime = world.resolve();
    let files: Vec<(String, Option<String>)> = runtime
        .files
        .iter()
        .map(|file| {
            let needed_by = file.needed_by.as_ref().map(ToString::to_string);
            (file.path.to_string(), needed_by)
        })
        .collect();
    let by = |text: &str| Some(text.to_owned());
    let a = "/usr/lib/x86_64-linux-gnu/liba.so.1";
    assert_eq!(
        files,
        [
            (
                "/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
                by("/app/server")
            ),
            (LOADER.to_owned(), by("/app/server")),
            ("/usr/lib/libb.so.2".to_owned(), by(a)),
            (a.to_owned(), by("/app/server")),
        ]
    );
    assert!(runtime.links.is_empty() && runtime.missing.is_empty());
    let answers = &runtime.bindings[&path("/usr/lib/libb.so.2")];
    assert_eq!(answers["liba.so.1"], path(a));
}

#[test]
fn rpath_is_inherited_and_runpath_is_not() {
    let host = |world: World| {
        world
            .host("/opt/liba.so", &library("liba.so", &["libb.so"]))
            .host("/opt/libb.so", &library("libb.so", &[]))
    };
    let world = host(World::glibc()).program("/p", &program(&["liba.so"]).rpath("/opt"));
    assert_eq!(
        world.closure(),
        [
            "/opt/liba.so < root/opt/liba.so",
            "/opt/libb.so < root/opt/libb.so"
        ]
    );
    let world = host(World::glibc()).program("/p", &program(&["liba.so"]).runpath("/opt"));
    assert_eq!(
        names(&world.resolve().missing),
        ["libb.so for /opt/liba.so"]
    );
}

#[test]
fn a_runpath_turns_off_rpath_of_the_file_and_of_those_above() {
    let world = World::glibc()
        .host(
            "/opt/liba.so",
            &library("liba.so", &["libb.so"]).runpath("/none"),
        )
        .host("/opt/libb.so", &library("libb.so", &[]))
        .program("/p", &program(&["liba.so"]).rpath("/opt"));
    assert_eq!(
        names(&world.resolve().missing),
        ["libb.so for /opt/liba.so"]
    );
    let both = program(&["liba.so"]).rpath("/opt").runpath("/none");
    let world = World::glibc()
        .host("/opt/liba.so", &library("liba.so", &[]))
        .program("/p", &both);
    assert_eq!(names(&world.resolve().missing), ["liba.so for /p"]);
}

#[test]
fn every_place_is_searched_in_the_order_of_the_loader() {
    let places = [
        "/rpath",
        "/extra",
        "/cached",
        "/configured",
        "/lib",
        "/usr/lib",
    ];
    for first in 0..places.len() {
        let mut world = World::glibc()
            .host_bytes(
                "/etc/ld.so.cache",
                &cache(&[("liba.so", "/cached/liba.so")]),
            )
            .host_bytes("/etc/ld.so.conf", b"/configured\n")
            .host("/extra/other", &library("other", &[]))
            .library_path("/extra")
            .program("/p", &program(&["liba.so"]).rpath("/rpath"));
        for place in &places[first..] {
            world = world.host(&format!("{place}/liba.so"), &library("liba.so", &[]));
        }
        let runtime = world.resolve();
        let host = world.host_path(&format!("{}/liba.so", places[first]));
        assert!(
            runtime.files.iter().any(|file| file.host == host),
            "{host:?}"
        );
        assert_eq!(runtime.files.len(), 2, "{host:?}");
    }
}

#[test]
fn an_extra_library_path_comes_before_runpath() {
    let world = World::glibc()
        .host("/extra/liba.so", &library("liba.so", &[]))
        .host("/run/liba.so", &library("liba.so", &[]))
        .library_path("/extra")
        .program("/p", &program(&["liba.so"]).runpath("/run"));
    assert_eq!(world.closure(), ["/usr/lib/liba.so < root/extra/liba.so"]);
}

#[test]
fn a_directory_of_the_host_is_not_searched_in_an_image_alone() {
    let mut world = World::glibc()
        .host("/extra/other.so", &library("other.so", &[]))
        .library_path("/extra")
        .program("/p", &program(&["liba.so"]));
    world.options.image_only = Some(ImageOnly::default());
    let runtime = world.resolve();
    let missing = runtime.missing.iter();
    let places: Vec<_> = missing.flat_map(|library| &library.searched).collect();
    assert!(!places.is_empty());
    assert!(
        places.iter().all(|place| !place.directory.is_empty()),
        "{places:?}"
    );
}

#[test]
fn files_for_another_processor_system_or_c_library_are_passed_over() {
    let wrong = [
        library("liba.so", &[]).machine(183, Class::Bits64, Endianness::Little),
        library("liba.so", &[]).machine(62, Class::Bits32, Endianness::Little),
        library("liba.so", &[]).os_abi(9),
        library("liba.so", &["libc.musl-x86_64.so.1"]),
    ];
    let reasons = [
        "it is for arm64",
        "it is for another processor",
        "it is not for Linux",
        "it is for musl",
    ];
    for (wrong, reason) in wrong.iter().zip(reasons) {
        let world = World::glibc()
            .host("/lib/x86_64-linux-gnu/liba.so", wrong)
            .host("/lib/liba.so", &library("liba.so", &[]))
            .program("/p", &program(&["liba.so"]));
        assert_eq!(world.closure(), ["/lib/liba.so < root/lib/liba.so"]);
        let world = World::glibc()
            .host("/lib/liba.so", wrong)
            .program("/p", &program(&["liba.so"]));
        let missing = &world.resolve().missing[0];
        assert_eq!(missing.unusable[0].reason, reason);
    }
}

#[test]
fn a_text_for_the_linker_is_no_library() {
    let world = World::glibc()
        .host_bytes("/lib/liba.so", b"/* GNU ld script */")
        .program("/p", &program(&["liba.so"]));
    let missing = &world.resolve().missing[0];
    assert_eq!(missing.unusable[0].reason, "it is not an ELF file");
}

#[test]
fn what_is_missing_names_every_directory_and_why() {
    let world = World::glibc()
        .host_bytes("/etc/ld.so.conf", b"/configured\n/lib\n")
        .program(
            "/app/p",
            &program(&["libnone.so"]).runpath("$ORIGIN/../lib:/opt"),
        );
    let runtime = world.resolve();
    assert_eq!(names(&runtime.missing), ["libnone.so for /app/p"]);
    let searched: Vec<(&str, &str)> = runtime.missing[0]
        .searched
        .iter()
        .map(|searched| (searched.directory.as_str(), searched.reason.as_str()))
        .collect();
    let beside = world.release_path("/app/../lib");
    let root = |path: &str| world.host_path(path).to_str().unwrap().to_owned();
    assert_eq!(
        searched,
        [
            (beside.to_str().unwrap(), "RUNPATH of `/app/p`"),
            (&root("/opt"), "RUNPATH of `/app/p`"),
            (&root("/configured"), "ld.so.conf"),
            (&root("/lib"), "ld.so.conf"),
            (
                &root("/lib/x86_64-linux-gnu"),
                "default directory of the loader"
            ),
            (
                &root("/usr/lib/x86_64-linux-gnu"),
                "default directory of the loader"
            ),
            (&root("/usr/lib"), "default directory of the loader"),
        ]
    );
}

#[test]
fn a_missing_loader_is_named_and_the_rest_still_searched() {
    let world = World::empty()
        .host("/usr/lib/liba.so", &library("liba.so", &[]))
        .program("/p", &program(&["liba.so", "libnone.so"]));
    let runtime = world.resolve();
    assert_eq!(
        names(&runtime.missing),
        [format!("{LOADER} for /p"), "libnone.so for /p".to_owned()]
    );
    assert!(runtime.missing[0].is_interpreter);
    assert_eq!(
        world.show(&runtime),
        ["/usr/lib/liba.so < root/usr/lib/liba.so"]
    );
}

#[test]
fn a_loader_for_another_processor_is_not_taken() {
    let other = Fixture::new().machine(183, Class::Bits64, Endianness::Little);
    let world = World::empty()
        .host(LOADER, &other)
        .program("/p", &program(&[]));
    let missing = &world.resolve().missing[0];
    assert_eq!(missing.unusable[0].reason, "it is for arm64");
}

#[test]
fn tokens_stand_for_directories_of_the_loader() {
    let world = World::glibc()
        .host(
            "/opt/lib/x86_64-linux-gnu/liba.so",
            &library("liba.so", &[]),
        )
        .host("/plat/x86_64/libb.so", &library("libb.so", &[]))
        .program(
            "/p",
            &program(&["liba.so", "libb.so"]).runpath("/opt/${LIB}:/plat/$PLATFORM"),
        );
    assert_eq!(
        world.closure(),
        [
            "/opt/lib/x86_64-linux-gnu/liba.so < root/opt/lib/x86_64-linux-gnu/liba.so",
            "/plat/x86_64/libb.so < root/plat/x86_64/libb.so",
        ]
    );
}

#[test]
fn a_file_that_ignores_default_directories_gets_nothing_from_them() {
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .host_bytes("/etc/ld.so.cache", &cache(&[("liba.so", "/lib/liba.so")]))
        .program("/p", &program(&["liba.so"]).flags_1(0x800));
    assert_eq!(names(&world.resolve().missing), ["liba.so for /p"]);
}

#[test]
fn a_name_with_a_slash_is_a_path() {
    let mut world = World::glibc()
        .host("/opt/liba.so", &library("liba.so", &[]))
        .program("/app/lib/libb.so", &library("libb.so", &[]))
        .program("/app/p", &program(&["/opt/liba.so", "lib/libb.so"]));
    assert_eq!(names(&world.resolve().missing), ["lib/libb.so for /app/p"]);
    world.options.working_directory = Some(path("/app"));
    assert_eq!(world.closure(), ["/opt/liba.so < root/opt/liba.so"]);
}

#[test]
fn a_name_is_answered_by_what_is_loaded_under_its_soname() {
    let world = World::glibc()
        .host("/one/liba.so", &library("liba.so.1", &[]))
        .host("/lib/libb.so", &library("libb.so", &["liba.so.1"]))
        .program("/p", &program(&["liba.so", "libb.so"]).runpath("/one"));
    assert_eq!(
        world.closure(),
        [
            "/lib/libb.so < root/lib/libb.so",
            "/one/liba.so < root/one/liba.so"
        ]
    );
}

#[test]
fn old_glibc_brings_its_name_services() {
    let services = ["libnss_dns.so.2", "libnss_files.so.2", "libresolv.so.2"];
    let with = |libc: Fixture| {
        let mut world = World::glibc().host("/lib/x86_64-linux-gnu/libc.so.6", &libc);
        for name in services {
            let path = format!("/lib/x86_64-linux-gnu/{name}");
            world = world.host(&path, &library(name, &["libc.so.6"]));
        }
        world
            .program("/p", &program(&["libc.so.6"]))
            .closure()
            .len()
    };
    let libc = library("libc.so.6", &["ld-linux-x86-64.so.2"]);
    assert_eq!(with(libc.clone().defines_versions(&["GLIBC_2.31"])), 3);
    let new = ["GLIBC_2.31", "GLIBC_2.34"];
    assert_eq!(with(libc.defines_versions(&new)), 0);
}

#[test]
fn name_services_that_are_nowhere_are_not_missed() {
    let libc = library("libc.so.6", &[]).defines_versions(&["GLIBC_2.31"]);
    let world = World::glibc()
        .host("/lib/x86_64-linux-gnu/libc.so.6", &libc)
        .program("/p", &program(&["libc.so.6"]));
    assert_eq!(world.closure(), [""; 0]);
}

#[test]
fn filters_and_auditors_come_along() {
    let world = World::glibc()
        .host("/lib/libfilter.so", &library("libfilter.so", &[]))
        .host("/lib/libaudit.so", &library("libaudit.so", &[]))
        .program(
            "/p",
            &program(&[])
                .tag(0x7fff_ffff, "libfilter.so")
                .tag(0x6fff_fefc, "libaudit.so:libgone.so")
                .tag(0x7fff_fffd, "libother.so"),
        );
    assert_eq!(
        world.closure(),
        ["/lib/libaudit.so", "/lib/libfilter.so"].map(|it| format!("{it} < root{it}"))
    );
}

#[test]
fn what_ends_threads_brings_the_unwinder() {
    for (import, expected) in [("pthread_exit", 1), ("pthread_create", 0)] {
        let world = World::glibc()
            .host(
                "/lib/libgcc_s.so.1",
                &library("libgcc_s.so.1", &["libc.so.6"]),
            )
            .program("/p", &program(&["libc.so.6"]).imports(&[import]));
        assert_eq!(world.closure().len(), expected, "{import}");
    }
}

#[test]
fn a_version_that_the_library_lacks_is_named_with_the_newest_there_is() {
    let needs = program(&["libc.so.6"]).needs_version(
        "libc.so.6",
        &[
            ("GLIBC_2.38", false),
            ("GLIBC_2.39", true),
            ("GLIBC_2.34", false),
        ],
    );
    let runtime = World::glibc().program("/p", &needs).resolve();
    let [unsatisfied] = runtime.unsatisfied.as_slice() else {
        panic!("{:?}", runtime.unsatisfied);
    };
    assert_eq!(unsatisfied.object, path("/p"));
    assert_eq!(unsatisfied.library, path("/lib/x86_64-linux-gnu/libc.so.6"));
    assert_eq!(unsatisfied.version, "GLIBC_2.38");
    assert_eq!(unsatisfied.available.as_deref(), Some("GLIBC_2.36"));
}

#[test]
fn a_library_without_versions_is_not_asked_for_any() {
    let needs = program(&["liba.so"]).needs_version("liba.so", &[("A_1", false)]);
    let world = World::glibc()
        .host("/lib/liba.so", &library("liba.so", &[]))
        .program("/p", &needs);
    assert_eq!(world.resolve().unsatisfied, []);
}

#[test]
fn the_other_libraries_of_glibc_come_with_its_c_library() {
    let part = |name| library(name, &["libc.so.6"]);
    let host = |world: World| {
        world
            .host("/lib/x86_64-linux-gnu/libm.so.6", &part("libm.so.6"))
            .host("/lib/x86_64-linux-gnu/librt.so.1", &part("librt.so.1"))
            // For another system, and of another C library.
            .host(
                "/lib/x86_64-linux-gnu/libdl.so.2",
                &part("libdl.so.2").os_abi(9),
            )
            .host("/usr/lib/libutil.so.1", &part("libutil.so.1"))
            .program("/p", &program(&["libc.so.6"]))
    };
    let mut world = host(World::glibc());
    assert_eq!(world.closure(), [""; 0]);
    world.options.completes_c_library = true;
    assert_eq!(
        world.closure(),
        ["libm.so.6", "librt.so.1"].map(|name| {
            let path = format!("/lib/x86_64-linux-gnu/{name}");
            format!("{path} < root{path}")
        })
    );
    // The C library of a base image has its own.
    let mut world = host(World::glibc().base(
        "/lib/x86_64-linux-gnu/libc.so.6",
        &library("libc.so.6", &["ld-linux-x86-64.so.2"]),
    ));
    world.options.completes_c_library = true;
    assert_eq!(world.closure(), [""; 0]);
}
