//! Logs that are right, and every way in which one can be wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use allmende::verify::{
    Blobs, DirBlobs, DirSource, Existing, Exporter, Finding, HttpSource, MemorySource, Options, Source as _,
    UnprovenReceipt, judge, read_receipt, receipt, verify,
};
use allmende_core::agreement::vocabulary::Language;
use allmende_core::amount::Amount;
use allmende_core::digest::Digest;
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::Record;
use allmende_core::ledger::verifier::{Role, VerifierKey};
use allmende_core::run::plan::Outer;
use allmende_core::signature::SecretKey;
use allmende_core::state::Refusal;
use allmende_core::statement::{Body, HUB, KeyClass, RoundClosed, Statement};

use super::world::{PARTIES, Shape, World, key, origin};

fn files(root: &Path) -> MemorySource {
    let source = DirSource::new(root);
    let paths = source.list().unwrap().unwrap();
    MemorySource(paths.into_iter().map(|p| (p.clone(), source.read(&p).unwrap().unwrap())).collect())
}

fn exported(world: &World) -> MemorySource {
    let dir = tempfile::tempdir().unwrap();
    world.export(dir.path());
    files(dir.path())
}

fn pinned() -> Options<'static> {
    Options { origin: Some(origin()), hub_key: Some(World::hub_key()), ..Options::default() }
}

struct Kept<'a>(&'a BTreeMap<Digest, Vec<u8>>);

impl Blobs for Kept<'_> {
    fn open(&self, digest: &Digest) -> std::io::Result<Option<Box<dyn allmende::verify::BlobReader + '_>>> {
        Ok(self.0.get(digest).map(|bytes| Box::new(std::io::Cursor::new(bytes.as_slice())) as _))
    }
}

#[test]
fn an_honest_log_is_found_right_and_aggregations_are_repeated() {
    let world = World::settled(&Shape::small());
    let source = exported(&world);
    let (report, state) = judge(&source, &pinned()).unwrap();
    assert_eq!(state, world.state);
    assert_eq!((report.entries, report.rounds.recorded, report.rounds.recomputed), (world.leaves.len() as u64, 14, 0));
    assert_eq!((report.members.len(), report.payouts, report.statements["run.round_closed"]), (3, 1, 14));
    assert!(report.hub_key_pinned && report.not_checked.iter().any(|n| n.what == "14 aggregations"), "{report:?}");

    let blobs = Kept(&world.blobs);
    let report = verify(&source, &Options { blobs: Some(&blobs), ..pinned() }).unwrap();
    assert_eq!(report.rounds.recomputed, 14);
    // The plain mean keeps no outer state.
    let plain = World::settled(&Shape { outer: Outer::Average, ..Shape::small() });
    let report = verify(&exported(&plain), &Options { blobs: Some(&Kept(&plain.blobs)), ..pinned() }).unwrap();
    assert_eq!(report.rounds.recomputed, 14);

    // On disk as the hub lays them out, one of them gone.
    let dir = tempfile::tempdir().unwrap();
    let lost = *world.blobs.keys().next().unwrap();
    for (digest, bytes) in world.blobs.iter().filter(|b| *b.0 != lost) {
        let folder = dir.path().join("sha256").join(&digest.hex()[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(digest.hex()), bytes).unwrap();
    }
    let report = verify(&source, &Options { blobs: Some(&DirBlobs::new(dir.path())), ..pinned() }).unwrap();
    assert!(report.rounds.recomputed < 14 && report.rounds.recomputed > 0);
    assert!(report.not_checked.iter().any(|n| n.why.contains(&lost.to_string())), "{report:?}");
}

#[test]
fn every_flipped_byte_of_every_file_is_found_and_named() {
    let good = exported(&World::agreed());
    assert_eq!(good.0.keys().collect::<Vec<_>>(), ["checkpoint", "tile/0/000.p/14", "tile/entries/000.p/14"]);
    verify(&good, &pinned()).unwrap();
    for (path, bytes) in &good.0 {
        for at in 0..bytes.len() {
            let mut source = good.clone();
            source.0.get_mut(path).unwrap()[at] ^= 1 << (at % 8);
            let finding = match verify(&source, &pinned()) {
                Ok(_) => panic!("byte {at} of {path} flipped unnoticed"),
                Err(finding) => finding,
            };
            let text = finding.to_string();
            let named = text.contains(path.as_str()) || (finding.entry() == Some(0) && path.contains("entries"));
            // Flipped in the checkpoint, the size makes other files' names, and the origin another log.
            assert!(named || path == "checkpoint", "byte {at} of {path}: {text}");
            if let Finding::Tile { offset, .. } = finding {
                assert_eq!(offset, at);
            }
        }
    }
}

#[test]
fn larger_trees_are_checked_tile_by_tile() {
    let mut world = World::founded();
    world.grow(300);
    let dir = tempfile::tempdir().unwrap();
    // Exported as it grew, with the narrower tiles of the size before still there.
    let mut exporter = Exporter::new(dir.path(), Existing::Keep);
    for (i, leaf) in world.leaves.iter().enumerate() {
        exporter.push(leaf).unwrap();
        if [100, 255, 260, 290].contains(&(i + 1)) {
            let earlier = World { leaves: world.leaves[..=i].to_vec(), ..World::founded() };
            exporter.finish(&earlier.checkpoint()).unwrap();
        }
    }
    exporter.finish(&world.checkpoint()).unwrap();
    let good = files(dir.path());
    assert!(good.0.contains_key("tile/1/000.p/1") && good.0.contains_key("tile/0/001.p/34"), "{:?}", good.0.keys());
    verify(&good, &pinned()).unwrap();
    for (path, bytes) in good.0.iter().filter(|(path, _)| *path != "checkpoint") {
        for at in (0..bytes.len()).step_by(bytes.len() / 40 + 1) {
            let mut source = good.clone();
            source.0.get_mut(path).unwrap()[at] ^= 0x10;
            let finding = verify(&source, &pinned()).unwrap_err().to_string();
            assert!(finding.contains(path.as_str()), "byte {at} of {path}: {finding}");
        }
    }
    let mut missing = good.clone();
    missing.0.remove("tile/1/000.p/1");
    assert!(matches!(verify(&missing, &pinned()), Err(Finding::Missing { path }) if path == "tile/1/000.p/1"));

    // A crash leaves the folder as it was; going on from it ends with the same files.
    let again = tempfile::tempdir().unwrap();
    for upto in [255, 256, 290, 300] {
        let mut exporter = Exporter::resume(again.path()).unwrap();
        let from = exporter.size() as usize;
        assert_eq!(from == 0, upto == 255);
        for leaf in &world.leaves[from..upto] {
            exporter.push(leaf).unwrap();
        }
        let part = World { leaves: world.leaves[..upto].to_vec(), ..World::founded() };
        exporter.finish(&part.checkpoint()).unwrap();
        verify(&DirSource::new(again.path()), &pinned()).unwrap();
    }
    // A full tile never changes, unless it is rebuilt on purpose.
    std::fs::write(again.path().join("tile/0/000"), b"x").unwrap();
    let leaves = || world.leaves.iter().map(|leaf| Ok::<_, String>(leaf.clone()));
    let error = allmende::verify::export(again.path(), leaves(), &world.checkpoint(), Existing::Keep).unwrap_err();
    assert!(error.to_string().contains("tile/0/000"), "{error}");
    allmende::verify::export(again.path(), leaves(), &world.checkpoint(), Existing::Repair).unwrap();
    verify(&DirSource::new(again.path()), &pinned()).unwrap();
}

#[test]
fn a_payout_that_does_not_follow_is_found_with_what_would() {
    let mut world = World::settled(&Shape::small());
    let right = world.payout("250000");
    let mut wrong = right.clone();
    wrong.amounts[0] = Amount::from_minor(right.amounts[0].minor() + 1).unwrap();
    wrong.amounts[1] = Amount::from_minor(right.amounts[1].minor() - 1).unwrap();
    let envelope = world.seal("north", KeyClass::Governance, wrong.clone());
    world.cheat(envelope);
    let finding = verify(&exported(&world), &pinned()).unwrap_err();
    let text = finding.to_string();
    assert_eq!((finding.code(), finding.entry()), ("verify.refused", Some(world.leaves.len() as u64 - 1)));
    for amount in [right.amounts[0], wrong.amounts[0], right.fund] {
        assert!(text.contains(&amount.to_string()), "{text}");
    }
    assert!(text.contains("payout.posted by north"), "{text}");
}

#[test]
fn a_model_that_the_updates_do_not_give_is_found() {
    let mut world = World::settled(&Shape::small());
    // The hub's word for one model is altered from the beginning: replay cannot tell, the updates can.
    let mut altered = world.blobs.clone();
    let closed = world.leaves.iter().enumerate().find_map(|(i, leaf)| match body(leaf) {
        Body::RoundClosed(body) => Some((i, body)),
        _ => None,
    });
    let (entry, round) = closed.unwrap();
    altered.get_mut(&round.model).unwrap()[160] ^= 1;
    let finding = verify(&exported(&world), &Options { blobs: Some(&Kept(&altered)), ..pinned() }).unwrap_err();
    assert!(matches!(finding, Finding::Blob { .. }), "{finding}");

    let model = Digest::of(&altered[&round.model]);
    altered.insert(model, altered[&round.model].clone());
    world.leaves.truncate(entry);
    let mut state = allmende_core::state::State::new(origin(), Some("handwriting".parse().unwrap()));
    for leaf in &world.leaves {
        state.apply(&Record::from_bytes(leaf).unwrap()).unwrap();
    }
    world.state = state;
    world.add(HUB, KeyClass::Hub, RoundClosed { model, ..round });
    let finding = verify(&exported(&world), &Options { blobs: Some(&Kept(&altered)), ..pinned() }).unwrap_err();
    assert_eq!((finding.code(), finding.entry()), ("verify.wrong-model", Some(entry as u64)));
    assert!(finding.to_string().contains("they differ from byte 160 on"), "{finding}");
}

fn body(leaf: &[u8]) -> Body {
    Statement::open(&Record::from_bytes(leaf).unwrap().envelope).unwrap().statement.body
}

#[test]
fn entries_left_out_or_out_of_order_are_found() {
    let world = World::agreed();
    for (name, change) in [
        ("dropped", Box::new(|leaves: &mut Vec<Vec<u8>>| drop(leaves.remove(9))) as Box<dyn Fn(&mut Vec<Vec<u8>>)>),
        ("swapped", Box::new(|leaves: &mut Vec<Vec<u8>>| leaves.swap(8, 9))),
        ("repeated", Box::new(|leaves: &mut Vec<Vec<u8>>| leaves.push(leaves[12].clone()))),
    ] {
        // The hub signs a new checkpoint over the altered log: only the parties' own chains give it away.
        let mut altered = World { leaves: world.leaves.clone(), ..World::founded() };
        change(&mut altered.leaves);
        let finding = verify(&exported(&altered), &pinned()).unwrap_err();
        assert!(matches!(finding, Finding::Refused { .. }), "{name}: {finding}");
    }
}

#[test]
fn a_statement_of_the_wrong_class_of_key_is_found() {
    let mut world = World::agreed();
    let vote = allmende_core::statement::DecisionVoted {
        decision: "start".parse().unwrap(),
        vote: allmende_core::collaboration::decision::Vote::Yes,
    };
    for class in [KeyClass::Node, KeyClass::Root] {
        let mut cheated = World { leaves: world.leaves.clone(), now: world.now, ..World::founded() };
        cheated.cheat(world.seal("west", class, vote.clone()));
        let finding = verify(&exported(&cheated), &pinned()).unwrap_err();
        let refusal =
            matches!(&finding, Finding::Refused { source, .. } if matches!(**source, Refusal::WrongClass { .. }));
        assert!(refusal, "{finding}");
    }
    // A stranger's key that calls itself a governance key.
    let stranger = SecretKey::from_seed(&[99; 32]);
    let sealed = world.seal("west", KeyClass::Governance, vote);
    let payload = sealed.payload_bytes().unwrap();
    world.cheat(allmende_core::ledger::envelope::Envelope::seal("decision.voted", &payload, &stranger));
    let finding = verify(&exported(&world), &pinned()).unwrap_err();
    assert!(finding.to_string().contains("is not a valid governance key of west"), "{finding}");
}

#[test]
fn older_forked_and_other_logs_are_told_apart() {
    let world = World::agreed();
    let source = exported(&world);
    let now = world.checkpoint().checkpoint;
    let known = |size, root| Options { known: Some(Checkpoint { origin: origin(), size, root }), ..pinned() };
    let earlier = World { leaves: world.leaves[..9].to_vec(), ..World::founded() };
    verify(&source, &known(9, earlier.checkpoint().checkpoint.root)).unwrap();
    assert!(matches!(verify(&source, &known(9, now.root)), Err(Finding::Forked { size: 9, .. })));
    assert!(matches!(verify(&source, &known(15, now.root)), Err(Finding::RolledBack { known: 15, got: 14 })));

    // An old checkpoint over newer files.
    let mut old = source.clone();
    old.0.insert("checkpoint".into(), earlier.checkpoint().to_string().into_bytes());
    let finding = verify(&old, &pinned()).unwrap_err();
    assert!(matches!(&finding, Finding::Beyond { size: 9, .. }), "{finding}");
    // Over a hub's routes files cannot be listed, and the old sizes are asked for.
    let http = HttpSource::new("https://hub.example/log/", |url| {
        Ok(old.0.get(url.strip_prefix("https://hub.example/log/").unwrap()).cloned())
    });
    assert!(matches!(verify(&http, &pinned()), Err(Finding::Missing { .. })));

    let other = "hub.example/another".parse().unwrap();
    let finding = verify(&source, &Options { origin: Some(other), ..pinned() }).unwrap_err();
    assert!(matches!(finding, Finding::Origin { .. }));
    let stranger = SecretKey::from_seed(&[99; 32]).public();
    let finding = verify(&source, &Options { hub_key: Some(stranger), ..pinned() }).unwrap_err();
    assert!(matches!(finding, Finding::Checkpoint { .. }), "{finding}");
    // A hub that swaps its own key must also swap it in the signed terms.
    assert!(!verify(&source, &Options::default()).unwrap().hub_key_pinned);
}

#[test]
fn cosignatures_are_judged() {
    let world = World::agreed();
    let mut signed: SignedCheckpoint = world.checkpoint();
    let node = key("east", KeyClass::Node);
    let outside = SecretKey::from_seed(&[123; 32]);
    let witness: allmende_core::id::Origin = "witness.example".parse().unwrap();
    signed.add(signed.checkpoint.clone().cosign(&"east".parse().unwrap(), &node, 1_796_169_700)).unwrap();
    signed.add(signed.checkpoint.clone().cosign(&witness, &outside, 1_796_169_701)).unwrap();
    let mut source = exported(&world);
    source.0.insert("checkpoint".into(), signed.to_string().into_bytes());
    let options = || Options { witnesses: vec![(witness.clone(), outside.public())], ..pinned() };
    let report = verify(&source, &options()).unwrap();
    let names: Vec<_> = report.cosignatures.iter().map(|c| (c.name.as_str(), c.party.as_deref())).collect();
    assert_eq!(names, [("east", Some("east")), ("witness.example", None)]);
    assert_eq!(verify(&source, &pinned()).unwrap().cosignatures.len(), 1);
    // No flipped byte leaves both verdict and report as they were.
    let bytes = source.0["checkpoint"].clone();
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1;
        source.0.insert("checkpoint".into(), altered);
        assert!(!verify(&source, &options()).is_ok_and(|r| r.cosignatures == report.cosignatures), "byte {at}");
    }
}

#[test]
fn receipts_prove_an_entry_offline() {
    let mut world = World::founded();
    world.grow(300);
    let source = exported(&world);
    let hub = World::hub_key();
    for index in [0, 9, 255, 256, 299] {
        let text = receipt(&source, index, Some(&hub)).unwrap().to_string();
        let proven = read_receipt(&text, &origin(), &hub, &[]).unwrap();
        assert_eq!((proven.entry.index, &proven.leaf), (index, &world.leaves[index as usize]));
        let other = "elsewhere".parse().unwrap();
        assert!(matches!(read_receipt(&text, &other, &hub, &[]), Err(UnprovenReceipt::Receipt(_))));
        let altered = text.replacen("extra e", "extra f", 1);
        assert!(read_receipt(&altered, &origin(), &hub, &[]).is_err());
    }
    assert!(receipt(&source, 300, None).is_err());
}

#[test]
fn an_independent_implementation_agrees() {
    let mut world = World::agreed();
    world.grow(300);
    let dir = tempfile::tempdir().unwrap();
    world.export(dir.path());
    let receipt = receipt(&DirSource::new(dir.path()), 257, None).unwrap();
    std::fs::write(dir.path().join("receipt"), receipt.to_string()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/verify/judge.py");
    let key = VerifierKey { name: origin(), key: World::hub_key(), role: Role::Log }.to_string();
    let judge =
        || Command::new("python3").arg(&script).arg(dir.path()).arg(&key).arg(dir.path().join("receipt")).output();
    let output = judge().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("300 entries"), "{text}");
    // And it sees what we see.
    let path = dir.path().join("tile/entries/000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[5000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    assert!(!judge().unwrap().status.success());
}

#[test]
fn views_show_what_the_log_says() {
    use allmende::view;
    let world = World::settled(&Shape { classes: 10, inputs: 64, rounds: 4, ..Shape::small() });
    let collaboration = view::collaboration(&world.state, world.now, Language::En).unwrap();
    assert_eq!((collaboration.members.len(), collaboration.invited.len(), collaboration.decisions.len()), (3, 0, 2));
    assert!(collaboration.mode_in_words.starts_with("Consensus"), "{}", collaboration.mode_in_words);
    let agreement = *world.state.agreements().keys().next().unwrap();
    let agreement = view::agreement(&world.state, &agreement, world.now, Language::Zh).unwrap();
    assert!(agreement.summary.in_force && agreement.signatures.iter().all(|s| s.signed_at.is_some()));
    let run = "first-model".parse().unwrap();
    let run_view = view::run(&world.state, &run).unwrap();
    assert_eq!((run_view.curve.len(), run_view.results.len(), run_view.tracks.len()), (4, 3, 7));
    let confusion = run_view.confusion.unwrap();
    assert_eq!(confusion.cells.iter().map(|c| c.rows).sum::<u64>() + confusion.merged, 270);
    let contribution = view::contribution(&world.state, &run).unwrap();
    assert_eq!((contribution.coalitions.len(), contribution.shares.len()), (7, PARTIES.len()));
    let payouts = view::payouts(&world.state);
    assert_eq!((payouts[0].payer.as_str(), payouts[0].pool.as_str()), ("north", "10,000.00"));
    let sum: i64 = payouts[0].parts.iter().map(|p| p.minor.parse::<i64>().unwrap()).sum();
    assert_eq!((sum, payouts[0].parts[0].amount.as_str()), (1_000_000, "500.00"));
    assert!(view::accounts(&world.state).iter().any(|a| a.account == "payer:north" && a.balance == "−10,000.00"));
    for (index, leaf) in (0..).zip(&world.leaves) {
        assert_eq!(view::entry(index, leaf).unwrap().kind, body(leaf).kind());
    }
}
