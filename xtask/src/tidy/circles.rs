//! Files do not import each other in a circle.
//!
//! A file uses another one by a path: `crate::a::b`, `super::b`, or `b::c`
//! where `b` is a module below it. What a file uses of the modules around it
//! does not count: a part may know the whole.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::source::Source;

/// The files that each file uses, by their places in a list.
type Graph = Vec<BTreeSet<usize>>;

/// Returns a line for each circle of files.
pub(super) fn circles(sources: &[Source]) -> Vec<String> {
    let graph = graph(sources);
    let reached: Vec<BTreeSet<usize>> = (0..graph.len()).map(|file| reach(&graph, file)).collect();

    let mut circles = Vec::new();
    let mut seen = BTreeSet::new();
    for file in 0..graph.len() {
        if !reached[file].contains(&file) || seen.contains(&file) {
            continue;
        }
        let members: Vec<usize> = reached[file]
            .iter()
            .copied()
            .filter(|other| reached[*other].contains(&file))
            .collect();
        let names: Vec<&str> = shortest_circle(&graph, file)
            .into_iter()
            .map(|file| sources[file].name.as_str())
            .collect();
        circles.push(format!("{} files: {}", members.len(), names.join(" -> ")));
        seen.extend(members);
    }
    circles
}

fn graph(sources: &[Source]) -> Graph {
    let files: BTreeMap<(&str, &[String]), usize> = sources
        .iter()
        .enumerate()
        .map(|(index, source)| ((source.package.as_str(), source.module.as_slice()), index))
        .collect();
    let find = |package: &str, path: &[String]| {
        (0..=path.len())
            .rev()
            .find_map(|length| files.get(&(package, &path[..length])).copied())
    };

    let mut graph = Graph::new();
    for source in sources {
        let mut used = BTreeSet::new();
        for path in paths(&source.code) {
            let Some(path) = absolute(&path, source, &files) else {
                continue;
            };
            let target = find(&source.package, &path);
            used.extend(target.filter(|file| !source.module.starts_with(&sources[*file].module)));
        }
        graph.push(used);
    }
    graph
}

/// Returns a path from the root of the crate, unless it leads out of the crate.
fn absolute(
    path: &[String],
    source: &Source,
    files: &BTreeMap<(&str, &[String]), usize>,
) -> Option<Vec<String>> {
    let mut base = source.module.clone();
    let mut names = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            names = &names[1..];
        }
        "self" => names = &names[1..],
        "super" => {
            while names.first().is_some_and(|name| name == "super") {
                base.pop();
                names = &names[1..];
            }
        }
        child => {
            base.push(child.to_owned());
            files.get(&(source.package.as_str(), base.as_slice()))?;
            names = &names[1..];
        }
    }
    base.extend_from_slice(names);
    Some(base)
}

/// Returns every path of more than one name in a file; `a::{b, c::d}` is two.
fn paths(code: &str) -> Vec<Vec<String>> {
    let tokens = tokens(code);
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_start = is_name(tokens[at]) && tokens.get(at + 1) == Some(&"::");
        at = if is_start {
            read_path(&tokens, at, &[], &mut paths)
        } else {
            at + 1
        };
    }
    paths
}

/// Reads the path at `at`, below `prefix`, and returns where it ends.
fn read_path(tokens: &[&str], at: usize, prefix: &[String], paths: &mut Vec<Vec<String>>) -> usize {
    let mut path = prefix.to_vec();
    let mut at = at;
    while tokens.get(at).is_some_and(|token| is_name(token)) {
        path.push(tokens[at].to_owned());
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if tokens.get(at) != Some(&"{") || tokens[at - 1] != "::" {
        paths.push(path);
        return at;
    }

    at += 1;
    while let Some(token) = tokens.get(at) {
        at = match *token {
            "}" => return at + 1,
            token if is_name(token) => read_path(tokens, at, &path, paths),
            _ => at + 1,
        };
    }
    at
}

fn is_name(token: &str) -> bool {
    token.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
}

/// Splits code into names, `::` and single characters.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
        let length = if is_of_name(first) {
            rest.find(|letter| !is_of_name(letter))
                .unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Returns everything that can be reached from a file by at least one step.
fn reach(graph: &Graph, file: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<usize> = graph[file].iter().copied().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(&graph[file]);
        }
    }
    reached
}

/// Returns the shortest way from a file back to itself.
fn shortest_circle(graph: &Graph, file: usize) -> Vec<usize> {
    let mut before: BTreeMap<usize, usize> = BTreeMap::new();
    let mut queue = VecDeque::from([file]);
    while let Some(from) = queue.pop_front() {
        for to in &graph[from] {
            if !before.contains_key(to) {
                before.insert(*to, from);
                queue.push_back(*to);
            }
        }
    }
    let mut circle = vec![file];
    let mut at = before.get(&file);
    while let Some(from) = at {
        circle.insert(0, *from);
        at = (*from != file).then(|| &before[from]);
    }
    circle
}

#[cfg(test)]
mod tests {
    use super::super::source::source;
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let sources: Vec<Source> = files
            .iter()
            .map(|(name, text)| source("demo", name, text))
            .collect();
        circles(&sources)
    }

    #[test]
    fn a_part_may_use_the_whole() {
        let files = [
            ("src/lib.rs", "mod a;"),
            ("src/a.rs", "mod b;\nuse b::B;\nuse std::fs;"),
            ("src/a/b.rs", "use super::A;\nuse crate::a::C;"),
        ];
        assert_eq!(found(&files), Vec::<String>::new());
    }

    #[test]
    fn two_files_that_use_each_other_are_a_circle() {
        let files = [
            ("src/a.rs", "use crate::{b::B, c};"),
            ("src/b.rs", "fn f() { super::a::g() } // crate::c::x"),
            ("src/c.rs", "const TEXT: &str = \"crate::a::x\";"),
        ];
        assert_eq!(found(&files), ["2 files: src/a.rs -> src/b.rs -> src/a.rs"]);
    }

    #[test]
    fn a_circle_can_lead_through_the_part_of_a_module() {
        let files = [
            ("src/a.rs", "mod part;\nfn f() { part::g() }"),
            ("src/a/part.rs", "use crate::b::{self, B};"),
            ("src/b.rs", "use crate::a::A;"),
            ("src/c.rs", "use crate::a::A;"),
        ];
        let circle = "3 files: src/a.rs -> src/a/part.rs -> src/b.rs -> src/a.rs";
        assert_eq!(found(&files), [circle]);
    }
}
