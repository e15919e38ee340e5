//! An image that is there, ours or not, as a subject of the rules.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use imgbuild_oci::entry::{Entry, EntryKind, Member};
use imgbuild_oci::filesystem::{FileSystem, FileSystemError, ReadOptions};
use imgbuild_oci::image::{Configuration, Healthcheck};
use imgbuild_oci::platform::Platform;
use imgbuild_oci::selection::SelectedImage;
use imgbuild_oci::source::Source;
use serde_json::Value;

use super::content::ReadableContent;
use super::erlang;
use super::secret::{self, MAX_KEY_BYTES};
use super::subject::Subject;
use crate::elf::Elf;
use crate::runtime::{Object, Role};

/// The size limit of scripts: a larger executable is not written by hand.
const MAX_SCRIPT_BYTES: u64 = 64 * 1024;

/// An image with its merged layers.
#[derive(Debug)]
pub struct ReadImage {
    config: Configuration,
    history: Vec<Value>,
    platform: Platform,
    files: FileSystem,
    objects: Vec<Object>,
}

impl ReadImage {
    /// Reads all layers of an image; contents that matter wait in a file
    /// without a name in the directory `scratch`.
    ///
    /// # Errors
    ///
    /// When a layer cannot be read, or is not what it should be.
    pub fn read(
        source: &Source,
        image: &SelectedImage,
        scratch: &Path,
    ) -> Result<Self, FileSystemError> {
        let keeps = &keeps;
        let files = FileSystem::read(source, image, ReadOptions { scratch, keeps })?;
        Ok(Self {
            config: configuration(&image.config["config"]),
            history: image.config["history"]
                .as_array()
                .cloned()
                .unwrap_or_default(),
            platform: image.platform.clone(),
            objects: files.members().iter().filter_map(object).collect(),
            files,
        })
    }

    /// Returns the image as the rules see it.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        let layers = vec![self.files.members()];
        let mut subject = Subject::new(&self.config, &self.platform, layers, &self.objects);
        subject.history = &self.history;
        subject
    }
}

/// Returns whether the rules read the content of a file: one that is named like
/// a secret, a small one that can be executed, or the one with the Erlang version
/// of a release.
fn keeps(entry: &Entry) -> bool {
    let size = entry.content_size();
    let name = entry.path.file_name();
    let is_script = entry.mode & 0o111 != 0 && size <= MAX_SCRIPT_BYTES;
    let is_start = name == erlang::START && size <= erlang::MAX_START_BYTES;
    is_script || is_start || (size <= MAX_KEY_BYTES && secret::is_named(&entry.path))
}

pub(super) fn object(member: &Member) -> Option<Object> {
    let EntryKind::File { size: 1.. } = member.entry.kind else {
        return None;
    };
    let opened = ReadableContent::open(member.content.as_ref()?)?;
    let elf = Elf::read(&opened).ok()??;
    Some(Object {
        image: member.entry.path.clone(),
        host: PathBuf::new(),
        role: Role::Module,
        elf: Arc::new(elf),
    })
}

/// Reads a configuration; a value of an unexpected type is left out.
fn configuration(value: &Value) -> Configuration {
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let keys = |name: &str| -> BTreeSet<String> {
        let map = value.get(name).and_then(Value::as_object);
        map.into_iter()
            .flat_map(|map| map.keys().cloned())
            .collect()
    };
    let labels = value.get("Labels").and_then(Value::as_object);
    let labels = labels.into_iter().map(|labels| {
        let texts = labels.iter();
        texts.filter_map(|(key, text)| Some((key.clone(), text.as_str()?.to_owned())))
    });
    let test = |check: &Value| Healthcheck {
        test: strings(check.get("Test")).unwrap_or_default(),
        ..Healthcheck::default()
    };
    Configuration {
        cmd: strings(value.get("Cmd")),
        entrypoint: strings(value.get("Entrypoint")),
        env: strings(value.get("Env")).unwrap_or_default(),
        exposed_ports: keys("ExposedPorts"),
        healthcheck: value.get("Healthcheck").map(test),
        labels: labels.flatten().collect(),
        user: text("User"),
        volumes: keys("Volumes"),
        working_dir: text("WorkingDir"),
        // No rule looks at the signal.
        ..Configuration::default()
    }
}

fn strings(value: Option<&Value>) -> Option<Vec<String>> {
    let texts = value?.as_array()?.iter();
    let texts = texts.filter_map(Value::as_str).map(str::to_owned);
    Some(texts.collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_is_read_whatever_is_in_it() {
        let value = json!({
            "Cmd": ["a", 1, "b"],
            "Entrypoint": null,
            "Env": ["A=b"],
            "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "x"]},
            "User": "app",
            "Volumes": {"/data": null},
            "WorkingDir": 5,
        });
        let config = configuration(&value);
        assert_eq!(config.cmd, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(config.entrypoint, None);
        assert_eq!(config.env, ["A=b"]);
        assert!(config.exposed_ports.contains("80/tcp"));
        assert_eq!(config.healthcheck.unwrap().test, ["CMD", "x"]);
        assert_eq!(config.user.as_deref(), Some("app"));
        assert!(config.volumes.contains("/data"));
        assert_eq!(config.working_dir, None);
        assert_eq!(configuration(&Value::Null), Configuration::default());
    }
}
