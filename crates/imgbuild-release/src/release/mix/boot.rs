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
mod problem;
mod script;

use std::path::Path;

use fs_err as fs;
use imgbuild_oci::path::ImagePath;

use super::MixRelease;
use crate::error::{Error, Result};
use crate::warning::Warning;

pub(super) use arguments::VmArguments;
pub use problem::BootProblem;

/// What starts the release in a container.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Boot {
    /// Its own script, with the shell and the programs that this needs.
    #[default]
    Script,
    /// `erlexec`: the image has neither a shell nor what a shell would run.
    Direct,
}

/// The arguments of the virtual machine.
const VM_ARGUMENTS: &str = "vm.args";

/// The name of the file that takes the place of `vm.args`, when that says
/// what works with a shell only.
const DIRECT_ARGUMENTS: &str = "direct.vm.args";

/// The programs of ERTS that the virtual machine runs without a shell; `beam`
/// starts the names of several.
const PROGRAMS: [&str; 3] = ["erlexec", "erl_child_setup", "inet_gethost"];

/// The supervisors of `os_mon` that have a shell run their programs.
const SUPERVISORS: [&str; 3] = ["start_cpu_sup", "start_disksup", "start_memsup"];

/// How a release starts without its scripts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Direct {
    /// The first arguments of `erlexec`, with `$RELEASE_MODE` in them.
    flags: Vec<String>,
    /// The variable of the boot file that names the directory of libraries.
    boot_variable: String,
    /// What follows the arguments of the virtual machine.
    rest: &'static [&'static str],
    /// What `env.sh` sets.
    variables: Vec<(String, String)>,
    /// What `bin/server` sets, if there is one.
    server: Option<Vec<(String, String)>>,
    /// The name of the boot file, if the environment names no other.
    boot_file: String,
    /// What takes the place of `vm.args`.
    arguments: Option<String>,
    has_os_mon: bool,
}

/// The command and the environment that start a release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

/// Reads the scripts of a release; `is_left_out` tells what the user does not
/// want of it, which then counts for nothing.
///
/// # Errors
///
/// With everything at once that only a shell could do.
pub(super) fn read(
    root: &Path,
    mix: &MixRelease,
    is_left_out: &dyn Fn(&str) -> bool,
) -> Result<(Direct, Vec<Warning>)> {
    let mut reader = Reader {
        root,
        mix,
        is_left_out,
        problems: Vec::new(),
        warnings: Vec::new(),
    };
    let direct = reader.read();
    match (direct, reader.problems) {
        (Some(direct), problems) if problems.is_empty() => Ok((direct, reader.warnings)),
        (_, problems) => Err(Error::NoDirectBoot { problems }),
    }
}

/// Returns why a path of the release is not in an image without a shell.
pub(super) fn unwanted(root: &Path, relative: &Path) -> Option<&'static str> {
    let text = relative.to_string_lossy();
    if text.starts_with("lib/") || root.join(relative).is_dir() {
        return None;
    }
    let (directory, name) = text.rsplit_once('/').unwrap_or(("", &text));
    if directory.starts_with("erts-") && directory.ends_with("/bin") {
        let is_run = PROGRAMS.contains(&name) || name.starts_with("beam");
        return (!is_run).then_some("nothing starts it without a shell");
    }
    let is_script = name.ends_with(".bat")
        || (directory.starts_with("releases/") && name == "env.sh")
        || starts_as_script(&root.join(relative));
    is_script.then_some("the image has no shell that could run it")
}

fn starts_as_script(path: &Path) -> bool {
    use std::io::Read as _;
    let mut start = [0; 2];
    let read = fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && &start == b"#!"
}

struct Reader<'a> {
    root: &'a Path,
    mix: &'a MixRelease,
    is_left_out: &'a dyn Fn(&str) -> bool,
    problems: Vec<BootProblem>,
    warnings: Vec<Warning>,
}

impl Reader<'_> {
    fn read(&mut self) -> Option<Direct> {
        if !self.mix.has_erts {
            let version = self.mix.erts.clone();
            self.problems.push(BootProblem::NoRuntime { version });
        }
        let mut direct = match self.mix.is_relx {
            true => self.relx(),
            false => self.mix(),
        }?;
        direct.arguments = self.vm_arguments();
        direct.has_os_mon = self.has_os_mon();
        if direct.has_os_mon {
            self.warnings.push(Warning::OsMonWithoutShell);
        }
        let boot = format!("{}.boot", direct.boot_file);
        for name in [boot.as_str(), "sys.config"] {
            let path = self.version_path(name);
            if self.text(&path).is_none() {
                self.problems.push(BootProblem::Missing { path });
            }
        }
        Some(direct)
    }

    fn mix(&mut self) -> Option<Direct> {
        let config = self.version_path("sys.config");
        let reboots = |text: String| text.contains(script::RUNTIME_CONFIG);
        if self.text(&config).is_some_and(reboots) {
            self.problems.push(BootProblem::Reboots { path: config });
        }
        let mut flags = self.parsed(self.version_path("elixir"), script::elixir_flags)?;
        let name = format!("bin/{}", self.mix.name);
        flags.extend(self.parsed(name, script::start_flags)?);
        let environment = self.version_path("env.sh");
        let variables = self.lines(&environment, script::variables);
        let server = "bin/server";
        let own = self.mix.name.clone();
        let server = self.lines(server, |text| script::server(text, &own));
        self.warn_of_distribution(variables.as_deref().unwrap_or_default());
        Some(Direct {
            flags,
            boot_variable: "RELEASE_LIB".to_owned(),
            rest: &["-extra", "--no-halt"],
            variables: variables.unwrap_or_default(),
            server,
            boot_file: "start".to_owned(),
            arguments: None,
            has_os_mon: false,
        })
    }

    fn relx(&mut self) -> Option<Direct> {
        for name in ["vm.args.src", "sys.config.src"] {
            let path = self.version_path(name);
            if self.text(&path).is_some() {
                self.problems.push(BootProblem::Replaced { path });
            }
        }
        let name = format!("bin/{}", self.mix.name);
        let boot_variable = self.parsed(name.clone(), script::relx_boot_variable)?;
        let own = self.version_path(&format!("{}.boot", self.mix.name));
        if self
            .text(&name)
            .is_some_and(|text| script::has_hooks(&text))
        {
            self.problems.push(BootProblem::Hooks { path: name });
        }
        let boot_file = match self.root.join(own).is_file() {
            true => self.mix.name.clone(),
            false => "start".to_owned(),
        };
        Some(Direct {
            flags: ["-noinput", "+Bd", "-mode", "embedded"]
                .map(str::to_owned)
                .to_vec(),
            boot_variable,
            rest: &["--"],
            variables: Vec::new(),
            server: None,
            boot_file,
            arguments: None,
            has_os_mon: false,
        })
    }

    /// Reads a script of which everything must be known.
    fn parsed<T>(&mut self, path: String, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = self.text(&path).and_then(|text| parse(&text));
        if found.is_none() {
            self.problems.push(BootProblem::Script { path });
        }
        found
    }

    /// Reads a script that may be missing, line by line.
    fn lines<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&str) -> std::result::Result<T, usize>,
    ) -> Option<T> {
        let text = self.text(path)?;
        match parse(&text) {
            Ok(found) => Some(found),
            Err(line) => {
                let path = path.to_owned();
                self.problems.push(BootProblem::Line { path, line });
                None
            }
        }
    }

    /// Drops from `vm.args` what would have a shell started, if it does.
    fn vm_arguments(&mut self) -> Option<String> {
        let path = self.version_path(VM_ARGUMENTS);
        let Some(text) = self.text(&path) else {
            self.problems.push(BootProblem::Missing { path });
            return None;
        };
        let arguments = VmArguments::parse(&text);
        let (kept, dropped) = arguments.without_shell();
        if dropped.is_empty() {
            return None;
        }
        self.warnings
            .push(Warning::ArgumentsWithoutShell { path, dropped });
        Some(kept)
    }

    fn warn_of_distribution(&mut self, variables: &[(String, String)]) {
        let is_wanted =
            |(name, value): &(String, String)| name == "RELEASE_DISTRIBUTION" && value != "none";
        if variables.iter().any(is_wanted) {
            let path = self.version_path("env.sh");
            self.warnings.push(Warning::NoDistribution { path });
        }
    }

    fn has_os_mon(&self) -> bool {
        let entries = fs::read_dir(self.root.join("lib")).into_iter().flatten();
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.any(|name| name.starts_with("os_mon-"))
    }

    fn version_path(&self, name: &str) -> String {
        format!("releases/{}/{name}", self.mix.version)
    }

    fn text(&self, path: &str) -> Option<String> {
        if (self.is_left_out)(path) {
            return None;
        }
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Direct {
    /// Returns whether the release has a `bin/server` that starts it.
    pub(crate) fn has_server(&self) -> bool {
        self.server.is_some()
    }

    /// Returns the file that takes the place of `vm.args`, with its text, if
    /// one is needed.
    pub(super) fn arguments_file(&self, mix: &MixRelease) -> Option<(String, &str)> {
        let text = self.arguments.as_deref()?;
        Some((format!("releases/{}/{DIRECT_ARGUMENTS}", mix.version), text))
    }

    /// Returns what starts the release below `prefix`, as `bin/server` would
    /// or as its own script would; `given` is what the user sets.
    pub(crate) fn start(
        &self,
        prefix: &ImagePath,
        mix: &MixRelease,
        as_server: bool,
        given: &[(String, String)],
    ) -> Start {
        let place = Place { prefix, mix };
        let mut environment = self.variables.clone();
        if let (Some(server), true) = (&self.server, as_server) {
            environment.extend(server.iter().cloned());
        }
        environment.retain(|(name, _)| name != "RELEASE_DISTRIBUTION");
        for (name, value) in self.defaults(&place) {
            if !environment.iter().any(|(known, _)| *known == name) {
                environment.push((name, value));
            }
        }
        for (name, value) in &mut environment {
            let mut last = given.iter().rev();
            if let Some((_, given)) = last.find(|(given, _)| given == name) {
                value.clone_from(given);
            }
        }
        let arguments = self.command(&place, &environment);
        Start {
            arguments,
            environment,
        }
    }

    /// The variables that the script sets unless they are set.
    fn defaults(&self, place: &Place<'_>) -> Vec<(String, String)> {
        let (name, version) = (&place.mix.name, &place.mix.version);
        let erlexec = [
            (
                "BINDIR",
                place.below(&format!("erts-{}/bin", place.mix.erts)),
            ),
            ("EMU", "beam".to_owned()),
            ("PROGNAME", "erl".to_owned()),
            ("ROOTDIR", place.prefix.to_string()),
            ("RELEASE_NAME", name.clone()),
            ("RELEASE_VSN", version.clone()),
        ];
        let of_mix = [
            ("RELEASE_BOOT_SCRIPT", self.boot_file.clone()),
            ("RELEASE_BOOT_SCRIPT_CLEAN", "start_clean".to_owned()),
            ("RELEASE_COMMAND", "start".to_owned()),
            ("RELEASE_DISTRIBUTION", "none".to_owned()),
            ("RELEASE_MODE", "embedded".to_owned()),
            ("RELEASE_NODE", name.clone()),
            ("RELEASE_PROG", name.clone()),
            ("RELEASE_REMOTE_VM_ARGS", place.version("remote.vm.args")),
            ("RELEASE_ROOT", place.prefix.to_string()),
            ("RELEASE_SYS_CONFIG", place.version("sys")),
            ("RELEASE_VM_ARGS", place.version(self.arguments_name())),
        ];
        let of_mix = of_mix.into_iter().filter(|_| !place.mix.is_relx);
        let all = erlexec.into_iter().chain(of_mix);
        all.map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn arguments_name(&self) -> &'static str {
        match self.arguments.is_some() {
            true => DIRECT_ARGUMENTS,
            false => VM_ARGUMENTS,
        }
    }

    fn command(&self, place: &Place<'_>, environment: &[(String, String)]) -> Vec<String> {
        let value = |wanted: &str| {
            let found = environment.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.clone())
        };
        let boot = value("RELEASE_BOOT_SCRIPT").unwrap_or_else(|| self.boot_file.clone());
        let config = value("RELEASE_SYS_CONFIG").unwrap_or_else(|| place.version("sys"));
        let vm_arguments = value("RELEASE_VM_ARGS");
        let vm_arguments = vm_arguments.unwrap_or_else(|| place.version(self.arguments_name()));
        let mut words = vec![place.below(&format!("erts-{}/bin/erlexec", place.mix.erts))];
        words.extend(self.flags.iter().map(|word| match word.strip_prefix('$') {
            Some(variable) => value(variable).unwrap_or_default(),
            None => word.clone(),
        }));
        let paths = [
            ("-config", config),
            ("-boot", place.version(&boot)),
            ("-boot_var", self.boot_variable.clone()),
        ];
        words.extend(
            paths
                .into_iter()
                .flat_map(|(flag, path)| [flag.to_owned(), path]),
        );
        words.extend([place.below("lib"), "-args_file".to_owned(), vm_arguments]);
        if self.has_os_mon {
            for supervisor in SUPERVISORS {
                words.extend(["-os_mon", supervisor, "false"].map(str::to_owned));
            }
        }
        words.extend(self.rest.iter().map(|word| (*word).to_owned()));
        words
    }
}

/// Where the release lies in the image.
struct Place<'a> {
    prefix: &'a ImagePath,
    mix: &'a MixRelease,
}

impl Place<'_> {
    fn below(&self, path: &str) -> String {
        let prefix = self.prefix.to_string();
        format!("{}/{path}", prefix.trim_end_matches('/'))
    }

    fn version(&self, name: &str) -> String {
        self.below(&format!("releases/{}/{name}", self.mix.version))
    }
}

#[cfg(test)]
mod tests;
