//! What runs beside the agent in its pod: `prepare` before it, `sidecar` with it.

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Which container this is.
    #[command(subcommand)]
    pub container: Container,
}

/// The containers of a run's pod that are ours.
#[derive(clap::Subcommand, Clone, Copy, Debug)]
pub enum Container {
    /// Before the agent: proves the fence, clones.
    Prepare,
    /// With the agent: forwards, keeps the clock, collects.
    Sidecar,
}

/// Runs one container's work to its end.
///
/// # Errors
/// The work failed; the termination message says how.
pub async fn run(args: Args) -> Result<(), std::io::Error> {
    match args.container {
        Container::Prepare => Ok(()),
        Container::Sidecar => {
            crate::serve::shutdown_on_signal()?.cancelled().await;
            Ok(())
        }
    }
}
