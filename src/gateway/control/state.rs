//! What a pod's own containers ask of the gateway: who they are and how their run stands.

use std::time::Duration;

use http::StatusCode;

use super::answer::{Answer, json, refusal};
use crate::caller::{Caller, View};
use crate::denial::Denial;
use cofferdam_wire::control::{STATE_POLL_SECONDS, WhoAmI};
use cofferdam_wire::denial::DenialCode;

/// Who the gateway takes the caller for.
pub fn who_am_i(caller: &Caller) -> Answer {
    let peer = caller.peer.to_string();
    let who = WhoAmI {
        run: caller.run.clone(),
        pod_uid: caller.pod_uid.clone(),
        // The caller was admitted because its address is one of the pod's.
        pod_address: peer.clone(),
        peer_address: peer,
    };
    json(StatusCode::OK, &who)
}

/// How long an upload waits for the API to show that its pod's agent has started: the kubelet reports the start after
/// it, and an agent that ends at once can hand over its work before that report.
const START_REPORT_WAIT: Duration = Duration::from_secs(5);

/// Whether the API shows, now or within [`START_REPORT_WAIT`], that the pod's agent has started. A run has one upload
/// for all its pods: that of a pod which is given up before its agent starts must not stand in the way of its
/// successor's.
pub async fn agent_started(view: &View, caller: &Caller) -> bool {
    let Some(mut states) = view.states(&caller.pod_uid) else {
        return false;
    };
    let started = states.wait_for(|state| state.agent_started_at.is_some());
    matches!(tokio::time::timeout(START_REPORT_WAIT, started).await, Ok(Ok(_)))
}

/// The run's state, once it is newer than `after` or the poll's time is over.
pub async fn poll(view: &View, caller: &Caller, after: u64) -> Answer {
    let gone = || refusal(&Denial::new(DenialCode::RunEnded, "the pod is gone"));
    let Some(mut states) = view.states(&caller.pod_uid) else {
        return gone();
    };
    let changed = states.wait_for(|state| state.revision > after);
    match tokio::time::timeout(Duration::from_secs(STATE_POLL_SECONDS), changed).await {
        Ok(Ok(state)) => return json(StatusCode::OK, &*state),
        Ok(Err(_)) => return gone(),
        Err(_) => {}
    }
    let state = states.borrow().clone();
    json(StatusCode::OK, &state)
}
