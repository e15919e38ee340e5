//! Next.js with `output: "standalone"`: a server with the modules that it needs,
//! and beside it what `next build` leaves to its user to copy ([output]).
//!
//! ```text
//! PROJECT/public/, PROJECT/.next/static/          files that are served as they are
//! PROJECT/.next/standalone/[APPLICATION/]server.js
//! ```
//!
//! [output]: https://nextjs.org/docs/app/api-reference/config/next-config-js/output

use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::root_directory::RootDirectory;

use super::node::{NodeRelease, manifest::PackageFile};
use super::{expand, releases_below};
use crate::error::{NoStart, Result};
use crate::release::Kind;
use crate::release::facts::DirectoryFacts;
use crate::release::kind::{ReleasesBelow, Selected};
use crate::release::selection::Selection;

/// A standalone server of Next.js, or the project that has it.
pub static NEXT: Kind = Kind {
    name: "next",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: true,
    recognize: |root, facts| {
        let server = Standalone::find(root, facts)?.server();
        Some(format!("`{server}` is a standalone server of Next.js"))
    },
    find_below,
    select,
};

/// A server, and the project that it was built from.
struct Standalone {
    directory: PathBuf,
    project: PathBuf,
    /// The directory of the server in `directory`; a workspace has several.
    application: PathBuf,
}

impl Standalone {
    fn find(root: &Path, facts: &DirectoryFacts) -> Option<Self> {
        let inner = root.join(".next/standalone");
        let is_project = inner.is_dir();
        let directory = if is_project {
            inner
        } else {
            root.to_path_buf()
        };
        let patterns = ["", "*", "*/*"].iter();
        let mut places = patterns.flat_map(|pattern| expand(&directory, pattern, facts));
        let place = places.find(|place| is_server(place, facts))?;
        // Those in the directory `.` are relative.
        let application = place.strip_prefix(&directory).unwrap_or(&place);
        let real = fs::canonicalize(root).ok()?;
        let is_inner = !is_project && real.ends_with(".next/standalone");
        let project = real.ancestors().nth(if is_inner { 2 } else { 0 })?;
        Some(Self {
            application: application.to_path_buf(),
            project: project.to_path_buf(),
            directory,
        })
    }

    fn server(&self) -> String {
        self.application.join("server.js").display().to_string()
    }
}

/// Returns whether Next.js made `server.js`; that of a user stands beside
/// `.next`, too.
fn is_server(place: &Path, facts: &DirectoryFacts) -> bool {
    let text = || facts.text(&place.join("server.js"));
    place.join(".next/BUILD_ID").is_file()
        && text().is_some_and(|text| text.contains("process.chdir(__dirname)"))
}

fn find_below(root: &Path, facts: &DirectoryFacts) -> Option<ReleasesBelow> {
    let is_release = |place: &Path| Standalone::find(place, facts).is_some();
    let below = releases_below(root, &["standalone", "apps/*"], facts, is_release)?;
    Some(ReleasesBelow {
        is_certain: root.join("BUILD_ID").is_file(),
        ..below
    })
}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    let found =
        Standalone::find(selection.root.path(), selection.facts).ok_or_else(|| NoStart {
            reason: "`.next/standalone` has no `server.js`".to_owned(),
            words: Vec::new(),
        })?;
    let root = RootDirectory::open(&found.directory)?;
    selection.take_below(&root, Path::new(""), &|_, _| None)?;
    for part in ["public", ".next/static"] {
        let (from, place) = (found.project.join(part), found.application.join(part));
        if found.directory.join(&place).is_dir() {
            continue;
        }
        if from.is_dir() {
            selection.take_below(&RootDirectory::open(&from)?, &place, &|_, _| None)?;
        } else if part != "public" {
            let text = "`.next/static` is neither in the release nor in its project: pages come without styles and scripts";
            selection.warnings.push(text.to_owned().into());
        }
    }
    let manifest = PackageFile::read(&found.project, selection.facts);
    let pairs = [
        ("NODE_ENV", "production"),
        ("HOSTNAME", "0.0.0.0"),
        ("PORT", "3000"),
    ];
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    Ok(Selected {
        name: manifest.and_then(|it| it.name()),
        behavior: Box::new(NodeRelease {
            arguments: Ok(Some(vec![found.server()])),
            variables: pairs.map(owned).to_vec(),
            writable: vec![found.application.join(".next/cache")],
        }),
    })
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::kind::tests::written;
    use crate::release::{Release, ReleaseOptions};

    const SERVER: &str =
        "0644 file P/server.js \"process.chdir(__dirname)\\n\"\n0644 file P/.next/BUILD_ID \"x\"\n";

    fn server(place: &str) -> String {
        SERVER.replace("P/", place)
    }

    /// Opens a directory of a project; returns its kind and its paths.
    fn opened(tree: &str, at: &str) -> (&'static str, Vec<String>) {
        let directory = written(tree);
        let release = Release::open(&directory.path().join(at), &ReleaseOptions::default());
        let release = release.unwrap();
        let files = release
            .members
            .iter()
            .filter(|member| member.content.is_some());
        let paths = files.map(|member| member.entry.path.to_string());
        (release.kind.name, paths.collect())
    }

    #[test]
    fn a_server_gets_what_lies_in_its_project() {
        let rest = "0644 file public/robots.txt \"\"\n0644 file .next/static/a.js \"\"\n0644 file pages/index.js \"\"\n";
        let tree = server(".next/standalone/") + rest;
        let expected = [
            "/app/.next/BUILD_ID",
            "/app/.next/static/a.js",
            "/app/public/robots.txt",
            "/app/server.js",
        ];
        for at in ["", ".next/standalone"] {
            assert_eq!(
                opened(&tree, at),
                ("next", expected.map(str::to_owned).to_vec())
            );
        }
        let copied = "0644 file .next/standalone/.next/static/b.js \"\"\n";
        let (_, paths) = opened(&(tree + copied), "");
        assert!(
            paths.contains(&"/app/.next/static/b.js".to_owned()),
            "{paths:?}"
        );
        assert!(
            !paths.contains(&"/app/.next/static/a.js".to_owned()),
            "{paths:?}"
        );
        let workspace = server(".next/standalone/apps/web/") + rest;
        let (_, paths) = opened(&workspace, "");
        assert!(
            paths.contains(&"/app/apps/web/public/robots.txt".to_owned()),
            "{paths:?}"
        );
    }

    #[test]
    fn only_a_server_that_next_made_is_recognized() {
        assert_eq!(opened(&server(""), "").0, "next", "copied to another place");
        let own = server("").replace("process.chdir", "start");
        assert_eq!(opened(&own, "").0, "tree");
        let directory = tempfile::tempdir().unwrap();
        let tree = server("standalone/") + "0644 file BUILD_ID \"\"\n";
        Tree::parse(&tree)
            .unwrap()
            .write_to(directory.path())
            .unwrap();
        let below = find_below(directory.path(), &DirectoryFacts::default()).unwrap();
        assert_eq!(below.places, [directory.path().join("standalone")]);
        assert!(below.is_certain);
    }
}
