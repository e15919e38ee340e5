//! A host root, a release and what is asked, in a scratch directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use imgbuild_oci::content::FileRange;
use imgbuild_oci::path::ImagePath;

use crate::elf::fixture::Fixture;
use crate::runtime::{
    ImageNode, MissingLibrary, ModuleProblem, Object, Role, Runtime, RuntimeError, RuntimeOptions,
};

pub(super) const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
pub(super) const MUSL_LOADER: &str = "/lib/ld-musl-x86_64.so.1";

pub(super) struct World {
    directory: tempfile::TempDir,
    nodes: BTreeMap<String, ImageNode>,
    pub(super) objects: Vec<Object>,
    pub(super) options: RuntimeOptions,
}

/// A file for amd64 that only needs what is named.
pub(super) fn library(soname: &str, needed: &[&str]) -> Fixture {
    Fixture::new().soname(soname).needed(needed)
}

pub(super) fn program(needed: &[&str]) -> Fixture {
    Fixture::new().interpreter(LOADER).needed(needed)
}

pub(super) fn path(text: &str) -> ImagePath {
    ImagePath::parse(text).unwrap()
}

impl World {
    /// A host with nothing.
    pub(super) fn empty() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(directory.path().join("root")).unwrap();
        fs_err::create_dir_all(directory.path().join("release")).unwrap();
        let options = RuntimeOptions {
            sysroot: Some(directory.path().join("root")),
            ..RuntimeOptions::default()
        };
        Self {
            directory,
            nodes: BTreeMap::new(),
            objects: Vec::new(),
            options,
        }
    }

    /// A host with glibc, as Debian has it.
    pub(super) fn glibc() -> Self {
        Self::empty()
            .host(
                LOADER,
                &library("ld-linux-x86-64.so.2", &[]).appendix(
                    b"\0/lib/x86_64-linux-gnu/\0/usr/lib/x86_64-linux-gnu/\0/lib/\0/usr/lib/\0",
                ),
            )
            .host(
                "/lib/x86_64-linux-gnu/libc.so.6",
                &library("libc.so.6", &["ld-linux-x86-64.so.2"]).defines_versions(&[
                    "GLIBC_2.2.5",
                    "GLIBC_2.34",
                    "GLIBC_2.36",
                ]),
            )
    }

    pub(super) fn host_path(&self, path: &str) -> PathBuf {
        self.directory.path().join("root").join(&path[1..])
    }

    pub(super) fn host(self, path: &str, fixture: &Fixture) -> Self {
        self.host_bytes(path, &fixture.bytes())
    }

    pub(super) fn host_bytes(self, path: &str, bytes: &[u8]) -> Self {
        let path = self.host_path(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, bytes).unwrap();
        self
    }

    pub(super) fn host_link(self, path: &str, target: &str) -> Self {
        let path = self.host_path(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(super) fn release_path(&self, image: &str) -> PathBuf {
        self.directory.path().join("release").join(&image[1..])
    }

    /// A file beside the release's own that is not in the image.
    pub(super) fn beside(self, image: &str, fixture: &Fixture) -> Self {
        let path = self.release_path(image);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, fixture.bytes()).unwrap();
        self
    }

    pub(super) fn program(self, image: &str, fixture: &Fixture) -> Self {
        self.object(image, fixture, Role::Program)
    }

    pub(super) fn module(self, image: &str, fixture: &Fixture) -> Self {
        self.object(image, fixture, Role::Module)
    }

    fn object(self, image: &str, fixture: &Fixture, role: Role) -> Self {
        let mut world = self.beside(image, fixture);
        let host = world.release_path(image);
        for directory in path(image).ancestors() {
            let nodes = &mut world.nodes;
            nodes
                .entry(directory.to_string())
                .or_insert(ImageNode::Directory);
        }
        world
            .nodes
            .insert(image.to_owned(), ImageNode::File(host.clone()));
        world.objects.push(Object {
            image: path(image),
            host,
            role,
            elf: Arc::new(fixture.elf()),
        });
        world
    }

    pub(super) fn image_link(mut self, image: &str, target: &str) -> Self {
        let node = ImageNode::Symlink(target.as_bytes().to_vec());
        self.nodes.insert(image.to_owned(), node);
        self
    }

    /// A file of a base image.
    pub(super) fn base(self, image: &str, fixture: &Fixture) -> Self {
        self.base_bytes(image, &fixture.bytes())
    }

    pub(super) fn base_bytes(mut self, image: &str, bytes: &[u8]) -> Self {
        let file = self
            .directory
            .path()
            .join(format!("base-{}", self.nodes.len()));
        fs_err::write(&file, bytes).unwrap();
        let (file, _) = fs_err::File::open(file).unwrap().into_parts();
        let range = FileRange::new(Arc::new(file), 0, bytes.len() as u64);
        let node = ImageNode::Base(Some(range));
        self.nodes.insert(image.to_owned(), node);
        self
    }

    pub(super) fn library_path(mut self, host: &str) -> Self {
        let path = self.host_path(host);
        self.options.library_paths.push(path);
        self
    }

    pub(super) fn add_library(mut self, name: &str) -> Self {
        self.options.add_libraries.push(name.to_owned());
        self
    }

    pub(super) fn try_resolve(&self) -> Result<Runtime, RuntimeError> {
        let present = |path: &ImagePath| self.nodes.get(&path.to_string()).cloned();
        Runtime::resolve(&self.objects, &present, &self.options)
    }

    pub(super) fn resolve(&self) -> Runtime {
        self.try_resolve().unwrap()
    }

    /// Resolves and shows files and links of the closure beside the loader
    /// and the C library: the image's path, then where it comes from.
    pub(super) fn closure(&self) -> Vec<String> {
        let runtime = self.resolve();
        assert_eq!(runtime.missing, []);
        assert_eq!(runtime.warnings, []);
        self.show(&runtime)
    }

    pub(super) fn show(&self, runtime: &Runtime) -> Vec<String> {
        let files = runtime.files.iter().map(|file| {
            let host = file.host.strip_prefix(self.directory.path()).unwrap();
            format!("{} < {}", file.path, host.display())
        });
        let links = runtime.links.iter();
        files
            .chain(links.map(|(path, target)| format!("{path} -> {target}")))
            .filter(|line| {
                !line.starts_with(LOADER)
                    && !line.starts_with(MUSL_LOADER)
                    && !line.starts_with("/lib/x86_64-linux-gnu/libc.so.6 ")
            })
            .collect()
    }
}

/// Shows what is missing: the name and the file that needs it.
pub(super) fn names(missing: &[MissingLibrary]) -> Vec<String> {
    missing.iter().map(name_of).collect()
}

fn name_of(missing: &MissingLibrary) -> String {
    match &missing.needed_by {
        Some(needed_by) => format!("{} for {needed_by}", missing.name),
        None => missing.name.clone(),
    }
}

/// Shows what is wrong with modules.
pub(super) fn warnings(runtime: &Runtime) -> Vec<String> {
    let warnings = runtime.warnings.iter();
    warnings
        .map(|warning| {
            let problem = match &warning.problem {
                ModuleProblem::OtherArchitecture(Some(name)) => format!("for {name}"),
                ModuleProblem::OtherArchitecture(None) => "for another machine".to_owned(),
                ModuleProblem::OtherSystem => "for another system".to_owned(),
                ModuleProblem::OtherFlavor(flavor) => format!("for {flavor}"),
                ModuleProblem::NoProgram => "no program".to_owned(),
                ModuleProblem::Missing(missing) => name_of(missing),
            };
            format!("{}: {problem}", warning.module)
        })
        .collect()
}
