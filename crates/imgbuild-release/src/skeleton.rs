//! The files of every image beside its programs: users, `/tmp`, a home.

use std::fmt::Write as _;

use imgbuild_oci::entry::{Entry, MAX_ID, Member, Owner};
use imgbuild_oci::path::ImagePath;
use serde::Serialize;

use crate::contents::{Contents, first_bytes};
use crate::refusal::quoted;

/// The id of the unprivileged user of images without a `--user`.
pub const NONROOT: u32 = 65532;

/// The largest passwd or group file that is read, in bytes; the rest of a
/// larger one is ignored.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// The user of a container, as it is given: `NAME|UID[:NAME|GID]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserName {
    /// A name or a number.
    pub user: String,
    /// A name or a number; the user's own group when not given.
    pub group: Option<String>,
}

impl UserName {
    /// Splits `USER[:GROUP]`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group.to_owned())),
            None => (text, None),
        };
        Self {
            user: user.to_owned(),
            group,
        }
    }
}

/// The user of a container, in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct User {
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl User {
    /// 0:0.
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };

    /// 65532:65532.
    pub const NONROOT: Self = Self {
        uid: NONROOT,
        gid: NONROOT,
    };
}

/// A user or group that an image does not have.
#[derive(Debug, thiserror::Error)]
#[error(
    "the image has no user or group called `{name}` (known: {})",
    quoted(known)
)]
pub struct UnknownUser {
    /// The name as given.
    pub name: String,
    /// The names in the image's passwd or group file.
    pub known: Vec<String>,
}

/// One account of a passwd file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Account {
    name: String,
    user: User,
    home: String,
}

/// The accounts and groups of an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    groups: Vec<(String, u32)>,
}

impl Accounts {
    /// Returns the accounts of the skeleton: root and nonroot.
    pub(crate) fn of_skeleton() -> Self {
        let account = |name: &str, id, home: &str| Account {
            name: name.to_owned(),
            user: User { uid: id, gid: id },
            home: home.to_owned(),
        };
        Self {
            accounts: vec![
                account("root", 0, "/root"),
                account("nonroot", NONROOT, "/home/nonroot"),
            ],
            groups: vec![("root".to_owned(), 0), ("nonroot".to_owned(), NONROOT)],
        }
    }

    /// Parses passwd and group files ([passwd(5)], [group(5)]). Malformed lines
    /// are skipped, as the C library does.
    ///
    /// [passwd(5)]: https://man7.org/linux/man-pages/man5/passwd.5.html
    /// [group(5)]: https://man7.org/linux/man-pages/man5/group.5.html
    pub(crate) fn parse(passwd: &str, group: &str) -> Self {
        let account = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            let uid = fields.get(2)?.parse().ok()?;
            let gid = fields.get(3)?.parse().ok()?;
            Some(Account {
                name: (*fields.first()?).to_owned(),
                user: User { uid, gid },
                home: fields.get(5).copied().unwrap_or_default().to_owned(),
            })
        };
        let group_entry = |line: &str| {
            let fields: Vec<&str> = line.split(':').collect();
            Some(((*fields.first()?).to_owned(), fields.get(2)?.parse().ok()?))
        };
        Self {
            accounts: passwd.lines().filter_map(account).collect(),
            groups: group.lines().filter_map(group_entry).collect(),
        }
    }

    /// Reads the passwd and group files of an image; `None` if it has neither.
    pub(crate) fn read(contents: &Contents<'_>) -> Option<Self> {
        let text = |path: &str| {
            let path = ImagePath::parse(path).ok()?;
            let content = contents.file(&path)?.content.as_ref()?;
            let bytes = first_bytes(content, MAX_FILE_BYTES);
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
        if passwd.is_none() && group.is_none() {
            return None;
        }
        Some(Self::parse(
            &passwd.unwrap_or_default(),
            &group.unwrap_or_default(),
        ))
    }

    /// Finds the numbers of a user.
    ///
    /// # Errors
    ///
    /// When a name is not known, or a number is over [`MAX_ID`].
    pub(crate) fn find(&self, name: &UserName) -> Result<User, UnknownUser> {
        let account = self
            .accounts
            .iter()
            .find(|account| account.name == name.user);
        let (uid, own_group) = match (account, parse_id(&name.user)) {
            (Some(account), _) => (account.user.uid, account.user.gid),
            // Without a group, a number is its own group.
            (None, Some(uid)) => (uid, self.group_of(uid).unwrap_or(uid)),
            (None, None) => {
                let names = self.accounts.iter().map(|account| account.name.clone());
                return Err(UnknownUser {
                    name: name.user.clone(),
                    known: names.collect(),
                });
            }
        };
        let Some(group) = &name.group else {
            let gid = own_group;
            return Ok(User { uid, gid });
        };
        let named = self.groups.iter().find(|(known, _)| known == group);
        match named.map(|(_, gid)| *gid).or_else(|| parse_id(group)) {
            Some(gid) => Ok(User { uid, gid }),
            None => Err(UnknownUser {
                name: group.clone(),
                known: self.groups.iter().map(|(name, _)| name.clone()).collect(),
            }),
        }
    }

    fn group_of(&self, uid: u32) -> Option<u32> {
        let account = self.accounts.iter().find(|account| account.user.uid == uid);
        account.map(|account| account.user.gid)
    }

    /// Adds the user when no account has its number.
    fn add(&mut self, user: User) {
        if self
            .accounts
            .iter()
            .all(|account| account.user.uid != user.uid)
        {
            self.accounts.push(Account {
                name: "user".to_owned(),
                user,
                home: "/home/user".to_owned(),
            });
        }
        if self.groups.iter().all(|(_, gid)| *gid != user.gid) {
            self.groups.push(("user".to_owned(), user.gid));
        }
    }

    fn passwd(&self) -> String {
        let mut text = String::new();
        for Account { name, user, home } in &self.accounts {
            let User { uid, gid } = user;
            writeln!(text, "{name}:x:{uid}:{gid}:{name}:{home}:/sbin/nologin")
                .expect("writing to a string cannot fail");
        }
        text
    }

    fn group(&self) -> String {
        let lines = self
            .groups
            .iter()
            .map(|(name, gid)| format!("{name}:x:{gid}:\n"));
        lines.collect()
    }
}

fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// Makes the skeleton of an image that runs as `user`.
///
/// With `/etc/nsswitch.conf`, glibc resolves names with `/etc/hosts` and DNS,
/// which only some of its builds do by default.
pub(crate) fn skeleton(user: User) -> Vec<Member> {
    let mut accounts = Accounts::of_skeleton();
    accounts.add(user);
    let path = |text: &str| ImagePath::parse(text).expect("the path is absolute and short");
    let file = |at: &str, text: String| Member::file(path(at), 0o644, text.into_bytes());
    let mut tmp = Entry::directory(path("/tmp"));
    tmp.mode = 0o1777;
    let mut members = vec![
        file("/etc/passwd", accounts.passwd()),
        file("/etc/group", accounts.group()),
        file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nhosts: files dns\n".to_owned(),
        ),
        tmp.into(),
    ];
    for Account {
        user: owner, home, ..
    } in &accounts.accounts
    {
        if *owner == user || owner.uid == user.uid {
            let mut home = Entry::directory(path(home));
            home.mode = if user.uid == 0 { 0o700 } else { 0o755 };
            home.owner = Owner {
                uid: user.uid,
                gid: user.gid,
            };
            members.push(home.into());
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(accounts: &Accounts, text: &str) -> Result<User, UnknownUser> {
        accounts.find(&UserName::parse(text))
    }

    #[test]
    fn names_become_numbers() {
        let accounts = Accounts::parse(
            "root:x:0:0::/root:/bin/sh\nbroken\napp:x:1000:1001::/home/app:/bin/sh\n",
            "root:x:0:\nweb:x:33:app\n",
        );
        for (text, uid, gid) in [
            ("app", 1000, 1001),
            ("app:web", 1000, 33),
            ("1000", 1000, 1001),
            ("5", 5, 5),
            ("5:6", 5, 6),
            ("root:web", 0, 33),
        ] {
            assert_eq!(find(&accounts, text).unwrap(), User { uid, gid }, "{text}");
        }
        let error = find(&accounts, "nobody").unwrap_err().to_string();
        assert!(error.contains("known: `root`, `app`"), "{error}");
        assert!(find(&accounts, "app:staff").is_err());
        assert!(find(&accounts, "4294967296").is_err());
    }

    #[test]
    fn the_user_has_an_account_and_a_home() {
        let members = skeleton(User { uid: 10, gid: 20 });
        let passwd = members
            .iter()
            .find(|member| member.entry.path.as_bytes() == b"/etc/passwd")
            .unwrap();
        let Some(imgbuild_oci::content::Content::Bytes(text)) = &passwd.content else {
            panic!("the file is made here");
        };
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert!(text.ends_with("user:x:10:20:user:/home/user:/sbin/nologin\n"));
        let home = members
            .iter()
            .find(|member| member.entry.path.as_bytes() == b"/home/user")
            .unwrap();
        assert_eq!(home.entry.owner, Owner { uid: 10, gid: 20 });
    }
}
