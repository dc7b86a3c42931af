//! Where chains ended at one moment, told to whoever keeps it elsewhere.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use super::{Run, Store};
use crate::error::StoreError;
use crate::log::Found;
use cofferdam_wire::chain::Head;
use cofferdam_wire::witness::{Proof, Witness, witness};

/// File of the proofs of a run, a line each. It is not synced: a line that a crash takes is a proof less.
pub const WITNESS_FILE: &str = "witness.jsonl";

impl Store {
    /// The root over the heads of all chains that grew since it was asked for before; none grew: none. The proof of each is
    /// written beside its chain. A run that was forgotten, and one of another process, grew when it grows again.
    pub fn witness(&self) -> Option<Witness> {
        let mut grown: Vec<(Arc<Run>, Head)> = self.grown();
        grown.sort_by(|(one, _), (other, _)| one.chain.run_uid.cmp(&other.chain.run_uid));
        let heads: Vec<(&str, Head)> = grown
            .iter()
            .map(|(run, head)| (run.chain.run_uid.as_str(), *head))
            .collect();
        let now = jiff::Timestamp::now().to_string();
        let (root, proofs) = witness(&now, &heads)?;
        for ((run, head), proof) in grown.iter().zip(&proofs) {
            match self.keep_proof(&run.chain.run_uid, proof) {
                Ok(()) => *run.witnessed.lock() = Some(*head),
                // The next root has it.
                Err(error) => tracing::warn!(run = run.chain.run_uid, %error, "a proof was not kept"),
            }
        }
        Some(root)
    }

    fn grown(&self) -> Vec<(Arc<Run>, Head)> {
        let known: Vec<Arc<Run>> = self.known.lock().values().map(Arc::clone).collect();
        // A chain that is being read or written is looked at the next time: nobody waits for it.
        let head = |run: &Run| match run.chain.found.try_lock()?.as_ref()? {
            Found::Whole(log) if log.head() != Head::EMPTY => Some(log.head()),
            _ => None,
        };
        let grown = known.into_iter().filter_map(|run| {
            let head = head(&run)?;
            let is_new = *run.witnessed.lock() != Some(head);
            is_new.then_some((run, head))
        });
        grown.collect()
    }

    fn keep_proof(&self, run_uid: &str, proof: &Proof) -> Result<(), StoreError> {
        let path = self.directory(run_uid)?.join(WITNESS_FILE);
        let mut line = serde_json::to_vec(proof)?;
        line.push(b'\n');
        let mut file = fs::File::options().append(true).create(true).open(path)?;
        Ok(file.write_all(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::testing::closed;
    use cofferdam_wire::chain::Class;
    use std::process::Command;

    async fn append(store: &Store, run: &str, number: u64) {
        let prepared = store.prepare(run, "gateway/pod/1".to_owned(), Class::Observed, &closed(number));
        store.commit(prepared.unwrap()).await.unwrap();
    }

    /// The third program of `docs/evidence.md`, as a stranger runs it.
    fn python(data: &std::path::Path, run: &str, roots: &[&str]) -> (bool, String) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/evidence.md");
        let page = fs::read_to_string(page).unwrap();
        let code = page.split("```python\n").nth(3).unwrap();
        let (code, _) = code.split_once("```").unwrap();
        let list = data.join("roots");
        fs::write(&list, roots.join("\n")).unwrap();
        let directory = data.join("runs").join(run);
        let run = Command::new("python3")
            .args(["-c", code])
            .args([directory.join("chain.jsonl"), directory.join(WITNESS_FILE), list])
            .output()
            .unwrap();
        let said = [run.stdout, run.stderr].concat();
        (run.status.success(), String::from_utf8(said).unwrap())
    }

    #[tokio::test]
    async fn what_grew_is_witnessed_once_and_a_stranger_sees_a_chain_that_was_made_anew() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path()).unwrap();
        assert_eq!(store.witness(), None);
        for run in ["aa", "bb", "cc"] {
            append(&store, run, 1).await;
        }
        let first = store.witness().unwrap();
        assert_eq!(first.runs, 3);
        assert_eq!(store.witness(), None, "nothing grew");
        append(&store, "bb", 2).await;
        let second = store.witness().unwrap();
        assert_eq!(second.runs, 1);
        let roots = [first.root.as_str(), &second.root];
        let (verifies, said) = python(data.path(), "bb", &roots);
        assert!(verifies, "{said}");
        assert!(said.contains("2 of 2 heads"), "{said}");
        // Whoever has the volume makes the whole chain anew, so that it verifies by itself.
        let other = tempfile::tempdir().unwrap();
        let forged = Store::open(other.path()).unwrap();
        for number in [3, 4] {
            append(&forged, "bb", number).await;
        }
        let chain = |data: &std::path::Path| data.join("runs/bb/chain.jsonl");
        fs::copy(chain(other.path()), chain(data.path())).unwrap();
        let (verifies, said) = python(data.path(), "bb", &roots);
        assert!(!verifies && said.contains("is not what was witnessed"), "{said}");
        // With proofs of his own, his roots are not those that stand elsewhere.
        forged.witness().unwrap();
        let proofs = other.path().join("runs/bb").join(WITNESS_FILE);
        fs::copy(proofs, data.path().join("runs/bb").join(WITNESS_FILE)).unwrap();
        let (_, said) = python(data.path(), "bb", &roots);
        assert!(said.contains("0 of 1 heads"), "{said}");
    }
}
