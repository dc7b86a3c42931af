//! The credential of one request: a value that stands in a Secret, or a token that is made for the run.

use std::sync::Arc;
use std::time::Instant;

use super::app::fault::AppFault;
use super::app::jwt::AppKey;
use super::app::tokens::{self, Order};
use super::fault::{Fault, unavailable};
use super::sent::Sent;
use super::store::Found;
use super::value::Value;
use crate::denial::Denial;
use crate::egress::Upstreams;
use cofferdam_policy::dimension::credentials::{App, Credential};
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::frozen::FrozenPolicy;
use cofferdam_policy::pattern::host::Host;
use cofferdam_wire::runner::RunIdentity;

impl Upstreams {
    /// The credential of this name as it is added to a request of the run to `host`.
    ///
    /// # Errors
    /// It cannot be.
    pub async fn sent(
        self: &Arc<Self>,
        policy: &FrozenPolicy,
        name: &str,
        (host, request): (&Host, &Request),
        run: &RunIdentity,
    ) -> Result<Sent, Denial> {
        let finding = async {
            let frozen = policy.credential(name).ok_or(Fault::Gone)?;
            self.find(frozen, (host, request), run).await
        };
        finding.await.map_err(|fault| unavailable(name, &fault))
    }

    async fn find(
        self: &Arc<Self>,
        frozen: &Credential,
        (host, request): (&Host, &Request),
        run: &RunIdentity,
    ) -> Result<Sent, Fault> {
        match (self.credentials.find(frozen, host, Instant::now())?, &frozen.app) {
            (Found::Sent(sent), _) => Ok(sent),
            (Found::Key(key), Some(app)) => {
                let scope = app.scope(host, request).map_err(AppFault::from)?;
                Sent::new(frozen, self.token(frozen, app, key, scope, run).await?)
            }
            (Found::Key(_), None) => Err(Fault::Changed),
        }
    }

    /// Has every token made that a run needs for the repositories that it names itself, before one of them is asked for.
    ///
    /// # Errors
    /// The credential cannot be sent to `host`.
    pub async fn prepare_credential(
        self: &Arc<Self>,
        policy: &FrozenPolicy,
        name: &str,
        host: &Host,
        run: &RunIdentity,
    ) -> Result<(), Denial> {
        let preparing = async {
            let frozen = policy.credential(name).ok_or(Fault::Gone)?;
            let found = self.credentials.find(frozen, host, Instant::now())?;
            if let (Found::Key(key), Some(app)) = (found, &frozen.app) {
                for scope in app.scopes() {
                    self.token(frozen, app, Arc::clone(&key), scope, run).await?;
                }
            }
            Ok(())
        };
        preparing.await.map_err(|fault: Fault| unavailable(name, &fault))
    }

    async fn token(
        self: &Arc<Self>,
        frozen: &Credential,
        app: &App,
        key: Arc<AppKey>,
        scope: Vec<String>,
        run: &RunIdentity,
    ) -> Result<Arc<Value>, Fault> {
        let order = Order {
            run: run.uid.clone(),
            credential: frozen.name.clone(),
            app: app.clone(),
            key,
            scope,
        };
        Ok(tokens::get(self, order).await?)
    }
}
