//! How much each volume of a run's pod may hold, and our own containers. What the agent writes counts against its limit of
//! ephemeral storage, and the kubelet holds volumes to the sum of all containers alone: without bounds of their own each of
//! them could hold the sum.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::Input;
use cofferdam_policy::pattern::quantity::ResourceKind;

const MIB: u128 = 1 << 20;
const GIB: u128 = 1 << 30;
/// What collecting needs: changed files, the patch, git's index.
const COLLECTING: u128 = GIB;
/// The most that our own containers may hold: clones above a half of it need room in the agent's own limit.
const OURS: u128 = 8 * GIB;

/// Bytes that policy and our own work come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Storage {
    /// The agent's limit.
    agent: u128,
    /// What all clones come to at most.
    clones: u128,
}

impl Storage {
    /// That of a run.
    pub fn of(input: &Input<'_>) -> Self {
        let admitted = input.admitted;
        let kind = ResourceKind::EphemeralStorage;
        let limit = admitted.resources.limits.get(kind.as_str());
        let limit = limit.map_or(kind.default_limit(), |limit| limit.0.as_str());
        let clones = if admitted.repositories.is_empty() {
            0
        } else {
            u128::from(admitted.max_clone_bytes.unsigned_abs())
        };
        Self {
            // What was admitted is an amount.
            agent: kind
                .amount(limit)
                .map(|amount| amount.units())
                .unwrap_or_default(),
            clones,
        }
    }

    /// Of a volume that the agent fills alone.
    pub fn of_the_agent(self) -> Quantity {
        quantity(self.agent)
    }

    /// Of a work tree, in which its clone stands as well.
    pub fn work_tree(self) -> Quantity {
        quantity(self.agent + self.clones.min(OURS))
    }

    /// Of the pristine repositories, to which what was changed comes when it is collected.
    pub fn pristine(self) -> Quantity {
        quantity(self.clones.min(OURS) + COLLECTING)
    }

    /// Of what our containers write for themselves.
    pub fn scratch() -> Quantity {
        quantity(COLLECTING)
    }

    /// The limit of each of our containers: a clone stands there twice, pristine and as the agent's copy.
    pub fn ours(self) -> Quantity {
        quantity((2 * self.clones + COLLECTING).min(OURS))
    }
}

/// At least these bytes, spelt as the API server would.
fn quantity(bytes: u128) -> Quantity {
    let mebibytes = bytes.div_ceil(MIB);
    Quantity(if mebibytes.is_multiple_of(1 << 20) {
        format!("{}Ti", mebibytes >> 20)
    } else if mebibytes.is_multiple_of(1 << 10) {
        format!("{}Gi", mebibytes >> 10)
    } else {
        format!("{mebibytes}Mi")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_volume_is_held_to_what_policy_says() {
        let small = Storage {
            agent: 512 * MIB,
            clones: 0,
        };
        let shown = |storage: Storage| {
            [
                storage.of_the_agent(),
                storage.work_tree(),
                storage.pristine(),
                storage.ours(),
            ]
            .map(|quantity| quantity.0)
        };
        assert_eq!(shown(small), ["512Mi", "512Mi", "1Gi", "1Gi"]);
        let cloned = Storage {
            agent: 2 * GIB,
            clones: GIB + 1,
        };
        assert_eq!(shown(cloned), ["2Gi", "3073Mi", "2049Mi", "3073Mi"]);
        // Without a bound on clones our containers have one all the same.
        let unbounded = Storage {
            agent: 1024 * GIB,
            clones: 16 * GIB,
        };
        assert_eq!(shown(unbounded), ["1Ti", "1032Gi", "9Gi", "8Gi"]);
    }
}
