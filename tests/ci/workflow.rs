//! The parts of workflows and actions that are run: steps, their environments,
//! and the expressions in them.

use std::collections::BTreeMap;

use yaml_rust2::{Yaml, YamlLoader};

/// The values of expressions by their names.
pub(super) type Context = BTreeMap<String, String>;

/// A step of a job or of an action.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) id: Option<String>,
    pub(super) condition: Option<String>,
    pub(super) uses: Option<String>,
    pub(super) with: Vec<(String, String)>,
    pub(super) env: Vec<(String, String)>,
    pub(super) run: Option<String>,
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Yaml {
    let mut documents = YamlLoader::load_from_str(text).expect("it is YAML");
    assert_eq!(documents.len(), 1, "one document");
    documents.remove(0)
}

/// Returns a scalar as text.
pub(super) fn text(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

/// Returns the pairs of a map in their order.
pub(super) fn pairs(yaml: &Yaml) -> Vec<(String, &Yaml)> {
    let Some(map) = yaml.as_hash() else {
        return Vec::new();
    };
    map.iter()
        .map(|(key, value)| (text(key).expect("keys are texts"), value))
        .collect()
}

fn texts(yaml: &Yaml) -> Vec<(String, String)> {
    let pairs = pairs(yaml).into_iter();
    pairs
        .map(|(key, value)| (key, text(value).expect("it is a scalar")))
        .collect()
}

/// Returns the texts of a list.
pub(super) fn list(yaml: &Yaml) -> Vec<String> {
    let list = yaml.as_vec().expect("it is a list");
    list.iter()
        .map(|one| text(one).expect("it is a scalar"))
        .collect()
}

/// Returns the steps of a job or an action.
pub(super) fn steps(yaml: &Yaml) -> Vec<Step> {
    let steps = yaml["steps"].as_vec().expect("it has steps");
    steps
        .iter()
        .map(|step| Step {
            id: text(&step["id"]),
            condition: text(&step["if"]),
            uses: text(&step["uses"]),
            with: texts(&step["with"]),
            env: texts(&step["env"]),
            run: text(&step["run"]),
        })
        .collect()
}

/// Replaces `${{ NAME }}` by values.
pub(super) fn evaluate(text: &str, context: &Context) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${{") {
        let (name, after) = after.split_once("}}").expect("an expression has an end");
        let name = name.trim();
        let value = context.get(name);
        result.push_str(before);
        result.push_str(value.unwrap_or_else(|| panic!("`{name}` is not known here")));
        rest = after;
    }
    result + rest
}

/// Evaluates the condition of a step: `NAME == 'value'`.
pub(super) fn holds(condition: &str, context: &Context) -> bool {
    let (name, value) = condition.split_once(" == ").expect("it compares");
    let value = value.trim_matches('\'');
    context[name] == value
}

/// Returns the code blocks of a Markdown text in a language.
pub(super) fn blocks(text: &str, language: &str) -> Vec<String> {
    let start = format!("\n```{language}\n");
    let blocks = text.split(&start).skip(1);
    blocks
        .map(|block| {
            block
                .split_once("\n```")
                .expect("a block ends")
                .0
                .to_owned()
                + "\n"
        })
        .collect()
}
