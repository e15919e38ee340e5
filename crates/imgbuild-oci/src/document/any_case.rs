//! Fields that are read by their names in any case, as the decoder of Go reads
//! them: Jib writes `config` where Docker writes `Config`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapDeserializer;
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Returns a field of an object by its name in any case, the exact one first; a
/// field that is null is not there.
#[must_use]
pub fn field_in_any_case<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let mut fields = object
        .as_object()?
        .iter()
        .filter(|(_, value)| !value.is_null());
    let exact = fields.clone().find(|(key, _)| *key == name);
    let field = exact.or_else(|| fields.find(|(key, _)| is_name(key, name)));
    Some(field?.1)
}

/// Returns true for the name of a field in any case. To Go, the Kelvin sign and the long
/// s are letters of ASCII.
pub(super) fn is_name(key: &str, name: &str) -> bool {
    let folded = key.chars().map(|letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        _ => letter.to_ascii_lowercase(),
    });
    folded.eq(name.chars().map(|letter| letter.to_ascii_lowercase()))
}

/// A deserializer or its visitor, with the names of the fields of the struct.
pub(super) struct AnyCase<T>(pub(super) T, pub(super) &'static [&'static str]);

/// Implements `Deserialize` by the function that `#[serde(remote = "…")]` derives.
macro_rules! in_any_case {
    ($($type:ident $(<$parameter:ident>)?)*) => {$(
        impl<'de, $($parameter: Deserialize<'de>)?> Deserialize<'de> for $type $(<$parameter>)? {
            fn deserialize<De: Deserializer<'de>>(inner: De) -> Result<Self, De::Error> {
                $type::deserialize(AnyCase(inner, &[]))
            }
        }
    )*};
}
pub(super) use in_any_case;

impl<'de, D: Deserializer<'de>> Deserializer<'de> for AnyCase<D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, inner: V) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(AnyCase(inner, self.1))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        inner: V,
    ) -> Result<V::Value, D::Error> {
        self.0.deserialize_map(AnyCase(inner, names))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit map
        unit_struct newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for AnyCase<V> {
    type Value = V::Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(formatter)
    }

    /// Takes the last of several fields of one name. Its text is kept, which is smaller
    /// than its value.
    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<V::Value, A::Error> {
        let mut fields = BTreeMap::new();
        while let Some((key, value)) = object.next_entry::<String, Box<RawValue>>()? {
            let name = self.1.iter().find(|name| is_name(&key, name));
            if let Some(name) = name.filter(|_| value.get() != "null") {
                fields.insert(*name, FieldText(value));
            }
        }
        let fields = MapDeserializer::new(fields.into_iter());
        let read: serde_json::Result<_> = self.0.visit_map(fields);
        read.map_err(|error| {
            // The position in the text of a field is not that in the document.
            let text = error.to_string();
            Error::custom(text.split(" at line ").next().unwrap_or_default())
        })
    }
}

/// The text of a value. Its deserializer reads it as a stream, which borrows nothing.
struct FieldText(Box<RawValue>);

impl<'de> IntoDeserializer<'de, serde_json::Error> for FieldText {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for FieldText {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        serde_json::Deserializer::from_reader(self.0.get().as_bytes()).deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> serde_json::Result<V::Value> {
        visitor.visit_some(&mut serde_json::Deserializer::from_reader(
            self.0.get().as_bytes(),
        ))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit map struct
        unit_struct newtype_struct seq tuple tuple_struct enum identifier ignored_any
    }
}
