//! Known answers of the certificate-transparency test vectors, and the rule that nothing but the right proof holds.

use proptest::prelude::*;

use super::*;
use crate::digest::from_hex;

fn hash(hex: &str) -> Hash {
    Digest(from_hex(hex).expect("64 hexadecimal digits"))
}

/// The eight classic leaves.
fn classic() -> Vec<Hash> {
    let entries: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    entries.iter().map(|entry| leaf_hash(entry)).collect()
}

const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];
const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
const C: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
const D: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
const E: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
const F: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

#[test]
fn known_roots() {
    let leaves = classic();
    assert_eq!(root_of(&[]), Digest::of(b""));
    for (i, root) in ROOTS.iter().enumerate() {
        assert_eq!(root_of(&leaves[..=i]).hex(), *root, "size {}", i + 1);
    }
}

#[test]
fn known_proofs() {
    let leaves = classic();
    let hex = |proof: Result<Vec<Hash>, MerkleError>| -> Vec<String> {
        proof.expect("in range").iter().map(Hash::hex).collect()
    };
    assert_eq!(hex(inclusion_proof(0, 1, leaves_source(&leaves))), Vec::<String>::new());
    assert_eq!(hex(inclusion_proof(0, 8, leaves_source(&leaves))), [A, B, C]);
    assert_eq!(hex(inclusion_proof(5, 8, leaves_source(&leaves))), [D, E, ROOTS[3]]);
    assert_eq!(hex(inclusion_proof(2, 3, leaves_source(&leaves))), [ROOTS[1]]);
    assert_eq!(hex(inclusion_proof(1, 5, leaves_source(&leaves))), [ROOTS[0], B, D]);
    assert_eq!(hex(consistency_proof(1, 8, leaves_source(&leaves))), [A, B, C]);
    assert_eq!(hex(consistency_proof(6, 8, leaves_source(&leaves))), [F, E, ROOTS[3]]);
    assert_eq!(hex(consistency_proof(2, 5, leaves_source(&leaves))), [B, D]);
    assert_eq!(hex(consistency_proof(8, 8, leaves_source(&leaves))), Vec::<String>::new());
    assert_eq!(verify_consistency(6, &hash(ROOTS[5]), 8, &hash(ROOTS[7]), &[hash(F), hash(E), hash(ROOTS[3])]), Ok(()));
}

/// RFC 6962's recursive definition, word for word.
fn by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => Digest::of(b""),
        [one] => *one,
        many => {
            let k = (many.len().next_power_of_two()) / 2;
            node_hash(&by_definition(&many[..k]), &by_definition(&many[k..]))
        }
    }
}

fn leaves(n: usize) -> Vec<Hash> {
    (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
}

#[test]
fn every_proof_of_small_trees_holds_and_asks_only_for_what_it_named() {
    let all = leaves(40);
    for size in 0..=all.len() {
        let root = root_of(&all[..size]);
        assert_eq!(root, by_definition(&all[..size]), "size {size}");
        for index in 0..size {
            let mut asked = Vec::new();
            let mut source = leaves_source(&all);
            let proof = inclusion_proof(index as u64, size as u64, |s| {
                asked.push(s);
                source(s)
            })
            .expect("in range");
            asked.sort();
            let mut named = inclusion_subtrees(index as u64, size as u64).expect("in range");
            named.sort();
            assert_eq!(asked, named);
            assert_eq!(verify_inclusion(&all[index], index as u64, size as u64, &proof, &root), Ok(()));
        }
        for old in 0..=size {
            let proof = consistency_proof(old as u64, size as u64, leaves_source(&all)).expect("in range");
            let old_root = root_of(&all[..old]);
            assert_eq!(verify_consistency(old as u64, &old_root, size as u64, &root, &proof), Ok(()), "{old} {size}");
        }
    }
}

#[test]
fn what_is_out_of_range_is_an_error() {
    let all = leaves(3);
    assert_eq!(inclusion_proof(3, 3, leaves_source(&all)), Err(MerkleError::Index { index: 3, size: 3 }));
    assert_eq!(inclusion_proof(0, 4, leaves_source(&all)), Err(MerkleError::Missing { level: 1, index: 1 }));
    assert_eq!(consistency_proof(4, 3, leaves_source(&all)), Err(MerkleError::Sizes { old_size: 4, new_size: 3 }));
    assert_eq!(inclusion_proof(0, u64::MAX, leaves_source(&all)), Err(MerkleError::TooLarge(u64::MAX)));
    assert_eq!(consistency_proof(0, u64::MAX, leaves_source(&all)), Err(MerkleError::TooLarge(u64::MAX)));
    // Verification takes what strangers send: the largest numbers must not overflow.
    let zero = Digest([0; 32]);
    for proof in [vec![], vec![zero; 63], vec![zero; 64], vec![zero; 200]] {
        assert!(verify_inclusion(&zero, u64::MAX - 1, u64::MAX, &proof, &zero).is_err());
        assert!(verify_consistency(u64::MAX - 1, &zero, u64::MAX, &zero, &proof).is_err());
    }
    assert_eq!(verify_consistency(0, &zero, 3, &root_of(&all), &[]), Err(MerkleError::Root));
    assert_eq!(verify_consistency(3, &root_of(&all), 3, &zero, &[]), Err(MerkleError::Root));
    assert_eq!(verify_consistency(0, &empty_root(), 0, &zero, &[]), Err(MerkleError::Root));
}

#[test]
fn a_stored_frontier_is_checked_when_read() {
    let mut frontier = Frontier::new();
    for leaf in leaves(11) {
        frontier.push(leaf);
    }
    let text = serde_json::to_string(&frontier).expect("plain");
    let mut back: Frontier = serde_json::from_str(&text).expect("own output");
    assert_eq!(back, frontier);
    back.push(leaf_hash(&11_usize.to_be_bytes()));
    assert_eq!(back.root(), root_of(&leaves(12)));
    assert!(serde_json::from_str::<Frontier>(&text.replace("11", "12")).is_err());
    assert!(serde_json::from_str::<Frontier>(r#"{"size":0,"peaks":[],"x":1}"#).is_err());
    assert!(matches!(Frontier::from_peaks(1 << 60, vec![empty_root()]), Err(MerkleError::TooLarge(_))));
}

#[test]
fn a_frontier_reports_each_completed_subtree_once() {
    let all = leaves(70);
    let mut frontier = Frontier::new();
    let mut seen = std::collections::BTreeMap::new();
    for leaf in &all {
        frontier.push_with(*leaf, |subtree, hash| assert_eq!(seen.insert(subtree, hash), None));
    }
    let mut source = leaves_source(&all);
    for (subtree, hash) in &seen {
        assert_eq!(source(*subtree), Some(*hash), "{subtree:?}");
    }
    assert_eq!(seen.len(), 70 + 35 + 17 + 8 + 4 + 2 + 1);
    let peaks = Frontier::peak_subtrees(70).iter().map(|s| seen[s]).collect();
    assert_eq!(Frontier::from_peaks(70, peaks), Ok(frontier));
}

/// Every way to spoil a proof: a flipped bit, a hash too few, too many, or two exchanged.
fn spoiled(proof: &[Hash], at: usize, bit: usize) -> Vec<Vec<Hash>> {
    let mut out = vec![[proof, &[leaf_hash(b"more")]].concat()];
    if let Some(i) = at.checked_rem(proof.len()) {
        let mut flipped = proof.to_vec();
        flipped[i].0[bit / 8 % 32] ^= 1 << (bit % 8);
        out.push(flipped);
        let mut shorter = proof.to_vec();
        shorter.remove(i);
        out.push(shorter);
        let mut longer = proof.to_vec();
        longer.insert(i, proof[i]);
        out.push(longer);
        if proof.len() > 1 {
            let mut exchanged = proof.to_vec();
            exchanged.swap(i, (i + 1) % proof.len());
            out.push(exchanged);
        }
    }
    out
}

proptest! {
    #[test]
    fn a_spoiled_inclusion_proof_fails(size in 1_usize..300, index: usize, at: usize, bit in 0_usize..256) {
        let all = leaves(size);
        let (index, n, root) = ((index % size) as u64, size as u64, root_of(&all));
        let leaf = all[index as usize];
        let proof = inclusion_proof(index, n, leaves_source(&all)).expect("in range");
        prop_assert_eq!(verify_inclusion(&leaf, index, n, &proof, &root), Ok(()));
        for bad in spoiled(&proof, at, bit) {
            prop_assert!(verify_inclusion(&leaf, index, n, &bad, &root).is_err());
        }
        let mut other = leaf;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_inclusion(&other, index, n, &proof, &root).is_err());
        prop_assert!(verify_inclusion(&leaf, (index + 1) % (n + 1), n, &proof, &root).is_err());
        let mut elsewhere = root;
        elsewhere.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(verify_inclusion(&leaf, index, n, &proof, &elsewhere).is_err());
    }

    #[test]
    fn a_spoiled_consistency_proof_fails(size in 1_usize..300, old: usize, at: usize, bit in 0_usize..256) {
        let all = leaves(size);
        let old = old % size + 1;
        let (m, n, root, old_root) = (old as u64, size as u64, root_of(&all), root_of(&all[..old]));
        let proof = consistency_proof(m, n, leaves_source(&all)).expect("in range");
        prop_assert_eq!(verify_consistency(m, &old_root, n, &root, &proof), Ok(()));
        for bad in spoiled(&proof, at, bit) {
            prop_assert!(verify_consistency(m, &old_root, n, &root, &bad).is_err());
        }
        for spoil_old in [true, false] {
            let (mut o, mut r) = (old_root, root);
            let target = if spoil_old { &mut o } else { &mut r };
            target.0[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(verify_consistency(m, &o, n, &r, &proof).is_err());
        }
    }
}
