//! The start of a release, read from its scripts.

use std::cell::OnceCell;
use std::path::Path;

use fs_err as fs;
use imgbuild_oci::path::ImagePath;

use super::arguments::without_shell;
use super::term::{self, FileCall};
use super::{Direct, VM_ARGUMENTS, script, temporary};
use crate::error::{Error, Result};
use crate::kind::mix::{MixRelease, read_file};
use crate::pattern::Verdict;
use crate::release::selection::Selection;
use crate::warning::Warning;

/// Variables that the scripts read, and nothing else does.
const OF_SCRIPT: [&str; 2] = ["ELIXIR_ERL_OPTIONS", "RELEASE_VSN"];

/// The same of relx.
const OF_SCRIPT_OF_RELX: [&str; 4] = [
    "ERL_DIST_PORT",
    "RELX_CONFIG_PATH",
    "RELX_REPLACE_OS_VARS",
    "VMARGS_PATH",
];

/// Reads the scripts of a release.
///
/// # Errors
///
/// With everything at once that only a shell could do; when a file is too large.
pub(in crate::kind::mix) fn read(
    selection: &Selection<'_>,
    mix: &MixRelease,
) -> Result<(Direct, Vec<Warning>)> {
    let mut reader = BootReader {
        selection,
        mix,
        variables: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        too_large: OnceCell::new(),
    };
    let direct = reader.read();
    if let Some(error) = reader.too_large.take() {
        return Err(error);
    }
    match (direct, reader.problems) {
        (Some(direct), problems) if problems.is_empty() => Ok((direct, reader.warnings)),
        (_, problems) => Err(Error::NoDirectBoot(problems)),
    }
}

struct BootReader<'a> {
    selection: &'a Selection<'a>,
    mix: &'a MixRelease,
    /// The variables that `env.sh` sets.
    variables: Vec<(String, String)>,
    problems: Vec<String>,
    warnings: Vec<Warning>,
    /// The error of a file that is too large to be read.
    too_large: OnceCell<Error>,
}

impl BootReader<'_> {
    fn read(&mut self) -> Option<Direct> {
        if !self.mix.has_erts {
            let version = &self.mix.erts;
            self.problems.push(format!(
                "it has no Erlang runtime of its own: `erts-{version}` is missing"
            ));
        }
        let direct = if self.mix.is_relx {
            self.relx()
        } else {
            self.mix()
        };
        let mut direct = direct?;
        direct.arguments = self.vm_arguments();
        direct.has_os_mon = self.has_os_mon();
        if direct.has_os_mon {
            self.warn("`os_mon` of the release queries the system with a shell: without one, its `cpu_sup`, `disksup` and `memsup` are not started".to_owned());
        }
        let boot = format!("{}.boot", direct.boot_file);
        for (variable, name) in [
            ("RELEASE_BOOT_SCRIPT", boot.as_str()),
            ("RELEASE_SYS_CONFIG", "sys.config"),
        ] {
            let path = self.version_path(name);
            if self.named(variable).is_none() && self.bytes(&path).is_none() {
                self.miss(&path);
            }
        }
        self.warn_of_variables();
        Some(direct)
    }

    /// Returns the value of a variable of `mix release`'s script, if it is set:
    /// by the user, else by `env.sh`.
    fn named(&self, name: &str) -> Option<&str> {
        if self.mix.is_relx {
            return None;
        }
        let given = self.selection.options.variables.iter().rev();
        let mut all = given.chain(self.variables.iter().rev());
        let found = all.find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the path in the release of a file that a variable names in the
    /// image, else that of the one which is taken without it; `None` for a
    /// file that is not a part of the release.
    fn file(&self, variable: &str, ending: &str, name: &str) -> Option<String> {
        let Some(named) = self.named(variable) else {
            return Some(self.version_path(name));
        };
        let path = ImagePath::parse(format!("{named}{ending}")).ok()?;
        let mut below = path.as_bytes();
        if !self.selection.prefix.is_root() {
            below = below.strip_prefix(self.selection.prefix.as_bytes())?;
        }
        String::from_utf8(below.strip_prefix(b"/")?.to_vec()).ok()
    }

    /// Returns whether the user leaves a file out: it has no effect then.
    fn is_left_out(&self, path: &str) -> bool {
        let patterns = &self.selection.options.patterns;
        patterns.decide(Path::new(path), false) == Verdict::Excluded
    }

    fn miss(&mut self, path: &str) {
        let is_left_out = self.selection.root.path().join(path).exists() && self.is_left_out(path);
        self.problems.push(if is_left_out {
            format!("`{path}` is left out, but the virtual machine needs it to start")
        } else {
            format!("`{path}` is missing")
        });
    }

    fn mix(&mut self) -> Option<Direct> {
        let mut flags = self.parsed(&self.version_path("elixir"), script::elixir_flags)?;
        let name = format!("bin/{}", self.mix.name);
        flags.extend(self.parsed(&name, script::start_flags)?);
        let variables = self.lines(&self.version_path("env.sh"), |text| {
            script::variables(text.lines())
        });
        self.variables = variables.unwrap_or_default();
        let own = &self.mix.name;
        let server = self.lines("bin/server", |text| script::server(text, own));
        Some(Direct {
            flags,
            boot_variable: "RELEASE_LIB".to_owned(),
            rest: &["-extra", "--no-halt"],
            variables: self.variables.clone(),
            server,
            boot_file: "start".to_owned(),
            restarting: self.restarting(),
            ..Direct::default()
        })
    }

    /// Prepares a system that restarts after its configuration as the start
    /// script does: it starts with a writable copy.
    ///
    /// The configuration providers read and write the second file and have
    /// `init` start again, with the same flags: what they have written takes
    /// the place of what the first start reads.
    fn restarting(&mut self) -> Option<Vec<u8>> {
        let config = self.file("RELEASE_SYS_CONFIG", ".config", "sys.config")?;
        let config = self.text(&config)?;
        if !config.contains(script::RUNTIME_CONFIG) {
            return None;
        }
        let name = self.named("RELEASE_BOOT_SCRIPT").unwrap_or("start");
        let path = self.version_path(&format!("{name}.boot"));
        let boot = self.bytes(&path)?;
        let [read, written] = temporary(self.mix).map(|path| format!("{path}.config"));
        let bytes = config.as_bytes();
        let before = [
            FileCall::Write(&read, bytes),
            FileCall::Rename(&written, &read),
        ];
        let after = [FileCall::Delete(&read), FileCall::Write(&written, bytes)];
        let changed = term::with_calls(&boot, &before, &after);
        if changed.is_none() {
            self.problems.push(format!(
                "`reboot_system_after_config` is set, for which the start script copies the configuration; `{path}` is not a boot file that can do so"
            ));
        }
        changed
    }

    fn relx(&mut self) -> Option<Direct> {
        for name in ["vm.args.src", "sys.config.src"] {
            let path = self.version_path(name);
            if self.text(&path).is_some() {
                self.problems
                    .push(format!("the start script replaces variables in `{path}`"));
            }
        }
        let name = format!("bin/{}", self.mix.name);
        let boot_variable = self.parsed(&name, script::relx_boot_variable)?;
        let own = self.version_path(&format!("{}.boot", self.mix.name));
        let script = self.text(&name).unwrap_or_default();
        if script::has_hooks(&script) {
            self.problems
                .push(format!("`{name}` runs hooks before the virtual machine"));
        }
        let boot_file = if self.selection.root.path().join(own).is_file() {
            self.mix.name.clone()
        } else {
            "start".to_owned()
        };
        Some(Direct {
            flags: ["-noinput", "+Bd", "-mode", "embedded"]
                .map(str::to_owned)
                .to_vec(),
            boot_variable,
            rest: &["--"],
            boot_file,
            ..Direct::default()
        })
    }

    /// Reads a script of which everything must be known.
    fn parsed<T>(&mut self, path: &str, parse: impl Fn(&str) -> Option<T>) -> Option<T> {
        let found = self.text(path).and_then(|text| parse(&text));
        if found.is_none() {
            self.problems.push(format!(
                "`{path}` is not a script of `mix release` or relx, so its commands are unknown"
            ));
        }
        found
    }

    /// Reads a script that may be missing, line by line.
    fn lines<T>(&mut self, path: &str, parse: impl Fn(&str) -> Result<T, usize>) -> Option<T> {
        let found = parse(&self.text(path)?);
        if let Err(line) = &found {
            self.problems.push(format!(
                "line {line} of `{path}` does more than set a variable to a plain value"
            ));
        }
        found.ok()
    }

    /// Removes arguments that need a shell from `vm.args`, or from the file that
    /// the user names instead.
    fn vm_arguments(&mut self) -> Option<(String, String)> {
        let path = self.file("RELEASE_VM_ARGS", "", VM_ARGUMENTS)?;
        let Some(text) = self.text(&path) else {
            // A file that the user names may be an addition: the check sees it.
            if self.named("RELEASE_VM_ARGS").is_none() {
                self.miss(&path);
            }
            return None;
        };
        let (kept, dropped) = without_shell(&text);
        if dropped.is_empty() {
            return None;
        }
        let dropped = dropped.join("`, `");
        self.warn(format!(
            "`{path}` has arguments that need a shell and are left out: `{dropped}`"
        ));
        Some((path, kept))
    }

    fn warn(&mut self, text: String) {
        self.warnings.push(Warning::Other(text));
    }

    /// Warns of variables that have no effect or an unexpected one.
    fn warn_of_variables(&mut self) {
        let (mix, given) = (self.mix, &self.selection.options.variables);
        let names_node =
            |(name, value): &(String, String)| name == "RELEASE_DISTRIBUTION" && value != "none";
        let mut sources = Vec::new();
        if self.variables.iter().any(names_node) {
            sources.push(format!("`{}`", self.version_path("env.sh")));
        }
        if !mix.is_relx && given.iter().any(names_node) {
            sources.push("the environment of the image".to_owned());
        }
        for source in sources {
            self.warn(format!(
                "{source} sets `RELEASE_DISTRIBUTION`, which has no effect without a shell: name the node with `ERL_FLAGS` in a container's environment"
            ));
        }

        let names = if mix.is_relx {
            &OF_SCRIPT_OF_RELX[..]
        } else {
            &OF_SCRIPT[..]
        };
        let has_effect = |name: &str, value: &str| name == "RELEASE_VSN" && value == mix.version;
        for wanted in names {
            if given
                .iter()
                .any(|(name, value)| name == wanted && !has_effect(name, value))
            {
                self.warn(format!(
                    "the environment of the image sets `{wanted}`, which only the start script reads: it has no effect without a shell"
                ));
            }
        }

        let mode = self.named("RELEASE_MODE").unwrap_or("embedded");
        if !["embedded", "interactive"].contains(&mode) {
            self.warn(format!(
                "`RELEASE_MODE` is `{mode}`, neither `embedded` nor `interactive`: the virtual machine uses `interactive`"
            ));
        }
    }

    fn has_os_mon(&self) -> bool {
        let entries = fs::read_dir(self.selection.root.path().join("lib"))
            .into_iter()
            .flatten();
        let mut names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.any(|name| name.starts_with("os_mon-"))
    }

    fn version_path(&self, name: &str) -> String {
        format!("releases/{}/{name}", self.mix.version)
    }

    fn text(&self, path: &str) -> Option<String> {
        let bytes = self.bytes(path)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        if self.is_left_out(path) {
            return None;
        }
        match read_file(self.selection.root, path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.too_large.get_or_init(|| error);
                None
            }
        }
    }
}
