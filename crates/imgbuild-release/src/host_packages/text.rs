//! The text forms of package databases: deb-control(5), deb-split lists, the
//! files of `dpkg-divert` and `update-alternatives`, and apk's `installed`.

use std::collections::{BTreeMap, BTreeSet};

use super::{Manager, other_name};

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

/// Fields of a paragraph of dpkg that are not of the package but of the machine
/// (dpkg's `lib/dpkg/parse.c`), or about files that an image may lack.
const OF_MACHINE: [&str; 4] = [
    "Conffiles",
    "Config-Version",
    "Triggers-Awaited",
    "Triggers-Pending",
];

/// Returns the paragraph of a package of dpkg, which is the same on all machines.
pub(super) fn deb_record(paragraph: &str) -> String {
    let (mut text, mut is_kept) = (String::new(), true);
    for line in paragraph.lines() {
        let name = line.split(':').next().unwrap_or(line);
        if !line.starts_with([' ', '\t']) {
            is_kept = !OF_MACHINE.contains(&name);
        }
        if is_kept {
            let is_status = name == "Status";
            text.push_str(if is_status { INSTALLED } else { line });
            text.push('\n');
        }
    }
    text
}

const INSTALLED: &str = "Status: install ok installed";

/// Returns the lines of a file of sums (deb-md5sums(5)) about some files, with
/// their paths in the image.
pub(super) fn deb_sums(text: &str, places: &Places) -> String {
    let mut sums = BTreeMap::new();
    for line in text.lines() {
        let Some((sum, path)) = line.split_once("  ") else {
            continue;
        };
        let is_sum = sum.len() == 32 && sum.bytes().all(|byte| byte.is_ascii_hexdigit());
        for place in places.of(&format!("/{path}")).filter(|_| is_sum) {
            sums.insert(place, sum);
        }
    }
    let lines = sums.iter();
    lines
        .map(|(place, sum)| format!("{sum}  {}\n", place.trim_start_matches('/')))
        .collect()
}

/// Returns the paragraph of a package of apk with some of its files only, at their
/// paths in the image.
pub(super) fn apk_record(paragraph: &str, places: &Places) -> String {
    let (mut text, mut directory, mut is_header) = (String::new(), "", true);
    let mut files: BTreeMap<[&str; 2], String> = BTreeMap::new();
    let mut current = Vec::new();
    for line in paragraph.lines() {
        let (kind, name) = line.split_once(':').unwrap_or_default();
        match kind {
            "F" => {
                (directory, is_header) = (name, false);
                current.clear();
            }
            "R" => {
                let path = format!("/{directory}/{name}").replacen("//", "/", 1);
                let places = places.of(&path);
                let relative = places.map(|place| place.trim_start_matches('/'));
                let split = |place| str::rsplit_once(place, '/').unwrap_or(("", place));
                let split = relative.map(split);
                current = split.map(|(directory, name)| [directory, name]).collect();
                files.extend(current.iter().map(|file| (*file, String::new())));
            }
            "a" | "Z" if !is_header => {
                for file in &current {
                    if let Some(lines) = files.get_mut(file) {
                        lines.extend([line, "\n"]);
                    }
                }
            }
            _ if is_header => text.extend([line, "\n"]),
            _ => {}
        }
    }
    let mut last = None;
    for ([directory, name], lines) in &files {
        if last.replace(directory) != Some(directory) {
            text.push_str(&format!("F:{directory}\n"));
        }
        text.push_str(&format!("R:{name}\n{lines}"));
    }
    text
}

/// The paths in an image of the files of a package, by one of the names that they
/// have on the host.
#[derive(Debug, Default)]
pub(crate) struct Places(BTreeMap<String, BTreeSet<String>>);

impl Places {
    pub(super) fn insert(&mut self, path: &str, place: &str) {
        let places = self.0.entry(path.to_owned()).or_default();
        places.insert(place.to_owned());
    }

    /// Returns the paths in the image of a file that a package lists.
    fn of(&self, path: &str) -> impl Iterator<Item = &str> {
        let names = [Some(path.to_owned()), other_name(path)];
        let found = names.into_iter().flatten();
        let found = found.filter_map(|name| self.0.get(&name));
        found.flatten().map(String::as_str)
    }
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

    fn places(pairs: &[(&str, &str)]) -> Places {
        let mut places = Places::default();
        for (path, place) in pairs {
            places.insert(path, place);
        }
        places
    }

    #[test]
    fn a_record_of_dpkg_has_nothing_of_the_machine() {
        let text = "Package: a\nStatus: hold ok triggers-pending\nConffiles:\n /etc/a 0\n /etc/b 1\nTriggers-Pending: x\nVersion: 1\nDescription: a\n line\n";
        let expected =
            "Package: a\nStatus: install ok installed\nVersion: 1\nDescription: a\n line\n";
        assert_eq!(deb_record(text), expected);
    }

    #[test]
    fn sums_are_those_of_the_files_in_the_image_at_their_paths() {
        let (one, two) = ("0".repeat(32), "f".repeat(32));
        let text = format!("{one}  lib/amd/a.so\n{two}  usr/share/doc/a\nnonsense  lib/amd/a.so\n");
        let places = places(&[
            ("/usr/lib/amd/a.so", "/lib/a.so"),
            ("/usr/lib/amd/a.so", "/a.so"),
            ("/usr/share/none", "/none"),
        ]);
        let expected = format!("{one}  a.so\n{one}  lib/a.so\n");
        assert_eq!(deb_sums(&text, &places), expected);
    }

    #[test]
    fn a_record_of_apk_has_the_files_in_the_image_at_their_paths() {
        let text = "C:Q1=\nP:a\na:of the header\nF:\nR:top\nZ:Q0\nF:usr\nM:0:0:755\nF:usr/lib\nR:a.so\na:0:0:755\nZ:Q2\nR:b.so\nZ:Q3\n";
        let places = places(&[
            ("/lib/a.so", "/lib/a.so"),
            ("/lib/a.so", "/usr/lib/x/a.so"),
            ("/top", "/top"),
        ]);
        let expected = "C:Q1=\nP:a\na:of the header\nF:\nR:top\nZ:Q0\nF:lib\nR:a.so\na:0:0:755\nZ:Q2\nF:usr/lib/x\nR:a.so\na:0:0:755\nZ:Q2\n";
        assert_eq!(apk_record(text, &places), expected);
    }

    #[test]
    fn paths_of_apk_are_below_their_directories() {
        let text = "P:jq\nF:\nF:usr\nF:usr/bin\nR:jq\nZ:x\nF:etc\n";
        let found: Vec<String> = apk_paths(text).collect();
        assert_eq!(found, ["/usr", "/usr/bin", "/usr/bin/jq", "/etc"]);
    }
}
