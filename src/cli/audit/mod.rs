//! `audit`: the records of a run, for people and for whoever keeps them.

pub mod export;
pub mod files;
mod ocsf;
mod show;
mod whole;

use clap::Subcommand;

use crate::failure::{Exit, Failure};
use crate::place::Flags;

/// What to do with the records.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the records, a line each.
    ///
    /// Needs `get` on agentruns/records of output.cofferdam.dev.
    Show(show::Args),
    /// Write all that the archive holds of a run into a directory, which `verify --export` reads without a cluster.
    ///
    /// Needs `get` on agentruns/summary, /records, /patch and /statement of output.cofferdam.dev.
    Export(export::Args),
}

/// Does it.
///
/// # Errors
/// The records do not come.
pub async fn main(args: &Args, flags: &Flags) -> Result<Exit, Failure> {
    match &args.command {
        Command::Show(args) => show::main(args, flags).await,
        Command::Export(args) => export::main(args, flags).await,
    }
}
