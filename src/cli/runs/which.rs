//! Which run a command is about: `NAME`, `@latest`, or nothing.

use std::str::FromStr;

use kube::Client;

use super::{Run, Scope, field_value, get, list, who_am_i};
use crate::failure::Failure;
use cofferdam_api::AgentRun;
use cofferdam_text::escape;

/// The run that a command line names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// By its name.
    Name(String),
    /// The newest of mine.
    Latest,
}

impl FromStr for Which {
    type Err = &'static str;

    /// Reads a name as kubectl writes it too: `agentrun.cofferdam.dev/fix-login`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = match text.split_once('/') {
            None => text,
            Some((
                "agr" | "agentrun" | "agentruns" | "agentrun.cofferdam.dev" | "agentruns.cofferdam.dev",
                name,
            )) => name,
            Some(_) => return Err("write the name of an AgentRun, or @latest"),
        };
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        match name {
            "@latest" => Ok(Self::Latest),
            name if (1..=63).contains(&name.len()) && name.bytes().all(plain) => {
                Ok(Self::Name(name.to_owned()))
            }
            _ => Err(
                "a run's name has at most 63 lower-case letters, digits and hyphens; @latest is the newest of yours",
            ),
        }
    }
}

/// Finds the run; says on standard error which it is where the command line does not.
///
/// # Errors
/// There is none, or it may not be read.
pub async fn find(client: &Client, namespace: &str, which: Option<&Which>) -> Result<Run, Failure> {
    if let Some(Which::Name(name)) = which {
        return get(client, namespace, name).await;
    }
    let scope = Scope::Namespace(namespace.to_owned());
    // Who cannot be told apart has no runs of their own.
    let me = who_am_i(client).await.ok();
    let mine = match &me {
        // Definitions of an older version do not select by it; then all are looked at.
        Some(me) => {
            let fields = format!("spec.requestedBy.username={}", field_value(me));
            list(client, &scope, None, Some(&fields)).await.ok()
        }
        None => None,
    };
    let mine = mine.and_then(|listed| newest(listed.runs, me.as_deref()));
    let found = match mine {
        Some(mine) => Some(mine),
        None => newest(list(client, &scope, None, None).await?.runs, me.as_deref()),
    };
    let (run, whose) =
        found.ok_or_else(|| Failure::Absent(format!("there is no AgentRun in namespace {namespace}")))?;
    let why = if which.is_none() {
        ", as you named none"
    } else {
        ""
    };
    eprintln!(
        "AgentRun {}, the newest {whose} in {}{why}",
        escape(run.metadata("name")),
        escape(namespace)
    );
    Ok(run)
}

/// The newest run of `me`, else of anybody.
fn newest(runs: Vec<Run>, me: Option<&str>) -> Option<(Run, &'static str)> {
    let is_mine = |run: &Run| me.is_some() && run.read.as_ref().and_then(requester) == me;
    let (mine, others): (Vec<Run>, Vec<Run>) = runs.into_iter().partition(is_mine);
    // RFC 3339 in UTC: the order of the texts is that of the times.
    let last = |runs: Vec<Run>| runs.into_iter().max_by(|one, other| key(one).cmp(&key(other)));
    last(mine)
        .map(|run| (run, "of yours"))
        .or_else(|| last(others).map(|run| (run, "run")))
}

fn key(run: &Run) -> (&str, &str) {
    (run.metadata("creationTimestamp"), run.metadata("name"))
}

/// Who asked for a run.
pub fn requester(run: &AgentRun) -> Option<&str> {
    run.spec
        .requested_by
        .as_ref()
        .map(|requester| requester.username.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{failure, server};
    use serde_json::json;

    #[test]
    fn names_are_read_as_kubectl_writes_them() {
        for text in ["fix-login", "agr/fix-login", "agentrun.cofferdam.dev/fix-login"] {
            assert_eq!(text.parse(), Ok(Which::Name("fix-login".to_owned())));
        }
        assert_eq!("@latest".parse(), Ok(Which::Latest));
        for text in ["", "@last", "pod/x", "A", "a/b/c", "../x", "a b", &"a".repeat(64)] {
            assert!(text.parse::<Which>().is_err(), "{text}");
        }
    }

    fn run(name: &str, day: u32, user: Option<&str>) -> Run {
        Run::from(json!({
            "metadata": {"name": name, "creationTimestamp": format!("2026-11-{day:02}T10:00:00Z")},
            "spec": {"task": {"prompt": "p"}, "agent": {"image": "i"}, "requestedBy": user.map(|user| json!({"username": user}))},
        }))
    }

    /// A namespace may have thousands of runs of others.
    #[tokio::test]
    async fn mine_are_asked_for_first_and_all_only_where_there_is_none() {
        for (user, mine_are_selected, found, asked) in [
            ("me", true, "mine", 2),
            ("nobody", true, "other", 3),
            ("me", false, "mine", 3),
        ] {
            let (client, log) = server(move |key| {
                let page = |runs: &[Run]| {
                    let items: Vec<_> = runs.iter().map(|run| run.value.clone()).collect();
                    (200, json!({"metadata": {"resourceVersion": "7"}, "items": items}))
                };
                let all = [run("mine", 5, Some("me")), run("other", 9, Some("you"))];
                match key {
                    key if key.contains("selfsubjectreviews") => (
                        201,
                        json!({"metadata": {}, "status": {"userInfo": {"username": user}}}),
                    ),
                    key if key.contains("requestedBy") && !mine_are_selected => {
                        failure(400, "BadRequest", "field label not supported")
                    }
                    key if key.contains("requestedBy.username%3Dme") => page(&all[..1]),
                    key if key.contains("requestedBy") => page(&[]),
                    _ => page(&all),
                }
            });
            let run = find(&client, "team-a", None).await.unwrap();
            assert_eq!((run.metadata("name"), log.lock().len()), (found, asked), "{user}");
        }
    }

    #[test]
    fn mine_come_before_newer_ones_of_others() {
        let runs = || {
            vec![
                run("old", 1, Some("me")),
                run("mine", 5, Some("me")),
                run("other", 9, Some("you")),
                run("none", 8, None),
            ]
        };
        let of = |me| newest(runs(), me).map(|(run, whose)| (run.metadata("name").to_owned(), whose));
        assert_eq!(of(Some("me")), Some(("mine".to_owned(), "of yours")));
        assert_eq!(of(Some("nobody")), Some(("other".to_owned(), "run")));
        assert_eq!(of(None), Some(("other".to_owned(), "run")));
        assert!(newest(Vec::new(), Some("me")).is_none());
    }
}
