//! Starting a release without a shell: what its start script would compute,
//! computed when the image is made.
//!
//! `bin/NAME start` of `mix release` reads `env.sh`, sets `RELEASE_*`, and has
//! `releases/VSN/elixir` run `erl`, which runs `erlexec`, which becomes the
//! virtual machine. All of them but `erlexec` are shell scripts, and what they
//! compute depends on the release and on `RELEASE_*` alone. `bin/NAME
//! foreground` of relx runs `erlexec` itself. `erlexec` reads `vm.args` and
//! `ERL_FLAGS`, and needs `BINDIR`, `ROOTDIR`, `EMU` and `PROGNAME` to be set.

mod arguments;
mod reader;
mod script;
pub(crate) mod term;

use std::path::Path;

use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::RootDirectory;

use super::MixRelease;
use crate::release::command::Command;

pub(super) use arguments::has_cookie;
pub(super) use reader::read;

/// The arguments of the virtual machine.
const VM_ARGUMENTS: &str = "vm.args";

/// The name of the file that replaces `vm.args`, if that has arguments which
/// need a shell.
const DIRECT_ARGUMENTS: &str = "direct.vm.args";

/// The name of the boot file of a system that restarts after its
/// configuration.
const DIRECT_BOOT: &str = "direct.boot";

/// The programs of ERTS that the virtual machine runs without a shell; `beam`
/// starts the names of several.
const PROGRAMS: [&str; 3] = ["erlexec", "erl_child_setup", "inet_gethost"];

/// The supervisors of `os_mon` that have a shell run their programs.
const SUPERVISORS: [&str; 3] = ["start_cpu_sup", "start_disksup", "start_memsup"];

/// The start of a release without its scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Direct {
    /// The first arguments of `erlexec`, with `$RELEASE_MODE` in them.
    flags: Vec<String>,
    /// The variable of the boot file that names the directory of libraries.
    boot_variable: String,
    /// The arguments after those of the virtual machine.
    rest: &'static [&'static str],
    /// The variables that `env.sh` sets.
    variables: Vec<(String, String)>,
    /// The variables that `bin/server` sets, if there is one.
    pub(super) server: Option<Vec<(String, String)>>,
    /// The name of the boot file, if the environment names no other.
    boot_file: String,
    /// The file with arguments that is replaced, and the text of its
    /// replacement.
    pub(super) arguments: Option<(String, String)>,
    /// The replacement of the boot file, for a system that restarts after its
    /// configuration.
    restarting: Option<Vec<u8>>,
    has_os_mon: bool,
}

/// Returns the reason why a path of the release is not in an image without a
/// shell; `None` if it is.
pub(super) fn unwanted(root: &RootDirectory, relative: &Path) -> Option<&'static str> {
    let text = relative.to_string_lossy();
    if text.starts_with("lib/") || root.path().join(relative).is_dir() {
        return None;
    }
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", &text));
    if directory.starts_with("erts-") && directory.ends_with("/bin") {
        let is_run = PROGRAMS.contains(&name) || name.starts_with("beam");
        return (!is_run).then_some("nothing starts it without a shell");
    }
    let is_script = name.ends_with(".bat")
        || (directory.starts_with("releases/") && name == "env.sh")
        || starts_as_script(root, relative);
    is_script.then_some("the image has no shell to run it")
}

fn starts_as_script(root: &RootDirectory, path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 2];
    let read = root
        .open_file(path)
        .and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start == b"#!"
}

impl Direct {
    /// Returns the files that the release gets, by their paths in it.
    pub(super) fn files(&self, mix: &MixRelease) -> Vec<(String, Vec<u8>)> {
        let path = |name: &str| format!("releases/{}/{name}", mix.version);
        let mut files = Vec::new();
        if let Some((_, text)) = &self.arguments {
            files.push((path(DIRECT_ARGUMENTS), text.as_bytes().to_vec()));
        }
        if let Some(boot) = &self.restarting {
            files.push((path(DIRECT_BOOT), boot.clone()));
        }
        files
    }

    /// Returns the command and environment that start the release at `prefix`,
    /// as `bin/server` or its own script would; `given` are the variables of
    /// the user.
    pub(super) fn start(
        &self,
        prefix: &ImagePath,
        mix: &MixRelease,
        as_server: bool,
        given: &[(String, String)],
    ) -> Command {
        let place = PlacedRelease { prefix, mix };
        let mut environment = self.variables.clone();
        if as_server {
            environment.extend(self.server.iter().flatten().cloned());
        }
        environment.retain(|(name, _)| name != "RELEASE_DISTRIBUTION");
        for (name, value) in self.defaults(&place) {
            if !environment.iter().any(|(known, _)| *known == name) {
                environment.push((name, value));
            }
        }
        let overrides = self.overrides(&place);
        for (name, value) in &mut environment {
            let mut better = overrides.iter().chain(given.iter().rev());
            if let Some((_, better)) = better.find(|(better, _)| better == name) {
                value.clone_from(better);
            }
        }
        Command {
            entrypoint: Some(self.command(&place, &environment)),
            environment,
            overrides,
            ..Command::default()
        }
    }

    /// Returns the variables that name a replacement of a file, also of one that
    /// the user named.
    fn overrides(&self, place: &PlacedRelease<'_>) -> Vec<(String, String)> {
        if place.mix.is_relx {
            return Vec::new();
        }
        let mut overrides = Vec::new();
        if self.restarting.is_some() {
            let [_, written] = self.configuration(place);
            overrides.push((
                "RELEASE_BOOT_SCRIPT".to_owned(),
                self.boot_name().to_owned(),
            ));
            overrides.push(("RELEASE_SYS_CONFIG".to_owned(), written));
        }
        if self.arguments.is_some() {
            let path = place.version(DIRECT_ARGUMENTS);
            overrides.push(("RELEASE_VM_ARGS".to_owned(), path));
        }
        overrides
    }

    /// Returns the variables that the script sets unless they are set.
    fn defaults(&self, place: &PlacedRelease<'_>) -> Vec<(String, String)> {
        let (name, version) = (&place.mix.name, &place.mix.version);
        let erlexec = [
            ("BINDIR", place.erts("bin")),
            ("EMU", "beam".to_owned()),
            ("PROGNAME", "erl".to_owned()),
            ("ROOTDIR", place.prefix.to_string()),
            ("RELEASE_NAME", name.clone()),
            ("RELEASE_VSN", version.clone()),
        ];
        let of_mix = [
            ("RELEASE_BOOT_SCRIPT", self.boot_name().to_owned()),
            ("RELEASE_BOOT_SCRIPT_CLEAN", "start_clean".to_owned()),
            ("RELEASE_COMMAND", "start".to_owned()),
            ("RELEASE_DISTRIBUTION", "none".to_owned()),
            ("RELEASE_MODE", "embedded".to_owned()),
            ("RELEASE_NODE", name.clone()),
            ("RELEASE_PROG", name.clone()),
            ("RELEASE_REMOTE_VM_ARGS", place.version("remote.vm.args")),
            ("RELEASE_ROOT", place.prefix.to_string()),
            ("RELEASE_SYS_CONFIG", self.configuration(place)[1].clone()),
            ("RELEASE_VM_ARGS", place.version(self.arguments_name())),
        ];
        let of_mix = of_mix.into_iter().filter(|_| !place.mix.is_relx);
        let all = erlexec.into_iter().chain(of_mix);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn boot_name(&self) -> &str {
        if self.restarting.is_some() {
            DIRECT_BOOT.trim_end_matches(".boot")
        } else {
            &self.boot_file
        }
    }

    /// Returns the configuration that the virtual machine reads, and the one of
    /// the configuration providers; both without `.config`.
    fn configuration(&self, place: &PlacedRelease<'_>) -> [String; 2] {
        if self.restarting.is_some() {
            temporary(place.mix)
        } else {
            [place.version("sys"), place.version("sys")]
        }
    }

    fn arguments_name(&self) -> &'static str {
        if self.arguments.is_some() {
            DIRECT_ARGUMENTS
        } else {
            VM_ARGUMENTS
        }
    }

    fn command(&self, place: &PlacedRelease<'_>, environment: &[(String, String)]) -> Vec<String> {
        let value = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let boot = value("RELEASE_BOOT_SCRIPT").unwrap_or_else(|| self.boot_name().to_owned());
        let [read, _] = self.configuration(place);
        let given = value("RELEASE_SYS_CONFIG").filter(|_| self.restarting.is_none());
        let config = given.unwrap_or(read);
        let vm_arguments = value("RELEASE_VM_ARGS");
        let vm_arguments = vm_arguments.unwrap_or_else(|| place.version(self.arguments_name()));
        let mut words = vec![place.erts("bin/erlexec")];
        words.extend(self.flags.iter().map(|word| match word.strip_prefix('$') {
            Some(variable) => value(variable).unwrap_or_default(),
            None => word.clone(),
        }));
        let (boot, libraries) = (place.version(&boot), place.below("lib"));
        words.extend(["-config", &config, "-boot", &boot].map(str::to_owned));
        words.extend(["-boot_var", &self.boot_variable, &libraries].map(str::to_owned));
        words.extend(["-args_file", &vm_arguments].map(str::to_owned));
        if self.has_os_mon {
            for supervisor in SUPERVISORS {
                words.extend(["-os_mon", supervisor, "false"].map(str::to_owned));
            }
        }
        words.extend(self.rest.iter().map(|word| (*word).to_owned()));
        words
    }
}

/// Returns the paths of the configuration of a system that restarts, without
/// `.config`.
fn temporary(mix: &MixRelease) -> [String; 2] {
    let (name, version) = (&mix.name, &mix.version);
    ["start", "runtime"].map(|kind| format!("/tmp/{name}-{version}.{kind}"))
}

/// A release at its directory in the image.
struct PlacedRelease<'a> {
    prefix: &'a ImagePath,
    mix: &'a MixRelease,
}

impl PlacedRelease<'_> {
    fn below(&self, path: &str) -> String {
        let prefix = self.prefix.to_string();
        format!("{}/{path}", prefix.trim_end_matches('/'))
    }

    fn erts(&self, path: &str) -> String {
        self.below(&format!("erts-{}/{path}", self.mix.erts))
    }

    fn version(&self, name: &str) -> String {
        self.below(&format!("releases/{}/{name}", self.mix.version))
    }
}

#[cfg(test)]
pub(crate) mod tests;
