//! Findings about scripts that cannot run.

use imgbuild_oci::path::ImagePath;

use crate::finding::{Finding, Rule};
use crate::script::{MAX_LINE, Shebang};

/// Returns the finding of a script whose interpreter is missing.
pub(crate) fn interpreter_missing(script: &ImagePath, shebang: &Shebang, name: &str) -> Finding {
    let line = &shebang.line;
    let fault = if name.contains('/') {
        "does not exist in the image"
    } else {
        "is not in `PATH`"
    };
    let is = if shebang.is_cut {
        format!("begins with these {MAX_LINE} bytes, and Linux reads no more:")
    } else {
        "is".to_owned()
    };
    let reason = format!("the interpreter `{name}` of `{script}` {fault}: line 1 {is} `{line}`");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_linux_cuts_is_told() {
        let script = ImagePath::parse("/s").unwrap();
        for (length, is_cut) in [(253, false), (254, true)] {
            let head = format!("#!{:a<length$}\n", "/");
            let shebang = Shebang::parse(&head.as_bytes()[..256]).unwrap();
            let finding = interpreter_missing(&script, &shebang, &shebang.interpreter);
            assert_eq!(finding.reason.contains("reads no more"), is_cut);
        }
    }
}
