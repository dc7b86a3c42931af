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
