//! Objects that were stored before fields had their names of today.
//!
//! The API server drops fields that the schema does not know when it reads an object from its storage. What is left is
//! what the controller gets.

use cofferdam_api::{AgentRun, ClusterSandboxPolicy, SandboxPolicy};
use serde_json::{Value, json};

use crate::manifests::{cluster_policy, policy, run, with, without};
use crate::renamed;
use crate::schema::{problems, pruned};

/// `manifest` as it was stored with a field under its old name, and as it is read now.
fn stored(manifest: &Value, old: &str, value: Value, now: &str) -> Value {
    pruned(&with(&without(manifest, now), old, value))
}

#[test]
fn old_names_are_unknown_fields_and_old_words_are_not_supported() {
    let refused = |manifest: &Value, message: &str| {
        let problems = problems(manifest, None);
        assert!(
            problems.len() == 1 && problems[0].ends_with(message),
            "{message}: {problems:?}"
        );
    };
    let unknown = |manifest: &Value, (old, value, _): (&str, Value, &str)| {
        let field = old.replace('/', ".");
        refused(&with(manifest, old, value), &format!("{field}: unknown field"));
    };
    for row in renamed::run_fields() {
        unknown(&run(), row);
    }
    for row in renamed::own_fields() {
        unknown(&policy(), row);
    }
    for manifest in [policy(), cluster_policy()] {
        for row in renamed::limit_fields() {
            unknown(&manifest, row);
        }
        for (pointer, word) in renamed::limit_words() {
            refused(
                &with(&manifest, pointer, json!(word)),
                &format!("{word} is not supported"),
            );
        }
    }
    for (pointer, word) in renamed::run_words() {
        refused(
            &with(&run(), pointer, json!(word)),
            &format!("{word} is not supported"),
        );
    }
}

#[test]
fn a_stored_policy_without_its_runtimes_cannot_be_read() {
    let row = |name: &str| {
        let rows = renamed::limit_fields().into_iter();
        rows.clone().find(|(_, _, now)| now.ends_with(name)).unwrap()
    };
    let (old, value, now) = row("/runtimeClassNames");
    let own: Result<SandboxPolicy, _> = serde_json::from_value(stored(&policy(), old, value.clone(), now));
    assert!(own.unwrap_err().to_string().contains("runtimeClassNames"));
    let cluster: Result<ClusterSandboxPolicy, _> =
        serde_json::from_value(stored(&cluster_policy(), old, value, now));
    assert!(cluster.unwrap_err().to_string().contains("runtimeClassNames"));
    // The control: what loses another field can be read.
    let (old, value, now) = row("/kernelCheck");
    let read: SandboxPolicy = serde_json::from_value(stored(&policy(), old, value, now)).unwrap();
    assert_eq!(read.spec.limits.runtime.unwrap().kernel_check, None);
}

#[test]
fn a_stored_policy_without_its_repositories_allows_none() {
    let (old, value, now) = renamed::limit_fields().remove(3);
    assert!(now.ends_with("/clone"));
    let read: SandboxPolicy = serde_json::from_value(stored(&policy(), old, value, now)).unwrap();
    let repositories = read.spec.limits.repositories.unwrap();
    assert_eq!(repositories.mode, cofferdam_api::Mode::AllowList);
    assert!(repositories.clone.is_empty());
}

#[test]
fn a_stored_run_with_an_old_word_cannot_be_read_and_one_with_an_old_field_has_lost_it() {
    for (pointer, word) in renamed::run_words() {
        let read: Result<AgentRun, _> = serde_json::from_value(with(&run(), pointer, json!(word)));
        assert!(read.unwrap_err().to_string().contains("DiscardWork"));
    }
    for (old, value, now) in renamed::run_fields() {
        let read: AgentRun = serde_json::from_value(stored(&run(), old, value, now)).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap().pointer(now), None);
    }
}
