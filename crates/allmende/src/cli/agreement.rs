//! `agreement`: from a draft to signed terms, and what they allow.

use std::path::{Path, PathBuf};

use allmende_core::agreement::check::Request;
use allmende_core::agreement::explain::explain;
use allmende_core::agreement::lint::{Finding, Severity, lint, may_propose};
use allmende_core::agreement::prose;
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{Action, DataClass, Language, Part, Place, Purpose};
use allmende_core::id::{AssetId, PartyId};
use allmende_core::statement::{AgreementProposed, AgreementSigned, AgreementWithdrawn};
use clap::{Args, Subcommand};
use serde::Serialize;

use super::agreement_diff::Diff;
use super::agreement_draft::Draft;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::member::Member;
use super::table::{Table, fields};
use super::words::{Lang, code};
use crate::view;

/// Draft, propose, sign and read terms.
#[derive(Debug, Subcommand)]
pub enum Agreement {
    /// Write a draft of terms to begin from
    Draft(Draft),
    /// Find contradictions in a draft
    Lint(Lint),
    /// Offer terms to the parties they name
    Propose(Propose),
    /// Sign offered terms
    Sign(Sign),
    /// List all terms ever offered
    List(List),
    /// Show terms as a contract that a lawyer can read
    Show(Show),
    /// Say whether something is allowed, with the clauses
    Explain(Explain),
    /// Say what other terms would change, and who must consent
    Diff(Diff),
    /// Leave terms in force, as their exit clause says
    Withdraw(Withdraw),
}

impl Agreement {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Draft(command) => command.run(context).await,
            Self::Lint(command) => command.run(context),
            Self::Propose(command) => command.run(context).await,
            Self::Sign(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
            Self::Explain(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Withdraw(command) => command.run(context).await,
        }
    }
}

/// Reads terms that people wrote.
///
/// # Errors
/// When the file cannot be read or breaks a rule of terms.
pub fn read(path: &Path) -> Result<Terms, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
    Terms::from_toml(&text).map_err(|e| {
        Failure::file(path, e)
            .code("agreement.invalid")
            .next("correct the draft; 'allmende agreement draft' shows the form")
    })
}

fn findings_table(findings: &[Finding]) -> String {
    let mut table = Table::new(&["", "clauses", "finding"]);
    for finding in findings {
        let clauses: Vec<_> = finding.clauses.iter().map(ToString::to_string).collect();
        table.row([finding.severity.code(), &clauses.join(", "), &finding.text]);
    }
    table.render_or("nothing to remark")
}

/// Find contradictions in a draft. Errors keep it from being proposed; warnings and remarks are for people to weigh.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement lint terms.toml")]
pub struct Lint {
    /// The draft
    file: PathBuf,
}

#[derive(Serialize)]
struct Linted {
    digest: String,
    may_propose: bool,
    findings: Vec<Finding>,
}

impl Lint {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let terms = read(&self.file)?;
        let findings = lint(&terms);
        let linted = Linted { digest: terms.digest().to_string(), may_propose: may_propose(&findings), findings };
        context.out.result(&linted, || findings_table(&linted.findings))?;
        if linted.may_propose {
            return Ok(());
        }
        Err(Failure::new(Exit::Refused, "the draft contradicts itself and cannot be proposed")
            .code("agreement.invalid")
            .next("correct the errors above"))
    }
}

/// Offer terms to the parties they name. They are checked here first. An offer binds nobody: each party, you too, has to
/// sign.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement propose terms.toml")]
pub struct Propose {
    /// The draft
    file: PathBuf,
}

impl Propose {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let terms = read(&self.file)?;
        let findings = lint(&terms);
        if !may_propose(&findings) {
            let errors = findings.iter().filter(|f| f.severity == Severity::Error).cloned().collect::<Vec<_>>();
            return Err(Failure::new(Exit::Refused, "the draft contradicts itself and cannot be proposed")
                .code("agreement.invalid")
                .because(findings_table(&errors))
                .next("correct the draft, and check it with 'allmende agreement lint'"));
        }
        let mut member = Member::open(context).await?;
        let digest = terms.digest();
        context.out.note(&format!("{}\n{digest}", terms.title));
        member.sign(AgreementProposed { terms }, None).await?;
        summary(&member, &digest.to_string())?;
        context.out.note("Next: every party named, you too, runs 'allmende agreement sign'.");
        Ok(())
    }
}

fn summary(member: &Member<'_>, which: &str) -> Result<(), Failure> {
    let (digest, _) = member.agreement(which)?;
    let view = view::agreement(member.state(), &digest, member.context.now(), Language::En)
        .ok_or_else(|| Failure::internal("the terms are gone"))?;
    member.context.out.result(&view, || {
        let mut text = fields([
            ("terms", view.summary.digest.clone()),
            ("title", view.summary.title.clone()),
            ("status", status(&view.summary)),
            ("days", format!("{} to {}", view.summary.starts, view.summary.ends)),
            ("offer expires", view.offer_expires.clone()),
        ]);
        let mut table = Table::new(&["party", "signs as", "signed"]);
        for s in &view.signatures {
            let signed = s.signed_at.clone().unwrap_or_else(|| "not yet".to_owned());
            table.row([&s.party, &s.signatory, &signed]);
        }
        text.push_str(&format!("\n{table}"));
        text
    })
}

fn status(view: &view::AgreementSummary) -> String {
    match (view.status.as_str(), view.in_force) {
        ("in-force", false) => "signed by all; its days are not now".to_owned(),
        ("offered", _) => format!("offered, {} of {} signed", view.signed, view.parties),
        (status, _) => status.to_owned(),
    }
}

/// Sign offered terms with the governance key.
///
/// Before you are asked, the contract, what software does not enforce, and the digest that you sign are shown.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement sign offered")]
pub struct Sign {
    /// 'offered', or the first digits of the digest
    #[arg(default_value = "offered")]
    terms: String,
    /// The language of the contract shown [default: the one that prevails]
    #[arg(long, value_enum)]
    lang: Option<Lang>,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Sign {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let (digest, terms) = {
            let (digest, agreement) = member.agreement(&self.terms)?;
            (digest, agreement.terms.clone())
        };
        let me = member.home.party().clone();
        if terms.party(&me).is_none() {
            return Err(Failure::new(Exit::Refused, format!("these terms do not name {me}")).code("agreement.mismatch"));
        }
        let language = self.lang.map_or(terms.language, Into::into);
        if !self.yes {
            context.out.note(&prose::render(&terms, language));
        }
        let open: Vec<_> = lint(&terms).into_iter().filter(|f| f.severity != Severity::Error).collect();
        if !open.is_empty() {
            context.out.heading("Before you sign");
            context.out.note(findings_table(&open).trim_end());
        }
        context.out.note(&format!("You sign as {me}: {digest}"));
        if !self.yes && !context.out.confirm("Sign these terms?")? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        member.sign(AgreementSigned { terms: digest }, None).await?;
        summary(&member, &digest.to_string())
    }
}

/// List all terms ever offered, newest first.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let all = view::agreements(member.state(), context.now());
        context.out.result(&all, || {
            let mut table = Table::new(&["terms", "title", "status", "from", "to"]);
            for a in &all {
                table.row([&a.digest[..19.min(a.digest.len())], &a.title, &status(a), &a.starts, &a.ends]);
            }
            table.render_or("no terms yet: begin with 'allmende agreement draft'")
        })
    }
}

/// Show terms as a contract that a lawyer can read: generated from the typed clauses, in English or Chinese.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende agreement show current --lang zh\n  allmende agreement show terms.toml"
)]
pub struct Show {
    /// 'current', 'offered', the first digits of a digest, or a draft's file
    #[arg(default_value = "current")]
    terms: String,
    /// The language [default: the one that prevails]
    #[arg(long, value_enum)]
    lang: Option<Lang>,
}

#[derive(Serialize)]
struct DraftView {
    digest: String,
    terms: Terms,
    prose: String,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = Path::new(&self.terms);
        if path.extension().is_some() || path.is_file() {
            let terms = read(path)?;
            let prose = prose::render(&terms, self.lang.map_or(terms.language, Into::into));
            let view = DraftView { digest: terms.digest().to_string(), terms, prose };
            return context.out.result(&view, || view.prose.clone());
        }
        let member = Member::open(context).await?;
        let (digest, agreement) = member.agreement(&self.terms)?;
        let language = self.lang.map_or(agreement.terms.language, Into::into);
        let view = view::agreement(member.state(), &digest, context.now(), language)
            .ok_or_else(|| Failure::internal("the terms are gone"))?;
        context.out.result(&view, || format!("{}\n\n{}", status(&view.summary), view.prose))
    }
}

/// Say whether something is allowed, with the clauses that allow or forbid it, and what would make it pass.
///
/// A denial ends with exit code 3.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement explain train east/digits --as north --parties 3")]
pub struct Explain {
    /// see, read, write, train, evaluate, measure, serve, disclose, release or derive
    #[arg(value_parser = code::<Action>)]
    action: Action,
    /// The asset, as party/name
    asset: AssetId,
    /// Who asks [default: you]
    #[arg(long = "as", value_name = "PARTY")]
    actor: Option<PartyId>,
    /// For what [default: the first purpose of the terms]
    #[arg(long, value_parser = code::<Purpose>)]
    purpose: Option<Purpose>,
    /// Only this part: train or held-out
    #[arg(long, value_parser = code::<Part>)]
    part: Option<Part>,
    /// Where: owner or anywhere
    #[arg(long, value_parser = code::<Place>, default_value = "owner")]
    place: Place,
    /// How many parties take part [default: all]
    #[arg(long, value_name = "NUMBER")]
    parties: Option<u32>,
    /// What the asset holds, if it is not registered: record, reference, aggregate or model
    #[arg(long, value_parser = code::<DataClass>)]
    class: Option<DataClass>,
    /// The language
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
}

#[derive(Serialize)]
struct Explained {
    request: Request,
    decision: allmende_core::agreement::check::Decision,
    text: String,
}

impl Explain {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let state = member.state();
        let joint = self.asset.owner().as_str() == member.collaboration.as_str();
        let registered = state.assets().get(&self.asset).map(|a| a.registered.class);
        let class = self.class.or(registered).or(joint.then_some(DataClass::Model)).ok_or_else(|| {
            Failure::usage(format!("{} is not registered", self.asset))
                .code("asset.unknown")
                .next("say what it would hold with --class")
        })?;
        let now = context.now();
        let current: Vec<&Terms> = state.terms_in_force(now).map(|(_, terms)| terms).collect();
        let purpose = self.purpose.or_else(|| current.first().and_then(|t| t.purpose.first().copied()));
        let all = u32::try_from(state.members().len()).unwrap_or(u32::MAX);
        let request = Request {
            actor: self.actor.unwrap_or_else(|| member.home.party().clone()),
            action: self.action,
            asset: self.asset,
            part: self.part,
            class,
            purpose: purpose.unwrap_or(Purpose::Research),
            place: self.place,
            parties: self.parties.unwrap_or(all),
            at: now,
        };
        let decision = state.judge(&request);
        let text = explain(&decision, &current, &request, self.lang.into());
        let denied = !decision.is_allowed();
        let explained = Explained { request, decision, text };
        context.out.result(&explained, || explained.text.clone())?;
        if !denied {
            return Ok(());
        }
        let clauses = explained.decision.clauses.iter().map(|c| c.clause.to_string());
        Err(Failure::new(Exit::Refused, "the terms do not allow this").code("agreement.denied").clauses(clauses))
    }
}

/// Leave terms in force, as their exit clause says. What happened before stays as it was.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende agreement withdraw current")]
pub struct Withdraw {
    /// 'current', or the first digits of the digest
    #[arg(default_value = "current")]
    terms: String,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Withdraw {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = Member::open(context).await?;
        let (digest, title) = member.agreement(&self.terms).map(|(d, a)| (d, a.terms.title.clone()))?;
        if !self.yes && !context.out.confirm(&format!("Withdraw from '{title}'? This cannot be undone."))? {
            return Err(Failure::new(Exit::Failure, "nothing was signed"));
        }
        member.sign(AgreementWithdrawn { terms: digest }, None).await?;
        let me = member.home.party().clone();
        let from = member.state().agreements().get(&digest).and_then(|a| a.withdrawn.get(&me)).copied();
        let from = from.map(|at| at.to_string()).unwrap_or_default();
        let value = serde_json::json!({ "terms": digest, "party": me, "withdrawn_from": from });
        context.out.result(&value, || format!("{me} leaves '{title}'; it no longer binds or serves you from {from}"))
    }
}
