//! What a run costs the control plane, for `make bench`; and, as `tests/bench/runs.sh guard`, whether its counts are as they
//! must be.
//!
//! It runs inside the node's network (`tests/bench/runs.sh`), with the chart installed and the fake node up, and plays
//! users, who create runs, and the gateway, which stores what it saw. Everything else is real but for the kubelet.
#![allow(missing_docs, reason = "a program")]
#![allow(
    clippy::indexing_slicing,
    reason = "documents in JSON, which have null for what they lack"
)]

mod audit;
mod command;
mod floors;
mod gateway;
mod guard;
mod load;
mod machine;
mod metrics;
mod place;
#[path = "../proc.rs"]
mod proc;
mod report;
mod sitting;
mod stock;
mod suite;

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use self::gateway::Gateway;
use self::place::Place;
use self::suite::Scope;

/// An error ends the bench and is printed.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const USAGE: &str = "usage: runs guard | command | loads | queue | floors | finished N | all N    (N finished runs, such as 20000)";

#[tokio::main]
async fn main() -> ExitCode {
    match begin().await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn begin() -> Result<ExitCode> {
    // Cargo adds --bench.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let number = words.get(1).and_then(|word| word.parse().ok());
    let nothing = Scope::default();
    let work = match (words.first().map(String::as_str), number) {
        (Some("guard"), None) => Work::Guard,
        (Some("command"), None) => Work::Command,
        (Some("loads"), None) => Work::Bench(Scope {
            loads: true,
            ..nothing
        }),
        (Some("queue"), None) => Work::Bench(Scope {
            queue: true,
            ..nothing
        }),
        (Some("floors"), None) => Work::Bench(Scope {
            floors: true,
            ..nothing
        }),
        (Some("finished"), finished @ Some(_)) => Work::Bench(Scope { finished, ..nothing }),
        (Some("all"), finished @ Some(_)) => Work::Bench(Scope {
            loads: true,
            queue: true,
            floors: true,
            finished,
        }),
        _ => {
            eprintln!("{USAGE}");
            return Ok(ExitCode::from(2));
        }
    };
    // Another part of this process may have installed it; all install the same one.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let state = std::env::var_os("COFFERDAM_STATE").unwrap_or_else(|| "/var/tmp/cofferdam".into());
    let place = Place::new(&PathBuf::from(state)).await?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let outcome = tokio::select! {
        outcome = measure(&place, work) => outcome,
        _ = interrupt.recv() => Err("interrupted".into()),
        _ = terminate.recv() => Err("ended".into()),
    };
    // Whatever happened: nothing of it stays.
    floors::clean(&place.client).await?;
    place.remove_namespaces().await?;
    outcome
}

/// What the program is asked for.
#[derive(Clone, Copy)]
enum Work {
    Guard,
    Command,
    Bench(Scope),
}

async fn measure(place: &Place, work: Work) -> Result<ExitCode> {
    let gateway = Gateway::new(&place.client).await?;
    match work {
        Work::Guard => {
            let (passed, failed) = guard::guard(place, &gateway).await?;
            println!("{passed} passed, {failed} failed");
            if failed > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
        Work::Command => {
            println!("{}", machine::facts());
            if !command::bench(place, &gateway).await? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Work::Bench(scope) => suite::bench(place, &gateway, scope).await?,
    }
    Ok(ExitCode::SUCCESS)
}
