//! What runs code, and what only looks like it.

use super::*;
use proptest::prelude::*;

fn of(name: &str, bytes: &[u8]) -> Look {
    look(name, bytes, bytes.len() as u64)
}

/// `pickle.dumps(collections.OrderedDict(a=1), protocol)`, and others made by Python 3.12.
const PICKLES: &[&[u8]] = &[
    b"ccollections\nOrderedDict\np0\n(tRp1\nVa\np2\nI1\ns.",
    b"\x80\x02ccollections\nOrderedDict\nq\x00)Rq\x01X\x01\x00\x00\x00aq\x02K\x01s.",
    b"\x80\x04\x95,\x00\x00\x00\x00\x00\x00\x00\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94\x8c\x01a\x94K\x01s.",
    // What an attacker writes.
    b"cos\nsystem\n(S'true'\ntR.",
    b"(S'true'\nios\nsystem\n.",
    b"(cos\nsystem\nS'true'\no.",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
    // It runs before the loader finds out that the rest is none.
    b"cos\nsystem\n(S'true'\ntR and so on",
    // The first of several is harmless.
    b"I1\n.I2\n.cos\nsystem\n(S'true'\ntR.",
    // torch.save before version 1.6: a number first.
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.",
    // A module with a name in it, and nothing called.
    b"cmalice\nthing\n.",
    b"\x80\x05]\x94.",
];

#[test]
fn pickles_are_known_by_any_name() {
    for (i, bytes) in PICKLES.iter().enumerate() {
        for name in ["pytorch_model.bin", "README.md", "a/b/x", "x.safetensors"] {
            assert_eq!(of(name, bytes), Look::Runs(Why::Pickle), "{i} {name}");
        }
    }
}

#[test]
fn what_is_none() {
    let header = [&640_u64.to_le_bytes()[..], b"{\"a\":"].concat();
    for bytes in [
        b"".as_slice(),
        b"just text",
        b"color\nred\nblue\n",
        b"config file of x\nand more\n(text)\n.",
        b"Version 1\nRead me\n",
        b"I am\nnot one.",
        b"# Title\n\nText.",
        b"N.",
        b"{\"json\": true}",
        b"(((((((",
        b"a,b\n1,2\n",
        b"x".repeat(2_000).as_slice(),
        b"0".repeat(2_000).as_slice(),
        // A safetensors file whose header has 640 bytes begins like a pickle of protocol 2.
        &header,
        b"\x80\x09.",
        b"\x80\x02",
        b"c\n\n.",
        b"S'unfinished\n.",
        b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4'}",
        b"\x1f\x8b\x08compressed",
    ] {
        for name in ["pytorch_model.bin", "weights.pt", "x.txt"] {
            assert_eq!(of(name, bytes), Look::Plain, "{name}: {:?}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn names_count_where_bytes_cannot_tell() {
    let gzip = b"\x1f\x8b\x08 and so on".as_slice();
    for name in ["model.pkl.gz", "a/model.joblib", "X.PKL", "x.pickle.xz"] {
        assert_eq!(of(name, gzip), Look::Runs(Why::Compressed), "{name}");
    }
    for name in ["model.tar.gz", "pkl", "pkl.txt", "model.bin", "pkl/x.txt.gz"] {
        assert_eq!(of(name, gzip), Look::Plain, "{name}");
    }
    let mut tar = vec![0; 600];
    tar[257..262].copy_from_slice(b"ustar");
    assert_eq!(of("model.pt", &tar), Look::Runs(Why::Unclear));
    assert_eq!(of("model.tar", &tar), Look::Plain);
    // It goes on beyond what is looked at.
    let long = b"V a line that does not end";
    assert_eq!(look("x.pkl", long, 1 << 30), Look::Runs(Why::Unclear));
    assert_eq!(look("x.txt", long, 1 << 30), Look::Plain);
    // A string that is longer than what is looked at hides nothing of what says that it is a pickle.
    let hidden = b"\x80\x04\x8e\x00\x00\x00\x10\x00\x00\x00\x00rest";
    assert_eq!(look("x.txt", hidden, 1 << 30), Look::Runs(Why::Pickle));
    assert_eq!(look("x.txt", hidden, 1 << 20), Look::Plain);
}

#[test]
fn arrays_of_objects() {
    for header in
        ["{'descr': '|O', 'fortran_order': False}", "{'descr': [('a', '<f4'), ('b', '|O')]}", "{\"descr\": \"O\"}"]
    {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend_from_slice(&(header.len() as u16).to_le_bytes());
        bytes.extend_from_slice(header.as_bytes());
        assert_eq!(of("x.npy", &bytes), Look::Runs(Why::Objects), "{header}");
    }
}

/// An archive of these names, without contents.
fn archive(names: &[&str], long: bool) -> Vec<u8> {
    let mut bytes = b"PK\x03\x04 what is in it".to_vec();
    let start = bytes.len() as u64;
    for name in names {
        let mut entry = vec![0; 46];
        entry[..4].copy_from_slice(b"PK\x01\x02");
        entry[28..30].copy_from_slice(&(name.len() as u16).to_le_bytes());
        entry[30] = 3;
        bytes.extend_from_slice(&entry);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(b"ext");
    }
    let length = bytes.len() as u64 - start;
    let end64 = bytes.len() as u64;
    if long {
        let mut end = vec![0; 56];
        end[..4].copy_from_slice(b"PK\x06\x06");
        end[40..48].copy_from_slice(&length.to_le_bytes());
        end[48..56].copy_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&end);
        let mut locator = vec![0; 20];
        locator[..4].copy_from_slice(b"PK\x06\x07");
        locator[8..16].copy_from_slice(&end64.to_le_bytes());
        bytes.extend_from_slice(&locator);
    }
    let mut end = vec![0; 22];
    end[..4].copy_from_slice(b"PK\x05\x06");
    let (length, start) = if long { (u32::MAX, u32::MAX) } else { (length as u32, start as u32) };
    end[12..16].copy_from_slice(&length.to_le_bytes());
    end[16..20].copy_from_slice(&start.to_le_bytes());
    bytes.extend_from_slice(&end);
    bytes
}

fn names(bytes: &[u8], piece: usize) -> Result<Vec<String>, zip::Error> {
    let range = zip::directory(bytes, bytes.len() as u64)?;
    let (mut found, mut names) = (Vec::new(), zip::Names::default());
    for piece in bytes[range.start as usize..range.end as usize].chunks(piece) {
        names.push(piece, |name| {
            found.push(name.to_owned());
            true
        })?;
    }
    names.finish().map(|()| found)
}

#[test]
fn archives_are_listed() {
    let wanted = ["archive/data.pkl", "archive/data/0", ""];
    for long in [false, true] {
        let bytes = archive(&wanted, long);
        assert_eq!(of("x.pt", &bytes), Look::Archive);
        for piece in [1, 7, 1_000] {
            assert_eq!(names(&bytes, piece).unwrap(), wanted);
        }
        let cut = &bytes[..bytes.len() - 1];
        assert_eq!(names(cut, 9), Err(zip::Error::NoEnd));
    }
    assert!(is_pickle_entry("archive/data.pkl") && is_pickle_entry("a.PTH"));
    assert!(!is_pickle_entry("archive/data/0") && !is_pickle_entry("x.npy") && !is_pickle_entry("x.bin"));
}

proptest! {
    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), size in any::<u64>(), name in "\\PC{0,20}") {
        let _ = look(&name, &bytes, size);
        let _ = zip::directory(&bytes, size);
        let _ = zip::directory(&bytes, bytes.len() as u64);
        let _ = zip::Names::default().push(&bytes, |_| true);
    }

    /// Whatever stands behind a pickle, it stays one.
    #[test]
    fn nothing_behind_hides_it(which in 0..PICKLES.len(), rest in prop::collection::vec(any::<u8>(), 0..100)) {
        let bytes = [PICKLES[which], &rest].concat();
        prop_assert_eq!(of("x.txt", &bytes), Look::Runs(Why::Pickle));
    }

    /// A prefix of a pickle with its protocol in front stays suspect while the file goes on.
    #[test]
    fn looking_at_less_never_clears(cut in 12_usize..60) {
        let bytes = PICKLES[2];
        let head = &bytes[..cut.min(bytes.len())];
        prop_assert_eq!(look("x.txt", head, bytes.len() as u64), Look::Runs(Why::Pickle));
    }

    #[test]
    fn lists_are_read_whole(wanted in prop::collection::vec("[a-z/.]{0,12}", 0..6), long in any::<bool>(), piece in 1_usize..64) {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        prop_assert_eq!(names(&archive(&wanted, long), piece).unwrap(), wanted);
    }
}
