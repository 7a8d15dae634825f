//! Known answers of signed-note, and the rule that any change to a note is noticed.

use proptest::prelude::*;

use super::*;

fn origin(text: &str) -> Origin {
    text.parse().expect("valid")
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: origin("hub.example/handwriting"), size: 7, root: Digest::of(b"x") }
}

/// The example of the Go reference implementation's documentation (golang.org/x/mod/sumdb/note).
#[test]
fn the_reference_s_signature() {
    let secret = STANDARD.decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz").expect("base64");
    let secret = SecretKey::from_seed(secret[1..].try_into().expect("32 bytes"));
    let name = origin("PeterNeumann");
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let line = NoteSignature {
        name: name.to_string(),
        key_id: key_id(&name, TYPE_ED25519, &secret.public()),
        blob: secret.sign(text.as_bytes()).as_bytes().to_vec(),
    };
    assert_eq!(
        line.to_string(),
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    );
    assert_eq!(line.to_string().parse(), Ok(line));
}

/// The example of tlog-cosignature: its form is read and written byte for byte.
#[test]
fn the_specification_s_example_round_trips() {
    let note = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let signed = SignedCheckpoint::parse(note).expect("the specification's own");
    assert_eq!((signed.checkpoint.size, signed.signatures().len()), (20_852_163, 2));
    assert_eq!(signed.to_string(), note);
    // The time that the document says this cosignature carries.
    assert_eq!(signed.signatures()[1].blob[..8], 1_679_315_147_u64.to_be_bytes());
    assert_eq!(
        String::from_utf8(cosigned_message(1_679_315_147, &signed.text())).expect("ASCII"),
        "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    );
}

#[test]
fn log_and_witness_signatures_are_told_apart() {
    let (hub, north, south) = (origin("hub.example/handwriting"), origin("north"), origin("south"));
    let mut signed = SignedCheckpoint::sign(checkpoint(), &hub, &key(1));
    assert_eq!(signed.verify_log_signature(&hub, &key(1).public()), Ok(()));
    assert_eq!(
        signed.verify_log_signature(&hub, &key(2).public()),
        Err(CheckpointError::Unsigned { name: hub.clone() })
    );
    let witnesses = [(north.clone(), key(2).public()), (south.clone(), key(3).public())];
    assert_eq!(signed.cosignatures(&witnesses), []);
    signed.add(signed.checkpoint.cosign(&north, &key(2), 100)).expect("room");
    // South's line comes from a key that is not south's, and then a log signature in place of a cosignature.
    signed.add(signed.checkpoint.cosign(&south, &key(4), 100)).expect("room");
    signed.add(signed.checkpoint.sign(&south, &key(3))).expect("room");
    assert_eq!(signed.cosignatures(&witnesses), [(north.clone(), 100)]);
    // A newer cosignature takes the place of the older.
    signed.add(signed.checkpoint.cosign(&north, &key(2), 200)).expect("room");
    signed.add(signed.checkpoint.cosign(&south, &key(3), u64::MAX)).expect("room");
    assert_eq!(signed.signatures().len(), 5);
    assert_eq!(signed.cosignatures(&witnesses), [(north.clone(), 200), (south, i64::MAX as u64)]);
    assert_eq!(signed.verify_log_signature(&hub, &key(1).public()), Ok(()));
    assert_eq!(SignedCheckpoint::parse(&signed.to_string()), Ok(signed.clone()));
    let json = crate::canonical::to_bytes(&signed).expect("text");
    assert_eq!(crate::canonical::from_bytes(&json), Ok(signed));
}

#[test]
fn one_key_counts_once_whatever_its_names() {
    let (north, alias) = (origin("north"), origin("alias"));
    let mut signed = SignedCheckpoint::sign(checkpoint(), &origin("hub"), &key(1));
    signed.add(signed.checkpoint.cosign(&north, &key(2), 5)).expect("room");
    signed.add(signed.checkpoint.cosign(&alias, &key(2), 6)).expect("room");
    let witnesses = [(north.clone(), key(2).public()), (north.clone(), key(2).public()), (alias, key(2).public())];
    assert_eq!(signed.cosignatures(&witnesses), [(north, 5)]);
}

#[test]
fn a_false_line_of_the_log_s_key_spoils_the_note() {
    let hub = origin("hub");
    let mut signed = SignedCheckpoint::sign(checkpoint(), &hub, &key(1));
    let other = Checkpoint { size: 8, ..checkpoint() };
    signed.signatures.push(other.sign(&hub, &key(1)));
    assert_eq!(signed.verify_log_signature(&hub, &key(1).public()), Err(CheckpointError::BadSignature { name: hub }));
}

#[test]
fn loose_or_oversized_notes_are_refused() {
    let note = SignedCheckpoint::sign(checkpoint(), &origin("hub"), &key(1)).to_string();
    assert!(SignedCheckpoint::parse(&note).is_ok());
    let line = note.lines().last().expect("a signature");
    for bad in [
        String::new(),
        note.trim_end().to_owned(),
        format!("{note}\n"),
        format!("\n{note}"),
        note.replace("\n7\n", "\n07\n"),
        note.replace("\n7\n", "\n+7\n"),
        note.replace("\n7\n", "\n9007199254740992\n"),
        note.replace("\n7\n", "\n-1\n"),
        note.replace("\n\n", "\nextension\n\n"),
        note.replace("\n\n", "\n"),
        note.replace('\n', "\r\n"),
        note.replace("— hub", "- hub"),
        note.replace("— hub", "— h+b"),
        note.replace("— hub", "— h\u{a0}b"),
        note.replace("— hub ", "— "),
        note.replace("— hub", "— hub "),
        note.replace('=', ""),
        format!("{note}{}", "— a AAAAAA==\n"),
        note.split_inclusive("\n\n").next().expect("text").to_owned(),
    ] {
        assert!(SignedCheckpoint::parse(&bad).is_err(), "{bad:?}");
    }
    let many = format!("{note}{}", format!("{line}\n").repeat(64));
    assert_eq!(SignedCheckpoint::parse(&many), Err(CheckpointError::TooManySignatures));
    assert!(SignedCheckpoint::parse(&many[..many.len() - line.len() - 1]).is_ok());
    let long = format!("{note}— x {}\n", STANDARD.encode(vec![0; MAX_NOTE_BYTES]));
    assert!(matches!(SignedCheckpoint::parse(&long), Err(CheckpointError::TooLarge { .. })));
    let mut signed = SignedCheckpoint::parse(&note).expect("valid");
    let big = NoteSignature { name: "x".into(), key_id: [0; 4], blob: vec![0; 40_000] };
    signed.add(big.clone()).expect("fits");
    assert!(matches!(signed.add(NoteSignature { key_id: [1; 4], ..big }), Err(CheckpointError::TooLarge { .. })));
    for i in 0..62 {
        signed.add(NoteSignature { name: "y".into(), key_id: [i; 4], blob: vec![1] }).expect("room");
    }
    let over = NoteSignature { name: "z".into(), key_id: [0; 4], blob: vec![1] };
    assert_eq!(signed.add(over), Err(CheckpointError::TooManySignatures));
}

proptest! {
    #[test]
    fn any_changed_byte_of_a_note_is_noticed(at: usize, bit in 0_u8..8) {
        let (hub, north) = (origin("hub"), origin("north"));
        let mut signed = SignedCheckpoint::sign(checkpoint(), &hub, &key(1));
        signed.add(signed.checkpoint.cosign(&north, &key(2), 100)).expect("room");
        let mut bytes = signed.to_string().into_bytes();
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let holds = String::from_utf8(bytes).ok().and_then(|note| SignedCheckpoint::parse(&note).ok()).is_some_and(|s| {
            s.verify_log_signature(&hub, &key(1).public()).is_ok()
                && s.cosignatures(&[(north, key(2).public())]).len() == 1
        });
        prop_assert!(!holds);
    }

    #[test]
    fn checkpoints_round_trip(size in 0..=MAX_SIZE, root: [u8; 32], seed: u8, time_s: u64) {
        let name = origin("a.b/c");
        let checkpoint = Checkpoint { origin: name.clone(), size, root: Digest(root) };
        let mut signed = SignedCheckpoint::sign(checkpoint, &name, &key(seed));
        signed.add(signed.checkpoint.cosign(&name, &key(seed), time_s)).expect("room");
        let back = SignedCheckpoint::parse(&signed.to_string()).expect("own output");
        prop_assert_eq!(back.cosignatures(&[(name, key(seed).public())]).len(), 1);
        prop_assert_eq!(back, signed);
    }

    #[test]
    fn nothing_makes_the_parser_panic(note in "(a|—| |\n|0|=|[A-Z+/]){0,60}") {
        if let Ok(signed) = SignedCheckpoint::parse(&note) {
            prop_assert_eq!(signed.to_string(), note);
        }
    }
}
