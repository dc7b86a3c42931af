//! Which credentials gateways could send: what each told last, in memory. The controller reads it, because it reads no
//! Secret and a gateway writes no object of the cluster. After a restart gateways tell it again within seconds.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use cofferdam_wire::credential::CredentialHealth;

/// What a gateway told is forgotten after so long: it is gone, or cannot tell.
const KEPT_FOR: Duration = Duration::from_mins(1);

/// What gateways told.
#[derive(Default)]
pub struct Board(Mutex<HashMap<String, (Instant, Vec<CredentialHealth>)>>);

impl Board {
    /// Keeps what the gateway with this pod told, in the place of what it told before.
    pub fn put(&self, pod_uid: String, told: Vec<CredentialHealth>, now: Instant) {
        let mut all = self.0.lock();
        all.retain(|_, (at, _)| now.saturating_duration_since(*at) < KEPT_FOR);
        all.insert(pod_uid, (now, told));
    }

    /// What all of them come to, by name ([`CredentialHealth::meet`]).
    pub fn all(&self, now: Instant) -> Vec<CredentialHealth> {
        let told = self.0.lock();
        let fresh = told
            .values()
            .filter(|(at, _)| now.saturating_duration_since(*at) < KEPT_FOR);
        let mut met: BTreeMap<&str, CredentialHealth> = BTreeMap::new();
        for health in fresh.flat_map(|(_, told)| told) {
            met.entry(&health.name)
                .and_modify(|known| known.meet(health))
                .or_insert_with(|| health.clone());
        }
        met.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_wire::credential::HealthReason;

    fn health(name: &str, reason: HealthReason) -> CredentialHealth {
        CredentialHealth {
            name: name.to_owned(),
            reason: reason.into(),
            message: String::new(),
            refused_in: Vec::new(),
        }
    }

    #[test]
    fn the_worst_that_a_live_gateway_tells_counts() {
        let (board, start) = (Board::default(), Instant::now());
        let later = |seconds| start + Duration::from_secs(seconds);
        let ready = || vec![health("a", HealthReason::Ready), health("b", HealthReason::Ready)];
        board.put("one".to_owned(), ready(), start);
        board.put(
            "two".to_owned(),
            vec![health("b", HealthReason::SecretMissing)],
            later(10),
        );
        let told = |seconds| -> Vec<(String, bool)> {
            let all = board.all(later(seconds)).into_iter();
            all.map(|health| (health.name.clone(), health.is_ready()))
                .collect()
        };
        let named = |a: bool, b: bool| vec![("a".to_owned(), a), ("b".to_owned(), b)];
        assert_eq!(told(10), named(true, false));
        assert_eq!(
            told(61),
            [("b".to_owned(), false)],
            "the first gateway tells no more"
        );
        board.put("two".to_owned(), ready(), later(62));
        assert_eq!(told(62), named(true, true));
    }
}
