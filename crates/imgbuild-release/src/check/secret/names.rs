//! Files that are secrets by their names.

use std::collections::BTreeMap;
use std::iter;
use std::sync::LazyLock;

use imgbuild_oci::path::ImagePath;

use super::forms::{Form, rows};

/// The marks before a value, and the value: `%` in the table.
const VALUE: &str = r#"["']?[ \t]*[:=,>]+[ \t"'>]*(?<value>[^\s"',;<]+)"#;

/// The forms in files of a name, each with the end of the path before the name.
type FormsOfName = Vec<(&'static str, Form)>;

/// The forms of all names, sorted by the length of the name, which is compared
/// first, and the name.
static NAMES: LazyLock<Vec<(Vec<u8>, FormsOfName)>> = LazyLock::new(|| {
    let mut names: BTreeMap<Vec<u8>, FormsOfName> = BTreeMap::new();
    for [what, words, expression] in rows(include_str!("names.txt")) {
        let expression = expression.replace('%', VALUE);
        // Not in a comment.
        let in_line = || format!("(?i)^[^#;\n]*?(?:{expression})");
        for word in words.split(' ') {
            let (place, name) = word.split_at(word.rfind('/').map_or(0, |at| at + 1));
            let expression = (!expression.is_empty()).then(in_line);
            let form = Form::new(what, expression.unwrap_or_default());
            names
                .entry(name.as_bytes().to_ascii_lowercase())
                .or_default()
                .push((place, form));
        }
    }
    let mut names: Vec<_> = names.into_iter().collect();
    names.sort_by_key(|(name, _)| name.len());
    names
});

/// The ends of the names of backups.
const BACKUPS: [&[u8]; 4] = [b"~", b".bak", b".old", b".orig"];

/// Returns the form that makes a file at this path a secret: by its name in any
/// case, also that of a backup, or by an end of it that begins with a dot.
pub(super) fn find(path: &ImagePath) -> Option<&'static Form> {
    let name = path.file_name();
    let (place, _) = path.as_bytes().split_at(path.as_bytes().len() - name.len());
    let backup = BACKUPS.iter().find_map(|end| name.strip_suffix(*end));
    let name: &[u8] = &backup.unwrap_or(name).to_ascii_lowercase();
    let dots = (1..name.len()).filter(|at| name[*at] == b'.');
    let ends = iter::once(name).chain(dots.map(|at| &name[at..]));
    let variables = name.starts_with(b".env.").then_some(&b".env"[..]);
    ends.chain(variables).find_map(|end| {
        let order = |name: &[u8]| name.len().cmp(&end.len()).then_with(|| name.cmp(end));
        let index = NAMES.binary_search_by(|(name, _)| order(name)).ok()?;
        let forms = NAMES[index].1.iter();
        let here = forms.filter(|(start, _)| place.ends_with(start.as_bytes()));
        here.max_by_key(|(start, _)| start.len())
            .map(|(_, form)| form)
    })
}
