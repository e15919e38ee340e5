//! The settings of containers, and the rules for the configuration of an image.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::path::ImagePath;
use crate::tar_reader::clean_path;
use crate::violation::{Refuser, Violation, ViolationKind};

/// The most layers that Docker stacks with graph drivers (`maxLayerDepth`).
const MAX_STACKED_LAYERS: usize = 125;

/// The number of malformed fields that are listed.
const MAX_LISTED: usize = 100;

/// Texts of [Docker's image configuration] that are not inherited: they describe a
/// container of an old engine.
///
/// [Docker's image configuration]: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
const TEXTS: [&str; 4] = ["Hostname", "Domainname", "Image", "MacAddress"];

/// Switches of Docker's that are not inherited either.
const SWITCHES: [&str; 7] = [
    "AttachStdin",
    "AttachStdout",
    "AttachStderr",
    "Tty",
    "OpenStdin",
    "StdinOnce",
    "NetworkDisabled",
];

/// The settings of containers of an image: the `config` object of the
/// [image configuration], with Docker's health check.
///
/// [image configuration]: https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Configuration {
    /// The arguments of the command after the entrypoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd: Option<Vec<String>>,
    /// The first arguments of the command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// `PORT/PROTOCOL`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub exposed_ports: BTreeSet<String>,
    /// Docker's health check, which the OCI specification does not have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// Labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The signal that stops a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    /// `UID:GID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Paths of volumes.
    #[serde(skip_serializing_if = "BTreeSet::is_empty", serialize_with = "as_map")]
    pub volumes: BTreeSet<String>,
    /// The directory that the command starts in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Other fields of Docker's base images, by their names.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// Writes a set as Go does: an object with empty objects for values.
fn as_map<S: serde::Serializer>(set: &BTreeSet<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(set.iter().map(|key| (key, json!({}))))
}

/// [Docker's health check]; an engine that follows the OCI specification to
/// the letter ignores it.
///
/// [Docker's health check]: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// `["CMD", …]`, `["CMD-SHELL", text]` or `["NONE"]`.
    pub test: Vec<String>,
    /// The time between two checks, in nanoseconds; 0 is the engine's default.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: u64,
    /// The time that a check may take, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: u64,
    /// The time after the start in which failures do not count, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: u64,
    /// The time between two checks within that time, in nanoseconds.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: u64,
    /// The failures in a row that make a container unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl Configuration {
    /// Reads the `config` object of an image configuration. Values of the wrong type
    /// are left out.
    #[must_use]
    pub fn of_document(document: &Value) -> Self {
        ConfigFields::of("", document).configuration("config")
    }
}

/// Checks the fields of a configuration that engines parse, except the types of those
/// of [`RawConfig`](crate::document::RawConfig), and the numbers of layers and of steps.
pub(crate) fn check_config(name: &str, document: &Value, layers: usize) -> Vec<Violation> {
    let mut fields = ConfigFields::of(name, document);
    fields.date("created");
    fields.get::<String>("author");
    for field in ["comment", "container", "docker_version", "id", "parent"] {
        fields.read::<String>(field, Refuser::Docker);
    }
    fields.read::<i64>("Size", Refuser::Docker);
    let steps: Vec<Option<Map<String, Value>>> = fields.get("history");
    let steps: Vec<Value> = steps.into_iter().map(Value::from).collect();
    let mut count = 0;
    for (place, step) in steps.iter().enumerate() {
        (fields.object, fields.place) = (Some(step), format!("history[{place}]."));
        fields.date("created");
        for field in ["created_by", "author", "comment"] {
            fields.get::<String>(field);
        }
        count += usize::from(!fields.get::<bool>("empty_layer"));
    }
    fields.object = Some(document);
    let config = fields.configuration("config");
    let mut found = fields.wrong;
    // Only Docker reads the settings of the container that a build committed.
    let mut old = ConfigFields::of(name, document);
    old.configuration("container_config");
    old.wrong
        .retain(|one| one.refused_by != Some(Refuser::Containerd));
    let old = old.wrong.into_iter();
    found.extend(old.map(|one| one.refused_by(Some(Refuser::Docker))));
    let nameless = config.env.iter().filter(|text| text.starts_with('='));
    found.extend(nameless.take(MAX_LISTED).map(|text| {
        let violation = Violation::new(ViolationKind::ConfigVariable, name);
        let violation = violation.found(format_args!("`{text}`"));
        violation.refused_by(Some(Refuser::Engines))
    }));
    let faults = config.volumes.iter().filter_map(|text| {
        let path = path_from_root(text);
        let fault = path.as_ref().map_or(Some("not a valid path"), volume_fault);
        let is_relative = !text.starts_with('/');
        let fault = fault.or(is_relative.then_some("not an absolute path"));
        let violation = Violation::new(ViolationKind::ConfigVolume, name);
        fault.map(|fault| violation.found(format_args!("`{text}` is {fault}")))
    });
    found.extend(faults.take(MAX_LISTED));
    if layers > MAX_STACKED_LAYERS {
        let violation = Violation::new(ViolationKind::LayerCount, name).found(layers);
        let violation = violation.expected(format_args!("at most {MAX_STACKED_LAYERS}"));
        found.push(violation.refused_by(Some(Refuser::Docker)));
    }
    if count > layers {
        let violation = Violation::new(ViolationKind::HistoryCount, name).found(count);
        let violation = violation.expected(format_args!("at most {layers}"));
        found.push(violation.refused_by(Some(Refuser::Docker)));
    }
    found
}

/// Returns the path of a volume or of the working directory; Docker resolves a relative
/// one, and `..`, from the root.
#[must_use]
pub fn path_from_root(text: &str) -> Option<ImagePath> {
    ImagePath::parse(clean_path(text.as_bytes())).ok()
}

/// Returns the reason why containers with a volume at this path do not start, or why
/// they start without their files.
#[must_use]
pub fn volume_fault(path: &ImagePath) -> Option<&'static str> {
    let mut names = path.relative().split(|byte| *byte == b'/');
    match (names.next(), names.next()) {
        (None | Some(b""), _) => Some("the root, and would hide the whole image"),
        (Some(b"proc"), _) => Some("in `/proc`, where engines mount nothing"),
        (Some(b"sys"), Some(_)) => Some("in `/sys`, where engines mount nothing"),
        (Some(b"dev"), None) => Some("`/dev`, and would hide the devices of containers"),
        _ => None,
    }
}

/// The fields of an object as engines read them: null is nothing.
struct ConfigFields<'a> {
    name: &'a str,
    object: Option<&'a Value>,
    /// The start of the names of its fields in violations.
    place: String,
    wrong: Vec<Violation>,
}

impl<'a> ConfigFields<'a> {
    fn of(name: &'a str, document: &'a Value) -> Self {
        Self {
            name,
            object: Some(document),
            place: String::new(),
            wrong: Vec::new(),
        }
    }

    /// Goes from a document to its `config`, or another field, and reads it.
    fn configuration(&mut self, field: &'static str) -> Configuration {
        self.place.clear();
        self.get::<Map<String, Value>>(field);
        self.object = self.object.and_then(|one| one.get(field));
        self.place = format!("{field}.");
        let text = |text: String| Some(text).filter(|text| !text.is_empty());
        let list = |list: Vec<String>| Some(list).filter(|list| !list.is_empty());
        let labels = self.get::<BTreeMap<_, Option<_>>>("Labels").into_iter();
        let labels = labels.map(|(name, value)| (name, value.unwrap_or_default()));
        let mut check: Map<String, Value> = self.read("Healthcheck", Refuser::Docker);
        // Go writes an empty list as null, and engines take a negative time for none.
        check.retain(|_, value| !value.is_null() && value.as_i64().is_none_or(|time| time >= 0));
        let is_large = check
            .values()
            .any(|time| time.as_u64() > Some(i64::MAX as u64));
        let check = serde_json::from_value(check.into()).ok();
        let healthcheck: Healthcheck = check
            .filter(|_| !is_large)
            .unwrap_or_else(|| self.add("Healthcheck", Refuser::Docker));
        let env = self.list("Env");
        if env.iter().any(|variable| variable.contains('\0')) {
            self.add::<()>("Env", Refuser::Engines);
        }
        let mut others = BTreeMap::new();
        if self.get("ArgsEscaped") {
            others.insert("ArgsEscaped".to_owned(), json!(true));
        }
        if let Some(shell) = list(self.words("Shell", Refuser::Docker)) {
            others.insert("Shell".to_owned(), json!(shell));
        }
        self.check_others();
        Configuration {
            others,
            cmd: list(self.words("Cmd", Refuser::Engines)),
            // Engines run the command where this is one empty text.
            entrypoint: list(self.words("Entrypoint", Refuser::Engines))
                .filter(|words| *words != [""]),
            env,
            exposed_ports: self.keys("ExposedPorts"),
            healthcheck: Some(healthcheck).filter(|check| !check.test.is_empty()),
            labels: labels.collect(),
            stop_signal: text(self.get("StopSignal")),
            user: text(self.get("User")),
            volumes: self.keys("Volumes"),
            working_dir: text(self.get("WorkingDir")),
        }
    }

    fn get<T: DeserializeOwned + Default>(&mut self, field: &'static str) -> T {
        self.read(field, Refuser::Engines)
    }

    fn list(&mut self, field: &'static str) -> Vec<String> {
        let list: Vec<Option<String>> = self.get(field);
        list.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Reads a list of words. A text is a list of one to Docker with graph drivers and
    /// to Podman.
    fn words(&mut self, field: &'static str, refuser: Refuser) -> Vec<String> {
        let value = self.object.and_then(|one| one.get(field));
        let Some(word) = value.and_then(Value::as_str) else {
            let list: Vec<Option<String>> = self.read(field, refuser);
            return list.into_iter().map(Option::unwrap_or_default).collect();
        };
        if refuser == Refuser::Engines {
            self.add::<()>(field, Refuser::Containerd);
        }
        vec![word.to_owned()]
    }

    /// Checks the fields that only Docker reads, and that are not inherited.
    fn check_others(&mut self) {
        for field in TEXTS {
            self.read::<String>(field, Refuser::Docker);
        }
        for field in SWITCHES {
            self.read::<bool>(field, Refuser::Docker);
        }
        self.read::<Vec<Option<String>>>("OnBuild", Refuser::Docker);
        self.read::<i64>("StopTimeout", Refuser::Docker);
    }

    fn keys(&mut self, field: &'static str) -> BTreeSet<String> {
        let set: BTreeMap<String, Option<BTreeMap<String, IgnoredAny>>> = self.get(field);
        set.into_keys().collect()
    }

    fn date(&mut self, field: &'static str) {
        let text: Option<String> = self.get(field);
        if text.is_some_and(|text| !is_date(&text)) {
            self.add::<()>(field, Refuser::Engines);
        }
    }

    fn read<T: DeserializeOwned + Default>(&mut self, field: &'static str, refuser: Refuser) -> T {
        let value = self.object.and_then(|one| one.get(field));
        let value = serde_json::from_value::<Option<T>>(value.cloned().unwrap_or_default());
        value.map_or_else(|_| self.add(field, refuser), Option::unwrap_or_default)
    }

    /// Adds a violation, and returns the value of a field that is not there.
    fn add<T: Default>(&mut self, field: &'static str, refuser: Refuser) -> T {
        if self.wrong.len() < MAX_LISTED {
            let violation = Violation::new(ViolationKind::DocumentMalformed, self.name);
            let violation = violation.found(format_args!("`{}{field}`", self.place));
            self.wrong.push(violation.refused_by(Some(refuser)));
        }
        T::default()
    }
}

/// Returns true for RFC 3339 as Go reads it, for example `2026-01-31T12:00:00.5+01:00`:
/// the hour may have one digit, and a comma may begin the fraction.
fn is_date(text: &str) -> bool {
    let text = match text.split_once('T') {
        Some((day, time)) if time.find(':') == Some(1) => format!("{day}T0{time}"),
        _ => text.to_owned(),
    };
    let form = text.replace(|byte: char| byte.is_ascii_digit(), "0");
    let Some(rest) = form.strip_prefix("0000-00-00T00:00:00") else {
        return false;
    };
    let fraction = rest.strip_prefix(['.', ',']);
    let fraction = fraction.filter(|digits| digits.starts_with('0'));
    let zone = fraction.map_or(rest, |digits| digits.trim_start_matches('0'));
    let part = |at: usize| &text[at..at + 2];
    let is_leap = match text[..4].parse::<u16>() {
        Ok(year) if year % 100 == 0 => year % 400 == 0,
        Ok(year) => year % 4 == 0,
        Err(_) => false,
    };
    let days = match part(5) {
        "02" if is_leap => "29",
        "02" => "28",
        "04" | "06" | "09" | "11" => "30",
        _ => "31",
    };
    matches!(zone, "Z" | "+00:00" | "-00:00")
        && ("01"..="12").contains(&part(5))
        && ("01"..=days).contains(&part(8))
        && part(11) < "24"
        && part(14).max(part(17)) < "60"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_hands_on_is_inherited() {
        let config = Configuration::of_document(&json!({ "config": {
            "Hostname": "builder", "OnBuild": ["RUN x"], "Tty": false, "Image": "sha256:x",
            "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh"], "Entrypoint": null,
            "Labels": { "a": "b" }, "User": "", "WorkingDir": "/srv",
            "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
            "StopSignal": "SIGQUIT", "Shell": ["/bin/bash", "-c"], "ArgsEscaped": false,
            "Healthcheck": { "Test": ["CMD", "x"], "StartInterval": 5, "Retries": null },
        } }));
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            json!({
                "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh"], "Labels": { "a": "b" },
                "WorkingDir": "/srv", "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
                "StopSignal": "SIGQUIT", "Shell": ["/bin/bash", "-c"],
                "Healthcheck": { "Test": ["CMD", "x"], "StartInterval": 5 },
            })
        );
    }

    #[test]
    fn what_engines_run_is_taken() {
        let config = Configuration::of_document(&json!({ "config": {
            "Env": ["", "=x", "A"], "Entrypoint": [""], "Labels": { "a": null },
            "Cmd": "/h", "User": "1000:", "Healthcheck": { "Test": ["CMD", "x"], "Interval": -1, "Retries": -2 },
        } }));
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            json!({
                "Env": ["", "=x", "A"], "Labels": { "a": "" }, "User": "1000:", "Cmd": ["/h"],
                "Healthcheck": { "Test": ["CMD", "x"] },
            })
        );
    }

    fn refused(document: &Value, layers: usize) -> Vec<String> {
        let found = check_config("config", document, layers);
        found.iter().map(ToString::to_string).collect()
    }

    fn assert_refused(documents: &[(&str, Value)], refuser: &str) {
        for (field, document) in documents {
            let expected = format!("`config` is malformed: `{field}`; refused by {refuser}");
            assert_eq!(refused(document, 2), [expected]);
        }
    }

    #[test]
    fn fields_that_engines_refuse_are_named() {
        let engines = [
            ("config", json!({ "config": 1 })),
            ("config.Env", json!({ "config": { "Env": "A=b" } })),
            ("config.Cmd", json!({ "config": { "Cmd": [1] } })),
            ("config.Env", json!({ "config": { "Env": ["A=\0"] } })),
            (
                "config.ArgsEscaped",
                json!({ "config": { "ArgsEscaped": "x" } }),
            ),
            (
                "config.Labels",
                json!({ "config": { "Labels": { "a": 1 } } }),
            ),
            ("config.User", json!({ "config": { "User": 5 } })),
            ("config.Volumes", json!({ "config": { "Volumes": ["/d"] } })),
            (
                "config.Volumes",
                json!({ "config": { "Volumes": { "/d": 1 } } }),
            ),
            ("created", json!({ "created": "yesterday" })),
            ("author", json!({ "author": 5 })),
            (
                "history[1].created",
                json!({ "history": [{}, { "created": "" }] }),
            ),
            (
                "history[0].created_by",
                json!({ "history": [{ "created_by": 5 }] }),
            ),
        ];
        assert_refused(&engines, "every engine");
    }

    #[test]
    fn fields_that_some_engines_refuse_are_named() {
        let of_docker = [
            ("container_config", json!({ "container_config": "x" })),
            (
                "config.OnBuild",
                json!({ "config": { "OnBuild": "RUN x" } }),
            ),
            ("config.Tty", json!({ "config": { "Tty": "x" } })),
            ("config.Hostname", json!({ "config": { "Hostname": 1 } })),
            (
                "config.StopTimeout",
                json!({ "config": { "StopTimeout": "x" } }),
            ),
            ("config.Shell", json!({ "config": { "Shell": 1 } })),
            (
                "config.Healthcheck",
                json!({ "config": { "Healthcheck": { "Interval": 1_u64 << 63 } } }),
            ),
            (
                "config.Healthcheck",
                json!({ "config": { "Healthcheck": "x" } }),
            ),
            (
                "config.Healthcheck",
                json!({ "config": { "Healthcheck": { "Interval": "5s" } } }),
            ),
        ];
        assert_refused(&of_docker, "Docker with graph drivers");
        let of_containerd = [
            ("config.Cmd", json!({ "config": { "Cmd": "/h" } })),
            (
                "config.Entrypoint",
                json!({ "config": { "Entrypoint": "/h" } }),
            ),
        ];
        assert_refused(
            &of_containerd,
            "containerd, and Docker with its image store",
        );
    }

    #[test]
    fn null_is_nothing_and_violations_are_bounded() {
        let nulls = json!({
            "created": null,
            "config": { "Env": [null], "Labels": { "a": null }, "Volumes": { "/d": null }, "Other": 1 },
        });
        assert_eq!(refused(&nulls, 125), [""; 0]);
        assert_eq!(
            refused(&nulls, 126),
            [
                "`config` has too many layers: expected at most 125, found 126; refused by Docker with graph drivers"
            ]
        );
        let many = json!({ "history": vec![json!({ "created": 1 }); 1000] });
        assert_eq!(refused(&many, 1000).len(), MAX_LISTED + 1);
        assert_eq!(
            refused(
                &json!({ "history": [null, { "empty_layer": true }, {}] }),
                1
            ),
            [
                "`config` has a history of more layers than it has: expected at most 1, found 2; refused by Docker with graph drivers"
            ]
        );
    }

    #[test]
    fn dates_are_those_of_go() {
        for date in [
            "0001-01-01T00:00:00Z",
            "2024-02-29T23:59:59.123456789Z",
            "2026-12-31T00:00:00-05:30",
            "2000-02-29T0:00:00,5Z",
        ] {
            assert!(is_date(date), "{date}");
        }
        for date in [
            "",
            "yesterday",
            "2024-01-01",
            "2024-01-01 00:00:00Z",
            "2024-01-01t00:00:00z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00+0100",
            "2024-13-01T00:00:00Z",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2024-01-01T00:00:00123Z",
            "2024-01-01T00:00:00.Z",
            "2024-04-31T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:60:00Z",
            "2024-01-01T00:00:00Zé",
            "2024-01-01T00:00:0é",
        ] {
            assert!(!is_date(date), "{date}");
        }
    }
}
