//! Headers that are read, and every way to be refused.

use super::*;
use ::safetensors::SafeTensors;
use ::safetensors::tensor::{Dtype as TheirDtype, TensorView, serialize};
use proptest::prelude::*;

fn file(json: &str, payload: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    bytes.resize(bytes.len() + payload, 0);
    bytes
}

fn parse(bytes: &[u8]) -> Result<Layout, Error> {
    parse_header(bytes, bytes.len() as u64)
}

#[test]
fn refusals() {
    let check = |json: &str, payload: usize, wanted: &str| {
        let message = parse(&file(json, payload)).unwrap_err().to_string();
        assert!(message.contains(wanted), "{json}: {message}");
    };
    let tensor =
        |shape: &str, from: u64, to: u64| format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#);
    let a = tensor("[2]", 0, 8);
    check(&format!(r#"{{"a":{a},"a":{a}}}"#), 8, "appears twice");
    check(&format!(r#"{{"a":{a},"b":{a}}}"#), 8, "no gaps, no overlaps");
    check(&format!(r#"{{"a":{a},"b":{}}}"#, tensor("[1]", 12, 16)), 16, "begins at 12 of the payload, expected 8");
    check(&format!(r#"{{"a":{}}}"#, tensor("[3]", 0, 8)), 8, "need 12");
    check(&format!(r#"{{"a":{}}}"#, tensor("[4294967296,4294967296]", 0, 8)), 8, "out of bounds");
    check(&format!(r#"{{"a":{}}}"#, tensor("[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 4)), 4, "out of bounds");
    check(&format!(r#"{{"a":{}}}"#, tensor("[-1]", 0, 8)), 8, "not valid");
    check(&format!(r#"{{"a":{a}}}"#), 9, "describes");
    check(&format!(r#"{{"a":{a}}}"#), 7, "describes");
    check(&format!(r#"{{"":{a}}}"#), 8, "not a tensor name");
    check(&format!(r#"{{"ä":{a}}}"#), 8, "not a tensor name");
    check(&format!(r#"{{"{}":{a}}}"#, "n".repeat(201)), 8, "not a tensor name");
    check(&format!(r#" {{"a":{a}}}"#), 8, "begin with {");
    check(&format!(r#"{{"a":{a}}} x"#), 8, "not valid");
    check(r#"{"a":{"dtype":"F31","shape":[],"data_offsets":[0,4]}}"#, 4, "not valid");
    check(r#"{"a":{"dtype":"F4","shape":[1],"data_offsets":[0,1]}}"#, 1, "out of bounds");
    check(r#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}"#, 4, "not valid");
    check(r#"{"__metadata__":{"k":"v","k":"w"}}"#, 0, "twice");
    check(r#"{"__metadata__":{"k":1}}"#, 0, "not valid");
    check("", 0, "begin with {");
    assert_eq!(parse(&[0; 7]), Err(Error::Truncated));
    assert_eq!(
        parse(&(MAX_HEADER_BYTES + 1).to_le_bytes()),
        Err(Error::HeaderTooLong { bytes: MAX_HEADER_BYTES + 1, limit: MAX_HEADER_BYTES })
    );
    assert_eq!(parse(&9_u64.to_le_bytes()), Err(Error::Truncated));
}

#[test]
fn prefixes_say_how_much_is_missing() {
    let whole = write_f32(&[("a".into(), vec![2])], &[1.0, 2.0]).unwrap();
    let total = whole.len() as u64;
    assert_eq!(parse_header(&whole[..3], total), Err(Error::Incomplete { bytes: 8 }));
    let header = total - 8;
    assert_eq!(parse_header(&whole[..9], total), Err(Error::Incomplete { bytes: header }));
    let layout = parse_header(&whole[..header as usize], total).unwrap();
    assert_eq!((layout.header_bytes, layout.payload_bytes()), (header, 8));
}

#[test]
fn what_is_written_has_an_order() {
    let tensors = |names: [&str; 2]| names.map(|n| (n.to_owned(), vec![1])).to_vec();
    assert_eq!(canonical_header(&tensors(["b", "a"])), Err(Error::Unsorted("a".into())));
    assert_eq!(canonical_header(&tensors(["a", "a"])), Err(Error::Unsorted("a".into())));
    assert_eq!(write_f32(&tensors(["a", "b"]), &[1.0]), Err(Error::Values { expected: 2, found: 1 }));
}

#[test]
fn every_dtype_of_the_reference_is_known() {
    for dtype in Dtype::ALL {
        let json =
            format!(r#"{{"a":{{"dtype":"{}","shape":[8],"data_offsets":[0,{}]}}}}"#, dtype.as_str(), dtype.bits());
        let bytes = file(&json, dtype.bits() as usize);
        assert_eq!(parse(&bytes).unwrap().tensors[0].dtype, *dtype);
        assert!(SafeTensors::deserialize(&bytes).is_ok(), "{dtype:?}");
    }
}

#[test]
fn foreign_headers_may_be_longer() {
    let json = format!("{{{}}}", " ".repeat(MAX_HEADER_BYTES as usize));
    let bytes = file(&json, 0);
    assert!(matches!(parse(&bytes), Err(Error::HeaderTooLong { .. })));
    let size = bytes.len() as u64;
    assert!(parse_header_within(&bytes, size, MAX_FOREIGN_HEADER_BYTES).unwrap().tensors.is_empty());
    let error = parse_header_within(&u64::MAX.to_le_bytes(), u64::MAX, u64::MAX).unwrap_err();
    assert_eq!(error, Error::Incomplete { bytes: u64::MAX });
}

#[test]
fn a_summary_counts_elements() {
    let mut summary = Summary::default();
    let layout = parse(&write_f32(&[("a".into(), vec![2, 3]), ("b".into(), vec![])], &[0.0; 7]).unwrap()).unwrap();
    summary.add(&layout);
    let json = r#"{"h":{"dtype":"F16","shape":[4],"data_offsets":[0,8]}}"#;
    summary.add(&parse(&file(json, 8)).unwrap());
    assert_eq!((summary.total(), summary.tensors, summary.payload_bytes), (11, 3, 36));
    let counts: Vec<_> = summary.parameters.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(counts, [("F16", 4), ("F32", 7)]);
    let mut twice = summary.clone();
    twice.merge(&summary);
    assert_eq!((twice.total(), twice.tensors), (22, 6));
}

#[test]
fn indexes_name_their_shards() {
    let index = parse_index(br#"{"metadata":{"total_size":8},"weight_map":{"b":"m-2.safetensors","a":"m-1.safetensors","c":"m-1.safetensors"}}"#).unwrap();
    assert_eq!(index.shards, ["m-1.safetensors", "m-2.safetensors"]);
    assert_eq!(index.tensors, 3);
    for (bad, said) in [
        ("[]", "not valid"),
        ("{}", "not valid"),
        (r#"{"weight_map":{"a":1}}"#, "not valid"),
        (r#"{"weight_map":{"a":"../m.safetensors"}}"#, "beside the index"),
        (r#"{"weight_map":{"a":"/m.safetensors"}}"#, "beside the index"),
        (r#"{"weight_map":{"a":"m.bin"}}"#, "beside the index"),
        (r#"{"weight_map":{"a":"m.safetensors","a":"n.safetensors"}}"#, "twice"),
    ] {
        let error = parse_index(bad.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(said), "{bad}: {error}");
    }
    let many: Vec<String> = (0..=MAX_SHARDS).map(|i| format!(r#""t{i}":"m{i}.safetensors""#)).collect();
    assert!(matches!(
        parse_index(format!(r#"{{"weight_map":{{{}}}}}"#, many.join(",")).as_bytes()),
        Err(IndexError::TooManyShards)
    ));
    assert!(matches!(parse_index(&vec![b' '; MAX_INDEX_BYTES as usize + 1]), Err(IndexError::TooLong)));
}

fn tensor(name: &str, shape: &[u64], dtype: Dtype) -> TensorInfo {
    let size = shape.iter().product::<u64>() * dtype.bits() / 8;
    TensorInfo { name: name.into(), dtype, shape: shape.to_vec(), start: 0, end: size }
}

#[test]
fn layouts_are_compared_by_name() {
    let base = [tensor("gone", &[1], Dtype::F32), tensor("kept", &[2], Dtype::F32), tensor("wider", &[2], Dtype::F32)];
    let head = [tensor("kept", &[2], Dtype::F32), tensor("new", &[1], Dtype::F32), tensor("wider", &[3], Dtype::F32)];
    let found = compare(&base, &head);
    let words: Vec<String> = found
        .iter()
        .map(|difference| match difference {
            Difference::Added(t) => format!("+{}", t.name),
            Difference::Removed(t) => format!("-{}", t.name),
            Difference::Reshaped(_, t) => format!("!{}", t.name),
            Difference::Alike(_, t) => format!("={}", t.name),
        })
        .collect();
    assert_eq!(words, ["-gone", "=kept", "+new", "!wider"]);
    let half = [tensor("kept", &[2], Dtype::F16)];
    assert!(matches!(compare(&base[1..2], &half)[0], Difference::Reshaped(..)));
}

fn tensors() -> impl Strategy<Value = Vec<(String, Vec<usize>)>> {
    prop::collection::btree_map("[!-~]{1,12}", prop::collection::vec(0..4_usize, 0..4), 0..6)
        .prop_map(|map| map.into_iter().filter(|(name, _)| name != "__metadata__").collect())
}

proptest! {
    #[test]
    fn writes_what_the_reference_writes(tensors in tensors(), seed in any::<f32>()) {
        let counts: Vec<usize> = tensors.iter().map(|(_, shape)| shape.iter().product()).collect();
        let values: Vec<f32> = (0..counts.iter().sum()).map(|i| seed + i as f32).collect();
        let ours = write_f32(&tensors, &values).unwrap();
        let payload: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut start = 0;
        let mut views = vec![];
        for ((name, shape), count) in tensors.iter().zip(&counts) {
            let data = &payload[start * 4..(start + count) * 4];
            views.push((name.as_str(), TensorView::new(TheirDtype::F32, shape.clone(), data).unwrap()));
            start += count;
        }
        prop_assert_eq!(&ours, &serialize(views, None).unwrap());
        let layout = parse(&ours).unwrap();
        prop_assert_eq!(layout.payload_bytes(), payload.len() as u64);
        prop_assert_eq!(layout.tensors.len(), tensors.len());
        prop_assert!(layout.metadata.is_empty());
    }

    /// Whatever is accepted here, the reference accepts too and reads alike.
    #[test]
    fn stricter_than_the_reference(tensors in tensors(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let count = tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
        let mut bytes = write_f32(&tensors, &vec![0.5; count]).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(layout) = parse(&bytes) {
            let theirs = SafeTensors::deserialize(&bytes).unwrap();
            prop_assert_eq!(theirs.len(), layout.tensors.len());
            for tensor in &layout.tensors {
                let view = theirs.tensor(&tensor.name).unwrap();
                prop_assert_eq!(view.data().len() as u64, tensor.end - tensor.start);
                let shape: Vec<u64> = view.shape().iter().map(|&d| d as u64).collect();
                prop_assert_eq!(&shape, &tensor.shape);
            }
        }
    }

    /// Comparing says something of each name once, and what is compared with itself is alike.
    #[test]
    fn comparisons_are_whole(a in tensors(), b in tensors()) {
        let infos = |tensors: &[(String, Vec<usize>)]| {
            let values = vec![0.0; tensors.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()];
            parse(&write_f32(tensors, &values).unwrap()).unwrap().tensors
        };
        let (a, b) = (infos(&a), infos(&b));
        let names: BTreeSet<&str> = a.iter().chain(&b).map(|t| t.name.as_str()).collect();
        prop_assert_eq!(compare(&a, &b).len(), names.len());
        prop_assert!(compare(&a, &a).iter().all(|d| matches!(d, Difference::Alike(..))));
    }

    #[test]
    fn indexes_never_panic(json in "\\PC{0,80}") {
        let _ = parse_index(json.as_bytes());
        let _ = parse_index(format!(r#"{{"weight_map":{{{json}}}}}"#).as_bytes());
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>(), json in "\\PC{0,80}") {
        let _ = parse_header(&bytes, size);
        let _ = parse(&bytes);
        let _ = parse(&file(&json, 0));
        let _ = parse(&file(&format!("{{{json}}}"), 0));
    }
}
