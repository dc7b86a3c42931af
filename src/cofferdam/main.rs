//! Role dispatch only: one binary, one role a process.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cofferdam_service::telemetry;

/// Runs AI coding agents on Kubernetes in sandboxes that they cannot leave.
#[derive(Parser)]
#[command(name = "cofferdam", version)]
struct Cli {
    #[command(subcommand)]
    role: Role,
}

#[derive(Subcommand)]
enum Role {
    /// Turns runs and policies into Jobs under the fence.
    Controller(Box<cofferdam_controller::Args>),
    /// The only way out of a sandbox.
    Gateway(Box<cofferdam_gateway::Args>),
    /// Keeps outputs and records.
    Archive(Box<cofferdam_archive::Args>),
    /// Makes the installation's keys and certificates, and rotates them.
    Keys(Box<cofferdam_keys::Args>),
    /// Hands outputs and records to users, by the API server.
    Output(Box<cofferdam_output::Args>),
    /// The containers beside the agent.
    Runner(cofferdam_runner::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    telemetry::init();
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::error!("another TLS provider had been installed");
        return ExitCode::FAILURE;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the runtime does not start");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(async {
        match cli.role {
            Role::Controller(args) => code(Box::pin(cofferdam_controller::run(*args)).await),
            Role::Gateway(args) => code(Box::pin(cofferdam_gateway::run(*args)).await),
            Role::Archive(args) => code(Box::pin(cofferdam_archive::run(*args)).await),
            Role::Keys(args) => code(Box::pin(cofferdam_keys::run(*args)).await),
            Role::Output(args) => code(Box::pin(cofferdam_output::run(*args)).await),
            Role::Runner(args) => code(Box::pin(cofferdam_runner::run(args)).await),
        }
    })
}

fn code<E: std::error::Error>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "ended by an error");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn flags_and_variables_mean_the_same_in_every_role() {
        let cli = Cli::command();
        cli.clone().debug_assert();
        let (mut flags, mut variables) = (HashMap::new(), HashMap::new());
        for role in cli.get_subcommands().filter(|role| role.get_name() != "runner") {
            for arg in role.get_arguments() {
                let (name, help) = (arg.get_long(), arg.get_help().map(ToString::to_string));
                let variable = arg.get_env().map(ToOwned::to_owned);
                let what = (variable.clone(), arg.get_default_values().to_vec(), help);
                // Each role listens on addresses of its own.
                if name != Some("listen") {
                    let first = flags
                        .entry(name.map(str::to_owned))
                        .or_insert_with(|| what.clone());
                    assert_eq!(*first, what, "--{name:?} of {}", role.get_name());
                }
                if let Some(variable) = variable {
                    let first = variables.entry(variable.clone()).or_insert(arg.get_id().clone());
                    assert_eq!(first, arg.get_id(), "{variable:?} of {}", role.get_name());
                }
            }
        }
        assert!(variables.contains_key(std::ffi::OsStr::new("POD_NAMESPACE")));
        // A flag that is shared must not bring its own description of the role.
        let controller = cli.find_subcommand("controller").unwrap();
        assert!(
            controller
                .get_about()
                .unwrap()
                .to_string()
                .starts_with("Turns runs")
        );
    }
}
