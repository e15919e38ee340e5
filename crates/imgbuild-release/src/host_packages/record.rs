//! The packages that files of an image came from, as records that scanners read: the
//! form of distroless images for dpkg, and the database of apk.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::text::{self, Places};
use super::{HostPackage, Manager, PackageDatabase};
use crate::runtime::host::Host;

/// The largest paragraph of a package that is recorded; the longest of Debian's
/// has 60 KiB.
const MAX_PARAGRAPH_BYTES: usize = 1 << 20;

/// The directory of the records of dpkg, which has no `status` beside it.
const STATUS: &str = "/var/lib/dpkg/status.d";

/// Files that maintainer scripts make, with the packages that have these.
const GENERATED: [(&str, &str); 2] = [
    ("/etc/ssl/certs/ca-certificates.crt", "ca-certificates"),
    ("/usr/lib/locale/locale-archive", "locales"),
];

/// The packages of the host that an image takes something from, beside their files.
#[derive(Debug, Default)]
pub(crate) struct PackageSources {
    /// Read by the first use.
    pub(crate) database: OnceCell<Rc<PackageDatabase>>,
    /// Packages that came as such, each `NAME:ARCHITECTURE`.
    pub(crate) names: Vec<String>,
    /// Files of the host that files of the image are made of.
    pub(crate) files: Vec<PathBuf>,
}

impl PackageSources {
    /// Returns the database of the host.
    pub(crate) fn open(&self, host: &Host) -> Rc<PackageDatabase> {
        let open = || PackageDatabase::open(host).into();
        Rc::clone(self.database.get_or_init(open))
    }

    /// Returns the problem of a database that was read.
    pub(crate) fn problem(&self) -> Option<String> {
        self.database.get()?.problem()
    }
}

/// The parts of an image that came from the host.
#[derive(Debug, Default, Serialize)]
pub(crate) struct UsedParts {
    pub(crate) files: Vec<UsedFile>,
    /// Packages of which nothing may be in the image, each `NAME:ARCHITECTURE`.
    pub(crate) packages: Vec<String>,
    /// The file with the distribution, which is added for the sake of the records.
    pub(crate) release: Option<UsedFile>,
}

/// A file of the host that is in an image.
#[derive(Debug, Serialize)]
pub(crate) struct UsedFile {
    /// Its path in the root of the host, without links.
    pub(crate) path: String,
    /// Its path in the image; `None` if the image has only what it contains.
    pub(crate) place: Option<String>,
}

/// Records of packages.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackageRecords {
    /// The texts of the files with the records, by their paths in the image.
    pub(crate) files: BTreeMap<String, String>,
    /// The names of the packages.
    pub(crate) names: Vec<String>,
    /// The first reason why the database is not used as a whole.
    pub(crate) problem: Option<String>,
}

impl PackageDatabase {
    /// Returns files and directories of which each change of the database changes
    /// one: the package manager replaces files, which changes their directory.
    pub(crate) fn witnesses(host: &Host) -> Vec<PathBuf> {
        let Some((path, (_, manager))) = Self::place(host) else {
            return Vec::new();
        };
        let mut witnesses = vec![path.clone()];
        if let (Manager::Dpkg, Some(directory)) = (manager, path.parent()) {
            let names = ["info", "diversions"].iter();
            let others = names.map(|name| directory.join(name));
            witnesses.extend(others.filter(|path| path.exists()));
        }
        witnesses
    }

    /// Returns the records of the packages of the parts.
    pub(crate) fn records(&self, parts: &UsedParts) -> PackageRecords {
        let mut places: BTreeMap<&HostPackage, Places> = BTreeMap::new();
        let named = parts.packages.iter().filter_map(|name| self.find(name));
        places.extend(named.map(|package| (package, Places::default())));
        let mut shared = Vec::new();
        for file in &parts.files {
            let owners = self.owners_of(file);
            match owners[..] {
                [] => {}
                [owner] => self.add_place(owner, file, places.entry(owner).or_default()),
                _ => shared.push((file, owners)),
            }
        }
        // Packages for several architectures share files.
        for (file, owners) in shared {
            let known = owners.iter().find(|package| places.contains_key(*package));
            let owner = *known.unwrap_or(&owners[0]);
            self.add_place(owner, file, places.entry(owner).or_default());
        }
        let release = parts.release.iter().filter(|_| !places.is_empty());
        let release: Vec<_> = release.map(|file| (file, self.owners_of(file))).collect();
        for (file, owners) in release {
            if let [owner] = owners[..] {
                self.add_place(owner, file, places.entry(owner).or_default());
            }
        }
        self.as_files(&places)
    }

    /// Returns the packages that have a file.
    fn owners_of(&self, file: &UsedFile) -> Vec<&HostPackage> {
        let mut owners: Vec<&HostPackage> = self.owners(&file.path).collect();
        owners.dedup();
        if owners.is_empty() {
            let generated = GENERATED.iter().find(|(path, _)| *path == file.path);
            owners.extend(generated.and_then(|(_, name)| self.find(name)));
        }
        owners
    }

    fn add_place(&self, package: &HostPackage, file: &UsedFile, places: &mut Places) {
        if let Some(place) = &file.place {
            let diversion = self.diverted(&file.path);
            let diversion = diversion.filter(|one| one.package != package.name);
            let path = diversion.map_or(&file.path, |one| &one.from);
            places.insert(path, place);
        }
    }

    fn as_files(&self, places: &BTreeMap<&HostPackage, Places>) -> PackageRecords {
        let mut records = PackageRecords::default();
        let mut installed = String::new();
        for (package, places) in places {
            let name = &package.name;
            let paragraph = self.paragraph(package);
            if paragraph.len() > MAX_PARAGRAPH_BYTES {
                self.fail(format!("the paragraph of `{name}` is too long"));
                continue;
            }
            if self.manager == Some(Manager::Apk) {
                installed.push_str(&text::apk_record(paragraph, places));
                installed.push('\n');
            } else {
                let mut path = format!("{STATUS}/{name}");
                if records.files.contains_key(&path) {
                    path = format!("{path}:{}", package.architecture);
                }
                if !is_file_name(&path[STATUS.len() + 1..]) {
                    self.fail(format!("`{name}` is not the name of a package"));
                    continue;
                }
                let sums = self.read_of(package, "md5sums").unwrap_or_default();
                let sums = text::deb_sums(&sums, places);
                let sums = (!sums.is_empty()).then(|| (format!("{path}.md5sums"), sums));
                records.files.extend(sums);
                records.files.insert(path, text::deb_record(paragraph));
            }
            records.names.push(name.clone());
        }
        if !installed.is_empty() {
            records.files.insert(self.path.to_owned(), installed);
        }
        records.problem = self.problem();
        records
    }
}

/// Returns whether a name is that of a file of dpkg, which cannot lead elsewhere.
fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.:".contains(&byte);
    (1..=200).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(is_plain)
}
