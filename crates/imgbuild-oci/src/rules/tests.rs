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

fn check(rules: &mut LayerRules<'_>, entry: &TarEntry) -> bool {
    rules.check(entry, entry.whiteout().as_ref())
}

fn found(rules: LayerRules<'_>) -> Vec<(ViolationKind, String)> {
    let violations = rules.finish().into_iter();
    let found = violations.map(|one| (one.kind, one.found.unwrap_or_default()));
    found.collect()
}

/// Rules whose lookups are used up, but for directories of the layer.
fn spent(target: &str) -> LayerRules<'static> {
    let mut rules = LayerRules::new("layer");
    check(&mut rules, &entry("a", TarKind::Directory));
    check(&mut rules, &entry("f", TarKind::File));
    let steps = "a/../".repeat(800);
    check(&mut rules, &symlink("l", &format!("{steps}{target}")));
    for number in 0..400 {
        check(&mut rules, &entry(&format!("l/{number}"), TarKind::File));
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
    assert!(check(&mut rules, &hardlink("b", "l/1")));
    assert_eq!(rules.unchecked, unchecked + 1);
    assert!(check(&mut rules, &hardlink("c", "b")));
    let found = found(rules);
    let all_are_unchecked = found.iter().all(|one| one.0 == ViolationKind::LayerMore);
    assert!(all_are_unchecked, "{found:?}");
}

#[test]
fn attributes_of_overlayfs_are_told_without_an_engine() {
    let mut rules = LayerRules::new("layer");
    let mut directory = entry("d", TarKind::Directory);
    let name = "trusted.overlay.opaque".to_owned();
    directory.xattrs.insert(name, b"y".to_vec());
    assert!(check(&mut rules, &directory));
    let violations = rules.finish();
    assert_eq!(violations[0].kind, ViolationKind::LayerOverlay);
    assert_eq!(violations[0].refused_by, None);
}

#[test]
fn the_target_of_a_hard_link_makes_no_directories() {
    let mut rules = LayerRules::new("layer");
    check(&mut rules, &symlink("l", "gone"));
    assert!(!check(&mut rules, &hardlink("b", "l/x")));
    assert!(check(&mut rules, &entry(".wh.gone", TarKind::File)));
    let violation = (ViolationKind::LayerHardlink, "`b`, target `l/x`".to_owned());
    assert_eq!(found(rules), [violation]);
}

#[test]
fn the_entry_that_fills_the_tree_is_checked_and_others_are_counted_once() {
    let mut rules = spent("a");
    let unchecked = rules.unchecked;
    rules.tree.fill(1);
    assert!(check(&mut rules, &entry("last", TarKind::File)));
    assert_eq!(rules.unchecked, unchecked);
    assert!(check(&mut rules, &entry("next", TarKind::File)));
    assert!(check(&mut rules, &entry("l/next", TarKind::File)));
    assert_eq!(rules.unchecked, unchecked + 2);
}

#[test]
fn a_link_to_a_directory_that_is_not_remembered_is_not_told() {
    let mut rules = LayerRules::new("layer");
    rules.tree.fill(1);
    check(&mut rules, &symlink("l", "d"));
    check(&mut rules, &entry("d", TarKind::Directory));
    check(&mut rules, &entry("l/x", TarKind::File));
    let unchecked = "2 entries were not checked".to_owned();
    assert_eq!(found(rules), [(ViolationKind::LayerMore, unchecked)]);
}

#[test]
fn the_target_of_a_link_that_was_replaced_is_not_followed() {
    let mut rules = LayerRules::new("layer");
    check(&mut rules, &entry("a", TarKind::Directory));
    check(&mut rules, &symlink("l", "a"));
    check(&mut rules, &symlink("full", &"b".repeat(64 << 20)));
    check(&mut rules, &symlink("l", "f"));
    check(&mut rules, &entry("l/x", TarKind::File));
    assert_eq!(rules.unchecked, 1);
}
