//! Commits: their date and their tree.

use super::id::Hash;
use super::objects::ObjectStore;
use super::{GitError, GitResult, ObjectId};

/// The latest date that is accepted: the end of the year 9999.
const MAX_TIME: u64 = 253_402_300_799;

/// A commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// Its name.
    pub id: ObjectId,
    /// The commit date in Unix seconds; 0 for a date before 1970.
    pub time: u64,
    pub(super) tree: ObjectId,
}

pub(super) fn read(objects: &ObjectStore, id: ObjectId) -> GitResult<Commit> {
    let data = objects.commit(id)?;
    let parsed = parse(&data, objects.hash());
    let (tree, time) = parsed.ok_or_else(|| {
        GitError::malformed(objects.path(), "a commit in it has no tree or no date")
    })?;
    Ok(Commit { id, time, tree })
}

/// Reads `tree NAME` and `committer WHO <MAIL> SECONDS ZONE`.
fn parse(data: &[u8], hash: Hash) -> Option<(ObjectId, u64)> {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut lines = lines.by_ref().take_while(|line| !line.is_empty());
    let tree = hash.parse(lines.next()?.strip_prefix(b"tree ")?)?;
    let committer = lines.find_map(|line| line.strip_prefix(b"committer "))?;
    let end = committer.iter().rposition(|byte| *byte == b'>')?;
    let date = str::from_utf8(&committer[end + 1..]).ok()?;
    let seconds: i64 = date.split_whitespace().next()?.parse().ok()?;
    let time = u64::try_from(seconds).unwrap_or(0);
    (time <= MAX_TIME).then_some((tree, time))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "tree e69de29bb2d1d6434b8b29ae775ad8c2e48c5391\n";

    #[test]
    fn the_date_is_the_committer_s() {
        for (rest, time) in [
            (
                "author A <a@b> 5 +0000\ncommitter C <c@d> 1700000000 +0130\n\nx",
                Some(1_700_000_000),
            ),
            ("committer C > D <c@d> 7 -0800\n", Some(7)),
            ("committer C <c@d> -5 +0000\n", Some(0)),
            ("committer C <c@d> 99999999999999 +0000\n", None),
            ("committer C <c@d>\n", None),
            ("committer C\n", None),
            ("author A <a@b> 5 +0000\n\ncommitter C <c@d> 7 +0000", None),
            ("", None),
        ] {
            let text = format!("{TREE}{rest}");
            let parsed = parse(text.as_bytes(), Hash::Sha1);
            assert_eq!(parsed.map(|(_, time)| time), time, "{rest}");
        }
        assert_eq!(parse(b"committer C <c@d> 7 +0000\n", Hash::Sha1), None);
    }
}
