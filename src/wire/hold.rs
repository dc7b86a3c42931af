//! What the archive must not remove, as the controller reads it from labels.

use serde::{Deserialize, Serialize};

/// `PUT`: everything that is held now, as [`Holds`]. The archive removes nothing unless it was told within the last hour.
pub const HOLDS_PATH: &str = "/v1/holds";
/// Longest document in bytes.
pub const HOLDS_LIMIT: usize = 4 * 1024 * 1024;

/// Everything that is held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Holds {
    /// Namespaces: all that their runs left.
    pub namespaces: Vec<HeldNamespace>,
    /// Uids of runs.
    pub runs: Vec<String>,
}

/// A namespace that is held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeldNamespace {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl Holds {
    /// Whether a run is held, whose namespace has this name and this uid as far as they are known. A run whose namespace is
    /// known by name alone is held with any namespace of that name.
    pub fn holds(&self, run_uid: &str, namespace: Option<&str>, namespace_uid: Option<&str>) -> bool {
        let of_namespace = |held: &HeldNamespace| match namespace_uid {
            Some(uid) => held.uid == uid,
            None => namespace == Some(held.name.as_str()),
        };
        self.runs.iter().any(|run| run == run_uid) || self.namespaces.iter().any(of_namespace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case::by_itself("r", None, None, true)]
    #[case::another("s", Some("b"), Some("v"), false)]
    #[case::by_the_namespace("s", Some("a"), Some("u"), true)]
    #[case::of_a_former_namespace("s", Some("a"), Some("former"), false)]
    #[case::of_a_namespace_known_by_name("s", Some("a"), None, true)]
    #[case::of_nobody("s", None, None, false)]
    fn a_run_is_held_by_itself_or_by_its_namespace(
        #[case] run: &str,
        #[case] namespace: Option<&str>,
        #[case] uid: Option<&str>,
        #[case] held: bool,
    ) {
        let holds: Holds =
            serde_json::from_str(r#"{"namespaces":[{"name":"a","uid":"u"}],"runs":["r"]}"#).unwrap();
        assert_eq!(holds.holds(run, namespace, uid), held);
    }
}
