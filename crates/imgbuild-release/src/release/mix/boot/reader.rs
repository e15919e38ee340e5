//! Reads off a release how it starts.

use std::path::Path;

use fs_err as fs;

use super::arguments::VmArguments;
use super::term::{self, FileCall};
use super::{BootProblem, Direct, VM_ARGUMENTS, script, temporary};
use crate::error::{Error, Result};
use crate::release::mix::MixRelease;
use crate::warning::Warning;

/// Reads the scripts of a release; `is_left_out` tells what the user does not
/// want of it, which then counts for nothing.
///
/// # Errors
///
/// With everything at once that only a shell could do.
pub(in crate::release::mix) fn read(
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
            restarting: self.restarting(),
            has_os_mon: false,
        })
    }

    /// Does what the start script does for a system that restarts after its
    /// configuration: it starts with a copy that can be written to.
    ///
    /// The configuration providers read and write the second file and have
    /// `init` start again, with the same flags: what they have written takes
    /// the place of what the first start reads.
    fn restarting(&mut self) -> Option<Vec<u8>> {
        let config = self.text(&self.version_path("sys.config"))?;
        if !config.contains(script::RUNTIME_CONFIG) {
            return None;
        }
        let path = self.version_path("start.boot");
        let boot = fs::read(self.root.join(&path)).ok()?;
        let [read, written] = temporary(self.mix).map(|path| format!("{path}.config"));
        let bytes = config.as_bytes();
        let before = [
            FileCall::Write { path: &read, bytes },
            FileCall::Rename {
                from: &written,
                to: &read,
            },
        ];
        let after = [
            FileCall::Delete { path: &read },
            FileCall::Write {
                path: &written,
                bytes,
            },
        ];
        let changed = term::with_calls(&boot, &before, &after);
        if changed.is_none() {
            self.problems.push(BootProblem::Restarts { path });
        }
        changed
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
            restarting: None,
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
