//! Following symbolic links, as the kernel does ([path_resolution(7)]).
//!
//! [path_resolution(7)]: https://man7.org/linux/man-pages/man7/path_resolution.7.html

use super::{ImagePath, MAX_PATH_BYTES, ParseImagePathError, TOO_LONG, error};

/// The most links that one path may lead through, as in Linux (`MAXSYMLINKS`).
pub const MAX_LINKS: usize = 40;

/// The most names that one path may lead through; a path has at most half of it.
const MAX_NAMES: usize = 4096;

/// A path whose links cannot be followed to an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveError<E> {
    /// More than [`MAX_LINKS`] links or `MAX_NAMES` names, of which this is
    /// the last (`ELOOP`).
    Loop(ImagePath),
    /// A name that cannot be in a path.
    Name {
        /// The directory that would have the name.
        directory: ImagePath,
        /// The reason.
        source: ParseImagePathError,
    },
    /// A failure of `look_up`.
    LookUp(E),
}

/// Follows all links of an absolute path, the last one too, and returns the
/// path at which they end. No link leads out of the root.
///
/// `look_up` gets an exact path, and whether it is the last of all, and returns
/// the target of the symbolic link there. `None` is anything else, also
/// nothing: a caller that must not go through a file returns an error.
///
/// # Errors
///
/// When the links form a loop, when a name, the path or the target of a link
/// is too long, or when `look_up` fails.
pub fn resolve_links<T: AsRef<[u8]>, E>(
    path: &[u8],
    mut look_up: impl FnMut(&ImagePath, bool) -> Result<Option<T>, E>,
) -> Result<ImagePath, ResolveError<E>> {
    let mut at = ImagePath::root();
    let mut rest: Vec<Vec<u8>> = names(path, &at)?;
    let (mut links, mut walked) = (0, 0);

    while let Some(name) = rest.pop() {
        walked += 1;
        if walked > MAX_NAMES {
            return Err(ResolveError::Loop(at));
        }
        if name == b".." {
            at = at.parent().unwrap_or(at);
            continue;
        }
        let next = match at.join(&name) {
            Ok(next) => next,
            Err(source) => {
                return Err(ResolveError::Name {
                    directory: at,
                    source,
                });
            }
        };
        let found = look_up(&next, rest.is_empty()).map_err(ResolveError::LookUp)?;
        let Some(target) = found else {
            at = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Err(ResolveError::Loop(next));
        }
        let target = target.as_ref();
        if target.starts_with(b"/") {
            at = ImagePath::root();
        }
        rest.extend(names(target, &at)?);
    }
    Ok(at)
}

/// Returns the names of a path, last first, without `.`.
fn names<E>(path: &[u8], directory: &ImagePath) -> Result<Vec<Vec<u8>>, ResolveError<E>> {
    if path.len() > MAX_PATH_BYTES {
        return Err(ResolveError::Name {
            directory: directory.clone(),
            source: error(path, TOO_LONG),
        });
    }
    let names = path.split(|byte| *byte == b'/').rev();
    let names = names.filter(|name| !name.is_empty() && *name != b".");
    Ok(names.map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(path: &str) -> Result<String, ResolveError<&'static str>> {
        let look_up = |at: &ImagePath, is_last: bool| {
            let at = at.to_string();
            if at == "/file" && !is_last {
                return Err("below a file");
            }
            Ok(match at.as_str() {
                "/lib" => Some("usr/lib".to_owned()),
                "/app/current" => Some("../opt/v1".to_owned()),
                "/up" => Some("../../../etc".to_owned()),
                "/absolute" => Some("/lib/x".to_owned()),
                "/loop" => Some("loop".to_owned()),
                _ => at
                    .strip_prefix("/chain")
                    .and_then(|number| number.parse::<usize>().ok())
                    .filter(|number| *number > 0)
                    .map(|number| format!("chain{}", number - 1)),
            })
        };
        resolve_links(path.as_bytes(), look_up).map(|path| path.to_string())
    }

    #[test]
    fn links_are_followed_within_the_root() {
        for (path, expected) in [
            ("/", "/"),
            ("//a/./b/", "/a/b"),
            ("/lib/new", "/usr/lib/new"),
            ("/app/current/../x", "/opt/x"),
            ("/app/../..", "/"),
            ("/up/passwd", "/etc/passwd"),
            ("/absolute", "/usr/lib/x"),
            ("/file", "/file"),
            ("/chain40", "/chain0"),
        ] {
            assert_eq!(resolve(path).unwrap(), expected, "{path}");
        }
    }

    #[test]
    fn a_path_without_an_end_is_an_error() {
        let path = |text: &str| ImagePath::parse(text).unwrap();
        assert_eq!(resolve("/loop/x"), Err(ResolveError::Loop(path("/loop"))));
        assert_eq!(
            resolve("/chain41"),
            Err(ResolveError::Loop(path("/chain1")))
        );
        assert_eq!(
            resolve("/file/x"),
            Err(ResolveError::LookUp("below a file"))
        );
        let long = format!("/lib/{}", "a".repeat(256));
        let error = resolve(&long).unwrap_err();
        assert!(
            matches!(&error, ResolveError::Name { directory, .. } if *directory == path("/usr/lib")),
            "{error:?}"
        );
    }
}
