//! The files of every image beside its programs: users, `/tmp`, a home.

use imgbuild_oci::entry::{Entry, MAX_ID, Member, Owner};
use imgbuild_oci::path::ImagePath;

use crate::contents::Contents;
use crate::refusal::quoted;

/// The unprivileged user of images without a `--user`.
pub(crate) const NONROOT: Owner = Owner {
    uid: 65532,
    gid: 65532,
};

/// The accounts of an image without passwd and group files of its own.
const PASSWD: &str = "root:x:0:0:root:/root:\nnonroot:x:65532:65532:nonroot:/home/nonroot:\n";
const GROUP: &str = "root:x:0:\nnonroot:x:65532:\n";

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
    /// Splits `USER[:GROUP]` as engines do: an empty user is root, and an empty
    /// group is not given. A second colon and the text after it are ignored.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut parts = text.split(':');
        let (user, group) = (parts.next().unwrap_or(text), parts.next().unwrap_or(""));
        Self {
            user: if user.is_empty() { "0" } else { user }.to_owned(),
            group: Some(group.to_owned()).filter(|group| !group.is_empty()),
        }
    }
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

impl UnknownUser {
    fn new<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Self {
        Self {
            name: name.to_owned(),
            known: known.cloned().collect(),
        }
    }
}

/// One account of a passwd file.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) id: Owner,
    home: String,
}

/// The accounts and groups of an image.
#[derive(Debug, Clone, Default)]
pub(crate) struct Accounts {
    accounts: Vec<Account>,
    groups: Vec<UserGroup>,
}

/// One group of a group file.
#[derive(Debug, Clone)]
struct UserGroup {
    name: String,
    id: u32,
    /// Names with commas between them.
    members: String,
}

impl Accounts {
    /// Returns the accounts of the skeleton: root and nonroot.
    pub(crate) fn of_skeleton() -> Self {
        Self::parse(PASSWD, GROUP)
    }

    /// Reads the passwd and group files of an image; `None` if it has neither.
    pub(crate) fn read(contents: &Contents<'_>) -> Option<Self> {
        let text = |path: &str| {
            let bytes = contents.first_bytes(path, MAX_FILE_BYTES)?;
            Some(String::from_utf8_lossy(&bytes).into_owned())
        };
        let (passwd, group) = (text("/etc/passwd"), text("/etc/group"));
        if passwd.is_none() && group.is_none() {
            return None;
        }
        let (passwd, group) = (passwd.unwrap_or_default(), group.unwrap_or_default());
        Some(Self::parse(&passwd, &group))
    }

    /// Parses passwd and group files ([passwd(5)], [group(5)]) as runc does: blanks
    /// around a line do not count, and a missing group is 0. Lines without a number
    /// are skipped.
    ///
    /// [passwd(5)]: https://man7.org/linux/man-pages/man5/passwd.5.html
    /// [group(5)]: https://man7.org/linux/man-pages/man5/group.5.html
    pub(crate) fn parse(passwd: &str, group: &str) -> Self {
        let account = |line: &str| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            let uid = fields.get(2)?.parse().ok()?;
            let gid = fields.get(3).and_then(|gid| gid.parse().ok());
            let gid = gid.unwrap_or_default();
            Some(Account {
                name: (*fields.first()?).to_owned(),
                id: Owner { uid, gid },
                home: fields.get(5).copied().unwrap_or_default().to_owned(),
            })
        };
        let group_entry = |line: &str| {
            let fields: Vec<&str> = line.trim().split(':').collect();
            Some(UserGroup {
                name: (*fields.first()?).to_owned(),
                id: fields.get(2)?.parse().ok()?,
                members: fields.get(3).copied().unwrap_or_default().to_owned(),
            })
        };
        Self {
            accounts: passwd.lines().filter_map(account).collect(),
            groups: group.lines().filter_map(group_entry).collect(),
        }
    }

    /// Finds the numbers of a user.
    ///
    /// # Errors
    ///
    /// When a name is not known, or a number is over [`MAX_ID`].
    pub(crate) fn find(&self, name: &UserName) -> Result<Owner, UnknownUser> {
        // Without an account, a number is its own group.
        let number = || parse_id(&name.user).map(|id| Owner { uid: id, gid: id });
        let names = || self.accounts.iter().map(|account| &account.name);
        let account = self.account(&name.user);
        let mut id = account
            .map(|account| account.id)
            .or_else(number)
            .ok_or_else(|| UnknownUser::new(&name.user, names()))?;
        if let Some(group) = &name.group {
            let named = self.groups.iter().find(|known| known.name == *group);
            let gid = named.map(|known| known.id).or_else(|| parse_id(group));
            let names = || self.groups.iter().map(|known| &known.name);
            id.gid = gid.ok_or_else(|| UnknownUser::new(group, names()))?;
        }
        Ok(id)
    }

    /// Returns the account with this name, else with this number.
    pub(crate) fn account(&self, user: &str) -> Option<&Account> {
        let has_name = |account: &&Account| account.name == user;
        let named = self.accounts.iter().find(has_name);
        named.or_else(|| {
            let uid = parse_id(user)?;
            let mut accounts = self.accounts.iter();
            accounts.find(|account| account.id.uid == uid)
        })
    }

    /// Returns the groups that have a user as a member.
    pub(crate) fn groups_with(&self, user: &str) -> impl Iterator<Item = u32> {
        let has_it =
            move |group: &&UserGroup| group.members.split(',').any(|member| member == user);
        self.groups.iter().filter(has_it).map(|group| group.id)
    }

    /// Adds the user unless an account and a group have its numbers.
    fn add(&mut self, id: Owner) {
        let name = "user".to_owned();
        if !self.accounts.iter().any(|account| account.id.uid == id.uid) {
            self.accounts.push(Account {
                name: name.clone(),
                id,
                home: "/home/user".to_owned(),
            });
        }
        if !self.groups.iter().any(|group| group.id == id.gid) {
            self.groups.push(UserGroup {
                name,
                id: id.gid,
                members: String::new(),
            });
        }
    }

    fn passwd(&self) -> String {
        let lines = self.accounts.iter().map(|Account { name, id, home }| {
            let Owner { uid, gid } = id;
            format!("{name}:x:{uid}:{gid}:{name}:{home}:/sbin/nologin\n")
        });
        lines.collect()
    }

    fn group(&self) -> String {
        let lines = self.groups.iter();
        lines
            .map(|UserGroup { name, id, .. }| format!("{name}:x:{id}:\n"))
            .collect()
    }
}

fn parse_id(text: &str) -> Option<u32> {
    text.parse().ok().filter(|id| *id <= MAX_ID)
}

/// Makes the skeleton of an image that runs as `user`.
///
/// With `/etc/nsswitch.conf`, glibc resolves names with `/etc/hosts` and DNS,
/// which only some of its builds do by default.
pub(crate) fn skeleton(user: Owner) -> Vec<Member> {
    let mut accounts = Accounts::of_skeleton();
    accounts.add(user);
    let path = |text: &str| ImagePath::parse(text).expect("the path is absolute and short");
    let file = |at: &str, text: String| Member::file(path(at), 0o644, text.into_bytes());
    let mut tmp = Entry::directory(path("/tmp"));
    tmp.mode = 0o1777;
    let services = "passwd: files\ngroup: files\nhosts: files dns\n";
    let mut members = vec![
        file("/etc/passwd", accounts.passwd()),
        file("/etc/group", accounts.group()),
        file("/etc/nsswitch.conf", services.to_owned()),
        tmp.into(),
    ];
    for account in &accounts.accounts {
        if account.id.uid == user.uid {
            let mut home = Entry::directory(path(&account.home));
            home.mode = if user.uid == 0 { 0o700 } else { 0o755 };
            home.owner = user;
            members.push(home.into());
        }
    }
    members
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(accounts: &Accounts, text: &str) -> Result<Owner, UnknownUser> {
        accounts.find(&UserName::parse(text))
    }

    #[test]
    fn names_become_numbers() {
        let accounts = Accounts::parse(
            "root:x:0:0::/root:/bin/sh\nbroken\n  short:x:7\napp:x:1000:1001::/home/app:/bin/sh\n",
            "root:x:0:\nweb:x:33:app\n",
        );
        for (text, uid, gid) in [
            ("app", 1000, 1001),
            ("app:web", 1000, 33),
            ("1000", 1000, 1001),
            ("5", 5, 5),
            ("5:6", 5, 6),
            ("root:web", 0, 33),
            ("5:6:7", 5, 6),
            ("short", 7, 0),
        ] {
            assert_eq!(find(&accounts, text).unwrap(), Owner { uid, gid }, "{text}");
        }
        let error = find(&accounts, "nobody").unwrap_err().to_string();
        assert!(error.contains("known: `root`, `short`, `app`"), "{error}");
        assert!(find(&accounts, "app:staff").is_err());
        assert!(find(&accounts, "4294967296").is_err());
    }

    #[test]
    fn the_user_has_an_account_and_a_home() {
        let members = skeleton(Owner { uid: 10, gid: 20 });
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
