//! Pushing to Debian's registry on loopback, which each subject starts for
//! itself.
//!
//! `$OUT/sent` is as large as what the registry has more than before; what the
//! registry logs counts the requests, which `$STATE/note` tells.

use super::subject::{Abilities, Case, Subject, imgbuild};

/// Starts a registry that logs every request.
const START: &str = "port=$((20000 + $$ % 30000)); echo $port > \"$STATE/port\"; mkdir -p \"$STATE/registry\"; \
    printf 'version: 0.1\\nlog: {level: error, accesslog: {disabled: false}}\\nstorage: {filesystem: {rootdirectory: %s}}\\nhttp: {addr: \"127.0.0.1:%s\"}\\n' \
    \"$STATE/registry\" $port > \"$STATE/registry.yml\"; \
    docker-registry serve \"$STATE/registry.yml\" > \"$STATE/log\" 2>/dev/null & \
    echo $! > \"$STATE/pid\"; sleep 1";

const STOP: &str = "kill \"$(cat \"$STATE/pid\")\" || true";

/// Forgets everything that was pushed, and every cache.
const EMPTY_REGISTRY: &str = "rm -rf \"$OUT\" \"$STATE/cache\" \"$STATE/registry/docker\"; mkdir -p \"$OUT\"; \
    : > \"$STATE/log\"; du -sb \"$STATE/registry\" | cut -f1 > \"$STATE/size\"";

/// A fresh machine, and a registry that has the image.
const FRESH_MACHINE: &str = "rm -rf \"$OUT\" \"$STATE/cache\"; mkdir -p \"$OUT\"; \
    : > \"$STATE/log\"; du -sb \"$STATE/registry\" | cut -f1 > \"$STATE/size\"";

/// The same after other bytes in one file, the same for every subject.
const CHANGED_MACHINE: &str = "rm -rf \"$OUT\" \"$STATE/cache\"; mkdir -p \"$OUT\"; \
    { echo \"round $ROUND\"; head -c 5000000 \"$TREE/lib/changing\"; } | head -c 5000000 > \"$STATE/changed\"; \
    cp \"$STATE/changed\" \"$TREE/lib/changing\"; \
    : > \"$STATE/log\"; du -sb \"$STATE/registry\" | cut -f1 > \"$STATE/size\"";

/// Makes what was sent visible.
const COUNT: &str = "truncate -s $(($(du -sb \"$STATE/registry\" | cut -f1) - $(cat \"$STATE/size\"))) \"$OUT/sent\"; \
    echo \"$(grep -c HTTP/1 \"$STATE/log\") requests\" > \"$STATE/note\"";

/// Returns imgbuild and what a user would take instead.
pub(super) fn subjects(case: Case, abilities: &Abilities) -> Vec<Subject> {
    if !abilities.has("--push") || !abilities.has("docker-registry") {
        return Vec::new();
    }
    let target = "127.0.0.1:$(cat \"$STATE/port\")/bench/image:1";
    let build = |flags: &str| {
        // Something follows it.
        imgbuild(&format!("--no-cache --no-sync {flags}")).replacen("exec ", "", 1)
    };
    let push = build(&format!("-o \"docker://{target}\""));
    let mut all = vec![("imgbuild to registry", push)];
    let layout = build("--compression gzip -o oci:\"$OUT/layout\"");
    if abilities.has("skopeo") {
        let copy = format!(
            "{layout}; skopeo copy -q --dest-tls-verify=false oci:\"$OUT/layout\":1 \"docker://{target}\"; rm -r \"$OUT/layout\""
        );
        all.push(("imgbuild to layout, skopeo copy", copy));
    }
    if abilities.has("crane") {
        let push =
            format!("{layout}; crane push \"$OUT/layout\" \"{target}\"; rm -r \"$OUT/layout\"");
        all.push(("imgbuild to layout, crane push", push));
    }
    if abilities.has("buildah") {
        let script = format!(
            "b() {{ buildah --root \"$STATE/root\" --runroot \"$STATE/run\" \"$@\"; }}\n\
             container=$(b from scratch)\n\
             b copy -q \"$container\" \"$TREE\" /app\n\
             b commit -q --rm \"$container\" bench:1\n\
             b push -q --tls-verify=false bench:1 \"docker://{target}\"\n\
             b rmi -af >/dev/null"
        );
        all.push(("buildah commit, buildah push", script));
    }
    let subject = |(name, script): (&str, String)| {
        let (first, before) = match case {
            Case::Push => (START.to_owned(), EMPTY_REGISTRY),
            Case::PushChanged => (format!("{START}\n{script}"), CHANGED_MACHINE),
            _ => (format!("{START}\n{script}"), FRESH_MACHINE),
        };
        let mut subject = Subject::new(name, before, format!("{script}\n{COUNT}"));
        subject.first = first;
        subject.last = STOP;
        subject
    };
    let mut subjects: Vec<Subject> = all.into_iter().map(subject).collect();
    let bound = "exec \"$XTASK\" measured hash \"$TREE\"";
    subjects.push(Subject::new("lower bound: read, SHA-256", FRESH, bound));
    subjects
}

const FRESH: &str = "rm -rf \"$OUT\"; mkdir -p \"$OUT\"";
