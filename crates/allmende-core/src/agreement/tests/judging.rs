//! What the terms allow, deny, and say about why.

use proptest::prelude::*;

use super::*;
use crate::agreement::check::{Decision, Outcome, Request, check};
use crate::agreement::clause::{Clause, ClauseKind};
use crate::agreement::missing::Missing;
use crate::agreement::vocabulary::{Action, DataClass, Part, Place};
use crate::time::Timestamp;

/// 2027-01-15, in the term of the draft.
pub const DAY: Timestamp = Timestamp(1_800_000_000_000);

pub fn request(actor: &str, action: Action, asset: &str) -> Request {
    let (asset, part) = asset.split_once('#').map_or((asset, None), |(a, p)| (a, Some(p.parse().expect("part"))));
    Request {
        actor: actor.parse().expect("party"),
        action,
        asset: asset.parse().expect("asset"),
        part,
        class: if asset.starts_with("handwriting/") {
            DataClass::Model
        } else if asset.ends_with("/reference") {
            DataClass::Reference
        } else {
            DataClass::Record
        },
        purpose: Purpose::Research,
        place: Place::Owner,
        parties: 3,
        at: DAY,
    }
}

fn judged(request: &Request) -> Decision {
    check(&[&terms()], request)
}

type Change = fn(&mut Request);

fn texts(decision: &Decision) -> Vec<String> {
    decision.missing.iter().map(ToString::to_string).collect()
}

#[test]
fn permits_need_every_condition() {
    let good = request("east", Action::Train, "north/digits#train");
    let decision = judged(&good);
    assert_eq!(decision.outcome, Outcome::Allow);
    assert_eq!(decision.clauses[0].clause.as_str(), "2.1");
    let cases: [(&str, Change); 5] = [
        ("clause 2.1: min_parties 3: 2 take part", |r| r.parties = 2),
        ("clause 2.1: purpose commercial is not among research", |r| r.purpose = Purpose::Commercial),
        ("clause 2.1 permits it on the owner's node only", |r| r.place = Place::Anywhere),
        ("the agreement runs from 2026-12-01 to 2027-11-30; 2026-11-14 is outside", |r| {
            r.at = Timestamp(1_794_700_000_000);
        }),
        ("south is not a party of the agreement", |r| r.actor = "south".parse().expect("id")),
    ];
    for (says, change) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        let decision = judged(&bad);
        assert_eq!((decision.outcome, texts(&decision)), (Outcome::Deny, vec![says.to_owned()]));
        assert!(!decision.missing[0].zh().is_empty());
    }
    let whole = judged(&request("east", Action::Evaluate, "north/digits"));
    assert_eq!(texts(&whole), ["clause 2.2 covers north/digits#held-out only"]);
    let size = judged(&request("east", Action::Measure, "north/digits"));
    assert_eq!(texts(&size), ["clause 2.3: coalitions of 1 or 2 parties only, not of 3"]);
    let write = judged(&request("east", Action::Write, "north/digits"));
    assert_eq!(texts(&write), ["no clause permits to change north/digits"]);
}

#[test]
fn the_last_day_is_included() {
    let mut last = request("east", Action::Train, "north/digits");
    last.at = Timestamp(1_796_083_199_999 + 365 * 86_400_000);
    assert_eq!(last.at.to_string(), "2027-11-30T23:59:59.999Z");
    assert!(judged(&last).is_allowed());
    last.at = last.at.plus_ms(1);
    assert!(!judged(&last).is_allowed());
}

#[test]
fn forbid_wins_over_permit() {
    let text = with_clauses(
        "[[clause]]\nid='1'\nkind='permit'\naction='disclose'\nassets=['*/*']\nby=['all']\nplace='anywhere'\n\
         [[clause]]\nid='2'\nkind='forbid'\naction='disclose'\ndata=['record']\nexcept=['north/reference']\n",
    );
    let mut ask = request("east", Action::Disclose, "north/renamed");
    let decision = check(&[&text], &ask);
    assert_eq!(decision.clauses[0].clause.as_str(), "2");
    assert_eq!(texts(&decision), ["clause 2 forbids to disclose record data, except north/reference"]);
    // The owner is bound too: rows leave its house.
    ask.actor = "north".parse().expect("id");
    assert!(!check(&[&text], &ask).is_allowed());
    ask.asset = "north/reference".parse().expect("id");
    assert!(check(&[&text], &ask).is_allowed());
    ask.asset = "north/renamed".parse().expect("id");
    ask.class = DataClass::Aggregate;
    assert!(check(&[&text], &ask).is_allowed());
}

#[test]
fn a_forbidden_part_forbids_the_whole_and_an_excepted_part_frees_only_itself() {
    let terms = with_clauses(
        "[[clause]]\nid='1'\nkind='permit'\naction='read'\nassets=['*/*']\nby=['all']\nplace='anywhere'\n\
         [[clause]]\nid='2'\nkind='forbid'\naction='read'\nassets=['*/*#held-out']\n\
         [[clause]]\nid='3'\nkind='forbid'\naction='read'\nassets=['west/*']\nexcept=['west/*#train']\n",
    );
    for (asset, passes) in [
        ("north/a", false),
        ("north/a#held-out", false),
        ("north/a#train", true),
        ("west/a", false),
        ("west/a#train", true),
    ] {
        assert_eq!(check(&[&terms], &request("east", Action::Read, asset)).is_allowed(), passes, "{asset}");
    }
}

#[test]
fn own_assets_need_no_permit_but_keep_to_what_the_owner_promised() {
    for action in [Action::See, Action::Read, Action::Write, Action::Train, Action::Evaluate, Action::Derive] {
        assert!(judged(&request("north", action, "north/unnamed")).is_allowed(), "{action}");
        assert!(check(&[], &request("north", action, "north/unnamed")).is_allowed(), "{action}");
    }
    let forbid = |by: &str| {
        with_clauses(&format!("[[clause]]\nid='1'\nkind='forbid'\naction='read'\nassets=['north/*']\nby=['{by}']\n"))
    };
    let ask = request("north", Action::Read, "north/digits");
    assert!(check(&[&forbid("all")], &ask).is_allowed());
    assert!(!check(&[&forbid("north")], &ask).is_allowed());
}

#[test]
fn every_covering_agreement_must_allow() {
    let narrow = with_clauses(
        "[[clause]]\nid='1'\nkind='permit'\naction='see'\nassets=['north/digits']\nby=['all']\nplace='anywhere'\n",
    );
    let elsewhere = with_clauses(
        "[[clause]]\nid='1'\nkind='permit'\naction='see'\nassets=['north/photos']\nby=['all']\nplace='anywhere'\n",
    );
    let (terms, ask) = (terms(), request("east", Action::Train, "north/digits"));
    assert!(check(&[&terms, &elsewhere], &ask).is_allowed());
    let decision = check(&[&terms, &narrow], &ask);
    assert_eq!(texts(&decision), ["no clause permits to train on north/digits"]);
    assert!(matches!(&decision.missing[0], Missing::NoPermit { terms, .. } if *terms == narrow.digest()));
    assert_eq!(texts(&check(&[], &ask)), ["no agreement in force covers north/digits"]);
}

pub fn any_request() -> impl Strategy<Value = Request> {
    (
        prop::sample::select(vec!["north", "east", "west", "south"]),
        prop::sample::select(Action::ALL.to_vec()),
        prop::sample::select(vec![
            "north/digits",
            "east/digits",
            "west/digits",
            "north/reference",
            "east/other",
            "handwriting/model",
            "south/x",
        ]),
        prop::sample::select(vec![None, Some(Part::Train), Some(Part::HeldOut)]),
        prop::sample::select(DataClass::ALL.to_vec()),
        prop::sample::select(vec![Purpose::Research, Purpose::Commercial]),
        prop::sample::select(Place::ALL.to_vec()),
        0..5_u32,
        prop::sample::select(vec![1_790_000_000_000, 1_800_000_000_000, 1_810_000_000_000, 1_900_000_000_000]),
    )
        .prop_map(|(actor, action, asset, part, class, purpose, place, parties, at)| Request {
            part,
            class,
            purpose,
            place,
            parties,
            at: Timestamp(at),
            ..request(actor, action, asset)
        })
}

pub fn any_clause() -> impl Strategy<Value = Clause> {
    let patterns = prop::collection::btree_set(
        prop::sample::select(vec![
            "*/*",
            "*/digits",
            "north/*",
            "north/digits",
            "*/*#held-out",
            "handwriting/*",
            "east/digits#train",
        ]),
        1..3,
    );
    let by = prop::sample::select(vec!["[\"all\"]", "[\"north\"]", "[\"east\",\"west\"]"]);
    let extra = prop::sample::select(vec!["", ",\"min_parties\":2", ",\"min_parties\":3", ",\"until\":\"2027-02-01\""]);
    let data = prop::sample::select(vec!["[]", "[\"record\"]", "[\"model\",\"aggregate\"]"]);
    (any::<bool>(), prop::sample::select(Action::ALL.to_vec()), patterns, by, extra, data, prop::sample::select(Place::ALL.to_vec()), 1..9_u32)
        .prop_map(|(permit, action, patterns, by, extra, data, place, sizes)| {
            let assets = serde_json::to_string(&patterns).expect("list");
            let extra = if action == Action::Measure { format!(",\"coalitions\":[{sizes}]") } else { extra.to_owned() };
            let text = if permit {
                format!(r#"{{"id":"x","kind":"permit","action":"{action}","assets":{assets},"by":{by},"place":"{place}"{extra}}}"#)
            } else {
                format!(r#"{{"id":"x","kind":"forbid","action":"{action}","assets":{assets},"by":{by},"data":{data}}}"#)
            };
            serde_json::from_str(&text).expect("clause")
        })
}

pub fn any_terms() -> impl Strategy<Value = Terms> {
    prop::collection::vec(any_clause(), 0..8).prop_map(|clauses| {
        changed(|text| {
            for (i, mut clause) in clauses.into_iter().enumerate() {
                clause.id = format!("9.{i}").parse().expect("id");
                text.clause.push(clause);
            }
        })
    })
}

fn without(terms: &Terms, index: usize) -> Terms {
    let mut text = terms.text().clone();
    text.clause.remove(index);
    text.seal().expect("valid")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn total_and_deterministic(terms in any_terms(), request in any_request()) {
        let decision = check(&[&terms], &request);
        prop_assert_eq!(&decision, &check(&[&terms], &request));
        let again = Terms::from_canonical(terms.canonical()).expect("canonical");
        prop_assert_eq!(&decision, &check(&[&again], &request));
        prop_assert_eq!(decision.is_allowed(), decision.missing.is_empty());
        let text = serde_json::to_string(&decision).expect("json");
        prop_assert_eq!(serde_json::from_str::<Decision>(&text).expect("json"), decision);
    }

    #[test]
    fn more_forbids_or_fewer_permits_never_allow_more(terms in any_terms(), request in any_request()) {
        let before = check(&[&terms], &request);
        for (i, clause) in terms.clause.iter().enumerate() {
            let after = check(&[&without(&terms, i)], &request);
            match &clause.rule {
                // Taking a prohibition away is adding it, read backwards.
                ClauseKind::Forbid(_) => prop_assert!(after.is_allowed() || !before.is_allowed()),
                ClauseKind::Permit(_) if !before.is_allowed() => prop_assert!(!after.is_allowed()),
                _ => {}
            }
        }
    }

    #[test]
    fn adding_a_forbid_never_allows(terms in any_terms(), clause in any_clause(), request in any_request()) {
        prop_assume!(matches!(clause.rule, ClauseKind::Forbid(_)));
        let mut text = terms.text().clone();
        text.clause.push(clause);
        let more = text.seal().expect("valid");
        if !check(&[&terms], &request).is_allowed() {
            prop_assert!(!check(&[&more], &request).is_allowed());
        }
    }

    #[test]
    fn renaming_evades_no_class_forbid(name in "[a-z][a-z0-9]{0,12}", actor in prop::sample::select(vec!["north", "east"]), place in prop::sample::select(Place::ALL.to_vec())) {
        prop_assume!(name != "reference");
        let mut ask = request(actor, Action::Disclose, &format!("north/{name}"));
        ask.place = place;
        ask.class = DataClass::Record;
        let decision = judged(&ask);
        prop_assert!(!decision.is_allowed());
        prop_assert_eq!(decision.clauses[0].clause.as_str(), "2.4");
    }

    #[test]
    fn own_inward_use_is_never_stopped_by_what_binds_all(terms in any_terms(), mut request in any_request()) {
        request.actor = request.asset.owner();
        let promised = terms.clause.iter().any(|c| matches!(&c.rule, ClauseKind::Forbid(f) if f.by.names_expressly(&request.actor)));
        let outward = matches!(request.action, Action::Disclose | Action::Serve | Action::Release);
        if !promised && !outward {
            prop_assert!(check(&[&terms], &request).is_allowed());
        }
    }

    #[test]
    fn the_nearest_request_that_is_named_would_pass(terms in any_terms(), request in any_request()) {
        let decision = check(&[&terms], &request);
        let mut nearer = request.clone();
        let mut changeable = true;
        for missing in &decision.missing {
            match missing {
                Missing::Purpose { among, .. } => nearer.purpose = among[0],
                Missing::Place { place, .. } => nearer.place = *place,
                Missing::MinParties { min_parties, .. } => nearer.parties = *min_parties,
                Missing::Coalition { sizes, .. } => nearer.parties = sizes[0],
                _ => changeable = false,
            }
        }
        if changeable {
            prop_assert!(check(&[&terms], &nearer).is_allowed());
        }
    }
}
