//! Does the command start? The way of the kernel, from the configuration to
//! the program: `PATH`, links, rights, the first line of scripts.

use imgbuild_oci::entry::{EntryKind, Member};
use imgbuild_oci::path::{ImagePath, escaped};

use super::identity::{EXECUTE, READ};
use super::subject::Subject;
use crate::closure::{runs_on, wrong_architecture};
use crate::contents::{End, can_run, first_bytes, is_executable};
use crate::elf::{Elf, ElfKind};
use crate::finding::{Finding, Rule};
use crate::programs::{carriage_return, interpreter_missing};
use crate::script::{MAX_DEPTH, MAX_LINE, Shebang};

/// The directories that an engine mounts over the image in every container.
const OF_ENGINES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// The programs that start with every container, and findings about them.
#[derive(Debug, Default)]
pub(super) struct Started {
    pub(super) findings: Vec<Finding>,
    /// ELF files that the kernel starts, at paths without links.
    pub(super) programs: Vec<ImagePath>,
}

/// Follows the command and the health check.
pub(super) fn check(subject: &Subject<'_>) -> Started {
    let mut started = Started::default();
    if let Some(command) = subject.words().first() {
        started = follow(subject, command);
    }
    if let Some(check) = &subject.config.healthcheck
        && let [kind, command, ..] = check.test.as_slice()
    {
        let shell = || subject.config.others.get("Shell")?.get(0)?.as_str();
        let command = match kind.as_str() {
            "CMD" => command,
            "CMD-SHELL" => shell().unwrap_or("/bin/sh"),
            _ => return started,
        };
        let followed = follow(subject, command);
        let broken = followed.findings.into_iter().map(as_healthcheck);
        started.findings.extend(broken);
    }
    started
}

/// A container whose health check cannot run starts all the same.
fn as_healthcheck(finding: Finding) -> Finding {
    let reason = format!("the health check cannot run: {}", finding.reason);
    Finding {
        command: finding.command,
        ..Finding::warning(Rule::HealthcheckBroken, finding.path.as_ref(), reason)
    }
}

/// Follows one command, a name or a path.
pub(super) fn follow(subject: &Subject<'_>, command: &str) -> Started {
    let started = Started::default();
    let mut walk = CommandWalk {
        subject,
        command,
        started,
    };
    if command.contains('/') {
        if let Some(path) = subject.path(command) {
            walk.exec(&path);
        }
    } else {
        match walk.in_path(command) {
            Ok(path) => walk.exec(&path),
            Err(reason) => walk.error(Rule::CommandNotInPath, None, &reason),
        }
    }
    walk.started
}

struct CommandWalk<'a> {
    subject: &'a Subject<'a>,
    command: &'a str,
    started: Started,
}

impl<'a> CommandWalk<'a> {
    /// Finds the first executable file of that name.
    fn in_path(&self, name: &str) -> Result<ImagePath, String> {
        let mut found = None;
        for (path, file) in self.subject.in_path(name) {
            if is_executable(&file.entry) {
                return Ok(path);
            }
            found.get_or_insert(path);
        }
        let directories = self.subject.search_path();
        let names: Vec<String> = directories.iter().map(|path| format!("`{path}`")).collect();
        Err(match found {
            Some(path) => format!("`{path}`, the only `{name}` in `PATH`, is not executable"),
            None => format!("no directory of `PATH` has `{name}`: {}", names.join(", ")),
        })
    }

    fn error(&mut self, rule: Rule, path: Option<&ImagePath>, reason: &str) {
        let command = self.command;
        let reason = format!("the command `{command}` cannot run: {reason}");
        let mut finding = Finding::error(rule, path, reason);
        finding.command = Some(command.to_owned());
        self.started.findings.push(finding);
    }

    /// Starts the command itself.
    fn exec(&mut self, path: &ImagePath) {
        if OF_ENGINES.iter().any(|top| is_below(path, top)) {
            return;
        }
        let member = match self.subject.contents.resolve(path) {
            End::There(end) => self.subject.contents.get(&end),
            other => return self.nothing(path, &other),
        };
        let Some(member) = member.filter(|it| it.entry.kind != EntryKind::Directory) else {
            let reason = format!("`{path}` is a directory");
            return self.error(Rule::CommandDirectory, Some(path), &reason);
        };
        let mode = member.entry.mode;
        if mode & 0o111 == 0 {
            if member.content.is_some() && !can_run(member) {
                // The bit alone would not help.
                return self.load(member, 0);
            }
            let reason = format!("`{path}` is not executable: its mode is {mode:04o}");
            return self.error(Rule::CommandNotExecutable, Some(path), &reason);
        }
        self.check_rights(path, member, EXECUTE);
        self.load(member, 0);
    }

    fn nothing(&mut self, path: &ImagePath, end: &End) {
        let link = self.subject.at(path).map(|member| &member.entry.kind);
        let (rule, fault) = match (link, end) {
            (Some(EntryKind::Symlink { target }), End::Nothing(_)) => {
                let fault = format!("is a dangling symlink to `{}`", escaped(target));
                (Rule::CommandDangling, fault)
            }
            (_, End::Loop) => (Rule::CommandDangling, "is a symlink loop".to_owned()),
            _ => (
                Rule::CommandMissing,
                "does not exist in the image".to_owned(),
            ),
        };
        self.error(rule, Some(path), &format!("`{path}` {fault}"));
    }

    /// Loads a file that may be executed, as the kernel does.
    fn load(&mut self, member: &'a Member, depth: usize) {
        let path = &member.entry.path;
        if let Some(elf) = self.subject.elf(path) {
            return self.load_elf(path, &elf);
        }
        let content = self.subject.contents.file(path);
        let Some(content) = content.and_then(|file| file.content.as_ref()) else {
            return;
        };
        let head = first_bytes(content, MAX_LINE);
        if head.is_empty() && member.entry.content_size() > 0 {
            return;
        }
        match Shebang::parse(&head) {
            Some(shebang) => self.load_script(member, &shebang, depth),
            None if head.starts_with(b"\x7fELF") => {}
            None => {
                let reason =
                    format!("`{path}` is neither a program nor a script with a shebang line");
                self.error(Rule::CommandFormat, Some(path), &reason);
            }
        }
    }

    fn load_elf(&mut self, path: &ImagePath, elf: &Elf) {
        if elf.kind == ElfKind::Other {
            let reason = format!("`{path}` is an ELF file, but not a program");
            return self.error(Rule::CommandFormat, Some(path), &reason);
        }
        self.started.programs.push(path.clone());
        let platform = self.subject.platform;
        let architecture = elf.architecture();
        if let Some(architecture) = architecture.filter(|its| !runs_on(*its, platform)) {
            let finding = wrong_architecture(path, architecture, platform);
            self.started.findings.push(finding);
        }
        // A loader that is there must be one that the user can start.
        let interpreter = elf.interpreter.as_deref().map(ImagePath::parse);
        if let Some(Ok(interpreter)) = interpreter
            && let Some(loader) = self.subject.contents.file(&interpreter)
        {
            self.check_rights(&interpreter, loader, EXECUTE);
        }
    }

    fn load_script(&mut self, member: &'a Member, shebang: &Shebang, depth: usize) {
        let script = &member.entry.path;
        self.check_rights(script, member, READ);
        if shebang.ends_with_carriage_return {
            let finding = carriage_return(script, shebang);
            return self.started.findings.push(finding);
        }
        let interpreter = &shebang.interpreter;
        let is_loaded = self.interpret(interpreter, depth);
        if !is_loaded {
            let finding = interpreter_missing(script, shebang, interpreter);
            return self.started.findings.push(finding);
        }
        let Some(name) = shebang.looked_up() else {
            return;
        };
        let path = if name.contains('/') {
            Some(name.clone())
        } else {
            self.in_path(&name).ok().map(|path| path.to_string())
        };
        if !path.is_some_and(|path| self.interpret(&path, depth)) {
            let finding = interpreter_missing(script, shebang, &name);
            self.started.findings.push(finding);
        }
    }

    /// Loads the interpreter of a script; returns whether it is there.
    fn interpret(&mut self, interpreter: &str, depth: usize) -> bool {
        let Some(path) = self.subject.path(interpreter) else {
            return true;
        };
        if OF_ENGINES.iter().any(|top| is_below(&path, top)) {
            return true;
        }
        let Some(member) = self.subject.contents.file(&path) else {
            return false;
        };
        self.check_rights(&path, member, EXECUTE);
        if depth < MAX_DEPTH {
            self.load(member, depth + 1);
        }
        true
    }

    /// Says what the image's user may not do with a file, or on the way to it.
    fn check_rights(&mut self, path: &ImagePath, member: &'a Member, bits: u32) {
        if let Some(identity) = &self.subject.identity
            && let Some((entry, reason)) =
                identity.refusal(&self.subject.contents, path, member, bits)
        {
            self.error(Rule::CommandForbidden, Some(&entry.path), &reason);
        }
    }
}

pub(super) fn is_below(path: &ImagePath, top: &str) -> bool {
    ImagePath::parse(top).is_ok_and(|top| path.starts_with(&top))
}
