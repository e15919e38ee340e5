//! What a base image of a registry is fetched with, and where it is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::store::{Bases, Store};

use crate::args::BuildArguments;
use crate::commands::cache;
use crate::commands::registry::{self, Registries};
use crate::failure::Result;
use crate::ui::Ui;

/// The way to registries, and the place for what comes from there. A place
/// that is not the cache's goes with it, so it lives as long as the build.
pub(crate) struct Supply {
    bases: Bases,
    store: Option<Arc<Store>>,
    network: Option<(Arc<AtomicBool>, Registries)>,
    /// What the tag named when it was asked for first: all platforms of one
    /// run get the same base.
    named: Option<Digest>,
}

impl Supply {
    /// Prepares to fetch; `None` when no registry has the base.
    pub(crate) fn prepare(
        arguments: &BuildArguments,
        targets: &[Reference],
        (cache, scratch): (&Cache, &Path),
        ui: &Ui,
    ) -> Result<Option<Self>> {
        if super::reference(&arguments.base).is_none() {
            return Ok(None);
        }
        let network = registry::connect(arguments, targets, ui)?;
        let (bases, store) = cache::open_bases(cache, &arguments.cache, scratch, ui)?;
        Ok(Some(Self {
            bases,
            store,
            network: Some(network),
            named: None,
        }))
    }

    /// Hands the way to registries on, once the base is open.
    pub(crate) fn network(&mut self) -> Option<(Arc<AtomicBool>, Registries)> {
        self.network.take()
    }

    pub(super) fn parts(&mut self) -> Option<(&Bases, &mut Registries, &mut Option<Digest>)> {
        let (_, registries) = self.network.as_mut()?;
        Some((&self.bases, registries, &mut self.named))
    }

    /// Has the cache pruned after the build, as after every one that adds to
    /// it.
    pub(super) fn note_growth(&self) {
        if let Some(store) = &self.store {
            store.note_growth();
        }
    }
}
