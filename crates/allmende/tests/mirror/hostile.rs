//! Bundles that are damaged, cut off, put together otherwise, or that lie.

use allmende::mirror::inspect::inspect;
use allmende::mirror::manifest::{Bytes, Manifest, SentXorb};
use allmende_core::signature::SecretKey;
use allmende_formats::bundle::{
    BundleRef, HEAD_BYTES, Head, Heads, MAGIC, Place, Section, read_files, read_refs, write_files, write_refs,
};
use allmende_formats::xet::XetHash;
use serde_json::json;

use super::{Pair, bring, find, tips};
use crate::xet::noise;

/// A bundle in its sections.
#[derive(Clone)]
pub struct Taken(pub Vec<(Section, Vec<u8>)>);

impl Taken {
    pub fn apart(bundle: &[u8]) -> Self {
        let mut rest = bundle.strip_prefix(&MAGIC).unwrap();
        let (mut heads, mut sections) = (Heads::default(), Vec::new());
        while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
            let head = heads.next(*head).unwrap();
            let (bytes, after) = after.split_at(head.bytes as usize);
            sections.push((head.section, bytes.to_vec()));
            rest = after;
        }
        Self(sections)
    }

    pub fn together(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        for (section, bytes) in &self.0 {
            out.extend(Head { section: *section, bytes: bytes.len() as u64 }.to_bytes());
            out.extend(bytes);
        }
        out
    }

    pub fn of(&mut self, section: Section) -> &mut Vec<u8> {
        &mut self.0.iter_mut().find(|(own, _)| *own == section).unwrap().1
    }

    /// Signs it anew, so that all digests fit what it holds.
    pub fn signed(mut self, key: &SecretKey, change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
        let (mut manifest, _) = Manifest::open(self.of(Section::Manifest)).unwrap();
        manifest.refs = Bytes::of(self.of(Section::Refs));
        manifest.pack = Bytes::of(self.of(Section::Pack));
        manifest.files = Bytes::of(self.of(Section::Files));
        change(&mut manifest);
        *self.of(Section::Manifest) = manifest.seal(key).unwrap();
        self.together()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_damaged_bundle_is_taken() {
    let pair = Pair::start().await;
    pair.commit(&[("w.bin", &noise(300_000, 4)), ("a.txt", b"a")]).await;
    let bundle = pair.bundle(json!({})).await;
    let length = bundle.len();
    assert!(inspect(bundle.as_slice()).await.is_ok());
    // Any byte, and any end: dense where the structure is, and some everywhere.
    let near: Vec<usize> =
        (0..3_000).step_by(61).chain((3_000..length).step_by(9_973)).chain(length - 40..length).collect();
    for at in near {
        let mut bad = bundle.clone();
        bad[at] ^= 0x10;
        let looked = inspect(bad.as_slice()).await;
        let (status, said) = pair.bring(bad).await;
        assert!(matches!(status, 400 | 403 | 422), "byte {at}: {status} {said}");
        assert!(looked.is_err(), "byte {at} of {length} is not noticed offline: {said}");
        assert!(pair.copy().await.is_none(), "byte {at}");
        let (status, said) = pair.bring(bundle[..at].to_vec()).await;
        assert_eq!(status, 422, "cut at {at}: {said}");
        assert!(inspect(&bundle[..at]).await.is_err(), "cut at {at}");
    }
    assert!(pair.copy().await.is_none());
    let longer = [&bundle[..], b"x"].concat();
    assert!(inspect(longer.as_slice()).await.is_err());
    assert_eq!(pair.bring(longer).await.0, 422);
    let folders = pair.b.hub.app.git.folders(std::time::Duration::ZERO).await.unwrap();
    assert!(folders.is_empty(), "what was refused left {folders:?}");
    assert_eq!(pair.bring(bundle).await.0, 200, "and the whole one is taken");
    pair.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_lie_is_believed_whoever_signs_it() {
    let pair = Pair::start().await;
    pair.commit(&[("w.bin", &noise(300_000, 4)), ("x.bin", &noise(200_000, 5))]).await;
    let key = SecretKey::from_seed(&pair.a.hub.app.hub_key.seed());
    let taken = Taken::apart(&pair.bundle(json!({})).await);
    let expects = async |what: &str, bundle: Vec<u8>, word: &str| {
        let (status, said) = pair.bring(bundle).await;
        let detail = said["detail"].as_str().unwrap_or_default().to_owned();
        assert!(matches!(status, 400 | 413 | 422), "{what}: {status} {said}");
        assert!(detail.contains(word), "{what}: {detail}");
        assert!(pair.copy().await.is_none(), "{what}");
    };
    let refs = |name: &str, oid: &str| write_refs(&[BundleRef { name: name.to_owned(), oid: oid.to_owned() }]);
    let head = read_refs(taken.clone().of(Section::Refs)).unwrap()[0].oid.clone();
    for name in ["refs/heads/../../x", "refs/heads/a.lock", "refs/heads/-x:y", "refs/tags/a..b", "refs/heads/a//b"] {
        let mut bad = taken.clone();
        *bad.of(Section::Refs) = refs(name, &head);
        expects(name, bad.signed(&key, |_| ()), "is no name of a branch").await;
    }
    let mut bad = taken.clone();
    *bad.of(Section::Refs) = refs("refs/heads/main", &"1".repeat(40));
    expects("a ref to nothing", bad.signed(&key, |_| ()), "").await;
    let mut bad = taken.clone();
    *bad.of(Section::Pack) = b"PACK\0\0\0\x02\xff\xff\xff\xff".to_vec();
    expects("a pack of billions", bad.signed(&key, |_| ()), "objects").await;
    let mut bad = taken.clone();
    let pack = bad.of(Section::Pack);
    let end = pack.len() - 25;
    pack[end] ^= 1;
    expects("a broken pack", bad.signed(&key, |_| ()), "").await;
    // Files that are others than they are said to be.
    let files = read_files(taken.clone().of(Section::Files)).unwrap();
    for (what, word) in [
        ("sha256", "SHA-256"),
        ("hash", "make file"),
        ("size", "bytes"),
        ("place", "is not here"),
        ("chunks", "fewer chunks"),
    ] {
        let mut files = files.clone();
        let file = &mut files[1];
        match what {
            "sha256" => file.sha256[31] ^= 1,
            "hash" => file.hash = XetHash::from_bytes([7; 32]),
            "size" => file.bytes += 1,
            "place" => file.parts[0].place = Place::Xorb(XetHash::from_bytes([9; 32])),
            _ => file.parts[0].chunks += 1,
        }
        let mut bad = taken.clone();
        *bad.of(Section::Files) = write_files(&files);
        expects(what, bad.signed(&key, |_| ()), word).await;
    }
    let mut bad = taken.clone();
    *bad.of(Section::Files) = write_files(&files[..1]);
    expects("a count", bad.signed(&key, |_| ()), "are not those of its manifest").await;
    // Xorbs in another order, one twice, and one that is none.
    let mut bad = taken.clone();
    let count = bad.0.len();
    bad.0.swap(count - 2, count - 3);
    expects("another order", bad.signed(&key, |_| ()), "are not those of its manifest").await;
    let bad = taken.clone().signed(&key, |m| m.xorbs.push(SentXorb { bytes: 5, hash: XetHash::from_bytes([1; 32]) }));
    expects("a xorb that does not come", bad, "are not those of its manifest").await;
    let mut bad = taken.clone();
    let at = bad.0.len() - 1;
    bad.0.insert(at, (Section::Xorb, vec![0; 1_000]));
    let bad = bad.signed(&key, |m| m.xorbs.push(SentXorb { bytes: 1_000, hash: XetHash::from_bytes([1; 32]) }));
    expects("a xorb of nothing", bad, "xorb").await;
    let bad = taken.clone().signed(&key, |m| m.since = vec![head.clone()]);
    expects("upon what is not here", bad, "builds upon").await;
    let bad = taken.clone().signed(&key, |m| m.repository.kind = "dataset".to_owned());
    expects("another kind", bad, "holds a dataset").await;
    // A stranger's key says so.
    let forged = taken.clone().signed(&SecretKey::from_seed(&[8; 32]), |_| ());
    assert_eq!(bring(&pair.b, &pair.bea, "bea/copy", forged, &pair.signer()).await.0, 403);
    assert!(find(&pair.b, "bea", "copy").await.is_none());
    // What is true is taken after all that, and a lie about it later leaves it as it stands.
    assert_eq!(pair.bring(taken.clone().signed(&key, |_| ())).await.0, 200);
    let before = tips(&pair.b, &pair.copy().await.unwrap()).await;
    let mut bad = taken;
    *bad.of(Section::Refs) = refs("refs/heads/main", &"2".repeat(40));
    let (status, said) = pair.bring(bad.signed(&key, |_| ())).await;
    assert!(matches!(status, 400 | 422), "{status} {said}");
    assert_eq!(tips(&pair.b, &pair.copy().await.unwrap()).await, before);
    pair.stop().await;
}
