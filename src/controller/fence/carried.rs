//! Labels that a sandbox pod may carry. What selects pods by any other label leaves sandboxes out. Pure.

/// Prefixes and keys of labels that a sandbox pod may carry: ours, and those that Kubernetes, queues and meshes put on the
/// pods of Jobs. The admission guard refuses sandbox pods with any other; `_guard.tpl` of the chart repeats this list.
const PREFIXES: [&str; 6] = [
    "cofferdam.dev/",
    "batch.kubernetes.io/",
    "sidecar.istio.io/",
    "linkerd.io/",
    "topology.kubernetes.io/",
    "kueue.x-k8s.io/",
];
const KEYS: [&str; 2] = ["job-name", "controller-uid"];

/// Whether a sandbox pod may carry a label of this key.
pub fn carried(key: &str) -> bool {
    KEYS.contains(&key) || PREFIXES.iter().any(|prefix| key.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chart_repeats_the_list() {
        let chart = include_str!("../../../charts/cofferdam/templates/_guard.tpl");
        let quoted = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
            format!("[{}]", words.join(", "))
        };
        assert!(chart.contains(&format!("in {}", quoted(&KEYS))));
        assert!(chart.contains(&format!("{}.exists(p", quoted(&PREFIXES))));
    }
}
