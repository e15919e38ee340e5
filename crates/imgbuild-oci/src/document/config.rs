//! The configuration of an image, with its fields as the decoder of Go reads them.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::RawConfig;
use super::any_case::is_name;
use crate::json::from_json;

/// The fields of an object: the names that they get, and their kind.
type Fields = &'static [(&'static str, FieldKind)];

#[derive(Clone, Copy)]
enum FieldKind {
    /// A value whose names, if it has any, stay.
    Any,
    Object(Fields),
    Objects(Fields),
}

use FieldKind::Any;

const IMAGE: Fields = &[
    (
        "architecture author comment container created docker_version id os os.features \
         os.version parent Size variant",
        Any,
    ),
    ("config container_config", FieldKind::Object(CONTAINER)),
    ("history", FieldKind::Objects(STEP)),
    ("rootfs", FieldKind::Object(&[("diff_ids type", Any)])),
];

const CONTAINER: Fields = &[
    (
        "ArgsEscaped AttachStderr AttachStdin AttachStdout Cmd Domainname Entrypoint Env \
         ExposedPorts Hostname Image Labels MacAddress NetworkDisabled OnBuild OpenStdin Shell \
         StdinOnce StopSignal StopTimeout Tty User Volumes WorkingDir",
        Any,
    ),
    ("Healthcheck", FieldKind::Object(HEALTH_CHECK)),
];

const HEALTH_CHECK: Fields = &[(
    "Interval Retries StartInterval StartPeriod Test Timeout",
    Any,
)];

const STEP: Fields = &[("author comment created created_by empty_layer", Any)];

impl<'de> Deserialize<'de> for RawConfig {
    /// Reads fields that have one spelling and one value each. Of a field that is there
    /// several times, in any case, the last value counts: objects are merged, and null
    /// clears a list or an object and nothing else.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw: Box<RawValue> = Deserialize::deserialize(deserializer)?;
        let read = || {
            let document = read(&raw, FieldKind::Object(IMAGE), Value::Null)?;
            Ok(Self {
                platform: Deserialize::deserialize(&document)?,
                rootfs: Deserialize::deserialize(&document["rootfs"])?,
                document,
            })
        };
        read().map_err(|error: serde_json::Error| D::Error::custom(error))
    }
}

/// Reads a value over the one that its field has.
fn read(raw: &RawValue, kind: FieldKind, old: Value) -> serde_json::Result<Value> {
    let text = raw.get().as_bytes();
    match (kind, text.first()) {
        (FieldKind::Object(fields), Some(b'{')) => {
            let mut object = match old {
                Value::Object(object) => object,
                _ => Map::new(),
            };
            for (key, raw) in from_json::<RawObject>(text)?.0 {
                let names = fields.iter().flat_map(|(names, kind)| {
                    let names = names.split_whitespace();
                    names.map(|name| (name, *kind))
                });
                let known = { names }.find(|(name, _)| is_name(&key, name));
                let (name, kind) = known.unwrap_or((&key, Any));
                let old = object.remove(name).unwrap_or_default();
                object.insert(name.to_owned(), read(&raw, kind, old)?);
            }
            Ok(object.into())
        }
        (FieldKind::Objects(fields), Some(b'[')) => {
            let items: Vec<Box<RawValue>> = from_json(text)?;
            let items = items.iter();
            let items = items.map(|raw| read(raw, FieldKind::Object(fields), Value::Null));
            items.collect()
        }
        _ => Ok(match (old, from_json(text)?) {
            (old, Value::Null) if !old.is_array() && !old.is_object() => old,
            (Value::Object(mut old), Value::Object(new)) => {
                old.extend(new);
                old.into()
            }
            (_, new) => new,
        }),
    }
}

/// The fields of an object in their order.
struct RawObject(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for RawObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;

        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = RawObject;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawObject, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(RawObject(fields))
            }
        }

        deserializer.deserialize_map(ObjectVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Each as Docker 20.10 loads it.
    #[test]
    fn the_last_value_of_a_field_counts_and_objects_are_merged() {
        for (text, expected) in [
            (r#"{"Cmd":["a"],"cmd":["b"]}"#, json!({ "Cmd": ["b"] })),
            (r#"{"cmd":["b"],"Cmd":["a"]}"#, json!({ "Cmd": ["a"] })),
            (r#"{"Cmd":["a"],"Cmd":["b"]}"#, json!({ "Cmd": ["b"] })),
            (r#"{"Cmd":["a"],"cmd":null}"#, json!({ "Cmd": null })),
            (r#"{"User":"a","user":null}"#, json!({ "User": "a" })),
            (r#"{"User":"a","user":""}"#, json!({ "User": "" })),
            (
                r#"{"Labels":{"a":"1","A":"2"},"labels":{"b":"3"}}"#,
                json!({ "Labels": { "a": "1", "A": "2", "b": "3" } }),
            ),
            (
                r#"{"Labels":{"a":"1"},"labels":null}"#,
                json!({ "Labels": null }),
            ),
            (
                r#"{"Volumes":{"/a":{}},"VOLUMES":{"/b":{}}}"#,
                json!({ "Volumes": { "/a": {}, "/b": {} } }),
            ),
            (
                r#"{"Healthcheck":{"Test":["A"],"test":["B"],"Interval":5},"healthcheck":{"Retries":3}}"#,
                json!({ "Healthcheck": { "Test": ["B"], "Interval": 5, "Retries": 3 } }),
            ),
            (
                r#"{"\u017ftopSignal":"SIGINT","wor\u212aingDir":"/k"}"#,
                json!({ "StopSignal": "SIGINT", "WorkingDir": "/k" }),
            ),
        ] {
            let document = format!(r#"{{"config":{text}}}"#);
            let read: RawConfig = from_json(document.as_bytes()).unwrap();
            assert_eq!(read.document, json!({ "config": expected }), "{text}");
        }
    }

    #[test]
    fn all_objects_are_read_so() {
        let text = br#"{
            "config":{"Cmd":["a"]},"Config":{"Env":["A=1"]},"Author":"me","AUTHOR":"you\ud800",
            "History":[{"CREATED_BY":"x","Empty_Layer":true},null],"rootfs":{"Diff_IDs":["1"]},
            "Other":{"Cmd":1,"cmd":2}
        }"#;
        let read: RawConfig = from_json(text).unwrap();
        let expected = json!({
            "config": { "Cmd": ["a"], "Env": ["A=1"] }, "author": "you\u{fffd}",
            "history": [{ "created_by": "x", "empty_layer": true }, null],
            "rootfs": { "diff_ids": ["1"] }, "Other": { "Cmd": 1, "cmd": 2 },
        });
        assert_eq!(read.document, expected);
        for text in ["", "{", r#"{"a":}"#, r#"{"config":{]}}"#] {
            assert!(from_json::<RawConfig>(text.as_bytes()).is_err(), "{text}");
        }
        let deep = format!(r#"{{"history":{}}}"#, "[".repeat(1 << 20));
        assert!(from_json::<RawConfig>(deep.as_bytes()).is_err());
    }
}
