//! Projects in Python with their packages: in a virtual environment ([venv]), or
//! beside them (`pip install --target`).
//!
//! ```text
//! pyproject.toml, manage.py, app.py     what starts
//! .venv/pyvenv.cfg                      an environment; it may be the release itself
//! .venv/bin/python                      a link to the interpreter, which comes along
//! .venv/lib/python3.11/site-packages/   packages
//! ```
//!
//! [venv]: https://docs.python.org/3/library/venv.html

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use fs_err as fs;
use imgbuild_oci::bounded;
use toml::{Table, Value};

use super::{expand, has_other_program, releases_below};
use crate::contents::Contents;
use crate::error::{Error, Result};
use crate::layering::{Group, Unit, Weight, divide_by_group};
use crate::refusal::quoted;
use crate::release::kind::{Behavior, Selected};
use crate::release::selection::Selection;
use crate::release::{Kind, Release};

/// A project in Python, or its virtual environment.
pub static PYTHON: Kind = Kind {
    name: "python",
    prefix: "/app",
    has_own_directory: true,
    is_any_directory: true,
    recognize,
    find_below: |root| releases_below(root, &[], |place| recognize(place).is_some()),
    select,
};

/// The largest text that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The starts of the names of programs in every environment.
const TOOLS: [&str; 5] = ["activate", "easy_install", "pip", "python", "wheel"];

#[derive(Debug)]
struct PythonRelease {
    has_environment: bool,
    /// The names at the top that `pip install --target` made.
    installed: BTreeSet<String>,
}

/// A project on the host.
struct Project<'a> {
    root: &'a Path,
    /// The directory of its environment in it.
    environment: Option<&'static str>,
    settings: Table,
}

/// The command that starts a project.
struct ProjectStart {
    words: Vec<String>,
    because: String,
    /// A file of the project says so, not only the name of a file.
    is_certain: bool,
}

impl Behavior for PythonRelease {
    fn default_command(&self, release: &Release, _: &Contents<'_>) -> Result<Option<Vec<String>>> {
        Ok(Some(Project::read(&release.root).start()?.words))
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![("PYTHONUNBUFFERED".to_owned(), "1".to_owned())]
    }

    fn divide(&self, files: &[Weight<'_>], limit: usize) -> Vec<Unit> {
        divide_by_group(files, |path| self.group(path), limit)
    }

    fn interpreter(&self, _: &Release, _: &Contents<'_>) -> Option<&'static str> {
        (!self.has_environment).then_some("python3")
    }
}

impl PythonRelease {
    /// Returns the group of a path: a package that was installed, or the
    /// application.
    fn group(&self, path: &[u8]) -> Group {
        let path = String::from_utf8_lossy(path);
        let name = match path.split_once("/site-packages/") {
            Some((_, below)) => below,
            None if self.installed.contains(first_name(&path)) => &path,
            None if Path::new(&*path).iter().any(|part| part == "bin") => "bin",
            None => return Group::whole(2, "application"),
        };
        // `NAME-VERSION.dist-info` and `NAME` change together.
        let end = first_name(name).find(['-', '.']).unwrap_or(name.len());
        let name = first_name(&name[..end]).to_lowercase();
        Group::member(1, "packages", &name)
    }
}

fn first_name(path: &str) -> &str {
    path.split('/').next().unwrap_or_default()
}

impl<'a> Project<'a> {
    fn read(root: &'a Path) -> Self {
        let text = bounded::read_text(&root.join("pyproject.toml"), MAX_BYTES);
        let has = |place: &&str| root.join(place).join("pyvenv.cfg").is_file();
        Self {
            root,
            environment: ["", ".venv", "venv"].into_iter().find(has),
            settings: text.unwrap_or_default().parse().unwrap_or_default(),
        }
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get("project")?.get(name)
    }

    /// Returns the programs of the environment, and of the packages beside the
    /// project.
    fn programs(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(self.program("")))
            .into_iter()
            .flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let is_own = |name: &String| {
            !TOOLS
                .iter()
                .any(|tool| name.to_lowercase().starts_with(tool))
        };
        let mut names: Vec<String> = names.filter(is_own).collect();
        names.sort();
        names
    }

    /// Returns the path of a program in the release.
    fn program(&self, name: &str) -> String {
        let environment = self.environment.unwrap_or_default();
        let path = Path::new(environment).join("bin").join(name);
        path.display().to_string()
    }

    /// Returns the words that run a file: those of the interpreter and of the
    /// file, whose first line may name a path of this machine.
    fn words(&self, file: &str, arguments: &str) -> Vec<String> {
        let python = self.environment.map(|_| self.program("python"));
        let python = python.unwrap_or_else(|| "python3".to_owned());
        let arguments = arguments.split_whitespace().map(str::to_owned);
        [python, file.to_owned()]
            .into_iter()
            .chain(arguments)
            .collect()
    }

    fn start(&self) -> Result<ProjectStart> {
        let programs = self.programs();
        let found = self.script(&programs).or_else(|| self.django(&programs));
        let found = found.or_else(|| self.file());
        found.ok_or_else(|| {
            let candidates = programs.iter().map(|name| self.program(name));
            let candidates: Vec<String> = candidates.collect();
            let first = candidates.first().map(|path| self.words(path, ""));
            Error::NoStart {
                reason: format!("`pyproject.toml` declares no script that is installed, there is no `manage.py`, `app.py`, `main.py` or `__main__.py`, and the programs of the environment are {}", quoted(&candidates)),
                words: first.unwrap_or_default(),
            }
        })
    }

    /// Returns the script that `pyproject.toml` declares, of several the one named
    /// like the project; or the only program of an environment.
    fn script(&self, programs: &[String]) -> Option<ProjectStart> {
        let declared = self.setting("scripts").and_then(Value::as_table);
        let name = self.setting("name").and_then(Value::as_str);
        let is_declared = |program: &&String| declared.is_none_or(|it| it.contains_key(*program));
        let meant: Vec<&String> = programs.iter().filter(is_declared).collect();
        let named = meant.iter().find(|program| Some(program.as_str()) == name);
        let only = meant.first().filter(|_| meant.len() == 1);
        let program = named.or(only)?;
        let because = if declared.is_some() {
            format!("`pyproject.toml` declares the script `{program}`")
        } else if self.environment == Some("") {
            format!("the virtual environment has the program `{program}`")
        } else {
            return None;
        };
        Some(ProjectStart {
            words: self.words(&self.program(program), ""),
            because,
            is_certain: true,
        })
    }

    /// Returns the server of a project of Django: gunicorn or uvicorn.
    fn django(&self, programs: &[String]) -> Option<ProjectStart> {
        let text = bounded::read_text(&self.root.join("manage.py"), MAX_BYTES).ok()?;
        let (_, rest) = text.split_once("DJANGO_SETTINGS_MODULE")?;
        let module = rest.split(['"', '\'']).find(|part| part.contains('.'))?;
        let package = module.split('.').next()?;
        let servers = [
            (
                "gunicorn",
                "wsgi",
                "--bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm",
            ),
            ("uvicorn", "asgi", "--host 0.0.0.0 --port 8000"),
        ];
        let is_there = |name: &str, file: &str| {
            programs.iter().any(|known| known == name)
                && self
                    .root
                    .join(package)
                    .join(file)
                    .with_extension("py")
                    .is_file()
        };
        let found = servers
            .into_iter()
            .find(|(name, file, _)| is_there(name, file));
        let (server, file, options) = found?;
        let arguments = format!("{options} {package}.{file}:application");
        Some(ProjectStart {
            words: self.words(&self.program(server), &arguments),
            because: format!("`manage.py` is of Django, and `{server}` is installed"),
            is_certain: true,
        })
    }

    fn file(&self) -> Option<ProjectStart> {
        let mut names = ["app.py", "main.py", "__main__.py"].into_iter();
        let name = names.find(|name| self.root.join(name).is_file())?;
        Some(ProjectStart {
            words: self.words(name, ""),
            because: format!("`{name}` lies beside its packages"),
            is_certain: false,
        })
    }
}

/// Returns the directories in which `pip` notes what it installed to `root`.
fn notes(root: &Path) -> Vec<PathBuf> {
    expand(root, "*.dist-info")
}

fn recognize(root: &Path) -> Option<String> {
    let project = Project::read(root);
    if project.environment.is_none() && notes(root).is_empty() {
        return None;
    }
    let is_project = || {
        ["pyproject.toml", "requirements.txt"]
            .iter()
            .any(|name| root.join(name).is_file())
    };
    match project.start() {
        Ok(start) if start.is_certain || !has_other_program(root, "python") => Some(start.because),
        Err(_) if project.environment == Some("") => Some("it is a virtual environment".to_owned()),
        Err(_) if project.environment.is_some() && is_project() => {
            Some("it has a virtual environment".to_owned())
        }
        _ => None,
    }
}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    selection.take_tree(&|_, _| None)?;
    let root = selection.root.path();
    let project = Project::read(root);
    let records = notes(root)
        .into_iter()
        .map(|note| bounded::read_text(&note.join("RECORD"), MAX_BYTES));
    let records: Vec<String> = records.flatten().collect();
    let lines = records.iter().flat_map(|record| record.lines());
    let installed = lines.map(|line| first_name(line).to_owned());
    Ok(Selected {
        name: project
            .setting("name")
            .and_then(Value::as_str)
            .map(str::to_owned),
        behavior: Box::new(PythonRelease {
            has_environment: project.environment.is_some(),
            installed: installed
                .filter(|name| !matches!(name.as_str(), "" | ".."))
                .collect(),
        }),
    })
}

#[cfg(test)]
mod tests;
