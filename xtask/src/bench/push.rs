//! Pushes to Debian's registry on loopback, which each subject starts for
//! itself.
//!
//! `$OUT/sent` is as large as what the registry has more than before; the
//! number of requests is counted in its log and written to `$STATE/note`.

use super::subject::{CHANGE, Subject, imgbuild};

/// The state of registry and machine before each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    EmptyRegistry,
    FreshMachine,
    ChangedRelease,
}

/// Starts a registry that logs every request.
const START: &str = "port=$((20000 + $$ % 30000)); echo $port > \"$STATE/port\"; mkdir -p \"$STATE/registry\"; \
    printf 'version: 0.1\\nlog: {level: error, accesslog: {disabled: false}}\\nstorage: {filesystem: {rootdirectory: %s}}\\nhttp: {addr: \"127.0.0.1:%s\"}\\n' \
    \"$STATE/registry\" $port > \"$STATE/registry.yml\"; \
    docker-registry serve \"$STATE/registry.yml\" > \"$STATE/log\" 2>/dev/null & \
    echo $! > \"$STATE/pid\"; sleep 1";

const STOP: &str = "kill \"$(cat \"$STATE/pid\")\" || true";

const EMPTY_REGISTRY: &str = "rm -rf \"$STATE/registry/docker\"";

/// Removes outputs and caches, and notes the size of the registry.
const FRESH_MACHINE: &str = "rm -rf \"$OUT\" \"$STATE/cache\"; mkdir -p \"$OUT\"; \
    : > \"$STATE/log\"; du -sb \"$STATE/registry\" | cut -f1 > \"$STATE/size\"";

/// Writes how much was sent.
const COUNT: &str = "truncate -s $(($(du -sb \"$STATE/registry\" | cut -f1) - $(cat \"$STATE/size\"))) \"$OUT/sent\"; \
    echo \"$(grep -c HTTP/1 \"$STATE/log\") requests\" > \"$STATE/note\"";

/// Returns imgbuild, and each program of `peers` that pushes a layout.
pub(super) fn subjects(start: Start, peers: &[&str]) -> Vec<Subject> {
    if !peers.contains(&"docker-registry") {
        return Vec::new();
    }
    let target = "127.0.0.1:$(cat \"$STATE/port\")/bench/image:1";
    let build = |output: &str| imgbuild(&format!("--no-cache --no-sync {output}"));
    let layout = build("--compression gzip -o oci:\"$OUT/layout\"");
    let skopeo = format!(
        "{layout}; skopeo copy -q --dest-tls-verify=false oci:\"$OUT/layout\":1 \"docker://{target}\"; rm -r \"$OUT/layout\""
    );
    let crane = format!("{layout}; crane push \"$OUT/layout\" \"{target}\"; rm -r \"$OUT/layout\"");

    let mut subjects = vec![subject(
        "imgbuild to registry",
        start,
        &build(&format!("-o \"docker://{target}\"")),
    )];
    if peers.contains(&"skopeo") {
        subjects.push(subject("a layout, skopeo copy", start, &skopeo));
    }
    if peers.contains(&"crane") {
        subjects.push(subject("a layout, crane push", start, &crane));
    }
    subjects.push(Subject::bound("read, SHA-256", "hash", ""));
    subjects
}

fn subject(name: &str, start: Start, script: &str) -> Subject {
    let before = match start {
        Start::EmptyRegistry => format!("{EMPTY_REGISTRY}; {FRESH_MACHINE}"),
        Start::FreshMachine => FRESH_MACHINE.to_owned(),
        Start::ChangedRelease => format!("{CHANGE}; {FRESH_MACHINE}"),
    };
    let mut subject = Subject::new(name, &before, format!("{script}\n{COUNT}"));
    subject.first = if start == Start::EmptyRegistry {
        START.to_owned()
    } else {
        format!("{START}\n{script}")
    };
    subject.last = STOP;
    subject
}
