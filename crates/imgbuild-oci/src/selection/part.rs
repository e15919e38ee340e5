//! The images of an index that are there, where others are absent.

use std::fmt;

use super::error::list;
use crate::document::Descriptor;

/// The images that an index names, where some of them are absent: Docker pulls
/// and saves the images of one platform with the whole index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexPart {
    /// The platforms of the images that are there.
    pub here: Vec<String>,
    absent: Vec<String>,
    /// The number of artifacts that are absent.
    artifacts: usize,
}

impl IndexPart {
    pub(crate) fn add(&mut self, one: &Descriptor, is_here: bool) {
        if one.artifact.is_some() {
            self.artifacts += usize::from(!is_here);
            return;
        }
        let platform = one.platform.as_ref().map(|one| one.platform().to_string());
        let name = platform.unwrap_or_else(|| one.digest.to_string());
        let names = if is_here {
            &mut self.here
        } else {
            &mut self.absent
        };
        names.push(name);
    }

    /// Returns true if nothing is absent.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.absent.is_empty() && self.artifacts == 0
    }
}

impl fmt::Display for IndexPart {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.here.len() + self.absent.len();
        let (here, absent) = (list(&self.here), list(&self.absent));
        if self.absent.is_empty() {
            return formatter.write_str("it lacks manifests that its index attaches to images");
        }
        write!(
            formatter,
            "only {here} of the {count} images of its index is there, not {absent}"
        )
    }
}
