//! `kubectl agentrun`: everything is in [`cofferdam::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    cofferdam::cli::main()
}
