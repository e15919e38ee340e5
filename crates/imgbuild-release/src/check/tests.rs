//! Each rule on the smallest image that breaks it, and on one that does not.

use imgbuild_oci::entry::{Entry, EntryKind, Member, Owner};
use imgbuild_oci::image::{Configuration, Healthcheck};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;

use super::{Subject, check, image};
use crate::elf::fixture::Fixture;
use crate::elf::{Class, Endianness};
use crate::finding::{Rule, Severity};

const VERIFY: &str = "SSL_CTX_set_default_verify_paths";

const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// An image in the making.
struct World {
    config: Configuration,
    members: Vec<Member>,
}

fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

fn words(text: &str) -> Option<Vec<String>> {
    Some(text.split(' ').map(str::to_owned).collect())
}

impl World {
    /// An image that runs `command`.
    fn running(command: &str) -> Self {
        Self {
            config: Configuration {
                cmd: words(command),
                user: Some("5:5".to_owned()),
                ..Configuration::default()
            },
            members: Vec::new(),
        }
    }

    /// An image with a program that has all that it needs.
    fn sound() -> Self {
        Self::running("/bin/p")
            .glibc()
            .elf("/bin/p", &program(&["libc.so.6"]))
    }

    fn glibc(self) -> Self {
        let libc = Fixture::new().soname("libc.so.6");
        self.elf(LOADER, &Fixture::new().soname("ld-linux-x86-64.so.2"))
            .elf(
                "/lib64/libc.so.6",
                &libc.defines_versions(&["GLIBC_2.34", "GLIBC_2.36"]),
            )
    }

    fn file(mut self, at: &str, mode: u32, content: impl Into<Vec<u8>>) -> Self {
        let content: Vec<u8> = content.into();
        self.members.push(Member::file(path(at), mode, content));
        self
    }

    fn elf(self, at: &str, fixture: &Fixture) -> Self {
        self.file(at, 0o755, fixture.bytes())
    }

    fn link(mut self, at: &str, target: &str) -> Self {
        self.members.push(Entry::symlink(path(at), target).into());
        self
    }

    fn directory(mut self, at: &str, mode: u32) -> Self {
        let mut entry = Entry::directory(path(at));
        entry.mode = mode;
        self.members.push(entry.into());
        self
    }

    fn set(mut self, change: impl FnOnce(&mut Configuration)) -> Self {
        change(&mut self.config);
        self
    }

    /// The findings as `rule path`, errors with a `!`.
    fn findings(&self) -> Vec<String> {
        let mut members = self.members.clone();
        members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
        let objects: Vec<_> = members.iter().filter_map(image::object).collect();
        let platform = Platform::from_parts("linux", "amd64", None);
        let subject = Subject::new(&self.config, &platform, vec![&members], &objects);
        let findings = check(&subject, None);
        let shown = findings.iter().map(|finding| {
            let mark = match finding.severity {
                Severity::Error => "!",
                Severity::Warning => "",
            };
            let path = finding.path.as_ref().map(ToString::to_string);
            format!("{mark}{} {}", finding.rule, path.unwrap_or_default())
        });
        shown.map(|text| text.trim_end().to_owned()).collect()
    }

    #[track_caller]
    fn has(&self, expected: &[&str]) {
        assert_eq!(self.findings(), expected);
    }
}

fn program(needed: &[&str]) -> Fixture {
    Fixture::new().interpreter(LOADER).needed(needed)
}

fn arm(fixture: Fixture) -> Fixture {
    fixture.machine(183, Class::Bits64, Endianness::Little)
}

#[test]
fn an_image_that_runs_has_no_findings() {
    World::sound().has(&[]);
    World::running("/s")
        .file("/s", 0o755, "#!/bin/sh\n")
        .elf("/bin/sh", &Fixture::new().file_type(2))
        .has(&[]);
    World::running("s")
        .set(|config| config.env = vec!["PATH=relative:/x/bin".to_owned()])
        .link("/x/bin", "../opt")
        .directory("/opt", 0o755)
        .elf("/opt/s", &Fixture::new().file_type(2))
        .has(&[]);
    let mut world = World::sound();
    world.config.cmd = None;
    world.has(&[]);
}

#[test]
fn a_command_must_be_a_program_that_is_there() {
    World::running("/p").has(&["!command-missing /p"]);
    World::running("p").has(&["!command-not-in-path"]);
    World::running("./p")
        .set(|config| config.working_dir = Some("/w".to_owned()))
        .has(&["!command-missing /w/p"]);
    World::running("/p")
        .link("/p", "q")
        .has(&["!command-dangling /p", "link-dangling /p"]);
    World::running("/p")
        .link("/p", "p")
        .has(&["!command-dangling /p", "link-dangling /p"]);
    World::running("/p")
        .directory("/p", 0o755)
        .has(&["!command-directory /p"]);
    World::running("/p")
        .file("/p", 0o644, "#!/bin/sh\n")
        .has(&["!command-not-executable /p"]);
    for content in ["", "text", "#!\n"] {
        World::running("/p")
            .file("/p", 0o755, content)
            .has(&["!command-format /p"]);
    }
    World::running("/p")
        .elf("/p", &Fixture::new().file_type(1))
        .has(&["!command-format /p"]);
    // A path behind a link of the system is missing, not dangling.
    World::running("/bin/p")
        .link("/bin", "usr/bin")
        .directory("/usr/bin", 0o755)
        .has(&["!command-missing /bin/p"]);
}

#[test]
fn what_the_engine_provides_is_not_looked_for() {
    World::running("/proc/self/exe").has(&[]);
    World::sound()
        .link("/dev/stdout", "/proc/self/fd/1")
        .has(&[]);
    World::sound().link("/etc/mtab", "/proc/mounts").has(&[]);
}

#[test]
fn a_script_needs_what_runs_it() {
    let script = |line: &str| World::running("/s").file("/s", 0o755, format!("{line}\n"));
    let sh = Fixture::new().file_type(2);
    script("#!/bin/sh").has(&["!interpreter-missing /s"]);
    script("#!/bin/sh\r")
        .elf("/bin/sh", &sh)
        .has(&["!script-carriage-return /s"]);
    let with_env = script("#!/usr/bin/env bash").elf("/usr/bin/env", &sh);
    with_env.has(&["!interpreter-missing /s"]);
    let with_bash = script("#!/usr/bin/env bash")
        .elf("/usr/bin/env", &sh)
        .elf("/usr/local/bin/bash", &sh);
    with_bash.has(&[]);
    // An interpreter that is a script itself.
    script("#!/t")
        .file("/t", 0o755, "#!/bin/sh\n")
        .has(&["!interpreter-missing /t"]);
    script("#!/t").file("/t", 0o755, "#!/t\n").has(&[]);
}

#[test]
fn a_release_of_erlang_needs_an_erlang() {
    let sh = Fixture::new().file_type(2);
    let own = "#!/bin/sh\nread -r ERTS VSN < releases/start_erl.data\nexec erl\n";
    let without = |command: &str| {
        World::running(command)
            .elf("/bin/sh", &sh)
            .file("/app/bin/shop", 0o755, own)
            .file("/app/bin/server", 0o755, "#!/bin/sh\nexec ./shop start\n")
            .file("/app/bin/other", 0o755, "#!/bin/sh\necho hello\n")
            .file("/app/releases/start_erl.data", 0o644, "13.1.5 1.0.0\n")
    };
    for command in ["/app/bin/shop start", "/app/bin/server"] {
        without(command).has(&["!erlang-missing /app"]);
    }
    // What starts it is not known to be what containers run.
    for command in ["/app/bin/shop version", "/app/bin/other", "/bin/sh"] {
        without(command).has(&["erlang-missing /app"]);
    }
    without("/app/bin/server")
        .file("/app/erts-13.1.5/bin/erlexec", 0o755, sh.bytes())
        .has(&[]);
    without("/app/bin/server").elf("/usr/bin/erl", &sh).has(&[]);
    // `env.sh` may add its directory to `PATH`.
    without("/app/bin/server")
        .elf("/opt/erlang/bin/erl", &sh)
        .has(&["erlang-missing /app"]);
    let erl = "#!/bin/sh\nROOTDIR=/opt/erlang\nBINDIR=$ROOTDIR/erts-9.3/bin\n";
    let installed = || without("/app/bin/server").file("/usr/bin/erl", 0o755, erl);
    installed().has(&["!erlang-missing /app"]);
    installed()
        .elf("/opt/erlang/erts-9.3/bin/erlexec", &sh)
        .has(&[]);
}

#[test]
fn a_release_of_elixir_needs_the_files_that_it_starts_with() {
    let sh = Fixture::new().file_type(2);
    let own = "#!/bin/sh\nread -r ERTS VSN < releases/start_erl.data\n: $RELEASE_VM_ARGS\n";
    let without = |path: &str| {
        let mut world = World::running("/app/bin/shop start")
            .elf("/bin/sh", &sh)
            .elf("/app/erts-13.1.5/bin/erlexec", &sh)
            .file("/app/bin/shop", 0o755, own)
            .file("/app/releases/start_erl.data", 0o644, "13.1.5 1.0\n")
            .file(
                "/app/releases/1.0/env.sh",
                0o644,
                "#!/bin/sh\n# RELEASE_VM_ARGS=x\n",
            )
            .file("/app/releases/1.0/elixir", 0o755, "#!/bin/sh\n")
            .file("/app/releases/1.0/start.boot", 0o644, "")
            .file("/app/releases/1.0/sys.config", 0o644, "")
            .file("/app/releases/1.0/vm.args", 0o644, "");
        world
            .members
            .retain(|member| member.entry.path.to_string() != path);
        world
    };
    without("").has(&[]);
    for name in ["env.sh", "elixir", "start.boot", "sys.config", "vm.args"] {
        let path = format!("/app/releases/1.0/{name}");
        without(&path).has(&[&format!("!release-incomplete {path}")]);
    }
    let named = |value: &str| {
        let value = format!("RELEASE_VM_ARGS={value}");
        without("/app/releases/1.0/vm.args").set(|config| config.env = vec![value])
    };
    named("/app/releases/1.0/sys.config").has(&[]);
    named("/app/gone").has(&["!release-incomplete /app/gone"]);
    // It may be mounted.
    named("/run/vm.args").has(&["release-incomplete /run/vm.args"]);
    let mut sets = without("/app/releases/1.0/vm.args");
    sets.members
        .retain(|member| member.entry.path.file_name() != b"env.sh");
    sets.file(
        "/app/releases/1.0/env.sh",
        0o644,
        "#!/bin/sh\nexport RELEASE_VM_ARGS=x\n",
    )
    .has(&[]);
    let mut evaluates = without("/app/releases/1.0/start.boot");
    evaluates.config.cmd = words("/app/bin/shop eval x");
    evaluates.has(&[]);
}

#[test]
fn a_release_of_relx_needs_the_files_that_it_starts_with() {
    let sh = Fixture::new().file_type(2);
    let without = |path: &str| {
        let mut world = World::running("/app/bin/shop foreground")
            .elf("/bin/sh", &sh)
            .elf("/app/erts-13.1.5/bin/erlexec", &sh)
            .file("/app/bin/shop", 0o755, "#!/bin/sh\nerlexec $VMARGS_PATH\n")
            .file("/app/releases/start_erl.data", 0o644, "13.1.5 1.0\n")
            .file("/app/releases/1.0/shop.boot", 0o644, "")
            .file("/app/releases/1.0/sys.config.src", 0o644, "")
            .file("/app/vm.args", 0o644, "");
        world
            .members
            .retain(|member| member.entry.path.to_string() != path);
        world
    };
    without("").has(&[]);
    for (path, told) in [
        (
            "/app/releases/1.0/shop.boot",
            "/app/releases/1.0/start.boot",
        ),
        (
            "/app/releases/1.0/sys.config.src",
            "/app/releases/1.0/sys.config",
        ),
        ("/app/vm.args", "/app/releases/1.0/vm.args"),
    ] {
        without(path).has(&[&format!("!release-incomplete {told}")]);
    }
}

#[test]
fn a_virtual_machine_needs_the_files_that_its_command_names() {
    let sh = Fixture::new().file_type(2);
    let command = "/app/erts-1/bin/erlexec -config /app/sys -boot /app/start -args_file /run/vm.args -extra -boot /x";
    let bare = || World::running(command).elf("/app/erts-1/bin/erlexec", &sh);
    bare().has(&[
        "!release-incomplete /app/start.boot",
        "!release-incomplete /app/sys.config",
        "release-incomplete /run/vm.args",
    ]);
    bare()
        .file("/app/sys.config", 0o644, "")
        .file("/app/start.boot", 0o644, "")
        .file("/run/vm.args", 0o644, "")
        .has(&[]);
}

#[test]
fn a_virtual_environment_that_is_not_used_is_named() {
    let python = Fixture::new().file_type(2);
    let with = |command: &str, line: &str| {
        World::running(command)
            .set(|config| config.working_dir = Some("/app".to_owned()))
            .elf("/usr/bin/env", &python)
            .elf("/usr/bin/python3", &python)
            .link("/app/.venv/bin/python3", "/usr/bin/python3")
            .file("/app/.venv/pyvenv.cfg", 0o644, "")
            .file("/app/bin/run", 0o755, format!("{line}\n"))
    };
    let env = "#!/usr/bin/env python3";
    let path =
        |value: &'static str| move |config: &mut Configuration| config.env = vec![value.to_owned()];
    let named: &[&str] = &["environment-unused /app/.venv"];
    with("/app/bin/run", env).has(named);
    with("/app/bin/run", "#!/usr/bin/python3").has(named);
    with("/usr/bin/python3 app.py", env).has(named);
    with("python3 -m app", env).has(named);
    with("/app/bin/run", "#!/app/.venv/bin/python3").has(&[]);
    with("/app/.venv/bin/python3 app.py", env).has(&[]);
    with("/usr/bin/python3 /opt/app.py", env).has(&[]);
    with("/app/bin/run", env)
        .set(path("PATH=/app/.venv/bin:/usr/bin"))
        .has(&[]);
    with("/app/bin/run", env)
        .set(path("PYTHONPATH=/app/packages"))
        .has(&[]);
    with("/usr/bin/env", env).has(&[]);
}

#[test]
fn the_user_must_be_able_to_start_the_command() {
    let sh = Fixture::new().file_type(2);
    World::running("/p")
        .file("/p", 0o700, sh.bytes())
        .has(&["!command-forbidden /p"]);
    World::running("/d/p")
        .directory("/d", 0o700)
        .file("/d/p", 0o755, sh.bytes())
        .has(&["!command-forbidden /d", "release-forbidden /d"]);
    World::running("/p").file("/p", 0o711, sh.bytes()).has(&[]);
    World::running("/s")
        .file("/s", 0o711, "#!/bin/sh\n")
        .elf("/bin/sh", &sh)
        .has(&["!command-forbidden /s"]);
    World::running("/d/p")
        .set(|config| config.user = None)
        .directory("/d", 0o700)
        .file("/d/p", 0o700, sh.bytes())
        .has(&[]);
}

#[test]
fn libraries_that_the_command_needs_must_be_there_and_fit() {
    let with = |needed: &[&str]| {
        World::running("/bin/p")
            .glibc()
            .elf("/bin/p", &program(needed))
    };
    with(&["liba.so"]).has(&["!library-missing /bin/p"]);
    with(&["liba.so"])
        .elf("/lib64/liba.so", &Fixture::new().soname("liba.so"))
        .has(&[]);
    with(&["liba.so"])
        .elf("/lib64/liba.so", &arm(Fixture::new().soname("liba.so")))
        .has(&["!library-unusable /bin/p", "module-unusable /lib64/liba.so"]);
    World::running("/p")
        .elf("/p", &program(&[]))
        .has(&["!interpreter-missing /p"]);
    let musl = "/lib/ld-musl-x86_64.so.1";
    World::running("/p")
        .elf("/p", &Fixture::new().interpreter(musl).needed(&["libc.so"]))
        .elf(
            musl,
            &Fixture::new().soname("ld.so.2").needed(&["libc.so.6"]),
        )
        .has(&["!library-unusable /p", &format!("module-unusable {musl}")]);
    // Alpine has a layer that runs programs for glibc.
    World::running("/p")
        .elf("/p", &program(&["libc.so.6"]))
        .elf(
            LOADER,
            &Fixture::new()
                .soname("libgcompat.so.0")
                .needed(&["libc.musl-x86_64.so.1"]),
        )
        .elf(musl, &Fixture::new().soname("libc.musl-x86_64.so.1"))
        .has(&[
            "library-unusable /p",
            "library-missing /p",
            &format!("module-unusable {musl}"),
            &format!("module-unusable {LOADER}"),
        ]);
    with(&["liba.so"])
        .file(
            "/lib64/liba.so",
            0o600,
            Fixture::new().soname("liba.so").bytes(),
        )
        .has(&["!library-forbidden /lib64/liba.so"]);
    // The image says where else to look.
    with(&["liba.so"])
        .set(|config| config.env = vec!["LD_LIBRARY_PATH=/opt".to_owned()])
        .elf("/opt/liba.so", &Fixture::new().soname("liba.so"))
        .has(&[]);
}

#[test]
fn what_may_never_be_loaded_is_at_most_a_warning() {
    World::sound()
        .elf("/opt/tool", &program(&["liba.so"]))
        .elf(
            "/opt/m.node",
            &Fixture::new().soname("m").needed(&["libb.so"]),
        )
        .elf("/opt/arm.node", &arm(Fixture::new().soname("arm")))
        .has(&[
            "library-missing /opt/m.node",
            "library-missing /opt/tool",
            "module-unusable /opt/arm.node",
        ]);
}

#[test]
fn symbol_versions_are_compared_with_the_library_in_the_image() {
    let needs =
        |version: &str| program(&["libc.so.6"]).needs_version("libc.so.6", &[(version, false)]);
    let with = |version: &str| World::running("/p").glibc().elf("/p", &needs(version));
    with("GLIBC_2.34").has(&[]);
    with("GLIBC_2.38").has(&["!symbol-version-missing /p"]);
}

#[test]
fn the_command_is_for_the_platform_of_the_image() {
    let world = World::running("/p").elf("/p", &arm(Fixture::new().file_type(2)));
    world.has(&["!wrong-architecture /p"]);
    // Kernels of 64 bits start programs of 32.
    let small = Fixture::new()
        .file_type(2)
        .machine(3, Class::Bits32, Endianness::Little);
    World::running("/p").elf("/p", &small).has(&[]);
}

#[test]
fn settings_that_engines_do_not_take_are_named() {
    let with = |change: fn(&mut Configuration)| World::sound().set(change).findings();
    assert_eq!(
        with(|config| config.user = Some("nobody".to_owned())),
        ["!user-unknown"]
    );
    assert_eq!(
        with(|config| config.working_dir = Some("bin".to_owned())),
        ["!workdir-invalid"]
    );
    assert_eq!(
        with(|config| config.working_dir = Some("/bin/p".to_owned())),
        ["!workdir-invalid /bin/p"]
    );
    assert_eq!(
        with(|config| config.working_dir = Some("/bin/p/x".to_owned())),
        ["!workdir-invalid /bin/p/x"]
    );
    assert_eq!(
        with(|config| config.working_dir = Some("/nowhere".to_owned())),
        [""; 0]
    );
    for (volume, expected) in [
        ("/data", None),
        ("data", Some("volume-invalid /data")),
        ("/", Some("!volume-invalid")),
        ("/proc", Some("!volume-invalid /proc")),
        ("/a/../dev", Some("!volume-invalid /dev")),
        ("/sys/x", Some("!volume-invalid /sys/x")),
        ("/sys", None),
        ("/proc/../a", None),
        ("/dev/shm", None),
        ("/bin/p", Some("!volume-invalid /bin/p")),
    ] {
        let world = World::sound().set(|config| {
            config.volumes.insert(volume.to_owned());
        });
        assert_eq!(world.findings(), Vec::from_iter(expected), "{volume}");
    }
    for (port, expected) in [
        ("8080/tcp", None),
        ("http", Some("port-invalid")),
        ("80/tcp", Some("port-privileged")),
    ] {
        let world = World::sound().set(|config| {
            config.exposed_ports.insert(port.to_owned());
        });
        assert_eq!(world.findings(), Vec::from_iter(expected), "{port}");
    }
    assert_eq!(
        with(|config| config.env = vec!["API_KEY=x".to_owned()]),
        ["secret-variable"]
    );
}

#[test]
fn a_user_whose_file_was_not_read_may_be_known() {
    let mut world = World::sound().set(|config| config.user = Some("app".to_owned()));
    world.has(&["!user-unknown"]);
    let mut passwd: Member = Member::file(path("/etc/passwd"), 0o644, vec![b'x']);
    passwd.content = None;
    world.members.push(passwd);
    world.has(&[]);
}

#[test]
fn images_for_other_systems_are_not_judged() {
    let config = World::running("cmd.exe").config;
    let platform = Platform::from_parts("windows", "amd64", None);
    let subject = Subject::new(&config, &platform, Vec::new(), &[]);
    assert_eq!(check(&subject, None), []);
}

#[test]
fn a_closed_working_directory_is_a_warning() {
    World::sound()
        .set(|config| config.working_dir = Some("/private".to_owned()))
        .directory("/private", 0o700)
        .has(&["workdir-forbidden /private", "release-forbidden /private"]);
}

#[test]
fn a_health_check_that_cannot_run_is_a_warning() {
    let check = |words: &[&str]| {
        let test = words.iter().map(ToString::to_string).collect();
        World::sound().set(|config| {
            config.healthcheck = Some(Healthcheck {
                test,
                ..Healthcheck::default()
            });
        })
    };
    check(&["CMD", "/bin/p"]).has(&[]);
    check(&["NONE"]).has(&[]);
    check(&["CMD-SHELL", "x"]).has(&["healthcheck-broken /bin/sh"]);
    check(&["CMD-SHELL", "x"])
        .set(|config| {
            let shell = ["/bin/p", "-c"].as_slice().into();
            config.others.insert("Shell".to_owned(), shell);
        })
        .has(&[]);
    check(&["CMD", "/bin/q"]).has(&["healthcheck-broken /bin/q"]);
}

#[test]
fn programs_whose_bit_was_lost_are_named_once() {
    let program = Fixture::new().file_type(2).bytes();
    let script = "#!/bin/sh\n. \"$HERE/env.sh\"\nif true; then\n  exec \"$HERE/lib/run.sh\" -x\nfi\n$HERE/lib/tool\nsh lib/y\n";
    let world = || {
        World::running("/s")
            .file("/s", 0o755, script)
            .elf("/bin/sh", &Fixture::new().file_type(2))
    };
    world()
        .file("/app/lib/env.sh", 0o644, "#!/bin/sh\n")
        .file("/app/lib/y", 0o644, "#!/bin/sh\n")
        .file("/app/bin/x.py", 0o644, "#!/usr/bin/python3\n")
        .file("/app/bin/data", 0o644, "#data")
        .file("/node_modules/x/bin/y", 0o644, "#!/usr/bin/env node\n")
        .has(&[]);
    for (place, content) in [
        ("/app/bin/x", "#!/bin/sh\n".as_bytes()),
        ("/app/bin/x", &program),
        ("/app/lib/run.sh", b"#!/bin/sh\n"),
        ("/app/lib/tool", &program),
    ] {
        let expected = format!("program-not-executable {place}");
        world().file(place, 0o644, content).has(&[&expected]);
        world().file(place, 0o755, content).has(&[]);
    }
    world()
        .file("/app/bin/a", 0o644, &*program)
        .file("/app/bin/b", 0o644, &*program)
        .has(&["program-not-executable /app/bin/a"]);
    World::running("/bin/p")
        .file("/bin/p", 0o644, &*program)
        .has(&["!command-not-executable /bin/p"]);
    let release = |mode| {
        World::running("/app/erts-1/bin/erlexec")
            .file("/app/releases/start_erl.data", 0o644, "1 2\n")
            .file("/app/erts-1/bin/erlexec", 0o755, &*program)
            .file("/app/erts-1/bin/beam.smp", mode, &*program)
    };
    release(0o644).has(&["!program-not-executable /app/erts-1/bin/beam.smp"]);
    release(0o755).has(&[]);
}

#[test]
fn files_that_a_script_starts_by_paths_are_followed() {
    let world = |script: &str| {
        World::running("/app/run")
            .set(|config| config.working_dir = Some("/app".to_owned()))
            .file("/app/run", 0o755, &*format!("#!/bin/sh\n{script}\n"))
            .elf("/bin/sh", &Fixture::new().file_type(2))
            .directory("/app", 0o755)
            .elf("/app/lib/tool", &Fixture::new().file_type(2))
            .file("/app/lost", 0o755, "#!/opt/venv/bin/python\n")
            .file("/app/windows", 0o755, "#!/bin/sh\r\n")
            .file("/app/data/hook", 0o644, "#!/bin/sh\n")
            .file("/app/next", 0o755, "#!/bin/sh\nexec ./gone\n")
    };
    for (script, expected) in [
        ("exec ./app start", "command-missing /app/run"),
        ("exec /app/bin/app", "command-missing /app/run"),
        (". lib/env.sh; exec ./lost", "interpreter-missing /app/lost"),
        ("\"$DIR/windows\" x", "script-carriage-return /app/windows"),
        ("./next", "command-missing /app/next"),
        ("$DIR/hook", "program-not-executable /app/data/hook"),
    ] {
        world(script).has(&[expected]);
    }
    for script in [
        "cd lib && exec ./tool",
        "exec \"$DIR/gone\"; /mounted/app",
        "[ -x ./hook ] && ./hook; . ./env.sh",
        "[ -x \"$(dirname \"$0\")/data/hook\" ] && \"$(dirname \"$0\")/data/hook\"",
        "cat <<END\n./gone\nEND\n",
    ] {
        world(script).has(&[]);
    }
    World::running("/app/data")
        .file("/app/data", 0o644, "no program\n")
        .has(&["!command-format /app/data"]);
}

#[test]
fn rights_and_names_that_surprise_are_named() {
    World::sound()
        .file("/bin/su", 0o4755, "")
        .file("/bin/data", 0o4644, "")
        .file("/srv/open", 0o666, "")
        .directory("/srv/closed", 0o755)
        .directory("/srv/drop", 0o777)
        .directory("/tmp", 0o1777)
        .has(&[
            "set-id /bin/su",
            "world-writable /srv/drop",
            "world-writable /srv/open",
        ]);
    World::sound()
        .file("/srv/Read", 0o644, "")
        .file("/srv/read", 0o644, "")
        .file("/srv/other/READ", 0o644, "")
        .has(&["case-collision /srv/read"]);
    World::sound()
        .link("/srv/a", "b")
        .link("/srv/p", "../bin/p")
        .has(&["link-dangling /srv/a"]);
}

#[test]
fn tls_without_roots_is_named_once() {
    let ssl = Fixture::new().soname("libssl.so.3");
    let importing = |name| {
        World::running("/bin/p")
            .glibc()
            .elf("/bin/p", &program(&["libssl.so.3"]).imports(&[name]))
            .elf("/lib64/libssl.so.3", &ssl)
    };
    importing("SSL_CTX_new").has(&[]);
    let world = || importing(VERIFY);
    world().has(&["certificates-missing /bin/p"]);
    world()
        .file("/etc/ssl/certs/ca-certificates.crt", 0o644, "")
        .has(&[]);
    world().file("/opt/certifi/cacert.pem", 0o644, "").has(&[]);
    world()
        .set(|config| config.env = vec!["SSL_CERT_FILE=/my.pem".to_owned()])
        .file("/my.pem", 0o644, "")
        .has(&[]);
    let named = Fixture::new()
        .file_type(2)
        .appendix(b"/etc/pki/tls/certs/ca-bundle.crt");
    World::running("/p")
        .elf("/p", &named)
        .has(&["certificates-missing /p"]);
    World::sound()
        .file("/app/lib/ssl-11.0/ebin/ssl.app", 0o644, "")
        .has(&["certificates-missing /app/lib/ssl-11.0/ebin/ssl.app"]);
}

#[test]
fn fonts_are_missed_by_what_draws() {
    let user = Fixture::new().needed(&["libfontconfig.so.1"]);
    let world = |path| {
        let library = Fixture::new().soname("libfontconfig.so.1");
        let world = World::sound().elf("/lib64/libfontconfig.so.1", &library);
        world.elf(path, &user)
    };
    world("/lib64/libcairo.so.2").has(&["fonts-missing /lib64/libcairo.so.2"]);
    world("/lib64/libcairo.so.2")
        .file("/usr/share/fonts/a.ttf", 0o644, "")
        .has(&[]);
    world("/lib64/libtk8.6.so").has(&[]);
    world("/lib64/libXft.so.2").has(&[]);
}

#[test]
fn variables_name_what_the_image_has() {
    let importing = |name| {
        let world = World::running("/bin/p").glibc();
        world.elf("/bin/p", &program(&["libc.so.6"]).imports(&[name]))
    };
    for (variable, is_found) in [
        ("TZ=Europe/Berlin", true),
        ("TZ=:/etc/zone", true),
        ("TZ=CET-1CEST", false),
        ("TZ=UTC", false),
        ("LANG=de_DE.UTF-8", true),
        ("LC_ALL=C.UTF-8", true),
        ("LC_ALL=C", false),
        ("LANG=", false),
        ("LD_PRELOAD=libgone.so", true),
        ("LD_PRELOAD=/lib64/libgone.so", true),
        ("LD_PRELOAD=libc.so.6:/lib64/libc.so.6", false),
        ("OPENSSL_CONF=/etc/ssl/openssl.cnf", true),
        ("OPENSSL_CONF=/run/secrets/openssl.cnf", false),
        ("SSL_CERT_DIR=/data/certs", false),
        ("AWS_CA_BUNDLE=/gone.pem", true),
        ("MAGIC=/bin/p:/gone", true),
        ("OTHER=/gone", false),
    ] {
        let world = importing("setlocale").set(|config| {
            config.env = vec![variable.to_owned()];
            config.volumes = ["/data".to_owned()].into();
        });
        let expected = is_found.then(|| "variable-dangling".to_owned());
        assert_eq!(world.findings(), Vec::from_iter(expected), "{variable}");
    }
    let set = |config: &mut Configuration| {
        config.env = vec!["TZ=Asia/Tokyo".to_owned(), "LANG=de_DE.UTF-8".to_owned()];
    };
    importing("puts").set(set).has(&["variable-dangling"]);
    importing("setlocale")
        .set(set)
        .file("/usr/share/zoneinfo/Asia/Tokyo", 0o644, "")
        .directory("/usr/lib/locale/de_DE.utf8", 0o755)
        .has(&[]);
}

#[test]
fn python_needs_roots_if_a_script_connects() {
    let ssl = Fixture::new().soname("libssl.so.3");
    let module = Fixture::new().needed(&["libssl.so.3"]).imports(&[VERIFY]);
    let at = "/usr/lib/python3.11/lib-dynload/_ssl.cpython-311.so";
    for (path, text, expected) in [
        ("/usr/lib/python3.11/urllib/request.py", "import ssl", None),
        ("/app/app.py", "import json", None),
        ("/app/app.py", "import urllib.request", Some(at)),
        (
            "/usr/lib/python3/dist-packages/a.py",
            "import ssl",
            Some(at),
        ),
        ("/app/run", "#!/usr/bin/python3\nimport requests", Some(at)),
    ] {
        let expected = expected.map(|at| format!("certificates-missing {at}"));
        let world = World::sound()
            .elf(at, &module)
            .elf("/lib64/libssl.so.3", &ssl)
            .file(path, 0o644, text);
        assert_eq!(world.findings(), Vec::from_iter(expected), "{path}");
    }
}

#[test]
fn what_builds_leave_behind_is_added_up() {
    let world = World::sound()
        .directory("/app/__pycache__", 0o755)
        .file("/app/__pycache__/a.pyc", 0o644, vec![0; 10])
        .file("/app/__pycache__-not/a", 0o644, vec![0; 10])
        .file("/app/__pycache__/d/b.pyc", 0o644, vec![0; 5])
        .directory("/app/b/__pycache__", 0o755)
        .file("/app/b/__pycache__/a.pyc", 0o644, vec![0; 1])
        .file("/app/x.o", 0o644, "x")
        .file("/app/.o", 0o644, "x");
    world.has(&["build-leftover /app/__pycache__", "build-leftover /app/x.o"]);
    let mut members = world.members.clone();
    members.sort_by(|a, b| a.entry.path.cmp(&b.entry.path));
    let platform = Platform::from_parts("linux", "amd64", None);
    let subject = Subject::new(&world.config, &platform, vec![&members], &[]);
    let findings = check(&subject, None);
    let told = findings
        .iter()
        .find(|found| found.rule == Rule::BuildLeftover);
    assert_eq!(
        told.unwrap().reason,
        "`/app/__pycache__` and 1 more like it were left behind by a build: 16 bytes together"
    );
}

#[test]
fn the_same_large_content_is_named_from_its_second_place_on() {
    let large = |last: u8| {
        let mut bytes = vec![0; 1 << 20];
        bytes.push(last);
        bytes
    };
    World::sound()
        .file("/a", 0o644, large(1))
        .file("/b", 0o644, large(2))
        .file("/c", 0o644, large(1))
        .file("/d", 0o644, large(1))
        .file("/e", 0o644, vec![0; 1000])
        .file("/f", 0o644, vec![0; 1000])
        .has(&["duplicate-content /c", "duplicate-content /d"]);
}

#[test]
fn a_file_of_a_higher_layer_counts() {
    let lower = [Member::file(path("/p"), 0o644, Vec::new())];
    let upper = [Member::file(
        path("/p"),
        0o755,
        Fixture::new().file_type(2).bytes(),
    )];
    let config = World::running("/p").config;
    let platform = Platform::from_parts("linux", "amd64", None);
    let subject = Subject::new(&config, &platform, vec![&lower, &upper], &[]);
    assert_eq!(check(&subject, None), []);
}

#[test]
fn owners_and_hard_links_have_rights() {
    let mut world = World::running("/p");
    let mut file = Entry::file(path("/first"), 0, 0o700);
    file.owner = Owner { uid: 5, gid: 5 };
    let bytes = Fixture::new().file_type(2).bytes();
    file.kind = EntryKind::File {
        size: bytes.len() as u64,
    };
    let mut link = file.clone();
    link.path = path("/p");
    link.kind = EntryKind::Hardlink {
        target: path("/first"),
    };
    world.members.push(Member {
        entry: file,
        content: Some(bytes.into()),
    });
    world.members.push(link.into());
    world.has(&[]);
}
