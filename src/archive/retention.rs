//! Removes what runs left behind when it is old enough, and says what it removed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::error::StoreError;
use super::keep::Terms;
use super::store::{Store, Sweep};

/// How often old runs are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// How long the first look waits: the controller tells what is held within a minute.
const FIRST: Duration = Duration::from_mins(3);

/// Removes runs, and patches of runs, to which nothing was written for as long as they are kept, for ever.
pub async fn run(store: Arc<Store>, terms: Terms) {
    let indexed = Arc::clone(&store);
    match tokio::task::spawn_blocking(move || indexed.complete_index()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the index of runs is not complete"),
        Err(error) => tracing::error!(%error, "completing the index of runs broke off"),
    }
    tokio::time::sleep(FIRST).await;
    loop {
        let store = Arc::clone(&store);
        let swept = tokio::task::spawn_blocking(move || {
            report_fill(&store);
            sweep(&store, &terms, SystemTime::now())
        });
        match swept.await {
            Ok(Ok(Removed { runs: 0, patches: 0 })) => {}
            Ok(Ok(Removed { runs, patches })) => {
                tracing::info!(
                    runs,
                    patches,
                    "what is old was removed: runs, and the patches of others"
                );
            }
            Ok(Err(error)) => tracing::error!(%error, "old runs could not be removed"),
            Err(error) => tracing::error!(%error, "the removal of old runs broke off"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// How many were removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Removed {
    /// Runs as a whole.
    runs: usize,
    /// Runs of which the patches alone were removed.
    patches: usize,
}

/// Removes what is old enough and not held.
fn sweep(store: &Store, terms: &Terms, now: SystemTime) -> Result<Removed, StoreError> {
    let mut removed = Removed::default();
    let Some(holds) = store.holds().get(Instant::now()) else {
        tracing::info!("nothing is removed: the controller did not tell within the last hour what is held");
        return Ok(removed);
    };
    let sweep = Sweep {
        terms,
        holds: &holds,
        now,
    };
    for run_uid in store.kept()? {
        let tried = store.remove(&run_uid, &sweep).and_then(|is_removed| {
            removed.runs += usize::from(is_removed);
            if !is_removed {
                removed.patches += usize::from(store.remove_patches(&run_uid, &sweep)?);
            }
            Ok(())
        });
        match tried {
            Ok(()) => {}
            Err(StoreError::Unsynced) => return Err(StoreError::Unsynced),
            Err(error) => tracing::error!(run = run_uid, %error, "what is old of a run was not removed"),
        }
    }
    Ok(removed)
}

fn report_fill(store: &Store) {
    match store.filled().map(|filled| filled.percent(0)) {
        Ok(percent) if percent >= store.levels().warning => {
            tracing::error!(
                percent,
                "the archive's volume fills up: make it larger, or let evidence.retentionDays be fewer"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::error!(%error, "how full the volume is cannot be read"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::closed;
    use cofferdam_wire::chain::Class;
    use cofferdam_wire::hold::Holds;
    use std::fs;
    use std::path::Path;

    const DAY: Duration = Duration::from_hours(24);

    /// A store that was told that nothing is held.
    fn open(data: &Path) -> Store {
        let store = Store::open(data).unwrap();
        store.holds().put(Holds::default(), Instant::now());
        store
    }

    const TERMS: Terms = Terms {
        records_days: 90,
        patches_days: 90,
        most_days: 1000,
    };

    /// How many runs a sweep of this time removes.
    fn runs(store: &Store, now: SystemTime) -> usize {
        sweep(store, &TERMS, now).unwrap().runs
    }

    /// What the controller tells of an admission under policies that say this of evidence.
    async fn admit(store: &Store, run: &str, evidence: &serde_json::Value) {
        let record = serde_json::json!({"sourceSeq": 1, "time": "t", "type": "Admitted",
            "data": {"run": "team-a/fix", "namespaceUid": "n", "evidence": evidence}});
        let source = "controller/pod/1".to_owned();
        let line = format!("{record}\n");
        let prepared = store
            .prepare(run, source, Class::Observed, line.as_bytes())
            .unwrap();
        store.commit(prepared).await.unwrap();
        store.note_origin(run).unwrap();
    }

    /// As if an upload had been received.
    fn output(data: &Path, run: &str) {
        let directory = data.join("runs").join(run);
        fs::create_dir(directory.join("patches")).unwrap();
        fs::write(directory.join("patches/app.patch"), "patch").unwrap();
        let manifest = serde_json::json!({"version": 1, "stopped": null, "refused": [], "patches": [{"repository": "app",
            "baseCommit": "c0ffee", "bytes": 5, "digest": cofferdam_api::names::digest(b"patch"), "files": 1, "insertions": 1,
            "deletions": 0, "snapshot": "Final"}]});
        let receipt = serde_json::json!({"version": 1, "runUid": run, "receivedAt": "2026-11-26T10:00:00Z", "manifest": manifest});
        fs::write(directory.join("receipt.json"), receipt.to_string()).unwrap();
    }

    /// Days of policies count from one start of the archive to the next, also where an older archive wrote the index.
    #[tokio::test]
    async fn what_policies_keep_longer_stays_longer_and_no_longer() {
        for older in [false, true] {
            let data = tempfile::tempdir().unwrap();
            let store = open(data.path());
            append(&store, "aaaa", 1).await;
            admit(&store, "bbbb", &serde_json::json!({"keepRecordsDays": 400})).await;
            admit(&store, "cccc", &serde_json::json!({"keepRecordsDays": 5000})).await;
            admit(&store, "dddd", &serde_json::json!({"keepRecordsDays": 1})).await;
            drop(store);
            if older {
                let index = data.path().join("runs/bbbb/index.json");
                fs::write(index, r#"{"run":"team-a/fix","namespaceUid":"n","time":"t"}"#).unwrap();
            }
            let store = open(data.path());
            let now = SystemTime::now();
            let there = |run: &str| data.path().join("runs").join(run).exists();
            assert_eq!(runs(&store, now + DAY * 89), 0);
            // No policy says anything of the first, and one says fewer days of the second than the installation.
            assert_eq!(runs(&store, now + DAY * 91), 2, "{older}");
            assert!(!there("aaaa") && !there("dddd") && there("bbbb") && there("cccc"));
            assert_eq!(runs(&store, now + DAY * 399), 0);
            assert_eq!(runs(&store, now + DAY * 401), 1);
            assert!(!there("bbbb"));
            // The installation's most.
            assert_eq!(runs(&store, now + DAY * 999), 0);
            assert_eq!(runs(&store, now + DAY * 1001), 1);
        }
    }

    #[tokio::test]
    async fn patches_go_before_records_and_leave_their_digests() {
        let data = tempfile::tempdir().unwrap();
        let terms = Terms {
            patches_days: 10,
            ..TERMS
        };
        let store = open(data.path());
        for (run, evidence) in [
            ("aaaa", serde_json::Value::Null),
            ("bbbb", serde_json::json!({"keepPatchesDays": 50})),
            ("cccc", serde_json::Value::Null),
        ] {
            admit(&store, run, &evidence).await;
            output(data.path(), run);
        }
        // The rest of an upload is none.
        fs::remove_file(data.path().join("runs/cccc/receipt.json")).unwrap();
        let now = SystemTime::now();
        let swept = |days: u32| sweep(&store, &terms, now + DAY * days).unwrap();
        let removed = |runs, patches| Removed { runs, patches };
        assert_eq!(swept(9), removed(0, 0));
        assert!(store.patch("aaaa", "app").unwrap().is_some());
        // What is held is whole.
        let held: Holds = serde_json::from_str(r#"{"namespaces":[],"runs":["aaaa"]}"#).unwrap();
        store.holds().put(held, Instant::now());
        assert_eq!(swept(11), removed(0, 0));
        store.holds().put(Holds::default(), Instant::now());
        assert_eq!(swept(11), removed(0, 1));
        assert_eq!(swept(11), removed(0, 0), "once");
        let record = store.run_record("aaaa").unwrap();
        assert!(record.patches_removed && record.admitted == 1);
        assert_eq!(record.receipt.unwrap().manifest.patches.len(), 1);
        assert_eq!(store.patch("aaaa", "app").unwrap(), None);
        assert!(!store.run_record("bbbb").unwrap().patches_removed);
        let deleted = deletions(data.path());
        assert_eq!(
            (&deleted[0]["run"], &deleted[0]["part"]),
            (&"aaaa".into(), &"patches".into())
        );
        assert_eq!(swept(51), removed(0, 1));
        assert_eq!(swept(91), removed(3, 0));
        assert!(
            deletions(data.path())[2..]
                .iter()
                .all(|deletion| deletion.get("part").is_none())
        );
    }

    async fn append(store: &Store, run: &str, number: u64) {
        let source = "gateway/pod/1".to_owned();
        let prepared = store
            .prepare(run, source, Class::Observed, &closed(number))
            .unwrap();
        store.commit(prepared).await.unwrap();
    }

    fn deletions(data: &Path) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(data.join("deletions.jsonl")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn old_runs_go_with_a_record_and_others_stay() {
        let data = tempfile::tempdir().unwrap();
        let store = open(data.path());
        append(&store, "aaaa", 1).await;
        append(&store, "aaaa", 2).await;
        append(&store, "bbbb", 1).await;
        store.note_name("team-a/fix", "aaaa");
        let now = SystemTime::now();
        assert_eq!(runs(&store, now), 0);
        // Run `bbbb` was written to yesterday, as seen in 90 days.
        let later = now + DAY * 91;
        let file = fs::File::options()
            .append(true)
            .open(data.path().join("runs/bbbb/chain.jsonl"))
            .unwrap();
        file.set_modified(later - DAY).unwrap();
        assert_eq!(runs(&store, later), 1);
        assert!(!data.path().join("runs/aaaa").exists() && data.path().join("runs/bbbb").exists());
        let deleted = deletions(data.path());
        assert_eq!(deleted.len(), 1);
        assert_eq!(
            (&deleted[0]["run"], &deleted[0]["name"]),
            (&"aaaa".into(), &"team-a/fix".into())
        );
        assert_eq!(
            (&deleted[0]["head"]["seq"], &deleted[0]["requests"]),
            (&2.into(), &0.into())
        );
        // A run that is written to again begins a new chain.
        append(&store, "aaaa", 3).await;
        assert_eq!(runs(&store, later), 1);
        assert_eq!(deletions(data.path())[1]["head"]["seq"], 1);
    }

    #[tokio::test]
    async fn what_is_held_stays_until_the_hold_goes() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        for run in ["aaaa", "bbbb", "cccc"] {
            append(&store, run, 1).await;
        }
        let index = |uid: &str| format!(r#"{{"run":"team-a/fix","namespaceUid":"{uid}","time":"t"}}"#);
        fs::write(data.path().join("runs/bbbb/index.json"), index("held")).unwrap();
        fs::write(data.path().join("runs/cccc/index.json"), index("former")).unwrap();
        drop(store);
        let store = Store::open(data.path()).unwrap();
        let later = SystemTime::now() + DAY * 91;
        let removed = |store: &Store| runs(store, later);
        assert_eq!(removed(&store), 0, "nobody told what is held");
        let holds = r#"{"namespaces":[{"name":"team-a","uid":"held"}],"runs":["aaaa"]}"#;
        store
            .holds()
            .put(serde_json::from_str(holds).unwrap(), Instant::now());
        assert_eq!(removed(&store), 1);
        assert!(!data.path().join("runs/cccc").exists());
        store.holds().put(Holds::default(), Instant::now());
        assert_eq!(removed(&store), 2);
    }

    /// A record that is on its way keeps its run.
    #[tokio::test]
    async fn run_that_is_in_use_stays() {
        let data = tempfile::tempdir().unwrap();
        let store = open(data.path());
        append(&store, "aaaa", 1).await;
        let later = SystemTime::now() + DAY * 91;
        let prepared = store
            .prepare("aaaa", "gateway/pod/1".to_owned(), Class::Observed, &closed(2))
            .unwrap();
        assert_eq!(runs(&store, later), 0);
        store.commit(prepared).await.unwrap();
        assert_eq!(runs(&store, later), 1);
    }

    /// A crash between the record of a deletion and its end.
    #[tokio::test]
    async fn removal_that_broke_off_is_ended_by_the_next_start() {
        let data = tempfile::tempdir().unwrap();
        let store = open(data.path());
        append(&store, "aaaa", 1).await;
        drop(store);
        fs::rename(data.path().join("runs/aaaa"), data.path().join("runs/.tmp-aaaa")).unwrap();
        let store = open(data.path());
        assert!(!data.path().join("runs/.tmp-aaaa").exists());
        assert_eq!(store.run_record("aaaa").unwrap().requests, 0);
    }
}
