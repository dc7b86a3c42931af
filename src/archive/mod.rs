//! The archive: receives patches and records, and hands them back.

/// Flags of this role.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {}

/// Runs the role until a signal ends it.
///
/// # Errors
/// The role could not start.
pub async fn run(_args: Args) -> Result<(), std::io::Error> {
    crate::serve::shutdown_on_signal()?.cancelled().await;
    Ok(())
}
