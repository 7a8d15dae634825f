//! The protocol's own examples, its order of checks, and the one rule that matters: no two roots for one size, no way back.

use proptest::prelude::*;

use super::*;
use crate::id::Origin;
use crate::ledger::checkpoint::NoteSignature;
use crate::ledger::merkle::{consistency_proof, leaf_hash, leaves_source, root_of};
use crate::signature::SecretKey;

fn origin() -> Origin {
    "hub.example/handwriting".parse().expect("valid")
}

fn key() -> SecretKey {
    SecretKey::from_seed(&[1; 32])
}

fn watched() -> Vec<VerifierKey> {
    vec![VerifierKey { name: origin(), key: key().public(), role: Role::Log }]
}

/// The log's first `size` leaves; `branch` tells histories apart from leaf 4 on.
fn leaves(size: u64, branch: u8) -> Vec<Hash> {
    (0..size).map(|i| leaf_hash(&[i as u8, if i < 4 { 0 } else { branch }])).collect()
}

fn checkpoint(size: u64, branch: u8) -> Checkpoint {
    Checkpoint { origin: origin(), size, root: root_of(&leaves(size, branch)) }
}

fn request(old_size: u64, size: u64, branch: u8) -> AddCheckpoint {
    let proof = consistency_proof(old_size.min(size), size, leaves_source(&leaves(size, branch))).expect("a proof");
    AddCheckpoint { old_size, proof, checkpoint: SignedCheckpoint::sign(checkpoint(size, branch), &origin(), &key()) }
}

/// The request of the specification, byte for byte.
#[test]
fn the_specification_s_request_round_trips() {
    let body = "old 20852014\n\
        PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n\
        jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n\
        5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n\
        /6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\
        \n\
        example.com/behind-the-sofa\n\
        20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\
        \n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let read = AddCheckpoint::parse(body).expect("the specification's own");
    assert_eq!((read.old_size, read.proof.len(), read.checkpoint.checkpoint.size), (20_852_014, 4, 20_852_163));
    assert_eq!(read.to_string(), body);
    // And the lines of its answer are signature lines.
    let answer = "— witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==";
    assert_eq!(answer.parse::<NoteSignature>().expect("a line").to_string(), answer);
}

#[test]
fn loose_requests_are_refused() {
    let good = request(3, 9, 0).to_string();
    assert!(AddCheckpoint::parse(&good).is_ok());
    let hash = good.lines().nth(1).expect("a hash").to_owned();
    for bad in [
        String::new(),
        good.replacen("old 3", "old 03", 1),
        good.replacen("old 3", "old +3", 1),
        good.replacen("old 3", "old  3", 1),
        good.replacen("old 3", "old", 1),
        good.replacen("old 3", "Old 3", 1),
        good.replacen("old 3", "old 9007199254740992", 1),
        good.replacen(&hash, "AAAA", 1),
        good.replacen(&hash, &format!(" {hash}"), 1),
        good.replacen("\n\n", "\n", 1),
        good.replacen("\n\n", "\n\n\n", 1),
        good.trim_end().to_owned(),
        good.replacen("old 3\n", &format!("old 3\n{}", format!("{hash}\n").repeat(MAX_PROOF_LINES)), 1),
        format!("{good}{}", "x".repeat(MAX_REQUEST_BYTES)),
    ] {
        assert!(AddCheckpoint::parse(&bad).is_err(), "{bad:?}");
    }
}

#[test]
fn the_checks_come_in_the_protocol_s_order() {
    let seven = checkpoint(7, 0);
    let judged = |request: &AddCheckpoint| judge(&watched(), Some(&seven), request);
    assert_eq!(judged(&request(7, 9, 0)), Ok(()));
    assert_eq!(judged(&request(7, 7, 0)), Ok(()), "the same again, for a newer time");
    let strange = AddCheckpoint {
        checkpoint: SignedCheckpoint::sign(checkpoint(9, 0), &origin(), &SecretKey::from_seed(&[2; 32])),
        ..request(8, 9, 0)
    };
    assert_eq!(judged(&strange), Err(Refusal::Unsigned));
    assert_eq!(judge(&[], Some(&seven), &strange), Err(Refusal::UnknownLog(origin())));
    assert_eq!(judged(&AddCheckpoint { old_size: 10, ..request(7, 9, 0) }), Err(Refusal::Shrinks { old: 10, new: 9 }));
    assert_eq!(judged(&request(5, 9, 0)), Err(Refusal::OtherSize { size: 7 }));
    assert_eq!(judged(&request(5, 6, 0)), Err(Refusal::OtherSize { size: 7 }), "no way back");
    assert_eq!(judged(&request(7, 7, 1)), Err(Refusal::Forked { size: 7 }));
    assert_eq!(judged(&request(7, 9, 1)), Err(Refusal::Inconsistent));
    assert_eq!(judged(&AddCheckpoint { proof: Vec::new(), ..request(7, 9, 0) }), Err(Refusal::Inconsistent));
    let mut padded = request(7, 7, 0);
    padded.proof.push(seven.root);
    assert_eq!(judged(&padded), Err(Refusal::Inconsistent));
    // The first one: no proof, whatever the size; and an empty log has one root.
    assert_eq!(judge(&watched(), None, &request(0, 9, 0)), Ok(()));
    assert_eq!(judge(&watched(), None, &request(3, 9, 0)), Err(Refusal::OtherSize { size: 0 }));
    assert_eq!(judge(&watched(), None, &request(0, 0, 0)), Ok(()));
    // A key of a witness is none of a log's.
    let witness = VerifierKey { role: Role::Witness, ..watched().remove(0) };
    assert_eq!(judge(&[witness], None, &request(0, 9, 0)), Err(Refusal::UnknownLog(origin())));
}

proptest! {
    /// However a log that forks at leaf 4 mixes its two histories, what is cosigned is one history that only grows.
    #[test]
    fn what_is_cosigned_never_shrinks_and_never_forks(asked in prop::collection::vec((0_u64..12, 0_u64..12, 0_u8..2), 1..40)) {
        let mut cosigned: Vec<(Checkpoint, u8)> = Vec::new();
        for (old, size, branch) in asked {
            let request = request(old, size, branch);
            if judge(&watched(), cosigned.last().map(|(last, _)| last), &request).is_ok() {
                cosigned.push((request.checkpoint.checkpoint, branch));
            }
        }
        for pair in cosigned.windows(2) {
            prop_assert!(pair[0].0.size <= pair[1].0.size);
            prop_assert!(pair[0].0.size < pair[1].0.size || pair[0].0.root == pair[1].0.root);
            prop_assert!(pair[0].0.size <= 4 || pair[0].1 == pair[1].1, "{pair:?}");
        }
    }

    #[test]
    fn requests_round_trip(old in 0_u64..12, more in 0_u64..12) {
        let request = request(old, old + more, 0);
        prop_assert_eq!(AddCheckpoint::parse(&request.to_string()), Ok(request));
    }
}
