//! Plans: everything that an image will be, as data.

mod assemble;
mod configuration;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use imgbuild_oci::changeset::Changeset;
use imgbuild_oci::compression::Compression;
use imgbuild_oci::entry::{Entry, Member, Owner};
use imgbuild_oci::image::{Configuration, ImageOptions};
use imgbuild_oci::path::ImagePath;
use imgbuild_oci::platform::Platform;
use imgbuild_oci::reference::Reference;

pub use configuration::{Cleared, ConfigurationOptions, Field};
pub use show::kind_name;

use crate::base::Base;
use crate::certificates::{ALIASES, BUNDLE_PATH, Certificates};
use crate::closure::Closure;
pub use crate::command::CommandOptions;
use crate::command::{Command, decide};
use crate::contents::{Contents, End, first_bytes, is_executable};
use crate::error::{Error, Result};
use crate::finding::Finding;
use crate::release::{LeftOut, MixRelease, Release};
use crate::runtime::{Bindings, Object};
use crate::skeleton::{self, Accounts, User, UserName};
use crate::warning::Warning;
use assemble::{Assembly, Conflict, Ground};
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
    pub writable: BTreeSet<ImagePath>,
    /// The platform, decided before.
    pub platform: Platform,
    /// The creation time in RFC 3339.
    pub created: String,
    /// Who made the image.
    pub author: Option<String>,
    /// The annotations of the manifest.
    pub annotations: BTreeMap<String, String>,
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
    /// The image that this one is built on. The release and the additions have
    /// been put onto it.
    pub base: Option<Base>,
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
    base: Option<Base>,
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
            base,
        } = ingredients;
        let base_image = base.as_ref();
        let additions = assemble::place_additions(release.members(), additions)?;
        let mut users = Contents::new(release.members());
        users.add(&additions);
        if let Some(base) = base_image {
            users = base.under(users);
        }
        let mut certificate_members = match &certificates {
            Some(certificates) => certificates_as_members(certificates),
            None => Vec::new(),
        };
        set_mtime(&mut certificate_members, options.mtime);
        let has_node = has_program(&release, &additions, b"node");
        let environment = Environment {
            base: base_image,
            has_bundle: certificates.is_some(),
            tells_node: has_own_certificates && has_node,
        };
        let mut everything = users.clone();
        everything.add(&closure.members);
        let given = options.configuration.env.as_slice();
        let command = decide(&release, &everything, &options.command, (given, base_image))?;
        let (user, user_text) = find_user(&users, options, base_image, &command)?;
        let decided = (command, user_text);
        let config =
            configuration::configuration(&release, &everything, options, decided, environment)?;
        let mut warnings = release.warnings().to_vec();
        warnings.extend(closure.warnings);
        warnings.extend(cookie_warning(&release));
        if certificates.is_some() && has_program(&release, &additions, b"java") {
            warnings.push(Warning::JavaReadsNoBundle);
        }
        let mut own = Vec::new();
        if options.has_skeleton {
            own.extend(skeleton(&users, user));
        }
        own.extend(directories(options, &config, (&users, user), base_image)?);
        set_mtime(&mut own, options.mtime);
        let ground = Ground {
            base: base_image,
            own: own_places(options, &users),
        };
        let mut assembly = Assembly::new(&users);
        assembly.add("skeleton", own, Conflict::Yield);
        assembly.add("runtime", closure.members, Conflict::Yield);
        assembly.add("certificates", certificate_members, Conflict::Refuse);
        let parts = assembly.finish()?;
        let left_out = release.take_left_out();
        let root = release.root().to_path_buf();
        let layers = assemble::layers(parts, release, additions, &ground, options)?;
        let base_author = base_image.and_then(Base::author).map(str::to_owned);
        Ok(Self {
            release: root,
            references: options.references.clone(),
            image: ImageOptions {
                platform: options.platform.clone(),
                created: options.created.clone(),
                author: options.author.clone().or(base_author),
                config,
                annotations: annotations(options, base_image),
                base_history: base_image.map(Base::history).unwrap_or_default().to_vec(),
                base_layers: base_image.map_or(0, |base| base.layers().len()),
            },
            compression: options.compression,
            layers,
            left_out,
            warnings,
            base,
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

    /// Returns the image that this one is built on.
    #[must_use]
    pub fn base(&self) -> Option<&Base> {
        self.base.as_ref()
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

/// Finds the user's numbers in the passwd file that the image will have, and
/// what the configuration says.
///
/// A user that nobody gives is the base image's, as the base says it. Where
/// the base says none, a program of the base runs as root, as it does there,
/// and one of the release as nobody special.
fn find_user(
    contents: &Contents<'_>,
    options: &PlanOptions,
    base: Option<&Base>,
    command: &Command,
) -> Result<(User, Option<String>)> {
    let text = |path: &str| {
        let path = ImagePath::parse(path).ok()?;
        let content = contents.file(&path)?.content.as_ref()?;
        Some(String::from_utf8_lossy(&first_bytes(content, 1 << 20)).into_owned())
    };
    let accounts = || match (text("/etc/passwd"), text("/etc/group")) {
        (None, None) if options.has_skeleton => Accounts::of_skeleton(),
        (passwd, group) => Accounts::parse(&passwd.unwrap_or_default(), &group.unwrap_or_default()),
    };
    let numbers = |user: User| Some(format!("{}:{}", user.uid, user.gid));
    if let Some(name) = &options.user {
        let user = accounts().find(name)?;
        return Ok((user, numbers(user)));
    }
    if options.configuration.cleared.fields.contains(&Field::User) {
        return Ok((User::ROOT, None));
    }
    match base.and_then(|base| base.configuration().user.as_ref()) {
        Some(text) => {
            let (user, group) = match text.split_once(':') {
                Some((user, group)) => (user, Some(group.to_owned())),
                None => (text.as_str(), None),
            };
            let user = user.to_owned();
            let found = accounts().find(&UserName { user, group });
            let found = found.map_err(|unknown| Error::UnknownBaseUser {
                user: text.clone(),
                unknown,
            })?;
            Ok((found, Some(text.clone())))
        }
        None if command.is_inherited => Ok((User::ROOT, None)),
        None => Ok((User::NONROOT, numbers(User::NONROOT))),
    }
}

/// Users, `/tmp` and a home. Where a base image has users, theirs is the home;
/// a directory that it has is as it should be.
fn skeleton(contents: &Contents<'_>, user: User) -> Vec<Member> {
    let mut members = skeleton::skeleton(user);
    let is_there = |path: &ImagePath| contents.base(path).is_some();
    members.retain(|member| member.content.is_some() || !is_there(&member.entry.path));
    let passwd = ImagePath::parse("/etc/passwd").expect("the path is absolute and short");
    if contents.base(&passwd).is_some() {
        members.retain(|member| !member.entry.path.as_bytes().starts_with(b"/home/"));
        members.retain(|member| member.entry.path.as_bytes() != b"/root");
    }
    members
}

/// Says which image this one is built on, as the [annotation keys] have it.
///
/// [annotation keys]: https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md#pre-defined-annotation-keys
fn annotations(options: &PlanOptions, base: Option<&Base>) -> BTreeMap<String, String> {
    let mut annotations = BTreeMap::new();
    if let Some(base) = base {
        let key = |name: &str| format!("org.opencontainers.image.base.{name}");
        annotations.insert(key("name"), base.name().to_owned());
        if let Some(digest) = base.digest() {
            annotations.insert(key("digest"), digest.to_string());
        }
    }
    annotations.extend(options.annotations.clone());
    annotations
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
fn directories(
    options: &PlanOptions,
    config: &Configuration,
    (contents, user): (&Contents<'_>, User),
    base: Option<&Base>,
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
        let path = ImagePath::parse(path)?;
        let is_there = matches!(contents.resolve(&path), End::There(_));
        let is_base = match base.filter(|base| !base.knows_files()) {
            // Where it starts, it has a directory, or the engine makes one.
            Some(base) => !is_there && config.working_dir == base.configuration().working_dir,
            None => is_there && contents.own(&path).is_none(),
        };
        if !path.is_root() && !is_base {
            members.push(Entry::directory(path).into());
        }
    }
    Ok(members)
}

/// Where the directories lie that the user of the image is to have, whatever a
/// base image says of them.
fn own_places(options: &PlanOptions, contents: &Contents<'_>) -> BTreeSet<ImagePath> {
    let wanted = options.configuration.volumes.union(&options.writable);
    let places = wanted.map(|path| match contents.resolve(path) {
        End::There(end) | End::Nothing(end) => end,
        End::Loop => path.clone(),
    });
    places.collect()
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
