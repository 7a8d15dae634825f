//! How fast the ledger is: durable appends each second, and the time for a proof among many entries.
//!
//! `cargo run --release -p allmende --example ledger_speed -- [--database URL] [--statements 20000] [--entries 1000000]`
//! Without `--database` it works on SQLite in a temporary folder (set TMPDIR to choose the disk). On PostgreSQL give an
//! empty database. The appends are real signed statements through the same path as a hub's: signature, reducer, rules,
//! projections, checkpoint, one commit for each batch. The entries of the proofs are filler of 600 bytes.
#![allow(clippy::unwrap_used, reason = "a measurement may stop")]
#![allow(clippy::print_stdout, reason = "a measurement prints its figures")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use allmende::clock::Clock;
use allmende::db::{Db, DbError, DbOptions};
use allmende::ledger::fold::is_stored;
use allmende::ledger::log::{Keeper, Log};
use allmende::ledger::store::{self, Head, NewEntry};
use allmende::ledger::{Item, LedgerError, read};
use allmende::projection::project;
use allmende::{run, transaction};
use allmende_core::collaboration::charter::{Charter, Deadlock, Mode};
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, DecisionId, Origin, PartyId};
use allmende_core::ledger::checkpoint::{Checkpoint, SignedCheckpoint};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::ledger::merkle::{Frontier, leaf_hash};
use allmende_core::signature::SecretKey;
use allmende_core::statement::{
    Body, CollaborationJoined, CollaborationProposed, DecisionOpened, DecisionVoted, Header, KeyClass, LogOpened,
    PROTOCOL, PartyRegistered, Scope, Signer, Statement, row,
};
use tokio::sync::watch;

const MEMBERS: usize = 64;
const LEAF_BYTES: usize = 600;

/// One who signs, and the end of its chain.
struct Pen {
    party: PartyId,
    class: KeyClass,
    key: SecretKey,
    next: u64,
    last: Option<Digest>,
}

impl Pen {
    fn new(i: usize, class: KeyClass) -> Self {
        let mut seed = [class as u8; 32];
        seed[..8].copy_from_slice(&(i as u64).to_le_bytes());
        let key = SecretKey::from_seed(&seed);
        Self { party: format!("member-{i}").parse().unwrap(), class, key, next: 0, last: None }
    }

    fn sign(&mut self, body: impl Into<Body>) -> Envelope {
        let body = body.into();
        let keys = row(body.kind()).unwrap().scope == Scope::Keys;
        let name: &str = if keys { "speed.test/hub" } else { "speed.test/speed" };
        let header = Header {
            origin: name.parse().unwrap(),
            collaboration: (!keys).then(|| "speed".parse().unwrap()),
            agreement: None,
            by: Signer { party: self.party.clone(), class: self.class },
            seq: self.next,
            previous: self.last,
            claimed_at: Clock::system().now(),
        };
        let envelope = Statement { header, body }.seal(&self.key).unwrap();
        self.last = Some(Digest::of(&envelope.payload_bytes().unwrap()));
        self.next += 1;
        envelope
    }
}

fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args();
    arguments.find(|a| a == name)?;
    arguments.next()
}

fn number(name: &str, usual: u64) -> u64 {
    argument(name).map_or(usual, |text| text.parse().unwrap())
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let url = argument("--database").unwrap_or_else(|| format!("sqlite://{}/speed.db", folder.path().display()));
    let options = DbOptions { url: url.clone(), connections: 8, busy_timeout_ms: 10_000 };
    let db = Db::open(&options, Clock::system().now()).await.unwrap();
    println!("{} on {:?}", url.split('?').next().unwrap(), db.backend());
    appends(&db, number("--statements", 20_000) as usize).await;
    proofs(&db, number("--entries", 1_000_000)).await;
}

async fn appends(db: &Db, statements: usize) {
    let key = Arc::new(SecretKey::from_seed(&[200; 32]));
    let keeper = Keeper {
        db: db.clone(),
        clock: Clock::system(),
        key: Arc::clone(&key),
        consequence: run::consequence,
        project,
        max_entries: u64::MAX,
        grown: watch::Sender::new(0),
    };
    let collaboration: CollaborationId = "speed".parse().unwrap();
    let origin: Origin = "speed.test/speed".parse().unwrap();
    let log = Log::open(keeper, "speed".to_owned(), origin, Some(collaboration)).await.unwrap();
    let opening = LogOpened { hub_key: key.public(), protocol: PROTOCOL, registry: "speed.test/hub".parse().unwrap() };
    let mut items = vec![Item::Attest(Box::new(opening.into()), None)];
    let mut pens: Vec<Pen> = (0..MEMBERS).map(|i| Pen::new(i, KeyClass::Governance)).collect();
    for (i, pen) in pens.iter().enumerate() {
        let mut root = Pen::new(i, KeyClass::Root);
        let (party, governance) = (pen.party.clone(), pen.key.public());
        let body = PartyRegistered { party, root: root.key.public(), governance, recovery: None };
        items.push(Item::Signed(root.sign(body)));
    }
    let charter = Charter {
        title: "Speed".into(),
        goal: "Speed".into(),
        mode: Mode::Peer,
        invited: pens.iter().map(|pen| pen.party.clone()).collect(),
        quorum: 2,
        vote_ms: 86_400_000,
        deadlock: Deadlock::Reject,
        milestones: Vec::new(),
    };
    let digest = charter.digest();
    items.push(Item::Signed(pens[0].sign(CollaborationProposed { charter })));
    items.extend(pens[1..].iter_mut().map(|pen| Item::Signed(pen.sign(CollaborationJoined { charter: digest }))));
    log.append(items).await.unwrap();

    let mut n = 0;
    for submitters in [1, 8, MEMBERS] {
        // One who waits for each answer is slow: fewer statements say as much.
        let each = statements / MEMBERS * if submitters == 1 { 8 } else { 1 };
        let mut work: Vec<Vec<Envelope>> = Vec::new();
        for pen in &mut pens[..submitters] {
            let mut signed = Vec::with_capacity(each);
            // Each opens a matter and votes against it, so that the hub closes it: three entries for two statements.
            for _ in 0..each / 2 {
                n += 1;
                let subject = Subject::Admit { party: format!("guest-{n}").parse().unwrap() };
                let decision: DecisionId = format!("d-{n}").parse().unwrap();
                signed.push(pen.sign(DecisionOpened { decision: decision.clone(), subject }));
                signed.push(pen.sign(DecisionVoted { decision, vote: Vote::No }));
            }
            work.push(signed);
        }
        let before = log.state().await.unwrap().size();
        let began = Instant::now();
        let tasks: Vec<_> = work
            .into_iter()
            .map(|envelopes| {
                let log = Arc::clone(&log);
                tokio::spawn(async move {
                    let mut took = Vec::with_capacity(envelopes.len());
                    for envelope in envelopes {
                        let began = Instant::now();
                        log.append(vec![Item::Signed(envelope)]).await.unwrap();
                        took.push(began.elapsed());
                    }
                    took
                })
            })
            .collect();
        let mut took = Vec::new();
        for task in tasks {
            took.extend(task.await.unwrap());
        }
        let elapsed = began.elapsed();
        let entries = log.state().await.unwrap().size() - before;
        let rate = entries as f64 / elapsed.as_secs_f64();
        println!("appends: {submitters:4} submitters, {entries:6} entries: {rate:6.0} a second, {}", spread(took));
    }
}

fn spread(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    format!("median {:.2?}, 99 % {:.2?}, longest {:.2?}", at(0.5), at(0.99), at(1.0))
}

async fn proofs(db: &Db, entries: u64) {
    let began = Instant::now();
    let (origin, key) = ("speed.test/filler".parse::<Origin>().unwrap(), SecretKey::from_seed(&[200; 32]));
    let mut frontier = Frontier::new();
    let mut signed = None;
    while frontier.size() < entries {
        let first = frontier.size();
        let count = 8_192.min(entries - first);
        let mut nodes = Vec::new();
        let leaves: Vec<Vec<u8>> = (first..first + count)
            .map(|i| {
                let mut leaf = vec![0; LEAF_BYTES];
                leaf[..8].copy_from_slice(&i.to_le_bytes());
                leaf
            })
            .collect();
        let hashes: Vec<Digest> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        for hash in &hashes {
            frontier.push_with(*hash, |subtree, hash| {
                if is_stored(subtree.level) {
                    nodes.push((subtree, hash));
                }
            });
        }
        let now = Clock::system().now();
        let entry = |i: usize| NewEntry {
            leaf: &leaves[i],
            leaf_hash: &hashes[i].0,
            payload_digest: &hashes[i],
            kind: "filler",
            signer: "nobody",
            arrived_at: now,
        };
        let page: Vec<_> = (0..leaves.len()).map(entry).collect();
        let checkpoint = Checkpoint { origin: origin.clone(), size: frontier.size(), root: frontier.root() };
        let note = SignedCheckpoint::sign(checkpoint, &origin, &key);
        let head = Head {
            origin: origin.to_string(),
            size: frontier.size(),
            root: frontier.root().0,
            frontier: Vec::new(),
            checkpoint: note.to_string(),
            arrived_at: now,
        };
        signed = Some(note);
        let written: Result<(), LedgerError> = transaction!(*db, tx => {
            store::append(tx, "filler", first, &page, &head).await?;
            store::put_nodes(tx, "filler", &nodes).await
        });
        written.unwrap();
    }
    println!("filler: {entries} entries in {:.0?}", began.elapsed());
    let note = signed.unwrap();
    let mut took = Vec::new();
    let mut index = 7;
    for _ in 0..1_000 {
        // A walk over all places, far apart.
        index = (index * 2_862_933_555_777_941_757_u128 + 3_037_000_493) % u128::from(entries);
        let began = Instant::now();
        let receipt = read::receipt_under(db, "filler", index as u64, note.clone()).await.unwrap();
        took.push(began.elapsed());
        assert_eq!(receipt.index, index as u64);
    }
    println!("proofs among {entries} entries: {}", spread(took));
    let began = Instant::now();
    assert_eq!(read::root_at(db, "filler", entries - 1).await.unwrap() == note.checkpoint.root, entries == 1);
    println!("root of an earlier size: {:.2?}", began.elapsed());
    let emptied: Result<(), DbError> = transaction!(*db, tx => {
        sqlx::query("DELETE FROM log_nodes WHERE log = 'filler'").execute(&mut **tx).await?;
        Ok(())
    });
    emptied.unwrap();
    let began = Instant::now();
    read::receipt_under(db, "filler", 7, note).await.unwrap();
    println!("one proof without stored nodes: {:.2?}", began.elapsed());
}
