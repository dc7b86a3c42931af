//! What the archive's volume has left: a run that could not leave its records does not start.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::{Api, Client};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::archive::Archive;
use crate::events::{Kind, Notice, Publisher};
use crate::verdict::Gap;
use cofferdam_api::{LiveReason, Reason};
use cofferdam_wire::space::{Levels, Space};

/// How often the archive is asked.
const PERIOD: Duration = Duration::from_secs(5);
/// The object of the archive that events are about.
const ARCHIVE: &str = "cofferdam-archive";

/// What the archive said last; nothing: it has not, or is older than the question.
#[derive(Debug, Default)]
pub struct Told(RwLock<Arc<Option<Space>>>);

impl Told {
    /// What it said.
    pub fn get(&self) -> Arc<Option<Space>> {
        Arc::clone(&self.0.read())
    }
}

/// How near its end the volume is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Level {
    Enough,
    Filling,
    Full,
}

impl Level {
    const fn of(percent: u8, levels: Levels) -> Self {
        if percent >= levels.no_new_runs {
            Self::Full
        } else if percent >= levels.warning {
            Self::Filling
        } else {
            Self::Enough
        }
    }
}

/// Asks the archive until `stop`, and tells by an event when its volume comes near its end.
pub async fn follow(
    archive: &Archive,
    told: &Told,
    (client, namespace, events): (&Client, &str, &Publisher),
    stop: CancellationToken,
) {
    let mut level = Level::Enough;
    loop {
        match archive.space().await {
            Ok(space) => {
                let now = Level::of(space.percent, space.levels);
                if let Some(notice) = change(level, now, &space) {
                    tell(client, namespace, events, &notice).await;
                }
                level = now;
                *told.0.write() = Arc::new(Some(space));
            }
            // An archive that is away is waited for elsewhere: what it said last still counts.
            Err(error) => tracing::debug!(%error, "the archive does not say how full it is"),
        }
        tokio::select! {
            () = tokio::time::sleep(PERIOD) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn tell(client: &Client, namespace: &str, events: &Publisher, notice: &Notice) {
    tracing::warn!(reason = notice.reason, "{}", notice.note);
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), namespace);
    match sets.get_opt(ARCHIVE).await {
        Ok(Some(set)) => events.publish_change(&set, notice, Timestamp::now()).await,
        Ok(None) => {}
        Err(error) => tracing::warn!(%error, "the archive's StatefulSet cannot be read: no event about it"),
    }
}

/// What is to be told of a change. Pure.
fn change(before: Level, now: Level, space: &Space) -> Option<Notice> {
    if before == now {
        return None;
    }
    let (percent, limit) = (space.percent, space.levels.no_new_runs);
    let remedy = "Enlarge its claim, or let evidence.retentionDays be fewer.";
    let (kind, reason, note) = match now {
        Level::Enough => (
            Kind::Normal,
            "ArchiveHasSpace",
            format!("The archive's volume is {percent} % full."),
        ),
        Level::Filling => (
            Kind::Warning,
            "ArchiveFilling",
            format!("The archive's volume is {percent} % full; from {limit} % on no run starts. {remedy}"),
        ),
        Level::Full => (
            Kind::Warning,
            "ArchiveFull",
            format!("The archive's volume is {percent} % full: no run starts. {remedy}"),
        ),
    };
    Some(Notice {
        kind,
        reason: reason.to_owned(),
        action: "Measure",
        note,
    })
}

/// What keeps a run of this namespace from starting. Pure.
pub fn gap(space: Option<&Space>, namespace: &str, namespace_uid: Option<&str>) -> Option<Gap> {
    let space = space?;
    let limit = space.levels.no_new_runs;
    if space.percent >= limit {
        return Some(Gap {
            reason: LiveReason::AuditUnavailable,
            ends_with: Reason::StartTimeout,
            message: format!(
                "The archive's volume is {} % full, and from {limit} % on no run starts: what runs needs the rest. Enlarge \
                 its claim, or let evidence.retentionDays be fewer.",
                space.percent
            ),
            actionable: true,
        });
    }
    let (share, used) = (space.share?, space.of(namespace, namespace_uid));
    (used >= share).then(|| Gap {
        reason: LiveReason::ArchiveShareExceeded,
        ends_with: Reason::QuotaExceeded,
        message: format!(
            "What runs of namespace {namespace} left takes {} MiB of the archive, and the share of a namespace is {} MiB \
             (evidence.namespaceSharePercent). The oldest of it goes after evidence.retentionDays.",
            used >> 20,
            share >> 20
        ),
        actionable: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::space::{OWN, Usage};
    use rstest::rstest;

    fn space(percent: u8, bytes: u64) -> Space {
        Space {
            percent,
            levels: OWN,
            share: Some(100 << 20),
            namespaces: vec![Usage {
                namespace: "team-a".to_owned(),
                uid: Some("now".to_owned()),
                bytes: bytes << 20,
            }],
        }
    }

    #[rstest]
    #[case::enough(84, 99, "team-a", None)]
    #[case::nearly_full(85, 0, "team-b", Some(LiveReason::AuditUnavailable))]
    #[case::a_share_is_used_up(10, 100, "team-a", Some(LiveReason::ArchiveShareExceeded))]
    #[case::of_another(10, 100, "team-b", None)]
    #[case::both(99, 100, "team-a", Some(LiveReason::AuditUnavailable))]
    fn a_run_waits_while_it_could_not_leave_its_records(
        #[case] percent: u8,
        #[case] used: u64,
        #[case] namespace: &str,
        #[case] reason: Option<LiveReason>,
    ) {
        let found = gap(Some(&space(percent, used)), namespace, Some("now"));
        assert_eq!(found.as_ref().map(|gap| gap.reason), reason);
        if let Some(gap) = found {
            assert_eq!(gap.reason.ends_with(), Some(gap.ends_with));
        }
    }

    #[test]
    fn the_next_tenant_of_a_name_has_a_share_of_his_own() {
        let used_up = space(10, 100);
        assert!(gap(Some(&used_up), "team-a", Some("now")).is_some());
        assert_eq!(gap(Some(&used_up), "team-a", Some("next")), None);
        assert_eq!(
            gap(None, "team-a", Some("now")),
            None,
            "an archive that does not say"
        );
    }

    #[test]
    fn messages_name_the_namespace_and_the_value() {
        let message = |percent, used| {
            gap(Some(&space(percent, used)), "team-a", Some("now"))
                .unwrap()
                .message
        };
        insta::assert_snapshot!([message(85, 0), message(1, 101)].join("\n"));
    }

    #[test]
    fn each_level_is_told_once_when_it_is_reached() {
        let mut level = Level::Enough;
        let mut told = Vec::new();
        for percent in [10, 79, 80, 84, 85, 100, 83, 50, 49] {
            let now = Level::of(percent, OWN);
            told.extend(
                change(level, now, &space(percent, 0)).map(|notice| format!("{percent} {}", notice.reason)),
            );
            level = now;
        }
        assert_eq!(
            told,
            [
                "80 ArchiveFilling",
                "85 ArchiveFull",
                "83 ArchiveFilling",
                "50 ArchiveHasSpace"
            ]
        );
    }
}
