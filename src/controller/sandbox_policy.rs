//! The status of each `SandboxPolicy`: whether runs can start under it.

pub mod judge;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{Api, Client, ResourceExt};

use self::judge::{Facts, judge};
use super::policy_status::{Context, Judged};
use cofferdam_api::{SandboxPolicy, SandboxPolicyStatus};
use cofferdam_policy::dimension::credentials::named_by;

impl Judged for SandboxPolicy {
    const UNREADABLE: &'static str = "a policy cannot be read: runs that name it end PolicyMissing";

    fn api(&self, client: &Client) -> Api<Self> {
        Api::namespaced(client.clone(), &self.namespace().unwrap_or_default())
    }

    fn judge(&self, context: &Context, now: Timestamp) -> SandboxPolicyStatus {
        judge(self, &facts(self, context), now)
    }

    fn conditions(status: &SandboxPolicyStatus) -> &[Condition] {
        &status.conditions
    }
}

fn facts(policy: &SandboxPolicy, context: &Context) -> Facts {
    let namespace = policy.namespace().unwrap_or_default();
    let stores = &context.stores;
    let cluster_policies = stores.cluster_policies();
    let named = named_by(Some(policy), cluster_policies.as_deref().unwrap_or_default());
    let credentials = stores.credentials(&named);
    Facts {
        namespace_labels: stores.namespace_labels(&namespace),
        cluster_policies,
        runtime_classes: stores.runtime_classes(),
        credentials,
        credential_health: stores.credential_health.told(),
        widening: stores.widening_policy(&namespace),
        selecting: stores.selecting_services.first_of(&namespace),
        readings: Arc::clone(&stores.readings),
    }
}
