//! The programs and files that a shell script starts: the words in command
//! position.
//!
//! The commands of a script cannot be found in general: words without quotes and
//! variables are. A word that is not a program is ignored later.

use std::collections::{BTreeMap, BTreeSet};

/// Interpreters of the Shell Command Language.
pub(super) const SHELLS: [&str; 7] = ["ash", "bash", "dash", "ksh", "mksh", "sh", "zsh"];

/// Words after which a command follows (Shell Command Language, 2.4).
const KEYWORDS: [&str; 10] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time",
];

/// Builtins and programs whose first argument is a command.
const RUNNERS: [&str; 9] = [
    "command",
    "dumb-init",
    "env",
    "eval",
    "exec",
    "nice",
    "nohup",
    "setsid",
    "tini",
];

/// The quotes of the word that ends a here-document.
const QUOTES: [char; 3] = ['"', '\'', '\\'];

/// The bytes that are read ahead of the scanner: a fixed number, and a number for
/// each byte of the script. Without a limit, nested and unclosed quotes could have
/// each byte read a thousand times.
const FIRST_AHEAD: usize = 4096;
const MAX_AHEAD: usize = 8;

/// The bytes of a path that a script tests, with what computes it.
const MAX_TESTED: usize = 256;

/// The most programs, and the most paths, that are taken from a script.
pub(crate) const MAX_CALLS: usize = 4096;

/// The start of paths in [`Calls`] below a directory that the script computes.
pub(crate) const COMPUTED: &str = "$/";

/// The plain words of a script in command position.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    /// Names, without the script's own functions.
    pub(crate) programs: BTreeSet<String>,
    /// Paths; `true` for those that a shell reads, or that the script tests.
    pub(crate) paths: BTreeMap<String, bool>,
}

/// Returns the plain words in command position, without variables and
/// assignments, in a time that is linear in the size of the script.
pub(crate) fn calls(text: &str) -> Calls {
    let mut scanner = Scanner {
        ahead: FIRST_AHEAD + MAX_AHEAD * text.len(),
        ..Scanner::default()
    };
    let lines = || text.lines().enumerate();
    let last: BTreeMap<&str, usize> = lines().map(|(at, line)| (end_of(line), at)).collect();
    let mut document = None;
    for (at, line) in lines() {
        if let Some(word) = document {
            if end_of(line) == unquoted(word) {
                document = None;
            } else if !is_quoted(word) {
                scanner.substitutions_of(line);
            }
            continue;
        }
        scanner.line(line);
        let ends = |word: &&str| last.get(unquoted(word)).is_some_and(|end| *end > at);
        document = here_document(line).filter(ends);
    }
    let functions = scanner.functions;
    let mut programs = scanner.words;
    programs.retain(|word| !functions.contains(word));
    let mut paths = scanner.paths;
    for path in tested(text) {
        paths.entry(path).and_modify(|may_lack| *may_lack = true);
    }
    Calls { programs, paths }
}

/// Returns the paths that a script looks for, for example by `[ -x ./hook ]`.
fn tested(mut text: &str) -> impl Iterator<Item = String> {
    let words = std::iter::from_fn(move || {
        let (word, rest) = text.split_once(char::is_whitespace)?;
        text = rest;
        Some((word, rest))
    });
    let tests = words.filter(|(test, _)| ["-e", "-f", "-r", "-s", "-x"].contains(test));
    tests.filter_map(|(_, rest)| {
        let near = &rest[..rest.floor_char_boundary(MAX_TESTED)];
        let line = near.trim_start().lines().next()?;
        path_of(&line[..line.find(ends_word()).unwrap_or(line.len())], true)
    })
}

/// Returns the word, perhaps quoted, that ends the here-document after this line.
fn here_document(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("<<")?;
    let rest = rest.trim_start_matches('-').trim_start();
    let word = rest.split([' ', '\t', ';', '|', '>', '&', ')']).next()?;
    let is_first = |first: char| first.is_alphabetic() || first == '_';
    (unquoted(word).starts_with(is_first) && !rest.starts_with('<')).then_some(word)
}

/// Returns whether the shell runs nothing in a here-document.
fn is_quoted(word: &str) -> bool {
    word.starts_with(QUOTES)
}

fn unquoted(word: &str) -> &str {
    word.trim_matches(QUOTES)
}

/// Returns the word whose here-document a line would end.
fn end_of(line: &str) -> &str {
    line.trim_start_matches('\t')
}

/// The context of the scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Between words; the flag is set where a command may follow.
    Code(bool),
    /// In a text in double quotes.
    Double,
    /// In `${…}`.
    Parameter,
    /// In a here-document, where quotes are text.
    Document,
}

#[derive(Debug, Default)]
struct Scanner {
    words: BTreeSet<String>,
    paths: BTreeMap<String, bool>,
    functions: BTreeSet<String>,
    /// The contexts that are open at the end of a line, outermost first.
    open: Vec<Mode>,
    is_in_single: bool,
    is_continued: bool,
    /// The text before belongs to the same word.
    is_joined: bool,
    /// The next word is the script that a shell reads.
    is_script: bool,
    /// The bytes that may still be read before their turn.
    ahead: usize,
}

impl Scanner {
    fn line(&mut self, line: &str) {
        match self.open.last() {
            None => self.open.push(Mode::Code(true)),
            Some(Mode::Code(_)) if !self.is_continued && !self.is_in_single => self.set(true),
            Some(_) => {}
        }
        self.is_joined = self.is_in_single;
        self.is_continued = line.ends_with('\\');
        self.scan(line.strip_suffix('\\').unwrap_or(line));
    }

    /// Scans the command substitutions in a line of a here-document.
    fn substitutions_of(&mut self, line: &str) {
        let before = std::mem::replace(&mut self.open, vec![Mode::Document]);
        self.scan(line);
        self.open = before;
    }

    fn scan(&mut self, line: &str) {
        let mut rest = line;
        while let Some(character) = rest.chars().next() {
            if self.is_in_single {
                let Some(end) = rest.find('\'') else { return };
                self.is_in_single = false;
                rest = &rest[end + 1..];
                continue;
            }
            rest = match self.open.last().copied().unwrap_or(Mode::Code(true)) {
                Mode::Code(can_start) => match self.in_code(rest, character, can_start) {
                    Some(rest) => rest,
                    None => return,
                },
                mode => self.in_text(rest, character, mode),
            };
        }
    }

    fn in_text<'a>(&mut self, rest: &'a str, character: char, mode: Mode) -> &'a str {
        match (character, mode) {
            ('\\', _) => skip(rest, 2),
            ('"', Mode::Double) | ('}', Mode::Parameter) => {
                self.open.pop();
                skip(rest, 1)
            }
            ('"', Mode::Parameter) => {
                self.open.push(Mode::Double);
                skip(rest, 1)
            }
            ('`', _) => self.backquote(rest),
            ('$', _) => self.dollar(rest),
            _ => skip(rest, 1),
        }
    }

    /// `None` ends the line: the rest is a comment.
    fn in_code<'a>(&mut self, rest: &'a str, character: char, can_start: bool) -> Option<&'a str> {
        if " \t;&|(<>".contains(character) {
            self.is_joined = false;
        }
        Some(match character {
            ' ' | '\t' => skip(rest, 1),
            '#' if !self.is_joined => return None,
            ';' | '&' | '|' => {
                self.set(true);
                skip(rest, 1)
            }
            '(' => {
                self.open.push(Mode::Code(true));
                skip(rest, 1)
            }
            ')' => {
                // One that closes nothing ends a pattern of `case`.
                if self.open.len() > 1 {
                    self.open.pop();
                    self.is_joined = true;
                } else {
                    self.set(true);
                }
                skip(rest, 1)
            }
            // `>&2` starts no command.
            '<' | '>' => rest.trim_start_matches(['<', '>', '&', '|']),
            _ => self.word(rest, can_start && !self.is_joined),
        })
    }

    fn backquote<'a>(&mut self, rest: &'a str) -> &'a str {
        let inner = skip(rest, 1);
        let end = inner.find('`').unwrap_or(inner.len());
        let before = std::mem::replace(&mut self.open, vec![Mode::Code(true)]);
        self.is_joined = false;
        self.scan(&inner[..end]);
        self.open = before;
        self.is_joined = true;
        skip(&inner[end..], 1)
    }

    fn set(&mut self, can_start: bool) {
        if let Some(Mode::Code(flag)) = self.open.last_mut() {
            *flag = can_start;
        }
        self.is_joined = false;
        self.is_script = false;
    }

    /// Reads one word, or its next part.
    fn word<'a>(&mut self, rest: &'a str, can_start: bool) -> &'a str {
        let is_plain = |character: char| !" \t;&|()<>`\"'\\$".contains(character);
        let end = rest.find(|character| !is_plain(character));
        let (plain, after) = rest.split_at(end.unwrap_or(rest.len()));
        let next = after.chars().next();
        if can_start {
            self.first_word(rest, plain, after);
        }
        self.is_joined = true;
        match next {
            Some('"') => {
                self.open.push(Mode::Double);
                skip(after, 1)
            }
            Some('\'') => {
                self.is_in_single = true;
                skip(after, 1)
            }
            Some('$') => self.dollar(after),
            Some('`') => self.backquote(after),
            Some('\\') => skip(after, 2),
            _ => after,
        }
    }

    /// Opens what a `$` starts; skips a variable.
    fn dollar<'a>(&mut self, rest: &'a str) -> &'a str {
        let rest = skip(rest, 1);
        if let Some(inner) = rest.strip_prefix("((") {
            self.open.extend([Mode::Code(false); 2]);
            return inner;
        }
        if let Some(inner) = rest.strip_prefix('(') {
            self.open.push(Mode::Code(true));
            self.is_joined = false;
            return inner;
        }
        if let Some(inner) = rest.strip_prefix('{') {
            self.open.push(Mode::Parameter);
            return inner;
        }
        // `$#`, `$?` and the like have names of one character.
        if rest.starts_with(|first: char| "#?@*!-$".contains(first)) {
            return skip(rest, 1);
        }
        rest.trim_start_matches(|letter: char| letter.is_alphanumeric() || letter == '_')
    }

    /// Takes the word in command position: `plain` is its text up to the first
    /// quoted or computed part, of which `after` starts with the next.
    fn first_word(&mut self, rest: &str, plain: &str, after: &str) {
        let name = plain.split_once('=').map(|(name, _)| name);
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if name.is_some_and(|name| !name.is_empty() && name.chars().all(is_letter)) {
            // The value is one word; what follows it is still the command.
            return;
        }
        if self.open.len() == 1 && self.ends_pattern(after) {
            return self.set(false);
        }
        let whole = self.ahead(rest, ends_word());
        let is_plain = whole == plain;
        if is_plain && plain.starts_with('-') {
            // `sh -c` runs a text.
            if self.is_script && plain.contains('c') {
                self.set(false);
            }
            return;
        }
        let is_reader = SHELLS.contains(&plain) || plain == "." || plain == "source";
        if is_plain && (RUNNERS.contains(&plain) || is_reader) {
            self.insert(plain);
            self.is_script = is_reader;
            // `command -v` starts nothing.
            if plain == "command" && after.trim_start().starts_with('-') {
                self.set(false);
            }
            return;
        }
        if is_plain && KEYWORDS.contains(&plain) {
            return;
        }
        let is_script = self.is_script;
        self.set(false);
        if let Some(path) = path_of(whole, is_script) {
            if self.paths.len() < MAX_CALLS {
                self.paths.insert(path, is_script);
            }
        } else if is_plain && after.trim_start().starts_with("()") {
            self.functions.insert(plain.to_owned());
            self.set(true);
        } else if is_plain && !is_script {
            self.insert(plain);
        }
    }

    fn insert(&mut self, word: &str) {
        let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_-+.[".contains(letter);
        let may_start = |first: char| first.is_ascii_alphanumeric() || "_[".contains(first);
        let is_word = word.starts_with(may_start) && word.chars().all(is_letter);
        if is_word && self.words.len() < MAX_CALLS {
            self.words.insert(word.to_owned());
        }
    }

    /// Returns whether the word before is a pattern of `case`.
    fn ends_pattern(&mut self, after: &str) -> bool {
        let after = after.trim_start();
        let is_letter = |letter: char| letter.is_alphanumeric() || " |*?.-_[]\"'".contains(letter);
        let is_first = after.starts_with('|');
        let others = self.ahead(after, |letter| !is_first || !is_letter(letter));
        after[others.len()..].starts_with(')')
    }

    /// Returns the start of `rest` up to a letter; an empty text if that is too far ahead.
    fn ahead<'a>(&mut self, rest: &'a str, is_end: impl FnMut(char) -> bool) -> &'a str {
        let near = &rest[..rest.floor_char_boundary(self.ahead)];
        let end = near
            .find(is_end)
            .or((near.len() == rest.len()).then_some(rest.len()));
        self.ahead = end.map_or(0, |end| self.ahead - end);
        &rest[..end.unwrap_or_default()]
    }
}

/// Finds the end of a word, from letter to letter, with its quoted and computed parts.
fn ends_word() -> impl FnMut(char) -> bool {
    let (mut is_quoted, mut depth, mut before) = (false, 0, ' ');
    move |letter| {
        match letter {
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' | '{' if depth > 0 || before == '$' => depth += 1,
            ')' | '}' if depth > 0 => {
                depth -= 1;
                return false;
            }
            _ => {}
        }
        before = letter;
        !is_quoted && depth == 0 && " \t;&|()<>`".contains(letter)
    }
}

/// Returns the path that a word is, if all of it is plain but the directory at
/// its start; a script may be a name.
fn path_of(word: &str, is_script: bool) -> Option<String> {
    let text = word.replace(['"', '\''], "");
    let (start, path) = if text.starts_with('$') {
        let end = match text.as_bytes().get(1)? {
            b'(' => text.rfind(')')? + 1,
            b'{' => text.rfind('}')? + 1,
            _ => text.find('/')?,
        };
        (COMPUTED, text[end..].strip_prefix('/')?)
    } else if is_script && !text.contains('/') {
        ("./", text.as_str())
    } else {
        ("", text.as_str())
    };
    let is_letter = |letter: char| letter.is_alphanumeric() || "_-+./@".contains(letter);
    let is_path = !start.is_empty() || path.contains('/');
    let is_path = is_path && !path.ends_with('/') && path.chars().all(is_letter);
    (is_path && !path.is_empty()).then(|| format!("{start}{path}"))
}

/// Returns `text` without its first characters.
fn skip(text: &str, count: usize) -> &str {
    let mut characters = text.chars();
    for _ in 0..count {
        characters.next();
    }
    characters.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_command_position_are_found() {
        for (text, expected) in [
            ("#!/bin/sh\nset -e\n", "set"),
            (
                "cat a | sed s/a/b/ && tr a b; od -x & wc",
                "cat od sed tr wc",
            ),
            ("A=1 B=\"$(cut -f1 x)\" exec ./run cat", "cut exec"),
            ("A=$(readlink \"$0\" || true)", "readlink true"),
            ("X=\"${X:-\"$(cat \"$R/C\")\"}\"\ndate", "cat date"),
            ("X=${Y:-`dirname $0`}", "dirname"),
            ("echo \"a; b `basename $0` c\" 'x; y'", "basename echo"),
            (
                "if grep -q a b; then\n  mkdir -p c\nelse rm d; fi",
                "fi grep mkdir rm",
            ),
            ("f () {\n  awk x\n}\nf | g\ng() { ls; }", "awk ls }"),
            ("case $1 in\n  start)\n    df\n    ;;\nesac", "case df esac"),
            ("# cat this\nls # cat that", "ls"),
            ("cat <<END\nrm this $(id)\nEND\nps", "cat id ps"),
            ("cat <<-'END' >&2\n\trm this\n\tEND\nps", "cat ps"),
            ("(cd a && tar b) || { exit; }", "cd exit tar }"),
            ("echo a \\\n  rm b\nwho", "echo who"),
            ("/bin/x; ./y; \"$Z\" q; $Z r; command jq .", "command jq"),
            ("echo 'one\nrm two\n'\nid", "echo id"),
            ("cat <<E\nsay \"hello\" \"\nrm; it's\nE\nps", "cat ps"),
            ("cat <<'E'\n$(rm a)\nE\nps", "cat ps"),
            ("echo $X <<E\nrm a", "echo rm"),
            ("A=\"$X\"cat B=${C}sort D=$(id)tail E='x'head ls", "id ls"),
            ("P=\"$D\"/bin:$P; X=${Y:-sort of} Z=$((date + 1)) ls", "ls"),
            (
                "case $1 in\n install | remove) df;;\n sort) ls;;\nesac",
                "case df esac ls",
            ),
            (
                "exec env -i A=b tini -- ./x; nice -n 5 y",
                "5 env exec nice tini",
            ),
            (
                "command -v jq; sh -e ./x; bash -c 'rm a'",
                "bash command sh",
            ),
        ] {
            let mut expected: Vec<&str> = expected.split(' ').collect();
            expected.sort_unstable();
            let found = calls(text).programs;
            let found: Vec<&str> = found
                .iter()
                .map(String::as_str)
                .filter(|word| *word != "}" || expected.contains(word))
                .collect();
            let expected: Vec<&str> = expected.into_iter().filter(|word| *word != "}").collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn paths_in_command_position_are_found() {
        for (text, expected) in [
            ("exec ./app start", "./app"),
            (".venv/bin/gunicorn app; ls ./data", ".venv/bin/gunicorn"),
            ("exec \"$(dirname \"$0\")/lib/app\" \"$@\"", "$/lib/app"),
            (
                "\"$HOME/a\"; ${D}/b; $(cd \"$(dirname $0)\" && pwd)/../c",
                "$/../c $/a $/b",
            ),
            (
                ". ./env.sh; sh -e migrate.sh x; source lib/b",
                "?./env.sh ?./migrate.sh ?lib/b",
            ),
            ("[ -x \"./hook\" ] && ./hook", "?./hook"),
            ("test -f ./a\n./a && [ -e\t./b ]", "?./a"),
            (
                "[ -x \"$(dirname \"$0\")/hook\" ] && \"$(dirname \"$0\")/hook\"",
                "?$/hook",
            ),
            ("\"$JAVA\" -jar a; $DIR/$NAME; ./*.sh; sh -c ./x; x/", ""),
        ] {
            let shown = |(path, may_lack): (&String, &bool)| {
                format!("{}{path}", if *may_lack { "?" } else { "" })
            };
            let found: Vec<String> = calls(text).paths.iter().map(shown).collect();
            assert_eq!(found.join(" "), expected, "{text}");
        }
    }

    #[test]
    fn a_path_is_read_as_a_whole_or_not() {
        let path = "./application/run";
        // Each space more allows eight bytes more ahead.
        for spaces in 0..40 {
            let text = format!("{}{}{path}", " ".repeat(spaces), "a|".repeat(73));
            let found = calls(&text).paths;
            assert!(found.keys().all(|found| found == path), "{found:?}");
        }
    }

    #[test]
    fn odd_text_ends() {
        for text in [
            "",
            "\"",
            "'",
            "`",
            "$",
            "$(",
            "${",
            "\\",
            "a\\",
            "<<",
            "((((",
            "))))",
            "é$é\"é",
        ] {
            drop(calls(text));
        }
    }
}
