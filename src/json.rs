//! The JSON that this program prints, described in `docs/json.md`.

use serde_json::Value;

/// The version of all objects. A key that is removed, or whose meaning changes,
/// needs the next one.
const SCHEMA_VERSION: u32 = 1;

/// Returns the text of an object with its version.
pub(crate) fn text(mut object: Value) -> String {
    object["schemaVersion"] = SCHEMA_VERSION.into();
    object.to_string()
}
