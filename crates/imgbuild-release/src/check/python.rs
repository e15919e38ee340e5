//! Virtual environments of Python that lie in an image and are not used.
//!
//! An interpreter uses the packages of an environment only when it is called
//! by its path in it: the file `pyvenv.cfg` is looked for beside that
//! ([site]). What `PATH` has comes first otherwise, and finds none of them.
//!
//! [site]: https://docs.python.org/3/library/site.html

use imgbuild_oci::path::ImagePath;

use super::subject::Subject;
use crate::contents::first_bytes;
use crate::finding::{Finding, Rule};
use crate::script::{MAX_LINE, Shebang};

/// The file that makes a directory a virtual environment.
const MARK: &[u8] = b"pyvenv.cfg";

/// Names the environment beside a program that another Python runs.
pub(super) fn check(subject: &Subject<'_>) -> Option<Finding> {
    let members = subject.members();
    let marks = members.filter(|member| member.entry.path.file_name() == MARK);
    let environments: Vec<ImagePath> = marks
        .filter_map(|mark| mark.entry.path.parent())
        .filter(|environment| has_python(subject, environment))
        .collect();
    if environments.is_empty() {
        return None;
    }
    let run = Run::find(subject)?;
    let uses = |environment: &ImagePath| run.python.starts_with(environment);
    let names_packages = |name: &&str| subject.variable(name).is_some();
    if environments.iter().any(uses) || ["PYTHONPATH", "PYTHONHOME"].iter().any(names_packages) {
        return None;
    }
    let beside = |environment: &&ImagePath| {
        let parent = environment.parent();
        parent.is_some_and(|parent| run.program.starts_with(&parent))
    };
    let environment = environments.iter().find(beside)?;
    let (program, python) = (&run.program, &run.python);
    let reason = format!(
        "`{program}` is run by `{python}`, which does not find the packages of the virtual environment `{environment}`"
    );
    let rule = Rule::EnvironmentUnused;
    Some(Finding::warning(rule, Some(environment), reason))
}

fn has_python(subject: &Subject<'_>, environment: &ImagePath) -> bool {
    let path = format!("{environment}/bin/python");
    ["", "3"]
        .iter()
        .any(|end| subject.has_file(&format!("{path}{end}")))
}

/// A program that containers run with Python.
struct Run {
    program: ImagePath,
    /// By which path it is called.
    python: ImagePath,
}

impl Run {
    /// Follows the command: a script with its first line, or an interpreter
    /// with a file.
    fn find(subject: &Subject<'_>) -> Option<Self> {
        let words = subject.words();
        let (command, arguments) = words.split_first()?;
        let called = locate(subject, command)?;
        if is_python(&called) {
            let program = match arguments.iter().find(|word| word.ends_with(".py")) {
                Some(file) => subject.path(file)?,
                None => subject.working_directory(),
            };
            let python = called;
            return Some(Self { program, python });
        }
        let script = subject.contents.file(&called)?;
        let head = first_bytes(script.content.as_ref()?, MAX_LINE);
        let shebang = Shebang::parse(&head)?;
        let name = shebang.looked_up().unwrap_or(shebang.interpreter);
        let python = locate(subject, &name).filter(is_python)?;
        subject.contents.file(&python)?;
        let program = called;
        Some(Self { program, python })
    }
}

fn is_python(path: &ImagePath) -> bool {
    let name = path.file_name();
    let version = name.strip_prefix(b"python");
    version.is_some_and(|version| version.iter().all(|byte| b".0123456789".contains(byte)))
}

/// Returns the path of a program that is called by a name or a path.
fn locate(subject: &Subject<'_>, name: &str) -> Option<ImagePath> {
    if name.contains('/') {
        return subject.path(name);
    }
    subject.in_path(name).next().map(|(path, _)| path)
}
