//! The files of a released model: weights, card, configuration. All follow from the log, so hub and members write the same
//! bytes, and the manifest's digest that a release binds can be checked by anyone.

use std::fmt::Write as _;

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::canonical;
use allmende_core::digest::Digest;
use allmende_core::licence::{Answer, Claim};
use allmende_core::state::State;
use allmende_core::state::runs::Run;

use crate::api::{Manifest, ManifestFile};

/// Name of the weights' file.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the card.
pub const CARD: &str = "README.md";
/// Name of the configuration.
pub const CONFIG: &str = "config.json";
/// Name of the manifest.
pub const MANIFEST: &str = "manifest.json";

/// The files of a release, without the weights' bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The card.
    pub card: Vec<u8>,
    /// The configuration.
    pub config: Vec<u8>,
    /// The manifest: canonical JSON.
    pub manifest: Vec<u8>,
}

/// Writes the files of a finished run; none before its end.
#[must_use]
pub fn files(state: &State, run: &Run, model_bytes: u64) -> Option<Files> {
    let model = run.final_model?;
    let card = card(state, run)?.into_bytes();
    let config = canonical::to_bytes(&serde_json::json!({
        "architecture": run.plan.model, "normalization": run.plan.normalization, "format": "allmende-classifier-v1",
    }))
    .ok()?;
    let of = |path: &str, bytes: &[u8]| ManifestFile {
        path: path.to_owned(),
        size_bytes: bytes.len() as u64,
        digest: Digest::of(bytes),
    };
    let weights = ManifestFile { path: WEIGHTS.to_owned(), size_bytes: model_bytes, digest: model };
    let manifest = Manifest { files: vec![of(CARD, &card), of(CONFIG, &config), weights] };
    let manifest = canonical::to_bytes(&manifest).ok()?;
    Some(Files { card, config, manifest })
}

fn card(state: &State, run: &Run) -> Option<String> {
    let terms = &state.agreements().get(&run.plan.agreement)?.terms;
    let results = terms.clause.iter().find_map(|c| match &c.rule {
        ClauseKind::Results(results) => Some(results),
        _ => None,
    });
    let licence = results.map_or("other", |r| r.licence.code());
    let collaboration = state.collaboration()?;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "---\nlicense: {}\nlibrary_name: allmende\ntags:\n- federated\n---", licence.to_lowercase());
    let _ = writeln!(text, "# {}\n", run.id);
    let _ = writeln!(
        text,
        "Trained together in the collaboration `{collaboration}` under the agreement `{}` ({}).\n",
        run.plan.agreement, terms.title
    );
    let _ = writeln!(text, "| | |\n|---|---|");
    let _ = writeln!(text, "| Weights | `{}` |", run.final_model?);
    let _ = writeln!(text, "| Parameters | {} |", run.plan.model.parameters());
    let _ = writeln!(
        text,
        "| Layers | {} |",
        run.plan.model.widths().iter().map(ToString::to_string).collect::<Vec<_>>().join(" → ")
    );
    let _ = writeln!(text, "| Rounds | {} |", run.plan.rounds);
    let _ = writeln!(text, "| Purpose | {} |", run.plan.purpose);
    let _ = writeln!(text, "| Licence | {licence} |");
    let _ = writeln!(text, "| Log | `{}` |", state.origin());
    if let Some(value) = run.utility(run.whole(), run.plan.rounds) {
        let _ = writeln!(text, "| Held-out rows right | {} of {} |", value.correct, value.total);
    }
    let _ = writeln!(text, "\n## Lineage\n\nData that never left its owners' nodes:\n");
    for (slot, place) in (0_u32..).zip(&run.plan.slots) {
        let Some(asset) = state.assets().get(&place.asset).map(|a| &a.registered) else { continue };
        let counts = run.evaluations.get(&(run.whole(), run.plan.rounds, slot));
        let licence = asset.licence.map_or_else(String::new, |licence| format!("; under {licence}"));
        let right = counts.map_or(String::new(), |e| format!(", {} of {} held-out rows right", e.correct, e.total));
        let _ = writeln!(
            text,
            "- `{}`: {} training rows{right}; commitment `{}`{licence}",
            place.asset, asset.train_rows, asset.commitment
        );
    }
    text.push_str(&owed(state, run, licence));
    if let Some(results) = results {
        let owners = results.owners.iter().map(|(party, percent)| format!("{party} {percent} %"));
        let _ = writeln!(text, "\n## Owners\n\n{}", owners.collect::<Vec<_>>().join(", "));
    }
    let _ = writeln!(
        text,
        "\n## Limits\n\nEvaluated by each owner on its own held-out rows; the counts are self-reported and signed."
    );
    Some(text)
}

/// What the licences of the sources ask of whoever passes the model on, and what they leave open; nothing where all data is
/// the members' own.
fn owed(state: &State, run: &Run, licence: &str) -> String {
    let verdict = state.clear_under(run, &Claim(vec![licence.to_owned()])).verdict;
    let mut text = String::new();
    if !verdict.obligations.is_empty() {
        text.push_str("\n## Owed to the sources\n\n");
    }
    for (obligation, sources) in &verdict.obligations {
        let _ = writeln!(text, "- {}: {}", sources.join(", "), obligation.text());
    }
    if verdict.answer == Answer::Unknown {
        text.push_str("\n## Left open by licences\n\nThe members released it knowing that nobody could tell:\n\n");
        for reason in &verdict.reasons {
            let _ = writeln!(text, "- {reason}");
        }
    }
    text
}
