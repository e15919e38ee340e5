//! The text forms of package databases: deb-control(5), deb-split lists, the
//! files of `dpkg-divert` and `update-alternatives`, and apk's `installed`.

use std::collections::BTreeMap;

use super::Manager;

/// Returns the start and the end of each paragraph: lines up to an empty one.
pub(super) fn paragraphs(text: &str) -> Vec<[usize; 2]> {
    let (mut found, mut start) = (Vec::new(), 0);
    for part in text.split("\n\n") {
        if !part.trim().is_empty() {
            found.push([start, start + part.len()]);
        }
        start += part.len() + 2;
    }
    found
}

/// Returns the first line of a field.
pub(super) fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = paragraph.lines();
    let value = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':');
    lines.find_map(value).map(str::trim)
}

/// Returns the packages that a field names, in the order of preference for
/// each: without versions, and without conflicts.
pub(super) fn relations(manager: Manager, field: &str) -> Vec<Vec<&str>> {
    let mut all: Vec<Vec<&str>> = match manager {
        Manager::Dpkg => {
            let all = field.split(',');
            all.map(|one| one.split('|').map(deb_name).collect())
                .collect()
        }
        Manager::Apk => {
            let words = field.split_whitespace().filter(|it| !it.starts_with('!'));
            words.map(|word| vec![apk_name(word)]).collect()
        }
    };
    all.retain(|alternatives| !alternatives[0].is_empty());
    all
}

fn apk_name(word: &str) -> &str {
    &word[..word.find(['<', '>', '=', '~']).unwrap_or(word.len())]
}

/// Returns a name without version and without the architectures that do not
/// bind it to one: `python3:any (>= 3.11)` is `python3`.
fn deb_name(text: &str) -> &str {
    let name = text.trim();
    let name = &name[..name.find([' ', '(', '[', '<']).unwrap_or(name.len())];
    let name = name.strip_suffix(":any").unwrap_or(name);
    name.strip_suffix(":native").unwrap_or(name)
}

/// Returns the paths in a paragraph of apk: directories (`F:`) and the files in
/// each (`R:`).
pub(super) fn apk_paths(paragraph: &str) -> impl Iterator<Item = String> {
    let mut directory = "";
    let path = move |line| -> Option<String> {
        let (kind, name) = str::split_once(line, ':')?;
        match kind {
            "F" => {
                directory = name;
                (!name.is_empty()).then(|| format!("/{name}"))
            }
            "R" if directory.is_empty() => Some(format!("/{name}")),
            "R" => Some(format!("/{directory}/{name}")),
            _ => None,
        }
    };
    paragraph.lines().filter_map(path)
}

/// A path that one package has instead of all others (dpkg-divert(1)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diversion {
    pub(super) from: String,
    pub(super) to: String,
    /// The package that has `from`.
    pub(super) package: String,
}

/// Reads the file of diversions: three lines for each.
pub(super) fn diversions(text: &str) -> Vec<Diversion> {
    let lines: Vec<&str> = text.lines().collect();
    let of = |lines: &[&str]| match *lines {
        [from, to, package] => Some(Diversion {
            from: from.to_owned(),
            to: to.to_owned(),
            package: package.to_owned(),
        }),
        _ => None,
    };
    lines.chunks(3).filter_map(of).collect()
}

/// A group of links that one of several packages can provide
/// (update-alternatives(1)).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Alternatives {
    /// The path of each link by its name, the main one first.
    pub(crate) links: Vec<(String, String)>,
    /// The targets of all links by the target of the main one, with a priority.
    pub(crate) choices: BTreeMap<String, (i64, Vec<String>)>,
}

/// Reads a file of alternatives; `None` when it makes no sense.
pub(super) fn alternatives(name: &str, text: &str) -> Option<Alternatives> {
    let mut lines = text.lines();
    lines.next()?;
    let mut found = Alternatives::default();
    found
        .links
        .push((name.to_owned(), lines.next()?.to_owned()));
    while let Some(slave) = lines.next().filter(|line| !line.is_empty()) {
        found
            .links
            .push((slave.to_owned(), lines.next()?.to_owned()));
    }
    while let Some(target) = lines.next().filter(|line| !line.is_empty()) {
        let priority = lines.next()?.parse().ok()?;
        let mut targets = vec![target.to_owned()];
        for _ in 1..found.links.len() {
            targets.push(lines.next()?.to_owned());
        }
        found.choices.insert(target.to_owned(), (priority, targets));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_names_by_preference() {
        let field =
            "libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0, python3:any, zlib1g:i386,, x [amd64]";
        assert_eq!(
            relations(Manager::Dpkg, field),
            [
                vec!["libc6"],
                vec!["debconf", "debconf-2.0"],
                vec!["python3"],
                vec!["zlib1g:i386"],
                vec!["x"],
            ]
        );
        let field = "so:libc.musl-x86_64.so.1 /bin/sh jq>=1.6 !busybox a~1";
        let expected = ["so:libc.musl-x86_64.so.1", "/bin/sh", "jq", "a"];
        assert_eq!(
            relations(Manager::Apk, field),
            expected.map(|name| vec![name])
        );
    }

    #[test]
    fn alternatives_have_a_target_for_each_link() {
        let text = "auto\n/usr/bin/awk\nawk.1\n/man/awk.1\n\n/usr/bin/mawk\n5\n/man/mawk.1\n/usr/bin/gawk\n10\n\n\n";
        let found = alternatives("awk", text).unwrap();
        let pair = |name: &str, path: &str| (name.to_owned(), path.to_owned());
        let links = [pair("awk", "/usr/bin/awk"), pair("awk.1", "/man/awk.1")];
        assert_eq!(found.links, links);
        let gawk = &found.choices["/usr/bin/gawk"];
        assert_eq!(gawk, &(10, vec!["/usr/bin/gawk".to_owned(), String::new()]));
        assert_eq!(found.choices.len(), 2);
        assert_eq!(alternatives("awk", "auto\n/a\n\n/b\nhigh\n"), None);
    }

    #[test]
    fn paths_of_apk_are_below_their_directories() {
        let text = "P:jq\nF:\nF:usr\nF:usr/bin\nR:jq\nZ:x\nF:etc\n";
        let found: Vec<String> = apk_paths(text).collect();
        assert_eq!(found, ["/usr", "/usr/bin", "/usr/bin/jq", "/etc"]);
    }
}
