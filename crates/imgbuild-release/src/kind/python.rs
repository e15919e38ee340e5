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
use std::path::Path;

use imgbuild_oci::bounded;
use toml::{Table, Value};

use super::{expand, first_name, has_other_program, releases_below};
use crate::contents::Contents;
use crate::error::{NoStart, Result};
use crate::layering::{Group, Unit, Weight, divide_by_group};
use crate::refusal::quoted;
use crate::release::facts::DirectoryFacts;
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
    find_below: |root, facts| {
        releases_below(root, &[], facts, |place| recognize(place, facts).is_some())
    },
    select,
};

/// The largest text that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The servers of applications, each with its arguments, `%` for the application.
const SERVERS: [(&str, &str); 3] = [
    (
        "gunicorn",
        "--bind 0.0.0.0:8000 --worker-tmp-dir /dev/shm %",
    ),
    ("uvicorn", "--host 0.0.0.0 --port 8000 %"),
    ("flask", "--app % run --host 0.0.0.0 --port 8000"),
];

/// The classes of web applications, each with the servers that run it.
const APPLICATIONS: [(&str, [&str; 2]); 4] = [
    ("FastAPI(", ["uvicorn"; 2]),
    ("Starlette(", ["uvicorn"; 2]),
    ("Quart(", ["uvicorn"; 2]),
    ("Flask(", ["gunicorn", "flask"]),
];

/// Programs in every environment, also with a version, for example `pip3.11`.
const TOOLS: [&str; 5] = ["easy_install", "pip", "python", "wheel", "\u{1d70b}thon"];

/// Scripts in every environment, also with an ending, for example `activate.fish`.
const SCRIPTS: [&str; 5] = [
    "Activate",
    "activate",
    "activate_this",
    "deactivate",
    "pydoc",
];

#[derive(Debug)]
struct PythonRelease {
    start: std::result::Result<ProjectStart, NoStart>,
    has_environment: bool,
    /// The file that SIGINT stops.
    interruptible: Option<String>,
    /// The names at the top that `pip install --target` made.
    installed: BTreeSet<String>,
}

/// A project on the host.
struct Project<'a> {
    root: &'a Path,
    facts: &'a DirectoryFacts,
    /// The directory of its environment in it.
    environment: Option<&'static str>,
    settings: Table,
}

/// The command that starts a project.
#[derive(Debug, Clone)]
struct ProjectStart {
    words: Vec<String>,
    because: String,
    /// A file of the project names the command; else only its own name shows it.
    is_certain: bool,
}

impl Behavior for PythonRelease {
    fn default_command(&self, _: &Release, _: &Contents<'_>) -> Result<Option<Vec<String>>> {
        Ok(Some(self.start.clone()?.words))
    }

    fn environment(&self) -> Vec<(String, String)> {
        vec![("PYTHONUNBUFFERED".to_owned(), "1".to_owned())]
    }

    fn stop_signal(&self, command: &[String]) -> Option<&'static str> {
        let file = self.interruptible.as_ref()?;
        command.contains(file).then_some("SIGINT")
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

impl<'a> Project<'a> {
    fn read(root: &'a Path, facts: &'a DirectoryFacts) -> Self {
        let text = facts.text(&root.join("pyproject.toml"));
        let has = |place: &&str| root.join(place).join("pyvenv.cfg").is_file();
        Self {
            root,
            facts,
            environment: ["", ".venv", "venv"].into_iter().find(has),
            settings: text.and_then(|it| it.parse().ok()).unwrap_or_default(),
        }
    }

    fn setting(&self, name: &str) -> Option<&Value> {
        self.settings.get("project")?.get(name)
    }

    fn name(&self) -> Option<&str> {
        self.setting("name")?.as_str()
    }

    /// Returns the programs of the environment, or of the packages beside the
    /// project.
    fn programs(&self) -> Vec<String> {
        let list = self.facts.list(&self.root.join(self.program("")));
        let names = list.iter().filter_map(|listed| listed.name.to_str());
        names
            .filter(|name| !is_tool(name))
            .map(str::to_owned)
            .collect()
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
        let words = format!("{python} {file} {arguments}");
        words.split_whitespace().map(str::to_owned).collect()
    }

    fn start(&self) -> std::result::Result<ProjectStart, NoStart> {
        let programs = self.programs();
        let found = self.script(&programs).or_else(|| self.django(&programs));
        let found = found.or_else(|| self.file(&programs));
        found.ok_or_else(|| self.no_start(&programs))
    }

    fn no_start(&self, programs: &[String]) -> NoStart {
        let declared = self.scripts().into_iter().flat_map(Table::keys);
        let declared: Vec<String> = declared.cloned().collect();
        let mut installed = declared.clone();
        installed.retain(|name| programs.contains(name));
        let scripts = if !installed.is_empty() {
            format!(
                "`pyproject.toml` declares several scripts, but not one with the name of the project: {}",
                quoted(&installed)
            )
        } else if !declared.is_empty() {
            let names = quoted(&declared);
            format!("`pyproject.toml` declares scripts that are not installed: {names}")
        } else if !programs.is_empty() {
            let names = quoted(programs);
            format!("no script is declared; the packages have the programs {names}")
        } else {
            "no script is declared, and the environment has no programs".to_owned()
        };
        let django = if self.root.join("manage.py").is_file() {
            "no server for `manage.py` is installed (gunicorn for `wsgi.py`, uvicorn for `asgi.py`)"
        } else {
            "there is no `manage.py`"
        };
        let first = installed.first().or(programs.first());
        let words = first.map(|name| self.words(&self.program(name), ""));
        NoStart {
            reason: format!(
                "{scripts}; {django}; there is no `app.py`, `main.py` or `__main__.py`"
            ),
            words: words.unwrap_or_default(),
        }
    }

    fn scripts(&self) -> Option<&Table> {
        self.setting("scripts")?.as_table()
    }

    /// Returns the script that `pyproject.toml` declares, of several the one named
    /// like the project; or the only program of an environment.
    fn script(&self, programs: &[String]) -> Option<ProjectStart> {
        let declared = self.scripts();
        let is_declared = |program: &&String| declared.is_none_or(|it| it.contains_key(*program));
        let meant: Vec<&String> = programs.iter().filter(is_declared).collect();
        let named = meant
            .iter()
            .find(|program| Some(program.as_str()) == self.name());
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
        let text = self.facts.text(&self.root.join("manage.py"))?;
        let (_, rest) = text.split_once("DJANGO_SETTINGS_MODULE")?;
        let module = rest.split(['"', '\'']).find(|part| part.contains('.'))?;
        let package = module.split('.').next()?;
        let servers = [("gunicorn", "wsgi"), ("uvicorn", "asgi")].into_iter();
        let mut servers = servers.filter(|(_, file)| {
            let file = self.root.join(format!("{package}/{file}.py"));
            file.is_file()
        });
        let (server, words) = servers.find_map(|(server, file)| {
            let application = format!("{package}.{file}:application");
            Some((server, self.serve(programs, server, &application)?))
        })?;
        Some(ProjectStart {
            words,
            because: format!("`manage.py` is of Django, and `{server}` is installed"),
            is_certain: true,
        })
    }

    /// Returns the words that let a server run an application, if it is installed.
    fn serve(&self, programs: &[String], server: &str, application: &str) -> Option<Vec<String>> {
        let (name, arguments) = SERVERS.into_iter().find(|(name, _)| *name == server)?;
        let is_installed = programs.iter().any(|program| program == name);
        is_installed.then(|| self.words(&self.program(name), &arguments.replace('%', application)))
    }

    fn file(&self, programs: &[String]) -> Option<ProjectStart> {
        let mut names = ["app", "main", "__main__"].into_iter();
        let name = names.find(|name| self.root.join(format!("{name}.py")).is_file())?;
        let file = format!("{name}.py");
        let application = self.application(&file);
        let served = application.and_then(|(variable, servers)| {
            let application = format!("{name}:{variable}");
            let mut words = servers.iter();
            words.find_map(|server| self.serve(programs, server, &application))
        });
        let because = match &served {
            Some(_) => format!("`{file}` defines an application and does not start it"),
            None => format!("`{file}` lies beside its packages"),
        };
        Some(ProjectStart {
            words: served.unwrap_or_else(|| self.words(&file, "")),
            because,
            is_certain: false,
        })
    }

    /// Returns the variable of a web application that a file defines and does not
    /// start, with the servers that run it.
    fn application(&self, file: &str) -> Option<(String, [&'static str; 2])> {
        let text = self.facts.text(&self.root.join(file))?;
        if text.contains("__main__") {
            return None;
        }
        text.lines().find_map(|line| {
            let (variable, value) = line.split_once('=')?;
            let (variable, _) = variable.split_once(':').unwrap_or((variable, ""));
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            let variable = variable.trim_end();
            let made = |class: &str| value.trim_start().starts_with(class);
            let (_, servers) = APPLICATIONS.into_iter().find(|(class, _)| made(class))?;
            variable
                .bytes()
                .all(is_name)
                .then(|| (variable.to_owned(), servers))
        })
    }

    /// Returns the file that starts without a server and leaves signals to Python,
    /// which acts on SIGINT as process 1, but not on SIGTERM.
    fn interruptible(&self, start: &ProjectStart) -> Option<String> {
        let (words, file) = (&start.words, start.words.get(1)?);
        let is_left = || {
            let text = self.facts.text(&self.root.join(file));
            words.len() == 2 && text.is_some_and(|text| !text.contains("SIGTERM"))
        };
        let is_left = file.ends_with("/flask") || file.ends_with(".py") && is_left();
        is_left.then(|| file.clone())
    }
}

/// Returns whether a program is one of the environment itself.
fn is_tool(name: &str) -> bool {
    let is_version = |rest: &str| rest.chars().all(|letter| "-.0123456789t".contains(letter));
    let mut tools = TOOLS.iter().filter_map(|tool| name.strip_prefix(tool));
    let stem = name.split('.').next().unwrap_or_default();
    tools.any(is_version) || SCRIPTS.contains(&stem)
}

fn recognize(root: &Path, facts: &DirectoryFacts) -> Option<String> {
    let project = Project::read(root, facts);
    if project.environment.is_none() && expand(root, "*.dist-info", facts).is_empty() {
        return None;
    }
    let has = |name: &str| root.join(name).is_file();
    let is_plain = || !has_other_program(root, "python", facts);
    match project.start() {
        Ok(start) => (start.is_certain || is_plain()).then_some(start.because),
        Err(_) if project.environment == Some("") => Some("it is a virtual environment".to_owned()),
        Err(_) => {
            let is_project = has("pyproject.toml") || has("requirements.txt");
            (is_project && project.environment.is_some() && is_plain())
                .then(|| "it has a virtual environment".to_owned())
        }
    }
}

fn select(selection: &mut Selection<'_>) -> Result<Selected> {
    selection.take_tree(&|_, _| None)?;
    let (root, facts) = (selection.root.path(), selection.facts);
    let project = Project::read(root, facts);
    let start = project.start();
    let mut installed = BTreeSet::new();
    for note in expand(root, "*.dist-info", facts) {
        let record = bounded::read_text(&note.join("RECORD"), MAX_BYTES).unwrap_or_default();
        installed.extend(record.lines().map(|line| first_name(line).to_owned()));
    }
    Ok(Selected {
        name: project.name().map(str::to_owned),
        behavior: Box::new(PythonRelease {
            has_environment: project.environment.is_some(),
            interruptible: (start.as_ref().ok()).and_then(|start| project.interruptible(start)),
            start,
            installed,
        }),
    })
}

#[cfg(test)]
mod tests;
