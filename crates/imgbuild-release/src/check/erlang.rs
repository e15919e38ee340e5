//! Releases of Erlang and Elixir that cannot start: what runs them is not
//! there, or what they start with.
//!
//! Without the Erlang runtime they start the `erl` that `PATH` has.
//! `mix release` with `include_erts: false` leaves out ERTS and the
//! applications of Erlang/OTP, and its script runs `erl`. So does relx with
//! `{include_erts, false}`, whose script asks `erl` where its `erlexec` is.
//! What `erl` starts is `$ROOTDIR/erts-VSN/bin/erlexec`, whatever else lies
//! beside it.
//!
//! The paths of the files with which a release starts (the boot file, the
//! configuration, the arguments of the virtual machine) are in the arguments of
//! `erlexec`, or in the scripts that `mix release` and relx write, with the
//! variables that change it.

use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::contents::is_executable;
use crate::finding::{Finding, Rule, Severity};
use crate::programs::script_text;

/// The file with the versions of ERTS and of the release that start.
pub(super) const START: &[u8] = b"start_erl.data";

/// The program that starts a release without a runtime of its own.
const ERL: &str = "erl";

/// The program that `erl` and the scripts of relx start.
const ERLEXEC: &str = "erlexec";

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

/// A release of the image that has a file of its versions.
struct ErlangRelease {
    root: ImagePath,
    /// The version of ERTS that it wants.
    erts: String,
    version: String,
    /// The script by which containers start it, if they do.
    script: Option<StartScript>,
}

/// The start script of a release.
struct StartScript {
    name: String,
    text: String,
    /// The command that it is given; `None` when another script gives it.
    verb: Option<String>,
    /// The text of that one.
    wrapper: String,
}

/// Names the releases that cannot start. Returns with that the programs of their
/// runtimes that start with every container.
pub(super) fn check(subject: &Subject<'_>) -> (Vec<ImagePath>, Vec<Finding>) {
    let words = subject.words();
    let (mut programs, mut findings) = (Vec::new(), Vec::new());
    findings.extend(of_command(subject, &words).into_iter().flatten());
    let members = subject.members();
    let starts = members.filter(|member| member.entry.path.file_name() == START);
    for release in starts.filter_map(|start| release(subject, &start.entry.path, &words)) {
        findings.extend(runtime(subject, &release));
        findings.extend(of_script(subject, &release));
        let runtime = release.below(&format!("erts-{}/bin/", release.erts));
        if release.script.is_some() || words.first().is_some_and(|it| it.starts_with(&runtime)) {
            let names = [ERLEXEC, "beam.smp", "erl_child_setup"];
            let paths = names.map(|name| ImagePath::parse(format!("{runtime}{name}")));
            programs.extend(paths.into_iter().flatten());
        }
    }
    (programs, findings)
}

fn release(subject: &Subject<'_>, start: &ImagePath, words: &[String]) -> Option<ErlangRelease> {
    let root = root(start)?;
    let content = subject.contents.file(start)?.content.as_ref()?;
    let text = content.first_bytes(MAX_START_BYTES).ok()?;
    let text = String::from_utf8(text).ok()?;
    let mut versions = text.split_whitespace().map(str::to_owned);
    Some(ErlangRelease {
        erts: versions.next()?,
        version: versions.next()?,
        script: script(subject, &root, words),
        root,
    })
}

impl ErlangRelease {
    fn below(&self, path: &str) -> String {
        let root = self.root.to_string();
        format!("{}/{path}", root.trim_end_matches('/'))
    }
}

/// Says that nothing is there which could run it.
fn runtime(subject: &Subject<'_>, release: &ErlangRelease) -> Option<Finding> {
    let (root, version) = (&release.root, &release.erts);
    if subject.has_file(&release.below(&format!("erts-{version}/bin/{ERLEXEC}"))) {
        return None;
    }
    let reason = match in_path(subject) {
        None => "no directory of `PATH` has `erl`".to_owned(),
        Some((erl, member)) => {
            let missing = missing_machine(subject, member)?;
            format!("`{erl}` starts `{missing}`, which does not exist")
        }
    };
    let severity = if release.script.is_some() && !is_elsewhere(subject) {
        Severity::Error
    } else {
        Severity::Warning
    };
    let reason =
        format!("the release at `{root}` has no Erlang runtime (ERTS {version}), and {reason}");
    let rule = Rule::ErlangMissing;
    Some(Finding::new(rule, severity, Some(root), reason))
}

/// The file has two words.
pub(super) const MAX_START_BYTES: u64 = 4096;

/// Returns the directory of the release that has `releases/start_erl.data`.
fn root(start: &ImagePath) -> Option<ImagePath> {
    let releases = start.parent()?;
    (releases.file_name() == b"releases").then_some(())?;
    releases.parent()
}

/// Returns the `erl` that `PATH` has.
fn in_path<'a>(subject: &Subject<'a>) -> Option<(ImagePath, &'a Member)> {
    let mut found = subject.in_path(ERL);
    found.find(|(_, member)| is_executable(&member.entry))
}

/// Returns whether directories that are not in `PATH` have an `erl`, as one
/// that the release's `env.sh` may add to it.
fn is_elsewhere(subject: &Subject<'_>) -> bool {
    let known = subject.search_path();
    let mut members = subject
        .members()
        .chain(subject.contents.base)
        .filter(|member| member.entry.path.file_name() == ERL.as_bytes());
    members.any(|member| {
        let parent = member.entry.path.parent();
        is_executable(&member.entry) && !parent.is_some_and(|parent| known.contains(&parent))
    })
}

/// Returns the virtual machine that an installed `erl` starts, when it is not
/// there. The script of another kind of installation is not read.
fn missing_machine(subject: &Subject<'_>, erl: &Member) -> Option<ImagePath> {
    let text = script_text(erl.content.as_ref()?)?;
    let machine = ImagePath::parse(machine(&text)?).ok()?;
    let is_there = subject.contents.file(&machine).is_some();
    (!is_there).then_some(machine)
}

/// Reads `ROOTDIR=/…` and `BINDIR="$ROOTDIR/erts-VSN/bin"` of the script that
/// an installation has as `erl`.
fn machine(text: &str) -> Option<String> {
    let value = |name: &str| {
        let mut values = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix(name))
            .map(|value| value.trim_matches('"'));
        values.next_back()
    };
    let root = value("ROOTDIR=").filter(|root| root.starts_with('/'))?;
    let directory = value("BINDIR=")?.strip_prefix("$ROOTDIR/")?;
    let is_plain = !root.contains(['$', '`']) && !directory.contains(['$', '`']);
    is_plain.then(|| format!("{root}/{directory}/{ERLEXEC}"))
}

/// Returns the script by which containers start the release at `root`: that
/// of its `bin` which starts the virtual machine, or another one of `bin` that
/// starts it.
fn script(subject: &Subject<'_>, root: &ImagePath, words: &[String]) -> Option<StartScript> {
    let (command, arguments) = words.split_first()?;
    let path = subject.path(command)?;
    let verb = arguments.first();
    // It is the one that needs no virtual machine.
    if verb.is_some_and(|verb| verb == "version") {
        return None;
    }
    let bin = root.join("bin").ok()?;
    let text = text(subject, &bin, &path)?;
    let script = |path: &ImagePath, text: String| StartScript {
        name: String::from_utf8_lossy(path.file_name()).into_owned(),
        text,
        verb: verb.cloned(),
        wrapper: String::new(),
    };
    if starts_machine(&text) {
        return Some(script(&path, text));
    }
    let words = text.split_whitespace();
    let others = words.filter_map(|word| bin.join(word.strip_prefix("./")?).ok());
    let mut own = others.filter_map(|path| {
        let own = self::text(subject, &bin, &path).filter(|text| starts_machine(text))?;
        Some(script(&path, own))
    });
    let own = own.next()?;
    // The wrapper decides on the command.
    let starts = text.contains(" start").then_some("start");
    Some(StartScript {
        verb: starts.map(str::to_owned).or(own.verb),
        wrapper: text,
        ..own
    })
}

/// Returns the text of a script in `bin`.
fn text(subject: &Subject<'_>, bin: &ImagePath, path: &ImagePath) -> Option<String> {
    let member = subject.contents.file(path)?;
    let is_there = member.entry.path.parent().as_ref() == Some(bin);
    is_there.then_some(())?;
    script_text(member.content.as_ref()?)
}

/// The script of `mix release` reads which version starts; those of relx start
/// `erlexec` themselves.
fn starts_machine(text: &str) -> bool {
    text.contains("start_erl.data") || text.contains(ERLEXEC)
}

/// Names what the command of an image gives to `erlexec`, and is not there.
fn of_command(subject: &Subject<'_>, words: &[String]) -> Option<Vec<Finding>> {
    let (command, arguments) = words.split_first()?;
    let command = ImagePath::parse(command).ok()?;
    (command.file_name() == ERLEXEC.as_bytes()).then_some(())?;
    // Its path is in `erts-VSN/bin`.
    let root = command.ancestors().nth(2)?;
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
    let findings = absolute.filter_map(|path| missing(subject, &root, &[path]));
    Some(findings.collect())
}

/// Names what the start script of a release reads, and is not there.
fn of_script(subject: &Subject<'_>, release: &ErlangRelease) -> Vec<Finding> {
    let Some(script) = &release.script else {
        return Vec::new();
    };
    let starts = || script.verb.as_deref().is_none_or(|verb| verb == "start");
    let candidates = if script.text.contains("VMARGS_PATH") {
        of_relx(subject, release, &script.name, script.verb.as_deref())
    } else if script.text.contains("RELEASE_VM_ARGS") && starts() {
        let paths = of_mix(subject, release, &script.wrapper).into_iter();
        paths.map(|path| vec![path]).collect()
    } else {
        Vec::new()
    };
    candidates
        .iter()
        .filter_map(|paths| missing(subject, &release.root, paths))
        .collect()
}

fn of_mix(subject: &Subject<'_>, release: &ErlangRelease, wrapper: &str) -> Vec<String> {
    let version = subject.variable("RELEASE_VSN").unwrap_or(&release.version);
    let below = |name: &str| release.below(&format!("releases/{version}/{name}"));
    let environment = below("env.sh");
    let text = ImagePath::parse(&environment).ok();
    let file = text.and_then(|path| subject.contents.file(&path));
    let mut files = vec![below("elixir")];
    let Some(file) = file else {
        files.push(environment);
        return files;
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
    let [boot, config, arguments] = NAMED.map(|name| subject.variable(name));
    let paths = [
        below(&format!("{}.boot", boot.unwrap_or("start"))),
        config.map_or_else(|| below("sys.config"), |path| format!("{path}.config")),
        arguments.map_or_else(|| below("vm.args"), str::to_owned),
    ];
    let known = NAMED.iter().zip(paths).filter(|(name, _)| !sets(name));
    files.extend(known.map(|(_, path)| path));
    files
}

/// Each a list of paths, of which one must be there.
fn of_relx(
    subject: &Subject<'_>,
    release: &ErlangRelease,
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
    let path = subject.path(paths.first()?)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_installed_erl_starts_is_read_off_its_script() {
        let old = "#!/bin/sh\nROOTDIR=\"/opt/erlang\"\nBINDIR=$ROOTDIR/erts-9.3/bin\n";
        let new = "#!/bin/sh\nif true\nthen\n    ROOTDIR=/usr/lib/erlang\nfi\nBINDIR=\"$ROOTDIR/erts-13.1.5/bin\"\n";
        for (text, expected) in [
            (old, Some("/opt/erlang/erts-9.3/bin/erlexec")),
            (new, Some("/usr/lib/erlang/erts-13.1.5/bin/erlexec")),
            ("#!/bin/sh\nROOTDIR=$(pwd)\nBINDIR=$ROOTDIR/bin\n", None),
            ("#!/bin/sh\nexec /opt/real/erl \"$@\"\n", None),
        ] {
            assert_eq!(machine(text).as_deref(), expected, "{text}");
        }
    }
}
