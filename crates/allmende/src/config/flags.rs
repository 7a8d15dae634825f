//! One flag of the command line for each setting.

use std::sync::LazyLock;

use super::{HEADING, SETTINGS, Setting, flag_name};

/// One flag for each setting; flatten it into a command with `#[command(flatten)]`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags(
    /// Key and text of each flag that was given.
    pub Vec<(&'static str, String)>,
);

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        // clap wants names that live as long as the program.
        static NAMES: LazyLock<Vec<String>> = LazyLock::new(|| SETTINGS.iter().map(|s| flag_name(s.key)).collect());
        SETTINGS.iter().zip(NAMES.iter()).fold(command, |command, (setting, name)| {
            let mut arg = clap::Arg::new(setting.key)
                .long(name.as_str())
                .value_name(setting.kind)
                .help(setting.doc.trim())
                .help_heading(HEADING);
            if !setting.default.is_empty() {
                arg = arg.help(format!("{} [default: {}]", setting.doc.trim(), setting.default));
            }
            command.arg(arg)
        })
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let given = |s: &Setting| matches.get_one::<String>(s.key).map(|text| (s.key, text.clone()));
        Ok(Self(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
