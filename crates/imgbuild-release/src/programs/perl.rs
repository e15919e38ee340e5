//! Perl, most of whose programs need more of its modules than are built in.
//!
//! Where they are is built into the interpreter ([perlvar(1)], `@INC`), and
//! differs by distribution. Those are known that belong to Perl itself; what
//! other packages installed beside them is not added.
//!
//! [perlvar(1)]: https://perldoc.perl.org/perlvar#@INC

use std::path::Path;

use super::Programs;

/// Directories that hold Perl's own modules: Debian's three, where `*` is the
/// processor's and the version's name, and those of Arch and Alpine.
const DIRECTORIES: [[&str; 2]; 5] = [
    ["/usr/lib/*", "perl-base"],
    ["/usr/lib/*/perl", "5."],
    ["/usr/share/perl", "5."],
    ["/usr/lib/perl5", "core_perl"],
    ["/usr/share/perl5", "core_perl"],
];

/// Directories in them that no program needs: headers and documentation.
const UNWANTED: [&[u8]; 2] = [b"CORE", b"pod"];

fn is_unwanted(name: &[u8]) -> bool {
    UNWANTED.contains(&name) || name.ends_with(b".pod")
}

/// Returns whether a directory is meant: by its name, or by the version that
/// it starts with and of which it names no more than two numbers, for the
/// third is behind a link.
fn is_meant(name: &str, wanted: &str) -> bool {
    if wanted.ends_with('.') {
        name.starts_with(wanted) && name.matches('.').count() == 1
    } else {
        name == wanted
    }
}

impl Programs<'_> {
    /// Adds the modules of a Perl when the file `real` is one.
    pub(super) fn add_perl(&mut self, real: &Path) {
        let name = real.file_name().unwrap_or_default().to_string_lossy();
        if (name == "perl" || name.starts_with("perl5.")) && !self.has_libraries("perl") {
            let mut found = self.perl_directories();
            // Of packages, some are links to those that are there.
            found.retain(|it| !self.is_placed(it));
            let mut added = found.iter().map(|it| self.add_modules(it, &is_unwanted));
            if added.all(|added| added.is_ok()) && !found.is_empty() {
                self.with_libraries.insert("perl");
            }
        }
    }

    fn perl_directories(&self) -> Vec<String> {
        let mut found = Vec::new();
        for [parent, wanted] in DIRECTORIES {
            let parents = match parent.split_once('*') {
                Some((above, below)) => {
                    let names = self.host_names(above).into_iter();
                    names.map(|name| format!("{above}{name}{below}")).collect()
                }
                None => vec![parent.to_owned()],
            };
            for parent in parents {
                let names = self.host_names(&parent).into_iter();
                let meant = names.filter(|name| is_meant(name, wanted));
                found.extend(meant.map(|name| format!("{parent}/{name}")));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::contents::Contents;

    #[test]
    fn an_interpreter_brings_its_own_modules() {
        let root = tempfile::tempdir().unwrap();
        for path in [
            "usr/bin/perl",
            "usr/lib/x86_64-linux-gnu/perl-base/POSIX.pm",
            "usr/lib/x86_64-linux-gnu/perl/5.36.0/CORE/perl.h",
            "usr/lib/x86_64-linux-gnu/perl/5.36.0/Encode.pm",
            "usr/lib/x86_64-linux-gnu/perl5/5.36/Others.pm",
            "usr/share/perl/5.36.0/JSON/PP.pm",
            "usr/share/perl/5.36.0/pod/perl.pod",
            "usr/share/perl5/Others.pm",
        ] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, path.to_str().unwrap()).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        for link in ["usr/lib/x86_64-linux-gnu/perl/5.36", "usr/share/perl/5.36"] {
            fs_err::os::unix::fs::symlink("5.36.0", root.path().join(link)).unwrap();
        }
        let contents = Contents::new(&[]);
        let search = vec!["/usr/bin".to_owned()];
        let mut programs = Programs::new(Some(root.path()), &contents, search, 1);
        programs.request("perl");
        let members = programs.finish().unwrap().members.into_iter();
        let paths: Vec<String> = members
            .map(|member| member.entry.path.to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "/usr/bin/perl",
                "/usr/lib/x86_64-linux-gnu/perl-base/POSIX.pm",
                "/usr/lib/x86_64-linux-gnu/perl/5.36/Encode.pm",
                "/usr/share/perl/5.36/JSON/PP.pm",
            ]
        );
    }
}
