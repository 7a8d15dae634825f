//! What the demonstration shows in the end, as tables and as data.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use serde::Serialize;

/// Accuracies on all held-out rows together, between 0 and 1.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Accuracy {
    /// Each organization's own model.
    pub alone: BTreeMap<String, f64>,
    /// The model trained together.
    pub together: f64,
    /// A model trained on everybody's rows in one place, which the terms forbid.
    pub pooled: f64,
    /// The model trained together, on each organization's own held-out rows.
    pub together_by_site: BTreeMap<String, f64>,
}

/// What one organization gets.
#[derive(Debug, Clone, Serialize)]
pub struct Share {
    /// Its weight as an exact fraction.
    pub weight: String,
    /// In per cent of what is divided.
    pub percent: f64,
    /// The amount, in major units.
    pub amount: String,
}

/// What left one node, by class.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Left {
    /// Rows of data. Always 0.
    pub rows: u64,
    /// All bytes.
    pub bytes: u64,
    /// Bytes by class of what was sent.
    pub kinds: BTreeMap<String, u64>,
}

/// The use of one process.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Usage {
    /// Its process id.
    pub pid: u32,
    /// Highest resident memory, in bytes.
    pub peak_memory_bytes: u64,
}

/// All of it.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Which case was played.
    pub case: &'static str,
    /// With which seed.
    pub seed: u64,
    /// How well the models do.
    pub accuracy: Accuracy,
    /// Who gets what.
    pub shares: BTreeMap<String, Share>,
    /// What was divided, in major units.
    pub pool: String,
    /// What went to the compensation fund first.
    pub fund: String,
    /// The currency.
    pub currency: String,
    /// What left each node.
    pub left: BTreeMap<String, Left>,
    /// Digest of the model.
    pub model_digest: String,
    /// Entries in the log.
    pub log_entries: u64,
    /// Root of the log.
    pub log_root: String,
    /// What the forbidden run was refused for.
    pub refused: String,
    /// Memory of hub and nodes.
    pub processes: BTreeMap<String, Usage>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// The released model's repository.
    pub model: String,
    /// Where the hub listens.
    pub url: String,
    /// Where everything lies.
    pub data_dir: PathBuf,
}

/// A table of text, right-aligned but for its first column.
fn table(out: &mut String, title: &str, head: &[&str], rows: &[Vec<String>]) {
    let columns = head.len();
    let width =
        |i: usize| rows.iter().map(|r| r[i].chars().count()).chain([head[i].chars().count()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |cells: Vec<&str>| {
        let cell = |(i, text): (usize, &str)| {
            if i == 0 { format!("{text:<w$}", w = widths[i]) } else { format!("{text:>w$}", w = widths[i]) }
        };
        cells.into_iter().enumerate().map(cell).collect::<Vec<_>>().join("   ")
    };
    // Writing to a String cannot fail.
    let _ = writeln!(out, "\n{title}\n  {}", line(head.to_vec()));
    let _ = writeln!(out, "  {}", "─".repeat(widths.iter().sum::<usize>() + 3 * (columns - 1)));
    for row in rows {
        let _ = writeln!(out, "  {}", line(row.iter().map(String::as_str).collect()));
    }
}

fn percent(value: f64) -> String {
    format!("{:.1} %", value * 100.0)
}

fn bytes(count: u64) -> String {
    let text = count.to_string();
    let mut grouped = String::new();
    for (i, digit) in text.chars().enumerate() {
        if i > 0 && (text.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl Report {
    /// How to look around where everything was left running.
    #[must_use]
    pub fn around(&self) -> String {
        let dir = self.data_dir.display();
        let pids: Vec<String> = self.processes.values().map(|p| p.pid.to_string()).collect();
        format!(
            "\nEverything goes on in {dir}. Look around as any of the three, for instance:\n  \
             allmende --home {dir}/north run show first-model\n  \
             allmende --home {dir}/east agreement show current\n  \
             allmende --home {dir}/west node outbox\n\
             Pages for people are at {url}/console; a token to sign in with:\n  \
             allmende --home {dir}/west token create --label browser\n\
             The same token fetches the released model with the tools that people have:\n  \
             HF_ENDPOINT={url} HF_TOKEN=alm_… hf download {model} --local-dir model\n\
             Stop it all with:\n  kill {pids}\n",
            url = self.url,
            pids = pids.join(" "),
            model = self.model,
        )
    }

    /// The tables, for people.
    #[must_use]
    pub fn tables(&self) -> String {
        let mut out = String::new();
        let mut rows: Vec<Vec<String>> =
            self.accuracy.alone.iter().map(|(who, a)| vec![format!("{who} alone"), percent(*a)]).collect();
        rows.push(vec!["all together, under the terms".into(), percent(self.accuracy.together)]);
        rows.push(vec!["pooled, which the terms forbid".into(), percent(self.accuracy.pooled)]);
        table(&mut out, "Accuracy on everybody's held-out rows", &["model", "right"], &rows);

        let rows: Vec<Vec<String>> =
            self.accuracy.together_by_site.iter().map(|(who, a)| vec![who.clone(), percent(*a)]).collect();
        table(&mut out, "The joint model at each site", &["held-out rows of", "right"], &rows);

        let mut rows: Vec<Vec<String>> = self
            .shares
            .iter()
            .map(|(who, s)| vec![who.clone(), s.weight.clone(), format!("{:.2} %", s.percent), s.amount.clone()])
            .collect();
        rows.push(vec!["compensation fund".into(), String::new(), String::new(), self.fund.clone()]);
        let title = format!("Contributions and payout of {} {}", self.pool, self.currency);
        table(&mut out, &title, &["to", "contribution", "share", "amount"], &rows);

        let mut kinds: Vec<&String> = self.left.values().flat_map(|l| l.kinds.keys()).collect();
        kinds.sort();
        kinds.dedup();
        let mut head = vec!["node of", "rows of data", "bytes"];
        head.extend(kinds.iter().map(|k| k.as_str()));
        let rows: Vec<Vec<String>> = self
            .left
            .iter()
            .map(|(who, left)| {
                let mut row = vec![who.clone(), left.rows.to_string(), bytes(left.bytes)];
                row.extend(kinds.iter().map(|k| bytes(left.kinds.get(*k).copied().unwrap_or(0))));
                row
            })
            .collect();
        table(&mut out, "What left each node", &head, &rows);

        let _ = writeln!(out, "\nA forbidden run was refused: {}", self.refused);
        let _ = writeln!(out, "The log holds {} entries under the root {}.", self.log_entries, self.log_root);
        let _ = writeln!(out, "The model is {}.", self.model_digest);
        let memory = |name: &str| self.processes.get(name).map_or(0, |u| u.peak_memory_bytes) / (1 << 20);
        let nodes = self.processes.iter().filter(|(n, _)| *n != "hub").map(|(_, u)| u.peak_memory_bytes >> 20).max();
        let _ = writeln!(
            out,
            "It took {:.1} s; the hub used up to {} MiB, a node up to {} MiB.",
            self.seconds,
            memory("hub"),
            nodes.unwrap_or(0)
        );
        out
    }
}
