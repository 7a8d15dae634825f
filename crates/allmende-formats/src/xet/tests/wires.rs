//! JSON, letter by letter as clients write and read it.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

use crate::xet::hash::XetHash;
use crate::xet::reconstruction::{
    ChunkRange, FetchJson, HttpRange, MultiFetchJson, RangeJson, ReconstructionV1, ReconstructionV2, TermJson,
};
use crate::xet::wire::{
    Checksum, CommitStage, Grant, GrantRequest, ShardEvent, ShardResult, ShardUploaded, Token, XorbUploaded,
};

fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T, json: &str) {
    assert_eq!(serde_json::to_string(value).unwrap(), json);
    assert_eq!(&serde_json::from_str::<T>(json).unwrap(), value);
}

#[test]
fn json() {
    let zero = "0".repeat(64);
    check(&XorbUploaded { was_inserted: true }, r#"{"was_inserted":true}"#);
    check(&ShardUploaded { result: ShardResult::Registered, shard_hash: None }, r#"{"result":1}"#);
    let kept = ShardUploaded { result: ShardResult::Exists, shard_hash: Some(XetHash::ZERO) };
    check(&kept, &format!(r#"{{"result":0,"shard_hash":"{zero}"}}"#));
    assert!(serde_json::from_str::<ShardUploaded>(r#"{"result":2}"#).is_err());
    check(&ShardEvent::Validating { verified: 3, total: 7 }, r#"{"type":"validating","verified":3,"total":7}"#);
    check(&ShardEvent::Committing { stage: CommitStage::Uploading }, r#"{"type":"committing","stage":"uploading"}"#);
    check(&ShardEvent::Committing { stage: CommitStage::Syncing }, r#"{"type":"committing","stage":"syncing"}"#);
    check(&ShardEvent::Result, r#"{"type":"result"}"#);
    let error = ShardEvent::Error { message: "no \"xorb\"\n".into(), retryable: true };
    check(&error, r#"{"type":"error","message":"no \"xorb\"\n","retryable":true}"#);
    assert_eq!(error.to_line().matches('\n').count(), 1);
    let token = Token { cas_url: "https://h/xet".into(), exp: 9, access_token: "t".into() };
    check(&token, r#"{"casUrl":"https://h/xet","exp":9,"accessToken":"t"}"#);
    let request = GrantRequest { length: 1, checksum: Checksum::Crc64Nvme("18446744073709551615".into()) };
    check(&request, r#"{"length":1,"checksum":{"algo":"crc64nvme","value":"18446744073709551615"}}"#);
    let headers = [("If-None-Match".to_owned(), "*".to_owned())].into();
    let grant = Grant { id: "g".into(), method: "PUT".into(), url: "u".into(), headers };
    check(&grant, r#"{"id":"g","method":"PUT","url":"u","headers":{"If-None-Match":"*"}}"#);
}

#[test]
fn reconstructions() {
    let zero = "0".repeat(64);
    let chunks = ChunkRange { start: 1, end: 3 };
    let bytes = HttpRange { start: 10, end: 99 };
    let terms = vec![TermJson { hash: XetHash::ZERO, unpacked_length: 7, range: chunks }];
    let term = format!(r#""terms":[{{"hash":"{zero}","unpacked_length":7,"range":{{"start":1,"end":3}}}}]"#);
    let fetch = FetchJson { range: chunks, url: "u".into(), url_range: bytes };
    let v1 = ReconstructionV1 {
        offset_into_first_range: 5,
        terms: terms.clone(),
        fetch_info: [(XetHash::ZERO, vec![fetch])].into(),
    };
    let range = r#""range":{"start":1,"end":3},"url":"u","url_range":{"start":10,"end":99}"#;
    check(&v1, &format!(r#"{{"offset_into_first_range":5,{term},"fetch_info":{{"{zero}":[{{{range}}}]}}}}"#));
    let multi = MultiFetchJson { url: "u".into(), ranges: vec![RangeJson { chunks, bytes }] };
    let v2 = ReconstructionV2 { offset_into_first_range: 5, terms, xorbs: [(XetHash::ZERO, vec![multi])].into() };
    let range = r#""url":"u","ranges":[{"chunks":{"start":1,"end":3},"bytes":{"start":10,"end":99}}]"#;
    check(&v2, &format!(r#"{{"offset_into_first_range":5,{term},"xorbs":{{"{zero}":[{{{range}}}]}}}}"#));
}
