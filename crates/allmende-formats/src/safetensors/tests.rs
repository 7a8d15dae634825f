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
    assert_eq!(parse(&(MAX_HEADER_BYTES + 1).to_le_bytes()), Err(Error::HeaderTooLong { bytes: MAX_HEADER_BYTES + 1 }));
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

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>(), json in "\\PC{0,80}") {
        let _ = parse_header(&bytes, size);
        let _ = parse(&bytes);
        let _ = parse(&file(&json, 0));
        let _ = parse(&file(&format!("{{{json}}}"), 0));
    }
}
