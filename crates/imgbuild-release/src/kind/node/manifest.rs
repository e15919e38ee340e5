//! `package.json`: the package, and the file that starts it ([the fields]).
//!
//! [the fields]: https://docs.npmjs.com/cli/configuring-npm/package-json

use std::path::{Component, Path};

use fs_err as fs;
use serde_json::Value;

use crate::error::NoStart;
use crate::release::facts::DirectoryFacts;

/// Options of node whose value is the next word.
const WITH_VALUE: [&str; 4] = ["--import", "--loader", "--require", "-r"];

/// The manifest of a package.
#[derive(Debug)]
pub(in crate::kind) struct PackageFile {
    fields: Value,
}

/// The command that starts a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::kind) struct Start {
    /// The variables that its script sets.
    pub(in crate::kind) variables: Vec<(String, String)>,
    /// The arguments of node.
    pub(in crate::kind) arguments: Vec<String>,
    /// The reason, in words.
    pub(in crate::kind) because: String,
    /// The command is that of the start script.
    pub(in crate::kind) is_script: bool,
}

impl PackageFile {
    pub(in crate::kind) fn read(root: &Path, facts: &DirectoryFacts) -> Option<Self> {
        let text = facts.text(&root.join("package.json"))?;
        let fields: Value = serde_json::from_str(&text).ok()?;
        fields.is_object().then_some(Self { fields })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// Returns its name without the scope.
    pub(in crate::kind) fn name(&self) -> Option<String> {
        let name = self.text("name")?.rsplit('/').next()?;
        (!name.is_empty()).then(|| name.to_owned())
    }

    /// Finds the file that starts the package at `root`: that of its start
    /// script, else `bin`, `main` or `exports`.
    pub(in crate::kind) fn start(
        &self,
        root: &Path,
        facts: &DirectoryFacts,
    ) -> Result<Option<Start>, NoStart> {
        let script = self.fields.pointer("/scripts/start");
        let script = script.and_then(Value::as_str);
        if let Some(script) = script.filter(|script| !script.trim().is_empty()) {
            return self.of_script(root, script, facts).map(Some);
        }
        let named = [
            ("bin", self.bin()),
            ("main", self.text("main")),
            ("exports", self.fields.get("exports").and_then(exported)),
        ];
        let found = named.into_iter().find_map(|(field, file)| {
            let file = existing(root, file?)?;
            let because = format!("`package.json` names `{file}` in `{field}`");
            Some(Start {
                variables: Vec::new(),
                arguments: vec![file],
                because,
                is_script: false,
            })
        });
        Ok(found)
    }

    /// Returns the only program of the package, or the one of its name.
    fn bin(&self) -> Option<&str> {
        let bin = self.fields.get("bin")?;
        let Some(several) = bin.as_object() else {
            return bin.as_str();
        };
        let named = self.name().and_then(|name| several.get(&name));
        let only = several.values().next().filter(|_| several.len() == 1);
        named.or(only)?.as_str()
    }

    /// Reads a start script that is `[NAME=VALUE …] node [OPTION …] FILE [ARGUMENT …]`.
    fn of_script(
        &self,
        root: &Path,
        script: &str,
        facts: &DirectoryFacts,
    ) -> Result<Start, NoStart> {
        let unusable = |fault: &str, words: Option<Vec<String>>| NoStart {
            reason: format!("the start script of `package.json` is `{script}`, {fault}"),
            words: words.unwrap_or_default(),
        };
        let not_node = "which is not `node FILE`";
        let words = words_of(script).ok_or_else(|| unusable(not_node, None))?;
        let count = words.iter().take_while(|word| is_assignment(word)).count();
        let (set, command) = words.split_at(count);
        let Some(arguments) = command.strip_prefix(&["node".to_owned()]) else {
            return Err(unusable(not_node, instead(root, command, facts)));
        };
        let position = file_position(arguments).ok_or_else(|| unusable(not_node, None))?;
        let named = match arguments[position].as_str() {
            "." | "./" => self.text("main").unwrap_or("index.js"),
            file => file,
        };
        let Some(file) = existing(root, named) else {
            let fault = format!("and `{named}` is not a file of the release");
            return Err(unusable(&fault, None));
        };
        let mut arguments = arguments.to_vec();
        arguments[position] = file;
        let pairs = set.iter().filter_map(|word| word.split_once('='));
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let variables = pairs.map(owned).collect();
        Ok(Start {
            variables,
            arguments,
            because: format!("the start script of `package.json` is `{script}`"),
            is_script: true,
        })
    }
}

/// Returns the file that `exports` names for programs that run in node.
fn exported(exports: &Value) -> Option<&str> {
    if let Some(text) = exports.as_str() {
        return Some(text);
    }
    let conditions = [".", "node", "import", "require", "default"];
    let mut named = conditions.iter().filter_map(|name| exports.get(name));
    named.find_map(exported)
}

/// Splits a command that no shell has to read.
fn words_of(script: &str) -> Option<Vec<String>> {
    if script.contains(|letter| "\"'|&;<>()$`\\*?[]{}~!#\n".contains(letter)) {
        return None;
    }
    // `cross-env` only sets variables, as a shell does.
    let words = script
        .split_whitespace()
        .filter(|word| *word != "cross-env");
    Some(words.map(str::to_owned).collect())
}

fn is_assignment(word: &str) -> bool {
    let name = word.split_once('=').map(|(name, _)| name);
    name.is_some_and(|name| !name.is_empty() && !name.starts_with('-') && !name.contains('/'))
}

/// Returns the place of the file among the arguments of node.
fn file_position(arguments: &[String]) -> Option<usize> {
    let mut position = 0;
    while arguments.get(position)?.starts_with('-') {
        let has_value = WITH_VALUE.contains(&arguments[position].as_str());
        position += 1 + usize::from(has_value);
    }
    Some(position)
}

/// Returns the path of a file of the package that node finds by `name`.
fn existing(root: &Path, name: &str) -> Option<String> {
    let name = name.trim_start_matches("./").trim_end_matches('/');
    let mut parts = Path::new(name).components();
    let is_below = parts.all(|part| matches!(part, Component::Normal(_)));
    let ways = ["", ".js", "/index.js"].map(|rest| format!("{name}{rest}"));
    let found = ways.into_iter().find(|way| root.join(way).is_file());
    found.filter(|_| is_below && !name.is_empty())
}

/// Returns the words that start a program of `node_modules` without its link,
/// which may be a script of a shell.
fn instead(root: &Path, command: &[String], facts: &DirectoryFacts) -> Option<Vec<String>> {
    let (program, rest) = command.split_first()?;
    let link = fs::read_link(root.join("node_modules/.bin").join(program)).ok();
    let linked = link.and_then(|link| Some(link.strip_prefix("..").ok()?.to_str()?.to_owned()));
    let of_package = || {
        let manifest = PackageFile::read(&root.join("node_modules").join(program), facts)?;
        let bin = manifest.bin()?.trim_start_matches("./").to_owned();
        Some(format!("{program}/{bin}"))
    };
    let file = format!("node_modules/{}", linked.or_else(of_package)?);
    let words = ["node".to_owned(), existing(root, &file)?];
    Some(words.into_iter().chain(rest.iter().cloned()).collect())
}

#[cfg(test)]
mod tests;
