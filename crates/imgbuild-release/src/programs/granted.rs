//! Programs that packages take for granted: their scripts call those of essential
//! packages and have interpreters that they do not depend on.

use std::cell::LazyCell;
use std::collections::BTreeSet;

use imgbuild_oci::path::ImagePath;

use super::Programs;
use super::calls::calls_of;
use crate::contents::first_bytes;
use crate::host_packages::PackageDatabase;
use crate::script::{MAX_LINE, Shebang};

impl Programs<'_> {
    /// Adds what the scripts of packages take for granted. Of Perl, these are the
    /// modules of an essential package; a program may need more.
    pub(super) fn add_granted(
        &mut self,
        database: &PackageDatabase,
        scripts: &[ImagePath],
        has_perl_modules: bool,
    ) {
        let has_perl = !self.with_libraries.insert("perl");
        for script in scripts {
            self.add_interpreters(script);
        }
        if has_perl_modules {
            self.add_granted_program("/usr/bin/perl");
        }
        self.add_granted_calls(database, scripts);
        if !has_perl {
            self.with_libraries.remove("perl");
        }
    }

    /// Adds the programs of essential packages that scripts of packages call, or
    /// remembers them for a finding.
    fn add_granted_calls(&mut self, database: &PackageDatabase, scripts: &[ImagePath]) {
        let granted = LazyCell::new(|| database.granted());
        let mut added = BTreeSet::new();
        for script in scripts {
            let script_calls = self.placed.get(script).and_then(calls_of);
            let mut calls = script_calls.unwrap_or_default();
            calls.retain(|name| {
                let home = self.found(name).and_then(|real| self.home(&real));
                let mut owners = home.iter().flat_map(|home| database.owners(home));
                !self.is_in_image(name) && owners.any(|it| granted.packages.contains(it))
            });
            let perl = calls.iter().find(|name| name.ends_with("perl")).cloned();
            self.bring_calls(script, calls, &mut added);
            if let Some(perl) = perl.filter(|_| self.brings_calls) {
                self.add_granted_program(&perl);
            }
        }
        self.note_calls("scripts of the packages", &added);
    }

    /// Adds the interpreter of a script, which all packages may take for granted.
    fn add_interpreters(&mut self, script: &ImagePath) {
        let content = self.placed.get(script).and_then(|it| it.content.as_ref());
        let head = content.map(|content| first_bytes(content, MAX_LINE));
        if let Some(shebang) = Shebang::parse(&head.unwrap_or_default()) {
            let names = [Some(shebang.interpreter.clone()), shebang.looked_up()];
            for name in names.into_iter().flatten() {
                self.add_granted_program(&name);
            }
        }
    }

    /// Adds a program; of Perl, also the modules of its package.
    fn add_granted_program(&mut self, name: &str) {
        if self.add_if_present(name) && name.ends_with("perl") {
            self.add_files_of(name);
        }
    }
}
