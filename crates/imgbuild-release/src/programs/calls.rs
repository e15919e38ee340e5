//! Programs that scripts call and that an image does not have.

use std::collections::BTreeSet;

use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use super::{Programs, script_text};
use crate::contents::is_executable;
use crate::finding::{Finding, Rule};
use crate::script::called_programs;

/// Shell words that are programs as well, and work without them.
const BUILTINS: [&str; 17] = [
    "[", "cd", "command", "echo", "eval", "exec", "exit", "export", "false", "kill", "printf",
    "pwd", "read", "set", "test", "true", "type",
];

/// Returns the programs that a script calls, if it is one that can run.
pub(crate) fn calls_of(member: &Member) -> Option<BTreeSet<String>> {
    if !is_executable(&member.entry) && !member.entry.path.file_name().ends_with(b".sh") {
        return None;
    }
    let text = script_text(member.content.as_ref()?)?;
    Some(called_programs(&text))
}

impl Programs<'_> {
    /// Warns of the programs that a script seems to call, that the host has
    /// and the image does not.
    pub(crate) fn warn_of_missing_calls(&mut self, member: &Member) {
        if let Some(calls) = calls_of(member) {
            self.warn_of_missing(&member.entry.path, calls.iter().map(String::as_str));
        }
    }

    /// Warns as [`Programs::warn_of_missing_calls`] does, of some calls of a
    /// script.
    pub(crate) fn warn_of_missing<'c>(
        &mut self,
        script: &ImagePath,
        calls: impl Iterator<Item = &'c str>,
    ) {
        let missing: Vec<&str> = calls
            .filter(|name| !BUILTINS.contains(name))
            .filter(|name| !self.is_in_image(name) && self.is_on_host(name))
            .collect();
        if !missing.is_empty() {
            let reason = format!(
                "`{script}` seems to call programs that the image does not have: `{}`",
                missing.join("`, `")
            );
            let rule = Rule::ProgramMissing;
            self.findings
                .push(Finding::warning(rule, Some(script), reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted() {
        assert!(BUILTINS.is_sorted());
    }
}
