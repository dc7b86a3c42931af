//! `kubectl cofferdam`: what a person asks of Cofferdam, with the person's own rights.

mod apply;
mod audit;
mod cancel;
mod complete;
mod describe;
mod diff;
mod doctor;
pub mod explain;
mod failure;
mod git;
mod list;
mod logs;
mod man;
mod manifest;
mod output;
mod patch;
mod place;
mod policy;
mod print;
mod rerun;
mod run;
mod runs;
#[cfg(test)]
mod testing;
mod verify;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use failure::Exit;
use place::Flags;

/// Name of the executable: kubectl finds its plugins by it.
const EXECUTABLE: &str = "kubectl-cofferdam";

/// Runs of coding agents in sandboxes: start, follow, read, fetch, verify.
///
/// Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 no (refused, does not verify,
/// does not apply), 2 cannot tell, 3 there is none, 4 the run goes on; 10 to 13 say whose a failed run is: the agent's,
/// the cluster's, a policy's, a person's.
#[derive(Parser)]
#[command(name = EXECUTABLE, bin_name = "kubectl cofferdam", version, disable_version_flag = true)]
struct Cli {
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start an agent and follow it to its end.
    Run(Box<run::Args>),
    /// List runs, with their places in the queue.
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Tell what happened to a run, why, and what to do next.
    Describe(describe::Args),
    /// Write what a run's agent writes.
    Logs(logs::Args),
    /// Write what the agent changed.
    Diff(diff::Args),
    /// Put what the agent changed onto a checkout.
    Apply(apply::Args),
    /// End a run; what its agent has done is kept.
    Cancel(cancel::Args),
    /// Start a run again, with every input pinned to what the first one resolved.
    Rerun(rerun::Args),
    /// Verify on this machine what the archive hands out of a run.
    Verify(verify::Args),
    /// Show or export the records of a run.
    Audit(audit::Args),
    /// Say whether a run would be allowed, with what, and which policy decides it.
    Explain(Box<explain::Args>),
    /// Say which policies are in force in a namespace, and who may use them.
    Policy(policy::Args),
    /// Say whether an agent could run here now, and what to do where it could not.
    Doctor(doctor::Args),
    /// Write a shell's completion script to standard output.
    Completion(complete::Args),
    /// Write what could come next on a command line, a line each.
    #[command(name = "__complete", hide = true, disable_help_flag = true)]
    Complete(complete::Words),
    /// Write the manual pages into a directory.
    #[command(name = "__man", hide = true, disable_help_flag = true)]
    Man(man::Args),
    /// Say which version this is, and what the cluster serves.
    Version(version::Args),
}

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let Cli { flags, command } = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(execute(command, &flags)),
        Err(error) => {
            eprintln!("error: the program cannot start: {error}");
            Exit::CannotTell.into()
        }
    }
}

async fn execute(command: Command, flags: &Flags) -> ExitCode {
    let done = match command {
        Command::Explain(args) => return Box::pin(explain::main(&args, flags)).await,
        Command::List(args) => Box::pin(list::main(&args, flags)).await,
        Command::Describe(args) => Box::pin(describe::main(&args, flags)).await,
        Command::Run(args) => Box::pin(run::main(&args, flags)).await,
        Command::Logs(args) => Box::pin(logs::main(&args, flags)).await,
        Command::Diff(args) => Box::pin(diff::main(&args, flags)).await,
        Command::Apply(args) => Box::pin(apply::main(&args, flags)).await,
        Command::Rerun(args) => Box::pin(rerun::main(&args, flags)).await,
        Command::Verify(args) => Box::pin(verify::main(&args, flags)).await,
        Command::Audit(args) => Box::pin(audit::main(&args, flags)).await,
        Command::Doctor(args) => Box::pin(doctor::main(&args, flags)).await,
        Command::Cancel(args) => Box::pin(cancel::main(&args, flags)).await,
        Command::Policy(args) => Box::pin(policy::main(&args, flags)).await,
        Command::Completion(args) => complete::script(&args, &mut Cli::command()),
        Command::Complete(words) => Box::pin(complete::main(&words, &Cli::command(), flags)).await,
        Command::Man(args) => man::write(&args, Cli::command()),
        Command::Version(args) => Box::pin(version::main(&args, flags)).await,
    };
    match done {
        Ok(exit) => exit.into(),
        Err(failure) => failure.report().into(),
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
        assert!(
            usage.contains("Usage: kubectl cofferdam [OPTIONS] <COMMAND>"),
            "{usage}"
        );
        for subcommand in ["explain", "list", "describe"] {
            let Err(help) = Cli::try_parse_from([EXECUTABLE, subcommand, "--help"]) else {
                panic!("help is no command")
            };
            assert!(
                help.to_string()
                    .contains(&format!("Usage: kubectl cofferdam {subcommand}")),
                "{help}"
            );
        }
    }
}
