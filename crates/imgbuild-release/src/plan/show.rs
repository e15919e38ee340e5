//! A plan as JSON.

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::{EntryKind, Member, Owner};
use imgbuild_oci::path::escaped;
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Plan, PlannedLayer};
use crate::base::Base;

impl Serialize for Plan {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = 7 + usize::from(self.base.is_some());
        let mut plan = serializer.serialize_struct("Plan", fields)?;
        plan.serialize_field("release", &self.release)?;
        plan.serialize_field("references", &self.references)?;
        plan.serialize_field("image", &self.image)?;
        if let Some(base) = &self.base {
            plan.serialize_field("base", &base_value(base))?;
        }
        plan.serialize_field("compression", &self.compression)?;
        plan.serialize_field("layers", &self.layers)?;
        plan.serialize_field("leftOut", &self.left_out)?;
        plan.serialize_field("warnings", &self.warnings)?;
        plan.end()
    }
}

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

/// Describes the base image of a plan, its layers by the names that descriptors
/// use.
fn base_value(base: &Base) -> Value {
    let layers = base.layers().iter().map(|layer| {
        json!({
            "mediaType": layer.media_type,
            "digest": layer.digest,
            "size": layer.size,
            "diffId": layer.diff_id,
        })
    });
    json!({
        "name": base.name(),
        "digest": base.digest(),
        "platform": base.platform(),
        "layers": layers.collect::<Vec<_>>(),
    })
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
        if let Some(Content::File(file)) = &self.0.content {
            map.serialize_entry("source", &file.path.to_string_lossy())?;
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
