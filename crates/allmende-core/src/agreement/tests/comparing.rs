//! What differs between two versions, and who must consent.

use proptest::prelude::*;

use super::judging::{any_request, any_terms};
use super::*;
use crate::agreement::check::check;
use crate::agreement::clause::{Benefit, Clause, ClauseKind};
use crate::agreement::diff::{Shared, What, consent_needed, diff};
use crate::agreement::vocabulary::{BenefitRule, Licence};

fn rule_of<'t>(text: &'t mut TermsText, id: &str) -> &'t mut ClauseKind {
    &mut text.clause.iter_mut().find(|c| c.id.as_str() == id).expect("clause").rule
}

fn needed(change: impl FnOnce(&mut TermsText)) -> Vec<String> {
    consent_needed(&terms(), &changed(change)).into_iter().map(|p| p.to_string()).collect()
}

const ALL: [&str; 3] = ["east", "north", "west"];

#[test]
fn whose_assets_become_more_usable_must_sign() {
    // A permit for north's photos.
    let permit = |text: &mut TermsText| {
        let json = r#"{"id":"2.9","kind":"permit","action":"read","assets":["north/photos"],"by":["east"],"place":"anywhere"}"#;
        text.clause.push(serde_json::from_str::<Clause>(json).expect("clause"));
    };
    assert_eq!(needed(permit), ["north"]);
    let found = diff(&terms(), &changed(permit));
    assert_eq!(found.added.len(), 1);
    assert_eq!(found.allows.iter().map(ToString::to_string).collect::<Vec<_>>(), ["read north/photos by east"]);
    // Backwards it takes something from east, which is no reason for a veto.
    let back = diff(&changed(permit), &terms());
    assert!(back.consent_needed().is_empty(), "{:?}", back.effects);
    assert!(back.effects.iter().any(|e| e.party.as_str() == "east" && matches!(e.what, What::MayNoLonger { .. })));
    // A lower threshold makes every asset in the clause more usable.
    assert_eq!(
        needed(|t| if let ClauseKind::Permit(p) = rule_of(t, "2.1") {
            p.min_parties = Some(2);
        }),
        ALL
    );
    // Lifting a prohibition that no permit stands behind lets owners do more with their own, others nothing.
    assert!(needed(|t| t.clause.retain(|c| c.id.as_str() != "2.4")).is_empty());
    // Joint results belong to all.
    assert_eq!(
        needed(|t| if let ClauseKind::Permit(p) = rule_of(t, "4.1") {
            p.action = crate::agreement::vocabulary::Action::Write;
        }),
        ALL
    );
}

#[test]
fn owners_bound_in_their_own_house_must_sign() {
    let forbid = |text: &mut TermsText| {
        let json = r#"{"id":"2.9","kind":"forbid","action":"read","assets":["west/*"],"by":["west"]}"#;
        text.clause.push(serde_json::from_str::<Clause>(json).expect("clause"));
    };
    assert_eq!(needed(forbid), ["west"]);
}

#[test]
fn shares_that_fall_must_sign() {
    let found = diff(
        &terms(),
        &changed(|t| {
            if let ClauseKind::Results(r) = rule_of(t, "3.1") {
                r.owners.insert("north".parse().expect("id"), 40);
                r.owners.insert("east".parse().expect("id"), 27);
            }
        }),
    );
    assert_eq!(found.moves.len(), 2);
    assert!(found.moves.iter().all(|m| m.of == Shared::Ownership));
    assert_eq!(found.consent_needed().into_iter().map(|p| p.to_string()).collect::<Vec<_>>(), ["east"]);
}

#[test]
fn duties_need_everyone() {
    assert_eq!(
        needed(|t| if let ClauseKind::Exit(e) = rule_of(t, "7.1") {
            e.notice_days = 60;
        }),
        ALL
    );
    assert_eq!(
        needed(|t| if let ClauseKind::Results(r) = rule_of(t, "3.1") {
            r.licence = Licence::Mit;
        }),
        ALL
    );
    assert_eq!(
        needed(|t| if let ClauseKind::Benefit(b) = rule_of(t, "5.1") {
            b.fund = 10;
        }),
        ALL
    );
    assert_eq!(
        needed(|t| if let ClauseKind::Benefit(b) = rule_of(t, "5.1") {
            *b = Benefit {
                rule: BenefitRule::Equal,
                utility: None,
                empty: None,
                negative: None,
                all_zero: None,
                ..b.clone()
            };
        }),
        ALL
    );
    assert_eq!(
        needed(|t| {
            t.clause.retain(|c| c.id.as_str() != "6.1");
        }),
        ALL
    );
    assert_eq!(needed(|t| t.ends = "2028-01-01".parse().expect("day")), ALL);
    assert_eq!(needed(|t| t.purpose.push(Purpose::Commercial)), ALL);
    assert_eq!(needed(|t| t.hub_key = SecretKey::from_seed(&[77; 32]).public()), ALL);
    assert_eq!(needed(|t| t.parties[0].key = SecretKey::from_seed(&[78; 32]).public()), ALL);
    assert_eq!(needed(|t| t.note = Some("the parties shall pay".into())), ALL);
    assert_eq!(needed(|t| t.parties[0].signatory = "rector".into()), ["north"]);
    assert_eq!(
        needed(|t| if let ClauseKind::Role(r) = rule_of(t, "8.1") {
            r.party = "west".parse().expect("id");
        }),
        ["north", "west"]
    );
}

#[test]
fn a_new_party_signs_and_so_does_everybody_whose_assets_it_may_use() {
    let join = |text: &mut TermsText| {
        let mut party = text.parties[0].clone();
        party.id = "south".parse().expect("id");
        party.key = SecretKey::from_seed(&[55; 32]).public();
        text.parties.push(party);
    };
    assert_eq!(needed(join), ["east", "north", "south", "west"]);
}

#[test]
fn numbers_order_offers_and_ancestors_change_nothing() {
    assert!(needed(|t| t.clause.reverse()).is_empty());
    assert!(needed(|t| t.clause[1].id = "2.99".parse().expect("id")).is_empty());
    assert!(needed(|t| t.offer_expires = t.ends).is_empty());
    assert!(needed(|t| t.replaces = Some(terms().digest())).is_empty());
}

#[test]
fn what_is_too_large_to_compare_needs_everybody() {
    let (old, new) = (many_parties(60), changed_many(60));
    let needed = consent_needed(&old, &new);
    assert_eq!(needed.len(), 60);
}

fn many_parties(count: u8) -> Terms {
    let mut inputs = inputs();
    inputs.reference = None;
    inputs.parties = (1..=count)
        .map(|i| DraftParty {
            id: format!("p{i}").parse().expect("id"),
            key: SecretKey::from_seed(&[i + 100; 32]).public(),
            signatory: "director".into(),
            assets: vec![format!("p{i}/data{i}").parse().expect("asset")],
        })
        .collect();
    Terms::from_toml(&template(&inputs)).expect("valid")
}

fn changed_many(count: u8) -> Terms {
    let mut text = many_parties(count).text().clone();
    if let ClauseKind::Permit(p) = rule_of(&mut text, "2.1") {
        p.min_parties = Some(2);
    }
    text.seal().expect("valid")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_change_is_empty(terms in any_terms()) {
        prop_assert!(diff(&terms, &terms).is_empty());
    }

    /// The safety of amendments: nobody's asset becomes usable in a new way without its owner's signature.
    #[test]
    fn nothing_is_newly_allowed_without_the_owner(
        a in any_terms(),
        b in any_terms(),
        requests in prop::collection::vec(any_request(), 300),
    ) {
        let consent = consent_needed(&a, &b);
        for request in requests {
            let owner = request.asset.owner();
            let newly = check(&[&b], &request).is_allowed() && !check(&[&a], &request).is_allowed();
            if newly && owner != request.actor && a.party(&owner).is_some() {
                prop_assert!(consent.contains(&owner), "{:?}", request);
            }
        }
    }
}
