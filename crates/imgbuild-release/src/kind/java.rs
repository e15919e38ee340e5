//! Applications in Java: jars, the start scripts of Gradle and Maven, and what `jlink`
//! and `jpackage` make.
//!
//! ```text
//! shop.jar                        the only one that names its main class; or unpacked
//! bin/shop, lib/*.jar             a start script and what it runs
//! jre/bin/java, runtime/bin/java  a Java virtual machine; else that of the host
//! bin/java, lib/modules           one that `jlink` made, with the application in it
//! bin/shop, lib/app, lib/runtime  an application of `jpackage`
//! ```

mod image;
mod jar;
mod modules;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use fs_err as fs;

use super::{expand, first_name, has_other_program, releases_below};
use crate::contents::Contents;
use crate::error::{NoStart, Result};
use crate::layering::{Group, Unit, Weight, divide_by_group};
use crate::programs::java::CLASSES;
use crate::refusal::quoted;
use crate::release::facts::DirectoryFacts;
use crate::release::kind::{Behavior, ReleasesBelow, Selected};
use crate::release::selection::Selection;
use crate::release::{Kind, Release};

/// An application in Java.
pub static JAVA: Kind = Kind {
    name: "java",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: true,
    recognize,
    find_below,
    select,
};

/// The places of a Java virtual machine in a release.
const HOMES: [&str; 2] = ["jre", "runtime"];

/// The names at the top of a Java virtual machine.
const IMAGE: [&str; 7] = ["bin", "conf", "include", "legal", "lib", "man", "release"];

/// The most jars whose manifests are read.
const MAX_JARS: usize = 32;

#[derive(Debug)]
struct JavaRelease {
    start: Startable,
    variables: Vec<(String, String)>,
    /// The place of the Java virtual machine in the release; empty if the release is one.
    home: Option<&'static str>,
}

/// The start of an application, or the reason why it is not known.
type Startable = std::result::Result<JavaStart, NoStart>;

/// The command that starts an application.
#[derive(Debug, Clone)]
struct JavaStart {
    words: Vec<String>,
    because: String,
    /// The name of the file with the application, if it is one.
    file: Option<String>,
    /// As that of the release.
    home: Option<&'static str>,
    /// The layout itself shows it; else only if nothing else is a program.
    is_certain: bool,
}

/// A directory on the host.
struct Directory<'a> {
    root: &'a Path,
    facts: &'a DirectoryFacts,
}

impl Behavior for JavaRelease {
    fn default_command(&self, _: &Release, _: &Contents<'_>) -> Result<Option<Vec<String>>> {
        Ok(Some(self.start.clone()?.words))
    }

    fn environment(&self) -> Vec<(String, String)> {
        self.variables.clone()
    }

    fn divide(&self, files: &[Weight<'_>], limit: usize) -> Vec<Unit> {
        divide_by_group(files, |path| self.group(path), limit)
    }

    fn interpreter(&self, _: &Release, _: &Contents<'_>) -> Option<&'static str> {
        self.home.is_none().then_some("java")
    }
}

impl JavaRelease {
    /// Returns the group of a path: the Java virtual machine, a jar that the
    /// application depends on, or the application.
    fn group(&self, path: &[u8]) -> Group {
        let path = String::from_utf8_lossy(path);
        let file = self
            .start
            .as_ref()
            .ok()
            .and_then(|start| start.file.as_deref());
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
        let is_java = self.home.is_some_and(|home| match path.strip_prefix(home) {
            Some(below) if !home.is_empty() => below.is_empty() || below.starts_with('/'),
            Some(below) => IMAGE.contains(&first_name(below)),
            None => false,
        });
        if file == Some(name) {
            Group::whole(2, "application")
        } else if is_java {
            Group::whole(0, "java")
        } else if is_jar(name) && !parent.is_empty() {
            Group::member(1, "dependencies", stem(name))
        } else {
            Group::whole(2, "application")
        }
    }
}

impl Directory<'_> {
    /// Returns the start of the application, or the reason why it is not known; `None`
    /// if there is none in Java.
    fn start(&self) -> Option<Startable> {
        image::start(self)
            .or_else(|| self.script())
            .or_else(|| self.jar())
            .or_else(|| self.unpacked().or_else(|| self.layered()).map(Ok))
    }

    fn names(&self, directory: &str) -> Vec<String> {
        let list = self.facts.list(&self.root.join(directory));
        let files = list.iter().filter(|it| !it.is_directory);
        files
            .filter_map(|it| it.name.to_str().map(str::to_owned))
            .collect()
    }

    /// Returns the place of a Java virtual machine beside the application.
    fn home(&self) -> Option<&'static str> {
        HOMES.into_iter().find(|home| {
            let home = self.root.join(home);
            let mut classes = CLASSES.iter();
            home.join("bin/java").is_file() && classes.any(|file| home.join(file).is_file())
        })
    }

    /// Returns the words that the Java virtual machine gets.
    fn words(&self, arguments: &[&str]) -> Vec<String> {
        let java = self
            .home()
            .map_or("java".to_owned(), |home| format!("{home}/bin/java"));
        let arguments = arguments.iter().map(|&word| word.to_owned());
        [java].into_iter().chain(arguments).collect()
    }

    /// Returns the start script of jars in `lib`; of several the one named like the
    /// directory.
    fn script(&self) -> Option<Startable> {
        let mut jars = self.names("lib");
        jars.retain(|name| is_jar(name));
        let names: Vec<String> = self
            .names("bin")
            .into_iter()
            .filter(|it| self.can_run(it))
            .collect();
        if names.is_empty() || jars.is_empty() {
            return None;
        }
        let text = |name: &str| self.facts.text(&self.root.join("bin").join(name));
        let runs_java = |text: &str| text.starts_with("#!") && text.contains("java");
        if !names
            .iter()
            .all(|it| text(it).is_some_and(|text| runs_java(&text)))
        {
            return None;
        }
        self.choose(["`bin`", "start scripts"], &names, &|name| {
            // The first of the class path, or named like the script.
            let text = text(name).unwrap_or_default();
            let place = |jar: &String| text.find(&format!("lib/{jar}"));
            let first = jars.iter().filter_map(|jar| Some((place(jar)?, jar))).min();
            let named = || jars.iter().find(|jar| stem(jar) == name);
            JavaStart {
                words: vec![format!("bin/{name}")],
                because: format!("`bin/{name}` starts the jars in `lib`"),
                file: first.map(|(_, jar)| jar).or_else(named).cloned(),
                home: self.home(),
                is_certain: true,
            }
        })
    }

    /// Returns the start by the only name, or by that of the directory; `None` without a
    /// name. `what` describes the names: where they are, and of what kind.
    fn choose(
        &self,
        what: [&str; 2],
        names: &[String],
        start: &dyn Fn(&str) -> JavaStart,
    ) -> Option<Startable> {
        let first = names.first()?;
        let directory = fs::canonicalize(self.root).ok()?;
        let named = names.iter().find(|name| directory.ends_with(name));
        Some(match named.or(Some(first).filter(|_| names.len() == 1)) {
            Some(name) => Ok(start(name)),
            None => Err(NoStart {
                reason: format!("{} has several {}: {}", what[0], what[1], quoted(names)),
                words: start(first).words,
            }),
        })
    }

    /// Returns whether a file in `bin` may be a start script; Gradle makes those for
    /// Windows executable, too.
    fn can_run(&self, name: &str) -> bool {
        let metadata = fs::metadata(self.root.join("bin").join(name));
        metadata.is_ok_and(|it| it.permissions().mode() & 0o111 != 0) && !name.ends_with(".bat")
    }

    /// Returns the only jar at the top that names its main class.
    fn jar(&self) -> Option<Startable> {
        let mut jars = self.names("");
        jars.retain(|name| is_jar(name));
        jars.truncate(MAX_JARS);
        let can_start = |name: &String| {
            let manifest = jar::manifest(&self.root.join(name));
            manifest.is_some_and(|it| jar::attribute(&it, "Main-Class").is_some())
        };
        jars.retain(can_start);
        let what = ["the release", "jars with a `Main-Class`"];
        self.choose(what, &jars, &|name| JavaStart {
            words: self.words(&["-jar", name]),
            because: format!("`{name}` is the only jar with a `Main-Class`"),
            file: Some(name.to_owned()),
            home: self.home(),
            is_certain: self.home().is_some(),
        })
    }

    /// Returns the main class of a jar that was unpacked, for example of Spring Boot.
    fn unpacked(&self) -> Option<JavaStart> {
        let manifest = self.facts.text(&self.root.join("META-INF/MANIFEST.MF"))?;
        let class = jar::attribute(&manifest, "Main-Class")?;
        Some(JavaStart {
            words: self.words(&["-cp", ".", &class]),
            because: format!("`META-INF/MANIFEST.MF` names the class `{class}`"),
            file: None,
            home: self.home(),
            is_certain: self.home().is_some(),
        })
    }

    /// Returns the start of a jar of Spring Boot whose layers were extracted, each to a
    /// directory ([efficient]). Its launcher needs them in one, so the class starts that
    /// it runs.
    ///
    /// [efficient]: https://docs.spring.io/spring-boot/reference/packaging/efficient.html
    fn layered(&self) -> Option<JavaStart> {
        let text = self
            .facts
            .text(&self.root.join("application/META-INF/MANIFEST.MF"));
        let class = jar::attribute(&text?, "Start-Class")?;
        let mut path = Vec::new();
        for (below, all) in [("classes", ""), ("lib", "/*")] {
            let pattern = format!("*/BOOT-INF/{below}");
            for directory in expand(self.root, &pattern, self.facts) {
                let directory = directory.strip_prefix(self.root).unwrap_or(&directory);
                path.push(format!("{}{all}", directory.to_str()?));
            }
        }
        (path.len() > 1).then(|| JavaStart {
            words: self.words(&["-cp", &path.join(":"), &class]),
            because: format!("the layers of a jar of Spring Boot have the class `{class}`"),
            file: None,
            home: self.home(),
            is_certain: true,
        })
    }
}

fn is_jar(name: &str) -> bool {
    name.ends_with(".jar")
}

/// Returns the name of a jar without its version.
fn stem(name: &str) -> &str {
    let name = name.strip_suffix(".jar").unwrap_or(name);
    let parts = name.match_indices('-').map(|(at, _)| at);
    let mut versions =
        parts.filter(|at| name[at + 1..].starts_with(|it: char| it.is_ascii_digit()));
    &name[..versions.next().unwrap_or(name.len())]
}

fn recognize(root: &Path, facts: &DirectoryFacts) -> Option<String> {
    let directory = Directory { root, facts };
    let is_plain = || !has_other_program(root, "java", facts);
    match directory.start()? {
        Ok(start) => (start.is_certain || is_plain()).then_some(start.because),
        Err(start) => {
            let is_jar = image::start(&directory).is_none() && directory.script().is_none();
            (!is_jar || is_plain()).then_some(start.reason)
        }
    }
}

/// Finds applications where Maven and Gradle put them.
fn find_below(root: &Path, facts: &DirectoryFacts) -> Option<ReleasesBelow> {
    let has = |names: &[&str]| names.iter().any(|name| root.join(name).is_file());
    let patterns: &[&str] = if has(&["pom.xml"]) {
        &["target/quarkus-app", "target/appassembler", "target"]
    } else if has(&[
        "build.gradle",
        "build.gradle.kts",
        "settings.gradle",
        "settings.gradle.kts",
    ]) {
        &[
            "build/install/*",
            "*/build/install/*",
            "build/quarkus-app",
            "build/libs",
        ]
    } else {
        &[]
    };
    releases_below(root, patterns, facts, |place| {
        recognize(place, facts).is_some()
    })
}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    selection.take_tree(&|_, _| None)?;
    let (root, facts) = (selection.root.path(), selection.facts);
    let directory = Directory { root, facts };
    let mut variables = vec![("LANG".to_owned(), "C.UTF-8".to_owned())];
    if let Some(home) = directory.home() {
        let home = selection.prefix.join(home)?.to_string();
        variables.push(("JAVA_HOME".to_owned(), home));
    }
    let start = directory.start().unwrap_or_else(|| {
        Err(NoStart {
            reason: "no jar at its top names a `Main-Class`, and `bin` has no start script of jars in `lib`".to_owned(),
            words: Vec::new(),
        })
    });
    Ok(Selected {
        name: None,
        behavior: Box::new(JavaRelease {
            home: match &start {
                Ok(start) => start.home,
                Err(_) => image::home(&directory).or_else(|| directory.home()),
            },
            start,
            variables,
        }),
    })
}

#[cfg(test)]
mod tests;
