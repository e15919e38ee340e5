//! A way to get an image, as shell scripts.
//!
//! `$TREE` is the release, `$OUT` the directory for outputs, `$STATE` the
//! directory for what is kept between rounds.

/// One way to get the image, or a lower bound of it.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub(super) name: String,
    /// Runs before the first round.
    pub(super) first: String,
    /// Runs before each round.
    pub(super) before: String,
    /// Runs in each round, and is measured.
    pub(super) script: String,
    /// Runs after the last round.
    pub(super) last: &'static str,
    /// Runs the program of `--baseline` instead of the one to measure.
    pub(super) is_baseline: bool,
}

pub(super) const EMPTY: &str = "rm -rf \"$OUT\"; mkdir -p \"$OUT\"";

/// Replaces the file that changes by other bytes of the same size, the same for
/// every subject of a round.
pub(super) const CHANGE: &str = "{ echo \"round $ROUND\"; head -c 5000000 \"$TREE/lib/changing\"; } | head -c 5000000 > \"$STATE/changed\"; cp \"$STATE/changed\" \"$TREE/lib/changing\"";

impl Subject {
    pub(super) fn new(name: &str, before: &str, script: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            first: String::new(),
            before: before.to_owned(),
            script: script.into(),
            last: "",
            is_baseline: false,
        }
    }

    /// Makes the lower bound that `cargo xtask measured WHAT` is.
    pub(super) fn bound(name: &str, what: &str, file: &str) -> Self {
        let script = format!("exec \"$XTASK\" measured {what} \"$TREE\" {file}");
        Self::new(&format!("lower bound: {name}"), EMPTY, script)
    }

    /// Returns the same subject with the program of `--baseline`.
    pub(super) fn baseline(&self) -> Self {
        Self {
            name: format!("baseline: {}", self.name),
            is_baseline: true,
            ..self.clone()
        }
    }

    pub(super) fn is_imgbuild(&self) -> bool {
        self.name.starts_with("imgbuild")
    }

    /// Returns the name of its directory.
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

/// Returns a build by imgbuild that packages a tree as it is, whatever its
/// programs need.
pub(super) fn imgbuild(arguments: &str) -> String {
    format!(
        "XDG_CACHE_HOME=\"$STATE/cache\" \"$IMGBUILD\" --release \"$TREE\" --kind tree \
         --runtime none --no-entrypoint -q -t bench:1 {arguments}"
    )
}
