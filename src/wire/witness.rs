//! Where chains ended at one moment, as one hash: the root of a Merkle tree (RFC 6962, section 2.1) whose leaves are the heads
//! of the chains that grew since the moment before. Whoever kept the root can tell later whether a chain is the one that
//! stood under it. Pure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::{Head, LineHash};

/// `POST`: takes the heads of all chains that grew, as [`Witness`].
pub const WITNESS_PATH: &str = "/v1/witness";

/// The root of one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Witness {
    /// RFC 3339 time of the archive.
    pub time: String,
    /// The root, lower-case hexadecimal.
    pub root: String,
    /// How many chains stand under it.
    pub runs: usize,
}

/// That the head of a chain stands under a root: one line of `witness.jsonl` beside the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// RFC 3339 time of the root.
    pub time: String,
    /// The head's number.
    pub seq: u64,
    /// The head's hash.
    pub sha256: LineHash,
    /// The hashes beside the way from the leaf to the root: `L` or `R` for the side on which the hash stands, then the hash.
    pub path: Vec<String>,
    /// The root.
    pub root: String,
}

type Node = [u8; 32];

fn leaf(run_uid: &str, head: Head) -> Node {
    let text = format!("{run_uid} {} {}", head.seq, head.sha256);
    Sha256::new()
        .chain_update([0_u8])
        .chain_update(text)
        .finalize()
        .into()
}

fn parent(left: &Node, right: &Node) -> Node {
    let hash = Sha256::new().chain_update([1_u8]).chain_update(left);
    hash.chain_update(right).finalize().into()
}

fn hex(node: &Node) -> String {
    use std::fmt::Write as _;
    node.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The root over the heads of these runs, and the proof of each, in their order. Without a run there is none.
pub fn witness(time: &str, heads: &[(&str, Head)]) -> Option<(Witness, Vec<Proof>)> {
    let mut level: Vec<Node> = heads.iter().map(|(run, head)| leaf(run, *head)).collect();
    // Of each leaf: where its subtree stands in the level, and the way up to there.
    let mut ways: Vec<(usize, Vec<String>)> = (0..level.len()).map(|place| (place, Vec::new())).collect();
    while level.len() > 1 {
        for (place, way) in &mut ways {
            let (side, beside) = if place.is_multiple_of(2) {
                ('R', *place + 1)
            } else {
                ('L', *place - 1)
            };
            // A subtree without a neighbour rises as it is.
            way.extend(level.get(beside).map(|node| format!("{side}{}", hex(node))));
            *place /= 2;
        }
        let above = level.chunks(2).map(|pair| match pair {
            [left, right] => Some(parent(left, right)),
            rest => rest.first().copied(),
        });
        level = above.flatten().collect();
    }
    let root = hex(level.first()?);
    let proofs = heads.iter().zip(ways).map(|((_, head), (_, path))| Proof {
        time: time.to_owned(),
        seq: head.seq,
        sha256: head.sha256,
        path,
        root: root.clone(),
    });
    let proofs = proofs.collect();
    let witness = Witness {
        time: time.to_owned(),
        runs: heads.len(),
        root,
    };
    Some((witness, proofs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unhex(text: &str) -> Node {
        let hash: LineHash = text.parse().unwrap();
        let text = hash.to_string();
        let mut node = [0; 32];
        for (byte, pair) in node.iter_mut().zip(text.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        node
    }

    /// What the way leads to.
    fn led(run: &str, head: Head, path: &[String]) -> String {
        let up = |node: Node, step: &String| {
            let other = unhex(&step[1..]);
            if step.starts_with('L') {
                parent(&other, &node)
            } else {
                parent(&node, &other)
            }
        };
        hex(&path.iter().fold(leaf(run, head), up))
    }

    fn head(seq: u64) -> Head {
        Head {
            seq,
            sha256: LineHash::of(&seq.to_be_bytes()),
        }
    }

    #[test]
    fn one_chain_is_its_own_root_and_none_has_none() {
        assert_eq!(witness("t", &[]), None);
        let (root, proofs) = witness("t", &[("a", head(1))]).unwrap();
        assert_eq!((root.root, root.runs), (hex(&leaf("a", head(1))), 1));
        assert_eq!(proofs[0].path, Vec::<String>::new());
    }

    /// The tree of three leaves by hand: ((1 2) 3).
    #[test]
    fn the_tree_is_that_of_rfc_6962() {
        let heads = [("a", head(1)), ("b", head(2)), ("c", head(3))];
        let (root, proofs) = witness("t", &heads).unwrap();
        let leaves = heads.map(|(run, head)| leaf(run, head));
        let pair = parent(&leaves[0], &leaves[1]);
        assert_eq!(root.root, hex(&parent(&pair, &leaves[2])));
        assert_eq!(proofs[2].path, [format!("L{}", hex(&pair))]);
    }

    proptest! {
        #[test]
        fn each_head_is_proven_and_no_other(count in 1_u64..40, other in 0_u64..1000) {
            let runs: Vec<String> = (0..count).map(|run| format!("run-{run}")).collect();
            let heads: Vec<(&str, Head)> = runs.iter().map(String::as_str).zip((1..=count).map(head)).collect();
            let (root, proofs) = witness("t", &heads).unwrap();
            for ((run, head), proof) in heads.iter().zip(&proofs) {
                prop_assert_eq!(led(run, *head, &proof.path), root.root.clone());
                prop_assert!(proof.path.len() <= 6);
                let altered = Head { seq: head.seq + 1 + other, ..*head };
                prop_assert_ne!(led(run, altered, &proof.path), root.root.clone());
                prop_assert_ne!(led("another", *head, &proof.path), root.root.clone());
            }
        }
    }
}
