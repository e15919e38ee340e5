//! The configuration that an image inherits from its base, like after `FROM`.

use serde_json::{Value, json};

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
