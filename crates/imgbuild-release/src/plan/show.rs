//! A plan as JSON.

use std::os::unix::ffi::OsStrExt;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member, Owner};
use imgbuild_oci::path::escaped;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::json;

use super::PlannedLayer;
use crate::base::Base;

impl Serialize for PlannedLayer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let members = self.changeset.members();
        let entries: Vec<PlannedEntry<'_>> = members.iter().map(PlannedEntry).collect();
        let mut layer = serializer.serialize_struct("PlannedLayer", 3)?;
        layer.serialize_field("name", &self.name)?;
        layer.serialize_field("tarSize", &self.changeset.tar_size())?;
        layer.serialize_field("entries", &entries)?;
        layer.end()
    }
}

/// A base image by its name and its layers, with the keys of descriptors.
impl Serialize for Base {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let layers = self.layers().iter().map(|layer| {
            json!({
                "mediaType": layer.media_type,
                "digest": layer.digest,
                "size": layer.size,
                "diffId": layer.diff_id,
            })
        });
        let base = json!({
            "name": self.name,
            "digest": self.digest(),
            "platform": self.platform(),
            "layers": layers.collect::<Vec<_>>(),
        });
        base.serialize(serializer)
    }
}

struct PlannedEntry<'a>(&'a Member);

impl Serialize for PlannedEntry<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entry = &self.0.entry;
        let Owner { uid, gid } = entry.owner;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &entry.path)?;
        map.serialize_entry("type", kind_name(&entry.kind))?;
        map.serialize_entry("mode", &format!("{:04o}", entry.mode))?;
        map.serialize_entry("owner", &format!("{uid}:{gid}"))?;
        map.serialize_entry("mtime", &entry.mtime)?;
        match &entry.kind {
            EntryKind::File { size } => map.serialize_entry("size", size)?,
            EntryKind::Symlink { target } => map.serialize_entry("target", &escaped(target))?,
            EntryKind::Hardlink { target } => map.serialize_entry("target", target)?,
            EntryKind::Directory => {}
        }
        if !entry.xattrs.is_empty() {
            let names: Vec<&String> = entry.xattrs.keys().collect();
            map.serialize_entry("xattrs", &names)?;
        }
        if let Some(Content::File(file)) = &self.0.content {
            let source = escaped(file.path.as_os_str().as_bytes());
            map.serialize_entry("source", &source)?;
        }
        map.end()
    }
}

/// Returns the name of a kind of entry in a plan.
#[must_use]
pub fn kind_name(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Directory => "directory",
        EntryKind::File { .. } => "file",
        EntryKind::Symlink { .. } => "symlink",
        EntryKind::Hardlink { .. } => "hardlink",
    }
}
