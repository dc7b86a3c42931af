//! What the servers of the test's internet saw.

use std::path::PathBuf;

use serde::Deserialize;

/// One line of a server's record.
#[derive(Clone, Debug, Deserialize)]
pub struct Seen {
    pub time: jiff::Timestamp,
    #[serde(default)]
    pub host: String,
    #[serde(default)]
    pub path: String,
    #[serde(default)]
    pub peer: String,
    #[serde(default)]
    pub destination: String,
}

/// The test's internet.
pub struct Internet;

impl Internet {
    /// Everything that reached the sink: traffic for which no server exists.
    pub fn sink() -> Vec<Seen> {
        read("sink.jsonl")
    }

    /// Every request that reached a server.
    pub fn requests() -> Vec<Seen> {
        read("requests.jsonl")
    }
}

/// A file of the servers' state.
pub fn state(file: &str) -> PathBuf {
    let state = std::env::var("COFFERDAM_STATE").unwrap_or_else(|_| "/var/tmp/cofferdam".into());
    PathBuf::from(state).join("internet").join(file)
}

fn read(file: &str) -> Vec<Seen> {
    let path = state(file);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    text.lines()
        .map(|line| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{}: {error}: {line}", path.display()))
        })
        .collect()
}
