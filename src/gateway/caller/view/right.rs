//! The right of one admitted connection: where it goes is noted and judged by the cluster policies of now, and it can be cut.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::ceilings::{Ceiling, Left};
use super::destination::{Destination, Passing};
use super::table::{Cut, CutCause};
use super::{Kind, View};
use crate::denial::Denial;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::runner::RunIdentity;

/// The admitted sender of one connection's request, with a right that can be cut. Dropping it gives the right back.
#[derive(Debug)]
pub struct Caller {
    /// The run.
    pub run: RunIdentity,
    /// Uid of its pod.
    pub pod_uid: String,
    /// The kind of its token.
    pub kind: Kind,
    /// Hash of its frozen policy.
    pub policy_hash: String,
    /// Where the connection comes from.
    pub peer: IpAddr,
    pub(super) cut: Arc<Cut>,
    pub(super) destination: Arc<Mutex<Option<Destination>>>,
    /// The ceiling of its namespace that was met last, and the revision of the cluster policies that it is from.
    pub(super) ceiling: Mutex<Option<(u64, Arc<Ceiling>)>>,
    pub(super) view: Arc<View>,
    pub(super) id: u64,
}

impl Caller {
    /// Returns when the connection must end.
    pub async fn cut(&self) -> CutCause {
        self.cut.token.cancelled().await;
        self.cut.cause.get().copied().unwrap_or(CutCause::RunEnded)
    }

    /// Notes where the connection is to go and meets it, and what was noted of it before, with the cluster policies of
    /// now; from here on it is cut when one of them comes to deny it. Gives what they leave of it.
    ///
    /// # Errors
    /// A cluster policy denies it since the run was admitted.
    pub fn meet_ceilings(&self, host: &Host, port: u16) -> Result<Left, Denial> {
        let noted = {
            let mut destination = self.destination.lock();
            let nothing = || Destination {
                host: host.clone(),
                port,
                address: None,
                passing: Passing::Nothing,
            };
            destination.get_or_insert_with(nothing).clone()
        };
        noted.judge(&*self.ceiling()?)
    }

    /// Notes the address that was dialled and what goes there: cluster policies may have changed meanwhile.
    ///
    /// # Errors
    /// As [`Self::meet_ceilings`].
    pub fn dialled(&self, host: &Host, address: SocketAddr, passing: Passing) -> Result<(), Denial> {
        let destination = Destination {
            host: host.clone(),
            port: address.port(),
            address: Some(address.ip()),
            passing,
        };
        *self.destination.lock() = Some(destination.clone());
        destination.judge(&*self.ceiling()?).map(drop)
    }

    /// Notes what goes through the connection next, where it goes to being noted already. It is not judged: whoever
    /// judges it does so by the ceiling of a [`Self::ceiling_revision`] that is read after this.
    pub fn passes(&self, passing: Passing) {
        if let Some(destination) = self.destination.lock().as_mut() {
            destination.passing = passing;
        }
    }

    /// Grows whenever cluster policies, or which of them apply, may have changed.
    pub fn ceiling_revision(&self) -> u64 {
        self.view.revision.load(Ordering::Acquire)
    }

    /// Whether the cluster policies of now leave the run its way out while the archive does not acknowledge its records.
    pub fn continues_without_evidence(&self) -> bool {
        self.ceiling()
            .is_ok_and(|ceiling| ceiling.continues_without_evidence())
    }

    /// The cluster policies over the run's namespace. The view is locked only where they may have changed.
    ///
    /// What is judged by them was noted before: a change that comes before the judgement is judged by, and one that comes
    /// after it finds the destination noted and cuts it.
    fn ceiling(&self) -> Result<Arc<Ceiling>, Denial> {
        let mut known = self.ceiling.lock();
        if let Some((revision, ceiling)) = &*known
            && *revision == self.ceiling_revision()
        {
            return Ok(Arc::clone(ceiling));
        }
        let mut table = self.view.table();
        let ceiling = table.ceilings.over(&self.run.namespace)?;
        // Under the lock of the view it does not move.
        *known = Some((self.ceiling_revision(), Arc::clone(&ceiling)));
        Ok(ceiling)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.view.table().connections.remove(&self.id);
    }
}
