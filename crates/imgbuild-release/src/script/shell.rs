//! The programs that a shell script calls: the words in command position.
//!
//! What a script runs cannot be read off in general; this finds the plain
//! cases. Too many words do no harm, since only those count that are
//! programs.

use std::collections::BTreeSet;

/// Words after which a command follows (Shell Command Language, 2.4).
const KEYWORDS: [&str; 10] = [
    "if", "then", "else", "elif", "while", "until", "do", "!", "{", "time",
];

/// Builtins whose first argument is a command.
const RUNNERS: [&str; 4] = ["exec", "command", "eval", "nohup"];

/// Returns the plain words in command position, without paths, variables,
/// assignments and the script's own functions.
pub(crate) fn called_programs(text: &str) -> BTreeSet<String> {
    let mut scanner = Scanner::default();
    let mut heredoc: Option<String> = None;
    for line in text.lines() {
        if let Some(end) = &heredoc {
            if line.trim_start_matches('\t') == end {
                heredoc = None;
            } else {
                scanner.substitutions_of(line);
            }
            continue;
        }
        scanner.line(line);
        heredoc = heredoc_end(line);
    }
    let functions = scanner.functions;
    let mut words = scanner.words;
    words.retain(|word| !functions.contains(word));
    words
}

/// Returns the word that ends the text that starts after this line.
fn heredoc_end(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("<<")?;
    if rest.starts_with('<') {
        return None;
    }
    let rest = rest.trim_start_matches('-').trim_start();
    let word = rest.split([' ', '\t', ';', '|', '>', '&', ')']).next()?;
    let word = word.trim_matches(['"', '\'', '\\']);
    let is_word = word.starts_with(|first: char| first.is_alphabetic() || first == '_');
    is_word.then(|| word.to_owned())
}

/// The context of the scanner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Between words; the flag is set where a command may follow.
    Code(bool),
    /// In a text in double quotes.
    Double,
}

#[derive(Debug, Default)]
struct Scanner {
    words: BTreeSet<String>,
    functions: BTreeSet<String>,
    /// The contexts that are open at the end of a line, outermost first.
    open: Vec<Mode>,
    is_in_single: bool,
    is_continued: bool,
}

impl Scanner {
    fn line(&mut self, line: &str) {
        match self.open.last_mut() {
            None => self.open.push(Mode::Code(true)),
            Some(Mode::Code(can_start)) if !self.is_continued => *can_start = true,
            Some(_) => {}
        }
        self.is_continued = line.ends_with('\\');
        self.scan(line.strip_suffix('\\').unwrap_or(line));
    }

    /// Looks only at what a here-document has the shell run.
    fn substitutions_of(&mut self, line: &str) {
        let before = std::mem::replace(&mut self.open, vec![Mode::Double]);
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
                Mode::Double => self.in_double(rest, character),
                Mode::Code(can_start) => match self.in_code(rest, character, can_start) {
                    Some(rest) => rest,
                    None => return,
                },
            };
        }
    }

    fn in_double<'a>(&mut self, rest: &'a str, character: char) -> &'a str {
        if let Some(inner) = rest.strip_prefix("$(") {
            self.open.push(Mode::Code(true));
            return inner;
        }
        match character {
            '\\' => skip(rest, 2),
            '"' => {
                self.open.pop();
                skip(rest, 1)
            }
            '`' => self.backquote(rest),
            _ => skip(rest, 1),
        }
    }

    /// `None` ends the line: the rest is a comment.
    fn in_code<'a>(&mut self, rest: &'a str, character: char, can_start: bool) -> Option<&'a str> {
        Some(match character {
            ' ' | '\t' => skip(rest, 1),
            '#' => return None,
            '\\' => skip(rest, 2),
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
                } else {
                    self.set(true);
                }
                skip(rest, 1)
            }
            '`' => self.backquote(rest),
            // `>&2` starts no command.
            '<' | '>' => rest.trim_start_matches(['<', '>', '&', '|']),
            _ => self.word(rest, can_start),
        })
    }

    fn backquote<'a>(&mut self, rest: &'a str) -> &'a str {
        let inner = skip(rest, 1);
        let end = inner.find('`').unwrap_or(inner.len());
        let before = std::mem::replace(&mut self.open, vec![Mode::Code(true)]);
        self.scan(&inner[..end]);
        self.open = before;
        skip(&inner[end..], 1)
    }

    fn set(&mut self, can_start: bool) {
        if let Some(Mode::Code(flag)) = self.open.last_mut() {
            *flag = can_start;
        }
    }

    /// Reads one word, with quotes and substitutions in it.
    fn word<'a>(&mut self, rest: &'a str, can_start: bool) -> &'a str {
        let is_plain = |character: char| !" \t;&|()<>`\"'\\$".contains(character);
        let end = rest.find(|character| !is_plain(character));
        let (plain, after) = rest.split_at(end.unwrap_or(rest.len()));
        let next = after.chars().next();
        let ends_here = next.is_none_or(|next| " \t;&|()<>`".contains(next));
        if can_start {
            self.first_word(plain, after, ends_here);
        }
        match next {
            Some('"') => {
                self.open.push(Mode::Double);
                skip(after, 1)
            }
            Some('\'') => {
                self.is_in_single = true;
                skip(after, 1)
            }
            Some('$') => match after.strip_prefix("$(") {
                Some(inner) if inner.starts_with('(') => skip(inner, 0),
                Some(inner) => {
                    self.open.push(Mode::Code(true));
                    inner
                }
                None => self.variable(after),
            },
            _ => after,
        }
    }

    /// Skips a variable; the default value in `${A:-…}` is scanned as text.
    fn variable<'a>(&mut self, rest: &'a str) -> &'a str {
        let name = rest.strip_prefix("${").unwrap_or(skip(rest, 1));
        // `$#`, `$?` and the like have names of one character.
        if name.starts_with(|first: char| "#?@*!-$".contains(first)) {
            return skip(name, 1);
        }
        let is_name = |character: char| character.is_alphanumeric() || character == '_';
        let end = name.find(|character| !is_name(character));
        let after = &name[end.unwrap_or(name.len())..];
        if rest.starts_with("${") {
            after.trim_start_matches([':', '-', '+', '=', '?', '#', '%', '}'])
        } else {
            after
        }
    }

    fn first_word(&mut self, word: &str, after: &str, ends_here: bool) {
        let name = word.split_once('=').map(|(name, _)| name);
        let is_assignment = name.is_some_and(|name| {
            let mut letters = name.chars();
            let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
            !name.is_empty() && letters.all(is_letter)
        });
        if is_assignment {
            // The value is one word; what follows it is still the command.
            return;
        }
        if word.is_empty() && after.starts_with(['"', '\'', '$']) {
            return self.set(false);
        }
        if KEYWORDS.contains(&word) || RUNNERS.contains(&word) {
            return;
        }
        self.set(false);
        if !ends_here || !is_program_name(word) {
            return;
        }
        if after.trim_start().starts_with("()") {
            self.functions.insert(word.to_owned());
            return self.set(true);
        }
        self.words.insert(word.to_owned());
    }
}

fn is_program_name(word: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "_-+.[".contains(letter);
    word.starts_with(|first: char| first.is_ascii_alphanumeric() || "_[.".contains(first))
        && word.chars().all(is_letter)
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
            ("A=1 B=\"$(cut -f1 x)\" exec ./run cat", "cut"),
            ("A=$(readlink \"$0\" || true)", "readlink true"),
            ("X=\"${X:-\"$(cat \"$R/C\")\"}\"\ndate", "cat date"),
            ("X=${Y:-`dirname $0`}", "dirname"),
            ("echo \"a; b `basename $0` c\" 'x; y'", "basename echo"),
            (
                "if grep -q a b; then\n  mkdir -p c\nelse rm d; fi",
                "fi grep mkdir rm",
            ),
            ("f () {\n  awk x\n}\nf | g\ng() { ls; }", "awk ls }"),
            (
                "case $1 in\n  start)\n    df\n    ;;\nesac",
                "case df esac start",
            ),
            ("# cat this\nls # cat that", "ls"),
            ("cat <<END\nrm this $(id)\nEND\nps", "cat id ps"),
            ("cat <<-'END' >&2\n\trm this\n\tEND\nps", "cat ps"),
            ("(cd a && tar b) || { exit; }", "cd exit tar }"),
            ("echo a \\\n  rm b\nwho", "echo who"),
            ("/bin/x; ./y; \"$Z\" q; $Z r; command jq .", "jq"),
            ("echo 'one\nrm two\n'\nid", "echo id"),
        ] {
            let mut expected: Vec<&str> = expected.split(' ').collect();
            expected.sort_unstable();
            let found = called_programs(text);
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
            drop(called_programs(text));
        }
    }
}
