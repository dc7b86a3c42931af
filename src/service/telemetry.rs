//! Structured logs: one JSON object a line on standard error.

use tracing_subscriber::EnvFilter;

/// Environment variable with a `tracing` filter such as `info,cofferdam::gateway=debug`.
pub const FILTER_ENV: &str = "COFFERDAM_LOG";
/// What is logged where [`FILTER_ENV`] says nothing or nonsense.
const DEFAULT_FILTER: &str = "info,kube_client=warn,hyper_util=warn";

/// Whatever the filter says: the library's client logs answers that it cannot read in full, and Secrets are answers.
const BODIES_ARE_NOT_LOGGED: &str = "kube_client::client=error";

/// Starts logging for this process. A second call changes nothing.
pub fn init() {
    let mut filter = EnvFilter::try_from_env(FILTER_ENV).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    if let Ok(directive) = BODIES_ARE_NOT_LOGGED.parse() {
        filter = filter.add_directive(directive);
    }
    let started = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_writer(std::io::stderr)
        .with_env_filter(filter)
        .try_init();
    if started.is_err() {
        tracing::debug!("logging had been started before");
    }
}
