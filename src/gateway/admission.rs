//! The steps that every request for the outside passes before its own room serves it.

use std::future::Future;
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::caller::{Admitter, Caller};
use crate::denial::Denial;
use crate::egress::Upstreams;
use crate::egress::limits::ConnectionSlot;
use crate::evidence::{Recorder, RequestLog};
use crate::transport::failures::Failures;
use crate::transport::in_flight::{Flow, Held, InFlight};
use crate::transport::sockets::UNREAD_BYTES;
use crate::transport::{Received, answer};
use cofferdam_service::http1::Head;
use cofferdam_wire::denial::DenialCode;

/// Admits requests for the outside, or answers them with the reason why not.
pub struct Admission {
    /// Knows the callers.
    pub admitter: Arc<Admitter>,
    /// Knows how many connections a run may have.
    pub upstreams: Arc<Upstreams>,
    /// Takes the records.
    pub recorder: Arc<Recorder>,
    /// Counts the bytes in flight.
    pub in_flight: Arc<InFlight>,
    /// Bounds the answers to callers who are not proven.
    pub failures: Arc<Failures>,
}

/// A request whose caller may act now.
pub struct Admitted {
    /// The client's connection.
    pub stream: TcpStream,
    /// The request's head.
    pub head: Head,
    /// Who sent it.
    pub caller: Caller,
    /// Takes the request's records.
    pub log: RequestLog,
    /// The run's right to this connection, held until it is closed.
    pub slot: ConnectionSlot,
    /// Counts the connection's bytes in flight.
    pub flow: Flow,
    /// Bytes that wait while the connection is not read.
    pub unread: Held,
}

impl Admission {
    /// Admits a request; `None`: it was refused and is answered. `authority` gives the authority of its target.
    pub async fn admit(&self, received: Received, authority: fn(&str) -> &str) -> Option<Admitted> {
        let Received {
            stream,
            head,
            peer,
            number,
            pending,
        } = received;
        let caller = match self.admitter.admit_for_egress(&head, peer).await {
            Ok(caller) => caller,
            Err(denial) => {
                if self.failures.refused(peer, &head.target, &denial, "caller") {
                    answer::refuse(stream, &denial).await;
                }
                return None;
            }
        };
        let authority = authority(&head.target);
        let log = RequestLog::new(&self.recorder, number, &caller, authority, &head.method);
        match self.upstreams.enter(&caller).await {
            Ok(slot) => {
                drop(pending);
                let flow = Flow::new(&self.in_flight, &caller.run.uid);
                let unread = flow.hold(UNREAD_BYTES);
                Some(Admitted {
                    stream,
                    head,
                    caller,
                    log,
                    slot,
                    flow,
                    unread,
                })
            }
            Err(denial) => {
                // Still counted as a pending handshake: a refused run has no slot that would bound its connections.
                log.denied(&denial);
                answer::refuse(stream, &denial).await;
                None
            }
        }
    }
}

impl Admitted {
    /// `opening`, unless the run's share of memory is exceeded before it ends.
    pub async fn within_share<T>(
        &self,
        opening: impl Future<Output = Result<T, Denial>>,
    ) -> Result<T, Denial> {
        within_share(&self.unread, opening).await
    }

    /// Records that the request is denied, and answers it.
    pub async fn refuse(self, denial: &Denial) {
        self.log.denied(denial);
        answer::refuse(self.stream, denial).await;
        drop(self.slot);
    }
}

/// `opening`, unless `held` must be given back before it ends.
pub async fn within_share<T>(
    held: &Held,
    opening: impl Future<Output = Result<T, Denial>>,
) -> Result<T, Denial> {
    tokio::select! {
        opened = opening => opened,
        () = held.evicted() => {
            let message = "the run's connections hold more of the gateway's memory than its share: read from those that are open";
            Err(Denial::new(DenialCode::LimitExceeded, message))
        }
    }
}
