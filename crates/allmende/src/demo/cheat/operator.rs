//! What a dishonest operator tries, with the hub's key, its database and the network in its hand.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::agreement::terms::TermsText;
use allmende_core::agreement::vocabulary::{DataClass, Purpose};
use allmende_core::amount::Amount;
use allmende_core::canonical;
use allmende_core::collaboration::decision::Subject;
use allmende_core::digest::Digest;
use allmende_core::id::RunId;
use allmende_core::ledger::envelope::Record;
use allmende_core::run::offer::Work;
use allmende_core::run::plan::Plan;
use allmende_core::state::State;
use allmende_core::state::runs::Status;
use allmende_core::statement::{
    AgreementProposed, AssetRegistered, Body, DecisionOpened, KeyClass, KeyRotated, PayoutPosted, RunChecked,
    RunProposed, Statement,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::forge::{Forged, arrived, broken, pose};
use super::proxy::Lie;
use super::scene::{EAST, NORTH, Outcome, Scene, WEST, origin};
use crate::demo::Failed;
use crate::verify::{Existing, export};

const RUN: &str = "first-model";
const BY: &str = "operator";
const WITH_EAST: &str = "operator and east";
/// What is divided.
const POOL: &str = "10000.00";
/// A day, in milliseconds.
const A_DAY_MS: i64 = 86_400_000;
/// In which a node would have cosigned.
const A_WHILE: Duration = Duration::from_secs(1);
/// How long a node may take to notice something.
const NOTICE: Duration = Duration::from_secs(20);

/// An honest run up to its payout: what there is to steal.
pub async fn honest_payout(scene: &Scene<'_>) -> Result<(), Failed> {
    scene.act("An honest run, up to its payout");
    let more = ["--rounds", "2", "--measure", "1,2", "--evaluate-every", "0"];
    scene.propose(RUN, &more, &[NORTH, EAST, WEST]).await?;
    scene.run(RUN, "measured", |run| run.contribution.is_some()).await?;
    scene.stage.run(NORTH, &["settle", "--run", RUN, "--pool", POOL, "--name", "first", "--yes"]).await?;
    Ok(())
}

/// Writes a log as files and lets `party` judge it with the command for that.
async fn judged(scene: &Scene<'_>, log: &Forged, name: &str, code: &str, says: &str) -> Result<Outcome, Failed> {
    let dir: PathBuf = scene.stage.dir.join(name);
    let entries = log.leaves().iter().map(|leaf| Ok::<_, String>(leaf.clone().into_bytes()));
    export(&dir, entries, &log.signed(log.size()), Existing::Repair).map_err(broken)?;
    verify(scene, &["ledger", "verify", &dir.display().to_string()], code, says).await
}

async fn verify(scene: &Scene<'_>, args: &[&str], code: &str, says: &str) -> Result<Outcome, Failed> {
    let ran = scene.stage.attempt(NORTH, args).await?;
    let text =
        |pointer: &str| ran.json.pointer(pointer).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    let (got, what) = (text("/error/code"), text("/error/what"));
    let caught = ran.code == 4 && got == code && what.contains(says);
    Ok(Outcome {
        caught,
        how: format!("ledger verify ends with {}, {got}: {}", ran.code, what.trim_start_matches("the log is wrong: ")),
    })
}

fn both(a: &Outcome, b: &Outcome) -> Outcome {
    Outcome { caught: a.caught && b.caught, how: format!("{} · {}", a.how, b.how) }
}

/// Altered payouts: in the record itself, and as a new one that a colluding member signed.
pub async fn alter(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest operator: money");
    let (mut records, state) = {
        scene.quiet().await?;
        scene.truth().await?
    };
    scene.level(WEST, state.size()).await?;
    let log = origin(scene)?;
    let posted = |record: &Record| {
        matches!(Statement::open(&record.envelope).map(|o| o.statement.body), Ok(Body::PayoutPosted(_)))
    };
    let index = records.iter().position(posted).ok_or_else(|| broken("no payout"))?;
    let Ok(Body::PayoutPosted(paid)) = Statement::open(&records[index].envelope).map(|o| o.statement.body) else {
        return Err(broken("no payout"));
    };

    // The same wrong amounts in a payout of its own, under east's good signature: only the rules can tell.
    let mut amounts = paid.amounts.clone();
    let more = Amount::parse_major("1.00").map_err(broken)?;
    amounts[1] = Amount::from_minor(amounts[1].minor() + more.minor()).map_err(broken)?;
    amounts[0] = Amount::from_minor(amounts[0].minor() - more.minor()).map_err(broken)?;
    let second = PayoutPosted { payout: "second".parse().map_err(broken)?, amounts: amounts.clone(), ..paid };
    let signed = pose(&state, EAST, KeyClass::Governance, &scene.liar.governance.key, second.into())?;
    let mut longer = records.clone();
    longer.push(arrived(&state, signed));

    let payload = records[index].envelope.payload_bytes().map_err(broken)?;
    let mut value: serde_json::Value = serde_json::from_slice(&payload).map_err(broken)?;
    value["body"]["amounts"] = serde_json::to_value(&amounts).map_err(broken)?;
    records[index].envelope.payload = STANDARD.encode(canonical::to_bytes(&value).map_err(broken)?);

    let altered = Arc::new(scene.operator.log(&log, &records)?);
    let named = format!("entry {index}");
    let offline = judged(scene, &altered, "altered-log", "verify.statement", &named).await?;
    let online = scene.show(WEST, altered, "mirror.fork", "forked").await?;
    scene.note(
        "payout-altered",
        "alter a payout in the record, sign the log anew",
        BY,
        "ledger verify; west's node",
        both(&offline, &online),
    );
    scene.recover(WEST, false).await?;

    let longer = Arc::new(scene.operator.log(&log, &longer)?);
    let named = format!("entry {}", state.size());
    let offline = judged(scene, &longer, "false-payout-log", "verify.refused", &named).await?;
    let online = scene.show(WEST, longer, "mirror.invalid-entry", "the payout does not follow from the log").await?;
    scene.note(
        "payout-false",
        "post a wrong payout, well signed by east",
        WITH_EAST,
        "ledger verify; west's node",
        both(&offline, &online),
    );
    scene.recover(WEST, false).await
}

/// The plan of an honest run, made for a purpose that the terms forbid.
fn forbidden_plan(scene: &Scene<'_>, state: &State) -> Result<Plan, Failed> {
    let honest = state.run(&RUN.parse().map_err(broken)?).map_err(broken)?;
    let purpose: Purpose = scene.script.forbidden_purpose.parse().map_err(broken)?;
    Ok(Plan { purpose, ..honest.plan.clone() })
}

/// Forbidden and undecided runs, ordered all the same.
pub async fn order(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest operator: orders");
    let (_, state) = scene.truth().await?;
    let plan = forbidden_plan(scene, &state)?;
    let id: RunId = "side-business".parse().map_err(broken)?;
    let agreement = plan.agreement;
    let body = RunProposed { run: id.clone(), plan };
    scene.liar.log.submit(&scene.liar.governance, body, Some(agreement)).await.map_err(broken)?;
    let state = scene.quiet().await?;
    scene.level(WEST, state.size()).await?;
    let node = scene.node_key(WEST)?;
    let run = state.run(&id).map_err(broken)?;
    let offer = scene.operator.offer(&state, run, Work::Answer {}, node)?;
    let decision = state.judge_plan(&run.plan, &run.proposed_by, run.proposed_at).to_string();
    if !decision.contains("clause ") {
        return Err(broken(format!("no clause forbids the run: {decision}")));
    }
    let tried = scene.order(WEST, vec![offer], &decision).await?;
    scene.note("forbidden-run", "order a run for a purpose that the terms forbid", WITH_EAST, "west's node", tried);

    // The honest record says 'forbidden'; a record that says 'allowed' breaks the rules.
    let (mut records, mut forged) = scene.truth().await?;
    let plan = forbidden_plan(scene, &state)?;
    let id: RunId = "side-business-2".parse().map_err(broken)?;
    let proposed = RunProposed { run: id.clone(), plan };
    let proposed = pose(&forged, EAST, KeyClass::Governance, &scene.liar.governance.key, proposed.into())?;
    let proposed = arrived(&forged, proposed);
    forged.apply(&proposed).map_err(broken)?;
    let found = forged.run(&id).map_err(broken)?.clauses.clone();
    let allowed = RunChecked { run: id, allowed: true, clauses: found };
    let allowed = scene.operator.attest(&forged, allowed.into(), Some(agreement))?;
    let allowed = arrived(&forged, allowed);
    records.extend([proposed, allowed]);
    let log = Arc::new(scene.operator.log(&origin(scene)?, &records)?);
    let tried = scene.show(WEST, log, "mirror.invalid-entry", "allowed false").await?;
    scene.note("forbidden-run-allowed", "record that the terms allow it", WITH_EAST, "west's node", tried);
    scene.recover(WEST, false).await?;

    let more = ["--rounds", "400", "--measure", "none", "--evaluate-every", "0"];
    scene.propose(super::freeze::LONG, &more, &[]).await?;
    let state = scene.quiet().await?;
    scene.level(WEST, state.size()).await?;
    let run = state.run(&super::freeze::LONG.parse().map_err(broken)?).map_err(broken)?;
    let offer = scene.operator.offer(&state, run, Work::Answer {}, node)?;
    let tried = scene.order(WEST, vec![offer], "did not approve").await?;
    scene.note("undecided-run", "order a run that the members have not approved", BY, "west's node", tried);
    Ok(())
}

/// While a run is under way: work from a model that the log does not know.
pub async fn models(scene: &mut Scene<'_>, run: &str, state: &State) -> Result<(), Failed> {
    scene.level(WEST, state.size()).await?;
    let run = state.run(&run.parse().map_err(broken)?).map_err(broken)?;
    let work = Work::Train { coalition: run.whole(), round: 1, base: Digest::of(b"another model") };
    let offer = scene.operator.offer(state, run, work, scene.node_key(WEST)?)?;
    let tried = scene.order(WEST, vec![offer], "the offer names another").await?;
    scene.note("other-base", "order work from another base model", BY, "west's node", tried);
    // From now on west gets another model's bytes, beginning with the next round.
    let other =
        allmende_train::model::initial_model(&run.plan.model, allmende_core::run::plan::Seed(run.plan.seed.0 ^ 1));
    scene.door(WEST).tell(Some(Lie::Model(Bytes::from(other.map_err(broken)?))));
    Ok(())
}

/// West was served another model: it must say so, and send nothing made from it.
pub async fn other_model(scene: &mut Scene<'_>) -> Result<(), Failed> {
    let event = scene.alarm(WEST, 0, "node.other-bytes", NOTICE).await?;
    let state = scene.state().await?;
    let run = state.run(&"second-model".parse().map_err(broken)?).map_err(broken)?;
    let place = run.plan.slots.iter().position(|s| s.party.as_str() == WEST).and_then(|p| u32::try_from(p).ok());
    let used = place.is_none_or(|place| run.tracks[0].round() != 2 || run.tracks[0].updates.contains_key(&place));
    let how = event.as_ref().map_or("no alarm".to_owned(), |e| format!("alarm {}: {}", e.code, e.text));
    let caught = event.is_some_and(|e| e.code == "node.other-bytes") && !used;
    scene.note("other-model", "serve another base model to west's node", BY, "west's node", Outcome { caught, how });
    Ok(())
}

/// Keys, forks, and logs that grow shorter.
pub async fn show_another_log(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest operator: keys and history");
    let (records, state) = scene.truth().await?;
    let log = origin(scene)?;
    let with = |envelope| {
        let mut longer = records.clone();
        longer.push(arrived(&state, envelope));
        longer
    };
    let rotated = KeyRotated { class: KeyClass::Governance, new: scene.operator.own.public() };
    let rotated = pose(&state, NORTH, KeyClass::Root, &scene.operator.own, rotated.into())?;
    let forged = Arc::new(scene.operator.log(&log, &with(rotated))?);
    let tried = scene.show(WEST, forged, "mirror.invalid-entry", "is not a valid root key of north").await?;
    scene.note("key-swapped", "put its own key in the place of north's", BY, "west's node", tried);
    scene.recover(WEST, false).await?;

    let (_, terms) = state.terms_in_force(state.last_arrival()).next().ok_or_else(|| broken("no terms"))?;
    let mut terms = TermsText::clone(terms);
    terms.title.push_str(" II");
    for party in &mut terms.parties {
        if party.id.as_str() == NORTH {
            party.key = scene.operator.own.public();
        }
    }
    let body = AgreementProposed { terms: terms.seal().map_err(broken)? };
    let proposed = pose(&state, EAST, KeyClass::Governance, &scene.liar.governance.key, body.into())?;
    let forged = Arc::new(scene.operator.log(&log, &with(proposed))?);
    let tried = scene.show(WEST, forged, "mirror.invalid-entry", "is not north's governance key").await?;
    scene.note("key-in-terms", "propose terms that name another key for north", WITH_EAST, "west's node", tried);
    scene.recover(WEST, false).await?;

    let shorter = Arc::new(scene.operator.log(&log, &records[..records.len() - 3])?);
    let tried = scene.show(WEST, shorter, "mirror.rolled-back", "rolled back").await?;
    scene.note("rolled-back", "roll the log back for west", BY, "west's node", tried);
    scene.recover(WEST, false).await?;
    date_ahead(scene).await?;
    fork(scene).await
}

/// An entry from tomorrow: what the terms date by the log would pass early.
async fn date_ahead(scene: &mut Scene<'_>) -> Result<(), Failed> {
    let (mut records, state) = scene.truth().await?;
    let party = "tomorrow".parse().map_err(broken)?;
    let body = DecisionOpened { decision: "tomorrow".parse().map_err(broken)?, subject: Subject::Admit { party } };
    let signed = pose(&state, EAST, KeyClass::Governance, &scene.liar.governance.key, body.into())?;
    let record = arrived(&state, signed);
    records.push(Record { arrived_at: record.arrived_at.plus_ms(A_DAY_MS), ..record });
    let ahead = Arc::new(scene.operator.log(&origin(scene)?, &records)?);
    let mut tried = scene.show(WEST, ahead, "node.log-ahead", "ahead of this machine's clock").await?;
    tokio::time::sleep(A_WHILE).await;
    tried.caught &= scene.door(WEST).cosigned() <= state.size();
    scene.note("dated-ahead", "date an entry ahead, so that deadlines pass", WITH_EAST, "west's node", tried);
    scene.recover(WEST, true).await
}

/// East signs two statements for one place in its chain; the operator shows one to west and the other to everybody else.
async fn fork(scene: &mut Scene<'_>) -> Result<(), Failed> {
    let (mut records, state) = scene.truth().await?;
    let asset = |name: &str| -> Result<AssetRegistered, Failed> {
        Ok(AssetRegistered {
            asset: format!("{EAST}/{name}").parse().map_err(broken)?,
            class: DataClass::Record,
            commitment: Digest::of(name.as_bytes()),
            schema: Digest::of(b"schema"),
            features: 64,
            classes: 10,
            train_rows: 100,
            held_out_rows: 20,
            bytes: None,
            licence: None,
        })
    };
    let for_west = pose(&state, EAST, KeyClass::Governance, &scene.liar.governance.key, asset("for-west")?.into())?;
    records.push(arrived(&state, for_west));
    let before = scene.alarms(WEST)?.len();
    scene.door(WEST).tell(Some(Lie::Log(Arc::new(scene.operator.log(&origin(scene)?, &records)?))));
    scene.level(WEST, records.len() as u64).await?;
    scene.liar.log.submit(&scene.liar.governance, asset("for-all")?, None).await.map_err(broken)?;
    let name = scene.script.collaboration;
    let copy = |party: &str| scene.stage.home(party).join("node").join("mirror").join(name);
    scene.level(NORTH, scene.state().await?.size()).await?;
    let (known, dir) = (copy(NORTH).join("checkpoint").display().to_string(), copy(WEST).display().to_string());
    let offline = verify(scene, &["ledger", "verify", &dir, "--known", &known], "verify.forked", "forked").await?;
    scene.door(WEST).tell(None);
    let event = scene.alarm(WEST, before, "mirror.fork", NOTICE).await?;
    let online = Outcome {
        caught: event.as_ref().is_some_and(|e| e.code == "mirror.fork"),
        how: event.map_or("no alarm".to_owned(), |e| format!("alarm {}: {}", e.code, e.text)),
    };
    let who = "north, comparing; west's node";
    scene.note("forked", "fork the log for west", WITH_EAST, who, both(&offline, &online));
    scene.recover(WEST, true).await
}

/// After all this the real log verifies, and nothing that was tried stands in it.
pub async fn verify_in_the_end(scene: &Scene<'_>) -> Result<u64, Failed> {
    scene.act("In the end the real log is as honest as its members");
    let state = scene.quiet().await?;
    scene.level(NORTH, state.size()).await?;
    let dir = scene.stage.home(NORTH).join("node").join("mirror").join(scene.script.collaboration);
    scene.stage.run(NORTH, &["ledger", "verify", &dir.display().to_string()]).await?;
    let run = state.run(&"side-business".parse().map_err(broken)?).map_err(broken)?;
    if run.status != Status::Forbidden || !run.answers.is_empty() || state.payouts().len() != 1 {
        return Err(Failed::new("look at the real log", "something that was tried stands in it"));
    }
    Ok(state.size())
}
