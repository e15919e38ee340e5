//! Applications that `jlink` and `jpackage` make, with a Java virtual machine in them.

use std::path::Path;

use super::{Directory, JavaStart, Startable, modules};
use crate::programs::java::CLASSES;

/// The place of the Java virtual machine in an application of `jpackage`.
const RUNTIME: &str = "lib/runtime";

/// The file in which `jlink` puts all modules, those of the application, too.
const MODULES: &str = "modules";

/// Returns the start of an application that `jlink` or `jpackage` made.
pub(super) fn start(directory: &Directory<'_>) -> Option<Startable> {
    linked(directory).or_else(|| packaged(directory))
}

/// Returns the place of the Java virtual machine in an application that `jlink` or
/// `jpackage` made.
pub(super) fn home(directory: &Directory<'_>) -> Option<&'static str> {
    let has = |path: &str| directory.root.join(path).exists();
    let is_linked = has("bin/java") && has(CLASSES[0]);
    is_linked
        .then_some("")
        .or_else(|| has(RUNTIME).then_some(RUNTIME))
}

/// Returns the start of a module by a launcher that `jlink` makes, else by its main class.
/// A launcher runs `java` as another process, which does not get the stop signal: its
/// words are taken instead.
fn linked(directory: &Directory<'_>) -> Option<Startable> {
    let modules = directory.root.join(CLASSES[0]);
    let names = directory.names("bin");
    if !modules.is_file() || !names.iter().any(|name| name == "java") {
        return None;
    }
    let of_launcher = |name: &str| {
        let path = directory.root.join("bin").join(name);
        launched(&directory.facts.text(&path)?)
    };
    let start = |words: Vec<String>, because: String| JavaStart {
        words: [vec!["bin/java".to_owned()], words].concat(),
        because,
        file: Some(MODULES.to_owned()),
        home: Some(""),
        is_certain: true,
    };
    let launchers = names.into_iter().filter(|name| of_launcher(name).is_some());
    let launchers: Vec<String> = launchers.collect();
    let by_launcher = |name: &str| {
        let words = of_launcher(name).unwrap_or_default();
        start(words, format!("`bin/{name}` is a launcher of `jlink`"))
    };
    let what = ["`bin`", "launchers of `jlink`"];
    directory
        .choose(what, &launchers, &by_launcher)
        .or_else(|| {
            let found = modules::modules(&modules)?.into_iter();
            let found = found.filter(|module| module.has_main_class);
            let found: Vec<String> = found.map(|module| module.name).collect();
            let by_module = |name: &str| {
                let because = format!("the module `{name}` in `lib/modules` has a main class");
                start(vec!["-m".to_owned(), name.to_owned()], because)
            };
            let what = ["`lib/modules`", "modules with a main class"];
            directory.choose(what, &found, &by_module)
        })
}

/// Returns the arguments that a launcher of `jlink` gives to `java`.
fn launched(text: &str) -> Option<Vec<String>> {
    let options = text
        .lines()
        .find_map(|line| line.strip_prefix("JLINK_VM_OPTIONS="))?;
    let (_, module) = text.split_once(" $JLINK_VM_OPTIONS -m ")?;
    let module = module.split_whitespace().next()?;
    let options = options.trim_matches(['"', '\'']).split_whitespace();
    Some(options.chain(["-m", module]).map(str::to_owned).collect())
}

/// Returns the start of an application of `jpackage`, whose launcher reads a file of its
/// name ([jpackage]).
///
/// [jpackage]: https://docs.oracle.com/en/java/javase/17/jpackage/packaging-overview.html
fn packaged(directory: &Directory<'_>) -> Option<Startable> {
    let list = directory.names("lib/app");
    let names = list.iter().filter_map(|name| name.strip_suffix(".cfg"));
    let has_launcher = |name: &&str| directory.can_run(name);
    let names: Vec<String> = names.filter(has_launcher).map(str::to_owned).collect();
    directory.choose(["`bin`", "launchers of `jpackage`"], &names, &|name| {
        let settings = format!("lib/app/{name}.cfg");
        let text = directory.facts.text(&directory.root.join(&settings));
        let text = text.unwrap_or_default();
        let value = |field: &str| text.lines().find_map(|line| line.strip_prefix(field));
        let jar = value("app.mainjar=").or_else(|| value("app.classpath="));
        let jar = jar.and_then(|jar| Path::new(jar.trim()).file_name());
        let jar = jar.map(|jar| jar.to_string_lossy().into_owned());
        JavaStart {
            words: vec![format!("bin/{name}")],
            because: format!("`{settings}` is of an application of `jpackage`"),
            file: Some(jar.unwrap_or_else(|| MODULES.to_owned())),
            home: Some(RUNTIME),
            is_certain: true,
        }
    })
}
