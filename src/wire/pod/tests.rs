use super::*;
use k8s_openapi::api::core::v1::{SELinuxOptions, SecurityContext};
use serde_json::json;

/// With our uid, or without any.
fn spec(uid: Option<i64>) -> PodSpec {
    let context = json!({"runAsNonRoot": true, "runAsUser": uid, "runAsGroup": uid});
    let pod = json!({"runAsNonRoot": true, "runAsUser": uid, "runAsGroup": uid, "fsGroup": uid});
    serde_json::from_value(json!({
        "containers": [{"name": "agent", "image": "one", "env": [{"name": "A", "value": "1"}], "securityContext": context}],
        "initContainers": [{"name": "prepare", "image": "two", "securityContext": context}],
        "runtimeClassName": "gvisor",
        "securityContext": pod,
    }))
    .unwrap()
}

fn fixed() -> PodSpec {
    spec(Some(SANDBOX_UID))
}

fn pod(spec: &mut PodSpec) -> &mut PodSecurityContext {
    spec.security_context.as_mut().unwrap()
}

fn agent(spec: &mut PodSpec) -> &mut SecurityContext {
    spec.containers[0].security_context.as_mut().unwrap()
}

fn prepare(spec: &mut PodSpec) -> &mut SecurityContext {
    spec.init_containers.as_mut().unwrap()[0]
        .security_context
        .as_mut()
        .unwrap()
}

fn level() -> SELinuxOptions {
    SELinuxOptions {
        level: Some("s0:c26,c5".into()),
        ..SELinuxOptions::default()
    }
}

/// Whether `mutate` leaves the digest of `built` as it is.
fn is_kept(built: &PodSpec, mutate: impl Fn(&mut PodSpec)) -> bool {
    let mut live = built.clone();
    mutate(&mut live);
    pod_digest(built).unwrap() == pod_digest(&live).unwrap()
}

/// What `OpenShift` assigns at admission.
fn assign(live: &mut PodSpec) {
    pod(live).fs_group = Some(1_000_650_000);
    pod(live).se_linux_options = Some(level());
    agent(live).run_as_user = Some(1_000_650_000);
    prepare(live).run_as_user = Some(1_000_650_000);
}

#[test]
fn what_scheduler_and_admission_set_lawfully_changes_nothing() {
    let lawful: [fn(&mut PodSpec); 10] = [
        |s| s.node_name = Some("node-a".into()),
        |s| s.priority = Some(0),
        |s| s.priority_class_name = Some("low".into()),
        |s| s.preemption_policy = Some("Never".into()),
        |s| s.overhead = Some([("memory".to_owned(), serde_json::from_value(json!("1Mi")).unwrap())].into()),
        |s| s.node_selector = Some([("pool".to_owned(), "sandboxes".to_owned())].into()),
        |s| {
            s.tolerations = Some(vec![
                serde_json::from_value(json!({"operator": "Exists"})).unwrap(),
            ]);
        },
        |s| s.affinity = Some(serde_json::from_value(json!({"podAntiAffinity": {}})).unwrap()),
        |s| {
            let spread = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"});
            s.topology_spread_constraints = Some(vec![serde_json::from_value(spread).unwrap()]);
        },
        |s| s.containers[0].image_pull_policy = Some("Always".into()),
    ];
    for built in [fixed(), spec(None)] {
        for (index, mutate) in lawful.iter().enumerate() {
            assert!(is_kept(&built, mutate), "{index}");
        }
    }
}

#[test]
fn everything_else_changes_the_digest() {
    let mutations: [fn(&mut PodSpec); 13] = [
        |s| s.containers[0].image = Some("other".into()),
        |s| s.containers[0].env = None,
        |s| s.init_containers = None,
        |s| s.runtime_class_name = Some("runc".into()),
        |s| s.host_network = Some(true),
        |s| s.host_users = Some(false),
        |s| s.service_account_name = Some("other".into()),
        |s| s.security_context = None,
        |s| pod(s).supplemental_groups = Some(vec![7]),
        |s| pod(s).run_as_non_root = None,
        |s| agent(s).privileged = Some(true),
        |s| agent(s).se_linux_options = Some(level()),
        |s| {
            pod(s).se_linux_options = Some(SELinuxOptions {
                type_: Some("spc_t".into()),
                ..level()
            });
        },
    ];
    for built in [fixed(), spec(None)] {
        for (index, mutate) in mutations.iter().enumerate() {
            assert!(!is_kept(&built, mutate), "{index}");
        }
    }
}

#[test]
fn a_uid_that_the_platform_assigns_is_taken_where_it_was_left_to_it() {
    let left = spec(None);
    assert!(is_kept(&left, assign));
    assert!(is_kept(&left, |s| {
        pod(s).run_as_user = Some(1001);
        pod(s).run_as_group = Some(1002);
        agent(s).run_as_group = Some(1003);
    }));
}

#[test]
fn root_is_never_taken_for_assigned() {
    let root: [fn(&mut PodSpec); 6] = [
        |s| pod(s).run_as_user = Some(0),
        |s| pod(s).run_as_group = Some(0),
        |s| pod(s).fs_group = Some(0),
        |s| agent(s).run_as_user = Some(0),
        |s| prepare(s).run_as_user = Some(0),
        |s| agent(s).run_as_group = Some(0),
    ];
    for (index, mutate) in root.iter().enumerate() {
        for built in [fixed(), spec(None)] {
            assert!(!is_kept(&built, mutate), "{index}");
        }
    }
}

#[test]
fn our_own_uid_changes_for_nobody() {
    let changes: [fn(&mut PodSpec); 9] = [
        assign,
        |s| pod(s).run_as_user = Some(1001),
        |s| pod(s).run_as_user = None,
        |s| pod(s).run_as_group = Some(1001),
        |s| pod(s).fs_group = Some(1001),
        |s| pod(s).se_linux_options = Some(level()),
        |s| agent(s).run_as_user = Some(1001),
        |s| prepare(s).run_as_group = None,
        |s| *s = spec(None),
    ];
    for (index, mutate) in changes.iter().enumerate() {
        assert!(!is_kept(&fixed(), mutate), "{index}");
    }
}

#[test]
fn a_pod_left_to_the_platform_is_never_ours_with_another_uid() {
    assert_ne!(pod_digest(&fixed()).unwrap(), pod_digest(&spec(None)).unwrap());
    assert!(!is_kept(&spec(None), |s| *s = fixed()));
}
