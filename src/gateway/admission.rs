//! The steps that every request for the outside passes before its own room serves it.

use std::sync::Arc;

use tokio::net::TcpStream;

use crate::caller::{Admitter, Caller};
use crate::denial::{Denial, printable};
use crate::egress::Upstreams;
use crate::egress::limits::ConnectionSlot;
use crate::evidence::{Recorder, RequestLog};
use crate::transport::{Received, answer};
use cofferdam_service::http1::Head;

/// Admits requests for the outside, or answers them with the reason why not.
pub struct Admission {
    /// Knows the callers.
    pub admitter: Arc<Admitter>,
    /// Knows how many connections a run may have.
    pub upstreams: Arc<Upstreams>,
    /// Takes the records.
    pub recorder: Arc<Recorder>,
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
                tracing::info!(%peer, code = %denial.code, request = printable(&head.target), "caller refused");
                answer::refuse(stream, &denial).await;
                return None;
            }
        };
        let authority = authority(&head.target);
        let log = RequestLog::new(&self.recorder, number, &caller, authority, &head.method);
        match self.upstreams.enter(&caller.run.uid) {
            Ok(slot) => {
                drop(pending);
                Some(Admitted {
                    stream,
                    head,
                    caller,
                    log,
                    slot,
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
    /// Records that the request is denied, and answers it.
    pub async fn refuse(self, denial: &Denial) {
        self.log.denied(denial);
        answer::refuse(self.stream, denial).await;
        drop(self.slot);
    }
}
