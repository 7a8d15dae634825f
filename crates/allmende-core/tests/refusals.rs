//! Every refusal is provoked by a concrete bad statement, which leaves no trace in the state.

mod runs;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::agreement::terms::{Terms, TermsText};
use allmende_core::agreement::vocabulary::{Action, Matter};
use allmende_core::collaboration::decision::{Outcome, Subject, Vote};
use allmende_core::id::PartyId;
use allmende_core::run::plan::Coalition;
use allmende_core::state::{Refusal, State};
use allmende_core::statement::KeyClass;
use allmende_core::statement::{
    AgreementProposed, AgreementSigned, AgreementWithdrawn, AssetRegistered, AssetRevoked, CollaborationJoined,
    CollaborationProposed, DecisionClosed, DecisionOpened, DecisionVoted, EvaluationReported, KeyDelegated, KeyRotated,
    LogOpened, PartyRegistered, RunProposed, RunStarted, UpdateSubmitted,
};
use allmende_core::time::Timestamp;

use crate::licences;
use crate::story::{PARTIES, released, told};
use crate::world::{HELD_OUT_ROWS, START, World, digest, gov, hub, id, key, log_opened, node, registered, root};

macro_rules! worlds {
    ($($name:ident = $make:expr;)+) => {$(
        fn $name() -> World {
            static WORLD: OnceLock<World> = OnceLock::new();
            WORLD.get_or_init(|| $make).clone()
        }
    )+};
}

worlds! {
    founded = World::founded(&PARTIES);
    ready = World::ready(&PARTIES);
    proposed = { let mut w = ready(); let plan = w.plan(); w.say(&gov("north"), RunProposed { run: id("first"), plan }); w };
    approved = { let mut w = ready(); w.approved("first", w.plan()); w };
    started = { let mut w = ready(); w.started("first", w.plan()); w };
    evaluating = { let mut w = ready(); let mut plan = w.plan(); plan.rounds = 1; plan.measure = vec![];
        w.started("first", plan); w.node_tasks("first", &|_| true); w.hub_steps(); w };
    over = told();
}

fn terms(world: &World, change: impl FnOnce(&mut TermsText)) -> Terms {
    let mut text = Terms::from_toml(&world.draft()).unwrap().text().clone();
    change(&mut text);
    text.seal().unwrap()
}

fn update(world: &World) -> UpdateSubmitted {
    world.update("first", Coalition(7), 1, 0, world.run("first").plan.base_model)
}

fn evaluation(world: &World) -> EvaluationReported {
    let model = world.run("first").track(Coalition(7)).unwrap().model();
    let (coalition, total) = (Coalition(7), HELD_OUT_ROWS);
    EvaluationReported { run: id("first"), coalition, round: 1, slot: 0, model, correct: 1, total, confusion: None }
}

fn open(world: &World, name: &str) -> DecisionOpened {
    DecisionOpened { decision: id(name), subject: Subject::End { terms: world.terms.unwrap_or(digest("none")) } }
}

fn vote(name: &str, vote: Vote) -> DecisionVoted {
    DecisionVoted { decision: id(name), vote }
}

type Case = (&'static str, &'static str, fn(&str));

/// Code, what is tried, and how.
const CASES: &[Case] = &[
    ("statement.malformed", "another's signature", |code| {
        let mut w = ready();
        let mut record = w.seal(&gov("north"), open(&w, "d"));
        record.envelope.signatures[0].keyid = key("east/governance").public();
        w.refuse_record(record, code);
    }),
    ("statement.malformed", "another payload type", |code| {
        let mut w = ready();
        let payload = w.statement(&gov("north"), open(&w, "d")).to_payload().unwrap();
        let mut record = w.seal(&gov("north"), open(&w, "d"));
        record.envelope =
            allmende_core::ledger::envelope::Envelope::seal("decision.voted", &payload, &key("north/governance"));
        w.refuse_record(record, code);
    }),
    ("ledger.time", "a hub whose clock runs back", |code| {
        let mut w = ready();
        w.now = START - 1;
        w.refuse(&gov("north"), open(&w, "d"), code);
    }),
    ("ledger.opening", "a log that begins with something else", |code| {
        World::new(&PARTIES).refuse(&root("north"), registered("north"), code);
    }),
    ("ledger.opening", "a log opened twice", |code| {
        founded().refuse(&hub(), log_opened(), code);
    }),
    ("ledger.opening", "a log opened for another key", |code| {
        let body = LogOpened { hub_key: key("other").public(), ..log_opened() };
        World::new(&PARTIES).refuse(&hub(), body, code);
    }),
    ("ledger.protocol", "a later protocol", |code| {
        World::new(&PARTIES).refuse(&hub(), LogOpened { protocol: 2, ..log_opened() }, code);
    }),
    ("statement.origin", "replay from another log", |code| {
        let mut w = ready();
        let mut s = w.statement(&gov("north"), open(&w, "d"));
        s.header.origin = id("hub.example/other");
        w.refuse_record(w.record(&s, "north/governance"), code);
    }),
    ("statement.collaboration", "replay from another collaboration", |code| {
        let mut w = ready();
        let mut s = w.statement(&gov("north"), open(&w, "d"));
        s.header.collaboration = Some(id("other"));
        w.refuse_record(w.record(&s, "north/governance"), code);
    }),
    ("statement.log", "a collaboration in the hub's own log", |code| {
        let mut w = World::new(&PARTIES);
        w.state = State::new(id("hub.example/registry"), None);
        w.say(&hub(), log_opened());
        w.register("north");
        let charter = w.charter();
        w.refuse(&gov("north"), CollaborationProposed { charter }, code);
    }),
    ("key.class", "a vote by a node", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.refuse(&node("east"), vote("d", Vote::Yes), code);
    }),
    ("key.class", "the governance key rotates itself", |code| {
        let body = KeyRotated { class: KeyClass::Governance, new: key("new").public() };
        ready().refuse(&gov("north"), body, code);
    }),
    ("key.unknown", "a key that was never north's", |code| {
        let mut w = ready();
        w.refuse(&gov("north").with("stranger"), open(&w, "d"), code);
    }),
    ("key.unknown", "a governance key that poses as a node", |code| {
        let mut w = approved();
        let body = w.accept("first");
        w.refuse(&node("north").with("north/governance"), body, code);
    }),
    ("key.unknown", "another hub", |code| {
        proposed().refuse(&hub().with("other"), RunStarted { run: id("first") }, code);
    }),
    ("key.in-use", "a node key that another party holds", |code| {
        let body = KeyDelegated { key: key("east/node").public(), node: id("n") };
        ready().refuse(&gov("north"), body, code);
    }),
    ("key.in-use", "one key for root and governance", |code| {
        let root_key = key("south/root").public();
        let body = PartyRegistered { governance: root_key, ..registered("south") };
        ready().refuse(&root("south"), body, code);
    }),
    ("statement.not-yours", "an asset under another's name", |code| {
        let mut w = ready();
        let body = AssetRegistered { asset: id("east/more"), ..w.asset("east") };
        w.refuse(&gov("north"), body, code);
    }),
    ("statement.not-yours", "another's registration", |code| {
        let body = PartyRegistered { party: id("south"), ..registered("lone") };
        ready().refuse(&root("lone"), body, code);
    }),
    ("statement.sequence", "the same statement twice", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        let again = w.log.last().unwrap().clone();
        w.refuse_record(again, code);
    }),
    ("statement.sequence", "a statement that skips one", |code| {
        let mut w = ready();
        let mut s = w.statement(&gov("north"), open(&w, "d"));
        s.header.seq += 1;
        w.refuse_record(w.record(&s, "north/governance"), code);
    }),
    ("statement.previous", "a forked chain", |code| {
        let mut w = ready();
        let mut s = w.statement(&gov("north"), open(&w, "d"));
        s.header.previous = Some(digest("something else"));
        w.refuse_record(w.record(&s, "north/governance"), code);
    }),
    ("party.unknown", "a stranger", |code| {
        let mut w = ready();
        w.refuse(&gov("stranger"), open(&w, "d"), code);
    }),
    ("party.exists", "a name taken twice", |code| {
        let body = PartyRegistered { root: key("other/root").public(), ..registered("north") };
        ready().refuse(&root("north").with("other/root"), body, code);
    }),
    ("collaboration.not-member", "a registered party that did not join", |code| {
        let mut w = ready();
        w.register("south");
        w.refuse(&gov("south"), open(&w, "d"), code);
    }),
    ("collaboration.member-exists", "joined twice", |code| {
        let mut w = ready();
        let charter = w.charter().digest();
        w.refuse(&gov("east"), CollaborationJoined { charter }, code);
    }),
    ("collaboration.not-invited", "joined without an invitation", |code| {
        let mut w = ready();
        w.register("south");
        let charter = w.charter().digest();
        w.refuse(&gov("south"), CollaborationJoined { charter }, code);
    }),
    ("collaboration.exists", "founded twice", |code| {
        let mut w = ready();
        let charter = w.charter();
        w.refuse(&gov("east"), CollaborationProposed { charter }, code);
    }),
    ("collaboration.none", "joined before it was founded", |code| {
        let mut w = World::new(&PARTIES);
        w.say(&hub(), log_opened());
        w.register("north");
        let charter = w.charter().digest();
        w.refuse(&gov("north"), CollaborationJoined { charter }, code);
    }),
    ("collaboration.charter", "a quorum nobody can reach", |code| {
        let mut w = World::new(&PARTIES);
        w.say(&hub(), log_opened());
        w.register("north");
        let mut charter = w.charter();
        charter.quorum = 4;
        w.refuse(&gov("north"), CollaborationProposed { charter }, code);
    }),
    ("collaboration.other-charter", "joined under another charter", |code| {
        let mut w = World::new(&PARTIES);
        w.say(&hub(), log_opened());
        w.register("north");
        w.register("east");
        let charter = w.charter();
        w.say(&gov("north"), CollaborationProposed { charter });
        w.refuse(&gov("east"), CollaborationJoined { charter: digest("other") }, code);
    }),
    ("agreement.mismatch", "terms that name another hub", |code| {
        let mut w = founded();
        let terms = terms(&w, |t| t.hub_key = key("other").public());
        w.refuse(&gov("north"), AgreementProposed { terms }, code);
    }),
    ("agreement.mismatch", "terms that name another log", |code| {
        let mut w = founded();
        let terms = terms(&w, |t| t.origin = id("hub.example/other"));
        w.refuse(&gov("north"), AgreementProposed { terms }, code);
    }),
    ("agreement.mismatch", "terms that swap a party's key", |code| {
        let mut w = founded();
        let terms = terms(&w, |t| t.parties[1].key = key("other").public());
        w.refuse(&gov("north"), AgreementProposed { terms }, code);
    }),
    ("agreement.invalid", "Shapley values that may not be measured", |code| {
        let mut w = founded();
        let measure = |k: &ClauseKind| matches!(k, ClauseKind::Permit(p) if p.action == Action::Measure);
        let terms = terms(&w, |t| t.clause.retain(|c| !measure(&c.rule)));
        w.refuse(&gov("north"), AgreementProposed { terms }, code);
    }),
    ("agreement.unknown", "terms nobody proposed", |code| {
        ready().refuse(&gov("north"), AgreementSigned { terms: digest("none") }, code);
    }),
    ("agreement.exists", "terms proposed twice", |code| {
        let mut w = ready();
        let terms = terms(&w, |_| {});
        w.refuse(&gov("east"), AgreementProposed { terms }, code);
    }),
    ("agreement.offer-expired", "an offer that is over", |code| {
        let mut w = founded();
        let terms = terms(&w, |_| {});
        w.now += 31 * 86_400_000;
        w.refuse(&gov("north"), AgreementProposed { terms }, code);
    }),
    ("agreement.signed-already", "signed twice", |code| {
        let mut w = ready();
        let terms = w.terms.unwrap();
        w.refuse(&gov("north"), AgreementSigned { terms }, code);
    }),
    ("agreement.not-in-force", "an asset before any terms", |code| {
        let mut w = founded();
        let body = w.asset("north");
        w.refuse(&gov("north"), body, code);
    }),
    ("agreement.not-in-force", "a run's work under another agreement", |code| {
        let mut w = approved();
        let mine = w.terms;
        let other = terms(&w, |t| t.title = "Another".into());
        w.say(&gov("north"), AgreementProposed { terms: other.clone() });
        for party in PARTIES {
            w.say(&gov(party), AgreementSigned { terms: other.digest() });
        }
        w.terms = Some(other.digest());
        let accept = w.accept("first");
        w.refuse(&node("north"), accept.clone(), code);
        w.terms = mine;
        w.say(&node("north"), accept);
    }),
    ("agreement.withdrawn-already", "withdrawn twice", |code| {
        let mut w = ready();
        let terms = w.terms.unwrap();
        w.say(&gov("north"), AgreementWithdrawn { terms });
        w.refuse(&gov("north"), AgreementWithdrawn { terms }, code);
    }),
    ("agreement.denied", "an update after its data was taken back", |code| {
        let mut w = started();
        w.say(&gov("east"), AssetRevoked { asset: id("east/digits") });
        let body = update(&w);
        w.refuse(&node("north"), body, code);
    }),
    ("decision.matter", "a matter the terms keep from the members", |code| {
        let mut w = founded();
        let terms = terms(&w, |t| {
            for clause in &mut t.clause {
                if let ClauseKind::Decide(decide) = &mut clause.rule {
                    decide.what.retain(|m| *m != Matter::End);
                }
            }
        });
        w.say(&gov("north"), AgreementProposed { terms: terms.clone() });
        for party in PARTIES {
            w.say(&gov(party), AgreementSigned { terms: terms.digest() });
        }
        w.terms = Some(terms.digest());
        w.refuse(&gov("north"), open(&w, "d"), code);
    }),
    ("decision.unknown", "a vote on nothing", |code| {
        ready().refuse(&gov("north"), vote("d", Vote::Yes), code);
    }),
    ("decision.exists", "a name taken twice", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.refuse(&gov("east"), open(&w, "d"), code);
    }),
    ("decision.subject", "the same matter twice", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.refuse(&gov("east"), open(&w, "e"), code);
    }),
    ("decision.over", "a vote after the time", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.wait(600_000);
        w.refuse(&gov("east"), vote("d", Vote::Yes), code);
    }),
    ("decision.open", "closed before everybody voted", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.refuse(&hub(), DecisionClosed { decision: id("d"), outcome: Outcome::Passed }, code);
    }),
    ("decision.outcome", "an outcome the votes do not give", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.say(&gov("east"), vote("d", Vote::No));
        w.refuse(&hub(), DecisionClosed { decision: id("d"), outcome: Outcome::Passed }, code);
    }),
    ("decision.voted-already", "voted twice", |code| {
        let mut w = ready();
        w.say(&gov("north"), open(&w, "d"));
        w.say(&gov("east"), vote("d", Vote::Yes));
        w.refuse(&gov("east"), vote("d", Vote::No), code);
    }),
    ("decision.no-vote", "a vote in one's own cause", |code| {
        let mut w = ready();
        w.say(&gov("north"), DecisionOpened { decision: id("d"), subject: Subject::Exclude { party: id("west") } });
        w.refuse(&gov("west"), vote("d", Vote::No), code);
    }),
    ("decision.missing", "released without a decision", |code| {
        let mut w = ready();
        w.finished("first", w.plan());
        let body = released(&w, "first");
        w.refuse(&gov("north"), body, code);
    }),
    ("licence.forbids", "released commercially, from data that is not for it", |code| {
        let mut w = licences::finished("MIT", [Some("cc-by-nc-4.0"), None, None]);
        let body = licences::opened(&w, &[]);
        w.refuse(&gov("north"), body, code);
    }),
    ("licence.open", "released though nobody can tell, and nobody said so", |code| {
        let mut w = licences::finished("MIT", [Some("other"), None, None]);
        let body = licences::opened(&w, &[]);
        w.refuse(&gov("north"), body, code);
    }),
    ("asset.exists", "registered twice", |code| {
        let mut w = ready();
        let body = w.asset("north");
        w.refuse(&gov("north"), body, code);
    }),
    ("asset.unknown", "taken back twice", |code| {
        let mut w = ready();
        w.say(&gov("north"), AssetRevoked { asset: id("north/digits") });
        w.refuse(&gov("north"), AssetRevoked { asset: id("north/digits") }, code);
    }),
    ("asset.invalid", "a dataset without rows", |code| {
        let mut w = ready();
        let body = AssetRegistered { asset: id("north/more"), train_rows: 0, ..w.asset("north") };
        w.refuse(&gov("north"), body, code);
    }),
];

fn all() -> impl Iterator<Item = &'static Case> {
    CASES.iter().chain(runs::CASES)
}

#[test]
fn every_bad_statement_is_refused_with_its_code() {
    for (code, what, case) in all() {
        let result = std::panic::catch_unwind(|| case(code));
        assert!(result.is_ok(), "{code}: {what}");
    }
}

#[test]
fn every_code_has_a_case() {
    let codes: BTreeSet<&str> = Refusal::CODES.iter().copied().collect();
    assert_eq!(codes.len(), Refusal::CODES.len(), "codes are unique");
    let covered: BTreeSet<&str> = all().map(|c| c.0).collect();
    let missing: Vec<_> = codes.difference(&covered).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// Records may arrive at the same time, never earlier.
#[test]
fn time_may_stand_still() {
    let mut w = ready();
    assert_eq!(w.state.last_arrival(), Timestamp(START));
    w.say(&gov("north"), open(&w, "d"));
    let parties: Vec<&PartyId> = w.state.members().keys().collect();
    assert_eq!(parties.len(), 3);
}
