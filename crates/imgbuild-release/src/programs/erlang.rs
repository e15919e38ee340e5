//! Erlang, whose `erl` is a script that starts nothing without all of its
//! installation.
//!
//! ```text
//! ROOT/bin/erl            a script that names ROOT
//! ROOT/erts-VSN/bin/      the virtual machine
//! ROOT/lib/APP-VSN/       the applications of Erlang/OTP
//! ROOT/releases/          which version of them is installed
//! ```

use std::collections::BTreeSet;
use std::path::Path;

use imgbuild_oci::path::ImagePath;

use super::Programs;
use super::calls::calls_of;
use crate::contents::first_bytes;
use crate::host_file::file_member;
use crate::runtime::Role;
use crate::script::MAX_LINE;

/// Directories that no program needs at run time: sources, documentation, files
/// for compiling.
const UNWANTED: [&[u8]; 8] = [
    b"c_src",
    b"doc",
    b"emacs",
    b"examples",
    b"include",
    b"man",
    b"src",
    b"usr",
];

/// The application for windows and buttons: its libraries are larger than all
/// else together, and a container has no screen.
const WINDOWS: &[u8] = b"wx-";

fn is_unwanted(name: &[u8]) -> bool {
    UNWANTED.contains(&name) || name.starts_with(WINDOWS)
}

impl Programs<'_> {
    /// Adds an Erlang, when the file `real` is the `erl` of one; `None` when it
    /// is not.
    pub(super) fn add_erlang(&mut self, called: &ImagePath, real: &Path) -> Option<()> {
        let home = self.home(real)?;
        let root = home.strip_suffix("/bin/erl");
        let root = root.filter(|root| !root.is_empty())?;
        let has_machine = self.host_names(root).iter().any(|name| {
            let machine = format!("{root}/{name}/bin/erlexec");
            name.starts_with("erts-") && self.host_file(&machine).is_some()
        });
        has_machine.then_some(())?;
        let path = ImagePath::parse(&home).ok()?;
        if !self.has(&path) {
            self.add_data_except(root, &|_, name| is_unwanted(name))
                .ok()?;
            // Few start port programs: they count as modules.
            self.take_objects(root, |path| {
                let may_be = path.ends_with(".so") || path.contains("/bin/");
                may_be.then_some(if path.starts_with("/erts-") {
                    Role::Program
                } else {
                    Role::Module
                })
            });

            let script = file_member(real, path.clone()).ok()?;
            let content = script.content.as_ref();
            let head = content.map(|content| first_bytes(content, MAX_LINE));
            self.add_for(&path, &head.unwrap_or_default(), 0);
            let calls = calls_of(&script).unwrap_or_default();
            let mut added = BTreeSet::new();
            self.bring_calls(&path, calls, &mut added);
            self.note_calls(&format!("`{path}` and its scripts"), &added);
        }
        self.link(called, &path);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::contents::Contents;

    #[test]
    fn erl_brings_its_installation_but_what_only_builds_need() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (path, text) in [
            ("bin/sh", "sh"),
            ("usr/bin/dirname", "dirname"),
            ("opt/erlang/bin/erl", "#!/bin/sh\ndirname \"$0\"\n"),
            ("opt/erlang/erts-13.1/bin/erlexec", "erlexec"),
            ("opt/erlang/erts-13.1/include/x.h", ""),
            ("opt/erlang/lib/kernel-8.5/ebin/kernel.beam", "kernel"),
            ("opt/erlang/lib/kernel-8.5/src/kernel.erl", "source"),
            ("opt/erlang/lib/wx-2.2/priv/wx.so", "wx"),
            ("opt/other/bin/erl", "no installation"),
        ] {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs_err::os::unix::fs::symlink("/opt/erlang/bin/erl", root.join("usr/bin/erl")).unwrap();
        let brought = |name: &str, brings_calls: bool| {
            let contents = Contents::new(&[]);
            let search = vec!["/usr/bin".to_owned()];
            let mut programs = Programs::new(Some(root), &contents, search, 1);
            programs.brings_calls = brings_calls;
            programs.request(name);
            let added = programs.finish().unwrap();
            let paths = added.members.iter().map(|it| it.entry.path.to_string());
            let findings = added.findings.into_iter().map(|it| it.reason);
            [paths.collect(), added.notes, findings.collect()]
        };
        let [mut paths, notes, findings]: [Vec<String>; 3] = brought("erl", true);
        assert_eq!(
            paths,
            [
                "/bin/sh",
                "/opt/erlang/bin/erl",
                "/opt/erlang/erts-13.1/bin/erlexec",
                "/opt/erlang/lib/kernel-8.5/ebin/kernel.beam",
                "/usr/bin/dirname",
                "/usr/bin/erl",
            ]
        );
        let scripts = "`/opt/erlang/bin/erl` and its scripts";
        let note = format!("programs that {scripts} call are included: `dirname`");
        assert_eq!((notes, findings), (vec![note], vec![]));

        paths.retain(|path| path != "/usr/bin/dirname");
        let missing =
            "`/opt/erlang/bin/erl` seems to call programs that the image does not have: `dirname`";
        let expected = [paths, vec![], vec![missing.to_owned()]];
        assert_eq!(brought("erl", false), expected);
        let [paths, ..] = brought("/opt/other/bin/erl", true);
        assert_eq!(paths, ["/opt/other/bin/erl"]);
    }
}
