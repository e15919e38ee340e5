//! Scripts: their shebang lines, and the programs that they call.

mod shell;

use shell::SHELLS;
pub(crate) use shell::{COMPUTED, Calls, MAX_CALLS, calls};

/// The bytes of a file that the kernel reads to find its interpreter
/// (`BINPRM_BUF_SIZE`, include/uapi/linux/binfmts.h).
pub(crate) const MAX_LINE: u64 = 256;

/// The number of interpreters that may be scripts themselves on Linux
/// ([execve(2)]: the limit is one of the kernel since 2.6.28).
///
/// [execve(2)]: https://man7.org/linux/man-pages/man2/execve.2.html
pub(crate) const MAX_DEPTH: usize = 4;

/// The first line of a script, as the kernel reads it ([execve(2)]).
///
/// [execve(2)]: https://man7.org/linux/man-pages/man2/execve.2.html
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shebang {
    pub(crate) interpreter: String,
    /// All that follows, as the one argument that it is.
    pub(crate) argument: Option<String>,
    /// The line, to be shown.
    pub(crate) line: String,
    /// Set if the line ends in a carriage return, which the kernel takes as a
    /// part of the name.
    pub(crate) ends_with_carriage_return: bool,
    /// Set if the kernel does not read the whole line.
    pub(crate) is_cut: bool,
}

impl Shebang {
    /// Reads the first line of a file that starts with `head`; `None` when
    /// it is not a script.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let line = head.strip_prefix(b"#!")?;
        let line = line.split(|byte| *byte == b'\n').next()?;
        let shown = String::from_utf8_lossy(line);
        let text = shown.trim_end_matches('\r');
        let words = text.trim_matches([' ', '\t']);
        let (interpreter, argument) = match words.split_once([' ', '\t']) {
            Some((interpreter, argument)) => (interpreter, Some(argument.trim_start())),
            None => (words, None),
        };
        if interpreter.is_empty() {
            return None;
        }
        Some(Self {
            interpreter: interpreter.to_owned(),
            argument: argument.map(str::to_owned),
            line: format!("#!{text}"),
            ends_with_carriage_return: text.len() < shown.len(),
            is_cut: line.len() as u64 + 2 >= MAX_LINE,
        })
    }

    /// Returns whether a shell runs the script.
    pub(crate) fn is_shell(&self) -> bool {
        let name = self.looked_up();
        let name = name.as_deref().or(self.interpreter.rsplit('/').next());
        let name = name
            .filter(|name| *name != "busybox")
            .or(self.argument.as_deref());
        name.is_some_and(|name| SHELLS.contains(&name))
    }

    /// Returns the program that `env` is to look up, when it is `env` that
    /// runs the script ([env(1)]).
    ///
    /// [env(1)]: https://man7.org/linux/man-pages/man1/env.1.html
    pub(crate) fn looked_up(&self) -> Option<String> {
        if self.interpreter.rsplit('/').next() != Some("env") {
            return None;
        }
        let argument = self.argument.as_deref()?;
        let Some(words) = split_string(argument) else {
            // Without `-S`, all of it is one name.
            return Some(argument.to_owned());
        };
        let mut words = words.split([' ', '\t']).filter(|word| !word.is_empty());
        while let Some(word) = words.next() {
            match word {
                "-u" | "-C" | "--unset" | "--chdir" => drop(words.next()),
                _ if word.starts_with('-') || word.contains('=') => {}
                _ => return Some(word.trim_matches(['"', '\'']).to_owned()),
            }
        }
        None
    }
}

/// Returns the words that `env` splits itself: those of `-S`.
fn split_string(argument: &str) -> Option<&str> {
    if let Some(rest) = argument.strip_prefix("--split-string") {
        return Some(rest.trim_start_matches(['=', ' ', '\t']));
    }
    let flags = argument.strip_prefix('-')?;
    let position = flags.find('S')?;
    let are_flags = flags[..position]
        .chars()
        .all(|letter| "iv0".contains(letter));
    are_flags.then(|| &flags[position + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_read_as_the_kernel_reads_it() {
        for (head, interpreter, argument) in [
            ("#!/bin/sh\nset -e", "/bin/sh", None),
            ("#! /bin/sh", "/bin/sh", None),
            ("#!\t/bin/sh -e  \n", "/bin/sh", Some("-e")),
            (
                "#!/usr/bin/awk -f  -v x\n",
                "/usr/bin/awk",
                Some("-f  -v x"),
            ),
        ] {
            let shebang = Shebang::parse(head.as_bytes()).unwrap();
            let found = (shebang.interpreter.as_str(), shebang.argument.as_deref());
            assert_eq!(found, (interpreter, argument), "{head}");
            assert!(!shebang.ends_with_carriage_return);
        }
        for head in ["", "#", "#!", "#! \n/bin/sh", "/bin/sh", "\x7fELF"] {
            assert_eq!(Shebang::parse(head.as_bytes()), None, "{head}");
        }
    }

    #[test]
    fn line_ends_of_windows_are_seen() {
        let shebang = Shebang::parse(b"#!/bin/sh\r\nexit\r\n").unwrap();
        assert!(shebang.ends_with_carriage_return);
        assert_eq!(shebang.line, "#!/bin/sh");
    }

    #[test]
    fn shells_are_told_from_other_interpreters() {
        for (line, expected) in [
            ("#!/bin/sh -e", true),
            ("#!/usr/bin/env bash", true),
            ("#!/usr/bin/env -S bash -e", true),
            ("#!/bin/busybox sh", true),
            ("#!/usr/bin/python3", false),
            ("#!/usr/bin/env node", false),
        ] {
            let shebang = Shebang::parse(line.as_bytes()).unwrap();
            assert_eq!(shebang.is_shell(), expected, "{line}");
        }
    }

    #[test]
    fn env_looks_up_a_name() {
        for (line, name) in [
            ("#!/bin/sh", None),
            ("#!/usr/bin/env", None),
            ("#!/usr/bin/env bash", Some("bash")),
            ("#!/usr/bin/env bash -e", Some("bash -e")),
            ("#!/usr/bin/env -S bash -e", Some("bash")),
            ("#!/usr/bin/env -Sbash -e", Some("bash")),
            ("#!/usr/bin/env -iS -u HOME A=b node --x", Some("node")),
            ("#!/usr/bin/env --split-string=perl -w", Some("perl")),
        ] {
            let shebang = Shebang::parse(line.as_bytes()).unwrap();
            assert_eq!(shebang.looked_up().as_deref(), name, "{line}");
        }
    }
}
