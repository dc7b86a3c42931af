//! End-to-end tests on a real node: real API server, kubelet, gVisor, git and TLS.
//!
//! They need the embedded cluster with the chart installed; `make e2e` brings both up and runs them. Each test
//! has a namespace of its own. `docs/testing.md` lists the test of each claim, and
//! `docs/testing-mutations.md` its control and how it was seen to fail.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests document themselves by their names, and a panic is how they fail"
)]

mod access;
mod accounts;
mod admission;
mod agent_image;
mod api;
mod attacks;
mod ceilings;
mod clock;
mod clones;
mod credentials;
mod ends;
mod engines;
mod evidence;
mod explain;
mod fence;
mod flooded;
mod governance;
mod guard;
mod harness;
mod hostile;
mod keys;
mod large_files;
mod layers;
mod manifests;
mod output;
mod placement;
mod profiles;
mod prompt;
mod queue;
mod redirects;
mod refusals;
mod requests;
mod retry;
mod roles;
mod runs;
mod services;
mod sink;
mod stalled;
mod starving;
mod storage;
mod tenants;
mod unenforced;
mod unguarded;
mod view;
mod vulnerabilities;
mod withdrawn;
