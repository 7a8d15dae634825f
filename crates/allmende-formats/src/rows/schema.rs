//! What types the values of columns have, learned from rows.

use serde_json::{Map, Value};

use super::MAX_COLUMNS;

/// How deep values are looked into.
const MAX_DEPTH: u32 = 16;

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Nothing but nulls so far.
    Null,
    /// True and false.
    Bool,
    /// Whole numbers of 64 bits.
    Int64,
    /// Numbers.
    Float64,
    /// Texts.
    Text,
    /// Lists of one kind.
    List(Box<Self>),
    /// Objects.
    Struct(Schema),
    /// Different things in different rows.
    Mixed,
    /// As a file says that it is, such as `uint8` or `timestamp[us]`.
    Named(String),
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// The columns of a table, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schema {
    /// The columns.
    pub fields: Vec<Field>,
}

impl Kind {
    /// What a value is.
    #[must_use]
    pub fn of(value: &Value) -> Self {
        Self::at(value, 0)
    }

    fn at(value: &Value, depth: u32) -> Self {
        match value {
            _ if depth > MAX_DEPTH => Self::Mixed,
            Value::Null => Self::Null,
            Value::Bool(_) => Self::Bool,
            Value::Number(number) if number.is_i64() => Self::Int64,
            Value::Number(_) => Self::Float64,
            Value::String(_) => Self::Text,
            Value::Array(values) => {
                let kinds = values.iter().map(|value| Self::at(value, depth + 1));
                Self::List(Box::new(kinds.fold(Self::Null, Self::join)))
            }
            Value::Object(map) => Self::Struct(Schema::at(map, depth + 1)),
        }
    }

    /// What holds values of both.
    #[must_use]
    pub fn join(self, other: Self) -> Self {
        match (self, other) {
            (Self::Null, kind) | (kind, Self::Null) => kind,
            (Self::Int64, Self::Float64) | (Self::Float64, Self::Int64) => Self::Float64,
            (Self::List(a), Self::List(b)) => Self::List(Box::new(a.join(*b))),
            (Self::Struct(a), Self::Struct(b)) => Self::Struct(a.join(b)),
            (a, b) if a == b => a,
            _ => Self::Mixed,
        }
    }
}

impl Schema {
    /// The columns of one row.
    #[must_use]
    pub fn of(row: &Map<String, Value>) -> Self {
        Self::at(row, 0)
    }

    fn at(row: &Map<String, Value>, depth: u32) -> Self {
        let field = |(name, value): (&String, &Value)| Field { name: name.clone(), kind: Kind::at(value, depth) };
        Self { fields: row.iter().take(MAX_COLUMNS).map(field).collect() }
    }

    /// The columns of both, those of `self` first.
    #[must_use]
    pub fn join(mut self, other: Self) -> Self {
        for field in other.fields {
            let place = self.fields.iter().position(|known| known.name == field.name);
            if let Some(known) = place.and_then(|place| self.fields.get_mut(place)) {
                let kind = std::mem::replace(&mut known.kind, Kind::Null);
                known.kind = kind.join(field.kind);
            } else if self.fields.len() < MAX_COLUMNS {
                self.fields.push(field);
            }
        }
        self
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn kinds_are_joined() {
        let of = |values: &[Value]| values.iter().map(Kind::of).fold(Kind::Null, Kind::join);
        assert_eq!(of(&[json!(1), json!(null), json!(2.5)]), Kind::Float64);
        assert_eq!(of(&[json!([1]), json!([])]), Kind::List(Box::new(Kind::Int64)));
        assert_eq!(of(&[json!(1), json!("x")]), Kind::Mixed);
        let Kind::Struct(schema) = of(&[json!({ "a": 1 }), json!({ "b": true, "a": 2 })]) else { panic!() };
        let names: Vec<_> = schema.fields.iter().map(|f| (f.name.as_str(), f.kind.clone())).collect();
        assert_eq!(names, [("a", Kind::Int64), ("b", Kind::Bool)]);
        let deep = (0..100).fold(json!(1), |inner, _| json!([inner]));
        assert!(format!("{:?}", Kind::of(&deep)).contains("Mixed"));
    }

    fn kind() -> impl Strategy<Value = Kind> {
        let leaf = prop_oneof![
            Just(Kind::Null),
            Just(Kind::Bool),
            Just(Kind::Int64),
            Just(Kind::Float64),
            Just(Kind::Text),
            Just(Kind::Mixed)
        ];
        leaf.prop_recursive(2, 6, 2, |inner| inner.prop_map(|kind| Kind::List(Box::new(kind))))
    }

    proptest! {
        /// The order of rows says nothing about the kinds of columns.
        #[test]
        fn joining_has_no_order(a in kind(), b in kind(), c in kind()) {
            prop_assert_eq!(a.clone().join(b.clone()), b.clone().join(a.clone()));
            prop_assert_eq!(a.clone().join(b.clone()).join(c.clone()), a.clone().join(b.join(c)));
            prop_assert_eq!(a.clone().join(a.clone()), a);
        }
    }
}
