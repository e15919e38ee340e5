//! The state of a resolution: finds files, and places them in the image.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use imgbuild_oci::path::{ImagePath, escaped};

use super::host::{Host, HostElf, HostPath, Probe};
use super::loader::ProcessTarget;
use super::outcome::SearchPlace;
use super::placement::Placement;
use super::process::{LoadedFile, Loader, Process};
use super::view::{Lookup, PresentFile, View};
use super::{
    Bindings, MissingLibrary, ModuleProblem, ModuleWarning, Object, Role, RuntimeOptions,
    SearchedDirectory, UnsatisfiedVersion, UnusableFile, cache, configuration,
};
use crate::elf::{Elf, Imports};

/// The largest cache that is read; those of desktops have 300 KiB.
const MAX_CACHE_BYTES: u64 = 64 << 20;

/// The largest file of a base image that is read as a whole.
const MAX_BASE_BYTES: u64 = 64 << 20;

const NO_ELF: &str = "it is not an ELF file";

pub(super) struct LibraryResolver<'a> {
    pub(super) host: Host,
    pub(super) cache: cache::LoaderCache,
    pub(super) configuration: Vec<Vec<u8>>,
    pub(super) library_paths: Vec<HostPath>,
    pub(super) options: &'a RuntimeOptions,
    pub(super) placement: Placement,
    pub(super) missing: Vec<MissingLibrary>,
    pub(super) warnings: Vec<ModuleWarning>,
    pub(super) bindings: Bindings,
    pub(super) imports: BTreeMap<ImagePath, Imports>,
    pub(super) unsatisfied: BTreeSet<UnsatisfiedVersion>,
    pub(super) view: View<'a>,
    pub(super) objects: BTreeMap<&'a ImagePath, &'a Object>,
    /// The files of the base image that were looked at.
    pub(super) base_files: BTreeMap<ImagePath, Result<Arc<Elf>, String>>,
    /// The `ld.so.cache` of the base image, which the loader in the image reads.
    pub(super) base_cache: cache::LoaderCache,
    /// The release's libraries by each name that one may need them by.
    released: BTreeMap<String, BTreeSet<ImagePath>>,
    reported: BTreeSet<(String, Option<ImagePath>)>,
}

impl<'a> LibraryResolver<'a> {
    pub(super) fn new(
        objects: &'a [Object],
        lookup: &'a Lookup<'a>,
        options: &'a RuntimeOptions,
    ) -> Self {
        let (host, cache) = match &options.image_only {
            Some(image) => (Host::nowhere(), Some(image.cache.clone())),
            None => {
                let host = Host::new(options.sysroot.as_deref());
                let cache = host.read(&host.rooted(b"/etc/ld.so.cache"), MAX_CACHE_BYTES);
                (host, cache)
            }
        };
        let library_paths = options.library_paths.iter();
        let mut resolver = Self {
            cache: cache::parse(&cache.unwrap_or_default()),
            configuration: match options.image_only {
                Some(_) => Vec::new(),
                None => configuration::directories(&host),
            },
            library_paths: library_paths.map(|path| host.plain(path)).collect(),
            options,
            placement: Placement::default(),
            missing: Vec::new(),
            warnings: Vec::new(),
            bindings: BTreeMap::new(),
            imports: BTreeMap::new(),
            unsatisfied: BTreeSet::new(),
            view: View::new(lookup),
            objects: BTreeMap::new(),
            base_files: BTreeMap::new(),
            base_cache: cache::LoaderCache::new(),
            released: BTreeMap::new(),
            reported: BTreeSet::new(),
            host,
        };
        let base_cache = resolver.base_text("/etc/ld.so.cache");
        resolver.base_cache = cache::parse(&base_cache.unwrap_or_default());
        resolver.record_objects(objects);
        resolver
    }

    fn record_objects(&mut self, objects: &'a [Object]) {
        for object in objects {
            self.objects.insert(&object.image, object);
            let is_image_only = self.options.image_only.is_some();
            let remember = || self.host.remember(&object.host, &object.elf);
            if let Some(id) = (!is_image_only).then(remember).flatten() {
                self.placement.record_present(id, &object.image);
            }
            let file_name = escaped(object.image.file_name());
            for name in object.elf.soname.iter().chain([&file_name]) {
                let paths = self.released.entry(name.clone()).or_default();
                paths.insert(object.image.clone());
            }
        }
    }

    /// Takes a file of the release as the first one of a process.
    pub(super) fn first(&self, object: &Object) -> LoadedFile {
        // A program finds itself by its real path, a module by the one that
        // it was loaded by.
        let real = match object.role {
            Role::Program if self.options.image_only.is_none() => {
                fs_err::canonicalize(&object.host).ok()
            }
            Role::Program | Role::Module => None,
        };
        let directory = self.directory_of(real.as_deref().unwrap_or(&object.host));
        let (elf, path) = (Arc::clone(&object.elf), &object.image);
        LoadedFile::new(elf, path.clone(), path.clone(), directory)
    }

    pub(super) fn directory_of(&self, file: &Path) -> HostPath {
        match file.parent() {
            Some(parent) if parent != Path::new("") => self.host.plain(parent),
            Some(_) | None => self.host.plain(Path::new(".")),
        }
    }

    /// Finds the file that the loader would take for `name`.
    ///
    /// Files of the image come first: its loader finds them before any file that
    /// is added, independent of the order of the host's loader. Only the user
    /// needs a library that `is_requested`.
    pub(super) fn search(
        &mut self,
        process: &Process<'_>,
        requirer: usize,
        name: &str,
        is_requested: bool,
    ) -> Result<LoadedFile, Box<MissingLibrary>> {
        let needed_by = (!is_requested).then_some(&process.loaded[requirer].file);
        let mut missing = self.missing(name, needed_by);
        let places = self.places(process, requirer, name);
        let file_name = missing.file_name().to_owned();
        let target = process.loader.target;
        let is_image_only = self.options.image_only.is_some();
        let in_image = |place: &&SearchPlace| is_image_only || place.is_in_image;
        for place in places.iter().filter(in_image) {
            let directory = self.view.resolve(&place.image);
            let path = directory.and_then(|directory| directory.join(&file_name).ok());
            if let Some(path) = path
                && let Some((mut file, _)) = self.present(&path, target, &mut missing)
            {
                file.parent = Some(requirer);
                return Ok(file);
            }
        }
        for place in &places {
            self.record_searched(place, &mut missing);
            let Some(host) = place.host.as_ref().filter(|_| !is_image_only) else {
                continue;
            };
            let host = host.join(file_name.as_bytes());
            if let Some(mut file) = self.include(process, place, &host, &mut missing) {
                file.parent = Some(requirer);
                return Ok(file);
            }
        }
        if let Some(paths) = self.released.get(name) {
            missing.elsewhere.extend(paths.iter().cloned());
        }
        Err(missing)
    }

    /// Takes a library that is named by its path on the host.
    pub(super) fn search_added(
        &mut self,
        process: &Process<'_>,
        path: &str,
    ) -> Result<LoadedFile, Box<MissingLibrary>> {
        let mut missing = self.missing(path, None);
        for host in [
            self.host.rooted(path.as_bytes()),
            self.host.plain(Path::new(path)),
        ] {
            let place = SearchPlace::on_host(Vec::new(), host.directory(), "requested");
            self.record_searched(&place, &mut missing);
            if let Some(file) = self.include(process, &place, &host, &mut missing) {
                return Ok(file);
            }
        }
        Err(missing)
    }

    /// Includes a file of the host, if a process can load it.
    pub(super) fn include(
        &mut self,
        process: &Process<'_>,
        place: &SearchPlace,
        host: &HostPath,
        missing: &mut MissingLibrary,
    ) -> Option<LoadedFile> {
        let found = self.usable(host, process.loader.target, missing)?;
        match self.place_library(process.loader, place, &found, missing) {
            Ok((image, file)) => Some(LoadedFile::new(found.elf, image, file, host.directory())),
            Err(taken) => {
                missing.unusable.push(self.taken(host, &taken));
                None
            }
        }
    }

    /// Returns the file at a path of the host if a process can load it.
    pub(super) fn usable(
        &mut self,
        path: &HostPath,
        target: ProcessTarget,
        missing: &mut MissingLibrary,
    ) -> Option<HostElf> {
        let reason = match self.host.probe(path) {
            Probe::Absent => return None,
            Probe::Unusable(reason) => reason,
            Probe::Elf(file) => match target.objection(&file.elf) {
                None => return Some(file),
                Some(reason) => reason,
            },
        };
        missing.unusable.push(UnusableFile {
            path: self.host.display(path),
            reason,
        });
        None
    }

    fn record_searched(&self, place: &SearchPlace, missing: &mut MissingLibrary) {
        let directory = match &place.host {
            Some(host) if self.options.image_only.is_none() => self.host.display(host),
            Some(_) | None => escaped(&place.image),
        };
        let mut searched = missing.searched.iter();
        // A directory of the host is nowhere in the image.
        if !directory.is_empty() && searched.all(|known| known.directory != directory) {
            missing.searched.push(SearchedDirectory {
                directory,
                reason: place.reason.clone(),
            });
        }
    }

    pub(super) fn missing(&self, name: &str, needed_by: Option<&ImagePath>) -> Box<MissingLibrary> {
        Box::new(MissingLibrary {
            name: name.to_owned(),
            needed_by: needed_by.cloned(),
            ..MissingLibrary::default()
        })
    }

    /// Describes a file whose path in the image has another file.
    pub(super) fn taken(&self, host: &HostPath, at: &ImagePath) -> UnusableFile {
        UnusableFile {
            path: self.host.display(host),
            reason: format!("the image has another file at `{at}`"),
        }
    }

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
        let own = self
            .view
            .resolve(&place.image)
            .filter(|_| !place.image.is_empty())
            .and_then(|directory| directory.join(name).ok());
        if place.is_in_image || loader.defaults.directories.contains(&place.image) {
            // The loader of the image finds nothing in a directory that is not a
            // path of it.
            let own = own.ok_or_else(ImagePath::root)?;
            let file = self.placement.put(&self.view, &own, found, missing)?;
            return Ok((own, file));
        }
        let path = self.default_path(loader, name, found)?;
        if let Some(own) = own {
            self.placement.put(&self.view, &own, found, missing)?;
        }
        let file = self.placement.put(&self.view, &path, found, missing)?;
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

    /// Records what a program or module lacks, once per file that needs it.
    pub(super) fn report_missing(
        &mut self,
        role: Role,
        first: &ImagePath,
        missing: MissingLibrary,
    ) {
        // Programs come first, so a library that one lacks is never a warning.
        let key = (missing.name.clone(), missing.needed_by.clone());
        if !self.reported.insert(key) {
            return;
        }
        match role {
            Role::Program => self.missing.push(missing),
            Role::Module => self.warnings.push(ModuleWarning {
                module: first.clone(),
                problem: ModuleProblem::Missing(missing),
            }),
        }
    }

    /// Returns the file that a path of the image leads to if a process can
    /// load it, and the place of its content.
    pub(super) fn present(
        &mut self,
        path: &ImagePath,
        target: ProcessTarget,
        missing: &mut MissingLibrary,
    ) -> Option<(LoadedFile, PresentFile)> {
        let (file, found) = self.view.file(path.as_bytes())?;
        let (elf, shown, directory) = match &found {
            PresentFile::Host(host) => {
                let directory = self.directory_of(host);
                let host = HostPath::Plain(host.clone());
                let elf = match self.objects.get(&file) {
                    Some(object) => Ok(Arc::clone(&object.elf)),
                    None if self.options.image_only.is_some() => Err(NO_ELF.to_owned()),
                    None => match self.host.probe(&host) {
                        Probe::Absent => return None,
                        Probe::Unusable(reason) => Err(reason),
                        Probe::Elf(found) => Ok(found.elf),
                    },
                };
                (elf, self.host.display(&host), directory)
            }
            PresentFile::Base(content) => {
                let read = || match content.as_ref().map(Elf::read) {
                    Some(Ok(Some(elf))) => Ok(Arc::new(elf)),
                    Some(Ok(None)) | None => Err(NO_ELF.to_owned()),
                    Some(Err(error)) => Err(error.to_string()),
                };
                let known = self.base_files.entry(file.clone());
                let elf = known.or_insert_with(read).clone();
                let parent = file.parent().unwrap_or_else(ImagePath::root);
                let directory = self.host.rooted(parent.as_bytes());
                (elf, format!("{file} of the base image"), directory)
            }
        };

        let reason = match elf.map(|elf| (target.objection(&elf), elf)) {
            Ok((None, elf)) => {
                let loaded = LoadedFile::new(elf, path.clone(), file, directory);
                return Some((loaded, found));
            }
            Ok((Some(reason), _)) | Err(reason) => reason,
        };
        let path = if self.options.image_only.is_some() {
            file.to_string()
        } else {
            shown
        };
        missing.unusable.push(UnusableFile { path, reason });
        None
    }

    /// Reads a small file of the base image.
    pub(super) fn base_text(&mut self, path: &str) -> Option<Vec<u8>> {
        match self.view.file(path.as_bytes())?.1 {
            PresentFile::Base(Some(range)) => range.first_bytes(MAX_BASE_BYTES).ok(),
            PresentFile::Base(None) | PresentFile::Host(_) => None,
        }
    }
}
