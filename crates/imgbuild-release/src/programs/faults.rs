//! Findings about scripts that cannot run.

use imgbuild_oci::path::ImagePath;

use crate::finding::{Finding, Rule};
use crate::script::Shebang;

/// Returns the finding of a script whose interpreter is missing.
pub(crate) fn interpreter_missing(script: &ImagePath, shebang: &Shebang, name: &str) -> Finding {
    let line = &shebang.line;
    let fault = if name.contains('/') {
        "does not exist in the image"
    } else {
        "is not in `PATH`"
    };
    let reason = format!("the interpreter `{name}` of `{script}` {fault}: line 1 is `{line}`");
    Finding::error(Rule::InterpreterMissing, Some(script), reason)
}

/// Returns the finding of a script that names a program of the release by its
/// path on the build machine.
pub(super) fn interpreter_moved(
    script: &ImagePath,
    shebang: &Shebang,
    place: &ImagePath,
) -> Finding {
    let (name, line) = (&shebang.interpreter, &shebang.line);
    let reason = format!(
        "the interpreter `{name}` of `{script}` is a file of the release, which is at `{place}` in the image: line 1 is `{line}`"
    );
    Finding::error(Rule::InterpreterMoved, Some(script), reason)
}

/// Returns the finding of a script with Windows line endings.
pub(crate) fn carriage_return(script: &ImagePath, shebang: &Shebang) -> Finding {
    let line = &shebang.line;
    let reason = format!(
        "line 1 of `{script}`, `{line}`, ends with a carriage return, which is taken as a part of the name"
    );
    Finding::error(Rule::ScriptCarriageReturn, Some(script), reason)
}
