//! Control routes for the containers of a run's pod, in origin form (`wire::control`).

use std::net::IpAddr;
use std::sync::Arc;

use http::{Request, StatusCode};
use hyper::body::Incoming;

use crate::caller::{Admitter, Caller, View};
use crate::denial::Denial;
use crate::evidence::{ArchiveClient, Recorder};
use crate::inspect::Inspection;
use crate::transport::Received;
use crate::transport::failures::Failures;
use crate::transport::prefixed::prefixed;
use crate::transport::serve_one::serve_one;
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;
use cofferdam_wire::record::RequestId;

use self::answer::{Answer, refusal, with_type};
use self::routes::Route;

mod answer;
mod isolation;
mod output;
mod routes;
mod state;

/// Serves the control routes.
pub struct ControlRoutes {
    /// Admits the callers.
    pub admitter: Arc<Admitter>,
    /// Shows how runs stand.
    pub view: Arc<View>,
    /// Takes the records.
    pub recorder: Arc<Recorder>,
    /// Takes the runs' output.
    pub archive: ArchiveClient,
    /// Has the CAs that sandboxes trust besides the public ones.
    pub inspection: Arc<Inspection>,
    /// Bounds the answers to callers who are not proven.
    pub failures: Arc<Failures>,
}

impl ControlRoutes {
    /// Serves one origin-form request.
    pub async fn serve(&self, received: Received) {
        let Received {
            stream,
            head,
            peer,
            number,
            pending,
        } = received;
        let admitted = self.admit(&head, peer).await;
        let id = self.recorder.request_id(number, 1);
        // Of a caller who is refused the connection stays counted until it is closed.
        let pending = admitted.is_err().then_some(pending);
        if let Err(denial) = &admitted
            && !self.failures.refused(peer, &head.target, denial, "control call")
        {
            return;
        }
        serve_one(prefixed(head.received, stream), |request| async move {
            match admitted {
                Ok((route, caller)) => self.answer(route, &caller, id, request).await,
                Err(denial) => refusal(&denial),
            }
        })
        .await;
        drop(pending);
    }

    async fn admit(&self, head: &Head, peer: IpAddr) -> Result<(Route, Caller), Denial> {
        let route = Route::of(&head.method, &head.target)?;
        let (kind, identity) = self.admitter.authenticate(head, "authorization").await?;
        if !route.is_for(kind) {
            let message = "this token is not for this control route";
            return Err(Denial::new(DenialCode::AudienceRefused, message));
        }
        let caller = self.admitter.admit(kind, &identity, peer).await?;
        Ok((route, caller))
    }

    async fn answer(
        &self,
        route: Route,
        caller: &Caller,
        id: RequestId,
        request: Request<Incoming>,
    ) -> Answer {
        match route {
            Route::WhoAmI => state::who_am_i(caller),
            Route::Trust => match self.inspection.trust() {
                Ok(trust) => with_type(StatusCode::OK, "application/x-pem-file", trust),
                Err(denial) => refusal(&denial),
            },
            Route::State { after } => state::poll(&self.view, caller, after).await,
            Route::Output if !state::agent_started(&self.view, caller).await => {
                let message = "there is no output before the agent has started";
                refusal(&Denial::new(DenialCode::AgentNotStarted, message))
            }
            Route::Output => output::receive(&self.recorder, &self.archive, caller, request).await,
            Route::Isolation => isolation::receive(&self.view, &self.recorder, caller, id, request).await,
        }
    }
}
