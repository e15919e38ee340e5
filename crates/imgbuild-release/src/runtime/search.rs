//! The directories in which a library is searched, in the orders of glibc and
//! of musl.
//!
//! glibc: ld.so(8) and `_dl_map_object` of elf/dl-load.c. musl:
//! `load_library` of ldso/dynlink.c.

use super::loader::Flavor;
use super::outcome::SearchPlace;
use super::process::{LoadedFile, Process};
use super::resolver::LibraryResolver;

/// The reason to search where a cache or path file of a base image leads, which
/// the image's loader reads.
const OF_BASE: &str = "search path of the base image's loader";

impl LibraryResolver<'_> {
    /// Lists the directories that are searched for `name` when the file at
    /// `requirer` needs it, in the loader's order.
    pub(super) fn places(
        &mut self,
        process: &Process<'_>,
        requirer: usize,
        name: &str,
    ) -> Vec<SearchPlace> {
        if let Some((directory, _)) = name.rsplit_once('/') {
            let place = self.named_place(process, requirer, directory);
            return place.into_iter().collect();
        }
        match process.loader.target.flavor {
            Flavor::Glibc => self.glibc_places(process, requirer, name),
            Flavor::Musl => self.musl_places(process, requirer),
        }
    }

    fn glibc_places(
        &mut self,
        process: &Process<'_>,
        requirer: usize,
        name: &str,
    ) -> Vec<SearchPlace> {
        let file = &process.loaded[requirer];
        let mut places = Vec::new();
        if file.elf.runpath.is_none() {
            for loaded in process.chain(requirer) {
                // The loader ignores the RPATH of a file with a RUNPATH.
                if loaded.elf.runpath.is_none() {
                    places.extend(self.path_of(process, loaded, "RPATH"));
                }
            }
        }
        places.extend(self.library_places());
        places.extend(self.path_of(process, file, "RUNPATH"));
        // The cache only counts outside of the default directories for such a
        // file, and only a base image has one.
        if !file.elf.ignores_default_directories {
            let in_base = self.base_cache.get(name.as_bytes()).into_iter().flatten();
            places.extend(
                in_base
                    .map(|path| SearchPlace::in_image(directory_of(path).to_vec(), None, OF_BASE)),
            );
            let cached = self.cache.get(name.as_bytes()).into_iter().flatten();
            places.extend(cached.map(|path| self.on_host(directory_of(path), "ld.so.cache")));
            let configured = self.configuration.iter();
            places.extend(configured.map(|path| self.on_host(path, "ld.so.conf")));
            places.extend(self.default_places(process));
        }
        places
    }

    fn musl_places(&self, process: &Process<'_>, requirer: usize) -> Vec<SearchPlace> {
        let mut places: Vec<SearchPlace> = self.library_places().collect();
        for loaded in process.chain(requirer) {
            let kind = match loaded.elf.runpath {
                Some(_) => "RUNPATH",
                None => "RPATH",
            };
            places.extend(self.path_of(process, loaded, kind));
        }
        let path_file = process.loader.path_file.iter();
        let is_own = process.loader.has_own_path_file;
        places.extend(path_file.map(|path| {
            if is_own {
                self.rooted(path, OF_BASE)
            } else {
                self.on_host(path, "path file of the musl loader")
            }
        }));
        places.extend(self.default_places(process));
        places
    }

    fn library_places(&self) -> impl Iterator<Item = SearchPlace> {
        let of_host = self
            .library_paths
            .iter()
            .map(|path| SearchPlace::on_host(Vec::new(), path.clone(), "extra library path"));
        let of_image = self.options.image_paths.iter().map(|path| {
            let path = path.as_bytes().to_vec();
            SearchPlace::in_image(path, None, "LD_LIBRARY_PATH of the image")
        });
        of_host.chain(of_image)
    }

    fn default_places(&self, process: &Process<'_>) -> Vec<SearchPlace> {
        let directories = process.loader.defaults.directories.iter();
        directories
            .map(|path| self.rooted(path, "default directory of the loader"))
            .collect()
    }

    fn rooted(&self, path: &[u8], reason: &str) -> SearchPlace {
        SearchPlace::in_image(path.to_vec(), Some(self.host.rooted(path)), reason)
    }

    fn on_host(&self, path: &[u8], reason: &str) -> SearchPlace {
        SearchPlace::on_host(path.to_vec(), self.host.rooted(path), reason)
    }

    /// Lists the directories of a file's RPATH or RUNPATH, as `tag` says.
    fn path_of(&self, process: &Process<'_>, file: &LoadedFile, tag: &str) -> Vec<SearchPlace> {
        let text = match tag {
            "RPATH" => &file.elf.rpath,
            _ => &file.elf.runpath,
        };
        let Some(text) = text else {
            return Vec::new();
        };
        // musl's loader drops the whole path when it has another `$`.
        if process.loader.target.flavor == Flavor::Musl && has_foreign_token(text) {
            return Vec::new();
        }
        let reason = format!("{tag} of `{}`", file.image);
        text.split(':')
            .filter_map(|directory| self.expanded(process, file, directory, &reason))
            .collect()
    }

    /// A directory that is relative, or empty, is searched from wherever the
    /// program is started; no image that is made can rely on that.
    fn expanded(
        &self,
        process: &Process<'_>,
        file: &LoadedFile,
        directory: &str,
        reason: &str,
    ) -> Option<SearchPlace> {
        let parent = file.image.parent()?;
        let (image, has_origin) = expand(process, directory, parent.as_bytes())?;
        let (image, host) = if !image.starts_with(b"/") {
            // One image starts its programs in one directory.
            let start = self.options.working_directory.as_ref();
            let start = start.filter(|_| self.options.image_only.is_some())?;
            ([start.as_bytes(), b"/", &image].concat(), None)
        } else if has_origin {
            let (path, _) = expand(process, directory, file.directory.as_bytes())?;
            (image, Some(file.directory.with_bytes(path)))
        } else {
            let host = self.host.rooted(&image);
            (image, Some(host))
        };
        Some(SearchPlace::in_image(image, host, reason))
    }

    /// A name with a slash is a path: absolute, or from where the program is
    /// started, which only the image knows.
    fn named_place(
        &self,
        process: &Process<'_>,
        requirer: usize,
        directory: &str,
    ) -> Option<SearchPlace> {
        let file = &process.loaded[requirer];
        let absolute = format!("{directory}/");
        let reason = "named by the file that needs it";
        self.expanded(process, file, &absolute, reason).or_else(|| {
            let start = self.options.working_directory.as_ref()?;
            let image = [start.as_bytes(), b"/", directory.as_bytes()].concat();
            Some(SearchPlace::in_image(image, None, reason))
        })
    }
}

fn directory_of(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    &path[..end.max(1)]
}

const TOKENS: [&str; 3] = ["ORIGIN", "LIB", "PLATFORM"];

/// Splits a text behind a `$` into the token that it starts with and the
/// rest, with or without braces. A name that goes on is another token.
fn token(text: &str) -> Option<(&'static str, &str)> {
    TOKENS.into_iter().find_map(|token| {
        if let Some(inner) = text.strip_prefix('{') {
            let rest = inner.strip_prefix(token)?.strip_prefix('}')?;
            return Some((token, rest));
        }
        let rest = text.strip_prefix(token)?;
        let goes_on = rest.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        (!goes_on).then_some((token, rest))
    })
}

fn has_foreign_token(text: &str) -> bool {
    text.split('$')
        .skip(1)
        .any(|rest| !matches!(token(rest), Some(("ORIGIN", _))))
}

/// Replaces the tokens; `None` when one has no value. Also returns whether
/// `$ORIGIN` was among them. Any other `$` stays as it is.
fn expand(process: &Process<'_>, text: &str, origin: &[u8]) -> Option<(Vec<u8>, bool)> {
    let defaults = &process.loader.defaults;
    let mut path = Vec::new();
    let mut has_origin = false;
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        path.extend(before.as_bytes());
        rest = after;
        match token(after) {
            Some((name, after)) => {
                has_origin |= name == "ORIGIN";
                path.extend(match name {
                    "ORIGIN" => origin,
                    "LIB" => &defaults.lib,
                    _ => defaults.platform?.as_bytes(),
                });
                rest = after;
            }
            None => path.push(b'$'),
        }
    }
    path.extend(rest.as_bytes());
    Some((path, has_origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_end_where_their_names_do() {
        for (text, expected) in [
            ("ORIGIN", Some(("ORIGIN", ""))),
            ("ORIGIN/../lib", Some(("ORIGIN", "/../lib"))),
            ("{ORIGIN}x", Some(("ORIGIN", "x"))),
            ("LIB:", Some(("LIB", ":"))),
            ("ORIGINAL", None),
            ("{ORIGIN", None),
            ("HOME", None),
            ("", None),
        ] {
            assert_eq!(token(text), expected, "{text}");
        }
    }

    #[test]
    fn musl_knows_no_token_but_origin() {
        for (text, expected) in [
            ("/lib", false),
            ("$ORIGIN/a:${ORIGIN}", false),
            ("$ORIGIN/$LIB", true),
            ("/a$", true),
        ] {
            assert_eq!(has_foreign_token(text), expected, "{text}");
        }
    }
}
