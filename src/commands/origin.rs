//! The origin of every option of a build.

use std::collections::BTreeMap;
use std::fmt;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory};
use imgbuild_oci::path::escaped;
use imgbuild_release::provenance::{self, Label};
use serde::Serialize;

use super::provenance::FoundProvenance;
use super::time::CreatedBy;
use crate::args::Arguments;
use crate::configuration_file::ParsedFlags;

/// Every option and automatic label, with its origin.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OptionOrigins {
    pub(crate) created_by: CreatedBy,
    options: Vec<Setting>,
    auto_labels: BTreeMap<String, Label>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Setting {
    name: String,
    /// `None` for a flag without a value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(flatten)]
    origin: OptionOrigin,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", rename_all = "lowercase")]
enum OptionOrigin {
    /// The command line.
    Flag,
    /// The configuration file.
    File { file: String, line: usize },
    /// The default.
    Default,
}

impl OptionOrigins {
    pub(crate) fn new(parsed: &ParsedFlags, found: &FoundProvenance) -> Self {
        let mut command = Arguments::command();
        command.build();
        let options = command.get_arguments();
        Self {
            created_by: found.created_by,
            options: options.flat_map(|flag| settings(flag, parsed)).collect(),
            auto_labels: found.labels.clone(),
        }
    }
}

fn settings(flag: &Arg, parsed: &ParsedFlags) -> Vec<Setting> {
    let id = flag.get_id().as_str();
    let (Some(name), Some(source)) = (flag.get_long(), parsed.matches.value_source(id)) else {
        return Vec::new();
    };
    let is_default = source == ValueSource::DefaultValue;
    let takes_value = matches!(flag.get_action(), ArgAction::Set | ArgAction::Append);
    if is_default && !takes_value {
        return Vec::new();
    }
    let raw = parsed.matches.get_raw(id).into_iter().flatten();
    let origin = |number: usize| match parsed.line(id, number) {
        _ if is_default => OptionOrigin::Default,
        Some((file, line)) => OptionOrigin::File { file, line },
        None => OptionOrigin::Flag,
    };
    raw.enumerate()
        .map(|(number, value)| Setting {
            name: name.to_owned(),
            value: takes_value.then(|| value.to_string_lossy().into_owned()),
            origin: origin(number),
        })
        .collect()
}

impl fmt::Display for OptionOrigins {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Setting {
            name,
            value,
            origin,
        } in &self.options
        {
            write!(formatter, "option --{name}")?;
            if let Some(value) = value {
                // A value that begins the next line would look like a setting.
                write!(formatter, " {}", escaped(value.as_bytes()))?;
            }
            writeln!(formatter, " ({origin})")?;
        }
        for (key, label) in &self.auto_labels {
            let value = escaped(label.value.as_bytes());
            let origin = match label.origin {
                provenance::Origin::Environment => "environment",
                provenance::Origin::Git => "git",
                provenance::Origin::Package(source) => source.file,
            };
            writeln!(formatter, "found {key}={value} ({origin})")?;
        }
        Ok(())
    }
}

impl fmt::Display for OptionOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => formatter.write_str("flag"),
            Self::File { file, line } => write!(formatter, "line {line} of `{file}`"),
            Self::Default => formatter.write_str("default"),
        }
    }
}
