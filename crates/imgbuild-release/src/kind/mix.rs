//! Releases of Elixir and Erlang, as `mix release` and relx make them.
//!
//! ```text
//! bin/NAME            the script that starts it
//! erts-VSN/bin/       the virtual machine; not in every release
//! lib/APP-VSN/        applications: of Erlang/OTP, of Elixir, dependencies, its own
//! releases/VSN/       boot scripts, configuration, NAME.rel
//! releases/start_erl.data, releases/COOKIE
//! ```

mod applications;
pub(crate) mod boot;
mod needs;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::bounded;
use imgbuild_oci::entry::Member;
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::root_directory::RootDirectory;

use super::expand;
use crate::contents::{Contents, first_bytes};
use crate::error::{Error, Result};
use crate::layering::{Group, Unit, Weight, divide_by_group};
use crate::package::{Package, PackageSource};
use crate::pattern::Verdict;
use crate::programs::Programs;
use crate::release::command::{Command, CommandOptions, CommandRequest, resolve};
use crate::release::facts::DirectoryFacts;
use crate::release::kind::{Behavior, ReleasesBelow, Selected};
use crate::release::selection::{Selection, directory_name};
use crate::release::{Boot, Cookie, Kind, Release};
use crate::runtime::Object;
use crate::warning::Warning;
use boot::Direct;

/// Releases of `mix release` and relx, with the programs that their scripts
/// call.
pub static MIX: Kind = Kind {
    name: "mix",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: false,
    recognize: |root, _| {
        let version = start_version(root)?;
        Some(format!("`{START}` starts version {version}"))
    },
    find_below,
    select,
};

const SOURCE: PackageSource = PackageSource {
    kind: "mix",
    file: "mix release",
};

/// The secret that a node shares with its peers and tools.
const COOKIE: &str = "releases/COOKIE";

/// The file with the versions of ERTS and of the release.
const START: &str = "releases/start_erl.data";

/// The largest text or boot file of a release that is read; those of large systems have some
/// hundred kilobytes.
const MAX_PART_BYTES: u64 = 8 << 20;

/// The start of the names of variables in scripts of relx.
const RELX: &[u8] = b"RELX_";

/// Files that a release writes when it runs in the directory where it was
/// built.
const LEFT_BY_RUNS: [&str; 2] = ["tmp", "erl_crash.dump"];

/// Files that make a directory a project that releases are built from.
const PROJECTS: [&str; 3] = ["mix.exs", "rebar.config", "relx.config"];

/// The description of a release in its own files.
#[derive(Debug, Clone, PartialEq, Eq)]
struct MixRelease {
    /// The name: that of `bin/NAME`.
    name: String,
    version: String,
    /// The version of the Erlang runtime system that it needs.
    erts: String,
    /// That runtime is a part of it.
    has_erts: bool,
    /// Relx wrote its script, which has other commands than that of
    /// `mix release`.
    is_relx: bool,
    /// The applications that `NAME.rel` lists.
    applications: Vec<String>,
    /// The start without a shell, if that is asked for.
    direct: Option<Direct>,
}

impl Behavior for MixRelease {
    fn decide(&self, release: &Release, request: &CommandRequest<'_>) -> Result<Option<Command>> {
        let direct = self.direct.as_ref();
        direct
            .map(|direct| self.decide_direct(direct, release, request))
            .transpose()
    }

    /// Returns `bin/server`, as Phoenix makes it, else the release's own
    /// script. It is not an entrypoint, so that a container can run another
    /// script of the release.
    fn default_command(
        &self,
        release: &Release,
        contents: &Contents<'_>,
    ) -> Result<Option<Vec<String>>> {
        let server = release.prefix.join("bin/server")?;
        if contents.has_executable(&server) {
            return Ok(Some(vec![server.to_string()]));
        }
        let own = release.prefix.join(format!("bin/{}", self.name))?;
        if !contents.has_executable(&own) {
            let mode = contents.file(&own).map(|file| (&own, file.entry.mode));
            return Err(Error::of_modes(mode).unwrap_or_else(|| Error::NoCommand(Vec::new())));
        }
        Ok(Some(vec![own.to_string(), self.start_verb().to_owned()]))
    }

    fn environment(&self) -> Vec<(String, String)> {
        let writable = if self.is_relx {
            "RELX_OUT_FILE_PATH"
        } else {
            "RELEASE_TMP"
        };
        vec![
            ("LANG".to_owned(), "C.UTF-8".to_owned()),
            (writable.to_owned(), "/tmp".to_owned()),
            // Where it cannot be written, the reason of a failed start is often lost.
            (
                "ERL_CRASH_DUMP".to_owned(),
                "/tmp/erl_crash.dump".to_owned(),
            ),
        ]
    }

    fn divide(&self, files: &[Weight<'_>], limit: usize) -> Vec<Unit> {
        divide_by_group(files, |path| self.group(path), limit)
    }

    fn package(&self, _: &Release) -> Option<Package> {
        Some(Package {
            version: Some(self.version.clone()),
            ..Package::named(SOURCE, &self.name)
        })
    }

    fn set_roles(&self, release: &Release, objects: &mut [Object]) {
        needs::set_roles(release, &self.erts, objects);
    }

    fn include_programs(
        &self,
        release: &Release,
        _: &[&Member],
        programs: &mut Programs<'_>,
    ) -> Result<()> {
        needs::include(release, self, programs)?;
        Ok(())
    }
}

/// Returns the version that a release of `mix release` or relx starts.
fn start_version(root: &Path) -> Option<String> {
    let directory = RootDirectory::open(root).ok()?;
    let (_, version) = start_data(&directory).ok()??;
    let is_there = root.join("lib").is_dir() && root.join("releases").join(&version).is_dir();
    is_there.then_some(version)
}

fn find_below(root: &Path, facts: &DirectoryFacts) -> Option<ReleasesBelow> {
    let name = directory_name(root);
    let is_project = PROJECTS.iter().any(|name| root.join(name).is_file());
    let patterns: &[&str] = match name.as_str() {
        _ if is_project => &["_build/*/rel/*", "_rel/*"],
        "_build" => &["*/rel/*"],
        "rel" | "_rel" => &["*"],
        // `_build/prod`, and directories like it elsewhere.
        _ => &["rel/*"],
    };
    let mut places: Vec<PathBuf> = patterns
        .iter()
        .flat_map(|pattern| expand(root, pattern, facts))
        .collect();
    places.retain(|place| start_version(place).is_some());
    // A release for production comes first.
    let is_other = |place: &PathBuf| !place.iter().any(|name| name == "prod");
    places.sort_by_key(|place| (is_other(place), place.clone()));
    (!places.is_empty()).then_some(ReleasesBelow {
        places,
        is_certain: true,
    })
}

/// Reads a file of a release; `None` if it cannot be read, which has its message elsewhere.
///
/// # Errors
///
/// When it is too large.
fn read_file(root: &RootDirectory, path: impl AsRef<Path>) -> Result<Option<Vec<u8>>> {
    let file = root.open_file(path.as_ref());
    match file.and_then(|file| bounded::read_opened(&file, MAX_PART_BYTES)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::FileTooLarge => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// Reads a text as [`read_file`] does.
fn read_text(root: &RootDirectory, path: impl AsRef<Path>) -> Result<Option<String>> {
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(read_file(root, path)?.map(text))
}

/// Reads the versions of ERTS and of the release.
fn start_data(root: &RootDirectory) -> Result<Option<(String, String)>> {
    let text = read_text(root, START)?.unwrap_or_default();
    let mut words = text.split_whitespace().map(str::to_owned);
    Ok(words.next().zip(words.next()))
}

/// Reads the description of a release.
///
/// # Errors
///
/// When no file has the version that starts, or a file is too large.
fn describe(directory: &RootDirectory) -> Result<MixRelease> {
    let root = directory.path();
    let Some((erts, version)) = start_data(directory)? else {
        return Err(Error::NoStartData(root.to_path_buf()));
    };
    let resource = resource(directory, &version)?;
    let has_script = |name: &String| root.join("bin").join(name).is_file();
    let parsed = resource.as_ref().and_then(|(_, text)| parse(text));
    let stem = resource.as_ref().map(|(stem, _)| stem.clone());
    let named = parsed.as_ref().map(|(name, _)| name.clone());
    let candidates = [named.clone(), stem.clone()];
    let name = candidates.into_iter().flatten().find(has_script);
    let name = name.or(named).or(stem);
    let name = name.unwrap_or_else(|| directory_name(root));
    let script = directory.open_file(Path::new(&format!("bin/{name}")));
    let script = script.map(|file| bounded::read_available(file, MAX_PART_BYTES));
    let script = script.unwrap_or_default();
    Ok(MixRelease {
        name,
        is_relx: script.windows(RELX.len()).any(|window| window == RELX),
        has_erts: root.join(format!("erts-{erts}")).is_dir(),
        version,
        erts,
        applications: parsed.map(|(_, names)| names).unwrap_or_default(),
        direct: None,
    })
}

/// The release resource file `NAME.rel`, with its name; of several the one
/// that has a script.
fn resource(root: &RootDirectory, version: &str) -> Result<Option<(String, String)>> {
    let directory = root.path().join("releases").join(version);
    let mut files: Vec<PathBuf> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rel"))
        .collect();
    files.sort();
    let stem = |path: &PathBuf| Some(path.file_stem()?.to_str()?.to_owned());
    let has_script = |path: &&PathBuf| {
        stem(path).is_some_and(|name| root.path().join("bin").join(name).is_file())
    };
    let Some(path) = files.iter().find(has_script).or(files.first()) else {
        return Ok(None);
    };
    let relative = path.strip_prefix(root.path()).unwrap_or(path);
    Ok(stem(path).zip(read_text(root, relative)?))
}

/// Reads name and applications of `{release, {"NAME", "VSN"}, {erts, …},
/// [{APP, "VSN", …}, …]}` ([rel(4)]).
///
/// [rel(4)]: https://www.erlang.org/doc/apps/sasl/rel.html
pub(crate) fn parse(text: &str) -> Option<(String, Vec<String>)> {
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

/// Selects the release without its cookie, if that is not wanted, and without
/// files of earlier runs; for a start without a shell, also without what only
/// a shell could run.
fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    let root = selection.root;
    let mut mix = describe(root)?;
    if selection.options.boot == Boot::Direct {
        let (direct, warnings) = boot::read(selection, &mix)?;
        selection.warnings.extend(warnings);
        mix.direct = Some(direct);
    }

    let direct = mix.direct.as_ref();
    let keeps_cookie = selection.options.cookie == Cookie::Keep;
    let replaced = direct.and_then(|direct| direct.arguments.as_ref());
    selection.take_tree(&|relative, verdict| {
        if relative == Path::new(COOKIE) && !keeps_cookie {
            return Some(if direct.is_some() {
                "a node without a name needs no cookie"
            } else {
                "containers get their own cookie"
            });
        }
        let first = relative.iter().next().unwrap_or_default();
        let is_undecided = verdict == Verdict::Undecided;
        if is_undecided && LEFT_BY_RUNS.iter().any(|name| first == *name) {
            return Some("written when the release ran");
        }
        if replaced.is_some_and(|(path, _)| relative == Path::new(path)) {
            return Some("replaced by arguments that need no shell");
        }
        if direct.is_some() && is_undecided {
            return boot::unwanted(root, relative);
        }
        None
    })?;

    for (path, bytes) in direct.iter().flat_map(|direct| direct.files(&mix)) {
        let path = selection.prefix.join(path)?;
        selection.push(Member::file(path, 0o644, bytes));
    }
    let mut left_out = selection.left_out.iter();
    if direct.is_none() && left_out.any(|left| left.path == Path::new(COOKIE)) {
        let text = "the release cookie is not in the image: containers need `RELEASE_COOKIE` in their environment to start";
        selection.warnings.push(Warning::Other(text.to_owned()));
    }
    warn_of_cookie(selection, &format!("releases/{}/vm.args", mix.version))?;
    Ok(Selected {
        name: Some(mix.name.clone()),
        behavior: Box::new(mix),
    })
}

/// Warns of the cookie among the arguments of the virtual machine.
fn warn_of_cookie(selection: &mut Selection<'_>, path: &str) -> Result<()> {
    let root = selection.root;
    let file = path;
    let path = selection.prefix.join(path)?;
    let mut members = selection.members.iter();
    if members.any(|member| member.entry.path == path)
        && boot::has_cookie(&read_text(root, file)?.unwrap_or_default())
    {
        let text = format!(
            "`{path}` contains the node cookie (`-setcookie`): anyone with the image can read it and control reachable nodes"
        );
        selection.warnings.push(text.into());
    }
    Ok(())
}

impl MixRelease {
    /// Starts the virtual machine itself, as the scripts of the release would,
    /// or another program that needs no shell.
    fn decide_direct(
        &self,
        direct: &Direct,
        release: &Release,
        request: &CommandRequest<'_>,
    ) -> Result<Command> {
        let options = request.options;
        let words = [&options.entrypoint, &options.cmd].map(Option::as_deref);
        let words = words.map(Option::unwrap_or_default).concat();
        if words.is_empty() && options.no_entrypoint {
            return Ok(Command::default());
        }

        let (prefix, name, verb) = (&release.prefix, &release.name, self.start_verb());
        let is = |word: &str, name: &str| {
            let path = prefix.join(format!("bin/{name}"));
            path.is_ok_and(|path| path.to_string() == word)
                || word == name
                || word.strip_prefix("bin/") == Some(name)
        };
        let as_server = match words.as_slice() {
            [] => Some(direct.server.is_some()),
            [word] if direct.server.is_some() && is(word, "server") => Some(true),
            [word, command] if command == verb && is(word, name) => Some(false),
            _ => None,
        };
        let start = direct.start(prefix, self, as_server == Some(true), request.variables);
        if as_server.is_some() {
            return Ok(start);
        }
        check_binary(prefix, request).ok_or_else(|| Error::Command {
            command: words.first().cloned().unwrap_or_default(),
            reason: format!(
                "without a shell the command must be a binary, `bin/server` or `bin/{name} {verb}`"
            ),
        })?;
        Ok(Command {
            entrypoint: options.entrypoint.clone(),
            cmd: options.cmd.clone(),
            ..start
        })
    }

    /// Returns the argument with which the release's script starts it in the
    /// foreground.
    fn start_verb(&self) -> &'static str {
        if self.is_relx { "foreground" } else { "start" }
    }

    /// Returns the unit of a path, the most stable ones first.
    fn group(&self, path: &[u8]) -> Group {
        let text = String::from_utf8_lossy(path);
        let mut names = text.split('/');
        let (first, second) = (names.next().unwrap_or_default(), names.next());
        match second {
            _ if first.starts_with("erts-") => Group::whole(0, "erts"),
            Some(directory) if first == "lib" => {
                let name = application_name(directory);
                if applications::is_of_otp(name) {
                    Group::whole(1, "otp")
                } else if applications::is_of_elixir(name) {
                    Group::whole(2, "elixir")
                } else if self.is_own(name) {
                    Group::whole(4, "application")
                } else {
                    Group::member(3, "dependencies", name)
                }
            }
            _ => Group::whole(5, ""),
        }
    }

    /// Returns whether an application is the release's own: the one with its
    /// name, and those of an umbrella project, which by convention have its
    /// name as a prefix. Without such an application it is the first of the
    /// list that is neither of Erlang/OTP nor of Elixir.
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

/// Checks that the command of the user is machine code.
fn check_binary(prefix: &ImagePath, request: &CommandRequest<'_>) -> Option<()> {
    let CommandOptions {
        entrypoint, cmd, ..
    } = request.options;
    let words = entrypoint.as_ref().or(cmd.as_ref())?;
    let words = resolve(prefix, request.contents, words).ok()?;
    let path = ImagePath::parse(words.first()?).ok()?;
    let content = request.contents.file(&path)?.content.as_ref()?;
    (first_bytes(content, 4) == b"\x7fELF").then_some(())
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
    use std::sync::Arc;

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

    fn open(directory: &tempfile::TempDir) -> Arc<RootDirectory> {
        RootDirectory::open(directory.path()).unwrap()
    }

    #[test]
    fn a_release_is_recognized_and_describes_itself() {
        let directory = release();
        assert!(start_version(directory.path()).is_some());
        let found = describe(&open(&directory)).unwrap();
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
        let found = describe(&open(&directory)).unwrap();
        assert!(found.has_erts && found.is_relx);
    }

    #[test]
    fn files_outside_of_a_release_do_not_describe_it() {
        let outside = release();
        let directory = release();
        for name in [START, "releases/1.2.0/shop.rel", "bin/shop"] {
            let path = directory.path().join(name);
            fs::remove_file(&path).unwrap();
            fs::os::unix::fs::symlink(outside.path().join(name), &path).unwrap();
        }
        assert!(start_version(directory.path()).is_none());
        // A link that stays in it is followed.
        write(directory.path(), "data", "13.1.5 1.2.0\n");
        let start = directory.path().join(START);
        fs::remove_file(&start).unwrap();
        fs::os::unix::fs::symlink("../data", &start).unwrap();
        assert!(start_version(directory.path()).is_some());
        let found = describe(&open(&directory)).unwrap();
        assert!(found.applications.is_empty(), "{found:?}");
    }

    #[test]
    fn what_is_no_release_is_not_taken_for_one() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        assert!(start_version(root).is_none());
        write(root, "releases/start_erl.data", "13.1.5");
        write(root, "lib/a/b", "");
        assert!(start_version(root).is_none(), "no version");
        assert!(describe(&open(&directory)).is_err());
        write(root, "releases/start_erl.data", "13.1.5 2");
        assert!(
            start_version(root).is_none(),
            "no directory of that version"
        );
    }

    #[test]
    fn paths_are_placed_by_what_they_change_with() {
        let found = describe(&open(&release())).unwrap();
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
            let group = found.group(path.as_bytes());
            assert_eq!((group.rank, group.name), (rank, name), "{path}");
        }
    }

    #[test]
    fn without_an_application_of_its_name_the_first_of_the_list_is_the_own() {
        let found = MixRelease {
            name: "production".to_owned(),
            ..describe(&open(&release())).unwrap()
        };
        assert!(found.is_own("shop"));
        assert!(!found.is_own("shopify"));
    }
}
