//! The gate of licences before a release: what forbids stops it, what is open is accepted by name or stops it too.

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::Licence;
use allmende_core::collaboration::decision::{Outcome, Subject};
use allmende_core::id::AssetId;
use allmende_core::licence::{Answer, Claim, Obligation, Relation, Source, Stated, TABLE, judge};
use allmende_core::statement::{AssetRegistered, DecisionOpened, DecisionVoted, ModelReleased};
use allmende_core::time::Timestamp;
use proptest::prelude::*;

use crate::story::{PARTIES, released};
use crate::world::{World, gov, id};

/// A collaboration whose results stand under `licence`, with data of these licences of others.
pub fn ready(licence: &str, stated: [Option<&str>; 3]) -> World {
    let mut world = World::founded(&PARTIES);
    let draft = world.draft();
    let draft = draft.replace("purpose = [\"research\"]", "purpose = [\"research\", \"commercial\"]");
    let draft = draft.replace("licence = \"CC-BY-NC-4.0\"", &format!("licence = \"{licence}\""));
    world.agree_on(&Terms::from_toml(&draft).unwrap());
    for (party, stated) in PARTIES.iter().zip(stated) {
        let asset = AssetRegistered { licence: stated.map(|text| text.parse().unwrap()), ..world.asset(party) };
        world.say(&gov(party), asset);
    }
    world
}

pub fn finished(licence: &str, stated: [Option<&str>; 3]) -> World {
    let mut world = ready(licence, stated);
    let mut plan = world.plan();
    (plan.rounds, plan.measure) = (1, Vec::new());
    world.finished("first", plan);
    world
}

fn subject(world: &World, accepted: &[&str]) -> Subject {
    let accepted = accepted.iter().map(|name| id(name)).collect();
    Subject::Release { run: id("first"), model: world.run("first").final_model.unwrap(), accepted }
}

pub fn opened(world: &World, accepted: &[&str]) -> DecisionOpened {
    DecisionOpened { decision: id("release"), subject: subject(world, accepted) }
}

fn statement(world: &World, licence: &str) -> ModelReleased {
    ModelReleased { licence: licence.to_owned(), ..released(world, "first") }
}

#[test]
fn what_is_the_members_own_stands_under_their_terms() {
    for licence in ["MIT", "LicenseRef-Members-Only"] {
        let mut world = finished(licence, [None; 3]);
        assert_eq!(world.decide("release", subject(&world, &[])), Outcome::Passed);
        world.say(&gov("east"), statement(&world, licence));
    }
}

#[test]
fn what_fits_is_released_and_says_what_is_owed() {
    let mut world = finished("MIT", [Some("Apache-2.0"), None, Some("cc0-1.0")]);
    let cleared = world.state.clear_release(world.run("first"), Timestamp(world.now));
    assert_eq!((cleared.verdict.answer, cleared.open.as_slice()), (Answer::Compatible, &[][..]));
    assert_eq!(cleared.verdict.obligations[&Obligation::Attribution], ["north/digits"]);
    let refusal = world.refuse(&gov("north"), opened(&world, &["north/digits"]), "licence.open");
    assert!(refusal.to_string().contains("open: none; accepted: north/digits"), "{refusal}");
    assert_eq!(world.decide("release", subject(&world, &[])), Outcome::Passed);
    world.say(&gov("east"), statement(&world, "MIT"));
}

#[test]
fn what_forbids_stops_it_before_anything_is_decided() {
    let mut world = finished("MIT", [None, Some("cc-by-nc-4.0"), Some("cc-by-sa-4.0")]);
    for accepted in [&[][..], &["east/digits"], &["west/digits"], &["east/digits", "west/digits"]] {
        let refusal = world.refuse(&gov("north"), opened(&world, accepted), "licence.forbids");
        let text = refusal.to_string();
        assert!(text.contains("cc-by-nc-4.0 of east/digits is not for commercial use, and mit allows it"), "{text}");
    }
    let body = statement(&world, "MIT");
    world.refuse(&gov("north"), body, "licence.forbids");
    let cleared = world.state.clear_release(world.run("first"), Timestamp(world.now));
    assert_eq!(cleared.passing, []);
    // The refusal names what would pass, and that passes.
    let world = finished("MIT", [None, Some("cc-by-nc-4.0"), None]);
    let cleared = world.state.clear_release(world.run("first"), Timestamp(world.now));
    assert_eq!(cleared.passing, [Licence::CcByNc, Licence::CcByNcSa]);
    let mut world = finished("CC-BY-NC-4.0", [None, Some("cc-by-nc-4.0"), None]);
    assert_eq!(world.decide("release", subject(&world, &[])), Outcome::Passed);
    world.say(&gov("east"), statement(&world, "CC-BY-NC-4.0"));
}

#[test]
fn what_is_open_is_accepted_by_name_or_stops_it() {
    let mut world = finished("MIT", [Some("other"), Some("apache-2.0"), Some("cc-by-sa-4.0")]);
    for accepted in [&[][..], &["north/digits"], &["west/digits", "north/digits"], &["east/digits"]] {
        let refusal = world.refuse(&gov("north"), opened(&world, accepted), "licence.open");
        assert!(refusal.to_string().contains("cc-by-sa-4.0 of west/digits"), "{refusal}");
    }
    world.refuse(&gov("east"), statement(&world, "MIT"), "decision.missing");
    let both = ["north/digits", "west/digits"];
    assert_eq!(world.decide("release", subject(&world, &both)), Outcome::Passed);
    world.say(&gov("east"), statement(&world, "MIT"));
    // Who accepted what stands in the log: the opener with its statement, each voter by its vote.
    let decided = &world.state.decisions()[&id("release")];
    assert_eq!((decided.votes.len(), &decided.subject), (3, &subject(&world, &both)));
}

#[test]
fn terms_that_change_after_the_vote_open_the_question_again() {
    let mut world = finished("CC-BY-NC-4.0", [Some("cc-by-nc-4.0"), None, None]);
    assert_eq!(world.decide("release", subject(&world, &[])), Outcome::Passed);
    let mut text = world.state.agreements()[&world.terms.unwrap()].terms.text().clone();
    text.replaces = world.terms;
    for clause in &mut text.clause {
        if let ClauseKind::Results(results) = &mut clause.rule {
            results.licence = Licence::Mit;
        }
    }
    let terms = text.seal().unwrap();
    world.agree_on(&terms);
    assert_eq!(world.decide("amend", Subject::Amend { terms: terms.digest() }), Outcome::Passed);
    world.refuse(&gov("east"), statement(&world, "MIT"), "licence.forbids");
}

/// Whoever votes sees the names; a vote on another list is a vote on another matter.
#[test]
fn another_list_is_another_matter() {
    let mut world = finished("MIT", [Some("other"), None, None]);
    world.say(&gov("north"), opened(&world, &["north/digits"]));
    let again = DecisionOpened { decision: id("again"), subject: subject(&world, &["north/digits"]) };
    world.refuse(&gov("east"), again, "decision.subject");
    let vote = allmende_core::collaboration::decision::Vote::No;
    world.say(&gov("east"), DecisionVoted { decision: id("release"), vote });
    world.hub_steps();
    world.refuse(&gov("east"), statement(&world, "MIT"), "decision.missing");
}

#[test]
fn a_licence_is_stated_in_one_spelling() {
    for (said, signed) in [("MIT", "mit"), ("GPL-3.0-only", "gpl-3.0"), (" Other ", "other"), ("llama3.1", "llama3.1")]
    {
        let stated: Stated = said.parse().unwrap();
        assert_eq!(serde_json::to_string(&stated).unwrap(), format!("\"{signed}\""));
        assert_eq!(serde_json::from_str::<Stated>(&format!("\"{signed}\"")).unwrap(), stated);
        if said != signed {
            assert!(serde_json::from_str::<Stated>(&format!("\"{said}\"")).is_err(), "{said}");
        }
    }
    assert!("my own licence".parse::<Stated>().is_err());
    assert!("".parse::<Stated>().is_err());
}

/// What each licence of the table says to each licence of results, for data that a model learned from. Logs are judged by
/// it for ever: lines may be added, and none may change.
#[test]
fn the_table_means_what_it_meant() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/licences-v1.txt");
    let mut now = String::new();
    for licence in TABLE {
        let source = Source {
            name: "a/b".to_owned(),
            relation: Relation::LearnedFrom,
            claim: licence.id.parse::<Stated>().unwrap().claim(),
        };
        let answers = Licence::ALL.iter().map(|own| {
            let verdict = judge(&Claim(vec![own.code().to_owned()]), std::slice::from_ref(&source));
            verdict.answer.as_str().get(..1).unwrap().to_owned()
        });
        now += &format!("{} {}\n", licence.id, answers.collect::<String>());
    }
    if std::env::var("ALLMENDE_GOLDEN").as_deref() == Ok("write") {
        std::fs::write(path, &now).unwrap();
    }
    let then = std::fs::read_to_string(path).unwrap();
    for line in then.lines() {
        assert!(now.lines().any(|known| known == line), "{line} changed: signed logs are judged by it");
    }
    assert_eq!(then.lines().count(), now.lines().count(), "write the new lines with ALLMENDE_GOLDEN=write");
}

fn any_stated() -> impl Strategy<Value = Option<String>> {
    prop_oneof![
        1 => Just(None),
        1 => Just(Some("other".to_owned())),
        4 => prop::sample::select(TABLE).prop_map(|licence| Some(licence.id.to_owned())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever was stated: it is decided only as judged, and what is unknown only with its very sources accepted.
    #[test]
    fn no_silent_yes(
        own in prop::sample::select(Licence::ALL),
        a in any_stated(), b in any_stated(), c in any_stated(),
        guess in prop::collection::btree_set(0_usize..3, 0..4),
    ) {
        let mut world = finished(own.code(), [a.as_deref(), b.as_deref(), c.as_deref()]);
        let cleared = world.state.clear_release(world.run("first"), Timestamp(world.now));
        let sources: Vec<Source> = PARTIES.iter().zip([&a, &b, &c]).filter_map(|(party, stated)| Some(Source {
            name: format!("{party}/digits"),
            relation: Relation::LearnedFrom,
            claim: Claim(vec![stated.clone()?]),
        })).collect();
        let verdict = judge(&Claim(vec![own.code().to_owned()]), &sources);
        let answer = if sources.is_empty() { Answer::Compatible } else { verdict.answer };
        prop_assert_eq!(cleared.verdict.answer, answer);
        prop_assert_eq!(answer == Answer::Unknown, answer != Answer::Incompatible && !cleared.open.is_empty());
        prop_assert_eq!(cleared.passing.contains(&own), answer == Answer::Compatible);
        let mut names: Vec<String> = guess.iter().map(|i| format!("{}/digits", PARTIES[*i])).collect();
        names.sort();
        let guess: Vec<AssetId> = names.iter().map(|name| id(name)).collect();
        let model = world.run("first").final_model.unwrap();
        let of = |accepted: Vec<AssetId>| Subject::Release { run: id("first"), model, accepted };
        let guessed = DecisionOpened { decision: id("guess"), subject: of(guess.clone()) };
        match answer {
            Answer::Incompatible => {
                world.refuse(&gov("north"), guessed, "licence.forbids");
                let open = DecisionOpened { decision: id("open"), subject: of(cleared.open) };
                world.refuse(&gov("north"), open, "licence.forbids");
                let body = statement(&world, own.code());
                world.refuse(&gov("north"), body, "licence.forbids");
            }
            _ => {
                if guess != cleared.open {
                    world.refuse(&gov("north"), guessed, "licence.open");
                }
                prop_assert_eq!(world.decide("release", of(cleared.open)), Outcome::Passed);
                let body = statement(&world, own.code());
                world.say(&gov("east"), body);
            }
        }
    }
}
