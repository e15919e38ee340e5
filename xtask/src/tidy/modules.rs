//! No module uses one that stands after it in `docs/architecture.md`.
//!
//! The list of a crate is a fenced block that starts with
//! ```` ```modules CRATE ````: names in their order, and lines
//! `except A uses B: reason` for what goes the other way. A module that may be
//! used by all, and may use all, stands on a line `anywhere: NAMES`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::{Finding, files_below, shown};
use crate::Result;

const DOCUMENT: &str = "docs/architecture.md";

/// The order of one crate's modules.
#[derive(Debug, Default, PartialEq, Eq)]
struct Order {
    ranks: BTreeMap<String, usize>,
    anywhere: BTreeSet<String>,
    exceptions: BTreeSet<(String, String)>,
}

pub(super) fn check(root: &Path) -> Result<Vec<Finding>> {
    let orders = parse_orders(&fs_err::read_to_string(root.join(DOCUMENT))?)?;
    let mut findings = Vec::new();
    for directory in crates(root)? {
        let name = directory.file_name().unwrap_or_default().to_string_lossy();
        let source = directory.join("src");
        match orders.get(name.as_ref()) {
            Some(order) => check_crate(root, &source, order, &mut findings)?,
            None if files_below(&source, ".rs")?.len() > 2 => {
                findings.push(format!("{DOCUMENT} has no list of the modules of `{name}`"));
            }
            None => {}
        }
    }
    for name in orders
        .keys()
        .filter(|name| !root.join("crates").join(name).is_dir())
    {
        findings.push(format!(
            "{DOCUMENT} lists modules of `{name}`, which is no crate"
        ));
    }
    Ok(findings)
}

fn crates(root: &Path) -> Result<Vec<std::path::PathBuf>> {
    let mut crates = Vec::new();
    for entry in fs_err::read_dir(root.join("crates"))? {
        let path = entry?.path();
        if path.join("Cargo.toml").is_file() {
            crates.push(path);
        }
    }
    crates.sort();
    Ok(crates)
}

fn parse_orders(document: &str) -> Result<BTreeMap<String, Order>> {
    let mut orders = BTreeMap::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        let Some(name) = line.strip_prefix("```modules ") else {
            continue;
        };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        orders.insert(name.trim().to_owned(), parse_order(&block)?);
    }
    Ok(orders)
}

fn parse_order(lines: &[&str]) -> Result<Order> {
    let mut order = Order::default();
    for line in lines {
        if let Some(exception) = line.strip_prefix("except ") {
            let pair = exception
                .split_once(": ")
                .and_then(|(pair, _)| pair.split_once(" uses "));
            let (from, to) = pair
                .ok_or_else(|| format!("{DOCUMENT}: `{line}` is not `except A uses B: reason`"))?;
            order.exceptions.insert((from.to_owned(), to.to_owned()));
        } else if let Some(names) = line.strip_prefix("anywhere: ") {
            order
                .anywhere
                .extend(names.split_whitespace().map(str::to_owned));
        } else {
            for name in line.split_whitespace() {
                let rank = order.ranks.len();
                if order.ranks.insert(name.to_owned(), rank).is_some() {
                    return Err(format!("{DOCUMENT} lists the module `{name}` twice").into());
                }
            }
        }
    }
    Ok(order)
}

fn check_crate(root: &Path, source: &Path, order: &Order, findings: &mut Vec<Finding>) -> Result {
    let mut unused = order.exceptions.clone();
    let mut modules = BTreeSet::new();
    for file in files_below(source, ".rs")? {
        let inside = shown(source, &file);
        let module = inside.split('/').next().unwrap_or_default();
        let module = module.strip_suffix(".rs").unwrap_or(module);
        if matches!(module, "lib" | "main") {
            continue;
        }
        modules.insert(module.to_owned());
        if inside.ends_with("/tests.rs") {
            continue;
        }
        let is_top = !inside.contains('/');
        for used in used_modules(&fs_err::read_to_string(&file)?, is_top) {
            let pair = (module.to_owned(), used);
            if order.allows(&pair.0, &pair.1) || unused.remove(&pair) {
                continue;
            }
            if !order.exceptions.contains(&pair) {
                let file = shown(root, &file);
                findings.push(format!("{file}: `{module}` must not use `{}`", pair.1));
            }
        }
    }
    let known: BTreeSet<String> = order.ranks.keys().chain(&order.anywhere).cloned().collect();
    let name = shown(root, source);
    for module in modules.difference(&known) {
        findings.push(format!(
            "{DOCUMENT} does not list the module `{module}` of {name}"
        ));
    }
    for module in known.difference(&modules) {
        findings.push(format!(
            "{DOCUMENT} lists `{module}`, which {name} does not have"
        ));
    }
    for (from, to) in unused {
        findings.push(format!(
            "{DOCUMENT} has an exception that nobody needs: `{from}` uses `{to}`"
        ));
    }
    Ok(())
}

impl Order {
    fn allows(&self, from: &str, to: &str) -> bool {
        let is_free = |name| self.anywhere.contains(name);
        if from == to || is_free(from) || is_free(to) {
            return true;
        }
        match (self.ranks.get(from), self.ranks.get(to)) {
            (Some(from), Some(to)) => to < from,
            // What is not listed is a finding of its own, and an item of the
            // root of the crate is no module.
            _ => true,
        }
    }
}

/// Returns the modules of the crate that a file uses outside its tests.
fn used_modules(text: &str, is_top: bool) -> BTreeSet<String> {
    let code: String = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code))
        .fold(String::new(), |code, line| code + line + " ");
    let mut used = BTreeSet::new();
    let roots: &[&str] = if is_top {
        &["crate::", "super::"]
    } else {
        &["crate::"]
    };
    for root in roots {
        for after in code.split(root).skip(1) {
            match after.strip_prefix('{') {
                Some(group) => used.extend(group_heads(group)),
                None => used.extend(identifier(after)),
            }
        }
    }
    used.retain(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()));
    used
}

/// The first names of `a::b, c::{d, e}}`, up to the brace that closes it.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0;
    let mut is_head = true;
    for (index, character) in group.char_indices() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => is_head = true,
            ' ' => {}
            _ if is_head => {
                heads.extend(identifier(&group[index..]));
                is_head = false;
            }
            _ => {}
        }
    }
    heads
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let name = &text[..end.unwrap_or(text.len())];
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::tests::tree;
    use super::*;

    const LIST: &str = "text\n```modules demo\nlow middle\nhigh\nanywhere: error\n\
        except low uses high: they grew together\n```\n";

    fn findings(list: &str, files: &[(&str, &str)]) -> Vec<Finding> {
        let mut all = vec![
            (DOCUMENT, list),
            ("crates/demo/Cargo.toml", ""),
            ("crates/demo/src/lib.rs", "use crate::high;"),
            ("crates/demo/src/error.rs", "use crate::high::H;"),
        ];
        all.extend_from_slice(files);
        check(tree(&all).path()).unwrap()
    }

    #[test]
    fn modules_use_those_before_them() {
        let found = findings(
            LIST,
            &[
                (
                    "crates/demo/src/low.rs",
                    "use crate::error::E;\nuse crate::high::H;",
                ),
                ("crates/demo/src/middle.rs", "use crate::low::L;"),
                ("crates/demo/src/high.rs", "mod part;"),
                (
                    "crates/demo/src/high/part.rs",
                    "use super::x;\nuse crate::{low::L, middle};",
                ),
            ],
        );
        assert_eq!(found, Vec::<Finding>::new());
    }

    #[test]
    fn modules_do_not_use_those_after_them() {
        let found = findings(
            LIST,
            &[
                (
                    "crates/demo/src/low.rs",
                    "use crate::{error::{A, B}, middle::M, high::H};",
                ),
                (
                    "crates/demo/src/middle.rs",
                    "fn f() { crate::high::g() } // crate::x",
                ),
                (
                    "crates/demo/src/high.rs",
                    "use super::low;\n#[cfg(test)]\nmod tests {\n    use crate::later;\n}",
                ),
            ],
        );
        assert_eq!(
            found,
            [
                "crates/demo/src/low.rs: `low` must not use `middle`",
                "crates/demo/src/middle.rs: `middle` must not use `high`",
            ]
        );
    }

    #[test]
    fn the_list_and_the_crate_have_the_same_modules() {
        let found = findings(
            LIST,
            &[
                ("crates/demo/src/low.rs", ""),
                ("crates/demo/src/middle.rs", ""),
                ("crates/demo/src/new.rs", "use crate::low::L;"),
            ],
        );
        assert_eq!(
            found,
            [
                "docs/architecture.md does not list the module `new` of crates/demo/src",
                "docs/architecture.md lists `high`, which crates/demo/src does not have",
                "docs/architecture.md has an exception that nobody needs: `low` uses `high`",
            ]
        );
    }

    #[test]
    fn a_crate_without_a_list_is_found() {
        let found = findings(
            "```modules gone\na\n```\n",
            &[("crates/demo/src/low.rs", "")],
        );
        assert_eq!(
            found,
            [
                "docs/architecture.md has no list of the modules of `demo`",
                "docs/architecture.md lists modules of `gone`, which is no crate",
            ]
        );
    }

    #[test]
    fn a_broken_list_is_an_error() {
        for block in ["a a", "except a: b", "except a uses b"] {
            let lines: Vec<&str> = block.lines().collect();
            assert!(parse_order(&lines).is_err(), "{block}");
        }
    }
}
