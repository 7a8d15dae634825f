//! Repositories under the terms: who may do what at their doors, and what stands of it in the log.

use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{Action, DataClass};
use allmende_core::id::{AssetId, PartyId};
use allmende_core::state::State;
use allmende_core::statement::{
    AccessGranted, AgreementWithdrawn, AssetRegistered, OpenBytes, Reads, ReadsCounted, RepositoryPlaced,
    RepositoryWithdrawn,
};
use allmende_core::time::Timestamp;

use crate::story::{PARTIES, told};
use crate::world::{World, digest, gov, hub, id};

const DATA: &str = "north/open-set";

fn placed(name: &str, class: DataClass) -> RepositoryPlaced {
    RepositoryPlaced { repository: id(name), class }
}

/// A world whose terms let all read what lies in [`DATA`], and only its owner write it.
fn world() -> World {
    let mut world = World::founded(&PARTIES);
    let clause = format!(
        "\n[[clause]]\nid = \"9.1\"\nkind = \"permit\"\naction = \"read\"\nassets = [\"{DATA}\"]\nby = [\"all\"]\nplace = \"anywhere\"\n"
    );
    let terms = Terms::from_toml(&(world.draft() + &clause)).unwrap();
    world.agree_on(&terms);
    world.say(&hub(), placed(DATA, DataClass::Reference));
    world
}

fn may(state: &State, party: &str, name: &str, action: Action, at: i64) -> Option<bool> {
    let (party, repository): (PartyId, AssetId) = (id(party), id(name));
    state.judge_repository(&party, &repository, action, Timestamp(at)).map(|d| d.is_allowed())
}

#[test]
fn doors_open_as_the_terms_say() {
    let world = world();
    let ask = |party, action| may(&world.state, party, DATA, action, world.now);
    for party in PARTIES {
        assert_eq!(ask(party, Action::See), Some(true), "clause 1.1");
        assert_eq!(ask(party, Action::Read), Some(true), "clause 9.1");
        assert_eq!(ask(party, Action::Write), Some(party == "north"), "only its owner");
    }
    assert_eq!(ask("stranger", Action::See), Some(false));
    let read = world.state.judge_repository(&id("east"), &id(DATA), Action::Read, Timestamp(world.now)).unwrap();
    assert_eq!(read.to_string(), "allowed by clause 9.1");
    assert_eq!(
        may(&world.state, "east", "north/unplaced", Action::Read, world.now),
        None,
        "the terms do not speak of it"
    );
}

#[test]
fn what_no_clause_permits_stays_shut_and_who_leaves_is_out() {
    let mut world = world();
    world.say(&hub(), placed("east/weights", DataClass::Model));
    let ask = |world: &World, party| may(&world.state, party, "east/weights", Action::Read, world.now);
    assert_eq!(ask(&world, "east"), Some(true), "its own");
    assert_eq!(ask(&world, "north"), Some(false), "no clause");
    let terms = world.terms.unwrap();
    world.say(&gov("west"), AgreementWithdrawn { terms });
    let notice_ms = i64::from(world.notice_days + 1) * 86_400_000;
    assert_eq!(may(&world.state, "west", DATA, Action::Read, world.now), Some(true), "until its notice is over");
    assert_eq!(may(&world.state, "west", DATA, Action::Read, world.now + notice_ms), Some(false));
    assert_eq!(
        may(&world.state, "east", DATA, Action::Read, world.now + 2 * 365 * 86_400_000),
        Some(false),
        "terms end"
    );
}

#[test]
fn a_release_is_a_repository_that_members_build_upon() {
    let world = told();
    let model = "handwriting/first";
    assert_eq!(world.state.repository(&id(model)).unwrap().class, DataClass::Model);
    let decision = world.state.judge_repository(&id("west"), &id(model), Action::Read, Timestamp(world.now)).unwrap();
    assert_eq!(decision.to_string(), "allowed by clause 4.4", "to derive, not to read");
    assert_eq!(may(&world.state, "west", model, Action::Write, world.now), Some(false));
    world.clone().refuse(&hub(), RepositoryWithdrawn { repository: id(model) }, "asset.unknown");
}

#[test]
fn only_members_place_and_only_what_may_be_shared() {
    let mut world = world();
    world.refuse(&hub(), placed(DATA, DataClass::Reference), "asset.exists");
    world.refuse(&hub(), placed("stranger/set", DataClass::Reference), "collaboration.not-member");
    world.refuse(&hub(), placed("north/rows", DataClass::Record), "asset.invalid");
    world.refuse(&gov("north"), placed("north/other", DataClass::Model), "key.class");
    world.offer_assets();
    world.refuse(&hub(), placed("north/digits", DataClass::Reference), "asset.exists");
    let open = |name: &str, class, bytes| AssetRegistered { asset: id(name), class, bytes, ..world.asset("north") };
    let (record, reference) = (
        open(DATA, DataClass::Record, None),
        open(DATA, DataClass::Reference, Some(OpenBytes { digest: digest("rows"), size_bytes: 4 })),
    );
    world.refuse(&gov("north"), record, "asset.exists");
    world.say(&gov("north"), reference);
    world.say(&hub(), RepositoryWithdrawn { repository: id(DATA) });
    world.refuse(&hub(), RepositoryWithdrawn { repository: id(DATA) }, "asset.unknown");
    assert_eq!(may(&world.state, "north", DATA, Action::Read, world.now), None);
    world.say(&hub(), placed(DATA, DataClass::Reference));
}

#[test]
fn grants_are_for_those_whom_the_terms_let_read() {
    let mut world = world();
    world.say(&hub(), placed("east/weights", DataClass::Model));
    let granted = |repository: &str, party: &str| AccessGranted { repository: id(repository), party: id(party) };
    world.say(&hub(), granted(DATA, "east"));
    world.refuse(&hub(), granted(DATA, "east"), "run.done");
    world.refuse(&hub(), granted("east/weights", "west"), "agreement.denied");
    world.refuse(&hub(), granted("east/none", "west"), "asset.unknown");
    world.refuse(&hub(), granted(DATA, "stranger"), "collaboration.not-member");
}

#[test]
fn reads_are_counted_once_for_each_period() {
    let mut world = world();
    let begin = world.now;
    world.wait(10_000);
    let reads = |party: &str, requests| Reads { party: id(party), requests, bytes: 7 };
    let counted = |from: i64, until: i64, readers: Vec<Reads>| ReadsCounted {
        repository: id(DATA),
        from: Timestamp(from),
        until: Timestamp(until),
        readers,
    };
    let (east, west) = (reads("east", 2), reads("west", 1));
    let wrong = "run.wrong-result";
    world.refuse(&hub(), counted(begin - 50_000, begin - 40_000, vec![east.clone()]), wrong);
    world.refuse(&hub(), counted(begin, begin, vec![east.clone()]), wrong);
    world.refuse(&hub(), counted(begin, begin + 90_000_000, vec![east.clone()]), wrong);
    world.refuse(&hub(), counted(begin, begin + 5_000, vec![]), wrong);
    world.refuse(&hub(), counted(begin, begin + 5_000, vec![west.clone(), east.clone()]), wrong);
    world.refuse(&hub(), counted(begin, begin + 5_000, vec![east.clone(), east.clone()]), wrong);
    world.refuse(&hub(), counted(begin, begin + 5_000, vec![reads("east", 0)]), wrong);
    world.refuse(&hub(), counted(begin, begin + 5_000, vec![reads("stranger", 1)]), "party.unknown");
    world.say(&hub(), counted(begin, begin + 5_000, vec![east.clone(), west]));
    world.refuse(&hub(), counted(begin + 4_000, begin + 6_000, vec![east.clone()]), wrong);
    world.say(&hub(), RepositoryWithdrawn { repository: id(DATA) });
    world.say(&hub(), counted(begin + 5_000, begin + 6_000, vec![east]));
}
