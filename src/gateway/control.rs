//! Control routes for the containers of a run's pod, in origin form (`wire::control`).

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use tokio::net::TcpStream;

use super::Gateway;
use super::denial::{Denial, printable};
use super::head::Head;
use super::identity;
use super::limits::Silent;
use super::output;
use super::pods::Kind;
use super::prefixed::{Prefixed, serve_one};
use super::view::Admission;
use cofferdam_wire::control::{
    ISOLATION, IsolationLost, OUTPUT, Refusal, STATE, STATE_POLL_SECONDS, TRUST, WHOAMI, WhoAmI,
};
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::{RecordEvent, RequestId};

/// Longest body of a small call.
const BODY_LIMIT: usize = 16 * 1024;
/// Longest time for a small body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// What a control route answers.
pub type Answer = Response<Full<Bytes>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Route {
    WhoAmI,
    Trust,
    State { after: u64 },
    Output,
    Isolation,
}

impl Route {
    /// The route of a request.
    ///
    /// # Errors
    /// There is none of this path, or it has another method.
    fn of(method: &str, target: &str) -> Result<Self, Denial> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (expected, route) = match path {
            WHOAMI => ("GET", Self::WhoAmI),
            TRUST => ("GET", Self::Trust),
            STATE => ("GET", Self::State { after: after(query) }),
            OUTPUT => ("POST", Self::Output),
            ISOLATION => ("POST", Self::Isolation),
            _ => {
                return Err(Denial::new(
                    DenialCode::NotFound,
                    "there is no such control route",
                ));
            }
        };
        if method == expected {
            Ok(route)
        } else {
            let message = format!("the method of this control route is {expected}");
            Err(Denial::new(DenialCode::MethodNotAllowed, message))
        }
    }

    /// Whose route it is. The agent's token opens none: the forwarder adds it to whatever the agent says.
    fn is_for(self, kind: Kind) -> bool {
        match self {
            Self::WhoAmI => matches!(kind, Kind::Prepare | Kind::Collect),
            Self::Trust => kind == Kind::Prepare,
            Self::State { .. } | Self::Output | Self::Isolation => kind == Kind::Collect,
        }
    }
}

fn after(query: &str) -> u64 {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("after="));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Serves one origin-form request.
pub async fn serve(gateway: Arc<Gateway>, stream: TcpStream, head: Head, peer: IpAddr, silent: Silent) {
    let decided = decide(&gateway, &head, peer).await;
    let id = gateway.recorder.request_id(silent.number());
    drop(silent);
    if let Err(denial) = &decided {
        tracing::info!(%peer, code = %denial.code, request = printable(&head.target), "control call refused");
    }
    let slot = std::sync::Mutex::new(Some(decided));
    serve_one(Prefixed::new(head.received, stream), |request| {
        let taken = slot.lock().ok().and_then(|mut slot| slot.take());
        let (gateway, id) = (Arc::clone(&gateway), id.clone());
        async move {
            Ok::<_, Infallible>(match taken {
                Some(Ok((route, admission))) => answer(&gateway, route, admission, id, request).await,
                Some(Err(denial)) => refusal(denial.code, &denial.message),
                None => refusal(DenialCode::BadRequest, "one request a connection"),
            })
        }
    })
    .await;
}

async fn decide(gateway: &Arc<Gateway>, head: &Head, peer: IpAddr) -> Result<(Route, Admission), Denial> {
    let route = Route::of(&head.method, &head.target)?;
    let (kind, identity) = identity::authenticate(gateway, head, "authorization").await?;
    if !route.is_for(kind) {
        let message = "this token is not for this control route";
        return Err(Denial::new(DenialCode::AudienceRefused, message));
    }
    let admission = identity::admit_when_known(gateway, kind, &identity, peer).await?;
    Ok((route, admission))
}

async fn answer(
    gateway: &Gateway,
    route: Route,
    admission: Admission,
    id: RequestId,
    request: Request<Incoming>,
) -> Answer {
    match route {
        Route::WhoAmI => json(StatusCode::OK, &who_am_i(&admission)),
        Route::Trust => pem(gateway.trust.clone()),
        Route::State { after } => state(gateway, &admission, after).await,
        Route::Output if !agent_started(gateway, &admission) => refusal(
            DenialCode::AgentNotStarted,
            "there is no output before the agent has started",
        ),
        Route::Output => output::receive(gateway, &admission, request).await,
        Route::Isolation => isolation(gateway, &admission, id, request).await,
    }
}

/// Whether the API shows that the pod's agent has started. A run has one upload for all its pods: that of a pod which
/// is given up before its agent starts must not stand in the way of its successor's.
fn agent_started(gateway: &Gateway, admission: &Admission) -> bool {
    gateway
        .view
        .states(&admission.pod_uid)
        .is_some_and(|states| states.borrow().agent_started_at.is_some())
}

fn who_am_i(admission: &Admission) -> WhoAmI {
    let peer = admission.peer;
    WhoAmI {
        run: admission.run.clone(),
        pod_uid: admission.pod_uid.clone(),
        // The caller was admitted because its address is one of the pod's.
        pod_address: peer.to_string(),
        peer_address: peer.to_string(),
    }
}

async fn state(gateway: &Gateway, admission: &Admission, after: u64) -> Answer {
    let gone = || refusal(DenialCode::RunEnded, "the pod is gone");
    let Some(mut states) = gateway.view.states(&admission.pod_uid) else {
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

async fn isolation(
    gateway: &Gateway,
    admission: &Admission,
    id: RequestId,
    request: Request<Incoming>,
) -> Answer {
    let reading = Limited::new(request.into_body(), BODY_LIMIT).collect();
    let body = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    // Whatever it says, the sidecar called this route: the exit closes.
    gateway.view.lose_isolation(&admission.pod_uid);
    let lost = match body {
        Ok(Ok(body)) => serde_json::from_slice::<IsolationLost>(&body.to_bytes()).ok(),
        _ => None,
    };
    let understood = lost.is_some();
    let lost = lost.unwrap_or_else(|| IsolationLost {
        probe: "unknown".to_owned(),
        detail: "the report could not be read".to_owned(),
    });
    tracing::warn!(
        run = admission.run.uid,
        probe = printable(&lost.probe),
        "isolation lost"
    );
    let event = RecordEvent::IsolationLost {
        probe: printable(&lost.probe),
        detail: printable(&lost.detail),
    };
    gateway.recorder.record(&admission.run.uid, Some(id), event);
    if understood {
        empty(StatusCode::NO_CONTENT)
    } else {
        refusal(
            DenialCode::BadRequest,
            "the report could not be read; the exit is closed",
        )
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes.into()),
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

/// A refusal with its code, which decides the status.
pub fn refusal(code: DenialCode, message: &str) -> Answer {
    let refusal = Refusal {
        code: code.as_str().to_owned(),
        message: message.to_owned(),
    };
    json(code.class().control_status(), &refusal)
}

fn pem(bytes: Bytes) -> Answer {
    with_type(StatusCode::OK, "application/x-pem-file", bytes)
}

/// Bytes with their media type.
pub fn with_type(status: StatusCode, media_type: &'static str, bytes: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(bytes));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    answer
}

fn empty(status: StatusCode) -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("GET", "/v1/whoami", Ok(Route::WhoAmI))]
    #[case("GET", "/v1/state?after=2", Ok(Route::State { after: 2 }))]
    #[case("GET", "/v1/state?x=1&after=x", Ok(Route::State { after: 0 }))]
    #[case("POST", "/v1/output", Ok(Route::Output))]
    #[case("PUT", "/v1/output", Err(DenialCode::MethodNotAllowed))]
    #[case("GET", "/v1/output/", Err(DenialCode::NotFound))]
    #[case("GET", "//v1/whoami", Err(DenialCode::NotFound))]
    #[case("GET", "/metrics", Err(DenialCode::NotFound))]
    fn routes(#[case] method: &str, #[case] target: &str, #[case] expected: Result<Route, DenialCode>) {
        assert_eq!(Route::of(method, target).map_err(|denial| denial.code), expected);
    }

    #[test]
    fn the_agents_token_opens_no_control_route() {
        for route in [
            Route::WhoAmI,
            Route::Trust,
            Route::State { after: 0 },
            Route::Output,
            Route::Isolation,
        ] {
            assert!(!route.is_for(Kind::Egress));
            assert_eq!(route.is_for(Kind::Collect), route != Route::Trust);
            assert_eq!(
                route.is_for(Kind::Prepare),
                matches!(route, Route::WhoAmI | Route::Trust)
            );
        }
    }
}
