//! What gateways tell of credentials.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::RwLock;

use cofferdam_wire::credential::CredentialHealth;

/// What gateways tell of credentials, by name.
pub type Told = BTreeMap<String, CredentialHealth>;

/// What gateways told last.
#[derive(Debug, Default)]
pub struct Health(RwLock<Arc<Told>>);

impl Health {
    /// What they told.
    pub fn told(&self) -> Arc<Told> {
        Arc::clone(&self.0.read())
    }

    /// Keeps what they tell now, and gives the names of those of which it is something else than before.
    pub fn put(&self, all: Vec<CredentialHealth>) -> Vec<String> {
        let told: Told = all
            .into_iter()
            .map(|health| (health.name.clone(), health))
            .collect();
        let mut known = self.0.write();
        let both: BTreeSet<&String> = known.keys().chain(told.keys()).collect();
        let differs = |name: &&String| known.get(*name) != told.get(*name);
        let news: Vec<String> = both.into_iter().filter(differs).cloned().collect();
        *known = Arc::new(told);
        news
    }
}
