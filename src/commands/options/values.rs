//! Texts of flags, parsed into what the libraries take.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::PathBuf;

use imgbuild_oci::bounded;
use imgbuild_oci::entry::MAX_ID;
use imgbuild_oci::image::Healthcheck;
use imgbuild_oci::input;
use imgbuild_release::addition::Addition;
use imgbuild_release::plan::{Cleared, ConfigurationOptions, Field};
use imgbuild_release::release::CommandOptions;
use imgbuild_release::skeleton::UserName;

use crate::args::{BaseArguments, BuildArguments, ConfigurationArguments, must_exist, octal_mode};
use crate::failure::{Failure, Result};
use crate::ui::Ui;

pub(super) fn command(build: &BuildArguments) -> Result<CommandOptions> {
    let given = &build.configuration;
    Ok(CommandOptions {
        entrypoint: arguments("--entrypoint", &given.entrypoint)?,
        cmd: arguments("--cmd", &given.cmd)?,
        no_entrypoint: given.no_entrypoint,
        no_cmd: build.base.no_cmd,
    })
}

/// Returns the rest of the configuration.
pub(super) fn configuration(build: &BuildArguments, ui: &Ui) -> Result<ConfigurationOptions> {
    let given = &build.configuration;
    let (labels, removed_labels) = removed(&given.label);
    let (variables, removed_variables) = removed(&given.env);
    let mut exposed_ports = BTreeSet::new();
    for text in &given.expose {
        exposed_ports.extend(ports(text)?);
    }
    Ok(ConfigurationOptions {
        env: environment(&given.env_file, &variables, ui)?,
        locale: build.locale.first().cloned(),
        exposed_ports,
        working_dir: given.workdir.clone(),
        volumes: given.volume.iter().cloned().collect(),
        labels: pairs("--label", &labels)?,
        stop_signal: given.stop_signal.as_deref().map(stop_signal).transpose()?,
        healthcheck: healthcheck(given)?,
        cleared: Cleared {
            env: removed_variables,
            labels: removed_labels,
            fields: cleared(&build.base),
        },
    })
}

/// Parses `SRC:DST[:MODE]`. SRC may contain colons; DST starts with a slash.
pub(super) fn addition(text: &str) -> Result<Addition> {
    let error = |reason: &str| {
        Failure::of_flag("--add", text, reason).hint(
            "the form is `SRC:DST[:MODE]` with an absolute DST and an octal MODE, for example `0644`",
        )
    };

    let (rest, mode) = match text.rsplit_once(':') {
        Some((rest, mode)) if octal_mode(mode).is_some() && rest.contains(":/") => {
            (rest, octal_mode(mode))
        }
        _ => (text, None),
    };
    if mode.is_some_and(|mode| mode > 0o7777) {
        return Err(error("the mode is larger than 7777"));
    }

    let Some((source, destination)) = rest.rsplit_once(':') else {
        return Err(error("it has no path in the image"));
    };
    if source.is_empty() || !destination.starts_with('/') {
        return Err(error("the path in the image does not start with `/`"));
    }
    Ok(Addition {
        source: PathBuf::from(source),
        destination: destination.to_owned(),
        mode,
    })
}

pub(super) fn check_program(text: &String) -> Result<()> {
    if text.is_empty() || (text.contains('/') && !text.starts_with('/')) {
        let failure = Failure::command_line(format!("cannot use `--program {text}`"));
        return Err(
            failure.hint("give the name of a program, for example `jq`, or its absolute path")
        );
    }
    Ok(())
}

pub(super) fn check_locale(name: &String) -> Result<()> {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_.@-".contains(letter);
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.chars().all(is_letter)
    {
        let failure = Failure::command_line(format!("cannot use `--locale {name}`"));
        return Err(failure.hint("give the name of a locale, for example `de_DE.UTF-8`"));
    }
    Ok(())
}

/// Returns the arguments of a command: those of one JSON array, or all as they
/// are.
fn arguments(flag: &str, given: &[String]) -> Result<Option<Vec<String>>> {
    let [only] = given else {
        return Ok((!given.is_empty()).then(|| given.to_vec()));
    };
    if !only.trim_start().starts_with('[') {
        return Ok(Some(given.to_vec()));
    }
    match serde_json::from_str::<Vec<String>>(only) {
        Ok(words) if words.is_empty() => Err(Failure::of_flag(flag, only, "the array is empty")),
        Ok(words) => Ok(Some(words)),
        Err(error) => {
            let reason = format!("it is not a valid JSON array of strings: {error}");
            Err(Failure::of_flag(flag, only, &reason))
        }
    }
}

fn cleared(arguments: &BaseArguments) -> BTreeSet<Field> {
    let fields = [
        (arguments.no_expose, Field::ExposedPorts),
        (arguments.no_healthcheck, Field::Healthcheck),
        (arguments.no_stop_signal, Field::StopSignal),
        (arguments.no_user, Field::User),
        (arguments.no_volume, Field::Volumes),
        (arguments.no_workdir, Field::WorkingDir),
    ];
    let cleared = fields.iter().filter(|(is_cleared, _)| *is_cleared);
    cleared.map(|(_, field)| *field).collect()
}

/// Splits texts into those that set something and the names in those that
/// remove it, `NAME-`.
fn removed(texts: &[String]) -> (Vec<String>, BTreeSet<String>) {
    let name = |text: &String| match text.strip_suffix('-') {
        Some(name) if !name.is_empty() && !name.contains('=') => Some(name.to_owned()),
        _ => None,
    };
    let set = texts.iter().filter(|text| name(text).is_none());
    (
        set.cloned().collect(),
        texts.iter().filter_map(name).collect(),
    )
}

pub(crate) fn pairs(flag: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |text: &String| match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Failure::of_flag(flag, text, "the form is `KEY=VALUE`")),
    };
    texts.iter().map(pair).collect()
}

/// The largest `--env-file`: the limit of an image configuration.
const MAX_ENV_BYTES: u64 = 4 << 20;

fn environment(files: &[PathBuf], texts: &[String], ui: &Ui) -> Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    for path in files {
        must_exist(&format!("--env-file {}", path.display()), path)?;
        let read = ui.while_waiting(|monitor| input::read_input(path, MAX_ENV_BYTES, monitor));
        let text = read.and_then(|bytes| bounded::to_text(path, bytes));
        let text = text.map_err(|error| {
            Failure::of_reader(error, |error| {
                Failure::build(error).hint("`--env-file` takes a text file with one `K=V` per line")
            })
        })?;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim_start();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let place = format!("line {} of `{}`", number + 1, path.display());
            variables.extend(variable(line, &place)?);
        }
    }
    for text in texts {
        variables.extend(variable(text, &format!("`--env {text}`"))?);
    }
    Ok(variables)
}

/// Parses `K=V`, or takes the value of `K` from the environment. A variable that
/// is not set there is left out, as Docker does.
fn variable(text: &str, place: &str) -> Result<Option<(String, String)>> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, env::var(text).ok()),
    };
    if value.as_ref().is_some_and(|value| value.contains('\0')) {
        return Err(Failure::command_line(format!(
            "cannot use {place}: the value of `{name}` contains a NUL byte, which no program can get"
        )));
    }
    if name.is_empty() || name.contains(char::is_whitespace) || name.contains('\0') {
        return Err(Failure::command_line(format!(
            "cannot use {place}: `{name}` is not a valid name of an environment variable"
        )));
    }
    Ok(value.map(|value| (name.to_owned(), value)))
}

fn ports(text: &str) -> Result<Vec<String>> {
    const FORM: &str = "the form is `PORT[-PORT][/PROTOCOL]`, with ports from 1 to 65535 and the protocol `tcp`, `udp` or `sctp`";
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let is_known = ["tcp", "udp", "sctp"].contains(&protocol.as_str());
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let port = |text: &str| {
        let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>()
            .ok()
            .filter(|port| is_number && *port > 0)
    };
    match (port(first), port(last)) {
        (Some(first), Some(last)) if is_known && first <= last => Ok((first..=last)
            .map(|port| format!("{port}/{protocol}"))
            .collect()),
        _ => Err(Failure::of_flag("--expose", text, FORM)),
    }
}

/// Checks a signal against those of Linux ([signal(7)]).
///
/// [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
fn stop_signal(text: &str) -> Result<String> {
    const NAMES: [&str; 34] = [
        "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT",
        "KILL", "PIPE", "POLL", "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM",
        "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ",
    ];
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    let is_within = |start: &str, sign: char, last: u8| {
        name.strip_prefix(start).is_some_and(|text| {
            text.is_empty() || (1..=last).any(|number| text == format!("{sign}{number}"))
        })
    };
    // Docker's names end in the middle between both.
    if NAMES.contains(&name) || is_within("RTMIN", '+', 15) || is_within("RTMAX", '-', 14) {
        return Ok(format!("SIG{name}"));
    }
    match text.parse::<u8>() {
        Ok(1..=64) => Ok(text.to_owned()),
        _ => Err(Failure::of_flag(
            "--stop-signal",
            text,
            "it is not a signal of Linux (for example `SIGTERM`, `INT` or a number from 1 to 64)",
        )),
    }
}

fn healthcheck(given: &ConfigurationArguments) -> Result<Option<Healthcheck>> {
    let Some(command) = arguments("--healthcheck", &given.healthcheck)? else {
        return Ok(None);
    };
    // The forms of a Dockerfile and of Docker's own configuration, too.
    let test = match command.as_slice() {
        [none] if none.eq_ignore_ascii_case("none") => vec!["NONE".to_owned()],
        [kind, _, ..] if kind == "CMD" => command,
        [kind, _] if kind == "CMD-SHELL" => command,
        [kind, ..] if ["CMD", "CMD-SHELL", "NONE"].contains(&kind.as_str()) => {
            let reason = "the forms are `[\"CMD\", \"PROGRAM\", …]`, `[\"CMD-SHELL\", \"COMMAND\"]` and `NONE`";
            return Err(Failure::of_flag("--healthcheck", kind, reason));
        }
        _ => ["CMD".to_owned()].into_iter().chain(command).collect(),
    };
    Ok(Some(Healthcheck {
        test,
        interval: health_time("--health-interval", given.health_interval)?,
        timeout: health_time("--health-timeout", given.health_timeout)?,
        start_period: health_time("--health-start-period", given.health_start_period)?,
        start_interval: 0,
        retries: given.health_retries.unwrap_or_default(),
    }))
}

/// Returns a time in nanoseconds, within the range that Docker accepts: zero, or
/// from 1 millisecond to the largest signed 64-bit number.
fn health_time(flag: &str, time: Option<humantime::Duration>) -> Result<u64> {
    let Some(time) = time else {
        return Ok(0);
    };
    let nanoseconds = i64::try_from(time.as_nanos()).ok();
    match nanoseconds.and_then(|nanoseconds| u64::try_from(nanoseconds).ok()) {
        Some(nanoseconds) if nanoseconds == 0 || nanoseconds >= 1_000_000 => Ok(nanoseconds),
        _ => Err(Failure::of_flag(
            flag,
            &time.to_string(),
            "Docker accepts 1ms to 292 years",
        )),
    }
}

pub(super) fn user(text: &str) -> Result<UserName> {
    let (user, group) = text
        .split_once(':')
        .map_or((text, None), |(user, group)| (user, Some(group)));
    if user.is_empty() || group.is_some_and(str::is_empty) {
        return Err(Failure::of_flag(
            "--user",
            text,
            "the form is `NAME|UID[:GID]`",
        ));
    }
    for id in [Some(user), group].into_iter().flatten() {
        let is_number = id.bytes().all(|byte| byte.is_ascii_digit());
        if is_number && !id.parse().is_ok_and(|id: u32| id <= MAX_ID) {
            let reason =
                format!("`{id}` is larger than {MAX_ID}, the largest ID that every engine accepts");
            return Err(Failure::of_flag("--user", text, &reason));
        }
    }
    Ok(UserName {
        user: user.to_owned(),
        group: group.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_are_split_from_the_right() {
        for (text, source, destination, mode) in [
            ("a:/b", "a", "/b", None),
            ("a:/b:0755", "a", "/b", Some(0o755)),
            ("c:d:/b/", "c:d", "/b/", None),
            ("/x/y:/b:640", "/x/y", "/b", Some(0o640)),
        ] {
            let addition = addition(text).unwrap();
            assert_eq!(addition.source, PathBuf::from(source));
            assert_eq!(addition.destination, destination);
            assert_eq!(addition.mode, mode);
        }
        for text in ["a", "a:b", ":/b", "a:0755", "a:/b:77777"] {
            assert!(addition(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ports_are_checked_and_ranges_are_spelled_out() {
        assert_eq!(ports("80").unwrap(), ["80/tcp"]);
        assert_eq!(ports("53/udp").unwrap(), ["53/udp"]);
        assert_eq!(ports("8080/TCP").unwrap(), ["8080/tcp"]);
        assert_eq!(ports("1-3/sctp").unwrap(), ["1/sctp", "2/sctp", "3/sctp"]);
        for text in ["", "0", "65536", "80/http", "3-1", "+80", "a", "80/", "-"] {
            assert!(ports(text).is_err(), "{text}");
        }
    }

    #[test]
    fn signals_are_those_of_linux() {
        for (text, expected) in [
            ("SIGTERM", "SIGTERM"),
            ("INT", "SIGINT"),
            ("sigterm", "SIGTERM"),
            ("usr1", "SIGUSR1"),
            ("9", "9"),
            ("SIGRTMIN+3", "SIGRTMIN+3"),
            ("rtmin+15", "SIGRTMIN+15"),
            ("SIGRTMAX-14", "SIGRTMAX-14"),
            ("SIGRTMAX", "SIGRTMAX"),
        ] {
            assert_eq!(stop_signal(text).unwrap(), expected);
        }
        for text in [
            "",
            "SIGNOTHING",
            "0",
            "65",
            "SIGRTMIN+99",
            "SIGRTMIN+16",
            "SIGRTMIN-1",
            "SIGRTMAX-15",
            "RTMAX+1",
            "RTMIN3",
        ] {
            assert!(stop_signal(text).is_err(), "{text}");
        }
    }

    #[test]
    fn health_times_are_those_that_docker_takes() {
        let take = |text: &str| health_time("--health-interval", Some(text.parse().unwrap()));
        assert_eq!(health_time("--health-interval", None).unwrap(), 0);
        assert_eq!(take("30s").unwrap(), 30_000_000_000);
        assert_eq!(take("1ms").unwrap(), 1_000_000);
        for text in ["1ns", "999us", "99999999h"] {
            assert!(take(text).is_err(), "{text}");
        }
    }

    #[test]
    fn users_are_names_or_ids_in_range() {
        for text in ["app", "app:web", "1000", "1000:1000", "0", "2147483647"] {
            assert!(user(text).is_ok(), "{text}");
        }
        for text in ["", ":", "1:", ":1", "2147483648", "1:5000000000"] {
            assert!(user(text).is_err(), "{text}");
        }
    }

    #[test]
    fn commands_are_arguments_or_a_json_array() {
        let take = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(ToString::to_string).collect();
            arguments("--cmd", &given)
        };
        assert_eq!(take(&[]).unwrap(), None);
        assert_eq!(take(&["a", "b"]).unwrap().unwrap(), ["a", "b"]);
        assert_eq!(take(&[r#"["a", "b c"]"#]).unwrap().unwrap(), ["a", "b c"]);
        assert!(take(&["[1]"]).is_err());
        assert!(take(&["[]"]).is_err());
        assert!(take(&["[a"]).is_err());
    }
}
