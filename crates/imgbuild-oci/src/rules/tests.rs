use super::*;

fn entry(path: &str, kind: TarKind) -> TarEntry {
    TarEntry {
        path: path.into(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        size: 0,
        xattrs: BTreeMap::new(),
    }
}

fn symlink(path: &str, target: &str) -> TarEntry {
    let target = target.into();
    entry(path, TarKind::Symlink { target })
}

fn hardlink(path: &str, target: &str) -> TarEntry {
    let target = target.into();
    entry(path, TarKind::Hardlink { target })
}

fn found(rules: LayerRules<'_>) -> Vec<(ViolationKind, String)> {
    let violations = rules.finish().into_iter();
    let found = violations.map(|one| (one.kind, one.found.unwrap_or_default()));
    found.collect()
}

/// Rules whose lookups are used up, but for directories of the layer.
fn spent(target: &str) -> LayerRules<'static> {
    let mut rules = LayerRules::new("layer");
    rules.check(&entry("a", TarKind::Directory));
    rules.check(&entry("f", TarKind::File));
    let steps = "a/../".repeat(800);
    rules.check(&symlink("l", &format!("{steps}{target}")));
    for number in 0..400 {
        rules.check(&entry(&format!("l/{number}"), TarKind::File));
    }
    assert!(rules.unchecked > 0, "{target}");
    rules
}

#[test]
fn lookups_are_bounded_also_where_links_lead_nowhere() {
    for target in ["f", "l"] {
        spent(target);
    }
}

#[test]
fn a_hard_link_whose_target_is_not_looked_up_is_unchecked() {
    let mut rules = spent("a");
    let unchecked = rules.unchecked;
    assert!(rules.check(&hardlink("b", "l/1")));
    assert_eq!(rules.unchecked, unchecked + 1);
    assert!(rules.check(&hardlink("c", "b")));
    let found = found(rules);
    let all_are_unchecked = found.iter().all(|one| one.0 == ViolationKind::LayerMore);
    assert!(all_are_unchecked, "{found:?}");
}

#[test]
fn the_target_of_a_hard_link_makes_no_directories() {
    let mut rules = LayerRules::new("layer");
    rules.check(&symlink("l", "gone"));
    assert!(!rules.check(&hardlink("b", "l/x")));
    assert!(rules.check(&entry(".wh.gone", TarKind::File)));
    let violation = (ViolationKind::LayerHardlink, "`b`, target `l/x`".to_owned());
    assert_eq!(found(rules), [violation]);
}

#[test]
fn the_entry_that_fills_the_tree_is_checked_and_others_are_counted_once() {
    let mut rules = spent("a");
    let unchecked = rules.unchecked;
    rules.tree.fill(1);
    assert!(rules.check(&entry("last", TarKind::File)));
    assert_eq!(rules.unchecked, unchecked);
    assert!(rules.check(&entry("next", TarKind::File)));
    assert!(rules.check(&entry("l/next", TarKind::File)));
    assert_eq!(rules.unchecked, unchecked + 2);
}

#[test]
fn a_link_to_a_directory_that_is_not_remembered_is_not_told() {
    let mut rules = LayerRules::new("layer");
    rules.tree.fill(1);
    rules.check(&symlink("l", "d"));
    rules.check(&entry("d", TarKind::Directory));
    rules.check(&entry("l/x", TarKind::File));
    let unchecked = "2 entries were not checked".to_owned();
    assert_eq!(found(rules), [(ViolationKind::LayerMore, unchecked)]);
}

#[test]
fn the_target_of_a_link_that_was_replaced_is_not_followed() {
    let mut rules = LayerRules::new("layer");
    rules.check(&entry("a", TarKind::Directory));
    rules.check(&symlink("l", "a"));
    rules.check(&symlink("full", &"b".repeat(64 << 20)));
    rules.check(&symlink("l", "f"));
    rules.check(&entry("l/x", TarKind::File));
    assert_eq!(rules.unchecked, 1);
}
