//! Plans: everything that an image will be, as data.

mod assemble;
mod configuration;
mod show;

use std::path::PathBuf;

use imgbuild_oci::changeset::{Changeset, Member};
use imgbuild_oci::compression::Compression;
use imgbuild_oci::entry::{Entry, Owner};
use imgbuild_oci::image::{Configuration, ImageOptions};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;

pub use configuration::ConfigurationOptions;
pub use show::kind_name;

use crate::certificates::{ALIASES, BUNDLE_PATH, Certificates};
use crate::closure::Closure;
pub use crate::command::CommandOptions;
use crate::contents::{Contents, first_bytes, is_executable};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::release::{LeftOut, MixRelease, Release};
use crate::runtime::{Bindings, Object};
use crate::skeleton::{self, Accounts, User, UserName};
use crate::warning::Warning;
use assemble::{Assembly, Conflict};
use configuration::Environment;

/// The most layers that Docker's graph drivers stack.
pub const MAX_LAYERS: usize = 125;

/// What the user decides about an image, beside its release.
#[derive(Debug, Clone)]
pub struct PlanOptions {
    /// The names of the image.
    pub references: Vec<Reference>,
    /// The command.
    pub command: CommandOptions,
    /// The rest of the configuration.
    pub configuration: ConfigurationOptions,
    /// Whom a container runs as; [`User::NONROOT`] when not given.
    pub user: Option<UserName>,
    /// Whether the image gets users, `/tmp` and a home.
    pub has_skeleton: bool,
    /// Further directories that the user may write to.
    pub writable: std::collections::BTreeSet<ImagePath>,
    /// The platform, decided before.
    pub platform: Platform,
    /// The creation time in RFC 3339.
    pub created: String,
    /// Who made the image.
    pub author: Option<String>,
    /// The annotations of the manifest.
    pub annotations: std::collections::BTreeMap<String, String>,
    /// The compression of all layers.
    pub compression: Compression,
    /// The most layers that the image may have.
    pub max_layers: usize,
    /// The modification time of every entry, in Unix seconds.
    pub mtime: u64,
}

/// What goes into an image, from where it was found.
#[derive(Debug)]
pub struct Ingredients {
    /// The release.
    pub release: Release,
    /// What the user adds.
    pub additions: Vec<Member>,
    /// The libraries and loaders that come along.
    pub closure: Closure,
    /// The CA certificates.
    pub certificates: Option<Certificates>,
    /// Whether these are others than Mozilla's roots.
    pub has_own_certificates: bool,
}

/// Everything that will be written. `build` decides nothing more.
#[derive(Debug)]
pub struct Plan {
    release: PathBuf,
    references: Vec<Reference>,
    image: ImageOptions,
    compression: Compression,
    layers: Vec<PlannedLayer>,
    left_out: Vec<LeftOut>,
    warnings: Vec<Warning>,
    findings: Vec<Finding>,
    objects: Vec<Object>,
    bindings: Bindings,
}

/// One layer to be made.
#[derive(Debug)]
pub struct PlannedLayer {
    /// The name, for the history and for messages.
    pub name: String,
    /// What it holds.
    pub changeset: Changeset,
}

impl Plan {
    /// Decides what the image is.
    ///
    /// # Errors
    ///
    /// When there is no command, when the user is not known, and with every
    /// path that has two sources.
    pub fn new(ingredients: Ingredients, options: &PlanOptions) -> Result<Self> {
        let Ingredients {
            mut release,
            additions,
            closure,
            certificates,
            has_own_certificates,
        } = ingredients;
        let additions = assemble::place_additions(release.members(), additions)?;
        let mut users = Contents::new(release.members());
        users.add(&additions);
        let mut certificate_members = match &certificates {
            Some(certificates) => certificates_as_members(certificates),
            None => Vec::new(),
        };
        set_mtime(&mut certificate_members, options.mtime);
        let user = find_user(&users, options)?;
        let has_node = has_program(&release, &additions, b"node");
        let environment = Environment {
            has_bundle: certificates.is_some(),
            tells_node: has_own_certificates && has_node,
        };
        let mut everything = users.clone();
        everything.add(&closure.members);
        let config =
            configuration::configuration(&release, &everything, options, user, environment)?;
        let mut warnings = release.warnings().to_vec();
        warnings.extend(closure.warnings);
        warnings.extend(cookie_warning(&release));
        if certificates.is_some() && has_program(&release, &additions, b"java") {
            warnings.push(Warning::JavaReadsNoBundle);
        }
        let mut base = Vec::new();
        if options.has_skeleton {
            base.extend(skeleton::skeleton(user));
        }
        base.extend(own_directories(options, &config, user)?);
        set_mtime(&mut base, options.mtime);
        let mut assembly = Assembly::new(&users);
        assembly.add("skeleton", base, Conflict::Yield);
        assembly.add("runtime", closure.members, Conflict::Yield);
        assembly.add("certificates", certificate_members, Conflict::Refuse);
        let parts = assembly.finish()?;
        let left_out = release.take_left_out();
        let root = release.root().to_path_buf();
        let layers = assemble::layers(parts, release, additions, options)?;
        Ok(Self {
            release: root,
            references: options.references.clone(),
            image: ImageOptions {
                platform: options.platform.clone(),
                created: options.created.clone(),
                author: options.author.clone(),
                config,
                annotations: options.annotations.clone(),
            },
            compression: options.compression,
            layers,
            left_out,
            warnings,
            findings: closure.findings,
            objects: closure.objects,
            bindings: closure.bindings,
        })
    }

    /// Returns the names of the image.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        &self.references
    }

    /// Returns everything of the image but its layers.
    #[must_use]
    pub fn image(&self) -> &ImageOptions {
        &self.image
    }

    /// Returns the compression of all layers.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the layers, lowest first.
    #[must_use]
    pub fn layers(&self) -> &[PlannedLayer] {
        &self.layers
    }

    /// Returns what was found to be wrong while it was made.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Returns the ELF files that were read when it was made.
    pub(crate) fn objects(&self) -> &[Object] {
        &self.objects
    }

    /// Returns which file answers to the name of each needed library.
    pub(crate) fn bindings(&self) -> &Bindings {
        &self.bindings
    }

    pub(crate) fn into_changesets(self) -> Vec<Changeset> {
        let layers = self.layers.into_iter();
        layers.map(|layer| layer.changeset).collect()
    }

    /// Returns what of the release does not go in.
    #[must_use]
    pub fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    /// Returns what may surprise.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Says that the secret of a mix release is not in the image. That it is, is
/// a finding.
fn cookie_warning(release: &Release) -> Option<Warning> {
    release.mix()?;
    let cookie = std::path::Path::new(MixRelease::cookie());
    let needs_one = release.direct().is_none();
    let mut left_out = release.left_out().iter();
    let is_left_out = left_out.any(|left| left.path == cookie);
    (is_left_out && needs_one).then_some(Warning::CookieLeftOut)
}

/// Finds the user's numbers in the passwd file that the image will have.
fn find_user(contents: &Contents<'_>, options: &PlanOptions) -> Result<User> {
    let Some(name) = &options.user else {
        return Ok(User::NONROOT);
    };
    let text = |path: &str| {
        let path = ImagePath::parse(path).ok()?;
        let content = contents.file(&path)?.content.as_ref()?;
        Some(String::from_utf8_lossy(&first_bytes(content, 1 << 20)).into_owned())
    };
    let accounts = match (text("/etc/passwd"), text("/etc/group")) {
        (None, None) if options.has_skeleton => Accounts::of_skeleton(),
        (passwd, group) => Accounts::parse(&passwd.unwrap_or_default(), &group.unwrap_or_default()),
    };
    accounts.find(name)
}

fn certificates_as_members(certificates: &Certificates) -> Vec<Member> {
    let path = |text: &str| ImagePath::parse(text).expect("the path is absolute and short");
    let bundle = Member::file(path(BUNDLE_PATH), 0o644, certificates.to_pem());
    let links = ALIASES
        .iter()
        .map(|(alias, target)| Entry::symlink(path(alias), *target).into());
    [bundle].into_iter().chain(links).collect()
}

/// The working directory, so that no engine has to make one; volumes and
/// writable directories, so that the user may write to them.
fn own_directories(
    options: &PlanOptions,
    config: &Configuration,
    user: User,
) -> Result<Vec<Member>> {
    let mut members = Vec::new();
    for path in options.configuration.volumes.union(&options.writable) {
        let mut entry = Entry::directory(path.clone());
        entry.owner = Owner {
            uid: user.uid,
            gid: user.gid,
        };
        members.push(entry.into());
    }
    if let Some(path) = &config.working_dir {
        let path = ImagePath::parse(path).map_err(Error::Path)?;
        if !path.is_root() {
            members.push(Entry::directory(path).into());
        }
    }
    Ok(members)
}

fn set_mtime(members: &mut [Member], mtime: u64) {
    for member in members {
        member.entry.mtime = mtime;
    }
}

/// Returns whether an executable of this name is in the release or added.
fn has_program(release: &Release, additions: &[Member], name: &[u8]) -> bool {
    let mut members = release.members().iter().chain(additions);
    members.any(|member| member.entry.path.file_name() == name && is_executable(&member.entry))
}
