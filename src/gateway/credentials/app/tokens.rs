//! Installation tokens of GitHub Apps: made when a run first needs one, renewed while it lives, revoked at its end.
//!
//! A token belongs to one run and to the repositories of one owner, and only this process holds it: another replica of the
//! gateway has others made, and what a killed process held ends by itself within the hour.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::{join, join_all};
use jiff::{SignedDuration, Timestamp};

use super::api::{Api, Issued};
use super::fault::AppFault;
use super::held::{Ending, Failed, Held, Slot, State};
use super::jwt::AppKey;
use crate::credentials::value::Value;
use crate::egress::Upstreams;
use cofferdam_policy::dimension::credentials::App;
use cofferdam_wire::record::RecordEvent;

/// A token is renewed when it lasts no longer than this.
const RENEW: SignedDuration = SignedDuration::from_mins(5);
/// One that lasts no longer than this is not sent any more.
const LAST: SignedDuration = SignedDuration::from_secs(30);
/// Longest time for the revocation of a token: the end of a process waits for it.
const REVOKE_TIMEOUT: Duration = Duration::from_secs(8);

/// What a request wants.
pub struct Order {
    /// Uid of the run.
    pub run: String,
    /// The credential, as it was frozen.
    pub credential: String,
    /// Its App.
    pub app: App,
    /// The App's private key as it stands now.
    pub key: Arc<AppKey>,
    /// The repositories.
    pub scope: Vec<String>,
}

/// The token for an order: the one that is held, or a new one.
///
/// # Errors
/// [`AppFault`].
pub async fn get(upstreams: &Arc<Upstreams>, order: Order) -> Result<Arc<Value>, AppFault> {
    let slot = Slot {
        run: order.run.clone(),
        credential: order.credential.clone(),
        scope: order.scope.clone(),
    };
    let state = upstreams.tokens.state(&slot)?;
    let upstreams = Arc::clone(upstreams);
    // In a task of its own: a token that was made for a request which is given up is held all the same.
    let getting = tokio::spawn(async move {
        let mut state = state.lock().await;
        held_or_new(&upstreams, &slot, &order, &mut state).await
    });
    getting
        .await
        .unwrap_or_else(|_| Err(AppFault::Unreachable("the task that asks ended".to_owned())))
}

/// Revokes the tokens of runs that are not `live`, and those that were renewed, and records what became of each. A call
/// that is given up leaves the next one what it did not revoke.
pub async fn revoke(upstreams: &Upstreams, live: impl Fn(&str) -> bool) {
    let tokens = &upstreams.tokens;
    // Without the lock of their slots: a request of a run that goes on does not wait for GitHub here.
    let renewed = tokens.ending().into_iter().map(|ending| async move {
        end(upstreams, &ending).await;
    });
    let over = tokens.over(live).into_iter().map(|(slot, state)| async move {
        let mut state = state.lock().await;
        state.ended = true;
        if let Some(ending) = tokens.close(&slot, state.held.take()) {
            end(upstreams, &ending).await;
        }
    });
    join(join_all(renewed), join_all(over)).await;
}

/// Records of every token that is left that it was not revoked.
pub fn give_up(upstreams: &Upstreams) {
    let record = |slot: &Slot, held: &Held| {
        let fault = AppFault::Unreachable("the gateway ended before it answered".to_owned());
        record_unknown(upstreams, slot, held, &fault);
    };
    for ending in upstreams.tokens.ending() {
        record(&ending.0, &ending.1);
    }
    for (slot, state) in upstreams.tokens.over(|_| false) {
        // Whoever holds the lock makes a token now, of which nothing is known yet.
        let held = state.try_lock().ok().and_then(|mut state| state.held.take());
        if let Some(held) = held {
            record(&slot, &held);
        }
    }
}

async fn held_or_new(
    upstreams: &Upstreams,
    slot: &Slot,
    order: &Order,
    state: &mut State,
) -> Result<Arc<Value>, AppFault> {
    if state.ended {
        return Err(AppFault::Ended);
    }
    let now = Timestamp::now();
    let lasts = |held: &&Held, least: SignedDuration| held.expires.duration_since(now) > least;
    if let Some(held) = state.held.as_ref().filter(|held| lasts(held, RENEW)) {
        return Ok(Arc::clone(&held.value));
    }
    let made = match &state.failed {
        Some(failed) if failed.at.elapsed() < failed.lasts => Err(failed.fault.clone()),
        _ => {
            let made = issue(upstreams, order, now).await;
            let failed = made.as_ref().err();
            state.failed = failed.map(|fault| Failed::again(state.failed.as_ref(), fault));
            made
        }
    };
    match made {
        Ok(Issued { value, expires }) => {
            let held = Held {
                app: order.app.clone(),
                value: Arc::new(value),
                expires,
            };
            let value = Arc::clone(&held.value);
            record(upstreams, slot, |credential, repositories| {
                RecordEvent::CredentialIssued {
                    credential,
                    repositories,
                    permissions: order.app.permissions_shown(),
                    expires: expires.to_string(),
                }
            });
            // Not revoked here: the request would wait for that.
            if let Some(before) = state.held.replace(held) {
                upstreams.tokens.end_later(slot, before);
            }
            Ok(value)
        }
        Err(fault) => {
            // What could not be renewed is good for as long as it lasts.
            match state.held.as_ref().filter(|held| lasts(held, LAST)) {
                Some(held) => Ok(Arc::clone(&held.value)),
                None => Err(fault),
            }
        }
    }
}

async fn issue(upstreams: &Upstreams, order: &Order, now: Timestamp) -> Result<Issued, AppFault> {
    if let Some(seconds) = upstreams.tokens.is_held_off(&order.app) {
        return Err(AppFault::RateLimited(seconds));
    }
    let api = Api {
        upstreams,
        name: &order.credential,
        app: &order.app,
    };
    let issued = api.issue(&order.key, &order.scope, now).await;
    match &issued {
        Err(AppFault::RateLimited(seconds)) => upstreams.tokens.hold_off(&order.app, *seconds),
        Err(AppFault::Rejected) => {
            let credentials = &upstreams.credentials;
            credentials.note_rejected(&order.credential, &order.key, Instant::now());
        }
        Err(fault) => {
            tracing::info!(credential = order.credential, %fault, "no installation token");
        }
        Ok(_) => {}
    }
    issued
}

/// Revokes a token and records what became of it.
async fn end(upstreams: &Upstreams, ending: &Ending) {
    let (slot, held) = &**ending;
    if held.expires > Timestamp::now() {
        revoke_one(upstreams, slot, held).await;
    }
    upstreams.tokens.ended(ending);
}

async fn revoke_one(upstreams: &Upstreams, slot: &Slot, held: &Held) {
    let api = Api {
        upstreams,
        name: &slot.credential,
        app: &held.app,
    };
    let revoking = tokio::time::timeout(REVOKE_TIMEOUT, api.revoke(&held.value));
    let revoked = revoking.await;
    match revoked.unwrap_or_else(|_| Err(AppFault::Unreachable("no answer in 8 s".to_owned()))) {
        Ok(()) => record(upstreams, slot, |credential, repositories| {
            RecordEvent::CredentialRevoked {
                credential,
                repositories,
            }
        }),
        Err(fault) => record_unknown(upstreams, slot, held, &fault),
    }
}

fn record_unknown(upstreams: &Upstreams, slot: &Slot, held: &Held, fault: &AppFault) {
    record(upstreams, slot, |credential, repositories| {
        RecordEvent::RevocationUnknown {
            credential,
            repositories,
            expires: held.expires.to_string(),
            message: fault.to_string(),
        }
    });
}

fn record(upstreams: &Upstreams, slot: &Slot, event: impl FnOnce(String, Vec<String>) -> RecordEvent) {
    let event = event(slot.credential.clone(), slot.scope.clone());
    upstreams.recorder.record(&slot.run, None, event);
}
