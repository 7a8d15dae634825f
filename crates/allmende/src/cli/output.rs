//! The only place that writes to the terminal.
//!
//! Results go to standard output: tables and text for people, or with `--json` one JSON value. Everything else (progress,
//! questions, warnings, errors) goes to standard error, so that output can be piped.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

use super::failure::{Exit, Failure};

/// Where and how to write.
#[derive(Debug, Clone, Copy)]
pub struct Output {
    json: bool,
    quiet: bool,
    color: bool,
    terminal: bool,
    interactive: bool,
}

/// Kinds of emphasis, which only a terminal shows.
#[derive(Debug, Clone, Copy)]
enum Style {
    Bold,
    Red,
    Yellow,
    Dim,
}

impl Output {
    /// Looks at the terminal once. `no_color` is whether `NO_COLOR` or `--no-color` asks for plain text.
    #[must_use]
    pub fn new(json: bool, quiet: bool, no_color: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let interactive = terminal && std::io::stdin().is_terminal();
        Self { json, quiet, color: terminal && !no_color, terminal, interactive }
    }

    /// Whether the result is wanted as JSON.
    #[must_use]
    pub const fn is_json(&self) -> bool {
        self.json
    }

    /// Whether a person can be asked.
    #[must_use]
    pub const fn is_interactive(&self) -> bool {
        self.interactive
    }

    fn styled(&self, style: Style, text: &str) -> String {
        let code = match style {
            Style::Bold => "1",
            Style::Red => "1;31",
            Style::Yellow => "33",
            Style::Dim => "2",
        };
        if self.color { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    /// The command's result: `value` as JSON, or for people what `text` makes of it.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn result<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        let mut line = if self.json { serde_json::to_string_pretty(value).map_err(Failure::internal)? } else { text() };
        if !line.ends_with('\n') {
            line.push('\n');
        }
        self.text(&line)
    }

    /// Text to standard output as it is.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // A reader such as `head` has seen enough; that is no failure.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            other => other.map_err(|e| Failure::new(Exit::Failure, format!("standard output: {e}"))),
        }
    }

    fn stderr(&self, line: &str) {
        // There is nowhere left to report that standard error is closed.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    }

    /// Says what is going on, unless `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.stderr(text);
        }
    }

    /// A heading for people; with `--json` nothing.
    pub fn heading(&self, text: &str) {
        if !self.quiet && !self.json {
            self.stderr(&self.styled(Style::Bold, text));
        }
    }

    /// Something that may go wrong later; not silenced.
    pub fn warn(&self, text: &str) {
        self.stderr(&format!("{} {text}", self.styled(Style::Yellow, "warning:")));
    }

    /// What failed, why, and what to do next: for people on standard error, with `--json` also as one JSON value on
    /// standard output.
    pub fn failure(&self, failure: &Failure) {
        if self.json {
            let _ = self.result(&serde_json::json!({ "error": failure }), String::new);
        }
        self.stderr(&format!("{} {}", self.styled(Style::Red, "error:"), failure.what));
        for line in failure.why.iter().flat_map(|why| why.lines()) {
            self.stderr(&format!("  {line}"));
        }
        if !failure.clauses.is_empty() {
            self.stderr(&format!("  {} {}", self.styled(Style::Bold, "clause:"), failure.clauses.join(", ")));
        }
        if let Some(next) = &failure.next {
            self.stderr(&format!("{} {next}", self.styled(Style::Dim, "next:")));
        }
    }

    /// Asks a question that yes or no answers; no is the default.
    ///
    /// # Errors
    /// When nobody can be asked.
    pub fn confirm(&self, question: &str) -> Result<bool, Failure> {
        if !self.interactive {
            return Err(Failure::new(Exit::Usage, format!("{question} Nobody can be asked here."))
                .next("give --yes if the answer is yes"));
        }
        self.prompt(&format!("{} [y/N] ", self.styled(Style::Bold, question)))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer).map_err(Failure::internal)?;
        Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes" | "是"))
    }

    /// Writes a question without ending the line.
    ///
    /// # Errors
    /// When standard error cannot be written.
    pub fn prompt(&self, question: &str) -> Result<(), Failure> {
        let mut err = std::io::stderr().lock();
        err.write_all(question.as_bytes()).and_then(|()| err.flush()).map_err(Failure::internal)
    }

    /// A bar over `total` steps. It shows on a terminal only.
    #[must_use]
    pub fn bar(&self, label: &str, total: u64) -> ProgressBar {
        let template = "{msg} {bar:30} {pos}/{len} {elapsed} {prefix}";
        self.progress(label, ProgressBar::with_draw_target(Some(total), self.target()), template)
    }

    /// A bar over bytes.
    #[must_use]
    pub fn bytes(&self, label: &str, total: u64) -> ProgressBar {
        let template = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}";
        self.progress(label, ProgressBar::with_draw_target(Some(total), self.target()), template)
    }

    /// A sign of life for work of unknown length.
    #[must_use]
    pub fn spinner(&self, label: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(None, self.target());
        let bar = self.progress(label, bar, "{spinner} {msg} {elapsed}");
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }

    fn target(&self) -> ProgressDrawTarget {
        if self.terminal && !self.quiet && !self.json {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        }
    }

    fn progress(&self, label: &str, bar: ProgressBar, template: &str) -> ProgressBar {
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
        }
        bar.set_message(label.to_owned());
        bar
    }
}
