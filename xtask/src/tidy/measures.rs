//! Figures that may fall but not rise.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::circles::circles;
use super::source::{Source, read_all};
use super::{Finding, files_below, shown};
use crate::Result;

/// The highest figure that each measure may have.
const LIMITS: [(&str, usize, Measure); 12] = [
    ("product lines without tests", 60_900, product_lines),
    ("files above 500 lines", 0, large_files),
    ("lines of `main.rs`", 60, main_lines),
    ("import circles", 0, import_circles),
    (
        "type names that one crate uses twice",
        0,
        names_in_one_crate,
    ),
    ("type names that two crates use", 10, names_in_two_crates),
    ("parameters that are tuples", 0, tuple_parameters),
    (
        "doc comments that begin with a question word, of 1,000",
        30,
        questions,
    ),
    ("examples that begin with `, as`", 15, examples),
    (
        "public items that no other crate or signature uses",
        20,
        unused_items,
    ),
    ("copies of base64", 0, base64_alphabets),
    ("limits of links to follow", 1, link_limits),
];

/// The input of the measures.
struct Workspace {
    root: PathBuf,
    sources: Vec<Source>,
}

/// A figure, and the places that it counts.
struct Figure {
    value: usize,
    places: Vec<String>,
}

type Measure = fn(&Workspace) -> Result<Figure>;

/// Finds the figures above their limits.
pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let workspace = Workspace::read(root)?;
    let mut findings = Vec::new();
    for (name, limit, measure) in LIMITS {
        let figure = measure(&workspace)?;
        if figure.value > limit {
            let value = figure.value;
            findings.push(format!(
                "{name}: {value} instead of at most {limit} (see `cargo xtask tidy --places`)"
            ));
        }
    }
    Ok(findings)
}

/// Prints every figure with its places.
pub(super) fn print(root: &Path) -> Result {
    let workspace = Workspace::read(root)?;
    for (name, limit, measure) in LIMITS {
        let figure = measure(&workspace)?;
        println!("{name}: {} (at most {limit})", figure.value);
        for place in figure.places {
            println!("  {place}");
        }
    }
    Ok(())
}

impl Workspace {
    fn read(root: &Path) -> Result<Self> {
        Ok(Self {
            root: root.to_owned(),
            sources: read_all(root)?,
        })
    }

    fn product(&self) -> impl Iterator<Item = &Source> {
        self.sources.iter().filter(|source| source.is_product())
    }
}

impl Figure {
    fn count(places: Vec<String>) -> Self {
        Self {
            value: places.len(),
            places,
        }
    }
}

fn line_count(source: &Source) -> usize {
    source.text.matches('\n').count()
}

fn product_lines(workspace: &Workspace) -> Result<Figure> {
    let mut packages: BTreeMap<&str, usize> = BTreeMap::new();
    for source in workspace.product() {
        *packages.entry(&source.package).or_default() += line_count(source);
    }
    let places = packages.iter();
    Ok(Figure {
        value: packages.values().sum(),
        places: places
            .map(|(name, lines)| format!("{name}: {lines}"))
            .collect(),
    })
}

fn large_files(workspace: &Workspace) -> Result<Figure> {
    let files = workspace.sources.iter();
    let large = files.filter(|source| line_count(source) > 500);
    let places = large.map(|source| format!("{}: {}", source.name, line_count(source)));
    Ok(Figure::count(places.collect()))
}

fn main_lines(workspace: &Workspace) -> Result<Figure> {
    let main = workspace.product().find(|file| file.name == "src/main.rs");
    Ok(Figure {
        value: main.map_or(0, line_count),
        places: Vec::new(),
    })
}

fn import_circles(workspace: &Workspace) -> Result<Figure> {
    Ok(Figure::count(circles(&workspace.sources)))
}

/// Returns the packages and files of every type name.
fn type_names<'a>(
    sources: impl Iterator<Item = &'a Source>,
) -> BTreeMap<String, BTreeMap<&'a str, Vec<&'a str>>> {
    let mut names: BTreeMap<String, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for source in sources {
        for name in source.code.lines().filter_map(defined_type) {
            let packages = names.entry(name.to_owned()).or_default();
            let files = packages.entry(source.package.as_str()).or_default();
            files.push(&source.name);
        }
    }
    names
}

/// Returns the name of the type that a line defines. The types that belong to
/// a trait are indented, and have the names that the trait gives them.
fn defined_type(line: &str) -> Option<&str> {
    let words = line.trim_start().strip_prefix("pub").map_or(line, |after| {
        after.split_once(')').map_or(after, |(_, after)| after)
    });
    let mut words = words.split_whitespace();
    match words.next()? {
        "struct" | "enum" | "trait" | "union" => {}
        "type" if !line.starts_with(' ') => {}
        _ => return None,
    }
    let name = words.next()?;
    let end = name.find(|letter: char| !letter.is_alphanumeric() && letter != '_');
    Some(&name[..end.unwrap_or(name.len())])
}

fn names_in_one_crate(workspace: &Workspace) -> Result<Figure> {
    let mut places = Vec::new();
    for (name, packages) in type_names(workspace.sources.iter()) {
        for files in packages.values().filter(|files| files.len() > 1) {
            places.push(format!("{name}: {}", files.join(", ")));
        }
    }
    Ok(Figure::count(places))
}

fn names_in_two_crates(workspace: &Workspace) -> Result<Figure> {
    let names = type_names(workspace.product());
    let shared = names.iter().filter(|(_, packages)| packages.len() > 1);
    let places = shared.map(|(name, packages)| {
        let files: Vec<&str> = packages.values().flatten().copied().collect();
        format!("{name}: {}", files.join(", "))
    });
    Ok(Figure::count(places.collect()))
}

fn tuple_parameters(workspace: &Workspace) -> Result<Figure> {
    let mut places = Vec::new();
    for source in &workspace.sources {
        for (index, _) in source.code.match_indices("fn ") {
            let line = source.code[..index].matches('\n').count() + 1;
            let parameters = parameters(&source.code[index..]);
            let tuples = parameters.iter().filter(|parameter| is_tuple(parameter));
            places.extend(tuples.map(|parameter| format!("{}:{line}: {parameter}", source.name)));
        }
    }
    Ok(Figure::count(places))
}

/// Returns the parameters of the function that `code` starts with.
fn parameters(code: &str) -> Vec<&str> {
    // Behind the name and what stands in angle brackets.
    let mut depth = 0;
    let open = code.char_indices().find(|(index, letter)| {
        match letter {
            '<' => depth += 1,
            '>' if !code[..*index].ends_with('-') => depth -= 1,
            _ => {}
        }
        depth == 0 && *letter == '('
    });
    open.map_or_else(Vec::new, |(index, _)| split_list(&code[index + 1..]))
}

/// Splits what stands before the closing bracket at its commas.
fn split_list(list: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (index, letter) in list.char_indices() {
        match letter {
            '(' | '[' | '{' | '<' => depth += 1,
            '>' if list[..index].ends_with(['-', '=']) => {}
            ')' | ']' | '}' | '>' if depth > 0 => depth -= 1,
            ')' | ',' if depth == 0 => {
                items.extend(Some(list[start..index].trim()).filter(|item| !item.is_empty()));
                start = index + 1;
                if letter == ')' {
                    break;
                }
            }
            _ => {}
        }
    }
    items
}

/// Returns `true` if the type of a parameter, or what it refers to, is a tuple.
fn is_tuple(parameter: &str) -> bool {
    let Some((_, kind)) = parameter.rsplit_once(": ") else {
        return false;
    };
    let kind = kind.trim_start_matches('&').trim_start_matches("mut ");
    kind.strip_prefix('(')
        .is_some_and(|list| split_list(list).len() > 1)
}

fn questions(workspace: &Workspace) -> Result<Figure> {
    const WORDS: [&str; 9] = [
        "What", "Whether", "Where", "How", "Which", "Who", "Whom", "Why", "When",
    ];
    let mut count = 0;
    let mut places = Vec::new();
    for source in &workspace.sources {
        let mut before = "";
        for (index, line) in source.text.lines().map(str::trim).enumerate() {
            let mark = line.get(..3).filter(|mark| matches!(*mark, "///" | "//!"));
            if let Some(mark) = mark.filter(|mark| !before.starts_with(mark)) {
                count += 1;
                let first = line[mark.len()..].split_whitespace().next().unwrap_or("");
                if WORDS.contains(&first) {
                    places.push(format!("{}:{}: {line}", source.name, index + 1));
                }
            }
            before = line;
        }
    }
    Ok(Figure {
        value: (places.len() * 1000).div_ceil(count.max(1)),
        places,
    })
}

/// Finds examples that begin with "as" instead of "for example" or "such as".
fn examples(workspace: &Workspace) -> Result<Figure> {
    let mut places = Vec::new();
    let mut look = |name: &str, index: usize, line: &str| {
        if line.contains(concat!(", as ", "`")) {
            places.push(format!("{name}:{}: {}", index + 1, line.trim()));
        }
    };
    for source in &workspace.sources {
        for (index, line) in source.text.lines().enumerate() {
            look(&source.name, index, line);
        }
    }
    for file in files_below(&workspace.root, ".md")? {
        let name = shown(&workspace.root, &file);
        for (index, line) in fs_err::read_to_string(&file)?.lines().enumerate() {
            look(&name, index, line);
        }
    }
    Ok(Figure::count(places))
}

/// Finds public items whose names occur neither in another package nor in
/// another public signature.
fn unused_items(workspace: &Workspace) -> Result<Figure> {
    let mut packages: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut signatures: BTreeMap<&str, usize> = BTreeMap::new();
    for source in workspace.product() {
        for name in names(&source.code) {
            packages.entry(name).or_default().insert(&source.package);
        }
        for name in interfaces(&source.code).into_iter().flat_map(names) {
            *signatures.entry(name).or_default() += 1;
        }
    }

    let mut places = Vec::new();
    for source in workspace.product() {
        let items = source.code.lines().filter_map(public_item);
        let unused = items.filter(|name| packages[name].len() == 1 && signatures[name] == 1);
        places.extend(unused.map(|name| format!("{}: {name}", source.name)));
    }
    Ok(Figure::count(places))
}

fn names(code: &str) -> impl Iterator<Item = &str> {
    code.split(|letter: char| !letter.is_alphanumeric() && letter != '_')
}

/// Returns the name of the item that a line defines for other crates.
fn public_item(line: &str) -> Option<&str> {
    let mut words = names(line.strip_prefix("pub ")?);
    let is_kind = |word: &&str| matches!(*word, "struct" | "enum" | "trait" | "type" | "fn");
    if line.starts_with("pub const ") && !line.starts_with("pub const fn ") {
        return words.nth(1);
    }
    words.find(is_kind).and(words.next())
}

/// Returns the parts of a file that other crates see: the signatures of public
/// items, the bodies of enums and traits, and the types of traits.
fn interfaces(code: &str) -> Vec<&str> {
    let starts = code
        .match_indices("pub ")
        .chain(code.match_indices(" type "));
    let interface = |(start, _): (usize, &str)| {
        let code = &code[start..];
        let has_body = code.starts_with("pub enum") || code.starts_with("pub trait");
        let end = if has_body {
            code.find("\n}")
        } else {
            code.find(['{', ';', '\n'])
                .filter(|end| !code[..*end].ends_with(['(', ',']))
        };
        &code[..end.or_else(|| code.find(['{', ';'])).unwrap_or(code.len())]
    };
    starts.map(interface).collect()
}

fn base64_alphabets(workspace: &Workspace) -> Result<Figure> {
    Ok(files_with(workspace, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef"))
}

fn link_limits(workspace: &Workspace) -> Result<Figure> {
    Ok(files_with(workspace, "const MAX_LINKS"))
}

fn files_with(workspace: &Workspace, text: &str) -> Figure {
    let files: BTreeSet<&str> = workspace
        .product()
        .filter(|source| source.text.contains(text))
        .map(|source| source.name.as_str())
        .collect();
    Figure::count(files.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    fn workspace(files: &[(&str, &str, &str)]) -> Workspace {
        let sources = files.iter();
        Workspace {
            root: PathBuf::from("/nonexistent"),
            sources: sources
                .map(|(package, name, text)| source(package, name, text))
                .collect(),
        }
    }

    #[test]
    fn tuples_are_found_among_the_parameters() {
        let text = "fn a(x: (u8, u8), y: &mut (A, B)) -> (u8, u8) {}\n\
            fn b<F: Fn(u8, u8) -> u8>(f: F, x: [(u8, u8); 2], y: &[(A, B)], z: ()) {}\n\
            fn c((x, y): (u8, u8), f: impl Fn(u8, u8) -> (u8, u8), g: (u8)) {}\n\
            const F: fn(u8, u8) = f;\n";
        let found = tuple_parameters(&workspace(&[("demo", "src/a.rs", text)])).unwrap();
        assert_eq!(
            found.places,
            [
                "src/a.rs:1: x: (u8, u8)",
                "src/a.rs:1: y: &mut (A, B)",
                "src/a.rs:3: (x, y): (u8, u8)",
            ]
        );
    }

    #[test]
    fn names_are_compared_within_a_crate_and_between_crates() {
        let files = [
            (
                "one",
                "src/a.rs",
                "pub(crate) struct Place;\nenum Kind<T> {}\n    type Item = u8;",
            ),
            (
                "one",
                "src/b.rs",
                "struct Place(u8);\ntype Own = u8;\n    type Item = u8;",
            ),
            (
                "two",
                "src/c.rs",
                "pub enum Kind {}\ntrait Other {}\n// struct Other",
            ),
        ];
        let workspace = workspace(&files);
        let within = names_in_one_crate(&workspace).unwrap().places;
        assert_eq!(within, ["Place: src/a.rs, src/b.rs"]);
        let between = names_in_two_crates(&workspace).unwrap().places;
        assert_eq!(between, ["Kind: src/a.rs, src/c.rs"]);
    }

    #[test]
    fn public_items_are_used_by_other_crates_or_by_signatures() {
        let one = "pub struct Used;\npub struct Shown;\npub struct Alone;\n\
            pub fn show(\n    count: u8,\n) -> Shown {\n    Alone\n}\n\
            pub const LIMIT: u8 = 1;\npub(crate) struct Own;\n";
        let two = "fn f() { Used; show() }";
        let files = [("one", "src/a.rs", one), ("two", "src/b.rs", two)];
        let found = unused_items(&workspace(&files)).unwrap().places;
        assert_eq!(found, ["src/a.rs: Alone", "src/a.rs: LIMIT"]);
    }

    #[test]
    fn doc_comments_are_counted_by_their_first_line() {
        let text = "//! How it works.\n//! What it is.\n\n/// Returns it.\n/// Whether or not.\nfn a() {}\n// Why.\n";
        let found = questions(&workspace(&[("demo", "src/a.rs", text)])).unwrap();
        assert_eq!(found.value, 500);
        assert_eq!(found.places, ["src/a.rs:1: //! How it works."]);
    }
}
