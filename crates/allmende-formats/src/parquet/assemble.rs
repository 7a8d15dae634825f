//! Rows put together from their columns: Dremel's levels, undone.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};

use super::Error;
use super::encoding::Raw;
use super::page::{Column, Decoded, PageHeader};
use super::schema::{Group, Holds, Leaf, Logical, Node, Physical, Repetition};

/// One entry of a column.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    repetition: u32,
    definition: u32,
    value: Option<Raw>,
}

/// The rows of one column as their pages come, those before the first that is wanted passed over.
#[derive(Debug)]
pub struct Assembler {
    column: Column,
    /// Rows that are still to be passed over.
    skip: u64,
    /// Rows that are still wanted, one more while the last of them may go on.
    want: u64,
    cells: VecDeque<Vec<Cell>>,
    full: bool,
}

impl Assembler {
    /// Wants `want` rows of a column after the first `skip`.
    #[must_use]
    pub const fn new(column: Column, skip: u64, want: u64) -> Self {
        Self { column, skip, want, cells: VecDeque::new(), full: want == 0 }
    }

    /// Whether all that is wanted is there.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.full
    }

    /// Whether a page holds nothing that is wanted, so that its bytes need not be read. It counts as read then.
    #[must_use]
    pub fn passes_over(&mut self, header: &PageHeader) -> bool {
        let passed = self.column.is_flat() && self.skip >= header.values as u64;
        if passed {
            self.skip -= header.values as u64;
        }
        passed
    }

    /// Takes a page of the dictionary.
    ///
    /// # Errors
    /// [`Error`].
    pub fn dictionary(&mut self, header: &PageHeader, packed: &[u8]) -> Result<(), Error> {
        self.column.dictionary(header, packed)
    }

    /// Takes a page of data.
    ///
    /// # Errors
    /// [`Error`].
    pub fn data(&mut self, header: &PageHeader, packed: &[u8]) -> Result<(), Error> {
        let Decoded { repetition, definition, values } = self.column.data(header, packed)?;
        let most = u32::from(self.column.definition());
        let mut values = values.into_iter();
        for i in 0..header.values {
            let level = repetition.get(i).copied().unwrap_or(0);
            let definition = definition.get(i).copied().unwrap_or(most);
            let value = if definition == most { values.next() } else { None };
            if self.full {
                break;
            }
            if level == 0 {
                if self.skip > 0 {
                    self.skip -= 1;
                    continue;
                }
                if self.cells.len() as u64 == self.want {
                    self.full = true;
                    break;
                }
                self.cells.push_back(Vec::new());
            }
            if let Some(row) = self.cells.back_mut() {
                row.push(Cell { repetition: level, definition, value });
            }
        }
        if self.column.is_flat() && self.cells.len() as u64 == self.want {
            self.full = true;
        }
        Ok(())
    }

    /// The entries of the next row.
    pub fn next_row(&mut self) -> Option<Vec<Cell>> {
        self.cells.pop_front()
    }
}

/// Puts the entries of one column into a row.
fn put(row: &mut Value, path: &[&Node], cells: Vec<Cell>) {
    // Where in each list the next entry goes.
    let mut places = vec![0_usize; path.last().map_or(0, |node| usize::from(node.level)) + 1];
    for cell in cells {
        let level = (cell.repetition as usize).min(places.len() - 1);
        if level > 0 {
            places[level] += 1;
        }
        for place in places.iter_mut().skip(level + 1) {
            *place = 0;
        }
        let mut value = cell.value;
        let mut here = &mut *row;
        for node in path {
            let Value::Object(map) = here else { break };
            let slot = map.entry(node.name.clone()).or_insert(Value::Null);
            if node.repetition == Repetition::Repeated && !slot.is_array() {
                *slot = Value::Array(Vec::new());
            }
            if cell.definition < u32::from(node.definition) {
                break;
            }
            let slot = if node.repetition == Repetition::Repeated
                && let Value::Array(list) = slot
            {
                let place = places[usize::from(node.level)];
                while list.len() <= place {
                    list.push(Value::Null);
                }
                &mut list[place]
            } else {
                slot
            };
            match node.leaf() {
                Some(leaf) => *slot = value.take().map_or(Value::Null, |raw| shown(leaf, raw)),
                None if !slot.is_object() => *slot = Value::Object(Map::new()),
                None => {}
            }
            here = slot;
        }
    }
}

/// A row without the groups that only say that something is a list.
fn shape(node: &Node, value: Value) -> Value {
    if let Value::Array(values) = value {
        if node.repetition == Repetition::Repeated {
            let one = |value| inner(node, value);
            return values.into_iter().map(one).collect();
        }
        return Value::Array(values);
    }
    inner(node, value)
}

fn inner(node: &Node, value: Value) -> Value {
    let Holds::Nodes(group, children) = &node.holds else { return value };
    let Value::Object(mut map) = value else { return value };
    if let (Group::List | Group::Map, [repeated]) = (group, children.as_slice()) {
        let shaped = shape(repeated, map.remove(&repeated.name).unwrap_or(Value::Null));
        // The repeated group of a list holds its element alone.
        return match (shaped, repeated.children()) {
            (Value::Array(values), [element]) => {
                let bare = |value| match value {
                    Value::Object(mut map) => map.remove(&element.name).unwrap_or(Value::Null),
                    other => other,
                };
                values.into_iter().map(bare).collect()
            }
            (shaped, _) => shaped,
        };
    }
    let mut shaped = Map::new();
    for child in children {
        let value = map.remove(&child.name).unwrap_or(Value::Null);
        shaped.insert(child.name.clone(), shape(child, value));
    }
    Value::Object(shaped)
}

impl Node {
    /// A row, of the entries of all columns in their order.
    #[must_use]
    pub fn row(&self, columns: Vec<Vec<Cell>>) -> Map<String, Value> {
        let mut row = Value::Object(Map::new());
        for (index, cells) in columns.into_iter().enumerate() {
            let Some(path) = self.path(index) else { continue };
            put(&mut row, &path[1..], cells);
        }
        match inner(self, row) {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

fn decimal(digits: i128, scale: u32) -> Value {
    let text = digits.unsigned_abs().to_string();
    let scale = scale.min(80) as usize;
    let padded = format!("{text:0>width$}", width = scale + 1);
    let (whole, part) = padded.split_at(padded.len() - scale);
    let sign = if digits < 0 { "-" } else { "" };
    let point = if scale > 0 { "." } else { "" };
    format!("{sign}{whole}{point}{part}").into()
}

/// A day since 1970-01-01 in the calendar: <https://howardhinnant.github.io/date_algorithms.html>.
fn date(days: i64) -> String {
    let shifted = days.saturating_add(719_468);
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era.saturating_mul(400).saturating_add(year) + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(time: i64, per_second: i64) -> String {
    let (seconds, part) = (time / per_second, time % per_second);
    let text = format!("{:02}:{:02}:{:02}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
    let digits = per_second.to_string().len() - 1;
    if part == 0 { text } else { format!("{text}.{part:0digits$}") }
}

fn half(bits: u16) -> f64 {
    let (sign, exponent, fraction) = (bits >> 15, i32::from(bits >> 10 & 31), f64::from(bits & 1_023));
    let value = match exponent {
        0 => fraction * 2_f64.powi(-24),
        31 if fraction == 0.0 => f64::INFINITY,
        31 => f64::NAN,
        exponent => (1.0 + fraction / 1_024.0) * 2_f64.powi(exponent - 15),
    };
    if sign == 1 { -value } else { value }
}

/// A value as JSON. What JSON has no word for is a text, or null where it is no number.
fn shown(leaf: &Leaf, raw: Raw) -> Value {
    match (raw, leaf.logical) {
        (Raw::Bool(value), _) => value.into(),
        (Raw::Float(value), _) => json!(value),
        (Raw::Double(value), _) => json!(value),
        (Raw::Int(value), Logical::Decimal { scale }) => decimal(i128::from(value), scale),
        (Raw::Int(value), Logical::Date) => date(value).into(),
        (Raw::Int(value), Logical::Time(unit)) => clock(value.max(0), unit as i64).into(),
        (Raw::Int(value), Logical::Timestamp(unit)) => stamp(value, unit as i64),
        (Raw::Int(value), _) if leaf.physical == Physical::Int96 => stamp(value, 1_000_000_000),
        (Raw::Int(value), Logical::Int { bits: 64, signed: false }) => (value as u64).into(),
        (Raw::Int(value), Logical::Int { bits, signed: false }) => (value as u64 & ((1 << bits.min(63)) - 1)).into(),
        (Raw::Int(value), _) => value.into(),
        (Raw::Bytes(bytes), Logical::Decimal { scale }) if bytes.len() <= 16 => {
            // The highest byte first; its sign goes on to the left.
            let start = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1_i128 } else { 0 };
            decimal(bytes.iter().fold(start, |sum, &byte| sum << 8 | i128::from(byte)), scale)
        }
        (Raw::Bytes(bytes), Logical::Float16) => match bytes.as_slice() {
            [low, high] => json!(half(u16::from_le_bytes([*low, *high]))),
            _ => Value::Null,
        },
        (Raw::Bytes(bytes), _) => match String::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(error) => json!({ "bytes": error.as_bytes().len() }),
        },
    }
}

fn stamp(value: i64, per_second: i64) -> Value {
    let day = per_second.saturating_mul(86_400);
    format!("{}T{}", date(value.div_euclid(day)), clock(value.rem_euclid(day), per_second)).into()
}
