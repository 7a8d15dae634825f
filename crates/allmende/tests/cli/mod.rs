//! The command line: definitions, help, reference, key files, exit codes of common wrong turns.

mod home;
mod invited;
mod turns;

use allmende::cli::command;

use crate::reference::{commands, parses};

/// Calls `see` for every command that does something, with its full name.
fn leaves(command: &clap::Command, name: &str, see: &mut dyn FnMut(&str, &clap::Command)) {
    if !command.has_subcommands() {
        return see(name, command);
    }
    for child in command.get_subcommands().filter(|c| c.get_name() != "help") {
        leaves(child, format!("{name} {}", child.get_name()).trim(), see);
    }
}

#[test]
fn definitions_hold() {
    command().debug_assert();
}

#[test]
fn every_command_has_help_with_an_example() {
    let mut count = 0;
    leaves(&command(), "", &mut |name, leaf| {
        let example = leaf.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        let lines: Vec<&str> = example.lines().filter_map(|line| line.strip_prefix("  ")).collect();
        // The first line shows this very command; whatever the others show of the program exists too.
        let own = format!("allmende {name}");
        let shows = |line: &&&str| line.strip_prefix(&own).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '));
        assert!(example.starts_with("Example:\n  ") && lines.first().filter(shows).is_some(), "{name}: {example}");
        for line in commands(lines.into_iter()) {
            parses(&line).unwrap_or_else(|why| panic!("{name}: {line}\n  {why}"));
        }
        assert!(leaf.get_about().is_some(), "{name}");
        count += 1;
    });
    assert!(count > 40, "{count}");
}
