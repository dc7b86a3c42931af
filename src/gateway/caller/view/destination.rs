//! Where an agent's connection goes and what goes through it, judged by the cluster policies of now.

use std::net::IpAddr;

use super::ceilings::{Ceiling, Left};
use crate::denial::{Denial, denied_since};
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::denial::DenialCode;

/// What goes through an agent's connection.
#[derive(Clone, Debug)]
pub enum Passing {
    /// Nothing yet.
    Nothing,
    /// Bytes that nobody reads.
    Unread,
    /// This request and its answer.
    Request(Request),
}

/// The host and port that an agent's connection goes to.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) host: Host,
    pub(super) port: u16,
    /// The address that was dialled, once it is known.
    pub(super) address: Option<IpAddr>,
    /// What goes there.
    pub(super) passing: Passing,
}

impl Destination {
    /// What the cluster policies of `ceiling` leave of it.
    pub(super) fn judge(&self, ceiling: &Ceiling) -> Result<Left, Denial> {
        let left = ceiling.judge(&self.host, self.port)?;
        if let (Some(address), Some(route)) = (self.address, &left.route)
            // Of a Service the address is its own.
            && route.service().is_none()
            && !route.permits_address(address)
        {
            return Err(address_denied(&self.host, address));
        }
        match (&self.passing, &left.route) {
            (Passing::Unread, _) if left.has_it_read() => return Err(unread_denied(&self.host)),
            (Passing::Request(request), Some(route)) => {
                let permitted = route.permit(request.clone()).into_result();
                permitted.map_err(denied_since)?;
            }
            (Passing::Unread | Passing::Request(_) | Passing::Nothing, _) => {}
        }
        Ok(left)
    }
}

fn unread_denied(host: &Host) -> Denial {
    let message = format!(
        "the cluster policies over the namespace want requests to {host} inspected since the run was admitted, and this \
         tunnel is not"
    );
    Denial::new(DenialCode::DeniedSinceAdmission, message)
}

fn address_denied(host: &Host, address: IpAddr) -> Denial {
    let message = format!(
        "{host} is at {address}, which the cluster policies over the namespace do not allow for it since the run was admitted"
    );
    Denial::new(DenialCode::DeniedSinceAdmission, message)
}
