//! Puts what was found where the image's loader looks.

use imgbuild_oci::path::ImagePath;

use super::host::HostElf;
use super::outcome::SearchPlace;
use super::placement::FileRequest;
use super::process::Loader;
use super::resolver::LibraryResolver;
use super::{MissingLibrary, RuntimeFileKind};

impl LibraryResolver<'_> {
    /// Puts a file of the host where the image's loader finds it: the path
    /// that it opens, and the file behind. Fails with a path that another file has.
    pub(super) fn place_library(
        &mut self,
        loader: &Loader,
        place: &SearchPlace,
        found: &HostElf,
        missing: &MissingLibrary,
    ) -> Result<(ImagePath, ImagePath), ImagePath> {
        let name = missing.file_name();
        let request = FileRequest {
            kind: RuntimeFileKind::Library,
            needed_by: missing.needed_by.as_ref(),
        };
        let own = self
            .view
            .resolve(&place.image)
            .filter(|_| !place.image.is_empty())
            .and_then(|directory| directory.join(name).ok());
        if place.origin.is_in_image() || loader.defaults.contains(&place.image) {
            // The loader of the image finds nothing in a directory that is not a
            // path of it.
            let own = own.ok_or_else(ImagePath::root)?;
            let file = self.placement.put(&self.view, &own, found, request)?;
            return Ok((own, file));
        }
        let path = self.default_path(loader, name, found)?;
        if let Some(own) = own {
            self.placement.put(&self.view, &own, found, request)?;
        }
        let file = self.placement.put(&self.view, &path, found, request)?;
        Ok((path, file))
    }

    /// Chooses the path in a default directory by which a file is found: one
    /// that it has, else the last one that is free. Fails with one that is
    /// taken.
    fn default_path(
        &mut self,
        loader: &Loader,
        name: &str,
        file: &HostElf,
    ) -> Result<ImagePath, ImagePath> {
        let paths: Vec<ImagePath> = loader
            .defaults
            .directories
            .iter()
            .filter_map(|directory| self.view.resolve(directory)?.join(name).ok())
            .collect();
        let known = paths
            .iter()
            .find(|path| self.placement.is_at(path, file.id));
        let free = || {
            let mut last_first = paths.iter().rev();
            last_first.find(|path| self.placement.accepts(&self.view, path, file.id))
        };
        let path = known.or_else(free).cloned();
        path.ok_or_else(|| paths.last().cloned().unwrap_or_else(ImagePath::root))
    }
}
