//! What is measured, as shell scripts.
//!
//! `$TREE` is the release, `$OUT` what a subject writes, `$STATE` what it keeps
//! between rounds.

use super::Workload;
use super::push;
use super::table::{Limit, Target};
use crate::process::{is_installed, succeeds};

/// A situation in which an image is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Case {
    /// The first build, an uncompressed archive
    Plain,
    /// The first build, a layout with gzip layers
    Gzip,
    /// The second build, nothing changed
    Warm,
    /// A further build, one file of 5 MB changed
    Changed,
    /// The first build on this machine, with the layers of another
    CacheFrom,
    /// The first push to an empty registry
    Push,
    /// A push from a fresh machine, nothing changed
    PushAgain,
    /// A push from a fresh machine, one file of 5 MB changed
    PushChanged,
}

/// One way to get the image, or a lower bound of it.
#[derive(Debug)]
pub(super) struct Subject {
    pub(super) name: String,
    /// Before the first round.
    pub(super) first: String,
    /// Before each round.
    pub(super) before: &'static str,
    /// What is measured.
    pub(super) script: String,
    /// After the last round.
    pub(super) last: &'static str,
    /// Whether a daemon does the work, whose time and memory are not seen.
    pub(super) is_daemon: bool,
}

/// What the programs on this machine can do.
#[derive(Debug, Default)]
pub(super) struct Abilities {
    flags: Vec<&'static str>,
    peers: Vec<&'static str>,
    absent: Vec<&'static str>,
}

const FLAGS: [&str; 5] = [
    "--no-cache",
    "--cache-dir",
    "--cache-from",
    "--no-sync",
    "--push",
];

const PEERS: [&str; 10] = [
    "tar",
    "gzip",
    "pigz",
    "python3",
    "umoci",
    "buildah",
    "skopeo",
    "crane",
    "docker-registry",
    "docker",
];

const EMPTY: &str = "rm -rf \"$OUT\"; mkdir -p \"$OUT\"";

/// Empties the output, and the cache of a program that has one.
const COLD: &str = "rm -rf \"$OUT\" \"$STATE/cache\"; mkdir -p \"$OUT\"";

/// Other bytes of the same size in every round; the same for every subject.
const CHANGE: &str = "{ echo \"round $ROUND\"; head -c 5000000 \"$TREE/lib/changing\"; } | head -c 5000000 > \"$STATE/changed\"; cp \"$STATE/changed\" \"$TREE/lib/changing\"";

impl Abilities {
    /// Looks at the help of imgbuild, and which peers are installed.
    pub(super) fn find(help: &str) -> Self {
        let has = |flag: &&str| help.split([' ', '=', ',', '\n']).any(|word| word == *flag);
        let is_there = |peer: &&str| {
            is_installed(peer) && (*peer != "docker" || succeeds(&["docker", "info"]))
        };
        let (peers, absent) = PEERS.iter().partition(|peer| is_there(peer));
        Self {
            flags: FLAGS.into_iter().filter(has).collect(),
            peers,
            absent,
        }
    }

    pub(super) fn missing(&self) -> String {
        match self.absent.is_empty() {
            true => "nothing".to_owned(),
            false => self.absent.join(", "),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.flags
            .iter()
            .chain(&self.peers)
            .any(|known| *known == name)
    }

    fn flag(&self, flag: &'static str) -> &'static str {
        if self.has(flag) { flag } else { "" }
    }
}

impl Case {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Plain => "Cold, uncompressed archive",
            Self::Gzip => "Cold, layout with gzip layers",
            Self::Warm => "Warm, nothing changed",
            Self::Changed => "Warm, one file of 5 MB changed",
            Self::CacheFrom => "Empty cache, `--cache-from` the last layout",
            Self::Push => "First push to an empty registry",
            Self::PushAgain => "Push from a fresh machine, nothing changed",
            Self::PushChanged => "Push from a fresh machine, one file of 5 MB changed",
        }
    }

    pub(super) fn notes(self) -> &'static str {
        match self {
            Self::Plain => {
                "`--no-sync` leaves the writing to the disk to the kernel, as every peer does."
            }
            Self::Gzip => {
                "The pipes into a compressor make one file and no digests; the others make images."
            }
            Self::Warm => "",
            Self::Changed => "A layout keeps the blobs of earlier rounds.",
            Self::CacheFrom => "",
            Self::Push | Self::PushAgain | Self::PushChanged => {
                "The output is what the registry has more than before."
            }
        }
    }

    /// What a case should reach on a machine of two cores.
    pub(super) fn targets(self) -> &'static [Target] {
        const PLAIN: [Target; 1] = [Target {
            subject: "imgbuild --no-sync",
            other: "lower bound: read, SHA-256, write",
            limit: Limit::AtMostTimes(1.3),
        }];
        const GZIP: [Target; 2] = [
            Target {
                subject: "imgbuild --no-sync",
                other: "tar \\| pigz -1",
                limit: Limit::TwiceAsFastAndNoLarger,
            },
            Target {
                subject: "imgbuild --no-sync gzip:8",
                other: "tar \\| pigz -6",
                limit: Limit::TwiceAsFastAndNoLarger,
            },
        ];
        const WARM: [Target; 2] = [
            warm_target("imgbuild, archive", 0.005),
            warm_target("imgbuild, gzip layout", 0.005),
        ];
        const CHANGED: [Target; 2] = [
            warm_target("imgbuild, archive", 0.155),
            warm_target("imgbuild, gzip layout", 0.155),
        ];
        match self {
            Self::Plain => &PLAIN,
            Self::Gzip => &GZIP,
            Self::Warm => &WARM,
            Self::Changed => &CHANGED,
            Self::CacheFrom | Self::Push | Self::PushAgain | Self::PushChanged => &[],
        }
    }

    pub(super) fn is_for(self, workload: Workload) -> bool {
        match self {
            Self::Plain | Self::Gzip | Self::Warm => true,
            Self::Changed | Self::Push | Self::PushAgain | Self::PushChanged => {
                workload == Workload::Tree
            }
            Self::CacheFrom => workload != Workload::Binary,
        }
    }
}

/// Twice the `stat` of the tree, and some seconds.
const fn warm_target(subject: &'static str, seconds: f64) -> Target {
    Target {
        subject,
        other: "lower bound: stat of the tree",
        limit: Limit::AtMostTwiceAnd(seconds),
    }
}

impl Subject {
    pub(super) fn new(name: &str, before: &'static str, script: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            first: String::new(),
            before,
            script: script.into(),
            last: "",
            is_daemon: false,
        }
    }

    pub(super) fn is_imgbuild(&self) -> bool {
        self.name.starts_with("imgbuild")
    }

    /// A name for its directory.
    pub(super) fn directory_name(&self) -> String {
        let keep = |letter: char| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        };
        self.name.chars().map(keep).collect()
    }
}

/// Returns what a case measures; imgbuild comes first.
pub(super) fn subjects(case: Case, abilities: &Abilities) -> Vec<Subject> {
    match case {
        Case::Plain => plain(abilities),
        Case::Gzip => gzip(abilities),
        Case::Warm => warm("", abilities),
        Case::Changed => changed(abilities),
        Case::CacheFrom => cache_from(abilities),
        Case::Push | Case::PushAgain | Case::PushChanged => push::subjects(case, abilities),
    }
}

/// A build of imgbuild: of a tree as it is, without a look at its programs.
pub(super) fn imgbuild(arguments: &str) -> String {
    format!(
        "exec env XDG_CACHE_HOME=\"$STATE/cache\" \"$IMGBUILD\" --release \"$TREE\" --kind tree \
         --runtime none --no-entrypoint -q -t bench:1 {arguments}"
    )
}

fn bound(name: &str, what: &str, file: &str) -> Subject {
    let script = format!("exec \"$XTASK\" measured {what} \"$TREE\" {file}");
    Subject::new(&format!("lower bound: {name}"), EMPTY, script)
}

fn plain(abilities: &Abilities) -> Vec<Subject> {
    let no_cache = abilities.flag("--no-cache");
    let cold = |name, flags: &str| {
        Subject::new(
            name,
            COLD,
            imgbuild(&format!("{no_cache} {flags} -o \"$OUT/image.tar\"")),
        )
    };
    let mut subjects = Vec::new();
    if abilities.has("--no-sync") {
        subjects.push(cold("imgbuild --no-sync", "--no-sync"));
    }
    subjects.push(cold("imgbuild", ""));
    subjects.push(bound("read, SHA-256, write", "copy", "\"$OUT/file\""));
    subjects.push(bound("read, SHA-256", "hash", ""));
    subjects.push(bound("write", "write", "\"$OUT/file\""));
    if abilities.has("tar") {
        subjects.push(Subject::new(
            "tar \\| sha256sum (writes nothing)",
            EMPTY,
            "tar -C \"$TREE\" -cf - . | sha256sum",
        ));
        subjects.push(Subject::new(
            "tar \\| tee FILE \\| sha256sum",
            EMPTY,
            "tar -C \"$TREE\" -cf - . | tee \"$OUT/file.tar\" | sha256sum",
        ));
    }
    if abilities.has("python3") {
        let script = format!(
            "cat > \"$STATE/stream.py\" <<'END'\n{}END\nexec python3 \"$STATE/stream.py\" \"$TREE\" > \"$OUT/image.tar\"",
            include_str!("stream_image.py")
        );
        subjects.push(Subject::new(
            "streamed layers in Python, as nixpkgs",
            EMPTY,
            script,
        ));
    }
    if abilities.has("buildah") {
        subjects.push(buildah(
            "buildah to docker-archive",
            "\"$container\" docker-archive:\"$OUT/image.tar\":bench:1",
        ));
    }
    if abilities.has("docker") {
        let script = format!(
            "{DOCKER_BUILD} --no-cache \"$TREE\"; docker save -o \"$OUT/image.tar\" imgbuild-bench:1"
        );
        subjects.push(docker("docker build, docker save", script));
    }
    subjects
}

fn gzip(abilities: &Abilities) -> Vec<Subject> {
    let no_cache = abilities.flag("--no-cache");
    let no_sync = abilities.flag("--no-sync");
    let variants = [
        ("", "gzip"),
        (" gzip:1", "gzip:1"),
        (" gzip:8", "gzip:8"),
        (" gzip:9", "gzip:9"),
    ];
    let cold = |name: &str, flags: &str| {
        let arguments = format!("{no_cache} {flags} -o oci:\"$OUT/layout\"");
        Subject::new(name, COLD, imgbuild(&arguments))
    };
    let mut subjects = Vec::new();
    for (label, compression) in variants {
        let name = match no_sync {
            "" => format!("imgbuild{label}"),
            no_sync => format!("imgbuild {no_sync}{label}"),
        };
        subjects.push(cold(
            &name,
            &format!("{no_sync} --compression {compression}"),
        ));
    }
    if !no_sync.is_empty() {
        subjects.push(cold("imgbuild", "--compression gzip"));
    }
    let pipes = [
        ("pigz", "tar \\| pigz -1", "pigz -n -p \"$THREADS\" -1"),
        ("pigz", "tar \\| pigz -6", "pigz -n -p \"$THREADS\" -6"),
        ("gzip", "tar \\| gzip", "gzip -n"),
    ];
    for (peer, name, compressor) in pipes {
        if abilities.has("tar") && abilities.has(peer) {
            let script = format!("tar -C \"$TREE\" -cf - . | {compressor} > \"$OUT/file.tar.gz\"");
            subjects.push(Subject::new(name, EMPTY, script));
        }
    }
    if abilities.has("umoci") {
        let script = "umoci init --layout \"$OUT/layout\"; umoci new --image \"$OUT/layout:1\"; \
                      exec umoci insert --image \"$OUT/layout:1\" \"$TREE\" /app";
        subjects.push(Subject::new("umoci insert", EMPTY, script));
    }
    if abilities.has("buildah") {
        subjects.push(buildah(
            "buildah to layout",
            "--disable-compression=false \"$container\" oci:\"$OUT/layout\":1",
        ));
    }
    subjects
}

/// Builds with a cache that knows the release, before each round after
/// `change`.
fn warm(change: &'static str, abilities: &Abilities) -> Vec<Subject> {
    let mut subjects = Vec::new();
    for (name, first, arguments) in [
        ("imgbuild, archive", ARCHIVE_FIRST, "-o \"$OUT/image.tar\""),
        (
            "imgbuild, gzip layout",
            LAYOUT_FIRST,
            "--compression gzip -o oci:\"$OUT/layout\"",
        ),
    ] {
        let mut subject = Subject::new(name, change, imgbuild(arguments));
        subject.first = first.to_owned();
        subjects.push(subject);
    }
    subjects.push(bound("stat of the tree", "stat", ""));
    if abilities.has("docker") {
        let mut subject = docker("docker build", format!("{DOCKER_BUILD} \"$TREE\""));
        subject.first = "printf 'FROM scratch\\nCOPY . /app\\n' | docker build -q -t imgbuild-bench:1 -f - \"$TREE\"".to_owned();
        subject.before = change;
        subjects.push(subject);
    }
    subjects
}

/// An archive is a new file each time: beside it is what writing one costs.
fn changed(abilities: &Abilities) -> Vec<Subject> {
    let mut subjects = warm(CHANGE, abilities);
    if abilities.has("--no-sync") {
        let arguments = "--no-sync -o \"$OUT/image.tar\"";
        let mut subject = Subject::new("imgbuild --no-sync, archive", CHANGE, imgbuild(arguments));
        subject.first = ARCHIVE_FIRST.to_owned();
        subjects.push(subject);
    }
    subjects.push(bound("write", "write", "\"$OUT/file\""));
    subjects
}

const ARCHIVE_FIRST: &str = "XDG_CACHE_HOME=\"$STATE/cache\" \"$IMGBUILD\" --release \"$TREE\" --kind tree \
    --runtime none --no-entrypoint -q -t bench:1 -o \"$OUT/image.tar\"; sleep 2";
const LAYOUT_FIRST: &str = "XDG_CACHE_HOME=\"$STATE/cache\" \"$IMGBUILD\" --release \"$TREE\" --kind tree \
    --runtime none --no-entrypoint -q -t bench:1 --compression gzip -o oci:\"$OUT/layout\"; sleep 2";
const FOREIGN_FIRST: &str = "XDG_CACHE_HOME=\"$STATE/other\" \"$IMGBUILD\" --release \"$TREE\" --kind tree \
    --runtime none --no-entrypoint -q -t bench:1 --compression gzip -o oci:\"$STATE/layout\"";

fn cache_from(abilities: &Abilities) -> Vec<Subject> {
    if !abilities.has("--cache-from") {
        return Vec::new();
    }
    let no_sync = abilities.flag("--no-sync");
    let arguments = format!("{no_sync} --compression gzip -o oci:\"$OUT/layout\"");
    let mut with = Subject::new(
        "imgbuild --cache-from",
        COLD,
        imgbuild(&format!("--cache-from oci:\"$STATE/layout\" {arguments}")),
    );
    with.first = FOREIGN_FIRST.to_owned();
    vec![
        with,
        Subject::new("imgbuild", COLD, imgbuild(&arguments)),
        bound("read, SHA-256", "hash", ""),
    ]
}

fn buildah(name: &str, arguments: &str) -> Subject {
    let script = format!(
        "b() {{ buildah --root \"$STATE/root\" --runroot \"$STATE/run\" \"$@\"; }}\n\
         container=$(b from scratch)\n\
         b copy -q \"$container\" \"$TREE\" /app\n\
         b commit -q --rm {arguments}"
    );
    let mut subject = Subject::new(name, BUILDAH_RESET, script);
    subject.last = "buildah --root \"$STATE/root\" --runroot \"$STATE/run\" rmi -af || true";
    subject
}

const BUILDAH_RESET: &str = "rm -rf \"$OUT\"; mkdir -p \"$OUT\"; \
    buildah --root \"$STATE/root\" --runroot \"$STATE/run\" rmi -af || true";

const DOCKER_BUILD: &str =
    "printf 'FROM scratch\\nCOPY . /app\\n' | docker build -q -t imgbuild-bench:1 -f -";

fn docker(name: &str, script: String) -> Subject {
    let mut subject = Subject::new(name, EMPTY, script);
    subject.last = "docker image rm -f imgbuild-bench:1 || true";
    subject.is_daemon = true;
    subject
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Abilities {
        Abilities {
            flags: FLAGS.to_vec(),
            peers: PEERS.to_vec(),
            absent: Vec::new(),
        }
    }

    #[test]
    fn flags_are_found_in_the_help() {
        let help = "  -o, --output <DESTINATION>\n      --no-sync\n      --cache-from=SOURCE\n";
        assert_eq!(Abilities::find(help).flags, ["--cache-from", "--no-sync"]);
    }

    #[test]
    fn every_case_compares_with_imgbuild_first() {
        for case in [
            Case::Plain,
            Case::Gzip,
            Case::Warm,
            Case::Changed,
            Case::CacheFrom,
            Case::Push,
        ] {
            for abilities in [all(), Abilities::default()] {
                let subjects = subjects(case, &abilities);
                let first = subjects.first().map(Subject::is_imgbuild);
                assert_eq!(
                    first,
                    (!matches!(case, Case::CacheFrom | Case::Push)
                        || abilities.has("--cache-from"))
                    .then_some(true)
                );
                let mut names: Vec<String> = subjects.iter().map(Subject::directory_name).collect();
                names.sort();
                names.dedup();
                assert_eq!(
                    names.len(),
                    subjects.len(),
                    "no two subjects share a directory"
                );
            }
        }
    }

    #[test]
    fn targets_name_subjects_of_their_case() {
        for case in [Case::Plain, Case::Gzip, Case::Warm, Case::Changed] {
            let names: Vec<String> = subjects(case, &all())
                .into_iter()
                .map(|one| one.name)
                .collect();
            for target in case.targets() {
                for name in [target.subject, target.other] {
                    assert!(names.iter().any(|known| known == name), "{name}");
                }
            }
        }
    }

    #[test]
    fn every_script_is_a_program_for_the_shell() {
        for case in [
            Case::Plain,
            Case::Gzip,
            Case::Warm,
            Case::Changed,
            Case::CacheFrom,
            Case::Push,
            Case::PushAgain,
            Case::PushChanged,
        ] {
            for subject in subjects(case, &all()) {
                for script in [
                    &subject.first,
                    subject.before,
                    &subject.script,
                    subject.last,
                ] {
                    assert!(
                        succeeds(&["/bin/sh", "-n", "-c", script]),
                        "{}: {script}",
                        subject.name
                    );
                }
            }
        }
    }
}
