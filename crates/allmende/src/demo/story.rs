//! The story: what happens, in order. Each step is a command of the organization that takes it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use allmende_core::amount::Amount;
use allmende_core::digest::Digest;
use allmende_core::id::{CollaborationId, Origin, RunId};
use allmende_core::run::plan::Coalition;
use allmende_core::signature::PublicKey;
use allmende_core::state::runs::Run;
use serde_json::Value;

use super::Options;
use super::case::{Script, write_csv};
use super::pooled::{Right, pooled};
use super::report::{Accuracy, Left, Report, Share, Usage};
use super::stage::{Failed, Stage, path, text};
use crate::agent::settings::Settings;
use crate::client::mirror::Mirror;

/// The run that is played.
const RUN: &str = "first-model";
/// What is divided in the end.
const POOL: &str = "10000.00";
/// How long a run may take.
const PATIENCE: Duration = Duration::from_secs(600);

pub(super) async fn play(stage: &mut Stage<'_>, options: &Options) -> Result<Report, Failed> {
    let started = Instant::now();
    let script = options.case.script()?;
    let parties: Vec<&str> = script.organizations.iter().map(|o| o.party).collect();
    arrive(stage, &script).await?;
    found(stage, &script, &parties).await?;
    agree(stage, &script, &parties).await?;
    bring_data(stage, &script, options.seed).await?;
    for party in &parties {
        stage.start_node(party)?;
    }
    train(stage, &script, &parties, options.seed).await?;
    publish(stage, &parties).await?;
    settle(stage).await?;
    serve(stage, &script).await?;
    let refused = forbidden(stage, &script).await?;
    let root = verify(stage, &script).await?;
    report(stage, options, &script, started, refused, root).await
}

async fn arrive(stage: &Stage<'_>, script: &Script) -> Result<(), Failed> {
    stage.narrator().act("Three organizations make their keys and join");
    for organization in &script.organizations {
        let party = organization.party;
        stage.run(party, &["init", "--party", party, "--no-passphrase"]).await?;
        stage.run(party, &["join", &stage.url, "--hub-key", &stage.hub_key]).await?;
        stage.narrator().tell(&format!(
            "{party} has {} rows: {}. Its keys stay in its own folder.",
            organization.rows.rows(),
            organization.holds
        ));
    }
    Ok(())
}

pub(super) async fn found(stage: &Stage<'_>, script: &Script, parties: &[&str]) -> Result<(), Failed> {
    stage.narrator().act("They found a collaboration and decide how they decide");
    let others = parties[1..].join(",");
    let name = script.collaboration;
    stage
        .run(
            parties[0],
            &[
                "collaboration",
                "propose",
                name,
                "--title",
                script.title,
                "--goal",
                script.goal,
                "--invite",
                &others,
                "--mode",
                "peer",
                "--quorum",
                "3",
                "--vote-time",
                "30m",
                "--yes",
            ],
        )
        .await?;
    for party in &parties[1..] {
        stage.run(party, &["collaboration", "join", name, "--yes"]).await?;
    }
    stage.narrator().tell("Peers: nothing is decided against anyone, and nothing without all three.");
    Ok(())
}

async fn agree(stage: &Stage<'_>, script: &Script, parties: &[&str]) -> Result<(), Failed> {
    stage.narrator().act("They agree on terms, and each signs the same text");
    let assets: Vec<String> = parties.iter().map(|p| format!("{p}/{}", script.dataset)).collect();
    let terms = path(&stage.dir, "terms.toml");
    stage
        .run(
            parties[0],
            &[
                "agreement",
                "draft",
                "--title",
                script.title,
                "--asset",
                &assets.join(","),
                "--reference",
                "north/reference",
                "--purpose",
                script.purpose,
                "--min-parties",
                "3",
                "--out",
                &terms,
            ],
        )
        .await?;
    stage.run(parties[0], &["agreement", "lint", &terms]).await?;
    stage.run(parties[0], &["agreement", "propose", &terms]).await?;
    let shown = stage.quietly(parties[0], &["agreement", "show", "offered"]).await?;
    if let Some(prose) = shown.pointer("/prose").and_then(Value::as_str) {
        for line in prose.lines() {
            stage.narrator().tell(&format!("│ {line}"));
        }
    }
    for party in parties {
        stage.run(party, &["agreement", "sign", "--yes"]).await?;
    }
    stage.narrator().tell("All three keys have signed the same digest: the terms are in force.");
    Ok(())
}

async fn bring_data(stage: &Stage<'_>, script: &Script, seed: u64) -> Result<(), Failed> {
    stage.narrator().act("Each registers its data: a commitment leaves, rows do not");
    let classes = script.classes.to_string();
    for organization in &script.organizations {
        let party = organization.party;
        let file = stage.dir.join(format!("{party}.csv"));
        write_csv(&file, &organization.rows)?;
        let file = file.display().to_string();
        let salt = format!("{seed}:{party}");
        let args = [
            "asset",
            "add",
            &file,
            "--name",
            script.dataset,
            "--class",
            "record",
            "--classes",
            &classes,
            "--salt-seed",
            &salt,
            "--yes",
        ];
        stage.run(party, &args).await?;
    }
    let file = stage.dir.join("reference.csv");
    write_csv(&file, &script.reference)?;
    let file = file.display().to_string();
    stage
        .run(
            "north",
            &["asset", "add", &file, "--name", "reference", "--class", "reference", "--classes", &classes, "--yes"],
        )
        .await?;
    let pulled = path(&stage.dir, "pulled-reference.csv");
    stage.run("east", &["asset", "pull", "north/reference", "--out", &pulled]).await?;
    stage
        .narrator()
        .tell(&format!("east has downloaded the {} rows that north shares openly.", script.reference.rows()));
    Ok(())
}

async fn train(stage: &Stage<'_>, script: &Script, parties: &[&str], seed: u64) -> Result<(), Failed> {
    stage.narrator().act("A run is proposed, checked against the terms, decided, and trained where the data is");
    let rounds = script.rounds.to_string();
    let seed = seed.to_string();
    let mut args = vec![
        "run",
        "propose",
        RUN,
        "--model",
        script.model,
        "--rounds",
        &rounds,
        "--purpose",
        script.purpose,
        "--seed",
        &seed,
        "--measure",
        "1,2",
        "--min-parties",
        "3",
        "--round-timeout",
        "60s",
    ];
    for (flag, value) in &script.plan {
        args.extend([*flag, value.as_str()]);
    }
    args.push("--yes");
    stage.run(parties[0], &args).await?;
    for party in parties {
        stage.run(party, &["run", "approve", RUN, "--yes"]).await?;
    }
    follow(stage, script).await
}

/// Follows the run to its end.
async fn follow(stage: &Stage<'_>, script: &Script) -> Result<(), Failed> {
    let until = Instant::now() + PATIENCE;
    let mut round = 0;
    while Instant::now() < until {
        let shown = stage.quietly("north", &["run", "show", RUN]).await?;
        let status = text(&shown, "/status")?;
        let tracks = shown.pointer("/tracks").and_then(Value::as_array).cloned().unwrap_or_default();
        let done: u64 = tracks.iter().filter_map(|t| t.pointer("/rounds_done").and_then(Value::as_u64)).sum();
        let total = u64::from(script.rounds) * tracks.len().max(1) as u64;
        if done > round {
            round = done;
        }
        stage.narrator().progress(round, total, "rounds of seven coalitions");
        match status.as_str() {
            "finished" => {
                stage.narrator().tell(&format!("{} rounds on {} coalitions are over.", script.rounds, tracks.len()));
                return Ok(());
            }
            "failed" | "rejected" | "forbidden" => return Err(Failed::new("train", format!("the run ended: {shown}"))),
            _ => tokio::time::sleep(Duration::from_millis(700)).await,
        }
    }
    Err(Failed::new("train", format!("not done after {} s", PATIENCE.as_secs())))
}

async fn publish(stage: &Stage<'_>, parties: &[&str]) -> Result<(), Failed> {
    stage.narrator().act("The model is released, by decision and under the licence of the terms");
    // The first call opens the decision, the last one, after all have voted, publishes.
    stage.run(parties[0], &["model", "release", RUN, "--yes"]).await?;
    for party in &parties[1..] {
        stage.run(party, &["decision", "vote", &format!("release-{RUN}"), "yes", "--yes"]).await?;
    }
    stage.run(parties[0], &["model", "release", RUN, "--yes"]).await?;
    Ok(())
}

async fn settle(stage: &Stage<'_>) -> Result<(), Failed> {
    stage.narrator().act("Contributions are measured, and money is divided to the cent");
    stage.run("north", &["contribution", "show", RUN]).await?;
    stage.run("north", &["settle", "--run", RUN, "--pool", POOL, "--name", "first", "--yes"]).await?;
    Ok(())
}

async fn serve(stage: &Stage<'_>, script: &Script) -> Result<(), Failed> {
    stage.narrator().act("The model serves");
    let row: Vec<String> = script.reference.row(0).iter().map(ToString::to_string).collect();
    let answer = stage.run("west", &["predict", RUN, "--row", &row.join(",")]).await?;
    let class = answer.pointer("/classes/0").and_then(Value::as_u64);
    stage.narrator().tell(&format!(
        "west asks about a row of north's open set: class {}, which is labelled {}.",
        class.map_or("?".to_owned(), |c| c.to_string()),
        script.reference.labels[0]
    ));
    Ok(())
}

async fn forbidden(stage: &Stage<'_>, script: &Script) -> Result<String, Failed> {
    stage.narrator().act("A forbidden run is refused, and says which clause forbids it");
    let args = ["run", "propose", "side-business", "--purpose", script.forbidden_purpose, "--for-the-record", "--yes"];
    stage.narrator().command("west", &format!("allmende {}", args.join(" ")));
    let ran = stage.attempt("west", &args).await?;
    if ran.code != 3 {
        return Err(Failed::new(
            "refuse a forbidden run",
            format!("exit code {}: {} {}", ran.code, ran.json, ran.said),
        ));
    }
    let said = ran.said.trim().to_owned();
    stage.narrator().tell(&said);
    Ok(said.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned())
}

async fn verify(stage: &Stage<'_>, script: &Script) -> Result<String, Failed> {
    stage.narrator().act("Anyone can check all of it, offline");
    let dir = stage.home("east").join("mirror").join(script.collaboration).display().to_string();
    let verified = stage.run("east", &["ledger", "verify", &dir]).await?;
    text(&verified, "/root")
}

/// Everything that the report needs of the log, from north's own verified copy.
struct Facts {
    run: Run,
    size: u64,
    amounts: Vec<Amount>,
    fund: Amount,
    currency: String,
}

fn facts(stage: &Stage<'_>, script: &Script) -> Result<Facts, Failed> {
    let step = "read north's copy of the log";
    let parse = |e: &dyn std::fmt::Display| Failed::new(step, e);
    let origin: Origin = format!("demo.allmende.example/{}", script.collaboration).parse().map_err(|e| parse(&e))?;
    let collaboration: CollaborationId = script.collaboration.parse().map_err(|e| parse(&e))?;
    let key: PublicKey = stage.hub_key.parse().map_err(|e| parse(&e))?;
    // A copy of the copy: the node holds its own open.
    let copy = stage.dir.join("report-mirror");
    let from = stage.home("north").join("mirror").join(script.collaboration);
    copy_dir(&from, &copy).map_err(|e| parse(&e))?;
    let mirror = Mirror::open(&copy, origin, Some(collaboration), key).map_err(|e| parse(&e))?;
    let state = mirror.state();
    let id: RunId = RUN.parse().map_err(|e| parse(&e))?;
    let run = state.run(&id).map_err(|e| parse(&e))?.clone();
    let pool = Amount::parse_major(POOL).map_err(|e| parse(&e))?;
    let division = state.divide(&run, pool).map_err(|e| parse(&e))?;
    let currency = state.benefit(&run).map_or(String::new(), |(terms, _)| terms.currency.clone());
    Ok(Facts { size: state.size(), amounts: division.shares, fund: division.fund, currency, run })
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else if entry.file_name() != "lock" {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn right(run: &Run, coalition: Coalition) -> Right {
    run.utility(coalition, run.plan.rounds)
        .map_or(Right { correct: 0, total: 0 }, |v| Right { correct: v.correct, total: v.total })
}

async fn report(
    stage: &Stage<'_>,
    options: &Options,
    script: &Script,
    started: Instant,
    refused: String,
    log_root: String,
) -> Result<Report, Failed> {
    stage.narrator().act("What came of it");
    let facts = facts(stage, script)?;
    let run = &facts.run;
    let mut accuracy = Accuracy { together: right(run, run.whole()).accuracy(), ..Accuracy::default() };
    let mut shares = BTreeMap::new();
    let contribution = run.contribution.as_ref().ok_or_else(|| Failed::new("report", "nothing was measured"))?;
    let sum: f64 = contribution.shares.iter().map(|s| s.to_f64()).sum();
    for (slot, place) in run.plan.slots.iter().enumerate() {
        let party = place.party.to_string();
        let bit = Coalition(1 << slot);
        accuracy.alone.insert(party.clone(), right(run, bit).accuracy());
        let place = u32::try_from(slot).unwrap_or(0);
        if let Some(own) = run.evaluations.get(&(run.whole(), run.plan.rounds, place)) {
            let own = Right { correct: own.correct, total: own.total };
            accuracy.together_by_site.insert(party.clone(), own.accuracy());
        }
        let weight = contribution.shares[slot];
        shares.insert(
            party,
            Share {
                weight: if weight.den() == 1 {
                    weight.num().to_string()
                } else {
                    format!("{}/{}", weight.num(), weight.den())
                },
                percent: if sum == 0.0 { 0.0 } else { weight.to_f64() / sum * 100.0 },
                amount: facts.amounts[slot].to_string(),
            },
        );
    }
    let mut files = Vec::new();
    for organization in &script.organizations {
        let settings = Settings::load(&stage.home(organization.party).join("node"))
            .map_err(|e| Failed::new("read settings", e))?;
        let asset = format!("{}/{}", organization.party, script.dataset);
        let offered = settings.dataset.iter().find(|(id, _)| id.as_str() == asset).map(|(_, o)| o.clone());
        let offered = offered.ok_or_else(|| Failed::new("read settings", format!("{asset} is not offered")))?;
        files.push((offered.path, offered.salt));
    }
    let borrowed: Vec<_> = files.iter().map(|(path, salt)| (path.as_path(), salt.clone())).collect();
    accuracy.pooled = pooled(&run.plan, &borrowed)?.accuracy();
    let mut left = BTreeMap::new();
    let mut processes = BTreeMap::new();
    for organization in &script.organizations {
        let party = organization.party;
        let outbox = stage.run(party, &["node", "outbox", "--sum"]).await?;
        left.insert(party.to_owned(), sums(&outbox));
        processes.insert(party.to_owned(), usage(stage, party));
    }
    processes.insert("hub".to_owned(), usage(stage, "hub"));
    Ok(Report {
        case: options.case.name(),
        seed: options.seed,
        accuracy,
        shares,
        pool: Amount::parse_major(POOL).map_or(String::new(), |a| a.to_string()),
        fund: facts.fund.to_string(),
        currency: facts.currency,
        left,
        model_digest: run.final_model.as_ref().map_or(String::new(), Digest::to_string),
        log_entries: facts.size,
        log_root,
        refused,
        processes,
        seconds: started.elapsed().as_secs_f64(),
        model: format!("{}/{RUN}", script.collaboration),
        url: stage.url.clone(),
        data_dir: stage.dir.clone(),
    })
}

fn usage(stage: &Stage<'_>, name: &str) -> Usage {
    Usage { pid: stage.pid(name).unwrap_or(0), peak_memory_bytes: stage.peak_memory_bytes(name).unwrap_or(0) }
}

/// Sums of an outbox by kind.
fn sums(outbox: &Value) -> Left {
    let mut left = Left::default();
    if let Some(kinds) = outbox.pointer("/kinds").and_then(Value::as_object) {
        for (kind, sum) in kinds {
            let bytes = sum.pointer("/bytes").and_then(Value::as_u64).unwrap_or(0);
            left.rows += sum.pointer("/rows").and_then(Value::as_u64).unwrap_or(0);
            left.bytes += bytes;
            left.kinds.insert(kind.clone(), bytes);
        }
    }
    left
}
