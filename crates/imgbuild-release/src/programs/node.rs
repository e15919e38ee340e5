//! Debian's Node.js, which reads some of its own modules from files: the paths are
//! built into it, and the package of the program has none of them.

use std::path::Path;

use super::Programs;

/// The directories of these modules; versions differ in those that they have.
const MODULES: &str = "acorn acorn-walk amaro cjs-module-lexer minimatch undici";

impl Programs<'_> {
    /// Adds the modules of a Node.js of Debian when the file `real` is one.
    pub(super) fn add_node(&mut self, real: &Path) {
        if self.home(real).is_some_and(|home| home == "/usr/bin/node") {
            for name in MODULES.split(' ') {
                drop(self.add_data(&format!("/usr/share/nodejs/{name}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use imgbuild_testing::Tree;

    use super::*;
    use crate::contents::Contents;

    #[test]
    fn a_node_of_debian_brings_its_modules() {
        let root = tempfile::tempdir().unwrap();
        let tree = "0755 file usr/bin/node \"node\"\nlink usr/bin/nodejs -> node\n\
            0644 file usr/share/nodejs/acorn/dist/acorn.js \"\"\n\
            0644 file usr/share/nodejs/express/index.js \"\"\n\
            0644 file usr/share/nodejs/undici/undici-fetch.js \"\"\n\
            0755 file opt/node/bin/node \"other\"\n";
        Tree::parse(tree).unwrap().write_to(root.path()).unwrap();
        let brought = |name: &str| {
            let contents = Contents::default();
            let mut programs =
                Programs::new(Some(root.path()), &contents, vec!["/usr/bin".to_owned()], 1);
            programs.request(name);
            let members = programs.finish().unwrap().members.into_iter();
            let paths = members.map(|member| member.entry.path.to_string());
            paths.collect::<Vec<_>>()
        };
        let modules = [
            "/usr/share/nodejs/acorn/dist/acorn.js",
            "/usr/share/nodejs/undici/undici-fetch.js",
        ];
        assert_eq!(brought("node"), ["/usr/bin/node", modules[0], modules[1]]);
        assert_eq!(
            brought("nodejs"),
            ["/usr/bin/nodejs", modules[0], modules[1]]
        );
        assert_eq!(brought("/opt/node/bin/node"), ["/opt/node/bin/node"]);
    }
}
