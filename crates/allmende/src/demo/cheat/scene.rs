//! The scene of the crimes: the same collaboration as in the honest demonstration, but each member reaches the hub through
//! the operator's network, and east plays by its own rules.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use allmende_core::id::{CollaborationId, Origin, RunId};
use allmende_core::ledger::envelope::{Envelope, Record};
use allmende_core::run::plan::Coalition;
use allmende_core::signature::{PublicKey, SecretKey};
use allmende_core::state::State;
use allmende_core::state::runs::{Run, Status};
use allmende_core::statement::KeyClass;

use super::forge::{Forged, Operator, broken, records};
use super::proxy::{Board, Lie, Proxy};
use super::{Attempt, Options, cut};
use crate::agent::alarms::{Alarms, Event};
use crate::agent::settings::Settings;
use crate::client::home::Home;
use crate::client::http::{HubClient, Signer};
use crate::client::routes::LogName;
use crate::client::submit::{RemoteLog, origin_of};
use crate::clock::Clock;
use crate::demo::case::{Case, Script, write_csv};
use crate::demo::stage::{Failed, Stage, path};
use crate::tls::Trust;

/// The member that plays by the rules and proposes.
pub const NORTH: &str = "north";
/// The dishonest member.
pub const EAST: &str = "east";
/// The member that the operator cheats first.
pub const WEST: &str = "west";
/// How old a cosignature may be here, in seconds: the least that a node accepts.
const FRESHNESS_S: u64 = 5;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(90);
/// How often to look.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// A log that did not grow for so long is quiet.
const QUIET: Duration = Duration::from_millis(900);

/// The dishonest member: its keys, and its own view of the log.
pub struct Liar {
    /// Its hand for votes and proposals.
    pub governance: Signer,
    /// Its node's hand.
    pub node: Signer,
    /// The log, read at the real hub.
    pub log: RemoteLog,
}

/// What a fraud led to.
pub struct Outcome {
    /// Whether it came to nothing, exactly as it should.
    pub caught: bool,
    /// By what it was caught.
    pub how: String,
}

/// Everything on the scene.
pub struct Scene<'a> {
    /// The processes.
    pub stage: Stage<'a>,
    /// The story's data and plan.
    pub script: Script,
    /// The doors of the members.
    pub doors: BTreeMap<&'static str, Proxy>,
    /// The dishonest member.
    pub liar: Liar,
    /// The dishonest operator.
    pub operator: Operator,
    /// What was tried so far.
    pub attempts: Vec<Attempt>,
}

impl<'a> Scene<'a> {
    /// Everybody joins through the operator's network, agrees on terms, registers data, and starts its node.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn set(mut stage: Stage<'a>, options: &Options) -> Result<Self, Failed> {
        let script = Case::Digits.script()?;
        let board = Board::default();
        let mut doors = BTreeMap::new();
        stage.narrator().act("Three organizations join through a network that the hub's operator controls");
        for party in [NORTH, EAST, WEST] {
            let door = Proxy::open(&party.parse().map_err(broken)?, &stage.url, Arc::clone(&board)).await?;
            stage.run(party, &["init", "--party", party, "--no-passphrase"]).await?;
            stage.run(party, &["join", &door.url, "--hub-key", &stage.hub_key]).await?;
            doors.insert(party, door);
        }
        let operator = Operator::new(&stage.dir.join("hub"))?;
        crate::demo::story::found(&stage, &script, &[NORTH, EAST, WEST]).await?;
        agree(&stage, &script).await?;
        bring_data(&stage, &script, options.seed).await?;
        for party in [NORTH, EAST, WEST] {
            stage.start_node(party)?;
        }
        let liar = liar(&stage, script.collaboration)?;
        Ok(Self { stage, script, doors, liar, operator, attempts: Vec::new() })
    }

    /// A member's door.
    #[must_use]
    pub fn door(&self, party: &str) -> &Proxy {
        &self.doors[party]
    }

    /// The collaboration.
    ///
    /// # Panics
    /// Never: the story's name is one.
    #[must_use]
    pub fn name(&self) -> CollaborationId {
        self.script.collaboration.parse().expect("the story's name is a slug")
    }

    /// A new act begins.
    pub fn act(&self, title: &str) {
        self.stage.narrator().act(title);
    }

    /// Writes down what was tried and what came of it.
    pub fn note(&mut self, name: &'static str, what: &str, by: &'static str, caught_by: &str, outcome: Outcome) {
        let verdict = if outcome.caught { "caught" } else { "MISSED" };
        self.stage.narrator().tell(&format!("{by}: {what} → {verdict} by {caught_by}: {}", cut(&outcome.how)));
        self.attempts.push(Attempt {
            name,
            what: what.to_owned(),
            by,
            caught_by: caught_by.to_owned(),
            how: outcome.how,
            caught: outcome.caught,
        });
    }

    /// The log as the hub has it now.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn state(&self) -> Result<State, Failed> {
        self.liar.log.catch_up().await.map_err(broken)?;
        Ok(self.liar.log.mirror().state().clone())
    }

    /// Waits until `done` says of the log that it is.
    ///
    /// # Errors
    /// [`Failed`] after a while.
    pub async fn until(&self, what: &str, done: impl Fn(&State) -> bool) -> Result<State, Failed> {
        let since = Instant::now();
        loop {
            let state = self.state().await?;
            if done(&state) {
                return Ok(state);
            }
            if since.elapsed() > PATIENCE {
                return Err(Failed::new("wait", format!("{what}: not after {} s", PATIENCE.as_secs())));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until `run` stands as `done` says.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn run(&self, run: &str, what: &str, done: impl Fn(&Run) -> bool) -> Result<State, Failed> {
        let id: RunId = run.parse().map_err(broken)?;
        self.until(&format!("{run}: {what}"), |state| state.run(&id).is_ok_and(&done)).await
    }

    /// Waits until nothing happens any more.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn quiet(&self) -> Result<State, Failed> {
        let begun = Instant::now();
        let (mut size, mut since) = (0, Instant::now());
        loop {
            let state = self.state().await?;
            if state.size() != size {
                (size, since) = (state.size(), Instant::now());
            } else if since.elapsed() >= QUIET {
                return Ok(state);
            }
            if begun.elapsed() > PATIENCE {
                return Err(Failed::new("wait", "the log does not come to rest"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a member's node has all of the log.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn level(&self, party: &str, size: u64) -> Result<(), Failed> {
        let since = Instant::now();
        while self.door(party).asked().0 < size {
            if since.elapsed() > PATIENCE {
                return Err(Failed::new("wait", format!("{party}'s node does not follow the log")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Waits until a member's node has asked for news more than `before` times.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn asked_again(&self, party: &str, before: u64) -> Result<(), Failed> {
        let since = Instant::now();
        while self.door(party).asked().1 <= before {
            if since.elapsed() > PATIENCE {
                return Err(Failed::new("wait", format!("{party}'s node does not ask for news")));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// The true records, and the state after them.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn truth(&self) -> Result<(Vec<Record>, State), Failed> {
        self.liar.log.catch_up().await.map_err(broken)?;
        let mirror = self.liar.log.mirror();
        Ok((records(&mirror)?, mirror.state().clone()))
    }

    /// The alarms of a member's node so far.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn alarms(&self, party: &str) -> Result<Vec<Event>, Failed> {
        Alarms::new(&self.stage.home(party).join("node")).all().map_err(broken)
    }

    /// Whether an alarm holds a member's node up.
    #[must_use]
    pub fn is_halted(&self, party: &str) -> bool {
        Alarms::new(&self.stage.home(party).join("node")).is_halted(&self.name())
    }

    /// Waits for a member's next alarm with this code, after the first `before` ones; the last one otherwise.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn alarm(&self, party: &str, before: usize, code: &str, wait: Duration) -> Result<Option<Event>, Failed> {
        let since = Instant::now();
        loop {
            let new: Vec<Event> = self.alarms(party)?.into_iter().skip(before).collect();
            if let Some(event) = new.iter().find(|event| event.code == code) {
                return Ok(Some(event.clone()));
            }
            if since.elapsed() > wait {
                return Ok(new.last().cloned());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Shows a forged log to `party` and waits for its alarm.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn show(&self, party: &str, log: Arc<Forged>, code: &str, says: &str) -> Result<Outcome, Failed> {
        let before = self.alarms(party)?.len();
        self.door(party).tell(Some(Lie::Log(log)));
        let event = self.alarm(party, before, code, Duration::from_secs(20)).await?;
        Ok(alarmed(event, code, says))
    }

    /// Tells `party` the truth again; its owner clears the alarm and starts the node anew, with a fresh copy if it must.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn recover(&mut self, party: &'static str, afresh: bool) -> Result<(), Failed> {
        self.door(party).tell(None);
        self.stage.stop(party, false).await;
        let name = self.name();
        self.stage.quietly(party, &["node", "alarms", "--clear", name.as_str()]).await?;
        if afresh {
            let copy = self.stage.home(party).join("node").join("mirror").join(name.as_str());
            std::fs::remove_dir_all(&copy).map_err(broken)?;
        }
        self.stage.start_node(party)?;
        let (_, syncs) = self.door(party).asked();
        let size = self.state().await?.size();
        self.asked_again(party, syncs).await?;
        self.level(party, size).await
    }

    /// A member's run, proposed and, unless `voters` is empty, approved.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn propose(&self, run: &str, more: &[&str], voters: &[&str]) -> Result<(), Failed> {
        let mut args = vec![
            "run",
            "propose",
            run,
            "--model",
            "mlp:16",
            "--purpose",
            self.script.purpose,
            "--normalize",
            "uniform:8:0.125",
            "--optimizer",
            "sgd:0.4",
            "--batch-rows",
            "128",
            "--outer",
            "nesterov:1:0.8",
            "--min-parties",
            "3",
            "--round-timeout",
            "5m",
        ];
        args.extend(more);
        let assets = [NORTH, EAST, WEST].map(|party| format!("{party}/{}", self.script.dataset)).join(",");
        if !more.contains(&"--asset") {
            args.extend(["--asset", &assets]);
        }
        args.push("--yes");
        self.stage.run(NORTH, &args).await?;
        for party in voters {
            self.stage.run(party, &["run", "approve", run, "--yes"]).await?;
        }
        Ok(())
    }

    /// The public key of a member's node.
    ///
    /// # Errors
    /// [`Failed`].
    pub fn node_key(&self, party: &str) -> Result<PublicKey, Failed> {
        let home = Home::open(&self.stage.home(party)).map_err(broken)?;
        Ok(home.node_key().map_err(broken)?.public())
    }

    /// Offers to `party`'s node, added to what the hub says, and its alarm.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn order(&self, party: &str, offers: Vec<Envelope>, says: &str) -> Result<Outcome, Failed> {
        let (before, sent) = (self.alarms(party)?.len(), self.door(party).sent());
        self.door(party).tell(Some(Lie::Offers(offers)));
        let event = self.alarm(party, before, "node.forged-offer", Duration::from_secs(20)).await?;
        self.door(party).tell(None);
        let mut outcome = alarmed(event, "node.forged-offer", says);
        if self.door(party).sent() != sent {
            outcome = Outcome { caught: false, how: format!("{}; but the node sent something", outcome.how) };
        }
        Ok(outcome)
    }
}

/// Judges an alarm.
fn alarmed(event: Option<Event>, code: &str, says: &str) -> Outcome {
    match event {
        None => Outcome { caught: false, how: "no alarm".to_owned() },
        Some(event) => Outcome {
            caught: event.code == code && event.text.contains(says),
            how: format!("alarm {}: {}", event.code, event.text),
        },
    }
}

/// A party's place in a run.
#[must_use]
pub fn slot(run: &Run, party: &str) -> u32 {
    let place = run.plan.slots.iter().position(|slot| slot.party.as_str() == party);
    place.and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX)
}

/// Whether a run's whole coalition has this slot's update to the open round.
#[must_use]
pub fn has_update(run: &Run, slot: u32) -> bool {
    run.status == Status::Started
        && run.track(Coalition::all(run.plan.slots.len())).is_some_and(|track| track.updates.contains_key(&slot))
}

fn liar(stage: &Stage<'_>, collaboration: &str) -> Result<Liar, Failed> {
    let home = Home::open(&stage.home(EAST)).map_err(broken)?;
    let key = |class| -> Result<Arc<SecretKey>, Failed> {
        Ok(Arc::new(home.key_file(class).map_err(broken)?.open(None).map_err(broken)?))
    };
    let id = home.party().clone();
    let signer = |class| Ok::<_, Failed>(Signer { party: id.clone(), class, key: key(class)? });
    let (governance, node) = (signer(KeyClass::Governance)?, signer(KeyClass::Node)?);
    let hub = home.hub().map_err(broken)?;
    let client = HubClient::connect(&stage.url, &Trust::System, Some(hub.key), Clock::system()).map_err(broken)?;
    let client = Arc::new(client.signed_in_as(node.clone()));
    let name = LogName::Collaboration(collaboration.parse().map_err(broken)?);
    let log = RemoteLog::in_memory(client, &hub.name, &name).map_err(broken)?;
    Ok(Liar { governance, node, log })
}

/// The origin of the collaboration's log.
///
/// # Errors
/// [`Failed`].
pub fn origin(scene: &Scene<'_>) -> Result<Origin, Failed> {
    let home = Home::open(&scene.stage.home(EAST)).map_err(broken)?;
    origin_of(&home.hub().map_err(broken)?.name, &LogName::Collaboration(scene.name())).map_err(broken)
}

async fn agree(stage: &Stage<'_>, script: &Script) -> Result<(), Failed> {
    stage.narrator().act("They agree on terms");
    let assets: Vec<String> = [NORTH, EAST, WEST].iter().map(|p| format!("{p}/{}", script.dataset)).collect();
    let assets = format!("{},{NORTH}/spare", assets.join(","));
    let terms = path(&stage.dir, "terms.toml");
    let args = [
        "agreement",
        "draft",
        "--title",
        script.title,
        "--asset",
        &assets,
        "--purpose",
        script.purpose,
        "--min-parties",
        "3",
        "--out",
        &terms,
    ];
    stage.run(NORTH, &args).await?;
    stage.run(NORTH, &["agreement", "propose", &terms]).await?;
    for party in [NORTH, EAST, WEST] {
        stage.run(party, &["agreement", "sign", "--yes"]).await?;
    }
    Ok(())
}

async fn bring_data(stage: &Stage<'_>, script: &Script, seed: u64) -> Result<(), Failed> {
    stage.narrator().act("Each registers its data");
    let classes = script.classes.to_string();
    let mut add = Vec::new();
    for organization in &script.organizations {
        let file = stage.dir.join(format!("{}.csv", organization.party));
        write_csv(&file, &organization.rows)?;
        add.push((organization.party, file, script.dataset));
    }
    let spare = stage.dir.join("spare.csv");
    write_csv(&spare, &script.organizations[0].rows)?;
    add.push((NORTH, spare, "spare"));
    for (party, file, name) in add {
        let (file, salt) = (file.display().to_string(), format!("{seed}:{party}"));
        let args = ["asset", "add", &file, "--name", name, "--classes", &classes, "--salt-seed", &salt, "--yes"];
        stage.run(party, &args).await?;
        let dir = stage.home(party).join("node");
        let settings = Settings::load(&dir).map_err(broken)?;
        Settings { freshness_s: FRESHNESS_S, wait_s: 2, ..settings }.save(&dir).map_err(broken)?;
    }
    Ok(())
}
