//! Where log lines go: standard error, as text for people or JSON for machines.
//!
//! Architecture invariant: no log line carries a token, a signature's payload, a body or a path with parameters.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat};

/// Why logging could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log_filter` has wrong syntax.
    #[error("setting 'log_filter': {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Another subscriber is installed.
    #[error("logging has begun already")]
    Begun,
}

/// Begins logging for the whole process, as the hub's settings say.
///
/// # Errors
/// [`LogError`].
pub fn begin(config: &Config) -> Result<(), LogError> {
    begin_as(config.log_format, &config.log_filter)
}

/// Begins logging for the whole process.
///
/// # Errors
/// [`LogError`].
pub fn begin_as(format: LogFormat, filter: &str) -> Result<(), LogError> {
    let filter = EnvFilter::try_new(filter)?;
    // A file or a pipe gets no colours.
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let begun = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    begun.map_err(|_| LogError::Begun)
}
