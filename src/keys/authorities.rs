//! Which certification authority signs, and when the next one takes its place. Pure.
//!
//! A run trusts the authorities that stood in the Secret when its pod began, and no later one. So an authority is
//! published for as long as a run can last before it signs, and published on for a while after it was replaced, because
//! not every gateway reads a change at the same moment.

use jiff::{SignedDuration, Timestamp};

/// How authorities take turns.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// How long one signs.
    pub period: SignedDuration,
    /// The longest life of a run's pod.
    pub longest_run: SignedDuration,
    /// How long it may take until every gateway has read a change.
    pub settle: SignedDuration,
}

impl Settings {
    /// How long an authority is published before it signs.
    pub fn overlap(&self) -> SignedDuration {
        self.longest_run + self.settle
    }

    /// How long a certificate has to be valid: it waits for its turn, signs, and is published on.
    pub fn lifetime(&self) -> SignedDuration {
        self.period * 2 + self.overlap() * 4
    }
}

/// An authority that gateways read. `P` is its certificate and key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published<P> {
    /// Certificate and key.
    pub pair: P,
    /// When it was published.
    pub since: Timestamp,
    /// When its certificate ends.
    pub expires: Timestamp,
}

/// The second authority that gateways read: runs trust it, and it signs nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beside<P> {
    /// It signs after the current one.
    Next(Published<P>),
    /// It signed before the current one.
    Former {
        /// The authority.
        authority: Published<P>,
        /// When the current one took its place.
        replaced: Timestamp,
    },
}

/// What gateways read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorities<P> {
    /// The one that signs.
    pub current: Published<P>,
    /// Since when it does.
    pub signs_since: Timestamp,
    /// The other one.
    pub beside: Option<Beside<P>>,
}

/// Takes the step that is due at `now`; nothing if none is. `make` gives a new pair and when its certificate ends.
///
/// # Errors
/// No pair could be made.
pub fn step<P: Clone, E>(
    before: Option<&Authorities<P>>,
    now: Timestamp,
    settings: &Settings,
    mut make: impl FnMut() -> Result<(P, Timestamp), E>,
) -> Result<Option<Authorities<P>>, E> {
    let mut publish = || {
        make().map(|(pair, expires)| Published {
            pair,
            since: now,
            expires,
        })
    };
    let live = before.filter(|before| before.current.expires > now);
    let next = before.and_then(|before| match &before.beside {
        Some(Beside::Next(next)) if next.expires > now => Some(next),
        _ => None,
    });
    match (live, next) {
        // No run trusts what is made now, but neither could one go on with what is there.
        (None, None) => Ok(Some(Authorities {
            current: publish()?,
            signs_since: now,
            beside: Some(Beside::Next(publish()?)),
        })),
        (None, Some(next)) => Ok(Some(Authorities {
            current: next.clone(),
            signs_since: now,
            beside: None,
        })),
        (Some(live), Some(next)) if is_due(live, now, settings) && is_known(next, now, settings) => {
            Ok(Some(Authorities {
                current: next.clone(),
                signs_since: now,
                beside: Some(Beside::Former {
                    authority: live.current.clone(),
                    replaced: now,
                }),
            }))
        }
        // What waits for its turn signs nothing, so it can be replaced at any time.
        (Some(_), Some(next)) if next.expires.duration_since(now) > settings.overlap() * 2 => Ok(None),
        (Some(live), _) => match &live.beside {
            Some(Beside::Former { replaced, .. }) if now.duration_since(*replaced) < settings.settle => {
                Ok(None)
            }
            _ => Ok(Some(Authorities {
                beside: Some(Beside::Next(publish()?)),
                ..live.clone()
            })),
        },
    }
}

/// Whether the current authority has signed for long enough, or ends soon.
fn is_due<P>(live: &Authorities<P>, now: Timestamp, settings: &Settings) -> bool {
    now.duration_since(live.signs_since) >= settings.period
        || live.current.expires.duration_since(now) <= settings.overlap()
}

/// Whether every run that lives was given this authority, and it is good for a while.
fn is_known<P>(next: &Published<P>, now: Timestamp, settings: &Settings) -> bool {
    now.duration_since(next.since) >= settings.overlap()
        && next.expires.duration_since(now) > settings.overlap() * 2
}

#[cfg(test)]
mod tests;
