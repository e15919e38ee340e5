//! The Java virtual machine, which starts nothing without its own directory.
//!
//! `java` finds it from the place of its own file, links followed: `HOME/bin/java`
//! has `HOME/lib`. So the file comes under its own path, and the path by which it is
//! called is a link to it.
//!
//! ```text
//! HOME/bin/java          the launcher
//! HOME/conf, HOME/lib    settings, libraries, and all classes in `lib/modules`
//! ```

use std::path::Path;

use imgbuild_oci::path::ImagePath;

use super::Programs;
use crate::host_file::file_member;
use crate::runtime::Role;

/// The files with the classes of a Java virtual machine: since version 9, and before.
pub(crate) const CLASSES: [&str; 2] = ["lib/modules", "lib/rt.jar"];

/// Files that no program needs at run time: tools, sources, files for compiling, and
/// libraries for windows and sound, since a container has neither.
const UNWANTED: [&[u8]; 15] = [
    b"bin",
    b"ct.sym",
    b"demo",
    b"docs",
    b"include",
    b"jmods",
    b"libatk-wrapper.so",
    b"libawt_xawt.so",
    b"libjawt.so",
    b"libjsound.so",
    b"libsplashscreen.so",
    b"man",
    b"sample",
    b"src.zip",
    b"tools.jar",
];

impl Programs<'_> {
    /// Adds a Java virtual machine, when the file `real` is the launcher of one; `None`
    /// when it is not.
    pub(super) fn add_java(&mut self, called: &ImagePath, real: &Path) -> Option<()> {
        let home = self.home(real)?;
        let root = home.strip_suffix("/bin/java");
        let root = root.filter(|root| !root.is_empty())?;
        let mut classes = CLASSES.iter().map(|file| format!("{root}/{file}"));
        classes.find_map(|file| self.host_file(&file))?;
        let path = ImagePath::parse(&home).ok()?;
        if !self.has(&path) {
            let mut member = file_member(real, path.clone()).ok()?;
            member.entry.mode = 0o755;
            self.place(path.clone(), member);
            self.add_data_except(root, &|_, name| UNWANTED.contains(&name))
                .ok()?;
            self.take_objects(root, |path| {
                let may_be = path.ends_with(".so") || path == "/lib/jspawnhelper";
                let role = may_be.then_some(Role::Module);
                role.or((path == "/bin/java").then_some(Role::Program))
            });
        }
        self.link(called, &path);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::contents::Contents;

    #[test]
    fn a_launcher_brings_its_directory_but_what_only_builds_need() {
        let root = tempfile::tempdir().unwrap();
        let tree = "0755 file usr/lib/jvm/17/bin/java \"java\"\n\
            0755 file usr/lib/jvm/17/bin/javac \"javac\"\n\
            0644 file usr/lib/jvm/17/lib/modules \"classes\"\n\
            0644 file usr/lib/jvm/17/lib/ct.sym \"\"\n\
            0644 file usr/lib/jvm/17/lib/server/libjvm.so \"\"\n\
            link usr/lib/jvm/17/lib/jvm.cfg -> /etc/java/jvm.cfg\n\
            link usr/lib/jvm/17/lib/security/cacerts -> /etc/gone\n\
            0644 file etc/java/jvm.cfg \"-server\"\n\
            link etc/alternatives/java -> /usr/lib/jvm/17/bin/java\n\
            link usr/bin/java -> /etc/alternatives/java\n\
            0755 file opt/other/bin/java \"no virtual machine\"\n";
        Tree::parse(tree).unwrap().write_to(root.path()).unwrap();
        let brought = |name: &str| {
            let contents = Contents::default();
            let search = vec!["/usr/bin".to_owned()];
            let mut programs = Programs::new(Some(root.path()), &contents, search, 1);
            programs.request(name);
            let members = programs.finish().unwrap().members.into_iter();
            let paths = members.map(|member| member.entry.path.to_string());
            paths.collect::<Vec<_>>()
        };
        let expected = [
            "/usr/bin/java",
            "/usr/lib/jvm/17/bin/java",
            "/usr/lib/jvm/17/lib/jvm.cfg",
            "/usr/lib/jvm/17/lib/modules",
            "/usr/lib/jvm/17/lib/server/libjvm.so",
        ];
        assert_eq!(brought("java"), expected);
        assert_eq!(brought("/opt/other/bin/java"), ["/opt/other/bin/java"]);
    }
}
