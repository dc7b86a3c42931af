//! Removes what runs left behind when it is old enough, and says what it removed.

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::error::StoreError;
use super::store::Store;

/// How often old runs are looked for.
const EVERY: Duration = Duration::from_hours(1);
/// Percent of the volume from which on its fill is told in the log each time.
const WARNING: u8 = 80;

/// Removes runs to which nothing was written for `keep`, for ever.
pub async fn run(store: Arc<Store>, keep: Duration) {
    let indexed = Arc::clone(&store);
    match tokio::task::spawn_blocking(move || indexed.complete_index()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "the index of runs is not complete"),
        Err(error) => tracing::error!(%error, "completing the index of runs broke off"),
    }
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

/// Removes the runs that are old enough, and returns how many there were.
fn sweep(store: &Store, keep: Duration, now: SystemTime) -> Result<usize, StoreError> {
    let Some(before) = now.checked_sub(keep) else {
        return Ok(0);
    };
    let mut removed = 0;
    for run_uid in store.unwritten_since(before)? {
        match store.remove(&run_uid, before) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            Err(StoreError::Unsynced) => return Err(StoreError::Unsynced),
            Err(error) => tracing::error!(run = run_uid, %error, "an old run was not removed"),
        }
    }
    Ok(removed)
}

fn report_fill(store: &Store) {
    let fill: io::Result<u8> = store.fill();
    match fill {
        Ok(percent) if percent >= WARNING => {
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
    use std::fs;
    use std::path::Path;

    const DAY: Duration = Duration::from_hours(24);

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
        let store = Store::open(data.path()).unwrap();
        append(&store, "aaaa", 1).await;
        append(&store, "aaaa", 2).await;
        append(&store, "bbbb", 1).await;
        fs::write(data.path().join("runs/aaaa/run"), "team-a/fix").unwrap();
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

    /// A record that is on its way keeps its run.
    #[tokio::test]
    async fn run_that_is_in_use_stays() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
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
        let store = Store::open(data.path()).unwrap();
        append(&store, "aaaa", 1).await;
        drop(store);
        fs::rename(data.path().join("runs/aaaa"), data.path().join("runs/.tmp-aaaa")).unwrap();
        let store = Store::open(data.path()).unwrap();
        assert!(!data.path().join("runs/.tmp-aaaa").exists());
        assert_eq!(store.run_record("aaaa").unwrap().requests, 0);
    }
}
