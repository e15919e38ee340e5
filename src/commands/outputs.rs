//! The places that a command writes to, checked before anything is read.

use std::collections::BTreeSet;
use std::env;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::destination::{Destination, place_of};
use imgbuild_oci::reference::{Reference, name_from};
use imgbuild_oci::temporary::remove_abandoned;

use super::registry;
use crate::args::{BuildArguments, Output, ResultArguments};
use crate::failure::{Failure, Result};
use crate::ui::{Ui, check_output};

/// The destinations of an image, its names, and the small files beside it.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    /// The names of the image, sorted, each once.
    pub(crate) references: Vec<Reference>,
    pub(crate) destinations: Vec<Destination>,
    /// The file for the digest of the manifest or index.
    pub(crate) digest_file: Option<PathBuf>,
    /// `--update-index`: images are added to the indexes in registries.
    pub(crate) update_index: bool,
    /// The first name that was given: its index has the digest that is written
    /// to `index_digest_file`.
    pub(crate) first_name: Option<Reference>,
    /// The file for the digest of the index that `--update-index` writes.
    pub(crate) index_digest_file: Option<PathBuf>,
    /// The file for the digest of the config.
    pub(crate) image_id_file: Option<PathBuf>,
    /// The file for the result as JSON.
    pub(crate) metadata_file: Option<PathBuf>,
    pub(crate) is_json: bool,
    /// Wait until everything is on the disk before it gets its final name.
    pub(crate) sync: bool,
    /// The directory of the cache, which is not part of a release.
    pub(crate) cache_dir: Option<PathBuf>,
}

impl Outputs {
    /// Returns the outputs of a command without destinations yet.
    pub(crate) fn new(flags: &ResultArguments) -> Self {
        Self {
            digest_file: flags.digest_file.clone(),
            metadata_file: flags.metadata_file.clone(),
            is_json: flags.json,
            sync: !flags.no_sync,
            ..Self::default()
        }
    }

    /// Returns the outputs of a build whose releases have the name `own`.
    pub(crate) fn of_build(flags: &BuildArguments, own: Result<&str>, ui: &Ui) -> Result<Self> {
        let output = &flags.output;
        let references = references(&flags.tag, own)?;
        let mut outputs = Self {
            update_index: output.update_index,
            first_name: flags.tag.first().cloned(),
            index_digest_file: output.index_digest_file.clone(),
            image_id_file: output.iidfile.clone(),
            cache_dir: flags.cache.cache_dir.clone(),
            ..Self::new(&output.result)
        };
        if output.push {
            let names = references.iter().cloned();
            outputs.destinations = names.map(Destination::Registry).collect();
        }
        outputs.add(&output.output)?;
        if output.load {
            outputs.destinations.push(Destination::Engine);
        }
        if outputs.destinations.is_empty() {
            // The first name that was given, not the first in order.
            let name = flags.tag.first().unwrap_or(&references[0]).repository();
            let name = name.rsplit('/').next().unwrap_or(name);
            let file = PathBuf::from(format!("{name}.tar"));
            outputs.destinations.push(Destination::Archive(file, None));
        }
        if output.update_index {
            registry::check_update(&outputs.targets())?;
        }
        outputs.references = references;
        outputs.check(output.dry_run, ui)?;
        outputs.warn_of_names(ui);
        Ok(outputs)
    }

    /// Adds what `--output` or an argument names.
    pub(crate) fn add<'a>(&mut self, outputs: impl IntoIterator<Item = &'a Output>) -> Result<()> {
        for output in outputs {
            self.destinations.push(output.destination()?);
        }
        Ok(())
    }

    /// Checks that everything can be written, and removes what killed runs left
    /// there; a dry run writes nothing.
    pub(crate) fn check(&self, is_dry_run: bool, ui: &Ui) -> Result<()> {
        self.check_distinct()?;
        let to_stdout = |one: &&Destination| **one == Destination::StandardOutput;
        let count = self.destinations.iter().filter(to_stdout).count();
        if count > 1 {
            return Err(Failure::command_line("the destination `-` is given twice"));
        }
        if count > 0 && !is_dry_run {
            check_output()?;
        }
        if is_dry_run {
            return Ok(());
        }

        if count > 0 && self.is_json {
            let message = "the destination `-` and `--json` both write to standard output";
            return Err(Failure::command_line(message));
        }
        if count > 0 && io::stdout().is_terminal() {
            let failure = Failure::command_line("refusing to write an archive to a terminal");
            return Err(failure.hint("redirect standard output, or name a file"));
        }
        for destination in &self.destinations {
            destination.check()?;
        }
        for path in self.files() {
            // A file needs what an archive needs.
            Destination::Archive(path.to_path_buf(), None).check()?;
        }

        let mut directories = BTreeSet::from([self.scratch()]);
        for place in self.paths().into_iter().map(place_of) {
            directories.extend(place.parent().map(Path::to_path_buf));
            directories.extend([place.join("blobs/sha256"), place]);
        }
        for removed in directories.iter().flat_map(|one| remove_abandoned(one)) {
            let removed = removed.display();
            ui.status(&format!("removed `{removed}`, which a killed run left"));
        }
        Ok(())
    }

    /// Refuses one file for two outputs: only the last one would remain.
    fn check_distinct(&self) -> Result<()> {
        let archives = self
            .destinations
            .iter()
            .filter(|destination| !matches!(destination, Destination::Layout(..)))
            .filter_map(Destination::path);
        let mut seen = BTreeSet::new();
        for path in archives.chain(self.files()) {
            let place = place_of(path);
            // A device accepts everything.
            let is_special = fs::metadata(&place).is_ok_and(|found| !found.is_file());
            if !is_special && !seen.insert(place) {
                let failure = Failure::command_line(format!(
                    "two outputs are one file: `{}`",
                    path.display()
                ));
                return Err(failure.hint("give each output a file of its own"));
            }
        }
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [
            &self.digest_file,
            &self.image_id_file,
            &self.index_digest_file,
            &self.metadata_file,
        ];
        files.into_iter().filter_map(|file| file.as_deref())
    }

    pub(crate) fn targets(&self) -> Vec<Reference> {
        let targets = self.destinations.iter().filter_map(|one| match one {
            Destination::Registry(reference) => Some(reference.clone()),
            _ => None,
        });
        targets.collect()
    }

    /// Returns the destinations that are files, directories or standard output.
    pub(crate) fn local(&self) -> Vec<&Destination> {
        let is_local =
            |one: &&Destination| !matches!(one, Destination::Registry(_) | Destination::Engine);
        self.destinations.iter().filter(is_local).collect()
    }

    /// Returns whether the image only goes to registries.
    pub(crate) fn are_registries(&self) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.all(|one| matches!(one, Destination::Registry(_)))
    }

    /// Returns all paths that are written to.
    pub(crate) fn paths(&self) -> Vec<&Path> {
        let destinations = self.destinations.iter().filter_map(Destination::path);
        destinations
            .chain(self.files())
            .chain(self.cache_dir.as_deref())
            .collect()
    }

    /// Returns the directory for temporary files: beside the output, which has
    /// room for them, while a temporary directory may be in memory.
    pub(crate) fn scratch(&self) -> PathBuf {
        let mut files = self.destinations.iter().filter_map(Destination::path);
        let existing = files.find_map(|path| {
            let mut parents = path.ancestors().skip(1).map(|path| {
                if path.as_os_str().is_empty() {
                    Path::new(".")
                } else {
                    path
                }
            });
            parents.find(|path| path.is_dir()).map(Path::to_path_buf)
        });
        existing.unwrap_or_else(env::temp_dir)
    }

    /// Returns whether a destination is read or pushed as it is, so that layers
    /// should be compressed.
    pub(crate) fn want_compressed_layers(&self) -> bool {
        let mut destinations = self.destinations.iter();
        destinations.any(Destination::wants_compressed_layers)
    }

    /// Returns whether an engine loads the image from an archive.
    pub(crate) fn are_loaded(&self) -> bool {
        self.loaded().next().is_some()
    }

    fn loaded(&self) -> impl Iterator<Item = &Destination> {
        let destinations = self.destinations.iter();
        destinations.filter(|one| !one.wants_compressed_layers())
    }

    /// Warns of names that not every engine takes.
    pub(crate) fn warn_of_addresses(&self, ui: &Ui) {
        let names = self.loaded().flat_map(|one| one.names(&self.references));
        let names: BTreeSet<String> = names.map(|name| name.familiar()).collect();
        for name in names.iter().filter(|name| name.starts_with('[')) {
            ui.warning(&format!(
                "Docker before 25 and older versions of Podman do not load an image with an IPv6 address in its name, `{name}`: name it with a host name, for example `localhost`, or push it"
            ));
        }
    }

    /// Warns of names that a destination with a tag of its own does not list.
    fn warn_of_names(&self, ui: &Ui) {
        for destination in &self.destinations {
            let names = destination.names(&self.references);
            let ([kept], 2..) = (&names[..], self.references.len()) else {
                continue;
            };
            let others = self.references.iter().filter(|name| *name != kept);
            let others: Vec<String> = others.map(Reference::familiar).collect();
            let own = if destination.tag().is_some() {
                "tag"
            } else {
                "name"
            };
            ui.warning(&format!(
                "`{destination}` lists the image as `{}` only, without `{}` (leave out its {own} to list all)",
                kept.familiar(),
                others.join("`, `")
            ));
        }
    }
}

/// Returns the names of the image, each once: those that were given, or one made
/// from the releases' `own`.
fn references(given: &[Reference], own: Result<&str>) -> Result<Vec<Reference>> {
    let mut references = given.to_vec();
    if references.is_empty() {
        let own = own?;
        let reference = name_from(own).and_then(|name| name.parse().ok());
        let Some(reference) = reference else {
            let failure =
                Failure::command_line(format!("cannot make the name of an image from `{own}`"));
            return Err(failure.hint("name the image with `--tag NAME`"));
        };
        references.push(reference);
    }
    check_tags(&references)?;
    references.sort();
    references.dedup();
    Ok(references)
}

pub(crate) fn check_tags(references: &[Reference]) -> Result<()> {
    match references.iter().find(|name| name.digest().is_some()) {
        None => Ok(()),
        Some(name) => {
            let failure = Failure::command_line(format!(
                "cannot use `--tag {name}`: a tag cannot contain a digest, which is computed"
            ));
            Err(failure.hint("leave out what follows `@`"))
        }
    }
}
