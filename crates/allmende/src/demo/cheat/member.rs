//! What a dishonest member tries against an honest hub and honest members.

use allmende_core::collaboration::decision::Vote;
use allmende_core::digest::Digest;
use allmende_core::id::{DecisionId, RunId};
use allmende_core::ledger::envelope::Envelope;
use allmende_core::run::plan::Coalition;
use allmende_core::state::State;
use allmende_core::state::runs::{Run, Status};
use allmende_core::statement::{
    Body, DecisionVoted, EvaluationReported, KeyClass, RunAccepted, RunStarted, UpdateSubmitted,
};
use bytes::Bytes;

use super::forge::{AS_HUB, broken, pose};
use super::operator;
use super::proxy::Lie;
use super::scene::{EAST, NORTH, Outcome, Scene, WEST, has_update, slot};
use crate::api::{Placed, Submission, UploadOpening};
use crate::client::error::ClientError;
use crate::client::http::Kind;
use crate::client::submit::seal_next;
use crate::client::upload::seal_of;
use crate::clock::Clock;
use crate::demo::Failed;
use crate::error::Problem;
use crate::tls::{self, Trust};

/// The run that east poisons.
const RUN: &str = "second-model";
/// Who tries all this.
const BY: &str = "member east";
const HUB: &str = "hub";

/// The rule's code in front of a hub's detail, or the problem's own; and the rest.
fn rule(problem: &Problem) -> (&str, &str) {
    match problem.detail.split_once(": ") {
        Some((code, rest)) if code.contains('.') && !code.contains(' ') => (code, rest),
        _ => (&problem.code, &problem.detail),
    }
}

fn by_problem(problem: &Problem, expected: &str) -> Outcome {
    let (code, text) = rule(problem);
    Outcome { caught: code == expected, how: format!("{code}: {text}") }
}

/// A refusal with the expected code is a catch, anything else is not.
fn refused(result: Result<Placed, ClientError>, expected: &str) -> Outcome {
    match result {
        Ok(placed) => Outcome { caught: false, how: format!("accepted as entry {}", placed.index) },
        Err(ClientError::Problem(problem)) => by_problem(&problem, expected),
        Err(error) => Outcome { caught: false, how: error.to_string() },
    }
}

fn all(outcomes: Vec<Outcome>) -> Outcome {
    Outcome {
        caught: outcomes.iter().all(|o| o.caught),
        how: outcomes.into_iter().map(|o| o.how).collect::<Vec<_>>().join(" · "),
    }
}

/// What the log is before an attempt: after it, it must still be that.
#[derive(PartialEq, Eq)]
struct Mark(u64, Option<Digest>);

impl Scene<'_> {
    async fn mark(&self) -> Result<Mark, Failed> {
        self.liar.log.catch_up().await.map_err(broken)?;
        let mirror = self.liar.log.mirror();
        Ok(Mark(mirror.verified(), mirror.root(mirror.verified())))
    }

    async fn unchanged(&self, mark: &Mark, outcome: Outcome) -> Result<Outcome, Failed> {
        if self.mark().await? == *mark {
            return Ok(outcome);
        }
        Ok(Outcome { caught: false, how: format!("{}; but the log changed", outcome.how) })
    }

    async fn send(&self, statement: Envelope) -> Result<Placed, ClientError> {
        self.liar.log.client().submit(&self.name(), Kind::Statement, None, statement).await
    }

    /// Sends a statement under somebody else's bearer token.
    async fn send_with(&self, token: &str, statement: Envelope, expected: &str) -> Result<Outcome, Failed> {
        let http = tls::client(&self.stage.url, &Trust::System).map_err(broken)?;
        let url = format!("{}/v1/collaborations/{}/statements", self.stage.url, self.name());
        let body = serde_json::to_vec(&Submission { statement }).map_err(broken)?;
        let request = http.post(url).bearer_auth(token).header("content-type", "application/json").body(body);
        let answer = request.send().await.map_err(broken)?;
        if answer.status().is_success() {
            return Ok(Outcome { caught: false, how: "accepted".to_owned() });
        }
        let problem: Problem = serde_json::from_slice(&answer.bytes().await.map_err(broken)?).map_err(broken)?;
        Ok(by_problem(&problem, expected))
    }

    /// Announces an update, sends `bytes` as its parts and seals it with `body`.
    async fn hand_in(
        &self,
        opening: &UploadOpening,
        bytes: &[u8],
        body: UpdateSubmitted,
    ) -> Result<(Placed, String, Envelope), ClientError> {
        let (client, name) = (self.liar.log.client(), self.name());
        let standing = client.open_upload(&name, opening).await?;
        for part in (0..standing.parts_total).filter(|_| !standing.sealed) {
            let from = (part * standing.part_bytes) as usize;
            let to = bytes.len().min(from + standing.part_bytes as usize);
            let piece = Bytes::copy_from_slice(&bytes[from..to]);
            client.put_part(&name, &opening.run, &standing.id, part, piece).await?;
        }
        let bad = |e: &dyn std::fmt::Display| ClientError::Answer { what: "seal".to_owned(), reason: e.to_string() };
        let envelope = {
            let mirror = self.liar.log.mirror();
            seal_next(mirror.state(), &self.liar.node, &body.into(), None, Clock::system().now())
        };
        let (envelope, _) = envelope.map_err(|e| bad(&e))?;
        let placed = client.seal_upload(&name, &opening.run, &standing.id, envelope.clone()).await?;
        Ok((placed, standing.id, envelope))
    }
}

/// East votes, and tries to vote for others.
pub async fn votes(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest member: votes");
    // East's node goes on to cosign, or nobody could work; what else it should do, east does by hand.
    scene.door(EAST).tell(Some(Lie::NoWork));
    let more = ["--rounds", "3", "--measure", "none", "--evaluate-every", "1"];
    scene.propose(RUN, &more, &[]).await?;
    let state = scene.quiet().await?;
    let mark = scene.mark().await?;
    let decision: DecisionId = format!("run-{RUN}").parse().map_err(broken)?;
    let vote = |vote| Body::from(DecisionVoted { decision: decision.clone(), vote });
    let (own, node) = (&scene.liar.governance.key.clone(), &scene.liar.node.key.clone());

    let token = scene.door(WEST).token().ok_or_else(|| broken("no token went by"))?;
    let posed = pose(&state, WEST, KeyClass::Governance, own, vote(Vote::Yes))?;
    let mine = pose(&state, EAST, KeyClass::Governance, own, vote(Vote::Yes))?;
    let tried = all(vec![
        scene.send_with(&token, posed.clone(), "key.unknown").await?,
        scene.send_with(&token, mine.clone(), "forbidden").await?,
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("stolen-token", "vote with west's token, stolen on the wire", BY, HUB, tried);

    let tried = all(vec![
        refused(scene.send(posed).await, "forbidden"),
        refused(scene.send(pose(&state, EAST, KeyClass::Governance, node, vote(Vote::Yes))?).await, "key.unknown"),
        refused(scene.send(pose(&state, EAST, KeyClass::Node, node, vote(Vote::Yes))?).await, "key.class"),
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("others-key", "sign as west with its own key; vote with its node's key", BY, HUB, tried);

    let run: RunId = RUN.parse().map_err(broken)?;
    let started = Body::from(RunStarted { run });
    let (as_hub, as_member) = (
        pose(&state, AS_HUB, KeyClass::Hub, own, started.clone())?,
        pose(&state, EAST, KeyClass::Governance, own, started.clone())?,
    );
    let tried = all(vec![
        refused(scene.send(as_hub).await, "forbidden"),
        refused(scene.send(pose(&state, EAST, KeyClass::Hub, own, started)?).await, "key.unknown"),
        refused(scene.send(as_member).await, "key.class"),
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("hubs-word", "declare the run started, which only the hub may", BY, HUB, tried);

    scene.send(mine).await.map_err(broken)?;
    let mark = scene.mark().await?;
    let again = pose(&scene.state().await?, EAST, KeyClass::Governance, &scene.liar.governance.key, vote(Vote::No))?;
    let tried = refused(scene.send(again).await, "decision.voted-already");
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("vote-twice", "vote a second time", BY, HUB, tried);
    for party in [NORTH, WEST] {
        scene.stage.run(party, &["run", "approve", RUN, "--yes"]).await?;
    }
    Ok(())
}

/// East trains, or pretends to.
pub async fn updates(scene: &mut Scene<'_>) -> Result<(), Failed> {
    scene.act("A dishonest member: updates and evaluations");
    let run: RunId = RUN.parse().map_err(broken)?;
    let state = scene.run(RUN, "approved", |run| run.status == Status::Approved).await?;
    let body =
        RunAccepted { run: run.clone(), plan: state.run(&run).map_err(broken)?.plan_digest, log_size: state.size() };
    scene.liar.log.submit(&scene.liar.node, body, None).await.map_err(broken)?;
    let others_have = |run: &Run| [NORTH, WEST].iter().all(|party| has_update(run, slot(run, party)));
    scene.run(RUN, "north and west have trained", others_have).await?;
    let state = scene.quiet().await?;
    let mark = scene.mark().await?;
    let truth = Truth::of(scene, &state, &run)?;

    let mut nan = truth.model.clone();
    let end = nan.len() - 4;
    nan[end..].copy_from_slice(&f32::NAN.to_le_bytes());
    let opening = truth.opening(&nan);
    let tried = refused(scene.hand_in(&opening, &nan, seal_of(&opening)).await.map(|t| t.0), "unprocessable");
    let named = tried.how.to_lowercase().contains("finite");
    let tried = scene.unchanged(&mark, Outcome { caught: tried.caught && named, ..tried }).await?;
    scene.note("nan", "send an update with NaN", BY, HUB, tried);

    let honest = truth.opening(&truth.model);
    let heavy = UploadOpening { weight: truth.cap + 1, ..honest.clone() };
    let tried = all(vec![
        refused(scene.hand_in(&heavy, &truth.model, seal_of(&heavy)).await.map(|t| t.0), "run.weight"),
        refused(scene.hand_in(&honest, &truth.model, seal_of(&heavy)).await.map(|t| t.0), "unprocessable"),
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("weight", "claim more rows than it registered", BY, HUB, tried);

    let others = UploadOpening { slot: truth.west, ..honest.clone() };
    let tried = refused(scene.hand_in(&others, &truth.model, seal_of(&others)).await.map(|t| t.0), "run.no-slot");
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("others-place", "hand in an update in west's place", BY, HUB, tried);

    let mut altered = truth.model.clone();
    altered[end] ^= 1;
    let promised = truth.opening(&altered);
    let tried =
        refused(scene.hand_in(&promised, &truth.model, seal_of(&promised)).await.map(|t| t.0), "digest_mismatch");
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("other-bytes", "send other bytes than it announced", BY, HUB, tried);

    let copied = UploadOpening { update: truth.wests_update, ..honest.clone() };
    let tried = refused(scene.hand_in(&copied, &truth.model, seal_of(&copied)).await.map(|t| t.0), "digest_mismatch");
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("copy", "hand in west's update as its own, by its digest", BY, HUB, tried);

    operator::models(scene, RUN, &state).await?;
    let sent = scene.hand_in(&honest, &truth.model, seal_of(&honest)).await.map_err(broken)?;
    replay(scene, &run, &truth, &honest, sent).await
}

/// East hands in once more what it handed in before.
async fn replay(
    scene: &mut Scene<'_>,
    run: &RunId,
    truth: &Truth,
    sent: &UploadOpening,
    (placed, upload, envelope): (Placed, String, Envelope),
) -> Result<(), Failed> {
    let north_is_done = |run: &Run| {
        let north = slot(run, NORTH);
        run.tracks[0].round() == 2 && has_update(run, north) && run.evaluations.contains_key(&(run.whole(), 1, north))
    };
    scene.run(RUN, "north has done round 2", north_is_done).await?;
    operator::other_model(scene).await?;
    let state = scene.quiet().await?;
    let mark = scene.mark().await?;
    let same = scene.liar.log.client().seal_upload(&scene.name(), run, &upload, envelope).await;
    let same = match same {
        Ok(again) if again.index == placed.index => {
            Outcome { caught: true, how: format!("the same statement counts once, as entry {}", again.index) }
        }
        other => refused(other, "run.round"),
    };
    let stale = UploadOpening { round: 2, ..sent.clone() };
    let tried = all(vec![
        same,
        refused(scene.hand_in(sent, &truth.model, seal_of(sent)).await.map(|t| t.0), "run.round"),
        refused(scene.hand_in(&stale, &truth.model, seal_of(&stale)).await.map(|t| t.0), "run.model"),
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("replay", "replay the update of round 1 in round 2", BY, HUB, tried);

    let model = state.run(run).map_err(broken)?.tracks[0].models[1];
    let report = |correct, total| {
        let (coalition, slot) = (truth.whole, truth.east);
        Body::from(EvaluationReported {
            run: run.clone(),
            coalition,
            round: 1,
            slot,
            model,
            correct,
            total,
            confusion: None,
        })
    };
    let node = &scene.liar.node.key;
    let tried = all(vec![
        refused(
            scene.send(pose(&state, EAST, KeyClass::Node, node, report(truth.held_out, truth.held_out * 10))?).await,
            "run.wrong-result",
        ),
        refused(
            scene.send(pose(&state, EAST, KeyClass::Node, node, report(truth.held_out + 1, truth.held_out))?).await,
            "run.wrong-result",
        ),
    ]);
    let tried = scene.unchanged(&mark, tried).await?;
    scene.note("evaluation", "report more held-out rows, and more right than rows", BY, HUB, tried);

    scene.door(WEST).tell(None);
    scene.door(EAST).tell(None);
    scene.run(RUN, "finished", |run| run.status == Status::Finished).await?;
    Ok(())
}

/// What an honest east would know and send.
struct Truth {
    run: RunId,
    whole: Coalition,
    east: u32,
    west: u32,
    model: Vec<u8>,
    cap: u64,
    held_out: u64,
    wests_update: Digest,
}

impl Truth {
    fn of(scene: &Scene<'_>, state: &State, id: &RunId) -> Result<Self, Failed> {
        let run = state.run(id).map_err(broken)?;
        let (east, west) = (slot(run, EAST), slot(run, WEST));
        let asset = format!("{EAST}/{}", scene.script.dataset).parse().map_err(broken)?;
        let asset = state.asset(&asset).ok_or_else(|| broken("east has no dataset"))?;
        let update = run.tracks[0].updates.get(&west).ok_or_else(|| broken("west has not trained"))?;
        Ok(Self {
            run: id.clone(),
            whole: run.whole(),
            east,
            west,
            model: allmende_train::model::initial_model(&run.plan.model, run.plan.seed).map_err(broken)?,
            cap: asset.train_rows,
            held_out: asset.held_out_rows,
            wests_update: update.update,
        })
    }

    /// The announcement of `update` in round 1.
    fn opening(&self, update: &[u8]) -> UploadOpening {
        UploadOpening {
            run: self.run.clone(),
            coalition: self.whole,
            round: 1,
            slot: self.east,
            offer: Digest::of(b"no offer"),
            base: Digest::of(&self.model),
            update: Digest::of(update),
            size_bytes: update.len() as u64,
            weight: self.cap,
        }
    }
}
