//! The only JSON writer of blobs: canonical bytes.

use serde::Serialize;

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
