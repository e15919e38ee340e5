//! Fonts of the host: the configuration of fontconfig and the family that it
//! prefers. A family is recognized by the names of its files.

use std::collections::BTreeMap;

use super::{Programs, ProgramsResult};

const CONFIGURATION: &str = "/etc/fonts";

/// Returns whether a file is a font by its name.
pub(crate) fn is_font(name: &[u8]) -> bool {
    let mut endings = [".otf", ".pfb", ".ttc", ".ttf"].iter();
    endings.any(|ending| name.ends_with(ending.as_bytes()))
}

/// Lists the families that the configuration prefers for text without a family.
fn preferred(text: &str) -> impl Iterator<Item = String> {
    let aliases = text.split("<alias").filter_map(|alias| {
        let (head, families) = alias.split_once("<prefer>")?;
        let is_meant = head.contains("<family>sans-serif</family>");
        is_meant.then_some(families.split_once("</prefer>")?.0)
    });
    let families = aliases.flat_map(|families| families.split("<family>").skip(1));
    families.filter_map(|family| Some(family.split_once("</family>")?.0.replace(' ', "")))
}

impl Programs<'_> {
    /// Adds the configuration of fontconfig and the first preferred family that
    /// the host has.
    pub(crate) fn request_fonts(&mut self) -> ProgramsResult<()> {
        if !self.add_data(CONFIGURATION)? {
            let problem = format!("`{CONFIGURATION}` does not exist");
            self.problems.push(problem);
        }
        let mut files = BTreeMap::new();
        for directory in ["/usr/share/fonts", "/usr/local/share/fonts"] {
            self.list_fonts(directory, &mut files);
        }
        let mut text = String::new();
        for name in self.host_names(&format!("{CONFIGURATION}/conf.d")) {
            let path = format!("{CONFIGURATION}/conf.d/{name}");
            let bytes = self.host.read(&self.host.rooted(path.as_bytes()), 1 << 20);
            text.push_str(&String::from_utf8_lossy(&bytes.unwrap_or_default()));
        }
        let family = preferred(&text).find_map(|family| files.get_key_value(&family));
        let Some((family, paths)) = family.or(files.first_key_value()) else {
            self.problems
                .push("`/usr/share/fonts` has no fonts".to_owned());
            return Ok(());
        };
        let mut bytes = 0;
        for path in paths {
            self.add_data(path)?;
            let file = self.host_file(path).and_then(|file| file.metadata().ok());
            bytes += file.map_or(0, |file| file.len());
        }
        let (count, size) = (paths.len(), bytes.div_ceil(1 << 10));
        self.notes.push(format!(
            "the font family `{family}` of this machine is included: {count} files, {size} KiB"
        ));
        Ok(())
    }

    /// Lists the fonts below a directory by family: the name of the file without
    /// the style, for example `DejaVuSans` of `DejaVuSans-Bold.ttf`.
    fn list_fonts(&self, directory: &str, files: &mut BTreeMap<String, Vec<String>>) {
        for name in self.host_names(directory) {
            let path = format!("{directory}/{name}");
            if is_font(name.as_bytes()) {
                let family = name.split(['-', '[', '.']).next().unwrap_or_default();
                files.entry(family.to_owned()).or_default().push(path);
            } else if path.matches('/').count() < 9 {
                self.list_fonts(&path, files);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use fs_err as fs;

    use super::*;
    use crate::contents::Contents;

    const LATIN: &str =
        "<alias><family>serif</family><prefer><family>Other Serif</family></prefer></alias>
        <alias>\n<family>sans-serif</family>\n<prefer>\n<family>Gone Sans</family>
        <family>Some Sans</family> <!-- lat -->\n<family>Other Sans</family></prefer></alias>";

    fn brought(files: &[(&str, &str)]) -> Result<(Vec<String>, Vec<String>), String> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
        }
        let contents = Contents::default();
        let mut programs = Programs::new(Some(root.path()), &contents, Vec::new(), 1);
        programs.request_fonts().unwrap();
        let added = programs.finish().map_err(|error| error.to_string())?;
        let paths = added.members.iter().map(|it| it.entry.path.to_string());
        Ok((paths.collect(), added.notes))
    }

    #[test]
    fn the_first_preferred_family_of_the_host_is_included() {
        let (paths, notes) = brought(&[
            ("etc/fonts/fonts.conf", ""),
            ("etc/fonts/conf.d/60-latin.conf", LATIN),
            ("usr/share/fonts/a/OtherSans.ttf", "x"),
            ("usr/share/fonts/b/c/SomeSans-Bold.ttf", "xy"),
            ("usr/share/fonts/b/c/SomeSansMono.ttf", "x"),
            ("usr/local/share/fonts/SomeSans[wght].ttf", "x"),
        ])
        .unwrap();
        let expected = [
            "/etc/fonts/conf.d/60-latin.conf",
            "/etc/fonts/fonts.conf",
            "/usr/local/share/fonts/SomeSans[wght].ttf",
            "/usr/share/fonts/b/c/SomeSans-Bold.ttf",
        ];
        assert_eq!(paths, expected);
        let note = "the font family `SomeSans` of this machine is included: 2 files, 1 KiB";
        assert_eq!(notes, [note]);
    }

    #[test]
    fn without_a_preferred_family_there_is_the_first() {
        let file = ("etc/fonts/fonts.conf", "");
        let some = ("usr/share/fonts/some.otf", "x");
        let (paths, _) = brought(&[file, some, ("usr/share/fonts/zzz.otf", "x")]).unwrap();
        assert_eq!(paths[1..], ["/usr/share/fonts/some.otf"]);
        let error = brought(&[file]).unwrap_err();
        assert!(error.contains("`/usr/share/fonts` has no fonts"), "{error}");
        let error = brought(&[some]).unwrap_err();
        assert!(error.contains("`/etc/fonts` does not exist"), "{error}");
    }
}
