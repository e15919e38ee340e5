//! The parts of an image beside the release: one source for each path.

use std::collections::BTreeMap;

use imgbuild_oci::entry::{Entry, EntryKind, Member, Owner};
use imgbuild_oci::image::Configuration;
use imgbuild_oci::path::ImagePath;

use super::{Context, RUNTIME};
use crate::base::Base;
use crate::certificates::java::{STORE_OF_HOME, STORE_PATH};
use crate::certificates::{ALIASES, BUNDLE_PATH};
use crate::contents::{Contents, End, real_place, source};
use crate::error::Result;
use crate::layering::LayerDraft;
use crate::refusal::{Refusal, Refusals};
use crate::skeleton;

/// The handling of a path that the payload has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conflict {
    /// The file of the user is taken.
    Yield,
    /// The file of the part is needed, so both cannot be.
    Refuse,
}

/// The result of a look at the path of a new member.
enum Overlap {
    /// The member is placed.
    Nothing,
    /// The existing member stays.
    Yield,
    /// Both cannot be; the text describes the existing one.
    Refuse(String),
}

/// Parts beside the payload: the release, the additions and the base image.
pub(super) struct PartSet<'a> {
    payload: &'a Contents<'a>,
    /// The part of each placed member.
    placed: BTreeMap<ImagePath, String>,
    parts: Vec<LayerDraft>,
    refusals: Vec<Refusal>,
}

impl<'a> PartSet<'a> {
    pub(super) fn new(payload: &'a Contents<'a>) -> Self {
        Self {
            payload,
            placed: BTreeMap::new(),
            parts: Vec::new(),
            refusals: Vec::new(),
        }
    }

    /// Adds users, `/tmp` and a home, and the directories that the
    /// configuration names.
    pub(super) fn add_skeleton(
        &mut self,
        context: &Context<'_>,
        user: Owner,
        config: &Configuration,
    ) -> Result<()> {
        let mut members = Vec::new();
        if context.options.has_skeleton {
            members.extend(skeleton(&context.payload, user));
        }
        members.extend(
            context
                .own_directories(user)
                .into_values()
                .map(Member::from),
        );
        members.extend(working_directory(context, config)?);
        set_mtime(&mut members, context.options.mtime);
        self.add("skeleton", members, Conflict::Yield);
        let files = context.writable_files_of_base();
        let refusals = files.map(|path| Refusal::BaseFile { path });
        self.refusals.extend(refusals);
        Ok(())
    }

    /// Adds the programs and libraries of the host.
    pub(super) fn add_runtime(&mut self, context: &Context<'_>, certificates: &[Member]) {
        let mut members = context.ingredients.closure.members.clone();
        let is_theirs =
            |path: &ImagePath| certificates.iter().any(|member| member.entry.path == *path);
        members.retain(|member| !is_theirs(&member.entry.path));
        self.add(RUNTIME, members, Conflict::Yield);
        if let Some(runtime) = self.parts.last_mut() {
            let links = &context.ingredients.closure.links;
            runtime.members.extend_from_slice(links);
        }
    }

    /// Adds the records of the host's packages. One at a path that leads elsewhere in
    /// the payload is left out.
    pub(super) fn add_records(&mut self, context: &Context<'_>) {
        let mut members = context.ingredients.closure.records.clone();
        set_mtime(&mut members, context.options.mtime);
        let refusals = self.refusals.len();
        self.add("packages", members, Conflict::Yield);
        self.refusals.truncate(refusals);
    }

    /// Adds the CA bundle and the links to it.
    pub(super) fn add_certificates(&mut self, context: &Context<'_>, mut members: Vec<Member>) {
        if !members.is_empty() {
            // The path that a base has in `SSL_CERT_FILE` leads to the bundle, too.
            let of_base = context.base().and_then(Base::certificate_file);
            members.extend(of_base.map(|path| Entry::symlink(path, BUNDLE_PATH).into()));
            // A directory at the place of a link stays.
            members.retain(|member| {
                member.content.is_some() || !self.payload.leads_to_directory(&member.entry.path)
            });
            set_mtime(&mut members, context.options.mtime);
            self.add("certificates", members, Conflict::Refuse);
        }
    }

    /// Adds a part; a path through a link of the payload is moved to where the
    /// link leads.
    fn add(&mut self, name: &'static str, members: Vec<Member>, conflict: Conflict) {
        let members: Vec<Member> = members
            .into_iter()
            .filter_map(|member| self.place(name, member, conflict))
            .collect();
        self.parts.push(LayerDraft {
            name: name.to_owned(),
            members,
        });
    }

    fn place(&mut self, name: &str, mut member: Member, conflict: Conflict) -> Option<Member> {
        let is_directory = member.entry.kind == EntryKind::Directory;
        let path = match self.real_place(&member.entry.path, is_directory) {
            Ok(path) => path,
            Err(refusal) => {
                self.refusals.push(refusal);
                return None;
            }
        };
        member.entry.path = path.clone();
        let part = format!("the {name} of the image");
        let other = match self.overlap(&path, is_directory, conflict) {
            Overlap::Yield => return None,
            Overlap::Refuse(existing) => existing,
            Overlap::Nothing => match self.placed.insert(path.clone(), part.clone()) {
                None => return Some(member),
                Some(_) if is_directory || conflict == Conflict::Yield => return None,
                // Links of a base can make one path of several; the bundle comes first.
                Some(first) if first == part && conflict == Conflict::Refuse => return None,
                Some(first) => first,
            },
        };
        self.refusals.push(Refusal::TwoSources {
            path,
            sources: [other, part],
        });
        None
    }

    /// Compares a new member with the existing one at its path. A file replaces
    /// that of a base image, unless it yields.
    fn overlap(&self, path: &ImagePath, is_directory: bool, conflict: Conflict) -> Overlap {
        if let Some(existing) = self.payload.own(path) {
            return match conflict {
                _ if is_directory && existing.entry.kind == EntryKind::Directory => {
                    Overlap::Nothing
                }
                Conflict::Yield => Overlap::Yield,
                Conflict::Refuse => Overlap::Refuse(source(existing)),
            };
        }
        let Some(existing) = self.payload.base(path) else {
            return Overlap::Nothing;
        };
        match (&existing.entry.kind, conflict) {
            (EntryKind::Directory, _) if is_directory => Overlap::Nothing,
            (EntryKind::Directory, _) => {
                Overlap::Refuse("a directory of the base image".to_owned())
            }
            _ if is_directory => Overlap::Refuse("a file of the base image".to_owned()),
            (_, Conflict::Yield) if matches!(self.payload.resolve(path), End::There(_)) => {
                Overlap::Yield
            }
            _ => Overlap::Nothing,
        }
    }

    /// Follows the links above a path, and at a directory of it a link of the
    /// base image to one.
    fn real_place(&self, path: &ImagePath, is_directory: bool) -> Result<ImagePath, Refusal> {
        let place = real_place(self.payload, path)?;
        if is_directory
            && self.payload.base(&place).is_some()
            && let End::There(end) = self.payload.resolve(&place)
            && let Some(member) = self.payload.get(&end)
            && member.entry.kind == EntryKind::Directory
        {
            return Ok(end);
        }
        Ok(place)
    }

    /// Returns the parts, lowest first.
    pub(super) fn finish(self) -> Result<Vec<LayerDraft>, Refusals> {
        Refusals::check(self.refusals)?;
        Ok(self.parts)
    }
}

/// Makes users, `/tmp` and a home. A base image with users has homes of its
/// own, and its directories stay as they are.
fn skeleton(payload: &Contents<'_>, user: Owner) -> Vec<Member> {
    let mut members = skeleton::skeleton(user);
    let is_there = |path: &ImagePath| payload.base(path).is_some();
    members.retain(|member| member.content.is_some() || !is_there(&member.entry.path));
    if is_there(&constant("/etc/passwd")) {
        members.retain(|member| !member.entry.path.as_bytes().starts_with(b"/home/"));
        members.retain(|member| member.entry.path.as_bytes() != b"/root");
    }
    members
}

/// Makes the working directory, so that no engine has to, unless the base
/// image has it.
fn working_directory(context: &Context<'_>, config: &Configuration) -> Result<Option<Member>> {
    let Some(path) = &config.working_dir else {
        return Ok(None);
    };
    let path = ImagePath::parse(path)?;
    let is_there = matches!(context.payload.resolve(&path), End::There(_));
    let is_of_base = match context.base().filter(|base| !base.knows_files()) {
        // The base's own working directory exists, or the engine creates it.
        Some(base) => !is_there && config.working_dir == base.configuration.working_dir,
        // Engines follow a dangling link of the base.
        None => {
            let is_link = context.payload.base(&path).is_some();
            let is_dangling = is_link && context.payload.end_of(&path).is_some();
            (is_there || is_dangling) && context.payload.own(&path).is_none()
        }
    };
    let is_needed = !path.is_root() && !is_of_base;
    Ok(is_needed.then(|| Entry::directory(path).into()))
}

/// Returns the CA bundle with the links to it, and the trust store of Java virtual
/// machines in the image with links in them.
pub(super) fn certificates_as_members(context: &Context<'_>) -> Vec<Member> {
    let Some(certificates) = &context.ingredients.certificates else {
        return Vec::new();
    };
    let mut members = vec![Member::file(
        constant(BUNDLE_PATH),
        0o644,
        certificates.to_pem(),
    )];
    let links = ALIASES.iter();
    members.extend(links.map(|(alias, target)| Entry::symlink(constant(alias), *target).into()));
    let stores = context.java_homes().into_iter();
    let stores = stores.filter_map(|home| home.join(STORE_OF_HOME).ok());
    // Another one stays, unless it is a link of an earlier build in the base.
    let target = STORE_PATH.as_bytes().to_vec();
    let own = EntryKind::Symlink { target };
    let is_free = |path: &ImagePath| {
        let known = context.everything.get(path);
        known.is_none_or(|member| member.entry.kind == own)
    };
    let stores: Vec<ImagePath> = stores.filter(is_free).collect();
    if !stores.is_empty() {
        let store = Member::file(constant(STORE_PATH), 0o644, certificates.to_java_store());
        members.push(store);
        members.extend(
            stores
                .into_iter()
                .map(|path| Entry::symlink(path, STORE_PATH).into()),
        );
    }
    members
}

fn constant(path: &str) -> ImagePath {
    ImagePath::parse(path).expect("the path is absolute and short")
}

fn set_mtime(members: &mut [Member], mtime: u64) {
    for member in members {
        member.entry.mtime = mtime;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> ImagePath {
        ImagePath::parse(text).unwrap()
    }

    fn file(at: &str) -> Member {
        Member::file(path(at), 0o644, b"x".to_vec())
    }

    #[test]
    fn a_part_yields_to_the_user_or_refuses() {
        let payload = [file("/etc/passwd")];
        let contents = Contents::new(&payload);
        let part = || vec![file("/etc/passwd"), file("/etc/group")];
        let mut set = PartSet::new(&contents);
        set.add("skeleton", part(), Conflict::Yield);
        let parts = set.finish().unwrap();
        assert_eq!(parts[0].members.len(), 1);
        let mut set = PartSet::new(&contents);
        set.add("skeleton", part(), Conflict::Refuse);
        assert_eq!(set.finish().unwrap_err().0.len(), 1);
    }
}
