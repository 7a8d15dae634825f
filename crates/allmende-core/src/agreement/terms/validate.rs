//! The rules that terms must keep before anybody may sign them.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    InvalidTerms, MAX_CLAUSES, MAX_LINE_BYTES, MAX_LIST, MAX_NOTE_BYTES, MAX_NOTICE_DAYS, MAX_PARTIES, TermsText,
    VOCABULARY,
};
use crate::agreement::clause::{Benefit, By, Clause, ClauseKind, Forbid, Permit};
use crate::agreement::pattern::AssetPattern;
use crate::agreement::vocabulary::{Action, BenefitRule};
use crate::canonical::forbidden_character;
use crate::id::{ClauseId, PartyId};

type Checked = Result<(), InvalidTerms>;

pub(super) fn validate(text: &TermsText) -> Checked {
    if text.vocabulary != VOCABULARY {
        return Err(InvalidTerms::Vocabulary(text.vocabulary));
    }
    line("title", &text.title)?;
    free_text("note", text.note.as_deref())?;
    list(None, "purpose", &text.purpose)?;
    if text.ends < text.starts {
        return field("ends", format!("{} is before the start, {}", text.ends, text.starts));
    }
    if text.offer_expires > text.ends {
        return field("offer_expires", format!("{} is after the end, {}", text.offer_expires, text.ends));
    }
    if text.currency.len() != 3 || !text.currency.bytes().all(|b| b.is_ascii_uppercase()) {
        return field("currency", "three capital letters, like EUR".into());
    }
    parties(text)?;
    if text.clause.len() > MAX_CLAUSES {
        return Err(InvalidTerms::TooLarge { what: "clauses", got: text.clause.len(), limit: MAX_CLAUSES });
    }
    let mut ids = BTreeSet::new();
    for clause in &text.clause {
        if !ids.insert(&clause.id) {
            return broken(&clause.id, "id", "another clause has the same number".into());
        }
        check_clause(text, clause)?;
    }
    Ok(())
}

fn parties(text: &TermsText) -> Checked {
    if text.parties.is_empty() {
        return field("parties", "at least one party signs".into());
    }
    if text.parties.len() > MAX_PARTIES {
        return Err(InvalidTerms::TooLarge { what: "parties", got: text.parties.len(), limit: MAX_PARTIES });
    }
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::from([text.hub_key]));
    for party in &text.parties {
        if party.id.as_str() == "all" || party.id.as_str() == text.collaboration.as_str() {
            // "all" means everybody, and the collaboration's name stands before the joint results.
            return field("parties", format!("no party can be called {}", party.id));
        }
        if !ids.insert(&party.id) {
            return field("parties", format!("{} appears twice", party.id));
        }
        if !keys.insert(party.key) {
            return field("parties", format!("{}: another party or the hub has the same key", party.id));
        }
        line("parties.signatory", &party.signatory)?;
    }
    Ok(())
}

fn check_clause(text: &TermsText, clause: &Clause) -> Checked {
    let id = &clause.id;
    if let Some(note) = &clause.note {
        free_text(&format!("clause {id}, note"), Some(note))?;
    }
    match &clause.rule {
        ClauseKind::Permit(permit) => check_permit(text, id, permit),
        ClauseKind::Forbid(forbid) => check_forbid(text, id, forbid),
        ClauseKind::Results(results) => shares(text, id, "owners", &results.owners),
        ClauseKind::Benefit(benefit) => check_benefit(text, id, benefit),
        ClauseKind::Decide(decide) => list(Some(id), "what", &decide.what),
        ClauseKind::Exit(exit) if exit.notice_days > MAX_NOTICE_DAYS => {
            broken(id, "notice_days", format!("at most {MAX_NOTICE_DAYS}"))
        }
        ClauseKind::Exit(_) => Ok(()),
        ClauseKind::Role(role) => known(text, id, "party", &role.party),
        ClauseKind::Incorporate(document) => line(&format!("clause {id}, name"), &document.name),
    }
}

fn check_permit(text: &TermsText, id: &ClauseId, permit: &Permit) -> Checked {
    list(Some(id), "assets", &permit.assets)?;
    patterns(text, id, "assets", &permit.assets)?;
    by(text, id, &permit.by)?;
    if let Some(purposes) = &permit.purpose {
        list(Some(id), "purpose", purposes)?;
        if let Some(beyond) = purposes.iter().find(|p| !text.purpose.contains(p)) {
            return broken(id, "purpose", format!("{beyond} is not a purpose of these terms"));
        }
    }
    if let Some(least) = permit.min_parties
        && !(1..=MAX_PARTIES as u32).contains(&least)
    {
        return broken(id, "min_parties", format!("1 to {MAX_PARTIES}"));
    }
    match (&permit.coalitions, permit.action) {
        (None, Action::Measure) => broken(id, "coalitions", "measure states the sizes of the coalitions".into()),
        (Some(_), action) if action != Action::Measure => {
            broken(id, "coalitions", format!("only measure has coalitions, not {action}"))
        }
        (Some(_), _) if permit.min_parties.is_some() => {
            broken(id, "min_parties", "excludes coalitions: the sizes say how many take part".into())
        }
        (Some(sizes), _) => {
            list(Some(id), "coalitions", sizes)?;
            let ascending = sizes.windows(2).all(|w| w[0] < w[1]);
            if ascending && sizes.iter().all(|s| (1..=MAX_PARTIES as u32).contains(s)) {
                Ok(())
            } else {
                broken(id, "coalitions", format!("ascending sizes from 1 to {MAX_PARTIES}"))
            }
        }
        (None, _) => Ok(()),
    }
}

fn check_forbid(text: &TermsText, id: &ClauseId, forbid: &Forbid) -> Checked {
    if forbid.data.is_empty() && forbid.assets.is_empty() {
        return broken(id, "data", "name classes of data, or assets".into());
    }
    unique(Some(id), "data", &forbid.data)?;
    unique(Some(id), "assets", &forbid.assets)?;
    unique(Some(id), "except", &forbid.except)?;
    patterns(text, id, "assets", &forbid.assets)?;
    patterns(text, id, "except", &forbid.except)?;
    by(text, id, &forbid.by)
}

fn check_benefit(text: &TermsText, id: &ClauseId, benefit: &Benefit) -> Checked {
    if benefit.fund > 100 {
        return broken(id, "fund", "0 to 100 per cent".into());
    }
    if benefit.rule == BenefitRule::Fixed {
        shares(text, id, "shares", &benefit.shares)?;
    } else if !benefit.shares.is_empty() {
        return broken(id, "shares", format!("only the rule fixed has shares, not {}", benefit.rule));
    }
    let given =
        [benefit.utility.is_some(), benefit.empty.is_some(), benefit.negative.is_some(), benefit.all_zero.is_some()];
    if benefit.rule == BenefitRule::Shapley {
        if given.contains(&false) {
            return broken(id, "rule", "shapley states utility, empty, negative and all_zero".into());
        }
        if benefit.empty != Some(0) {
            return broken(id, "empty", "the coalition of nobody is worth 0".into());
        }
    } else if given.contains(&true) {
        let rule = format!("utility, empty, negative and all_zero belong to shapley, not to {}", benefit.rule);
        return broken(id, "rule", rule);
    }
    Ok(())
}

fn shares(text: &TermsText, id: &ClauseId, name: &'static str, shares: &BTreeMap<PartyId, u32>) -> Checked {
    for (party, share) in shares {
        known(text, id, name, party)?;
        if !(1..=100).contains(share) {
            return broken(id, name, format!("{party}: 1 to 100 per cent"));
        }
    }
    // Bounded above, so this cannot overflow.
    let sum: u32 = shares.values().sum();
    if sum == 100 { Ok(()) } else { broken(id, name, format!("the shares sum to {sum}, not to 100 per cent")) }
}

fn patterns(text: &TermsText, id: &ClauseId, name: &'static str, patterns: &[AssetPattern]) -> Checked {
    match patterns.iter().find(|p| p.owner().is_some_and(|owner| !text.is_owner(owner))) {
        Some(stranger) => broken(id, name, format!("the owner of {stranger} is no party of these terms")),
        None => Ok(()),
    }
}

fn by(text: &TermsText, id: &ClauseId, by: &By) -> Checked {
    unique(Some(id), "by", by.listed())?;
    by.listed().iter().try_for_each(|party| known(text, id, "by", party))
}

fn known(text: &TermsText, id: &ClauseId, name: &'static str, party: &PartyId) -> Checked {
    if text.party(party).is_some() { Ok(()) } else { broken(id, name, format!("{party} is no party of these terms")) }
}

fn list<T: Ord>(id: Option<&ClauseId>, name: &'static str, items: &[T]) -> Checked {
    if items.is_empty() { fault(id, name, "is empty".into()) } else { unique(id, name, items) }
}

fn unique<T: Ord>(id: Option<&ClauseId>, name: &'static str, items: &[T]) -> Checked {
    if items.len() > MAX_LIST {
        return fault(id, name, format!("at most {MAX_LIST} entries"));
    }
    if items.iter().collect::<BTreeSet<_>>().len() < items.len() {
        return fault(id, name, "an entry appears twice".into());
    }
    Ok(())
}

fn line(at: &str, text: &str) -> Checked {
    // A line break could pretend to be another clause in the printed contract.
    let character = if text.contains('\n') { Some('\n') } else { forbidden_character(text) };
    if let Some(character) = character {
        return Err(InvalidTerms::Character { at: at.to_owned(), character });
    }
    if text.trim() != text || text.is_empty() {
        return Err(InvalidTerms::Shape(format!("{at}: not empty, and no white space around it")));
    }
    if text.len() > MAX_LINE_BYTES {
        return Err(InvalidTerms::TooLarge {
            what: "bytes of one line of text",
            got: text.len(),
            limit: MAX_LINE_BYTES,
        });
    }
    Ok(())
}

fn free_text(at: &str, text: Option<&str>) -> Checked {
    let Some(text) = text else { return Ok(()) };
    if let Some(character) = forbidden_character(text) {
        return Err(InvalidTerms::Character { at: at.to_owned(), character });
    }
    if text.len() > MAX_NOTE_BYTES {
        return Err(InvalidTerms::TooLarge { what: "bytes of a note", got: text.len(), limit: MAX_NOTE_BYTES });
    }
    Ok(())
}

fn fault(id: Option<&ClauseId>, name: &'static str, rule: String) -> Checked {
    match id {
        Some(id) => broken(id, name, rule),
        None => field(name, rule),
    }
}

fn field(field: &'static str, rule: String) -> Checked {
    Err(InvalidTerms::Field { field, rule })
}

fn broken(clause: &ClauseId, field: &'static str, rule: String) -> Checked {
    Err(InvalidTerms::Clause { clause: clause.clone(), field, rule })
}
