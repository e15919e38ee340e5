//! What a base image of a registry is fetched with, and where it is kept.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::digest::Digest;
use imgbuild_oci::reference::Reference;
use imgbuild_oci::store::Store;

use super::shelf::Shelf;
use crate::args::BuildArguments;
use crate::commands::cache;
use crate::commands::registry::{self, Registries};
use crate::failure::Result;
use crate::ui::Ui;

/// The way to registries, and the place for what comes from there. A place
/// that is not the cache's goes with it and with all layers that lie there.
pub(crate) struct Supply {
    shelf: Arc<Shelf>,
    store: Option<Arc<Store>>,
    network: (Arc<AtomicBool>, Registries),
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
        let Some(reference) = arguments.base.reference() else {
            return Ok(None);
        };
        let network = registry::connect(arguments, targets, ui)?;
        let (bases, store) = cache::open_bases(cache, &arguments.cache, scratch, ui)?;
        let shelf = Shelf::new(reference, network.1.clone(), bases, ui);
        Ok(Some(Self {
            shelf: Arc::new(shelf),
            store,
            network,
            named: None,
        }))
    }

    /// The same way to registries, for what is done with the image: layers of
    /// the base may still be fetched then.
    pub(crate) fn network(&self) -> (Arc<AtomicBool>, Registries) {
        self.network.clone()
    }

    pub(super) fn parts(&mut self) -> (&Arc<Shelf>, Option<&Store>, &mut Option<Digest>) {
        (&self.shelf, self.store.as_deref(), &mut self.named)
    }

    /// Has the cache pruned after the build, as after every one that adds to
    /// it.
    pub(super) fn note_growth(&self) {
        if let Some(store) = &self.store {
            store.note_growth();
        }
    }
}
