//! From the segments of a file to the ranges of xorbs that make a part of it.

use std::collections::BTreeMap;

use super::{ChunkRange, HttpRange};
use crate::xet::hash::XetHash;
use crate::xet::shard::Segment;
use crate::xet::xorb::Chunk;

/// A part of the file: chunks of one xorb.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// The xorb.
    pub xorb: XetHash,
    /// The chunks.
    pub chunks: ChunkRange,
    /// Their bytes, unpacked.
    pub unpacked_bytes: u32,
}

/// A range of a xorb that holds the chunks of one or more terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetch {
    /// The chunks.
    pub chunks: ChunkRange,
    /// Where their headers and packed bytes lie in the xorb.
    pub bytes: HttpRange,
}

/// What is needed of one xorb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XorbFetches {
    /// The xorb.
    pub xorb: XetHash,
    /// The ranges, in ascending order; none touches the next.
    pub ranges: Vec<Fetch>,
}

/// How to get a part of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes to drop from the start of the first term: up to where the part begins. What follows the part in the last
    /// term is to be dropped, too.
    pub offset_into_first_range: u64,
    /// First byte of the part in the file.
    pub start: u64,
    /// One past its last byte.
    pub end: u64,
    /// The parts of the part, in their order. No chunk is named that has no byte of it.
    pub terms: Vec<Term>,
    /// What to fetch, in ascending order of xorbs.
    pub fetches: Vec<XorbFetches>,
}

/// Why a part of a file cannot be planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The part begins behind the end of the file: HTTP's 416, and how clients find the end of a file.
    #[error("the range begins at {start}, the file has {file_bytes} bytes")]
    OutOfRange {
        /// Where it begins.
        start: u64,
        /// Bytes of the file.
        file_bytes: u64,
    },
    /// A xorb is not there.
    #[error("xorb {0} is missing")]
    MissingXorb(XetHash),
    /// A segment is not what the chunks of its xorb say.
    #[error("a segment does not agree with the chunks of xorb {0}")]
    Segment(XetHash),
}

/// Plans how to get the bytes `range` of a file (from, and up to but not including; all of it where none is given).
///
/// `chunks` gives the table of a xorb. Ranges of a xorb that touch or overlap are fetched as one, so that every term
/// lies within one range and no byte is fetched twice. The end of `range` may lie behind that of the file.
///
/// # Errors
/// [`PlanError`] if the range begins behind the file's end, or segments and xorbs do not fit together.
pub fn plan<'a>(
    segments: &[Segment],
    mut chunks: impl FnMut(&XetHash) -> Option<&'a [Chunk]>,
    range: Option<(u64, u64)>,
) -> Result<Plan, PlanError> {
    let file_bytes: u64 = segments.iter().map(|s| u64::from(s.unpacked_bytes)).sum();
    let (start, end) = range.unwrap_or((0, file_bytes));
    let end = end.min(file_bytes);
    // An empty file is planned from its start; there is nothing behind any end.
    if start >= end && (file_bytes > 0 || start > 0) {
        return Err(PlanError::OutOfRange { start, file_bytes });
    }
    let mut plan = Plan { offset_into_first_range: 0, start, end, terms: Vec::new(), fetches: Vec::new() };
    let mut needed: BTreeMap<XetHash, Vec<Fetch>> = BTreeMap::new();
    let mut at = 0_u64;
    for segment in segments {
        let segment_start = at;
        at += u64::from(segment.unpacked_bytes);
        if at <= start {
            continue;
        }
        if segment_start >= end {
            break;
        }
        let all = chunks(&segment.xorb).ok_or(PlanError::MissingXorb(segment.xorb))?;
        let disagrees = PlanError::Segment(segment.xorb);
        let own = all.get(segment.chunk_start as usize..segment.chunk_end as usize).ok_or(disagrees)?;
        let (mut first, mut last, mut term_bytes) = (None, segment.chunk_start, 0_u32);
        let mut chunk_start = segment_start;
        for (place, chunk) in (segment.chunk_start..).zip(own) {
            let chunk_end = chunk_start + u64::from(chunk.unpacked_bytes);
            if chunk_end > start && chunk_start < end {
                if first.is_none() {
                    first = Some(place);
                    if plan.terms.is_empty() {
                        plan.offset_into_first_range = start - chunk_start;
                    }
                }
                last = place;
                // At most the bytes of a segment, or the segment is refused below.
                term_bytes = term_bytes.checked_add(chunk.unpacked_bytes).ok_or(disagrees)?;
            }
            chunk_start = chunk_end;
        }
        if chunk_start != at {
            return Err(disagrees);
        }
        let range = ChunkRange { start: first.ok_or(disagrees)?, end: last + 1 };
        plan.terms.push(Term { xorb: segment.xorb, chunks: range, unpacked_bytes: term_bytes });
        let bytes =
            HttpRange { start: all[range.start as usize].start.into(), end: u64::from(all[last as usize].end()) - 1 };
        needed.entry(segment.xorb).or_default().push(Fetch { chunks: range, bytes });
    }
    plan.fetches = needed.into_iter().map(|(xorb, ranges)| XorbFetches { xorb, ranges: merge(ranges) }).collect();
    Ok(plan)
}

/// Joins ranges that touch or overlap.
fn merge(mut ranges: Vec<Fetch>) -> Vec<Fetch> {
    ranges.sort_unstable_by_key(|fetch| fetch.chunks);
    let mut merged: Vec<Fetch> = Vec::new();
    for next in ranges {
        match merged.last_mut() {
            Some(last) if next.chunks.start <= last.chunks.end => {
                if next.chunks.end > last.chunks.end {
                    last.chunks.end = next.chunks.end;
                    last.bytes.end = next.bytes.end;
                }
            }
            _ => merged.push(next),
        }
    }
    merged
}
