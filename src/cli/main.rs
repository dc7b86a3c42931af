//! The executable `kubectl-cofferdam`, which kubectl finds by its name.

use std::process::ExitCode;

fn main() -> ExitCode {
    cofferdam_cli::main()
}
