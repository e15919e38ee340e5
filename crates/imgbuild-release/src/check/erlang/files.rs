//! The files with which a release of Erlang or Elixir starts: the boot file,
//! the configuration, the arguments of the virtual machine.
//!
//! Their paths are in the arguments of `erlexec`, or in the scripts
//! that `mix release` and relx write, with the variables that change it.

use imgbuild_oci::path::ImagePath;

use super::super::subject::Subject;
use super::{ERLEXEC, ErlangRelease};
use crate::finding::{Finding, Rule, Severity};
use crate::programs::script_text;

/// The flags after which the arguments of the virtual machine end.
const ENDS: [&str; 2] = ["-extra", "--"];

/// The commands of relx's script that start the release in a container.
const OF_RELX: [&str; 3] = ["foreground", "console", "console_clean"];

/// The variables by which a user names other files.
const NAMED: [&str; 3] = [
    "RELEASE_BOOT_SCRIPT",
    "RELEASE_SYS_CONFIG",
    "RELEASE_VM_ARGS",
];

/// Names what the command of an image gives to `erlexec`, and is not there.
pub(super) fn of_command(subject: &Subject<'_>, words: &[String]) -> Vec<Finding> {
    let Some((command, arguments)) = words.split_first() else {
        return Vec::new();
    };
    let Ok(command) = ImagePath::parse(command) else {
        return Vec::new();
    };
    // Its path is in `erts-VSN/bin`.
    let root = command.ancestors().nth(2);
    let Some(root) = root.filter(|_| command.file_name() == ERLEXEC.as_bytes()) else {
        return Vec::new();
    };
    let is_own = |word: &&String| !ENDS.contains(&word.as_str());
    let own: Vec<&String> = arguments.iter().take_while(is_own).collect();
    let files = own.windows(2).filter_map(|pair| {
        let path = pair[1];
        match pair[0].as_str() {
            // What a release that restarts writes before it is read.
            "-config" if path.starts_with("/tmp/") => None,
            "-config" if path.ends_with(".config") => Some(path.clone()),
            "-config" => Some(format!("{path}.config")),
            "-boot" => Some(format!("{path}.boot")),
            "-args_file" => Some(path.clone()),
            _ => None,
        }
    });
    let absolute = files.filter(|path| path.starts_with('/'));
    absolute
        .filter_map(|path| missing(subject, &root, &[path]))
        .collect()
}

/// Names what the start script of a release reads, and is not there.
pub(super) fn of_script(subject: &Subject<'_>, release: &ErlangRelease<'_>) -> Vec<Finding> {
    let Some(script) = &release.script else {
        return Vec::new();
    };
    let starts = || script.verb.as_deref().is_none_or(|verb| verb == "start");
    let candidates = if script.text.contains("VMARGS_PATH") {
        of_relx(subject, release, &script.name, script.verb.as_deref())
    } else if script.text.contains("RELEASE_VM_ARGS") && starts() {
        of_mix(subject, release, &script.wrapper)
    } else {
        Vec::new()
    };
    candidates
        .iter()
        .filter_map(|paths| missing(subject, release.root, paths))
        .collect()
}

/// Each a list of paths, of which one must be there.
fn of_mix(subject: &Subject<'_>, release: &ErlangRelease<'_>, wrapper: &str) -> Vec<Vec<String>> {
    let version = subject.variable("RELEASE_VSN").unwrap_or(&release.version);
    let below = |name: &str| release.below(&format!("releases/{version}/{name}"));
    let environment = below("env.sh");
    let text = ImagePath::parse(&environment).ok();
    let file = text.and_then(|path| subject.contents.file(&path));
    let mut files = vec![below("elixir")];
    let Some(file) = file else {
        files.push(environment);
        return files.into_iter().map(|path| vec![path]).collect();
    };
    // What cannot be read may set anything.
    let text = file.content.as_ref().and_then(script_text);
    let sets = |name: &str| {
        let lines = text
            .as_deref()
            .map(|text| text.lines().chain(wrapper.lines()));
        let is_set = |line: &str| !line.trim_start().starts_with('#') && line.contains(name);
        lines.is_none_or(|mut lines| lines.any(is_set))
    };
    let named = NAMED.map(|name| subject.variable(name));
    let [boot, config, arguments] = named;
    let paths = [
        below(&format!("{}.boot", boot.unwrap_or("start"))),
        config.map_or_else(|| below("sys.config"), |path| format!("{path}.config")),
        arguments.map_or_else(|| below("vm.args"), str::to_owned),
    ];
    let known = NAMED.iter().zip(paths).filter(|(name, _)| !sets(name));
    files.extend(known.map(|(_, path)| path));
    files.into_iter().map(|path| vec![path]).collect()
}

fn of_relx(
    subject: &Subject<'_>,
    release: &ErlangRelease<'_>,
    name: &str,
    verb: Option<&str>,
) -> Vec<Vec<String>> {
    if !verb.is_some_and(|verb| OF_RELX.contains(&verb)) {
        return Vec::new();
    }
    let below = |name: &str| release.below(&format!("releases/{}/{name}", release.version));
    let read = |variable: &str, name: &str| {
        let paths = match subject.variable(variable) {
            Some(path) if !path.is_empty() => vec![path.to_owned()],
            _ => vec![below(name), release.below(name)],
        };
        let endings = ["", ".src", ".orig"];
        let each = paths
            .iter()
            .flat_map(|path| endings.map(|ending| format!("{path}{ending}")));
        each.collect()
    };
    vec![
        vec![below("start.boot"), below(&format!("{name}.boot"))],
        read("RELX_CONFIG_PATH", "sys.config"),
        read("VMARGS_PATH", "vm.args"),
    ]
}

/// Says that none of the paths, of which the first is the usual one, is there.
/// A file outside of the release may be mounted.
fn missing(subject: &Subject<'_>, root: &ImagePath, paths: &[String]) -> Option<Finding> {
    if paths.iter().any(|path| subject.has_file(path)) {
        return None;
    }
    let path = match paths.first()? {
        path if path.starts_with('/') => ImagePath::parse(path).ok()?,
        path => subject.working_directory().join(path).ok()?,
    };
    if subject.contents.file(&path).is_some() {
        return None;
    }
    let reason = format!("the release at `{root}` starts with `{path}`, which does not exist");
    let severity = if path.starts_with(root) {
        Severity::Error
    } else {
        Severity::Warning
    };
    let rule = Rule::ReleaseIncomplete;
    Some(Finding::new(rule, severity, Some(&path), reason))
}
