//! Directories that hold a release and are none themselves: a project, or
//! what its tool builds in.
//!
//! ```text
//! PROJECT/_build/ENVIRONMENT/rel/NAME     mix, rebar3
//! PROJECT/_rel/NAME                       erlang.mk
//! PROJECT/target/[TRIPLE/]release         Cargo
//! ```
//!
//! Only a handful of names are looked at, whatever the directory is.

use std::path::{Path, PathBuf};

use fs_err as fs;

use super::{Kind, cargo, mix};

/// Files that make a directory a project that releases come of.
const PROJECTS: [&str; 3] = ["mix.exs", "rebar.config", "relx.config"];

/// What Cargo writes at the top of `target` ([the build cache]).
///
/// [the build cache]: https://doc.rust-lang.org/cargo/reference/build-cache.html
const OF_TARGET: &str = ".rustc_info.json";

/// Releases that lie below a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Level {
    pub(super) kind: Kind,
    /// Where they lie.
    pub(super) places: Vec<PathBuf>,
    /// Whether nobody packs the directory itself: a project may well be
    /// meant as a whole.
    pub(super) is_certain: bool,
}

/// Returns the releases that are meant, if the directory is known to be for
/// them.
pub(super) fn find(root: &Path) -> Option<Level> {
    of_mix(root).or_else(|| of_cargo(root))
}

fn of_mix(root: &Path) -> Option<Level> {
    let name = super::directory_name(root);
    let has = |name: &str| root.join(name).is_file();
    let patterns: &[&[&str]] = match name.as_str() {
        _ if PROJECTS.iter().any(|name| has(name)) => {
            &[&["_build", "*", "rel", "*"], &["_rel", "*"]]
        }
        "_build" => &[&["*", "rel", "*"]],
        "rel" | "_rel" => &[&["*"]],
        // `_build/prod`, and its like elsewhere.
        _ => &[&["rel", "*"]],
    };
    let found = patterns.iter().flat_map(|pattern| expand(root, pattern));
    let mut places: Vec<PathBuf> = found.filter(|place| mix::is_release(place)).collect();
    // What goes into production comes first.
    let is_other = |place: &PathBuf| !place.iter().any(|name| name == "prod");
    places.sort_by_key(|place| (is_other(place), place.clone()));
    (!places.is_empty()).then_some(Level {
        kind: Kind::Mix,
        places,
        is_certain: true,
    })
}

fn of_cargo(root: &Path) -> Option<Level> {
    let is_project = root.join("Cargo.toml").is_file();
    let is_target = |directory: &Path| directory.join(OF_TARGET).is_file();
    let absolute = fs::canonicalize(root).ok()?;
    let is_below = is_target(root) || absolute.parent().is_some_and(is_target);
    let patterns: &[&[&str]] = match () {
        () if is_project => &[&["target", "release"], &["target", "*", "release"]],
        () if is_below => &[&["release"], &["*", "release"]],
        () => return None,
    };
    let found = patterns.iter().flat_map(|pattern| expand(root, pattern));
    let places: Vec<PathBuf> = found.filter(|place| has_program(place)).collect();
    (!places.is_empty()).then_some(Level {
        kind: Kind::Cargo,
        places,
        is_certain: !is_project,
    })
}

fn has_program(place: &Path) -> bool {
    cargo::is_profile_directory(place) && cargo::has_program(place)
}

/// Returns the directories below `root` whose names are as in the pattern, in
/// which `*` stands for any.
fn expand(root: &Path, pattern: &[&str]) -> Vec<PathBuf> {
    let Some((first, rest)) = pattern.split_first() else {
        return vec![root.to_path_buf()];
    };
    let join = |name: &std::ffi::OsStr| match root == Path::new(".") {
        true => PathBuf::from(name),
        false => root.join(name),
    };
    let mut next = match *first {
        "*" => {
            let entries = fs::read_dir(root).into_iter().flatten();
            let names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
            names.map(|name| join(&name)).collect()
        }
        name => vec![join(name.as_ref())],
    };
    next.retain(|path| path.is_dir());
    next.sort();
    next.iter().flat_map(|path| expand(path, rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(tree: &str, at: &str) -> Option<(Vec<String>, bool)> {
        let directory = tempfile::tempdir().unwrap();
        let top = directory.path().join("top");
        imgbuild_testing::Tree::parse(tree)
            .unwrap()
            .write_to(&top)
            .unwrap();
        let root = if at.is_empty() { top } else { top.join(at) };
        let level = find(&root)?;
        let relative = |path: &PathBuf| {
            let path = path.strip_prefix(&root).unwrap();
            path.display().to_string()
        };
        Some((
            level.places.iter().map(relative).collect(),
            level.is_certain,
        ))
    }

    /// What makes a directory a release of mix.
    fn release(at: &str) -> String {
        format!(
            "0644 file {at}/releases/start_erl.data \"13.1 1.0\"\n\
             0644 file {at}/releases/1.0/x.rel \"\"\n0755 dir {at}/lib\n"
        )
    }

    #[test]
    fn the_release_of_a_mix_project_is_found_at_every_level() {
        let project = [
            "0644 file mix.exs \"\"\n0755 dir _build/prod/lib\n0755 dir rel/overlays\n",
            &release("_build/prod/rel/shop"),
        ]
        .concat();
        for (at, expected) in [
            ("", "_build/prod/rel/shop"),
            ("_build", "prod/rel/shop"),
            ("_build/prod", "rel/shop"),
            ("_build/prod/rel", "shop"),
        ] {
            let expected = (vec![expected.to_owned()], true);
            assert_eq!(found(&project, at), Some(expected), "{at}");
        }
        assert_eq!(found(&project, "_build/prod/lib"), None);
        let several = project.clone() + &release("_build/dev/rel/shop");
        let expected = ["_build/prod/rel/shop", "_build/dev/rel/shop"];
        assert_eq!(found(&several, "").unwrap().0, expected);
    }

    #[test]
    fn a_tree_that_is_none_of_a_tool_is_left_alone() {
        assert_eq!(found(&release("services/shop"), ""), None);
        assert_eq!(found(&release("shop"), ""), None);
        assert_eq!(found("0644 file mix.exs \"\"\n", ""), None);
        assert_eq!(found("0755 dir rel/x/lib\n", "rel"), None);
        assert_eq!(found("0755 dir release\n", ""), None);
    }

    #[test]
    fn the_release_of_a_cargo_project_is_found() {
        use crate::elf::fixture::Fixture;
        let directory = tempfile::tempdir().unwrap();
        let project = directory.path();
        let profile = project.join("target/x86_64-unknown-linux-musl/release");
        fs::create_dir_all(profile.join(".fingerprint")).unwrap();
        fs::write(project.join("Cargo.toml"), "").unwrap();
        fs::write(project.join("target/.rustc_info.json"), "").unwrap();
        assert_eq!(find(project), None, "nothing was built");
        let program = profile.join("app");
        fs::write(&program, Fixture::new().file_type(2).bytes()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&program, mode).unwrap();
        for (root, is_certain) in [
            (project.to_path_buf(), false),
            (project.join("target"), true),
            (profile.parent().unwrap().to_path_buf(), true),
        ] {
            let level = find(&root).unwrap();
            assert_eq!(level.places, std::slice::from_ref(&profile));
            assert_eq!((level.kind, level.is_certain), (Kind::Cargo, is_certain));
        }
        assert_eq!(find(&profile), None);
    }
}
