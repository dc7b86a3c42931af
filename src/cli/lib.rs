//! `kubectl agentrun`: what a person asks of Cofferdam, with the person's own rights.

pub mod explain;
mod manifest;

use std::io;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use clap_complete::Shell;

/// Name of the executable: kubectl finds its plugins by it.
const EXECUTABLE: &str = "kubectl-agentrun";

/// Runs of coding agents in sandboxes: what they may do, before anything starts.
#[derive(Parser)]
#[command(name = EXECUTABLE, bin_name = "kubectl agentrun", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say whether a run would be allowed, with what, and which policy decides it.
    Explain(Box<explain::Args>),
    /// Write a shell's completion script to standard output.
    ///
    /// It completes the name of the executable, kubectl-agentrun, which takes the same words as `kubectl agentrun`.
    Completion {
        /// The shell.
        shell: Shell,
    },
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Explain(args) => explain::main(&args),
        Command::Completion { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), EXECUTABLE, &mut io::stdout());
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_calls_itself_as_kubectl_does() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        let usage = command.render_help().to_string();
        assert!(usage.contains("Usage: kubectl agentrun <COMMAND>"), "{usage}");
        let Err(help) = Cli::try_parse_from([EXECUTABLE, "explain", "--help"]) else {
            panic!("help is no command")
        };
        assert!(
            help.to_string().contains("Usage: kubectl agentrun explain"),
            "{help}"
        );
    }

    #[test]
    fn every_shell_gets_a_script_for_the_executable() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), EXECUTABLE, &mut script);
            let script = String::from_utf8(script).unwrap();
            assert!(
                script.contains(EXECUTABLE) && script.contains("namespace-label"),
                "{shell}"
            );
        }
    }
}
