//! What the archive's volume has left, and for whom: the controller asks before it starts a run.

use serde::{Deserialize, Serialize};

/// `GET`: how full the volume is, as [`Space`].
pub const SPACE_PATH: &str = "/v1/space";

/// From how many percent of the volume on what happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Levels {
    /// People are warned.
    pub warning: u8,
    /// No run starts.
    pub no_new_runs: u8,
    /// No output is received: what is left is for records.
    pub no_outputs: u8,
    /// Gateways' records are refused: what is left is for ends of runs and their seals.
    pub no_records: u8,
}

/// Of a volume with a file system of its own.
pub const OWN: Levels = Levels {
    warning: 80,
    no_new_runs: 85,
    no_outputs: 92,
    no_records: 97,
};
/// Of a directory on a file system that others fill, too, such as a node's: the kubelet makes room there, from 85 % on.
pub const SHARED: Levels = Levels {
    warning: 90,
    no_new_runs: 95,
    no_outputs: 98,
    no_records: 99,
};
/// Namespaces that one answer lists at most.
pub const NAMESPACES: usize = 1000;

/// How full the volume is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Space {
    /// Percent of the volume that is used, by whatever, rounded up.
    pub percent: u8,
    /// What follows from that.
    pub levels: Levels,
    /// Bytes that the runs of one namespace may leave; absent: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<u64>,
    /// The namespaces that have at least half of their share, those with the most first.
    #[serde(default)]
    pub namespaces: Vec<Usage>,
}

/// What the runs of a namespace left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Its name.
    pub namespace: String,
    /// Its uid; absent: that of runs whose records do not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// Bytes of the files.
    pub bytes: u64,
}

impl Space {
    /// Bytes that the runs of a namespace left: of those whose records tell no uid, too.
    pub fn of(&self, namespace: &str, uid: Option<&str>) -> u64 {
        let own = self.namespaces.iter().filter(|usage| {
            let told = usage.uid.as_deref();
            usage.namespace == namespace && (told.is_none() || told == uid)
        });
        own.fold(0, |sum, usage| sum.saturating_add(usage.bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_what_was_left_under_its_uid_and_what_tells_none() {
        let usage = |namespace: &str, uid: Option<&str>, bytes| Usage {
            namespace: namespace.to_owned(),
            uid: uid.map(str::to_owned),
            bytes,
        };
        let space = Space {
            percent: 1,
            levels: OWN,
            share: Some(9),
            namespaces: vec![
                usage("a", Some("now"), 1),
                usage("a", Some("former"), 2),
                usage("a", None, 4),
                usage("b", Some("now"), 8),
            ],
        };
        assert_eq!(space.of("a", Some("now")), 5);
        assert_eq!(space.of("a", None), 4);
        assert_eq!(space.of("c", Some("now")), 0);
    }

    /// By it an older controller reads a newer archive, and the other way round.
    #[test]
    fn golden_document() {
        let text = r#"{"percent":81,"levels":{"warning":80,"noNewRuns":85,"noOutputs":92,"noRecords":97},"share":9,"namespaces":[{"namespace":"a","uid":"u","bytes":7}],"later":true}"#;
        let space: Space = serde_json::from_str(text).unwrap();
        assert_eq!((space.percent, space.of("a", Some("u"))), (81, 7));
        assert_eq!(
            serde_json::to_string(&space).unwrap(),
            text.replace(r#","later":true"#, "")
        );
    }
}
