//! Strict canonical JSON: the one encoding of everything that is signed.
//!
//! RFC 8785 (JCS) restricted so that no two readers can disagree: keys and structure as JCS orders them, integers within
//! ±(2^53 − 1) only, no floats, no duplicate keys, no control or bidirectional characters in text, bounded depth and size.
//! Bytes are accepted only when they equal their own canonical form.

use std::fmt;

use serde::de::{DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserializer, Serialize};
use serde_json::{Map, Value};

/// Deepest nesting of arrays and objects.
pub const MAX_DEPTH: usize = 16;
/// Largest integer magnitude: the range that every JSON reader keeps exact.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Why bytes are not strict canonical JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not JSON, or a rule of the restricted form is broken; the text says which and where.
    #[error("not strict JSON: {0}")]
    Syntax(String),
    /// Valid JSON in another spelling than the canonical one.
    #[error("not in canonical form: keys sorted, no white space, shortest escapes")]
    NotCanonical,
    /// Canonical JSON that does not fit the type it should be.
    #[error("unexpected content: {0}")]
    Shape(String),
}

/// The canonical bytes of a value that serializes to strict JSON.
///
/// # Errors
/// [`Error::Syntax`] when the value holds a float, an unsafe integer or a forbidden character.
pub fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    let value = serde_json::to_value(value).map_err(|e| Error::Syntax(e.to_string()))?;
    let mut out = Vec::with_capacity(256);
    write_value(&value, 0, &mut out)?;
    Ok(out)
}

/// Reads bytes that must be the canonical form of a `T`.
///
/// # Errors
/// [`Error`] names the first rule that is broken.
pub fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let value = parse(bytes)?;
    let mut canonical = Vec::with_capacity(bytes.len());
    write_value(&value, 0, &mut canonical)?;
    if canonical != bytes {
        return Err(Error::NotCanonical);
    }
    serde_json::from_value(value).map_err(|e| Error::Shape(e.to_string()))
}

/// Parses JSON strictly (no duplicate keys, floats or unsafe integers) without asking for the canonical spelling.
///
/// # Errors
/// [`Error::Syntax`] names the first rule that is broken.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }.deserialize(&mut deserializer).map_err(|e| Error::Syntax(e.to_string()))?;
    deserializer.end().map_err(|e| Error::Syntax(e.to_string()))?;
    Ok(value)
}

/// Says why `text` may not stand in a signed statement, if so.
///
/// Control characters and the bidirectional controls of Unicode can make a contract read differently from what it says.
#[must_use]
pub fn forbidden_character(text: &str) -> Option<char> {
    text.chars().find(|&c| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    })
}

struct Strict {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("null, true, false, a safe integer, text, an array or an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<Value, E> {
        safe(v).map(Value::from).ok_or_else(|| E::custom(format!("integer {v} is beyond ±(2^53 − 1)")))
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<Value, E> {
        i64::try_from(v)
            .ok()
            .and_then(safe)
            .map(Value::from)
            .ok_or_else(|| E::custom(format!("integer {v} is beyond ±(2^53 − 1)")))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<Value, E> {
        Err(E::custom(format!("{v} is not an integer: write it as a decimal string")))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Value, E> {
        match forbidden_character(v) {
            Some(c) => Err(E::custom(format!("text holds the forbidden character {:?}", c))),
            None => Ok(Value::String(v.to_owned())),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Strict { depth })? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let depth = deeper(self.depth)?;
        let mut object = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if let Some(c) = forbidden_character(&key) {
                return Err(serde::de::Error::custom(format!("a key holds the forbidden character {c:?}")));
            }
            let value = map.next_value_seed(Strict { depth })?;
            if object.contains_key(&key) {
                return Err(serde::de::Error::custom(format!("key {key:?} appears twice")));
            }
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

fn safe(v: i64) -> Option<i64> {
    (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).contains(&v).then_some(v)
}

fn deeper<E: serde::de::Error>(depth: usize) -> Result<usize, E> {
    if depth >= MAX_DEPTH { Err(E::custom(format!("nested deeper than {MAX_DEPTH} levels"))) } else { Ok(depth + 1) }
}

fn write_value(value: &Value, depth: usize, out: &mut Vec<u8>) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Syntax(format!("nested deeper than {MAX_DEPTH} levels")));
    }
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            let integer = number
                .as_i64()
                .and_then(safe)
                .ok_or_else(|| Error::Syntax(format!("{number} is not an integer within ±(2^53 − 1)")))?;
            out.extend_from_slice(integer.to_string().as_bytes());
        }
        Value::String(text) => write_text(text, out)?,
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, depth + 1, out)?;
            }
            out.push(b']');
        }
        Value::Object(object) => {
            // JCS sorts by UTF-16 code units, which differs from byte order beyond the basic plane.
            let mut entries: Vec<_> = object.iter().collect();
            entries.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_text(key, out)?;
                out.push(b':');
                write_value(item, depth + 1, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_text(text: &str, out: &mut Vec<u8>) -> Result<(), Error> {
    if let Some(c) = forbidden_character(text) {
        return Err(Error::Syntax(format!("text holds the forbidden character {c:?}")));
    }
    // serde_json's escapes are JCS's: the two-character ones, \u00xx in lower case, all else as it is.
    serde_json::to_writer(out, text).map_err(|e| Error::Syntax(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refused(text: &str) -> String {
        from_bytes::<Value>(text.as_bytes()).expect_err(text).to_string()
    }

    #[test]
    fn only_the_canonical_spelling_is_accepted() {
        for good in ["{}", "[]", "null", r#"{"a":1,"b":[true,"x\n"]}"#, "9007199254740991", "-9007199254740991"] {
            assert!(from_bytes::<Value>(good.as_bytes()).is_ok(), "{good}");
        }
        assert!(refused(r#"{"b":1,"a":2}"#).contains("canonical"));
        assert!(refused(r#"{"a": 1}"#).contains("canonical"));
        assert!(refused(r#""\u0041""#).contains("canonical"));
        assert!(refused(r#"{"a":1,"a":1}"#).contains("twice"));
        assert!(refused("9007199254740992").contains("beyond"));
        assert!(refused("18446744073709551615").contains("beyond"));
        assert!(refused("1.0").contains("not an integer"));
        assert!(refused("1e2").contains("not an integer"));
        assert!(refused("-0").contains("not an integer"));
        assert!(refused("\"a\u{202e}b\"").contains("forbidden"));
        assert!(refused("{} ").contains("canonical"));
        assert!(refused("{}{}").contains("strict"));
        assert!(refused(&format!("{}{}", "[".repeat(17), "]".repeat(17))).contains("deeper"));
        assert!(refused(&"[".repeat(100_000)).contains("strict"));
    }

    #[test]
    fn keys_sort_by_utf16_code_units() {
        // From RFC 8785, section 3.2.3: U+1F600 (surrogates d83d…) sorts before U+FB33.
        let value = serde_json::json!({ "\u{fb33}": 1, "\u{1f600}": 2, "\u{20ac}": 3, "1": 4, "\u{f6}": 5 });
        let bytes = to_bytes(&value).expect("canonical");
        let text = String::from_utf8(bytes).expect("text");
        assert_eq!(text, "{\"1\":4,\"\u{f6}\":5,\"\u{20ac}\":3,\"\u{1f600}\":2,\"\u{fb33}\":1}");
    }

    fn arbitrary_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).prop_map(Value::from),
            "[ -~äöü\u{4e00}-\u{4e20}\u{1f600}]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[a-z\u{1f600}\u{fb33}]{0,4}", inner, 0..6)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trip(value in arbitrary_json()) {
            let bytes = to_bytes(&value).expect("canonical");
            prop_assert_eq!(from_bytes::<Value>(&bytes).expect("reads back"), value);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(value) = from_bytes::<Value>(&bytes) {
                prop_assert_eq!(to_bytes(&value).expect("canonical"), bytes);
            }
        }
    }
}
