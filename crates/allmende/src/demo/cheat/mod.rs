//! The liar: the same collaboration with a dishonest hub operator and a dishonest member.
//!
//! Every attempt is really made: the hub, the nodes and the commands are processes of the same program as in the honest
//! demonstration. The operator holds the hub's key and the network, so it can sign and show whatever a hub can; east holds
//! its own keys and sends whatever it likes. Each attempt must come to nothing, for exactly the reason that is expected;
//! then everything is put right, and the next one begins.

mod forge;
mod freeze;
mod member;
mod operator;
mod proxy;
mod scene;

use std::fmt::Write as _;
use std::time::Instant;

use serde::Serialize;

use super::stage::{Failed, Stage, short};
use super::{Narrator, Options};
use scene::Scene;

/// Longest line in the table's last column.
const WRAP: usize = 76;

/// One fraud and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Attempt {
    /// Stable, for programs.
    pub name: &'static str,
    /// What was tried.
    pub what: String,
    /// By whom.
    pub by: &'static str,
    /// Who caught it.
    pub caught_by: String,
    /// How: the code, clause, entry or alarm.
    pub how: String,
    /// Whether it came to nothing, for exactly the reason that was expected.
    pub caught: bool,
}

/// All of them.
#[derive(Debug, Clone, Serialize)]
pub struct CheatReport {
    /// In the order in which they were made.
    pub attempts: Vec<Attempt>,
    /// Entries in the real log, which verifies in the end.
    pub log_entries: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl CheatReport {
    /// Whether every attempt was caught.
    #[must_use]
    pub fn all_caught(&self) -> bool {
        self.attempts.iter().all(|attempt| attempt.caught)
    }

    /// The table for people.
    #[must_use]
    pub fn tables(&self) -> String {
        let width = |of: fn(&Attempt) -> &str, head: &str| {
            self.attempts.iter().map(|a| of(a).chars().count()).chain([head.chars().count()]).max().unwrap_or(0)
        };
        let (what, by) = (width(|a| &a.what, "tried"), width(|a| a.by, "by"));
        let caught_by = width(|a| &a.caught_by, "caught by");
        let mut out = String::new();
        // Writing to a String cannot fail.
        let mut line = |a: &str, b: &str, c: &str, d: &str| {
            let text = format!("  {a:<what$}   {b:<by$}   {c:<caught_by$}   {d}");
            let _ = writeln!(out, "{}", text.trim_end());
        };
        line("tried", "by", "caught by", "how");
        line(&"─".repeat(what), &"─".repeat(by), &"─".repeat(caught_by), &"─".repeat(WRAP));
        for attempt in &self.attempts {
            let how = if attempt.caught { attempt.how.clone() } else { format!("NOT CAUGHT: {}", attempt.how) };
            let mut lines = wrap(&cut(&how)).into_iter();
            line(&attempt.what, attempt.by, &attempt.caught_by, &lines.next().unwrap_or_default());
            for rest in lines {
                line("", "", "", &rest);
            }
        }
        let missed = self.attempts.iter().filter(|a| !a.caught).count();
        let _ = writeln!(
            out,
            "\n  {} attempts, {missed} not caught; the real log of {} entries verifies; {:.0} s",
            self.attempts.len(),
            self.log_entries,
            self.seconds
        );
        out
    }
}

/// Keys and digests, cut for people.
fn cut(text: &str) -> String {
    let word = |word: &str| match word.split_once(':') {
        Some(("sha256" | "ed25519", rest)) if rest.len() > 12 => {
            let tail = rest.trim_start_matches(|c: char| c.is_ascii_hexdigit());
            format!("{}{tail}", short(word.trim_end_matches(tail)))
        }
        _ => word.to_owned(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|l| !l.is_empty() && l.chars().count() + 1 + word.chars().count() > WRAP);
        if full {
            lines.push(String::new());
        }
        if let Some(last) = lines.last_mut() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        }
    }
    lines
}

/// Plays all frauds.
///
/// # Errors
/// [`Failed`] when the demonstration itself cannot go on. A fraud that succeeds is no such failure: it stands in the
/// report.
pub async fn play(options: &Options, narrator: &dyn Narrator) -> Result<CheatReport, Failed> {
    let stage = Stage::set(options, narrator).await?;
    let mut scene = None;
    let played = match Scene::set(stage, options).await {
        Ok(set) => acts(scene.insert(set)).await,
        Err(error) => Err(error),
    };
    match (played, scene) {
        (Ok(report), Some(mut scene)) if options.keep => {
            scene.stage.leave_running();
            Ok(report)
        }
        (played, Some(mut scene)) => {
            scene.stage.clear().await;
            played
        }
        (played, None) => played,
    }
}

async fn acts(scene: &mut Scene<'_>) -> Result<CheatReport, Failed> {
    let begun = Instant::now();
    operator::honest_payout(scene).await?;
    member::votes(scene).await?;
    member::updates(scene).await?;
    operator::alter(scene).await?;
    operator::order(scene).await?;
    operator::show_another_log(scene).await?;
    freeze::one(scene).await?;
    freeze::all(scene).await?;
    let log_entries = operator::verify_in_the_end(scene).await?;
    let attempts = std::mem::take(&mut scene.attempts);
    Ok(CheatReport { attempts, log_entries, seconds: begun.elapsed().as_secs_f64() })
}
