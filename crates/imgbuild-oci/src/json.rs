//! The only JSON writer of blobs: canonical bytes; and the reader of documents.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Parses a document as Go does: what is not Unicode in a text becomes U+FFFD.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(bytes).or_else(|error| {
        let text = String::from_utf8_lossy(bytes);
        serde_json::from_str(&without_lone_surrogates(&text)).map_err(|_| error)
    })
}

/// Replaces `\uXXXX` that is one half of a character.
fn without_lone_surrogates(text: &str) -> String {
    let unit = |text: &str| u16::from_str_radix(text.strip_prefix("\\u")?.get(..4)?, 16).ok();
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        replaced.push_str(&rest[..at]);
        let escape = &rest[at..];
        let length = match (unit(escape), escape.get(6..).and_then(unit)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => 6,
            // The escaped character alone may be another backslash.
            _ => escape.len().min(2),
        };
        if length == 6 {
            replaced.push('\u{fffd}');
            rest = &escape[6..];
        } else {
            let end = escape.ceil_char_boundary(length);
            replaced.push_str(&escape[..end]);
            rest = &escape[end..];
        }
    }
    replaced + rest
}

/// Serializes `document` compactly, with the keys of every object sorted by
/// their bytes and no trailing newline.
///
/// Hash maps, whose order differs from run to run, have no influence:
/// `serde_json::Value` sorts them.
///
/// # Panics
///
/// When `document` has map keys that are not strings, which no document of
/// the image specification has.
pub(crate) fn to_canonical<T: Serialize>(document: &T) -> Vec<u8> {
    let value = serde_json::to_value(document).expect("every map key is a string");
    serde_json::to_vec(&value).expect("a JSON value can always be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_characters_are_replaced_as_in_go() {
        for (text, expected) in [
            (&b"\"a\\ud83d\""[..], Some("a\u{fffd}")),
            (
                b"\"\\udc00\\ud83d\\ude00\\ud83dx\"",
                Some("\u{fffd}\u{1f600}\u{fffd}x"),
            ),
            (b"\"\\\\ud83d caf\xe9\"", Some("\\ud83d caf\u{fffd}")),
            (b"\"\\u", None),
            (b"\"\\\xe9", None),
        ] {
            let read = from_json::<String>(text).ok();
            assert_eq!(read.as_deref(), expected);
        }
    }

    #[test]
    fn keys_are_sorted_at_every_level() {
        let document: serde_json::Value =
            serde_json::from_str(r#"{"b":{"z":1,"a":[{"y":1,"x":2}]},"a":"é\n"}"#).unwrap();
        let text = String::from_utf8(to_canonical(&document)).unwrap();
        assert_eq!(text, r#"{"a":"é\n","b":{"a":[{"x":2,"y":1}],"z":1}}"#);
    }

    #[test]
    fn the_maps_of_oci_spec_always_give_the_same_bytes() {
        let write = || {
            let mut config = oci_spec::image::Config::default();
            let labels = (0..20).map(|n| (format!("label.{n}"), n.to_string()));
            config.set_labels(Some(labels.collect()));
            to_canonical(&config)
        };
        let first = write();
        assert!((0..50).all(|_| write() == first));
    }
}
