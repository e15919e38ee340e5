//! Files of the host that libraries of the closure open by themselves: the locale
//! C.UTF-8 and the converters of glibc, and the terminals of ncurses.

use std::path::Path;

use imgbuild_oci::content::Content;
use imgbuild_oci::entry::Member;

use super::ClosureOptions;
use crate::contents::Contents;
use crate::error::Result;
use crate::locale::{self, LocaleError};
use crate::programs::{AddedFiles, Programs, ProgramsError};
use crate::refusal::quoted;
use crate::runtime::Runtime;

/// The locale that glibc has beside `C`; musl has no other.
const LOCALE: &str = "C.UTF-8";

/// The converters that glibc installs even in its smallest form (`gconv-modules`
/// of glibc's iconvdata since 2.34): Unicode and Western European character sets.
const COMMON_CONVERTERS: [&str; 8] = [
    "ANSI_X3.110",
    "CP1252",
    "ISO8859-1",
    "ISO8859-15",
    "UNICODE",
    "UTF-16",
    "UTF-32",
    "UTF-7",
];

/// Terminals of users, of serial consoles and of programs in programs.
const TERMINALS: &str = "ansi cygwin dumb linux rxvt rxvt-unicode rxvt-unicode-256color screen \
    screen-256color screen.xterm-256color sun tmux tmux-256color vt100 vt102 vt220 vt52 xterm \
    xterm-256color xterm-color xterm-mono";

/// Finds the files for the libraries of the host among `members`. A fact that may
/// matter for a conversion is added to `details`.
pub(super) fn find(
    members: &[&Member],
    runtime: &Runtime,
    contents: &Contents<'_>,
    options: &ClosureOptions,
    details: &mut Vec<String>,
) -> Result<AddedFiles> {
    if !options.is_whole() {
        return Ok(AddedFiles::default());
    }
    let mut programs = Programs::new(
        options.sysroot.as_deref(),
        contents,
        Vec::new(),
        options.mtime,
    );
    let mut has_libc = false;
    for member in members {
        let name = member.entry.path.file_name();
        if let (b"libc.so.6", Some(Content::File(file))) = (name, &member.content) {
            has_libc = true;
            add_converters(&file.path, runtime, &mut programs, details)?;
        }
    }
    if has_libc {
        match locale::add(LOCALE, &mut programs) {
            // Old versions of glibc do not have it.
            Ok(()) | Err(LocaleError::Unknown { .. } | LocaleError::Archive { .. }) => {}
            Err(error @ LocaleError::Files(_)) => return Err(error.into()),
        }
    }
    let is_ncurses = |member: &&&Member| {
        let name = member.entry.path.file_name();
        name.starts_with(b"libtinfo") || name.starts_with(b"libncurses")
    };
    if members.iter().any(|member| is_ncurses(&member)) {
        programs.add_terminals(TERMINALS)?;
    }
    Ok(programs.finish()?)
}

/// Adds the converters of `iconv_open` that belong to a C library.
///
/// Most files that call it take the character set of the locale, which in an image
/// is ASCII or UTF-8: they get the common converters, all others get all, which
/// are 8 MB.
fn add_converters(
    libc: &Path,
    runtime: &Runtime,
    programs: &mut Programs<'_>,
    details: &mut Vec<String>,
) -> Result<(), ProgramsError> {
    let callers = runtime.imports.iter();
    let callers: Vec<_> = callers.filter(|(_, imports)| imports.iconv).collect();
    if callers.is_empty() {
        return Ok(());
    }
    let Some(home) = programs.home(libc) else {
        return Ok(());
    };
    let (parent, _) = home.rsplit_once('/').unwrap_or_default();
    let places = ["", "/usr"].map(|usr| format!("{usr}{parent}/gconv"));
    let file_of = |it: String| Some((programs.host_file(&format!("{it}/gconv-modules"))?, it));
    let Some((file, place)) = places.into_iter().find_map(file_of) else {
        return Ok(());
    };
    if callers.iter().any(|(_, imports)| !imports.langinfo) {
        programs.add_data(&place)?;
        return Ok(());
    }
    for name in COMMON_CONVERTERS {
        programs.add_data(&format!("{place}/{name}.so"))?;
    }
    for name in ["gconv-modules", "gconv-modules.cache"] {
        programs.add_data(&format!("{place}/{name}"))?;
    }
    let is_other = |name: &String| {
        let name = name.strip_suffix(".so");
        name.is_some_and(|name| !COMMON_CONVERTERS.contains(&name))
    };
    if programs.host_names(&place).iter().any(is_other) {
        let callers = quoted(callers.iter().map(|(path, _)| path));
        let source = file.parent().unwrap_or(&file).display();
        details.push(format!(
            "character sets other than Unicode and Western European ones cannot be converted by {callers}: `--add {source}:{place}` adds all converters"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use fs_err as fs;
    use imgbuild_oci::path::ImagePath;

    use super::*;
    use crate::elf::Imports;
    use crate::host_file::file_member;

    /// Shows what comes with libraries of a host that has the given files, where a
    /// program has these imports; and the details.
    fn found(files: &[&str], imports: Imports) -> (Vec<String>, Vec<String>) {
        let root = tempfile::tempdir().unwrap();
        let mut libraries = Vec::new();
        for path in files {
            let host = root.path().join(path);
            fs::create_dir_all(host.parent().unwrap()).unwrap();
            fs::write(&host, path).unwrap();
            if path.starts_with("lib/x/lib") {
                let path = ImagePath::parse(format!("/{path}")).unwrap();
                libraries.push(file_member(&host, path).unwrap());
            }
        }
        let mut runtime = Runtime::default();
        let program = ImagePath::parse("/program").unwrap();
        runtime.imports.insert(program, imports);
        let options = ClosureOptions {
            include_libraries: true,
            sysroot: Some(fs::canonicalize(root.path()).unwrap()),
            ..ClosureOptions::default()
        };
        let (contents, mut details) = (Contents::default(), Vec::new());
        let libraries: Vec<&Member> = libraries.iter().collect();
        let added = find(&libraries, &runtime, &contents, &options, &mut details).unwrap();
        let paths = added.members.iter().map(|it| it.entry.path.to_string());
        let root = fs::canonicalize(root.path()).unwrap();
        let shown = |it: &String| it.replace(root.to_str().unwrap(), "ROOT");
        (paths.collect(), details.iter().map(shown).collect())
    }

    #[test]
    fn files_that_follow_the_locale_get_the_common_converters_and_others_all() {
        // As on a system without a merged `/usr`.
        let files = [
            "lib/x/libc.so.6",
            "usr/lib/x/gconv/KOI8-R.so",
            "usr/lib/x/gconv/UTF-16.so",
            "usr/lib/x/gconv/gconv-modules",
        ];
        let all: Vec<String> = files[1..].iter().map(|path| format!("/{path}")).collect();
        let imports = |iconv, langinfo| Imports {
            iconv,
            langinfo,
            ..Imports::default()
        };
        let none = Vec::<String>::new;
        assert_eq!(found(&files, imports(true, false)), (all.clone(), none()));
        let common = all[1..].to_vec();
        let (paths, details) = found(&files, imports(true, true));
        assert_eq!((&paths, details.len()), (&common, 1));
        let remedy = ": `--add ROOT/usr/lib/x/gconv:/usr/lib/x/gconv` adds all converters";
        assert!(details[0].ends_with(remedy), "{details:?}");
        let without = [files[0], files[2], files[3]];
        assert_eq!(found(&without, imports(true, true)), (common, none()));
        assert_eq!(found(&files, imports(false, true)), (none(), none()));
        assert_eq!(found(&files[1..], imports(true, false)), (none(), none()));
    }

    #[test]
    fn the_locale_comes_with_the_c_library_and_terminals_with_ncurses() {
        let data = [
            "usr/lib/locale/C.utf8/LC_CTYPE",
            "usr/share/terminfo/v/vt220",
            "usr/share/terminfo/w/wyse50",
        ];
        for (library, expected) in [
            ("lib/x/libc.so.6", data[0]),
            ("lib/x/libtinfo.so.6", data[1]),
            ("lib/x/libncursesw.so.6", data[1]),
        ] {
            let files = [library, data[0], data[1], data[2]];
            let (paths, _) = found(&files, Imports::default());
            assert_eq!(paths, [format!("/{expected}")], "{library}");
        }
    }
}
