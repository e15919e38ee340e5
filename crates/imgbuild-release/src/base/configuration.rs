//! The configuration that an image inherits from its base, like after `FROM`.

use std::collections::{BTreeMap, BTreeSet};

use imgbuild_oci::image::{Configuration, Healthcheck};
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Map, Value, json};

use super::BaseError;

/// Fields of [Docker's image configuration] that are inherited unchanged.
/// Fields of old engines that describe a container, for example `Hostname`, are
/// not inherited, and `OnBuild` is for builds that run commands.
///
/// [Docker's image configuration]: https://github.com/moby/docker-image-spec/blob/v1.3.1/spec.md
const OTHERS: [&str; 2] = ["ArgsEscaped", "Shell"];

/// Reads the `config` object of an image configuration.
pub(crate) fn configuration(document: &Value) -> Result<Configuration, BaseError> {
    let fields = match document.as_object().and_then(|all| get(all, "config")) {
        None | Some(Value::Null) => return Ok(Configuration::default()),
        Some(Value::Object(fields)) => fields,
        Some(_) => return Err(BaseError::Field("config")),
    };
    let text = |name| -> Result<_, BaseError> {
        let text: Option<String> = field(fields, name)?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    let list = |name| -> Result<_, BaseError> {
        let list: Option<Vec<String>> = field(fields, name)?;
        Ok(list.filter(|list| !list.is_empty()))
    };
    let keys = |name| -> Result<BTreeSet<String>, BaseError> {
        let set: Option<BTreeMap<String, IgnoredAny>> = field(fields, name)?;
        Ok(set.unwrap_or_default().into_keys().collect())
    };
    // Go reads null as an empty text.
    let labels: Option<BTreeMap<String, Option<String>>> = field(fields, "Labels")?;
    let labels = labels.unwrap_or_default().into_iter();
    let labels = labels.map(|(name, value)| (name, value.unwrap_or_default()));
    let mut check: Map<String, Value> = field(fields, "Healthcheck")?.unwrap_or_default();
    // Go writes an empty list as null, and engines take a negative time for none.
    check.retain(|_, value| !value.is_null() && value.as_i64().is_none_or(|time| time >= 0));
    let check: Result<Healthcheck, _> = serde_json::from_value(check.into());
    let healthcheck = check.map_err(|_| BaseError::Field("Healthcheck"))?;
    let others = OTHERS.iter().filter_map(|name| {
        let value = get(fields, name)?;
        let is_set = !value.is_null() && *value != json!(false);
        is_set.then(|| ((*name).to_owned(), value.clone()))
    });
    Ok(Configuration {
        cmd: list("Cmd")?,
        // Engines run the command where this is one empty text.
        entrypoint: list("Entrypoint")?.filter(|words| *words != [""]),
        env: list("Env")?.unwrap_or_default(),
        exposed_ports: keys("ExposedPorts")?,
        healthcheck: Some(healthcheck).filter(|check| !check.test.is_empty()),
        labels: labels.collect(),
        stop_signal: text("StopSignal")?,
        user: text("User")?,
        volumes: keys("Volumes")?,
        working_dir: text("WorkingDir")?,
        others: others.collect(),
    })
}

/// Returns a field by its name in any case, as Go does.
fn get<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let is_called = |(key, _): &(&String, _)| key.eq_ignore_ascii_case(name);
    let other = || fields.iter().find(is_called).map(|(_, value)| value);
    fields.get(name).or_else(other)
}

/// Reads a field; `None` if it is missing or null.
fn field<T: DeserializeOwned>(
    fields: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<T>, BaseError> {
    let value = get(fields, name).cloned().unwrap_or_default();
    serde_json::from_value(value).map_err(|_| BaseError::Field(name))
}

/// The most steps of a history that is inherited; that of a large image has some
/// hundred.
const MAX_STEPS: usize = 10_000;

/// Returns the history with exactly one step for each of `layers`: readers
/// match steps and layers by their order. A history that does not match is
/// dropped.
pub(crate) fn history(document: &Value, layers: usize) -> Vec<Value> {
    let steps = document.get("history").and_then(Value::as_array);
    let steps = steps.filter(|steps| steps.len() <= MAX_STEPS);
    let mut steps: Vec<Value> = steps.cloned().unwrap_or_default();
    let is_step_of_layer = |step: &&Value| step.get("empty_layer") != Some(&json!(true));
    let is_odd = steps.iter().any(|step| !step.is_object());
    let mut known = steps.iter().filter(is_step_of_layer).count();
    if is_odd || known > layers {
        steps.clear();
        known = 0;
    }
    let unknown = json!({ "comment": "a layer of the base image" });
    steps.extend(std::iter::repeat_n(unknown, layers - known));
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_hands_on_is_inherited() {
        let config = configuration(&json!({ "config": {
            "Hostname": "builder", "OnBuild": ["RUN x"], "Tty": false, "Image": "sha256:x",
            "Env": ["PATH=/bin", "A=b"], "Cmd": ["sh"], "Entrypoint": null,
            "Labels": { "a": "b" }, "User": "", "WorkingDir": "/srv",
            "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
            "StopSignal": "SIGQUIT", "Shell": ["/bin/bash", "-c"], "ArgsEscaped": false,
            "Healthcheck": { "Test": ["CMD", "x"], "StartInterval": 5, "Retries": null },
        } }))
        .unwrap();
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
        let config = configuration(&json!({ "Config": {
            "Env": ["", "=x", "A"], "Entrypoint": [""], "Labels": { "a": null },
            "user": "1000:", "Healthcheck": { "Test": ["CMD", "x"], "Interval": -1, "Retries": -2 },
        } }))
        .unwrap();
        assert_eq!(
            serde_json::to_value(config).unwrap(),
            json!({
                "Env": ["", "=x", "A"], "Labels": { "a": "" }, "User": "1000:",
                "Healthcheck": { "Test": ["CMD", "x"] },
            })
        );
    }

    #[test]
    fn fields_of_another_type_are_named() {
        for (name, value) in [
            ("Env", json!("A=b")),
            ("Cmd", json!([1])),
            ("Labels", json!({ "a": 1 })),
            ("User", json!(5)),
            ("Volumes", json!(["/data"])),
            ("Healthcheck", json!("x")),
        ] {
            let result = configuration(&json!({ "config": { name: value } }));
            let error = result.unwrap_err().to_string();
            assert!(error.contains(&format!("`{name}`")), "{error}");
        }
        assert!(configuration(&json!({ "config": 1 })).is_err());
        assert!(configuration(&json!({})).is_ok());
    }

    #[test]
    fn every_layer_has_one_step() {
        let step = |text: &str| json!({ "created_by": text });
        let empty = json!({ "created_by": "env", "empty_layer": true });
        let unknown = json!({ "comment": "a layer of the base image" });
        for (given, layers, expected) in [
            (json!([step("a"), empty]), 1, vec![step("a"), empty.clone()]),
            (
                json!([empty, step("a")]),
                2,
                vec![empty.clone(), step("a"), unknown.clone()],
            ),
            (json!([step("a"), step("b")]), 1, vec![unknown.clone()]),
            (json!(["a"]), 1, vec![unknown.clone()]),
            (json!(null), 2, vec![unknown.clone(), unknown]),
        ] {
            assert_eq!(history(&json!({ "history": given }), layers), expected);
        }
    }
}
