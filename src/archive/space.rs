//! What the volume has left, and what the runs of each namespace took of it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use super::error::StoreError;
use super::names::{self, Known};
use super::store::Store;
use super::volume::Filled;
use cofferdam_wire::space::{NAMESPACES, Space, Usage};

/// How often is added up what the runs of each namespace left.
const EVERY: Duration = Duration::from_secs(30);
/// A file takes whole blocks.
const BLOCK: u64 = 4096;

/// Adds up what the runs of each namespace left, now and then, for ever.
pub async fn run(store: Arc<Store>) {
    loop {
        if store.shares().is_bounded() {
            let store = Arc::clone(&store);
            match tokio::task::spawn_blocking(move || store.add_up()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::error!(%error, "what namespaces take of the volume is not known"),
                Err(error) => {
                    tracing::error!(%error, "adding up what namespaces take of the volume broke off");
                }
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

impl Store {
    /// How full the volume is, and which namespaces have at least half of their share.
    ///
    /// # Errors
    /// The volume cannot be asked.
    pub fn space(&self) -> io::Result<Space> {
        let filled = self.filled()?;
        let shares = self.shares();
        let share = shares
            .is_bounded()
            .then(|| filled.all / 100 * u64::from(shares.percent));
        let used = Arc::clone(&shares.used.lock());
        let near = |usage: &&Usage| share.is_some_and(|share| usage.bytes >= share / 2);
        Ok(Space {
            percent: filled.percent(0),
            levels: self.levels(),
            share,
            namespaces: used.iter().filter(near).take(NAMESPACES).cloned().collect(),
        })
    }

    /// Whether an output of so many bytes leaves what is kept for records.
    ///
    /// # Errors
    /// It does not.
    pub fn has_room_for_output(&self, bytes: u64) -> Result<(), StoreError> {
        beyond(self.filled()?, bytes, self.levels().no_outputs, "for records")
    }

    /// Whether a gateway's records leave what is kept for the ends of runs.
    ///
    /// # Errors
    /// They do not.
    pub fn has_room_for_records(&self) -> Result<(), StoreError> {
        beyond(
            self.filled()?,
            0,
            self.levels().no_records,
            "for the ends of runs",
        )
    }

    /// Adds up what the runs of each namespace left. Runs of which no name is known are nobody's.
    pub fn add_up(&self) -> io::Result<()> {
        let mut sums: HashMap<(String, Option<String>), u64> = HashMap::new();
        for entry in fs::read_dir(self.runs())? {
            let entry = entry?;
            let Ok(run_uid) = entry.file_name().into_string() else {
                continue;
            };
            if self.directory(&run_uid).is_err() {
                continue;
            }
            let known = match self.names().get(&run_uid) {
                Some(known) => Some(known),
                None => present(names::read(&entry.path()))?.flatten(),
            };
            let bytes = present(size(&entry.path()))?.unwrap_or_default();
            if let Some((namespace, uid)) = known.as_ref().and_then(owner) {
                *sums.entry((namespace, uid)).or_default() += bytes;
            }
        }
        let usage = |((namespace, uid), bytes)| Usage {
            namespace,
            uid,
            bytes,
        };
        let mut used: Vec<Usage> = sums.into_iter().map(usage).collect();
        used.sort_by(|one, other| {
            let by_size = other.bytes.cmp(&one.bytes);
            by_size.then_with(|| (&one.namespace, &one.uid).cmp(&(&other.namespace, &other.uid)))
        });
        *self.shares().used.lock() = Arc::new(used);
        Ok(())
    }
}

fn owner(known: &Known) -> Option<(String, Option<String>)> {
    let namespace = known.namespace()?.to_owned();
    Some((namespace, known.namespace_uid().map(str::to_owned)))
}

fn beyond(filled: Filled, more: u64, limit: u8, kept: &'static str) -> Result<(), StoreError> {
    let percent = filled.percent(more);
    if percent >= limit {
        return Err(StoreError::Reserved { percent, kept });
    }
    Ok(())
}

/// Bytes of the files of a run.
fn size(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() {
            present(size(&entry.path()))?.unwrap_or_default()
        } else {
            let length = present(entry.metadata())?.map_or(0, |metadata| metadata.len());
            length.next_multiple_of(BLOCK)
        };
    }
    Ok(bytes)
}

/// What is there: a run may be removed meanwhile.
fn present<T>(read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::space::OWN;
    use rstest::rstest;

    fn leave(data: &Path, run: &str, index: &str, bytes: u64) {
        let directory = data.join("runs").join(run);
        fs::create_dir_all(directory.join("patches")).unwrap();
        fs::write(directory.join("index.json"), index).unwrap();
        // Sparse: nothing is written.
        let patch = fs::File::create(directory.join("patches/a.patch")).unwrap();
        patch.set_len(bytes).unwrap();
    }

    fn index(run: &str, uid: &str) -> String {
        format!(r#"{{"run":"{run}","namespaceUid":"{uid}","time":"t"}}"#)
    }

    #[test]
    fn what_runs_left_is_added_up_by_namespace_and_uid() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open_with(data.path(), 50).unwrap();
        let all = store.filled().unwrap().all;
        let part = |percent: u64| all / 100 * percent;
        leave(data.path(), "aa", &index("a/x", "now"), part(30));
        leave(data.path(), "ab", &index("a/y", "now"), part(21));
        leave(data.path(), "ac", &index("a/y", "former"), part(26));
        leave(data.path(), "ba", &index("b/x", "now"), part(10));
        // Of no run: a start removes it.
        leave(data.path(), ".tmp-a", &index("b/x", "now"), part(90));
        assert_eq!(store.space().unwrap().namespaces, [], "not added up yet");
        store.add_up().unwrap();
        let space = store.space().unwrap();
        assert_eq!(space.share, Some(part(50)));
        let share = |uid| space.of("a", Some(uid)) / part(1);
        assert_eq!((share("now"), share("former")), (51, 26));
        assert_eq!(space.of("b", Some("now")), 0, "less than half of a share");
        assert_eq!(space.namespaces.len(), 2);
        fs::remove_dir_all(data.path().join("runs/aa")).unwrap();
        store.add_up().unwrap();
        assert_eq!(store.space().unwrap().of("a", Some("now")) / part(1), 0);
    }

    #[test]
    fn a_share_of_everything_is_none() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open_with(data.path(), 100).unwrap();
        let all = store.filled().unwrap().all;
        leave(data.path(), "aa", &index("a/x", "now"), all * 2);
        store.add_up().unwrap();
        let space = store.space().unwrap();
        assert_eq!((space.share, space.namespaces), (None, Vec::new()));
    }

    #[rstest]
    #[case::outputs_stop_first(91, 0, true, true)]
    #[case::by_what_is_there(92, 0, false, true)]
    #[case::by_what_would_be_there(80, 12, false, true)]
    #[case::then_records(96, 0, false, true)]
    #[case::and_the_rest_is_for_ends(97, 0, false, false)]
    fn outputs_stop_before_records_do(
        #[case] used: u64,
        #[case] more: u64,
        #[case] outputs: bool,
        #[case] records: bool,
    ) {
        let filled = Filled {
            used: used * 10,
            all: 1000,
        };
        let takes = |more, limit| beyond(filled, more, limit, "").is_ok();
        assert_eq!(takes(more * 10, OWN.no_outputs), outputs);
        assert_eq!(takes(0, OWN.no_records), records);
    }
}
