//! Names that would do, in place of ones that do not.

use super::{
    MAX_NAME_BYTES, MAX_TAG_BYTES, is_alphanumeric, is_image_id, is_repository_separator,
    is_tag_byte, parse, split_tag,
};

/// The longest component that still fits below `docker.io/library/`.
const MAX_COMPONENT_BYTES: usize = MAX_NAME_BYTES - "docker.io/library/".len();

/// Turns the name of a package or a directory into one component of a
/// repository: lower case, and a dash for every other character that it may not
/// have.
///
/// `None` if no letter or digit remains.
#[must_use]
pub fn name_from(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    let mut name = String::with_capacity(lower.len());
    let mut separator = String::new();
    for character in lower.chars() {
        if u8::try_from(character).is_ok_and(is_alphanumeric) {
            if !name.is_empty() {
                push_separator(&mut name, &separator);
            }
            separator.clear();
            name.push(character);
        } else {
            separator.push(character);
        }
    }
    name.truncate(MAX_COMPONENT_BYTES);
    name.truncate(name.trim_end_matches(['.', '_', '-']).len());
    if is_image_id(&name) {
        name = format!("image-{}", &name[..12]);
    }
    Some(name).filter(|name| !name.is_empty())
}

fn push_separator(name: &mut String, separator: &str) {
    if separator.is_empty() {
        return;
    }
    name.push_str(if is_repository_separator(separator.as_bytes()) {
        separator
    } else {
        "-"
    });
}

/// Repairs a name that cannot be parsed; `None` if that would be a guess.
pub(super) fn proposal(text: &str) -> Option<String> {
    let text = text.trim();
    let text = text.rsplit_once("://").map_or(text, |(_, rest)| rest);
    if text.contains('@') {
        return None;
    }
    let (path, tag) = divide(text);
    let mut components: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let mut repaired = String::new();
    let registry = components.first().is_some_and(|first| {
        components.len() > 1 && parse(&format!("{first}/x")).is_ok_and(|x| x.registry() == *first)
    });
    if !registry
        && components.len() > 1
        && let Some((name, rest)) = components[0].split_once(':')
    {
        // `app:feature/x` has a branch as its tag; `host:80x/app` a wrong port.
        let is_host = name.contains('.') || name == "localhost";
        let is_branch =
            !is_host && tag.is_none() && rest.starts_with(|first: char| first.is_alphabetic());
        let full = format!("{}:{}", name_from(name)?, tag_from(&path[name.len() + 1..]));
        return (is_branch && parse(&full).is_ok()).then_some(full);
    }
    if registry {
        repaired.push_str(components.remove(0));
        repaired.push('/');
    }
    repaired.push_str(&repository_from(&components)?);
    shorten(&mut repaired);
    let tag = tag.map(tag_from).filter(|tag| !tag.is_empty());
    let full = match tag {
        Some(tag) => format!("{repaired}:{tag}"),
        None => repaired,
    };
    parse(&full).is_ok().then_some(full)
}

/// Divides a name before its tag, also if that has a slash, as branches do. A
/// colon in the first component is that of a port.
fn divide(text: &str) -> (&str, Option<&str>) {
    let divided = split_tag(text);
    let Some((_, rest)) = text.split_once('/') else {
        return divided;
    };
    match (divided.1, rest.split_once(':')) {
        (None, Some((_, tag))) if !tag.is_empty() => {
            let end = text.len() - tag.len();
            (&text[..end - 1], Some(tag))
        }
        _ => divided,
    }
}

fn repository_from(components: &[&str]) -> Option<String> {
    let names: Vec<String> = components
        .iter()
        .filter_map(|name| name_from(name))
        .collect();
    (!names.is_empty()).then(|| names.join("/"))
}

/// Cuts a name so that it fits even when `docker.io/library/` is put before it.
fn shorten(name: &mut String) {
    name.truncate(MAX_COMPONENT_BYTES);
    name.truncate(name.trim_end_matches(['.', '_', '-', '/']).len());
}

fn tag_from(tag: &str) -> String {
    let mut tag: String = tag
        .chars()
        .map(|character| match u8::try_from(character) {
            Ok(byte) if is_tag_byte(byte) => character,
            _ => '-',
        })
        .collect();
    tag.drain(..tag.len() - tag.trim_start_matches(['.', '-']).len());
    tag.truncate(MAX_TAG_BYTES);
    tag.truncate(tag.trim_end_matches(['.', '-']).len());
    tag
}
