//! Applications that `jlink` and `jpackage` make, with a Java virtual machine in them.

use std::path::Path;

use super::{Directory, JavaStart, Startable};
use crate::error::NoStart;
use crate::programs::java::CLASSES;
use crate::refusal::quoted;

/// The place of the Java virtual machine in an application of `jpackage`.
const RUNTIME: &str = "lib/runtime";

/// The file in which `jlink` puts all modules, those of the application, too.
const MODULES: &str = "modules";

/// Returns the start of an application that `jlink` or `jpackage` made.
pub(super) fn start(directory: &Directory<'_>) -> Option<Startable> {
    linked(directory).or_else(|| packaged(directory))
}

/// Returns the start of a module by a launcher that `jlink` makes. That runs `java` as
/// another process, which does not get the stop signal: its words are taken instead.
fn linked(directory: &Directory<'_>) -> Option<Startable> {
    let names = directory.names("bin");
    let is_image = directory.root.join(CLASSES[0]).is_file() && names.iter().any(|it| it == "java");
    let words = |name: &String| {
        let text = directory
            .facts
            .text(&directory.root.join("bin").join(name))?;
        launched(&text)
    };
    let launchers = names.iter().filter(|name| words(name).is_some());
    let launchers: Vec<String> = launchers.filter(|_| is_image).cloned().collect();
    let first = launchers.first()?;
    let start = |name: &String| JavaStart {
        words: [vec!["bin/java".to_owned()], words(name).unwrap_or_default()].concat(),
        because: format!("`bin/{name}` is a launcher of `jlink`"),
        file: Some(MODULES.to_owned()),
        home: Some(""),
        is_certain: true,
    };
    Some(match directory.meant(&launchers) {
        Some(name) => Ok(start(name)),
        None => Err(NoStart {
            reason: several("launchers of `jlink`", &launchers),
            words: start(first).words,
        }),
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
    let first = names.first()?;
    let Some(name) = directory.meant(&names) else {
        return Some(Err(NoStart {
            reason: several("launchers of `jpackage`", &names),
            words: vec![format!("bin/{first}")],
        }));
    };
    let settings = format!("lib/app/{name}.cfg");
    let text = directory
        .facts
        .text(&directory.root.join(&settings))
        .unwrap_or_default();
    let fields = ["app.mainjar=", "app.classpath="];
    let values = fields
        .iter()
        .find_map(|field| text.lines().find_map(|it| it.strip_prefix(field)));
    let jar = values.and_then(|value| Path::new(value.trim()).file_name());
    let jar = jar.map(|jar| jar.to_string_lossy().into_owned());
    Some(Ok(JavaStart {
        words: vec![format!("bin/{name}")],
        because: format!("`{settings}` is of an application of `jpackage`"),
        file: Some(jar.unwrap_or_else(|| MODULES.to_owned())),
        home: Some(RUNTIME),
        is_certain: true,
    }))
}

fn several(what: &str, names: &[String]) -> String {
    format!("`bin` has several {what}: {}", quoted(names))
}
