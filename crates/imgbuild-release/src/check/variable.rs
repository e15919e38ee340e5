//! Variables that name files.

use imgbuild_oci::path::ImagePath;

use super::command::is_below;
use super::setting::is_of_engines;
use super::subject::Subject;
use crate::contents::End;
use crate::finding::{Finding, Rule};
use crate::locale::{BUILT_IN, DIRECTORY, normalize};

/// Variables with paths as values, beside all that end in `_CA_BUNDLE`.
const PATHS: &str = "DENO_CERT FONTCONFIG_FILE GCONV_PATH GIT_SSL_CAINFO LOCPATH MAGIC NODE_EXTRA_CA_CERTS OPENSSL_CONF OPENSSL_MODULES SSL_CERT_DIR SSL_CERT_FILE TZDIR";

/// Names the variables whose files the image does not have.
pub(super) fn check<'a>(subject: &'a Subject<'_>) -> impl Iterator<Item = Finding> + use<'a> {
    subject.config.env.iter().filter_map(|variable| {
        let (name, value) = variable.split_once('=')?;
        let is_path = name.ends_with("_CA_BUNDLE") || PATHS.split(' ').any(|it| it == name);
        let missing = match name {
            "TZ" => zone(subject, value),
            "LANG" | "LC_ALL" | "LC_CTYPE" => locale(subject, value),
            "LD_PRELOAD" => {
                let mut libraries = value.split([':', ' ']);
                libraries
                    .find(|it| !has_library(subject, it))
                    .map(str::to_owned)
            }
            _ => {
                let mut paths = value.split(':').filter(|_| is_path);
                paths
                    .find(|path| !is_there(subject, path))
                    .map(str::to_owned)
            }
        }?;
        let reason =
            format!("the variable `{name}` names `{missing}`, which the image does not have");
        Some(Finding::warning(Rule::VariableDangling, None, reason))
    })
}

/// Returns whether an absolute path exists, or may when containers run.
fn is_there(subject: &Subject<'_>, path: &str) -> bool {
    ImagePath::parse(path).is_ok_and(|path| {
        let mut volumes = subject.config.volumes.iter();
        is_of_engines(&path)
            || volumes.any(|volume| is_below(&path, volume))
            || matches!(subject.contents.resolve(&path), End::There(_))
    }) || !path.starts_with('/')
}

fn has_library(subject: &Subject<'_>, name: &str) -> bool {
    let mut members = subject.members().chain(subject.contents.base);
    let is_path = name.is_empty() || name.contains(['/', '$']);
    is_path && is_there(subject, name)
        || members.any(|member| member.entry.path.file_name() == name.as_bytes())
}

/// Returns the file of a time zone (tzset(3)) that is missing. Java and Node.js
/// have their own.
fn zone(subject: &Subject<'_>, value: &str) -> Option<String> {
    let zone = value.trim_start_matches(':');
    let is_rule = !zone.contains('/') && zone.contains(|it: char| it.is_ascii_digit());
    let mut others = ["java", "node"].iter();
    let is_other = others.any(|name| subject.in_path(name).next().is_some());
    let path = if zone.starts_with('/') {
        zone.to_owned()
    } else {
        format!("/usr/share/zoneinfo/{zone}")
    };
    let is_known = is_rule || is_other || ["", "GMT", "UTC"].contains(&zone);
    (!is_known && !is_there(subject, &path)).then_some(path)
}

/// Returns a locale of glibc that is missing and that a program asks for.
fn locale(subject: &Subject<'_>, value: &str) -> Option<String> {
    let mut objects = subject.objects();
    let is_known = |name: &str| is_there(subject, &format!("{DIRECTORY}/{name}"));
    let is_missing = !value.is_empty()
        && !BUILT_IN.contains(&value)
        && !["locale-archive", value, &normalize(value)]
            .into_iter()
            .any(is_known)
        && has_library(subject, "libc.so.6")
        && objects.any(|object| object.elf.imports.locale);
    is_missing.then(|| format!("{DIRECTORY}/{value}"))
}
