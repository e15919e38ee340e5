//! The content of generated start scripts, read from their text.
//!
//! Only what the known tools write is understood: `mix release` of Elixir 1.9
//! and later, `bin/server` of Phoenix, and the extended script of relx.

/// The function of Elixir that handles what follows the flags.
const START: &str = "start_cli";

/// In the `sys.config` of a release that writes its configuration again.
pub(super) const RUNTIME_CONFIG: &str = "RUNTIME_CONFIG=true";

/// Reads off `releases/VSN/elixir` with which flags it starts the virtual
/// machine before those that it is given.
///
/// ```text
/// if [ "$MODE" != "iex" ]; then ERL="-noshell -s elixir start_cli $ERL"; fi
/// set -- "$ERTS_BIN$ERL_EXEC" $ELIXIR_ERL_OPTIONS $ERL "$@"
/// ```
///
/// That is Elixir 1.9 to 1.14; 1.15 has no first line but `-s elixir
/// start_cli` in the second, 1.16 `start_$MODE`, and later ones are as the
/// first with `-noshell` in the second.
pub(super) fn elixir_flags(text: &str) -> Option<Vec<String>> {
    let command = text.lines().find_map(|line| {
        let rest = line.trim().strip_prefix("set -- \"$ERTS_BIN$ERL_EXEC\" ")?;
        rest.strip_suffix(" \"$@\"")
    })?;
    let flags = text.lines().find_map(|line| {
        let rest = line.split_once("then ERL=\"")?.1;
        let flags = rest.split_once(" $ERL\"")?.0;
        flags.contains(START).then_some(flags)
    });
    let mode = text
        .lines()
        .find_map(|line| line.strip_prefix("MODE=\"")?.strip_suffix('"'));
    let words = command.split(' ').map(|word| match word {
        "$ELIXIR_ERL_OPTIONS" => String::new(),
        "$ERL" => flags.unwrap_or_default().to_owned(),
        _ => word.replace("$MODE", mode.unwrap_or("$MODE")),
    });
    let words = plain_words(&words.collect::<Vec<_>>().join(" "), &[])?;
    words.iter().any(|word| word == START).then_some(words)
}

/// Reads off `bin/NAME` which further flags its `start` gives; the mode stays
/// the variable that it is.
pub(super) fn start_flags(text: &str) -> Option<Vec<String>> {
    let body = text.split_once("\nstart () {\n")?.1;
    let body = body.split_once("\n}")?.0;
    let expected = [
        "--erl-config \"$RELEASE_SYS_CONFIG\"",
        "--boot \"$REL_VSN_DIR/$RELEASE_BOOT_SCRIPT\"",
        "--boot-var RELEASE_LIB \"$RELEASE_ROOT/lib\"",
        "--vm-args \"$RELEASE_VM_ARGS\"",
    ];
    if expected.iter().any(|words| !body.contains(words)) {
        return None;
    }
    let Some((_, rest)) = body.split_once("--erl \"") else {
        return Some(Vec::new());
    };
    plain_words(rest.split_once('"')?.0, &["$RELEASE_MODE"])
}

/// Reads the variables that the lines of a script set; they do nothing else.
///
/// # Errors
///
/// With the number of the first line that does.
pub(super) fn variables<'a>(
    lines: impl Iterator<Item = &'a str>,
) -> Result<Vec<(String, String)>, usize> {
    let mut found = Vec::new();
    for (index, line) in lines.enumerate() {
        let line = line.trim();
        let is_option = line.starts_with("set -") && !line.contains([';', '&', '|', '$']);
        let set = line.strip_prefix("export ").map_or(line, str::trim_start);
        // It exports a variable of a line above.
        let is_export = set.len() < line.len() && is_name(set);
        if !line.is_empty() && !line.starts_with('#') && !is_option && !is_export {
            found.push(assignment(set).ok_or(index + 1)?);
        }
    }
    Ok(found)
}

/// Reads what `bin/server` sets before it starts the script called `name`.
///
/// # Errors
///
/// With the number of the first line that does something else, or of the
/// line after the last when nothing is started.
pub(super) fn server(text: &str, name: &str) -> Result<Vec<(String, String)>, usize> {
    let start = format!("exec ./{name} start");
    let lines = || text.lines().map(str::trim);
    let count = lines().take_while(|line| !line.ends_with(&start)).count();
    let moves = "cd -P -- \"$(dirname -- \"$0\")\"";
    let before = lines().take(count);
    let mut found = variables(before.map(|line| if line == moves { "" } else { line }))?;

    let last = lines()
        .nth(count)
        .and_then(|line| line.strip_suffix(&start));
    for word in last.ok_or(count + 1)?.split_whitespace() {
        found.push(assignment(word).ok_or(count + 1)?);
    }
    Ok(found)
}

/// Reads from relx's extended script the variable of the boot file that is
/// the directory of libraries.
pub(super) fn relx_boot_variable(text: &str) -> Option<String> {
    let (_, start) = text.split_once("\"$BINDIR/erlexec\" $FOREGROUNDOPTIONS")?;
    let (_, rest) = start.split_once("-boot_var ")?;
    let name = rest.split_whitespace().next()?;
    is_name(name).then(|| name.to_owned())
}

/// Returns whether relx's script runs hooks before the virtual machine.
pub(super) fn has_hooks(text: &str) -> bool {
    let mut lines = text.lines().map(str::trim);
    let hooks = lines.find_map(|line| line.strip_prefix("PRE_START_HOOKS=\""));
    hooks.is_some_and(|hooks| !hooks.trim_end_matches('"').is_empty())
}

/// Parses `NAME=VALUE` with a value in which nothing is substituted.
fn assignment(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let value = match value.chars().next() {
        Some(quote @ ('"' | '\'')) => {
            let inner = value.strip_prefix(quote)?.strip_suffix(quote)?;
            let is_plain =
                |letter: char| letter != quote && (quote == '\'' || !"$`\\".contains(letter));
            inner.chars().all(is_plain).then_some(inner)?
        }
        _ => value.chars().all(is_plain).then_some(value)?,
    };
    is_name(name).then(|| (name.to_owned(), value.to_owned()))
}

fn is_name(text: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    !text.is_empty()
        && text.chars().all(is_letter)
        && !text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_plain(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || "_-./:@%+,=".contains(letter)
}

/// Splits flags in which a shell would change nothing but `variables`.
fn plain_words(text: &str, variables: &[&str]) -> Option<Vec<String>> {
    let words = text.split_whitespace();
    let taken = words.map(|word| {
        let is_known = variables.contains(&word) || word.chars().all(is_plain);
        is_known.then(|| word.to_owned())
    });
    taken.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        list.iter().map(owned).collect()
    }

    #[test]
    fn the_flags_of_elixir_are_read_of_every_version() {
        let old = "if [ \"$MODE\" != \"iex\" ]; then ERL=\"-noshell -s elixir start_cli $ERL\"; fi\n\
            set -- \"$ERTS_BIN$ERL_EXEC\" $ELIXIR_ERL_OPTIONS $ERL \"$@\"\n";
        let new = "MODE=\"cli\"\nif [ \"$MODE\" != \"iex\" ]; then ERL=\"-s elixir start_cli $ERL\"; fi\n\
            set -- \"$ERTS_BIN$ERL_EXEC\" -noshell $ELIXIR_ERL_OPTIONS $ERL \"$@\"\n";
        let version15 = "set -- \"$ERTS_BIN$ERL_EXEC\" -noshell $ELIXIR_ERL_OPTIONS -s elixir start_cli $ERL \"$@\"\n";
        let version16 = "MODE=\"cli\"\n\
            set -- \"$ERTS_BIN$ERL_EXEC\" -noshell $ELIXIR_ERL_OPTIONS -s elixir start_$MODE $ERL \"$@\"\n";
        for text in [old, new, version15, version16] {
            let flags = elixir_flags(text).unwrap();
            assert_eq!(flags, ["-noshell", "-s", "elixir", "start_cli"]);
        }
        assert_eq!(elixir_flags("#!/bin/sh\nexec erl\n"), None);
        let changed = new.replace("-noshell", "-pa \"$HOME\"");
        assert_eq!(elixir_flags(&changed), None);
    }

    #[test]
    fn the_flags_of_start_keep_the_mode_open() {
        let body = |erl: &str| {
            format!(
                "\nstart () {{\n  exec x \\\n {erl} --erl-config \"$RELEASE_SYS_CONFIG\" \\\n \
                 --boot \"$REL_VSN_DIR/$RELEASE_BOOT_SCRIPT\" --boot-var RELEASE_LIB \"$RELEASE_ROOT/lib\" \
                 --vm-args \"$RELEASE_VM_ARGS\" \"$@\"\n}}\n"
            )
        };
        for (erl, expected) in [
            ("--erl \"-mode $RELEASE_MODE\"", Some("-mode $RELEASE_MODE")),
            ("", Some("")),
            ("--erl \"-x $OTHER\"", None),
        ] {
            let found = start_flags(&body(erl)).map(|words| words.join(" "));
            assert_eq!(found.as_deref(), expected, "{erl}");
        }
        assert_eq!(start_flags("\nstart () {\n  exec ./other\n}\n"), None);
    }

    #[test]
    fn variables_with_plain_values_are_read() {
        let text = "#!/bin/sh\n\n# a\nexport A=1\nB='x $y'\nexport B\n  export C=\"a b\"\nset -e\nexport D=\n";
        let expected = pairs(&[("A", "1"), ("B", "x $y"), ("C", "a b"), ("D", "")]);
        assert_eq!(variables(text.lines()), Ok(expected));
        for line in [
            "export A=$HOME",
            "A=`hostname`",
            "export A=\"$(hostname)\"",
            "if true; then",
            "export A=1; rm x",
            "A=1 B=2",
            "export A='a'b'",
            "set -e; x",
        ] {
            assert_eq!(variables(["#!/bin/sh", line].into_iter()), Err(2), "{line}");
        }
    }

    #[test]
    fn the_server_of_phoenix_is_read() {
        let head = "#!/bin/sh\nset -eu\n\ncd -P -- \"$(dirname -- \"$0\")\"\n";
        let phoenix = format!("{head}PHX_SERVER=true exec ./shop start\n");
        assert_eq!(
            server(&phoenix, "shop"),
            Ok(pairs(&[("PHX_SERVER", "true")]))
        );
        let plain = format!("{head}export A=1\nexec ./shop start\n");
        assert_eq!(server(&plain, "shop"), Ok(pairs(&[("A", "1")])));
        assert_eq!(server(&phoenix, "other"), Err(5));
        assert_eq!(server(head, "shop"), Err(5));
        let migrating = format!("{head}./migrate\nexec ./shop start\n");
        assert_eq!(server(&migrating, "shop"), Err(5));
    }

    #[test]
    fn relx_says_its_variable_and_its_hooks() {
        let text = "PRE_START_HOOKS=\"\"\n exec \"$BINDIR/erlexec\" $FOREGROUNDOPTIONS \\\n -boot \"$BOOTFILE\" -mode x \\\n -boot_var SYSTEM_LIB_DIR \"$SYSTEM_LIB_DIR\" \\\n";
        assert_eq!(relx_boot_variable(text).as_deref(), Some("SYSTEM_LIB_DIR"));
        assert_eq!(relx_boot_variable("exec erl"), None);
        assert!(!has_hooks(text));
        assert!(has_hooks("PRE_START_HOOKS=\"hooks/pre|x\"\n"));
    }
}
