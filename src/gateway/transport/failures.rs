//! Requests of callers who are not proven: answered only so often for each address, and logged by count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bucket::{Bucket, Rate};
use crate::denial::{Denial, printable};

/// Failures of one address that get an answer; further ones are closed at once.
const ANSWERED: Rate = Rate {
    per_second: 20,
    burst: 100,
};
/// The log has one line for an address in this time.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Addresses that are known; the failures of further ones get no answer, and one line together.
const ADDRESSES: usize = 4096;

/// Counts failures by address.
#[derive(Debug, Default)]
pub struct Failures(Mutex<HashMap<IpAddr, Count>>);

#[derive(Debug)]
struct Count {
    bucket: Bucket,
    logged_at: Instant,
    unlogged: u64,
}

/// What is to be done about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    /// Whether the caller gets an answer.
    answer: bool,
    /// `Some`: it is to be logged, together with so many that were not.
    log: Option<u64>,
}

impl Failures {
    /// Notes a failure of a caller at `peer`, and calls `log` with the count of those before it that were not logged
    /// where a line is due. Returns whether the caller gets an answer.
    pub fn failed(&self, peer: IpAddr, log: impl FnOnce(u64)) -> bool {
        let noted = self.note(peer, Instant::now());
        if let Some(unlogged) = noted.log {
            log(unlogged);
        }
        noted.answer
    }

    /// [`Failures::failed`] of a request for `target` that was refused with `denial`; `what` is the word for it in the log.
    pub fn refused(&self, peer: IpAddr, target: &str, denial: &Denial, what: &str) -> bool {
        self.failed(peer, |unlogged| {
            let request = printable(target);
            tracing::info!(%peer, code = %denial.code, request, unlogged, "{what} refused");
        })
    }

    fn note(&self, peer: IpAddr, now: Instant) -> Noted {
        let mut all = self.0.lock();
        if all.len() >= ADDRESSES && !all.contains_key(&peer) {
            all.retain(|_, count| now.saturating_duration_since(count.logged_at) < LOG_EVERY);
        }
        let is_full = all.len() >= ADDRESSES;
        match all.get_mut(&peer) {
            Some(count) => {
                let answer = count.bucket.take(ANSWERED, now);
                if now.saturating_duration_since(count.logged_at) < LOG_EVERY {
                    count.unlogged += 1;
                    return Noted { answer, log: None };
                }
                count.logged_at = now;
                let log = Some(std::mem::take(&mut count.unlogged));
                Noted { answer, log }
            }
            None if is_full => Noted {
                answer: false,
                log: None,
            },
            None => {
                let mut bucket = Bucket::full(ANSWERED, now);
                let answer = bucket.take(ANSWERED, now);
                let count = Count {
                    bucket,
                    logged_at: now,
                    unlogged: 0,
                };
                all.insert(peer, count);
                Noted { answer, log: Some(0) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flood_of_one_address_is_a_line_and_leaves_others_alone() {
        let failures = Failures::default();
        let (hostile, honest) = ("10.244.0.7".parse().unwrap(), "10.244.0.8".parse().unwrap());
        let start = Instant::now();
        let noted: Vec<Noted> = (0..3_000).map(|_| failures.note(hostile, start)).collect();
        assert_eq!(noted.iter().filter(|one| one.log.is_some()).count(), 1);
        assert_eq!(noted.iter().filter(|one| one.answer).count(), 100);
        let first = Noted {
            answer: true,
            log: Some(0),
        };
        assert_eq!(failures.note(honest, start), first);
        let later = failures.note(hostile, start + LOG_EVERY);
        let expected = Noted {
            answer: true,
            log: Some(2_999),
        };
        assert_eq!(later, expected);
    }

    #[test]
    fn addresses_are_bounded_and_forgotten() {
        let failures = Failures::default();
        let start = Instant::now();
        let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a00_0000 + number));
        let answered = |now, from: u32, to: u32| {
            (from..to)
                .filter(|number| failures.note(address(*number), now).answer)
                .count()
        };
        assert_eq!(answered(start, 0, 5_000), ADDRESSES);
        assert_eq!(failures.0.lock().len(), ADDRESSES);
        assert_eq!(answered(start + LOG_EVERY, 5_000, 5_100), 100);
        assert_eq!(failures.0.lock().len(), 100);
    }
}
