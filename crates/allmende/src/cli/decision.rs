//! `decision`: what is put to the members, and votes.

use allmende_core::agreement::vocabulary::Matter;
use allmende_core::collaboration::decision::{Subject, Vote};
use allmende_core::id::{DecisionId, PartyId};
use allmende_core::statement::{DecisionOpened, DecisionVoted};
use clap::{ArgGroup, Args, Subcommand};

use super::context::Context;
use super::failure::Failure;
use super::member::{Member, one_of};
use super::table::{Table, fields};
use super::words::{Lang, code};
use crate::view::{self, DecisionView};

/// Put matters to the members, and vote.
#[derive(Debug, Subcommand)]
pub enum Decision {
    /// List decisions, open ones first
    List(List),
    /// Show a decision: who voted how, and until when
    Show(Show),
    /// Vote on a decision, once
    Vote(VoteCommand),
    /// Put a matter to the members
    Open(Open),
}

impl Decision {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(command) => command.run(context).await,
            Self::Show(command) => show(&Member::open(context).await?, &command.decision),
            Self::Vote(command) => command.run(context).await,
            Self::Open(command) => command.run(context).await,
        }
    }
}

fn views(member: &Member<'_>) -> Vec<DecisionView> {
    let view = view::collaboration(member.state(), member.context.now(), Lang::En.into());
    let mut decisions = view.map(|v| v.decisions).unwrap_or_default();
    decisions.sort_by_key(|d| d.status != "open");
    decisions
}

/// Decisions as a table.
#[must_use]
pub fn table(decisions: &[DecisionView]) -> String {
    let mut table = Table::new(&["decision", "about", "status", "votes", "until"]);
    for d in decisions {
        let votes: Vec<_> =
            d.votes.iter().map(|v| format!("{} {}", v.party, v.vote.as_deref().unwrap_or("–"))).collect();
        table.row([&d.id, &d.subject, &d.status, &votes.join(", "), d.until.as_ref().unwrap_or(&"–".to_owned())]);
    }
    table.render_or("no decisions yet")
}

/// List decisions, open ones first.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende decision list --open")]
pub struct List {
    /// Only those that are open
    #[arg(long)]
    open: bool,
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let mut decisions = views(&member);
        decisions.retain(|d| !self.open || d.status == "open");
        context.out.result(&decisions, || table(&decisions))
    }
}

/// Show a decision: who voted how, and until when.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende decision show run-first")]
pub struct Show {
    /// Its name
    decision: DecisionId,
}

/// Shows one decision.
///
/// # Errors
/// When there is no such decision.
pub fn show(member: &Member<'_>, id: &DecisionId) -> Result<(), Failure> {
    let all = views(member);
    let view = all.iter().find(|d| d.id == id.as_str()).ok_or_else(|| unknown(member, id))?;
    member.context.out.result(view, || {
        let mut text = fields([
            ("decision", view.id.clone()),
            ("about", view.subject.clone()),
            ("opened", format!("by {} at {}", view.opened_by, view.opened_at)),
            ("status", view.status.clone()),
            ("until", view.until.clone().unwrap_or_else(|| "–".to_owned())),
        ]);
        let mut table = Table::new(&["voter", "vote"]);
        for vote in &view.votes {
            table.row([&vote.party, vote.vote.as_ref().unwrap_or(&"–".to_owned())]);
        }
        text.push_str(&format!("\n{table}"));
        text
    })
}

fn unknown(member: &Member<'_>, id: &DecisionId) -> Failure {
    let known: Vec<_> = member.state().decisions().keys().map(ToString::to_string).collect();
    Failure::usage(format!("there is no decision '{id}' in {}", member.collaboration))
        .code("decision.unknown")
        .next(one_of(&known, "nothing was put to the members yet"))
}

/// Vote on a decision. A vote counts once and cannot be changed; it is signed with the governance key.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende decision vote run-first yes")]
pub struct VoteCommand {
    /// The decision
    decision: DecisionId,
    /// yes, no or abstain
    #[arg(value_parser = code::<Vote>)]
    vote: Vote,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl VoteCommand {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        confirm(&member, &self.decision, self.vote, self.yes)?;
        vote(&mut member, &self.decision, self.vote).await?;
        show(&member, &self.decision)
    }
}

/// Shows what is voted on and asks, unless `yes`.
///
/// # Errors
/// When there is no such decision, or the answer is no.
pub fn confirm(member: &Member<'_>, id: &DecisionId, vote: Vote, yes: bool) -> Result<(), Failure> {
    let decided = member.state().decisions().get(id).ok_or_else(|| unknown(member, id))?;
    let about = view::subject_in_words(&decided.subject, Lang::En.into());
    member.context.out.note(&format!("{about}: {vote}"));
    if yes || member.context.out.confirm("Sign this vote? It cannot be changed.")? {
        return Ok(());
    }
    Err(Failure::new(super::failure::Exit::Failure, "nothing was signed"))
}

/// Votes.
///
/// # Errors
/// When there is no such decision, or the rules refuse the vote.
pub async fn vote(member: &mut Member<'_>, decision: &DecisionId, vote: Vote) -> Result<(), Failure> {
    if !member.state().decisions().contains_key(decision) {
        return Err(unknown(member, decision));
    }
    member.sign(DecisionVoted { decision: decision.clone(), vote }, None).await.map(drop)
}

/// Puts a matter to the members, under a name made from `base`.
///
/// # Errors
/// When the rules refuse it.
pub async fn open(member: &mut Member<'_>, base: &str, subject: Subject) -> Result<DecisionId, Failure> {
    let decision = member.decision_name(base)?;
    member.sign(DecisionOpened { decision: decision.clone(), subject }, None).await?;
    Ok(decision)
}

/// The open decision about `subject`, if there is one.
#[must_use]
pub fn find_open(member: &Member<'_>, subject: &Subject) -> Option<DecisionId> {
    let open = |(_, d): &(&DecisionId, &allmende_core::state::Decided)| d.subject == *subject && d.closed.is_none();
    member.state().decisions().iter().find(open).map(|(id, _)| id.clone())
}

/// Put a matter to the members: admit or exclude a party, replace or end terms.
///
/// Runs and releases are put to the members by 'run propose' and 'model release'.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("matter").required(true).args(["admit", "exclude", "amend", "end"]))]
#[command(after_long_help = "Example:\n  allmende decision open --admit south")]
pub struct Open {
    /// Let this party in
    #[arg(long, value_name = "PARTY")]
    admit: Option<PartyId>,
    /// Put this party out; it has no vote on this
    #[arg(long, value_name = "PARTY")]
    exclude: Option<PartyId>,
    /// Bring these offered terms into force in place of those they replace
    #[arg(long, value_name = "DIGEST")]
    amend: Option<String>,
    /// End these terms
    #[arg(long, value_name = "DIGEST")]
    end: Option<String>,
    /// Its name [default: made from the matter]
    #[arg(long, value_name = "NAME")]
    decision: Option<DecisionId>,
}

impl Open {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let (subject, of) = if let Some(party) = self.admit {
            (Subject::Admit { party: party.clone() }, party.to_string())
        } else if let Some(party) = self.exclude {
            (Subject::Exclude { party: party.clone() }, party.to_string())
        } else if let Some(which) = self.amend {
            let terms = member.agreement(&which)?.0;
            (Subject::Amend { terms }, terms.hex()[..8].to_owned())
        } else {
            let terms = member.agreement(self.end.as_deref().unwrap_or("current"))?.0;
            (Subject::End { terms }, terms.hex()[..8].to_owned())
        };
        let matter: Matter = subject.matter();
        let base = self.decision.map_or_else(|| format!("{matter}-{of}"), |d| d.to_string());
        let decision = open(&mut member, &base, subject).await?;
        show(&member, &decision)
    }
}
