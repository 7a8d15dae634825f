//! The tree of columns.

use super::Error;
use super::thrift::Value;

/// Most nodes of a tree.
const MAX_NODES: usize = 16_384;
/// How deep it may be.
const MAX_DEPTH: usize = 32;

/// How values lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Physical {
    /// One bit.
    Boolean,
    /// Four bytes.
    Int32,
    /// Eight bytes.
    Int64,
    /// Twelve bytes: a time of day in nanoseconds, and a day.
    Int96,
    /// Four bytes.
    Float,
    /// Eight bytes.
    Double,
    /// A length and as many bytes.
    Bytes,
    /// So many bytes.
    Fixed(usize),
}

/// What values mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    /// Nothing beyond their physical type.
    Plain,
    /// Text.
    Text,
    /// A whole number of so many bits.
    Int {
        /// 8, 16, 32 or 64.
        bits: u8,
        /// Whether it may be negative.
        signed: bool,
    },
    /// A number with so many digits behind the point.
    Decimal {
        /// Digits behind the point.
        scale: u32,
    },
    /// Days since 1970-01-01.
    Date,
    /// Time of day, in units of so many to a second.
    Time(u64),
    /// Time since 1970-01-01, in units of so many to a second.
    Timestamp(u64),
    /// Half precision.
    Float16,
}

/// Whether a value may be missing, or be there several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repetition {
    /// There, once.
    Required,
    /// There or not.
    Optional,
    /// Any number of times.
    Repeated,
}

/// What a group of columns is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// An object.
    Struct,
    /// A list, by way of a repeated group.
    List,
    /// Keys and values, by way of a repeated group.
    Map,
}

/// A column, or a group of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How often it is there.
    pub repetition: Repetition,
    /// Levels of definition at and above it.
    pub definition: u16,
    /// Levels of repetition at and above it.
    pub level: u16,
    /// What it holds.
    pub(super) holds: Holds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Holds {
    Values(Leaf),
    Nodes(Group, Vec<Node>),
}

/// A column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Which of all columns.
    pub index: usize,
    /// How its values lie.
    pub physical: Physical,
    /// What they mean.
    pub logical: Logical,
}

impl Node {
    /// The column, if it is one.
    #[must_use]
    pub const fn leaf(&self) -> Option<&Leaf> {
        match &self.holds {
            Holds::Values(leaf) => Some(leaf),
            Holds::Nodes(..) => None,
        }
    }

    /// What it holds, if it is a group.
    #[must_use]
    pub fn children(&self) -> &[Self] {
        match &self.holds {
            Holds::Values(_) => &[],
            Holds::Nodes(_, nodes) => nodes,
        }
    }

    /// The column `index` and the groups above it, the outermost first.
    pub(super) fn path(&self, index: usize) -> Option<Vec<&Self>> {
        if let Some(leaf) = self.leaf() {
            return (leaf.index == index).then(|| vec![self]);
        }
        let below = self.children().iter().find_map(|node| node.path(index))?;
        Some(std::iter::once(self).chain(below).collect())
    }

    /// What it is called by those who read rows: `int64`, `string`, `{"a": …}`, as JSON in the form of `datasets`.
    #[must_use]
    pub fn feature(&self) -> serde_json::Value {
        let value = |dtype: &str| serde_json::json!({ "dtype": dtype, "_type": "Value" });
        let inner = match &self.holds {
            Holds::Values(leaf) => value(leaf.dtype()),
            Holds::Nodes(Group::List | Group::Map, nodes) => {
                // A list is a repeated group around its element.
                let repeated = nodes.first().map(|node| match node.children() {
                    [element] => element.feature(),
                    [] => node.bare_feature(),
                    children => struct_of(children),
                });
                return serde_json::json!({ "feature": repeated, "_type": "List" });
            }
            Holds::Nodes(Group::Struct, nodes) => struct_of(nodes),
        };
        if self.repetition == Repetition::Repeated {
            return serde_json::json!({ "feature": inner, "_type": "List" });
        }
        inner
    }

    fn bare_feature(&self) -> serde_json::Value {
        Self { repetition: Repetition::Required, ..self.clone() }.feature()
    }
}

fn struct_of(nodes: &[Node]) -> serde_json::Value {
    nodes.iter().map(|node| (node.name.clone(), node.feature())).collect::<serde_json::Map<_, _>>().into()
}

impl Leaf {
    /// The name of its type, as `datasets` and Arrow have it.
    #[must_use]
    pub const fn dtype(&self) -> &'static str {
        match (self.logical, self.physical) {
            (Logical::Text, _) => "string",
            (Logical::Int { bits: 8, signed: true }, _) => "int8",
            (Logical::Int { bits: 16, signed: true }, _) => "int16",
            (Logical::Int { bits: 32, signed: true }, _) | (Logical::Plain, Physical::Int32) => "int32",
            (Logical::Int { bits: 8, .. }, _) => "uint8",
            (Logical::Int { bits: 16, .. }, _) => "uint16",
            (Logical::Int { bits: 32, .. }, _) => "uint32",
            (Logical::Int { signed: false, .. }, _) => "uint64",
            (Logical::Int { .. }, _) | (Logical::Plain, Physical::Int64) => "int64",
            (Logical::Decimal { .. }, _) => "decimal128",
            (Logical::Date, _) => "date32",
            (Logical::Time(1_000), _) => "time32[ms]",
            (Logical::Time(1_000_000), _) => "time64[us]",
            (Logical::Time(_), _) => "time64[ns]",
            (Logical::Timestamp(1_000), _) => "timestamp[ms]",
            (Logical::Timestamp(1_000_000), _) => "timestamp[us]",
            (Logical::Timestamp(_), _) | (_, Physical::Int96) => "timestamp[ns]",
            (Logical::Float16, _) => "float16",
            (_, Physical::Boolean) => "bool",
            (_, Physical::Float) => "float32",
            (_, Physical::Double) => "float64",
            (_, Physical::Bytes | Physical::Fixed(_)) => "binary",
        }
    }
}

fn unit(value: &Value<'_>) -> Option<u64> {
    let unit = value.field(2)?;
    [(1, 1_000), (2, 1_000_000), (3, 1_000_000_000)]
        .into_iter()
        .find(|(id, _)| unit.field(*id).is_some())
        .map(|(_, n)| n)
}

fn logical(element: &Value<'_>) -> Logical {
    if let Some(kind) = element.field(10) {
        let scale = |value: &Value<'_>| value.count(1).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        for (id, plain) in
            [(1, Logical::Text), (4, Logical::Text), (6, Logical::Date), (12, Logical::Text), (15, Logical::Float16)]
        {
            if kind.field(id).is_some() {
                return plain;
            }
        }
        if let Some(decimal) = kind.field(5) {
            return Logical::Decimal { scale: scale(decimal) };
        }
        if let Some(time) = kind.field(7).and_then(unit) {
            return Logical::Time(time);
        }
        if let Some(stamp) = kind.field(8).and_then(unit) {
            return Logical::Timestamp(stamp);
        }
        if let Some(int) = kind.field(10)
            && let Some(bits) = int.int(1).and_then(|bits| u8::try_from(bits).ok())
        {
            return Logical::Int { bits, signed: int.flag(2).unwrap_or(true) };
        }
    }
    match element.int(6) {
        Some(0 | 4 | 19) => Logical::Text,
        Some(5) => Logical::Decimal { scale: element.count(7).and_then(|n| u32::try_from(n).ok()).unwrap_or(0) },
        Some(6) => Logical::Date,
        Some(7) => Logical::Time(1_000),
        Some(8) => Logical::Time(1_000_000),
        Some(9) => Logical::Timestamp(1_000),
        Some(10) => Logical::Timestamp(1_000_000),
        Some(code @ 11..=14) => Logical::Int { bits: 8 << (code - 11), signed: false },
        Some(code @ 15..=18) => Logical::Int { bits: 8 << (code - 15), signed: true },
        _ => Logical::Plain,
    }
}

fn group(element: &Value<'_>) -> Group {
    let is = |id: i16| element.field(10).is_some_and(|kind| kind.field(id).is_some());
    match element.int(6) {
        Some(3) => Group::List,
        Some(1 | 2) => Group::Map,
        _ if is(3) => Group::List,
        _ if is(2) => Group::Map,
        _ => Group::Struct,
    }
}

struct Builder<'a> {
    elements: std::slice::Iter<'a, Value<'a>>,
    leaves: usize,
}

impl Builder<'_> {
    fn node(&mut self, definition: u16, level: u16, depth: usize) -> Result<Node, Error> {
        let element = self.elements.next().ok_or(Error::Damaged("its schema ends too early"))?;
        if depth > MAX_DEPTH {
            return Err(Error::TooLarge("its schema"));
        }
        let name = element.text(4).ok_or(Error::Damaged("a column without a name"))?.to_owned();
        // The root is there, once, whatever it says.
        let repetition = match element.int(3) {
            _ if depth == 0 => Repetition::Required,
            Some(1) => Repetition::Optional,
            Some(2) => Repetition::Repeated,
            _ => Repetition::Required,
        };
        let definition = definition + u16::from(repetition != Repetition::Required);
        let level = level + u16::from(repetition == Repetition::Repeated);
        let holds = match element.count(5) {
            Some(children) if children > 0 || depth == 0 => {
                let nodes = (0..children).map(|_| self.node(definition, level, depth + 1));
                Holds::Nodes(group(element), nodes.collect::<Result<_, _>>()?)
            }
            _ => {
                let physical = match element.int(1) {
                    Some(0) => Physical::Boolean,
                    Some(1) => Physical::Int32,
                    Some(2) => Physical::Int64,
                    Some(3) => Physical::Int96,
                    Some(4) => Physical::Float,
                    Some(5) => Physical::Double,
                    Some(6) => Physical::Bytes,
                    Some(7) => {
                        let length = element
                            .count(2)
                            .and_then(|n| usize::try_from(n).ok())
                            .filter(|n| (1..=1 << 20).contains(n));
                        Physical::Fixed(length.ok_or(Error::Damaged("a column of no width"))?)
                    }
                    _ => return Err(Error::Damaged("a column of an unknown type")),
                };
                let index = self.leaves;
                self.leaves += 1;
                Holds::Values(Leaf { index, physical, logical: logical(element) })
            }
        };
        Ok(Node { name, repetition, definition, level, holds })
    }
}

/// Builds the tree from the list of a file, and counts its columns.
pub(super) fn build(elements: &[Value<'_>]) -> Result<(Node, usize), Error> {
    if elements.len() > MAX_NODES {
        return Err(Error::TooLarge("its schema"));
    }
    let mut builder = Builder { elements: elements.iter(), leaves: 0 };
    let root = builder.node(0, 0, 0)?;
    if builder.elements.next().is_some() {
        return Err(Error::Damaged("its schema does not end"));
    }
    Ok((root, builder.leaves))
}
