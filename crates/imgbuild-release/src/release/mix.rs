//! Releases of Elixir and Erlang, as `mix release` and relx make them.
//!
//! ```text
//! bin/NAME            the script that starts it
//! erts-VSN/bin/       the virtual machine; not in every release
//! lib/APP-VSN/        applications: Erlang/OTP's, Elixir's, others', its own
//! releases/VSN/       boot scripts, configuration, NAME.rel
//! releases/start_erl.data, releases/COOKIE
//! ```

mod applications;
mod boot;

use std::path::{Path, PathBuf};

use fs_err as fs;
use serde::Serialize;

use imgbuild_oci::entry::Member;

use super::Selection;
use crate::error::{Error, Result};
use crate::layering::Place;
use crate::pattern::Verdict;
use crate::warning::Warning;

pub(crate) use boot::Direct;
pub use boot::{Boot, BootProblem};

/// What a node's peers and tools have to know to talk to it.
const COOKIE: &str = "releases/COOKIE";

/// The file that says which version of the release starts.
const START: &str = "releases/start_erl.data";

/// How variables of the scripts of relx start.
const RELX: &[u8] = b"RELX_";

/// What the release itself leaves behind when it runs where it was built.
const LEFT_BY_RUNS: [&str; 2] = ["tmp", "erl_crash.dump"];

/// Whether the cookie of a release goes into its image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cookie {
    /// It does, so that the image starts as it is.
    #[default]
    Keep,
    /// It does not; containers get one of their own.
    Remove,
}

/// What a release says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MixRelease {
    /// Its name: that of `bin/NAME`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of the Erlang runtime that it wants.
    pub erts: String,
    /// Whether that runtime is a part of it.
    pub has_erts: bool,
    /// Whether relx wrote its script, which knows other commands than that
    /// of `mix release`.
    pub is_relx: bool,
    /// Its applications as `NAME.rel` lists them.
    applications: Vec<String>,
}

/// Returns whether `mix release` or relx made this directory.
pub(super) fn is_release(root: &Path) -> bool {
    let Some((_, version)) = start_data(root) else {
        return false;
    };
    root.join("lib").is_dir() && root.join("releases").join(version).is_dir()
}

/// The versions of ERTS and of the release.
fn start_data(root: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(root.join(START)).ok()?;
    let mut words = text.split_whitespace().map(str::to_owned);
    Some((words.next()?, words.next()?))
}

/// Reads what the release says about itself.
///
/// # Errors
///
/// When nothing says which version of it starts.
pub(super) fn describe(root: &Path) -> Result<MixRelease> {
    let Some((erts, version)) = start_data(root) else {
        let path = root.to_path_buf();
        return Err(Error::NoStartData { path });
    };
    let resource = resource(root, &version);
    let has_script = |name: &String| root.join("bin").join(name).is_file();
    let parsed = resource.as_ref().and_then(|(_, text)| parse(text));
    let stem = resource.as_ref().map(|(stem, _)| stem.clone());
    let named = parsed.as_ref().map(|(name, _)| name.clone());
    let candidates = [named.clone(), stem.clone()];
    let name = candidates.into_iter().flatten().find(has_script);
    let name = name.or(named).or(stem);
    let name = name.unwrap_or_else(|| super::directory_name(root));
    let script = fs::read(root.join("bin").join(&name)).unwrap_or_default();
    Ok(MixRelease {
        name,
        is_relx: script.windows(RELX.len()).any(|window| window == RELX),
        has_erts: root.join(format!("erts-{erts}")).is_dir(),
        version,
        erts,
        applications: parsed.map(|(_, names)| names).unwrap_or_default(),
    })
}

/// The release resource file `NAME.rel`, with its name; of several the one
/// that has a script.
fn resource(root: &Path, version: &str) -> Option<(String, String)> {
    let directory = root.join("releases").join(version);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rel"))
        .collect();
    files.sort();
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let has_script =
        |path: &&PathBuf| stem(path).is_some_and(|name| root.join("bin").join(name).is_file());
    let path = files.iter().find(has_script).or(files.first())?;
    Some((stem(path)?, fs::read_to_string(path).ok()?))
}

/// Reads name and applications of `{release, {"NAME", "VSN"}, {erts, …},
/// [{APP, "VSN", …}, …]}` ([rel(4)]).
///
/// [rel(4)]: https://www.erlang.org/doc/apps/sasl/rel.html
fn parse(text: &str) -> Option<(String, Vec<String>)> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('%'));
    let text: String = lines
        .flat_map(str::chars)
        .filter(|letter| !letter.is_whitespace())
        .collect();
    let rest = text.split_once("{release,{\"")?.1;
    let (name, rest) = rest.split_once('"')?;
    let list = rest.split_once('[').map_or("", |(_, list)| list);
    let applications = list.split('{').filter_map(|application| {
        let name = application.split(',').next()?.trim_matches('\'');
        (!name.is_empty()).then(|| name.to_owned())
    });
    Some((name.to_owned(), applications.collect()))
}

/// Takes the release but its cookie, if that is not wanted, and what earlier
/// runs of it wrote; and, when it is to start without a shell, without what
/// only a shell could run.
///
/// # Errors
///
/// When it is to start without a shell, and with everything at once that
/// only a shell could do.
pub(super) fn select(selection: &mut Selection<'_>, mix: &MixRelease) -> Result<Option<Direct>> {
    let root = selection.root;
    let keeps_cookie = selection.options.cookie == Cookie::Keep;
    let mut direct = None;
    if selection.options.boot == Boot::Direct {
        let patterns = &selection.options.patterns;
        let is_left_out = |path: &str| patterns.decide(Path::new(path), false) == Verdict::Excluded;
        let wishes = boot::Wishes {
            prefix: selection.prefix,
            variables: &selection.options.variables,
            is_left_out: &is_left_out,
        };
        let (found, warnings) = boot::read(root, mix, &wishes)?;
        selection.warnings.extend(warnings);
        direct = Some(found);
    }
    let replaced = direct.as_ref().and_then(Direct::replaced_arguments);
    let replaced = replaced.map(str::to_owned);
    selection.take_tree(&|relative, verdict| {
        let first = relative.iter().next().unwrap_or_default();
        let is_left = LEFT_BY_RUNS.iter().any(|name| first == *name);
        if relative == Path::new(COOKIE) && !keeps_cookie {
            return Some(match direct.is_some() {
                true => "a node without a name needs no cookie",
                false => "containers get their own cookie",
            });
        }
        let is_undecided = verdict == Verdict::Undecided;
        if is_left && is_undecided {
            return Some("written when the release ran");
        }
        if replaced.as_deref().map(Path::new) == Some(relative) {
            return Some("replaced by arguments that need no shell");
        }
        match direct.is_some() && is_undecided {
            true => boot::unwanted(root, relative),
            false => None,
        }
    })?;
    for (path, bytes) in direct.iter().flat_map(|direct| direct.files(mix)) {
        let path = selection.prefix.join(path)?;
        selection.push(Member::file(path, 0o644, bytes));
    }
    let vm_arguments = format!("releases/{}/vm.args", mix.version);
    warn_of_cookie(selection, &vm_arguments)?;
    Ok(direct)
}

/// Names a secret among the arguments of the virtual machine.
fn warn_of_cookie(selection: &mut Selection<'_>, path: &str) -> Result<()> {
    let text = fs::read_to_string(selection.root.join(path)).unwrap_or_default();
    if boot::VmArguments::parse(&text).has_cookie() {
        let path = selection.prefix.join(path)?;
        let is_taken = selection
            .members
            .iter()
            .any(|member| member.entry.path == path);
        if is_taken {
            selection.warnings.push(Warning::CookieArgument { path });
        }
    }
    Ok(())
}

impl MixRelease {
    /// Returns where the cookie lies in the release.
    pub(crate) fn cookie() -> &'static str {
        COOKIE
    }

    /// Returns whether `NAME.rel` lists an application.
    pub(crate) fn lists(&self, name: &str) -> bool {
        self.applications.iter().any(|known| known == name)
    }

    /// Returns with what a path of the release changes, most stable first.
    pub(crate) fn place(&self, path: &[u8]) -> Place {
        let text = String::from_utf8_lossy(path);
        let mut names = text.split('/');
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        match second {
            _ if first.starts_with("erts-") => Place::whole(0, "erts"),
            Some(directory) if first == "lib" => {
                let name = application_name(directory);
                if applications::is_of_otp(name) {
                    Place::whole(1, "otp")
                } else if applications::is_of_elixir(name) {
                    Place::whole(2, "elixir")
                } else if self.is_own(name) {
                    Place::whole(4, "application")
                } else {
                    Place::one_of(3, "dependencies", name)
                }
            }
            _ => Place::whole(5, ""),
        }
    }

    /// Returns whether an application is the release's own: the one that is
    /// called like it, and those of an umbrella project, which by custom
    /// have its name in front. Without such a one it is the first of the
    /// list that neither Erlang/OTP nor Elixir brings.
    fn is_own(&self, name: &str) -> bool {
        let is_called_so = |name: &str| {
            let rest = name.strip_prefix(&self.name);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        if self.applications.iter().any(|name| is_called_so(name)) {
            return is_called_so(name);
        }
        let is_brought =
            |name: &str| applications::is_of_otp(name) || applications::is_of_elixir(name);
        let mut others = self.applications.iter().filter(|name| !is_brought(name));
        others.next().is_some_and(|first| first == name)
    }
}

/// Returns the name of `NAME-VSN`.
fn application_name(directory: &str) -> &str {
    match directory.rsplit_once('-') {
        Some((name, version)) if version.starts_with(|first: char| first.is_ascii_digit()) => name,
        _ => directory,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESOURCE: &str = "%% coding: utf-8\n{release,{\"shop\",\"1.2.0\"},\n  {erts,\"13.1.5\"},\n  \
        [{kernel,\"8.5.3\",permanent},\n   {elixir,\"1.14.0\",permanent},\n   {shop,\"1.2.0\",permanent},\n   \
        {shop_web,\"1.2.0\"},{shopify,\"3.0.0\"}]}.\n";

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn release() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(root, "releases/start_erl.data", "13.1.5 1.2.0\n");
        write(
            root,
            "releases/1.2.0/start_clean.rel",
            "{release,{\"other\",\"1\"}}.",
        );
        write(root, "releases/1.2.0/shop.rel", RESOURCE);
        write(root, "bin/shop", "#!/bin/sh\n");
        write(root, "lib/kernel-8.5.3/ebin/kernel.app", "");
        directory
    }

    #[test]
    fn a_release_is_recognized_and_describes_itself() {
        let directory = release();
        assert!(is_release(directory.path()));
        let found = describe(directory.path()).unwrap();
        assert_eq!(
            (found.name.as_str(), found.version.as_str()),
            ("shop", "1.2.0")
        );
        assert_eq!((found.erts.as_str(), found.has_erts), ("13.1.5", false));
        assert!(!found.is_relx);
        assert_eq!(
            found.applications,
            ["kernel", "elixir", "shop", "shop_web", "shopify"]
        );
        fs::create_dir(directory.path().join("erts-13.1.5")).unwrap();
        write(directory.path(), "bin/shop", "#!/bin/sh\nRELX_CONFIG=x\n");
        let found = describe(directory.path()).unwrap();
        assert!(found.has_erts && found.is_relx);
    }

    #[test]
    fn what_is_no_release_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(!is_release(root));
        write(root, "releases/start_erl.data", "13.1.5");
        write(root, "lib/a/b", "");
        assert!(!is_release(root), "no version");
        assert!(describe(root).is_err());
        write(root, "releases/start_erl.data", "13.1.5 2");
        assert!(!is_release(root), "no directory of that version");
    }

    #[test]
    fn paths_are_placed_by_what_they_change_with() {
        let found = describe(release().path()).unwrap();
        for (path, rank, name) in [
            ("erts-13.1.5", 0, "erts"),
            ("erts-13.1.5/bin/beam.smp", 0, "erts"),
            ("lib/kernel-8.5.3/ebin/kernel.beam", 1, "otp"),
            ("lib/elixir-1.14.0/ebin", 2, "elixir"),
            ("lib/shop-1.2.0/ebin/x.beam", 4, "application"),
            ("lib/shop_web-1.2.0/priv", 4, "application"),
            ("lib/shopify-3.0.0/ebin", 3, "dependencies"),
            ("lib/jason/ebin", 3, "dependencies"),
            ("releases/1.2.0/sys.config", 5, ""),
            ("bin/shop", 5, ""),
            ("lib", 5, ""),
        ] {
            let place = found.place(path.as_bytes());
            assert_eq!((place.rank, place.name), (rank, name), "{path}");
        }
    }

    #[test]
    fn without_an_application_of_its_name_the_first_of_the_list_is_the_own() {
        let found = MixRelease {
            name: "production".to_owned(),
            ..describe(release().path()).unwrap()
        };
        assert!(found.is_own("shop"));
        assert!(!found.is_own("shopify"));
    }
}
