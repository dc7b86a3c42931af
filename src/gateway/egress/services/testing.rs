//! Services without a cluster.

use super::*;
use k8s_openapi::api::core::v1::Service;
use serde_json::{Value, json};

/// Services by `namespace/name`, and how often they were read.
#[derive(Clone, Default)]
pub(crate) struct FakeServices {
    pub(crate) all: Arc<Mutex<HashMap<String, Service>>>,
    pub(crate) reads: Arc<Mutex<usize>>,
}

impl FakeServices {
    /// There is a Service with this spec now.
    pub(crate) fn put(&self, name: &str, spec: &Value) {
        let service = serde_json::from_value(json!({"spec": spec})).unwrap();
        self.all.lock().insert(name.to_owned(), service);
    }
}

impl ServiceSource for FakeServices {
    fn read<'a>(&'a self, name: &'a ServiceName) -> BoxFuture<'a, Result<Option<Service>, String>> {
        *self.reads.lock() += 1;
        let found = self.all.lock().get(&name.to_string()).cloned();
        Box::pin(async move { Ok(found) })
    }
}

/// The spec of an ordinary Service.
pub(crate) fn spec(address: &str, port: u16) -> Value {
    json!({
        "type": "ClusterIP", "clusterIP": address, "clusterIPs": [address], "selector": {"app": "litellm"},
        "ports": [{"port": port, "targetPort": 4000, "protocol": "TCP"}],
    })
}

/// The rules of an installation in `cofferdam-system`.
pub(crate) fn rules() -> ServiceRules {
    ServiceRules {
        domain: "cluster.local".to_owned(),
        closed: vec!["cofferdam-system".to_owned(), "cofferdam-credentials".to_owned()],
    }
}
