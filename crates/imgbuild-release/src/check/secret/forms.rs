//! Secrets that are recognized by their form, in bytes of any kind.
//!
//! One pass looks for the anchors of all forms, at the speed of memory: few bytes
//! have one. The regular expression of a form is compiled when it is first
//! needed.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use aho_corasick::{AhoCorasick, Match, packed};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use regex::bytes::{Regex, RegexBuilder};
use serde_json::Value;

/// The bytes before an anchor, and from it on, that are searched.
const BEFORE_BYTES: usize = 64;
const AFTER_BYTES: usize = 4096;

/// The anchors that one searcher takes, with more it is slower than two, and the
/// sets in which it has them.
const SEARCHER_ANCHORS: usize = 32;
const SEARCHER_SETS: usize = 8;

/// A form of secrets.
#[derive(Debug)]
pub(super) struct Form {
    pub(super) what: &'static str,
    expression: String,
    compiled: OnceLock<Regex>,
}

/// All forms, and their anchors.
struct Forms {
    forms: Vec<Form>,
    searchers: Vec<AnchorSearcher>,
}

struct AnchorSearcher {
    search: Search,
    /// The number of the form of each anchor.
    forms: Vec<usize>,
}

/// A search for several words. The table of the slow one is large, so it is made
/// only where the processor does not have the instructions of the fast one.
enum Search {
    Fast(packed::Searcher),
    Slow(AhoCorasick),
}

static FORMS: LazyLock<Forms> = LazyLock::new(|| {
    let mut forms = Vec::new();
    let mut anchors: Vec<(&str, usize)> = Vec::new();
    for [what, words, expression] in rows(include_str!("forms.txt")) {
        anchors.extend(words.split(' ').map(|anchor| (anchor, forms.len())));
        forms.push(Form::new(what, expression.to_owned()));
    }
    // A searcher compares as many bytes as its shortest anchor has, up to four, with
    // those of all anchors of a set at once: the fewer halves of bytes differ within
    // a set, the fewer texts look like one of its anchors.
    anchors.sort_by_key(|(anchor, _)| {
        let halves: Vec<u8> = anchor.bytes().take(4).map(|byte| byte >> 4).collect();
        (anchor.len() > 3, halves, *anchor)
    });
    let groups = anchors.chunk_by(|(one, _), (next, _)| (one.len() > 3) == (next.len() > 3));
    let searchers = groups
        .flat_map(|group| group.chunks(SEARCHER_ANCHORS))
        .map(|group| {
            // The sets are dealt anchors in turn.
            let turns = group.len().div_ceil(SEARCHER_SETS);
            let dealt = (0..turns).flat_map(|turn| group.iter().skip(turn).step_by(turns));
            let words = dealt.clone().map(|(anchor, _)| *anchor);
            AnchorSearcher {
                search: Search::new(&words),
                forms: dealt.map(|(_, form)| *form).collect(),
            }
        });
    Forms {
        searchers: searchers.collect(),
        forms,
    }
});

/// Returns the rows of a table: what it is, words, and a regular expression.
pub(super) fn rows(table: &'static str) -> impl Iterator<Item = [&'static str; 3]> {
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (what, rest) = line.split_once(": ")?;
        let (words, expression) = rest.split_once(" =>")?;
        Some([what, words, expression.trim_start()])
    })
}

impl Search {
    fn new<'a>(words: &(impl Iterator<Item = &'a str> + Clone)) -> Self {
        let slow = || AhoCorasick::new(words.clone()).expect("the anchors are few and short");
        packed::Searcher::new(words.clone()).map_or_else(|| Self::Slow(slow()), Self::Fast)
    }
}

impl AnchorSearcher {
    /// Returns the parts of `bytes` with anchors, each with the number of the form.
    fn parts_of(&self, bytes: &[u8]) -> Vec<(usize, Range<usize>)> {
        let anchors: Vec<Match> = match &self.search {
            Search::Fast(search) => search.find_iter(bytes).collect(),
            Search::Slow(search) => search.find_iter(bytes).collect(),
        };
        let mut parts: Vec<(usize, Range<usize>)> = Vec::new();
        for anchor in anchors {
            let form = self.forms[anchor.pattern().as_usize()];
            let start = anchor.start().saturating_sub(BEFORE_BYTES);
            let end = bytes.len().min(anchor.start() + AFTER_BYTES);
            let mut known = parts.iter_mut().rev().filter(|(other, _)| *other == form);
            match known.next() {
                Some((_, part)) if start <= part.end => part.end = end,
                _ => parts.push((form, start..end)),
            }
        }
        parts
    }
}

/// Returns the secrets in `bytes`, each with its place.
pub(crate) fn secrets_in(bytes: &[u8]) -> impl Iterator<Item = (&'static str, usize)> {
    let parts = FORMS.searchers.iter().flat_map(|one| one.parts_of(bytes));
    parts.filter_map(|(form, part)| {
        let form = &FORMS.forms[form];
        let place = form.find(&bytes[part.clone()])?;
        Some((form.what, part.start + place))
    })
}

impl Form {
    pub(super) fn new(what: &'static str, expression: String) -> Self {
        Self {
            what,
            expression,
            compiled: OnceLock::new(),
        }
    }

    /// Returns whether there is nothing to be found: a name says enough.
    pub(super) fn is_empty(&self) -> bool {
        self.expression.is_empty()
    }

    /// Returns where the first secret of this form begins.
    pub(super) fn find(&self, text: &[u8]) -> Option<usize> {
        let regex = self.compiled.get_or_init(|| {
            let mut builder = RegexBuilder::new(&self.expression);
            let regex = builder.unicode(false).multi_line(true).build();
            regex.expect("a test compiles all expressions")
        });
        let kind = regex.capture_names().flatten().next();
        let found = regex.captures_iter(text).find(|found| {
            let part = found.name(kind.unwrap_or_default()).or(found.get(0));
            let whole = found.get(0).map_or(0..0, |whole| whole.range());
            part.is_some_and(|part| is_real(kind, text, whole, part.range()))
        });
        Some(found?.get(0)?.start())
    }
}

/// Returns whether a part of a match is a secret, and not an example of one, by
/// the name of its group.
fn is_real(kind: Option<&str>, text: &[u8], whole: Range<usize>, part: Range<usize>) -> bool {
    let (before, after) = (&text[..whole.start], &text[part.end..]);
    let secret = &text[part];
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    // A line break in a literal is two characters, of which one is a letter.
    let is_literal = before.len() > 1 && before[before.len() - 2] == b'\\';
    let begins = is_literal || !(is_letter(before.last()) && is_letter(text.get(whole.start)));
    let is_whole = begins && !is_letter(after.first()) && !after.starts_with(b"..");
    match kind {
        Some("jwt") => is_jwt(secret),
        Some("password") => is_password(secret) && !is_local(after),
        Some("pem") => is_encoded_key(secret),
        Some("value") => is_value(secret),
        Some("mixed") => is_whole && kinds(secret) == 3 && is_random(secret),
        _ => {
            let is_repeated = secret.windows(6).any(|run| run == [run[0]; 6]);
            is_whole && is_random(secret) && !is_repeated
        }
    }
}

/// Returns how many there are of lower case, upper case and digits.
fn kinds(text: &[u8]) -> usize {
    let tests = [
        u8::is_ascii_lowercase,
        u8::is_ascii_uppercase,
        u8::is_ascii_digit,
    ];
    tests.iter().filter(|test| text.iter().any(test)).count()
}

/// Returns whether a text may be random.
pub(crate) fn is_random(text: &[u8]) -> bool {
    let seen = text
        .iter()
        .fold(0_u128, |seen, byte| seen | 1 << (byte & 127));
    seen.count_ones() >= 8 && kinds(text) >= 2 && !is_placeholder(text)
}

/// Returns whether a text has a word that documents and tests use in secrets, or
/// is the key that is the same in every emulator of Azure Storage.
fn is_placeholder(text: &[u8]) -> bool {
    const WORDS: &str = "abcdefghijklmnopqrstuvwxyz changeme dummy eby8vdm02xnocqflquwj example password_here placeholder redacted replace xxxx your";
    let lower = text.to_ascii_lowercase();
    WORDS.split(' ').any(|word| has(&lower, word.as_bytes()))
}

/// Returns whether a value is given, and not filled in later.
fn is_value(value: &[u8]) -> bool {
    const OTHERS: &str = "! $ % ( * < [ { enc[ env false nil none null os.environ process.env true";
    let lower = value.to_ascii_lowercase();
    !OTHERS
        .split(' ')
        .any(|other| lower.starts_with(other.as_bytes()))
        && !is_placeholder(value)
}

fn is_password(text: &[u8]) -> bool {
    let has_digit = text.iter().any(u8::is_ascii_digit);
    let is_word = has(&text.to_ascii_lowercase(), b"password");
    text.len() >= 6 && has_digit && !is_word && is_value(text)
}

/// Returns whether a host is that of an example or of the machine itself.
fn is_local(host: &[u8]) -> bool {
    const HOSTS: &str = "@localhost @127. @0.0.0.0 @host @example";
    HOSTS
        .split(' ')
        .any(|local| host.starts_with(local.as_bytes()))
}

/// Returns whether a token has a header and claims, and is not that of a
/// document or one for everyone.
fn is_jwt(token: &[u8]) -> bool {
    const CLAIMS: [&str; 7] = ["aud", "exp", "iat", "iss", "jti", "nbf", "sub"];
    let mut parts = token.split(|byte| *byte == b'.').map_while(|part| {
        let bytes = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&bytes).ok()
    });
    let (Some(header), Some(claims)) = (parts.next(), parts.next()) else {
        return false;
    };
    let is_signed = header["alg"].as_str().is_some_and(|name| name != "none");
    let text = claims.to_string().to_ascii_lowercase();
    let is_public = ["john doe", "example", "\"anon\""]
        .iter()
        .any(|part| text.contains(part));
    is_signed && !is_public && CLAIMS.iter().any(|claim| claims.get(claim).is_some())
}

/// Returns whether a text in base64 begins with the first line of a private key
/// in PEM, or with the last line before it. Three of the five hyphens are the
/// start, wherever it was encoded.
fn is_encoded_key(text: &[u8]) -> bool {
    let text: Vec<u8> = text
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let line = STANDARD_NO_PAD.decode(text);
    line.is_ok_and(|line| has(&line, b"BEGIN ") && has(&line, b"PRIVATE KEY"))
}

pub(super) fn has(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}
