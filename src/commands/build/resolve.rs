//! Everything that goes into an image, found on this machine and in registries.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use imgbuild_oci::cache::Cache;
use imgbuild_oci::entry::Member;
use imgbuild_oci::store::Store;
use imgbuild_release::addition::{open_additions, place_additions};
use imgbuild_release::base::Base;
use imgbuild_release::closure::{self, ClosureOptions};
use imgbuild_release::error::Error;
use imgbuild_release::kind::{CARGO, MIX};
use imgbuild_release::plan::Ingredients;
use imgbuild_release::programs::packages::PackageOptions;
use imgbuild_release::release::{Boot, Cookie, Kind, ModeRules, Release, ReleaseOptions};

use crate::args::{BootChoice, BuildArguments, Choice, CookieChoice, EMBEDDED, RuntimeChoice};
use crate::commands::options::{BuildRequest, ReleaseRequest};
use crate::commands::outputs::Outputs;
use crate::commands::{base, certificates};
use crate::failure::{self, Failure, Result};
use crate::ui::{Ui, count_text};

pub(super) fn open_releases(request: &BuildRequest<'_>) -> Result<Vec<Release>> {
    let releases = request.releases.iter();
    releases
        .map(|release| open_release(request, &release.root))
        .collect()
}

fn open_release(request: &BuildRequest<'_>, root: &Path) -> Result<Release> {
    let flags = request.flags;
    let cookie = match (flags.release_cookie, flags.boot) {
        (Some(CookieChoice::Remove), _) | (None, BootChoice::Direct) => Cookie::Remove,
        (Some(CookieChoice::Keep), _) | (None, BootChoice::Script) => Cookie::Keep,
    };
    let options = ReleaseOptions {
        kind: flags.kind,
        prefix: flags.prefix.clone(),
        binaries: flags.bin.clone(),
        patterns: request.patterns.clone(),
        modes: modes(flags),
        cookie,
        boot: match flags.boot {
            BootChoice::Direct => Boot::Direct,
            BootChoice::Script => Boot::Script,
        },
        variables: request.configuration.env.clone(),
        mtime: request.mtime,
    };
    let release = Release::open(root, &options)?;
    check_kind(request, root, release.kind)?;
    Ok(release)
}

fn modes(flags: &BuildArguments) -> ModeRules {
    ModeRules {
        allow_set_id: flags.allow_set_id,
        fix_modes: flags.fix_modes,
    }
}

/// Refuses flags that apply to another kind of release only.
fn check_kind(request: &BuildRequest<'_>, root: &Path, kind: &Kind) -> Result<()> {
    let (root, name) = (root.display(), kind.name);
    if !request.flags.bin.is_empty() && *kind != CARGO {
        let failure = Failure::command_line(format!(
            "`--bin` picks executables of a Cargo release, and `{root}` is of the kind `{name}`"
        ));
        return Err(failure.hint("pick files with `--exclude` and `--include`, or set `--kind`"));
    }
    if request.flags.boot == BootChoice::Direct && *kind != MIX {
        let failure = Failure::command_line(format!(
            "`--boot direct` starts a mix release, and `{root}` is of the kind `{name}`"
        ));
        return Err(failure.hint("name the program with `--entrypoint`, or set `--kind mix`"));
    }
    Ok(())
}

/// Returns the name that all releases have.
///
/// # Errors
///
/// If they have several.
pub(super) fn common_name(releases: &[Release]) -> Result<&str> {
    let names: BTreeSet<&str> = releases
        .iter()
        .map(|release| release.name.as_str())
        .collect();
    let mut names = names.into_iter();
    match (names.next(), names.next()) {
        (Some(name), None) => Ok(name),
        (first, second) => {
            let (first, second) = (first.unwrap_or_default(), second.unwrap_or_default());
            let failure = Failure::command_line(format!(
                "the releases have several names: `{first}` and `{second}`"
            ));
            Err(failure.hint("name the image with `--tag NAME`"))
        }
    }
}

/// The inputs that all releases of a run share.
pub(super) struct Resolver<'a> {
    pub(super) request: &'a BuildRequest<'a>,
    pub(super) outputs: &'a Outputs,
    pub(super) cache: &'a Cache,
    pub(super) scratch: &'a Path,
}

impl Resolver<'_> {
    /// Finds everything that goes into the image of one release; returns with it
    /// what the base image can be locked to.
    pub(super) fn resolve(
        &self,
        release: Release,
        target: &ReleaseRequest,
        remote_base: Option<&base::RemoteBase>,
        ui: &Ui,
    ) -> Result<(Ingredients, Option<base::Pin>)> {
        let mut additions = self.additions()?;
        let mut release = release.without_outputs(&self.outputs.paths(), &mut additions);
        if self.request.flags.fix_modes {
            let count = count_text(release.made_executable(&additions), "file");
            ui.status(&format!("`--fix-modes` made {count} executable"));
        }
        let base_request = base::Request {
            build: self.request,
            platform: target.platform.as_ref(),
            release: &release,
            additions: &additions,
            cache: self.cache,
            scratch: self.scratch,
            ui,
        };
        let (base, pin) = base::open(&base_request, remote_base)?.unzip();
        if let Some(base) = &base {
            release = release.onto(base).map_err(Error::Refused)?;
            additions = base.place(additions).map_err(Error::Refused)?;
        }
        let bundles = &self.request.flags.cacert;
        let certificates = if bundles.is_empty() {
            None
        } else {
            let replaces = self.request.flags.cacert_replace;
            let of_base = base.as_ref().map(Base::ca_bundles).unwrap_or_default();
            Some(certificates::load_onto(bundles, &of_base, replaces, ui)?)
        };
        let options = self.closure_options(target);
        additions = place_additions(&release.members, additions).map_err(Error::Refused)?;
        let closure = closure::resolve(&release, &additions, base.as_ref(), &options)
            .map_err(|error| failure::of_plan(error, &release.warnings))?;
        closure.notes.iter().for_each(|note| ui.status(note));
        closure.details.iter().for_each(|line| ui.detail(line));

        let mut ingredients = Ingredients {
            additions,
            certificates,
            has_own_certificates: bundles.iter().any(|bundle| bundle != EMBEDDED),
            base,
            ..Ingredients::new(release, closure)
        };
        ingredients.read_xattrs(self.request.flags.xattrs.unwrap_or_default());
        Ok((ingredients, pin.flatten()))
    }

    fn additions(&self) -> Result<Vec<Member>> {
        let request = self.request;
        open_additions(&request.additions, modes(request.flags), request.mtime)
            .map_err(|error| failure::named_by(error, "`--add` names the file"))
    }

    fn closure_options(&self, target: &ReleaseRequest) -> ClosureOptions {
        let request = self.request;
        let flags = request.flags;
        ClosureOptions {
            include_libraries: flags.runtime != RuntimeChoice::None,
            is_minimal: flags.runtime == RuntimeChoice::Minimal,
            sysroot: target.sysroot.clone(),
            library_paths: flags.library_path.clone(),
            add_libraries: flags.add_library.clone(),
            programs: flags.program.clone(),
            include_program_files: flags.program_files == Choice::Auto,
            packages: PackageOptions {
                names: flags.package.clone(),
                include_docs: flags.package_docs,
                include_recommended: flags.package_recommends,
                allow_set_id: flags.allow_set_id,
            },
            include_calls: flags.programs == Choice::Auto,
            include_time_zones: flags.tzdata,
            include_fonts: flags.fonts,
            locales: flags.locale.clone(),
            command: request.command.clone(),
            healthcheck: request.configuration.healthcheck.clone(),
            variables: request.configuration.env.clone(),
            platform: target.platform.clone(),
            include_records: flags.package_records == Choice::Auto,
            certificates: certificates::files(&flags.cacert),
            mtime: request.mtime,
            store: file_store(self.cache).cloned(),
        }
    }
}

/// Returns the store that recognizes files by what the system reports of them,
/// if that is allowed.
pub(super) fn file_store(cache: &Cache) -> Option<&Arc<Store>> {
    cache.store.as_ref().filter(|_| !cache.reads_contents)
}
