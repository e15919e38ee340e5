//! Fields that are read by their names in any case, as the decoder of Go reads
//! them: Jib writes `config` where Docker writes `Config`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::{MapDeserializer, StrDeserializer};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

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

/// A deserializer, its visitor or its object, with the fields of the struct.
pub(super) struct AnyCase<T>(pub(super) T, pub(super) StructFields);

#[derive(Clone, Copy)]
pub(super) struct StructFields {
    /// At first only the fields beside a flattened one, which are not passed.
    pub(super) names: &'static [&'static str],
    /// True to take the last of several fields of one name, which are kept until then.
    pub(super) takes_last: bool,
}

/// Implements `Deserialize` by the function that `#[serde(remote = "…")]` derives.
macro_rules! in_any_case {
    ($takes_last:literal: $($type:ident $(<$parameter:ident>)? [$($field:literal),*])*) => {$(
        impl<'de, $($parameter: Deserialize<'de>)?> Deserialize<'de> for $type $(<$parameter>)? {
            fn deserialize<De: Deserializer<'de>>(inner: De) -> Result<Self, De::Error> {
                let fields = StructFields { names: &[$($field),*], takes_last: $takes_last };
                $type::deserialize(AnyCase(inner, fields))
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
        let fields = StructFields { names, ..self.1 };
        self.0.deserialize_map(AnyCase(inner, fields))
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

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let mut object = AnyCase(inner, self.1);
        if !self.1.takes_last {
            return self.0.visit_map(object);
        }
        let (mut known, mut others) = (BTreeMap::new(), Vec::new());
        while let Some((name, value)) = object.next_entry::<String, Value>()? {
            if !self.1.names.contains(&name.as_str()) {
                others.push((name, value));
            } else if !value.is_null() {
                known.insert(name, value);
            }
        }
        let all = MapDeserializer::new(known.into_iter().chain(others));
        let read: serde_json::Result<_> = self.0.visit_map(all);
        read.map_err(Error::custom)
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for AnyCase<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let Some(key) = self.0.next_key::<String>()? else {
            return Ok(None);
        };
        let mut fields = self.1.names.iter();
        let name = fields.find(|field| is_name(&key, field));
        let name = StrDeserializer::new(name.unwrap_or(&key.as_str()));
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.0.next_value_seed(seed)
    }
}
