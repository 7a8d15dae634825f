//! How a file is put together again: what a client is told of the ranges of xorbs to fetch.
//!
//! [`plan`] decides, [`Plan::to_v1`] and [`Plan::to_v2`] say it in the JSON of `GET /v1/reconstructions/{file}` and
//! `GET /v2/reconstructions/{file}`. (Names of fields as in `xet-client` 1.8.0.)

mod plan;

pub use plan::{Fetch, Plan, PlanError, Term, XorbFetches, plan};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::hash::XetHash;

/// Neighbouring chunks of a xorb: from `start`, up to but not including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ChunkRange {
    /// First chunk.
    pub start: u32,
    /// One past the last chunk.
    pub end: u32,
}

/// Neighbouring bytes of a xorb as the header `Range` names them: `end` is the last byte, not one past it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HttpRange {
    /// First byte.
    pub start: u64,
    /// Last byte.
    pub end: u64,
}

/// A part of the file: chunks of one xorb. The same in both versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermJson {
    /// The xorb.
    pub hash: XetHash,
    /// Bytes of these chunks, unpacked. Clients check it.
    pub unpacked_length: u32,
    /// The chunks.
    pub range: ChunkRange,
}

/// Where to fetch one range of a xorb (version 1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchJson {
    /// The chunks that the bytes hold.
    pub range: ChunkRange,
    /// Where to get them, without the token of the request.
    pub url: String,
    /// The bytes to ask for, exactly.
    pub url_range: HttpRange,
}

/// The answer of `GET /v1/reconstructions/{file}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconstructionV1 {
    /// Bytes to drop from the start of the first term.
    pub offset_into_first_range: u64,
    /// The parts of the file, in their order.
    pub terms: Vec<TermJson>,
    /// For every xorb of the terms the ranges to fetch. Each term lies within one of them.
    pub fetch_info: BTreeMap<XetHash, Vec<FetchJson>>,
}

/// One range of a xorb (version 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeJson {
    /// The chunks that the bytes hold.
    pub chunks: ChunkRange,
    /// The bytes to ask for.
    pub bytes: HttpRange,
}

/// Where to fetch some ranges of a xorb (version 2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MultiFetchJson {
    /// Where to get them. Clients ask for one range at a time; one set up for it asks for all of them in one request, in
    /// the order of the list, and expects `multipart/byteranges`.
    pub url: String,
    /// The ranges, in ascending order.
    pub ranges: Vec<RangeJson>,
}

/// The answer of `GET /v2/reconstructions/{file}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReconstructionV2 {
    /// Bytes to drop from the start of the first term.
    pub offset_into_first_range: u64,
    /// The parts of the file, in their order.
    pub terms: Vec<TermJson>,
    /// For every xorb of the terms the ranges to fetch. Each term lies within one of them.
    pub xorbs: BTreeMap<XetHash, Vec<MultiFetchJson>>,
}

/// The answer of `GET /v1/reconstructions?file_id=…&file_id=…`: whole files only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchReconstruction {
    /// For each file its parts.
    pub files: BTreeMap<XetHash, Vec<TermJson>>,
    /// For every xorb of the terms the ranges to fetch.
    pub fetch_info: BTreeMap<XetHash, Vec<FetchJson>>,
}

impl Plan {
    fn terms_json(&self) -> Vec<TermJson> {
        let json = |t: &Term| TermJson { hash: t.xorb, unpacked_length: t.unpacked_bytes, range: t.chunks };
        self.terms.iter().map(json).collect()
    }

    /// The plan in version 1; `url` says where a range of a xorb is to be had.
    pub fn to_v1(&self, mut url: impl FnMut(&XetHash, &Fetch) -> String) -> ReconstructionV1 {
        let mut fetches = |xorb: &XorbFetches| -> Vec<FetchJson> {
            let json = |f: &Fetch| FetchJson { range: f.chunks, url: url(&xorb.xorb, f), url_range: f.bytes };
            xorb.ranges.iter().map(json).collect()
        };
        ReconstructionV1 {
            offset_into_first_range: self.offset_into_first_range,
            terms: self.terms_json(),
            fetch_info: self.fetches.iter().map(|xorb| (xorb.xorb, fetches(xorb))).collect(),
        }
    }

    /// The plan in version 2; `url` says where the given ranges of a xorb, at most `max_ranges` of them, are to be had.
    pub fn to_v2(&self, max_ranges: usize, mut url: impl FnMut(&XetHash, &[Fetch]) -> String) -> ReconstructionV2 {
        let mut fetches = |xorb: &XorbFetches| -> Vec<MultiFetchJson> {
            let json = |f: &Fetch| RangeJson { chunks: f.chunks, bytes: f.bytes };
            let one = |ranges: &[Fetch]| MultiFetchJson {
                url: url(&xorb.xorb, ranges),
                ranges: ranges.iter().map(json).collect(),
            };
            xorb.ranges.chunks(max_ranges.max(1)).map(one).collect()
        };
        ReconstructionV2 {
            offset_into_first_range: self.offset_into_first_range,
            terms: self.terms_json(),
            xorbs: self.fetches.iter().map(|xorb| (xorb.xorb, fetches(xorb))).collect(),
        }
    }
}
