//! What a gateway costs, beside other proxies: each in a process of its own, the same client and the same host for all.
//!
//! `tests/bench/gateway.sh` runs the parts in a network namespace of their own:
//! `gateway …`, `origin …`, `load …` and `table …`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a bench: a panic is how it fails"
)]

mod client;
mod load;
mod origin;
#[path = "../proc.rs"]
mod proc;
mod process;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use cofferdam_api::TlsMode;
use cofferdam_gateway::testing::StandAlone;

/// The host that everybody asks.
pub const HOST: &str = "bench.internet.test";
/// Where it is, in the namespace.
pub const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 30));
/// Runs whose connections the load is spread over.
pub const RUNS: u8 = 64;
/// Nothing here takes longer.
const LONGEST: Duration = Duration::from_mins(20);

#[tokio::main(worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let work = async {
        match arguments[..] {
            ["gateway", listen, mode, trusted_ca, inspection_ca, tokens] => {
                gateway(listen, mode, trusted_ca, inspection_ca, PathBuf::from(tokens)).await;
            }
            ["origin", certificate, key] => origin::serve(certificate, key).await,
            ["load", name, proxy, trusted, tokens, pid, to] => {
                load::run(name, proxy, trusted, tokens, pid.parse().ok(), to).await;
            }
            ["table", ..] => table::print(&arguments[1..]),
            // `cargo test` and `cargo bench` without arguments.
            _ => println!("tests/bench/gateway.sh runs this"),
        }
    };
    tokio::time::timeout(LONGEST, work)
        .await
        .expect("it takes too long");
}

async fn gateway(listen: &str, mode: &str, trusted_ca: &str, inspection_ca: &str, tokens: PathBuf) {
    let listen: SocketAddr = listen.parse().unwrap();
    let gateway = StandAlone {
        listen,
        host: HOST.parse().unwrap(),
        address: ADDRESS,
        tls: match mode {
            "Tunnel" => TlsMode::Tunnel,
            _ => TlsMode::Inspect,
        },
        runs: RUNS,
        trusted_ca: std::fs::read(trusted_ca).unwrap(),
        inspection_ca: inspection_ca.into(),
        memory: 1 << 30,
    };
    let ready = |all: Vec<String>| std::fs::write(&tokens, all.join("\n")).unwrap();
    gateway.serve(ready).await.unwrap();
}
