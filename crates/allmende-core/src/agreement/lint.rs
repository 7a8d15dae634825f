//! Contradictions and gaps in terms, found before anybody signs. An error prevents proposing.

use serde::{Deserialize, Serialize};

use super::clause::{Clause, ClauseKind, Forbid, Permit};
use super::pattern::AssetPattern;
use super::terms::Terms;
use super::vocabulary::{Action, BenefitRule, Enforcer, Matter, Purpose, codes};
use crate::id::{ClauseId, PartyId};

codes!(
    /// How grave a finding is.
    Severity {
        /// The terms cannot be proposed.
        Error = "error",
        /// Probably not what was meant.
        Warning = "warning",
        /// Worth knowing before signing.
        Info = "info",
    }
);

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// How grave.
    pub severity: Severity,
    /// The clauses concerned.
    pub clauses: Vec<ClauseId>,
    /// What was found.
    pub text: String,
}

/// Whether terms with these findings may be proposed.
#[must_use]
pub fn may_propose(findings: &[Finding]) -> bool {
    findings.iter().all(|f| f.severity != Severity::Error)
}

/// All findings, the gravest first, then in the order of the clauses.
#[must_use]
pub fn lint(terms: &Terms) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    results(terms, &mut findings);
    benefits(terms, &mut findings);
    dead_permits(terms, &mut findings);
    dead_forbids(terms, &mut findings);
    gaps(terms, &mut findings);
    for clause in &terms.clause {
        if clause.rule.enforced_by() == [Enforcer::Record] {
            findings.add(Severity::Info, [clause], "stands in the record only: software does not enforce it".into());
        }
        if clause.note.is_some() {
            findings.add(Severity::Info, [clause], "its free text is not enforced by software".into());
        }
    }
    // Stable: within one severity the order above stays.
    findings.0.sort_by_key(|f| f.severity);
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add<'c>(&mut self, severity: Severity, clauses: impl IntoIterator<Item = &'c Clause>, text: String) {
        let clauses = clauses.into_iter().map(|c| c.id.clone()).collect();
        self.0.push(Finding { severity, clauses, text });
    }
}

fn permits(terms: &Terms) -> impl Iterator<Item = (&Clause, &Permit)> {
    terms.clause.iter().filter_map(|c| match &c.rule {
        ClauseKind::Permit(p) => Some((c, p)),
        _ => None,
    })
}

fn forbids(terms: &Terms) -> impl Iterator<Item = (&Clause, &Forbid)> {
    terms.clause.iter().filter_map(|c| match &c.rule {
        ClauseKind::Forbid(f) => Some((c, f)),
        _ => None,
    })
}

fn results(terms: &Terms, findings: &mut Findings) {
    let clauses: Vec<_> = terms.clause.iter().filter(|c| matches!(c.rule, ClauseKind::Results(_))).collect();
    if clauses.len() > 1 {
        findings.add(Severity::Error, clauses.iter().copied(), "several clauses say whose the results are".into());
    }
    for clause in clauses {
        let ClauseKind::Results(results) = &clause.rule else { continue };
        if !terms.purpose.contains(&Purpose::Commercial) && results.licence.allows_commercial_use() {
            findings.add(
                Severity::Warning,
                [clause],
                format!(
                    "the licence {} lets anybody use the model commercially, which is no purpose of these terms",
                    results.licence
                ),
            );
        }
        if results.owners.values().sum::<u32>() != 100 {
            findings.add(Severity::Error, [clause], "the shares of the owners do not sum to 100".into());
        }
    }
}

fn benefits(terms: &Terms, findings: &mut Findings) {
    let clauses: Vec<_> = terms.clause.iter().filter(|c| matches!(c.rule, ClauseKind::Benefit(_))).collect();
    if clauses.len() > 1 {
        findings.add(Severity::Error, clauses.iter().copied(), "several clauses say how benefits are shared".into());
    }
    let Some(clause) =
        clauses.into_iter().find(|c| matches!(&c.rule, ClauseKind::Benefit(b) if b.rule == BenefitRule::Shapley))
    else {
        return;
    };
    for (train_clause, train) in permits(terms).filter(|(_, p)| p.action == Action::Train) {
        for asset in &train.assets {
            measured(terms, clause, train_clause, asset, findings);
        }
    }
    if !permits(terms).any(|(_, p)| p.action == Action::Measure) {
        findings.add(Severity::Error, [clause], "shapley needs a permit to measure, and no clause permits it".into());
    }
    if !permits(terms).any(|(_, p)| p.action == Action::Evaluate) {
        findings.add(
            Severity::Error,
            [clause],
            "worth is counted on held-out sets, and no clause permits to evaluate".into(),
        );
    }
}

/// Whether coalitions of every size may be trained on what may be trained on.
fn measured(terms: &Terms, benefit: &Clause, train: &Clause, asset: &AssetPattern, findings: &mut Findings) {
    let of_train = |p: &AssetPattern| {
        // A measuring permit for the whole asset or for its training rows will do.
        p.includes(asset) || (p.overlaps(asset) && asset.part().is_none() && p.part().is_some() && widened(p, asset))
    };
    let measures: Vec<_> =
        permits(terms).filter(|(_, p)| p.action == Action::Measure && p.assets.iter().any(of_train)).collect();
    if measures.is_empty() {
        let any = permits(terms).any(|(_, p)| p.action == Action::Measure);
        if any {
            let text = format!("shapley needs a permit to measure {asset}, which clause {} lets train on", train.id);
            findings.add(Severity::Error, [benefit, train], text);
        }
        return;
    }
    let absent: Vec<_> = (1..terms.parties.len() as u32)
        .filter(|s| !measures.iter().any(|(_, p)| p.coalitions.as_ref().is_some_and(|sizes| sizes.contains(s))))
        .map(|s| s.to_string())
        .collect();
    if !absent.is_empty() {
        let text = format!(
            "shapley values of all {} parties need coalitions of every smaller size; {asset} may not be measured in size {}",
            terms.parties.len(),
            absent.join(", ")
        );
        findings.add(Severity::Warning, [benefit, train], text);
    }
}

/// Whether `p`, which is limited to the training part, includes `asset` but for that.
fn widened(p: &AssetPattern, asset: &AssetPattern) -> bool {
    p.part() == Some(super::vocabulary::Part::Train)
        && p.owner().is_none_or(|o| asset.owner() == Some(o))
        && p.name().is_none_or(|n| asset.name() == Some(n))
}

fn dead_permits(terms: &Terms, findings: &mut Findings) {
    let count = terms.parties.len() as u32;
    for (clause, permit) in permits(terms) {
        let mut never = |text: String| findings.add(Severity::Error, [clause], format!("can never apply: {text}"));
        if let Some(until) = permit.until
            && until < terms.starts
        {
            never(format!("it ends on {until}, before the agreement starts"));
        }
        if let Some(least) = permit.min_parties
            && least > count
        {
            never(format!("it needs {least} parties, the agreement has {count}"));
        }
        if let Some(sizes) = &permit.coalitions {
            let beyond: Vec<_> = sizes.iter().filter(|s| **s >= count).map(ToString::to_string).collect();
            if beyond.len() == sizes.len() {
                never(format!("coalitions of {} are not smaller than all {count} parties", beyond.join(", ")));
            } else if !beyond.is_empty() {
                let text = format!("coalitions of {} are not smaller than all {count} parties", beyond.join(", "));
                findings.add(Severity::Error, [clause], text);
            }
        }
        if let Some(until) = permit.until
            && until > terms.ends
        {
            findings.add(
                Severity::Warning,
                [clause],
                format!("{until} is after the end of the agreement, {}", terms.ends),
            );
        }
        let killers: Vec<_> = forbids(terms).filter(|(_, f)| kills(f, permit)).map(|(c, _)| c).collect();
        if !killers.is_empty() {
            let ids: Vec<_> = killers.iter().map(|c| c.id.as_str()).collect();
            let text = format!("can never apply: clause {} forbids all of it", ids.join(", "));
            findings.add(Severity::Error, std::iter::once(clause).chain(killers), text);
        }
    }
}

/// Whether the prohibition takes everything that the permit gives. Classes do not count: what an asset holds is not known here.
fn kills(forbid: &Forbid, permit: &Permit) -> bool {
    let every_class = super::vocabulary::DataClass::ALL.iter().all(|c| forbid.data.contains(c));
    let everybody = match &permit.by {
        super::clause::By::All => forbid.by == super::clause::By::All,
        super::clause::By::Parties(parties) => parties.iter().all(|p| forbid.by.names(p)),
    };
    forbid.action == permit.action
        && everybody
        && permit.assets.iter().all(|asset| {
            (every_class || forbid.assets.iter().any(|p| p.includes(asset)))
                && !forbid.except.iter().any(|e| e.overlaps(asset))
        })
}

fn dead_forbids(terms: &Terms, findings: &mut Findings) {
    for (clause, forbid) in forbids(terms) {
        if forbid.data.is_empty() && forbid.assets.iter().all(|a| forbid.except.iter().any(|e| e.includes(a))) {
            findings.add(Severity::Error, [clause], "can never apply: everything that it names is excepted".into());
        }
        if forbid.except.iter().any(|e| e.includes(&AssetPattern::new(None, None, None))) {
            findings.add(Severity::Error, [clause], "can never apply: every asset is excepted".into());
        } else if let Some(wide) = forbid.except.iter().find(|e| e.owner().is_none() || e.name().is_none()) {
            let text = format!("the exception {wide} is a pattern: whoever chooses names can bring an asset under it");
            findings.add(Severity::Warning, [clause], text);
        }
    }
}

fn gaps(terms: &Terms, findings: &mut Findings) {
    let has = |kind: &str| terms.clause.iter().any(|c| c.rule.kind() == kind);
    let mut gap = |severity, text: &str| findings.add(severity, [], text.to_owned());
    if terms.parties.len() == 1 {
        gap(Severity::Warning, "only one party signs");
    }
    if !has("exit") {
        gap(Severity::Warning, "no clause says how a party withdraws");
    }
    if !has("results") {
        gap(Severity::Warning, "no clause says whose the results are");
    }
    if !has("benefit") {
        gap(Severity::Warning, "no clause says how benefits are shared");
    }
    if !has("permit") {
        gap(Severity::Warning, "nothing is permitted: no party may use another's assets");
    }
    let decided =
        |matter| terms.clause.iter().any(|c| matches!(&c.rule, ClauseKind::Decide(d) if d.what.contains(&matter)));
    if !has("decide") {
        gap(Severity::Warning, "no clause says what is decided together");
    } else {
        for matter in [Matter::Amend, Matter::Exclude] {
            if !decided(matter) {
                gap(Severity::Warning, &format!("no clause says how {matter} is decided"));
            }
        }
    }
    for exits in [terms.clause.iter().filter(|c| c.rule.kind() == "exit").collect::<Vec<_>>()] {
        if exits.len() > 1 {
            findings.add(Severity::Error, exits, "several clauses say how a party withdraws".into());
        }
    }
    for party in terms.parties.iter().filter(|p| !concerned(terms, &p.id)) {
        let text = format!("{} may use nothing, brings nothing and owns nothing under these terms", party.id);
        findings.add(Severity::Warning, [], text);
    }
}

fn concerned(terms: &Terms, party: &PartyId) -> bool {
    terms.clause.iter().any(|c| match &c.rule {
        ClauseKind::Permit(p) => {
            p.by.names(party) || p.assets.iter().any(|a| a.owner().is_none_or(|owner| owner == party))
        }
        ClauseKind::Results(r) => r.owners.contains_key(party),
        ClauseKind::Benefit(b) => b.shares.contains_key(party),
        ClauseKind::Role(r) => &r.party == party,
        _ => false,
    })
}
