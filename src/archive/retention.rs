//! Removes what runs left behind when it is old enough, and says what it removed.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::error::StoreError;
use super::store::Store;

/// How often old runs are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// How long the first look waits: the controller tells what is held within a minute.
const FIRST: Duration = Duration::from_mins(3);

/// Removes runs to which nothing was written for `keep`, for ever.
pub async fn run(store: Arc<Store>, keep: Duration) {
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
            sweep(&store, keep, SystemTime::now())
        });
        match swept.await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "old runs were removed"),
            Ok(Err(error)) => tracing::error!(%error, "old runs could not be removed"),
            Err(error) => tracing::error!(%error, "the removal of old runs broke off"),
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Removes the runs that are old enough and not held, and returns how many there were.
fn sweep(store: &Store, keep: Duration, now: SystemTime) -> Result<usize, StoreError> {
    let Some(before) = now.checked_sub(keep) else {
        return Ok(0);
    };
    let Some(holds) = store.holds().get(Instant::now()) else {
        tracing::info!("nothing is removed: the controller did not tell within the last hour what is held");
        return Ok(0);
    };
    let mut removed = 0;
    for run_uid in store.unwritten_since(before)? {
        match store.remove(&run_uid, before, &holds) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(StoreError::Unsynced) => return Err(StoreError::Unsynced),
            Err(error) => tracing::error!(run = run_uid, %error, "an old run was not removed"),
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
        assert_eq!(sweep(&store, DAY * 90, now).unwrap(), 0);
        // Run `bbbb` was written to yesterday, as seen in 90 days.
        let later = now + DAY * 91;
        let file = fs::File::options()
            .append(true)
            .open(data.path().join("runs/bbbb/chain.jsonl"))
            .unwrap();
        file.set_modified(later - DAY).unwrap();
        assert_eq!(sweep(&store, DAY * 90, later).unwrap(), 1);
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
        assert_eq!(sweep(&store, DAY * 90, later).unwrap(), 1);
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
        let removed = |store: &Store| sweep(store, DAY * 90, later).unwrap();
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
        assert_eq!(sweep(&store, DAY * 90, later).unwrap(), 0);
        store.commit(prepared).await.unwrap();
        assert_eq!(sweep(&store, DAY * 90, later).unwrap(), 1);
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
