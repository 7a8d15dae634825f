//! `collaboration`: founding, joining and looking at collaborations.

use std::path::PathBuf;

use allmende_core::collaboration::charter::{Charter, Deadlock, MemberClass, Milestone, Mode};
use allmende_core::id::{CollaborationId, PartyId};
use allmende_core::statement::{CollaborationJoined, CollaborationProposed};
use clap::{Args, Subcommand, ValueEnum};

use super::context::Context;
use super::failure::Failure;
use super::member::{self, Member};
use super::output::Output;
use super::table::{Table, fields};
use super::words::{Lang, parse_duration_ms};
use crate::view;

/// Found, join and look at collaborations.
#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "one value per process")]
pub enum Collaboration {
    /// Found a collaboration: propose its charter and be its first member
    Propose(Propose),
    /// Join a collaboration that invites you
    Join(Join),
    /// List the collaborations you are in or invited to
    List(List),
    /// Show a collaboration: charter, members, decisions
    Show(Show),
}

impl Collaboration {
    /// Runs the command.
    ///
    /// # Errors
    /// As its parts.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Propose(command) => command.run(context).await,
            Self::Join(command) => command.run(context).await,
            Self::List(command) => command.run(context).await,
            Self::Show(command) => command.run(context).await,
        }
    }
}

/// How members decide, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ModeWord {
    /// Consensus: nobody against, and at least the quorum in favour
    Peer,
    /// A coordinator must agree and may veto
    Leader,
    /// Weighted classes of members
    Ecosystem,
}

/// What happens when time runs out without a quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DeadlockWord {
    /// The matter is rejected
    Reject,
    /// The time runs once more
    ExtendOnce,
    /// One party decides
    Arbiter,
}

/// Found a collaboration: propose its charter and be its first member.
///
/// The charter says what the members want to reach, who may join, and how they decide. Everybody joins under its digest,
/// so it cannot change unnoticed. Give it with flags, or whole with --charter.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende collaboration propose handwriting --title 'Handwriting' \\\n    --goal 'One model that reads all ten digits' --invite east,west --mode peer --quorum 3"
)]
pub struct Propose {
    /// Its name, unique on the hub
    name: CollaborationId,
    /// The whole charter as TOML, instead of the flags
    #[arg(long, value_name = "FILE", conflicts_with_all = ["title", "goal", "invite", "mode"])]
    charter: Option<PathBuf>,
    /// A short name for people
    #[arg(long, required_unless_present = "charter")]
    title: Option<String>,
    /// What the members want to reach together
    #[arg(long, required_unless_present = "charter")]
    goal: Option<String>,
    /// Who may join without a decision; you always may
    #[arg(long, value_name = "PARTY,…", value_delimiter = ',')]
    invite: Vec<PartyId>,
    /// How members decide
    #[arg(long, value_enum, default_value = "peer")]
    mode: ModeWord,
    /// For leader mode: who coordinates [default: you]
    #[arg(long, value_name = "PARTY")]
    coordinator: Option<PartyId>,
    /// For ecosystem mode: a class as NAME=PERCENT:PARTY,…; may be repeated
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// For ecosystem mode: per cent of weight that must be exceeded
    #[arg(long, value_name = "PERCENT", default_value_t = 50)]
    threshold: u32,
    /// Fewest votes for a decision that is not unanimous [default: more than half of those invited]
    #[arg(long, value_name = "NUMBER")]
    quorum: Option<u32>,
    /// Time to vote, such as 30m, 48h or 7d
    #[arg(long, value_name = "TIME", default_value = "7d", value_parser = parse_duration_ms)]
    vote_time: u64,
    /// What follows when that time runs out without a quorum
    #[arg(long, value_enum, default_value = "reject")]
    deadlock: DeadlockWord,
    /// For deadlock 'arbiter': who decides
    #[arg(long, value_name = "PARTY", required_if_eq("deadlock", "arbiter"))]
    arbiter: Option<PartyId>,
    /// A step on the way as NAME=DATE:TEXT; may be repeated
    #[arg(long = "milestone", value_name = "STEP")]
    milestones: Vec<String>,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Propose {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let charter = self.charter(home.party())?;
        charter
            .validate()
            .map_err(|e| Failure::usage(e.to_string()).next("correct the charter and propose it again"))?;
        describe(&context.out, &charter);
        if !self.yes && !context.out.confirm(&format!("Found '{}' with this charter?", self.name))? {
            return Err(Failure::new(super::failure::Exit::Failure, "nothing was signed"));
        }
        let member = Member::found(context, home, self.name, CollaborationProposed { charter }).await?;
        show(&member, Lang::En)
    }

    fn charter(&self, me: &PartyId) -> Result<Charter, Failure> {
        if let Some(path) = &self.charter {
            let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
            return toml::from_str(&text).map_err(|e| Failure::file(path, e));
        }
        let mut invited = vec![me.clone()];
        invited.extend(self.invite.iter().filter(|party| *party != me).cloned());
        let mode = match self.mode {
            ModeWord::Peer => Mode::Peer,
            ModeWord::Leader => Mode::Leader { coordinator: self.coordinator.clone().unwrap_or_else(|| me.clone()) },
            ModeWord::Ecosystem => Mode::Ecosystem {
                classes: self.classes.iter().map(|text| class(text)).collect::<Result<_, _>>()?,
                threshold_percent: self.threshold,
            },
        };
        let deadlock = match (self.deadlock, &self.arbiter) {
            (DeadlockWord::Arbiter, Some(party)) => Deadlock::Arbiter { party: party.clone() },
            (DeadlockWord::ExtendOnce, _) => Deadlock::ExtendOnce,
            _ => Deadlock::Reject,
        };
        let majority = u32::try_from(invited.len() / 2 + 1).unwrap_or(u32::MAX);
        Ok(Charter {
            title: self.title.clone().unwrap_or_default(),
            goal: self.goal.clone().unwrap_or_default(),
            mode,
            quorum: self.quorum.unwrap_or(majority),
            invited,
            vote_ms: self.vote_time,
            deadlock,
            milestones: self.milestones.iter().map(|text| milestone(text)).collect::<Result<_, _>>()?,
        })
    }
}

fn class(text: &str) -> Result<MemberClass, Failure> {
    let refuse = || Failure::usage(format!("--class {text:?} is not NAME=PERCENT:PARTY,…"));
    let (name, rest) = text.split_once('=').ok_or_else(refuse)?;
    let (percent, members) = rest.split_once(':').ok_or_else(refuse)?;
    Ok(MemberClass {
        name: name.parse().map_err(|_| refuse())?,
        weight_percent: percent.parse().map_err(|_| refuse())?,
        members: members.split(',').map(|m| m.parse().map_err(|_| refuse())).collect::<Result<_, _>>()?,
    })
}

fn milestone(text: &str) -> Result<Milestone, Failure> {
    let refuse = || Failure::usage(format!("--milestone {text:?} is not NAME=DATE:TEXT"));
    let (name, rest) = text.split_once('=').ok_or_else(refuse)?;
    let (due, what) = rest.split_once(':').ok_or_else(refuse)?;
    let (name, due) = (name.parse().map_err(|_| refuse())?, due.parse().map_err(|_| refuse())?);
    Ok(Milestone { name, due, text: what.trim().to_owned() })
}

fn describe(out: &Output, charter: &Charter) {
    out.heading(&charter.title);
    out.note(&charter.goal);
    let invited: Vec<_> = charter.invited.iter().map(ToString::to_string).collect();
    let mode = match &charter.mode {
        Mode::Peer => "consensus".to_owned(),
        Mode::Leader { coordinator } => format!("led by {coordinator}"),
        Mode::Ecosystem { classes, threshold_percent } => {
            format!("{} weighted classes, more than {threshold_percent} %", classes.len())
        }
    };
    out.note(
        fields([
            ("members", invited.join(", ")),
            ("mode", mode),
            ("quorum", charter.quorum.to_string()),
            ("charter", charter.digest().to_string()),
        ])
        .trim_end(),
    );
}

/// Join a collaboration that invites you, under the charter you are shown.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende collaboration join handwriting")]
pub struct Join {
    /// Its name; not needed while you are invited to one only
    name: Option<CollaborationId>,
    /// Do not ask before signing
    #[arg(long, short)]
    yes: bool,
}

impl Join {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut member = match self.name {
            Some(name) => {
                let home = context.home()?;
                let hub = member::reading_client(context, &home)?;
                Member::enter(context, home, hub, name).await?
            }
            None => Member::open(context).await?,
        };
        let charter = member.state().charter().cloned().ok_or_else(|| Failure::usage("it has no charter yet"))?;
        if member.state().members().contains_key(member.home.party()) {
            context.out.note("You are a member already.");
            return show(&member, Lang::En);
        }
        describe(&context.out, &charter);
        if !self.yes && !context.out.confirm(&format!("Join '{}' under this charter?", member.collaboration))? {
            return Err(Failure::new(super::failure::Exit::Failure, "nothing was signed"));
        }
        member.sign(CollaborationJoined { charter: charter.digest() }, None).await?;
        show(&member, Lang::En)
    }
}

/// List the collaborations you are in or invited to. Everything but the names is computed from the verified logs.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende collaboration list")]
pub struct List {}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let home = context.home()?;
        let names = member::names(&member::reading_client(context, &home)?).await?;
        let mut views = Vec::new();
        for name in names {
            let hub = member::reading_client(context, &home)?;
            let member = Member::enter(context, home.clone(), hub, name).await?;
            views.extend(view::collaboration(member.state(), context.now(), Lang::En.into()));
        }
        context.out.result(&views, || {
            let mut table = Table::new(&["name", "title", "members", ">entries", ">open decisions"]);
            for view in &views {
                let members: Vec<_> = view.members.iter().map(|m| m.party.as_str()).collect();
                let open = view.decisions.iter().filter(|d| d.status == "open").count();
                table.row([&view.id, &view.title, &members.join(", "), &view.size.to_string(), &open.to_string()]);
            }
            table.render_or("no collaborations yet: found one with 'allmende collaboration propose'")
        })
    }
}

/// Show a collaboration: charter, members and their keys, decisions.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende collaboration show --collaboration handwriting")]
pub struct Show {
    /// The language
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        show(&Member::open(context).await?, self.lang)
    }
}

fn show(member: &Member<'_>, lang: Lang) -> Result<(), Failure> {
    let view = view::collaboration(member.state(), member.context.now(), lang.into())
        .ok_or_else(|| Failure::internal("the log holds no charter"))?;
    member.context.out.result(&view, || {
        let mut text = format!("{}\n{}\n\n{}\n\n", view.title, view.goal, view.mode_in_words);
        text.push_str(&fields([
            ("name", view.id.clone()),
            ("log", format!("{}, {} entries, verified here", view.origin, view.size)),
            ("hub key", view.hub_key.clone()),
            ("not joined yet", if view.invited.is_empty() { "–".to_owned() } else { view.invited.join(", ") }),
        ]));
        let mut table = Table::new(&["member", "joined", "governance key", "nodes"]);
        for m in &view.members {
            let nodes: Vec<_> = m.nodes.iter().map(|n| n.name.as_str()).collect();
            let key = m.governance.clone().unwrap_or_else(|| "revoked".to_owned());
            table.row([&m.party, &m.joined_at, &key, &nodes.join(", ")]);
        }
        text.push_str(&format!("\n{table}"));
        if !view.milestones.is_empty() {
            let mut table = Table::new(&["milestone", "due", "what"]);
            for m in &view.milestones {
                table.row([&m.name, &m.due, &m.text]);
            }
            text.push_str(&format!("\n{table}"));
        }
        if !view.decisions.is_empty() {
            text.push_str(&format!("\n{}", super::decision::table(&view.decisions)));
        }
        text
    })
}
