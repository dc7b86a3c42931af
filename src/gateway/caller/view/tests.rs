use super::super::pods::testing::{RUN_UID, identity, live_pod, preparing};
use super::ceilings::testing::{allow, cluster_policy, deny_all, no_tunnels};
use super::*;
use cofferdam_api::Reason;
use cofferdam_api::names::ANNOTATION_STOP;
use cofferdam_policy::dimension::requests::Request;
use cofferdam_policy::pattern::host::Host;
use cofferdam_policy::pattern::path::Target;
use kube::ResourceExt;
use proptest::prelude::*;
use serde_json::json;
use std::net::SocketAddr;

const ADDRESS: &str = "10.244.0.7";

fn run() -> RunIdentity {
    RunIdentity {
        namespace: "team-a".to_owned(),
        name: "fix".to_owned(),
        uid: RUN_UID.to_owned(),
    }
}

fn pod(uid: &str, address: &str) -> SandboxPod {
    SandboxPod::project(&live_pod(uid, address)).unwrap()
}

fn view(now: Instant) -> Arc<View> {
    let view = Arc::new(View::default());
    view.replace_pods(vec![pod("pod-1", ADDRESS)]);
    view.replace_runs([run()]);
    view.replace_cluster_policies(Vec::new());
    view.replace_namespaces([("team-a".to_owned(), red())]);
    for source in Source::ALL {
        view.set_open(source, true);
    }
    view.confirm(now);
    view
}

fn red() -> Labels {
    Labels::from([("team".to_owned(), "red".to_owned())])
}

/// An open connection of the agent to `one.example:443`, which is at `address`.
fn on_its_way(view: &Arc<View>, address: &str, now: Instant) -> Result<Caller, &'static str> {
    let agent = admit(view, Kind::Egress, now)?;
    let host = Host::parse("one.example").unwrap();
    agent
        .meet_ceilings(&host, 443)
        .map_err(|denial| denial.code.as_str())?;
    let address = SocketAddr::new(address.parse().unwrap(), 443);
    agent
        .dialled(&host, address, Passing::Unread)
        .map_err(|denial| denial.code.as_str())?;
    Ok(agent)
}

fn admit(view: &Arc<View>, kind: Kind, now: Instant) -> Result<Caller, &'static str> {
    admit_as(view, "pod-1", ADDRESS, kind, now)
}

fn admit_as(
    view: &Arc<View>,
    uid: &str,
    peer: &str,
    kind: Kind,
    now: Instant,
) -> Result<Caller, &'static str> {
    view.admit(kind, &identity(uid, "any"), peer.parse().unwrap(), now)
        .map_err(|denial| denial.code.as_str())
}

fn is_cut(admission: &Caller) -> Option<CutCause> {
    admission.cut.cause.get().copied()
}

#[test]
fn every_end_cuts_the_agent_at_once_and_leaves_the_sidecar() {
    type Change = fn(&View);
    let changes: [(&str, Change, CutCause); 5] = [
        (
            "run deleted",
            |view| view.set_run(run(), false),
            CutCause::RunEnded,
        ),
        (
            "stop",
            |view| {
                let mut stopped = live_pod("pod-1", ADDRESS);
                stopped
                    .annotations_mut()
                    .insert(ANNOTATION_STOP.to_owned(), "Cancelled".to_owned());
                view.put_pod(SandboxPod::project(&stopped).unwrap());
            },
            CutCause::RunEnded,
        ),
        (
            "deleting",
            |view| {
                view.put_pod(SandboxPod {
                    deleting: true,
                    ..pod("pod-1", ADDRESS)
                });
            },
            CutCause::RunEnded,
        ),
        ("runs relisted", |view| view.replace_runs([]), CutCause::RunEnded),
        (
            "hole",
            |view| view.lose_isolation("pod-1"),
            CutCause::IsolationLost,
        ),
    ];
    for (name, change, cause) in changes {
        let now = Instant::now();
        let view = view(now);
        let agent = admit(&view, Kind::Egress, now).unwrap();
        let sidecar = admit(&view, Kind::Collect, now).unwrap();
        assert_eq!(is_cut(&agent), None, "{name}");
        change(&view);
        assert_eq!(is_cut(&agent), Some(cause), "{name}");
        assert_eq!(is_cut(&sidecar), None, "{name}");
        assert_eq!(admit(&view, Kind::Egress, now).err(), Some("RunEnded"), "{name}");
        assert!(admit(&view, Kind::Collect, now).is_ok(), "{name}");
    }
}

/// A pod whose agent started `ago` seconds ago and may work for 60.
fn timed(ago: i64) -> SandboxPod {
    let started = jiff::Timestamp::now() - jiff::SignedDuration::from_secs(ago);
    SandboxPod {
        agent_started_at: Some(started.to_string()),
        active_deadline: Some(Duration::from_mins(1)),
        ..pod("pod-1", ADDRESS)
    }
}

#[test]
fn at_the_deadline_the_exit_closes_and_the_sidecar_hands_over() {
    let now = Instant::now();
    let view = view(now);
    view.put_pod(timed(50));
    let (before, after) = (now + Duration::from_secs(5), now + Duration::from_secs(12));
    view.confirm(after);
    let agent = admit(&view, Kind::Egress, before).unwrap();
    let sidecar = admit(&view, Kind::Collect, before).unwrap();
    view.cut_overdue(before);
    assert_eq!(is_cut(&agent), None);
    // A new connection is refused before anybody looks at the old ones, and does not keep them.
    assert_eq!(admit(&view, Kind::Egress, after).err(), Some("RunEnded"));
    view.cut_overdue(after);
    assert_eq!(is_cut(&agent), Some(CutCause::RunEnded));
    assert_eq!(is_cut(&sidecar), None);
    assert!(admit(&view, Kind::Collect, after).is_ok());
}

#[test]
fn pod_that_is_seen_late_is_cut_at_once() {
    let now = Instant::now();
    let view = view(now);
    view.put_pod(timed(10));
    let agent = admit(&view, Kind::Egress, now).unwrap();
    view.put_pod(timed(70));
    assert_eq!(is_cut(&agent), Some(CutCause::RunEnded));
}

#[test]
fn agent_whose_start_is_not_shown_has_its_time_from_its_first_connection() {
    let now = Instant::now();
    let view = view(now);
    view.replace_pods(Vec::new());
    let unstarted = || SandboxPod {
        agent_started_at: None,
        ..timed(0)
    };
    view.put_pod(unstarted());
    let agent = admit(&view, Kind::Egress, now).unwrap();
    view.put_pod(unstarted());
    view.cut_overdue(now + Duration::from_secs(59));
    assert_eq!(is_cut(&agent), None);
    view.cut_overdue(now + Duration::from_mins(1));
    assert_eq!(is_cut(&agent), Some(CutCause::RunEnded));
}

#[test]
fn pod_that_loses_its_job_loses_all() {
    let now = Instant::now();
    let view = view(now);
    let connections = [Kind::Egress, Kind::Collect].map(|kind| admit(&view, kind, now).unwrap());
    let mut orphan = live_pod("pod-1", ADDRESS);
    orphan.owner_references_mut().clear();
    view.put_pod(SandboxPod::project(&orphan).unwrap());
    for connection in &connections {
        assert_eq!(is_cut(connection), Some(CutCause::RunEnded));
    }
    assert_eq!(admit(&view, Kind::Egress, now).err(), Some("PodMismatch"));
}

#[test]
fn a_pod_that_is_gone_cuts_all() {
    let now = Instant::now();
    for relist in [false, true] {
        let view = view(now);
        let sidecar = admit(&view, Kind::Collect, now).unwrap();
        let mut states = view.states("pod-1").unwrap();
        if relist {
            view.replace_pods(Vec::new());
        } else {
            view.remove_pod("pod-1");
        }
        assert_eq!(is_cut(&sidecar), Some(CutCause::RunEnded));
        assert_eq!(admit(&view, Kind::Collect, now).err(), Some("PodUnknown"));
        assert!(states.borrow_and_update().agent_started_at.is_some() && states.has_changed().is_err());
    }
}

#[test]
fn two_owners_of_an_address_are_none() {
    let now = Instant::now();
    let view = view(now);
    let first = admit(&view, Kind::Egress, now).unwrap();
    view.put_pod(pod("pod-2", ADDRESS));
    assert_eq!(is_cut(&first), Some(CutCause::RunEnded));
    assert_eq!(admit(&view, Kind::Egress, now).err(), Some("AddressShared"));
    view.remove_pod("pod-2");
    assert!(admit(&view, Kind::Egress, now).is_ok());
}

#[test]
fn a_stolen_token_does_not_work_from_another_pod() {
    let now = Instant::now();
    let view = view(now);
    view.put_pod(pod("pod-2", "10.244.0.8"));
    assert_eq!(
        admit_as(&view, "pod-1", "10.244.0.8", Kind::Egress, now).err(),
        Some("PeerMismatch")
    );
    assert_eq!(
        admit_as(&view, "pod-1", "10.10.0.1", Kind::Egress, now).err(),
        Some("PeerAddressRewritten")
    );
    assert!(admit_as(&view, "pod-1", "::ffff:10.244.0.7", Kind::Egress, now).is_ok());
}

#[test]
fn an_address_that_is_used_again_does_not_inherit() {
    let now = Instant::now();
    let view = view(now);
    view.remove_pod("pod-1");
    view.put_pod(pod("pod-2", ADDRESS));
    assert_eq!(
        admit_as(&view, "pod-1", ADDRESS, Kind::Egress, now).err(),
        Some("PodUnknown")
    );
    assert!(admit_as(&view, "pod-2", ADDRESS, Kind::Egress, now).is_ok());
}

#[test]
fn a_view_that_is_not_current_admits_nobody_and_then_cuts() {
    let start = Instant::now();
    let view = view(start);
    let agent = admit(&view, Kind::Egress, start).unwrap();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert!(admit(&view, Kind::Egress, at(15)).is_ok());
    assert_eq!(admit(&view, Kind::Egress, at(16)).err(), Some("Stale"));
    view.cut_if_stale(at(30));
    assert_eq!(is_cut(&agent), None);
    view.cut_if_stale(at(31));
    assert_eq!(is_cut(&agent), Some(CutCause::Stale));
    view.confirm(at(32));
    assert!(admit(&view, Kind::Egress, at(33)).is_ok());
}

#[test]
fn a_closed_watch_is_not_made_current_by_lists() {
    for source in Source::ALL {
        let now = Instant::now();
        let view = view(now);
        view.set_open(source, false);
        assert_eq!(admit(&view, Kind::Egress, now).err(), Some("Stale"));
        view.confirm(now + Duration::from_secs(10));
        view.set_open(source, true);
        assert_eq!(
            admit(&view, Kind::Egress, now + Duration::from_secs(16)).err(),
            Some("Stale")
        );
    }
}

#[test]
fn ends_are_not_taken_back_by_a_later_status() {
    let now = Instant::now();
    let view = view(now);
    view.put_pod(SandboxPod {
        agent_ended: true,
        stop: Some("Cancelled".to_owned()),
        ..pod("pod-1", ADDRESS)
    });
    view.put_pod(pod("pod-1", ADDRESS));
    assert_eq!(admit(&view, Kind::Egress, now).err(), Some("RunEnded"));
    let state = view.states("pod-1").unwrap().borrow().clone();
    assert!(state.agent_ended && state.stop == Some(Reason::Cancelled));
}

#[test]
fn the_state_grows_by_one_with_every_change() {
    let view = View::default();
    let preparing = SandboxPod::project(&preparing(live_pod("pod-1", ADDRESS))).unwrap();
    view.put_pod(preparing);
    let states = view.states("pod-1").unwrap();
    assert_eq!(*states.borrow(), RunState::default());
    view.put_pod(pod("pod-1", ADDRESS));
    assert_eq!(states.borrow().revision, 1);
    view.lose_isolation("pod-1");
    assert_eq!(
        (states.borrow().revision, states.borrow().stop),
        (2, Some(Reason::EgressNotEnforced))
    );
    view.put_pod(SandboxPod {
        agent_ended: true,
        stop: Some("no such reason".to_owned()),
        ..pod("pod-1", ADDRESS)
    });
    assert_eq!(
        (states.borrow().revision, states.borrow().stop),
        (3, Some(Reason::InternalError))
    );
}

#[test]
fn a_mutated_pod_is_noticed_once_and_admitted_never() {
    let now = Instant::now();
    let view = view(now);
    let mutated = SandboxPod {
        live: "sha256:other".to_owned(),
        ..pod("pod-3", "10.244.0.9")
    };
    let noticed = view.put_pod(mutated.clone()).unwrap();
    assert_eq!((noticed.run, noticed.live.as_str()), (run(), "sha256:other"));
    assert_eq!(view.put_pod(mutated), None);
    for kind in [Kind::Prepare, Kind::Egress, Kind::Collect] {
        assert_eq!(
            admit_as(&view, "pod-3", "10.244.0.9", kind, now).err(),
            Some("PodMutated")
        );
    }
}

#[test]
fn a_right_that_is_given_back_leaves_nothing() {
    let now = Instant::now();
    let view = view(now);
    drop(admit(&view, Kind::Egress, now).unwrap());
    assert!(view.table().connections.is_empty());
}

#[test]
fn what_a_cluster_policy_comes_to_deny_is_cut_and_nothing_else() {
    type Change = fn(&View);
    const PRIVATE: &str = "203.0.113.30";
    let changes: [(&str, Change, bool); 9] = [
        (
            "denies all",
            |view| view.put_cluster_policy(cluster_policy("new", &json!({}), &deny_all())),
            true,
        ),
        (
            "allows another host",
            |view| view.put_cluster_policy(cluster_policy("new", &json!({}), &allow(&["two.example"]))),
            true,
        ),
        (
            "relisted",
            |view| view.replace_cluster_policies(vec![cluster_policy("new", &json!({}), &deny_all())]),
            true,
        ),
        (
            "no network for the address",
            |view| {
                let mut egress = allow(&["one.example"]);
                egress["rules"][0]["addresses"] = json!(["203.0.113.0/28"]);
                view.put_cluster_policy(cluster_policy("new", &json!({}), &egress));
            },
            true,
        ),
        (
            "a label brings it under one",
            |view| {
                view.put_cluster_policy(cluster_policy("new", &json!({"team": "blue"}), &deny_all()));
                view.put_namespace("team-a", Labels::from([("team".to_owned(), "blue".to_owned())]));
            },
            true,
        ),
        (
            "its namespace is gone",
            |view| view.remove_namespace("team-a"),
            true,
        ),
        (
            "allows this host too",
            |view| view.put_cluster_policy(cluster_policy("new", &json!({}), &allow(&["one.example"]))),
            false,
        ),
        (
            "over another namespace",
            |view| view.put_cluster_policy(cluster_policy("new", &json!({"team": "blue"}), &deny_all())),
            false,
        ),
        (
            "another namespace comes",
            |view| view.put_namespace("team-b", Labels::new()),
            false,
        ),
    ];
    for (name, change, is_cut_now) in changes {
        let now = Instant::now();
        let view = view(now);
        let agent = on_its_way(&view, PRIVATE, now).unwrap();
        let asking = admit(&view, Kind::Egress, now).unwrap();
        let sidecar = admit(&view, Kind::Collect, now).unwrap();
        change(&view);
        let cause = is_cut_now.then_some(CutCause::DeniedSinceAdmission);
        assert_eq!(is_cut(&agent), cause, "{name}");
        for other in [asking, sidecar] {
            assert_eq!(is_cut(&other), None, "{name}");
        }
        assert_eq!(on_its_way(&view, PRIVATE, now).is_err(), is_cut_now, "{name}");
    }
}

#[test]
fn tunnels_that_come_to_be_denied_are_cut_and_what_is_read_is_not() {
    let now = Instant::now();
    let view = view(now);
    let tunnel = on_its_way(&view, "203.0.113.30", now).unwrap();
    let read = admit(&view, Kind::Egress, now).unwrap();
    let host = Host::parse("one.example").unwrap();
    let request = Request {
        method: "GET".parse().unwrap(),
        target: Target::parse("/").unwrap(),
    };
    assert!(!read.meet_ceilings(&host, 443).unwrap().has_it_read());
    let address = "203.0.113.30:443".parse().unwrap();
    read.dialled(&host, address, Passing::Request(request)).unwrap();
    view.put_cluster_policy(no_tunnels("none"));
    assert_eq!(is_cut(&tunnel), Some(CutCause::DeniedSinceAdmission));
    assert_eq!(is_cut(&read), None);
    assert!(read.meet_ceilings(&host, 443).unwrap().has_it_read());
    // What would pass unread does not: a new connection is read from its first byte.
    let unread = on_its_way(&view, "203.0.113.30", now);
    assert_eq!(unread.err(), Some("DeniedSinceAdmission"));
    view.remove_cluster_policy("none");
    assert!(!read.meet_ceilings(&host, 443).unwrap().has_it_read());
    assert!(on_its_way(&view, "203.0.113.30", now).is_ok());
}

#[test]
fn a_policy_that_changes_while_an_address_is_dialled_is_met_again() {
    let now = Instant::now();
    let view = view(now);
    let agent = admit(&view, Kind::Egress, now).unwrap();
    let host = Host::parse("one.example").unwrap();
    assert!(agent.meet_ceilings(&host, 443).is_ok());
    view.put_cluster_policy(cluster_policy("new", &json!({}), &deny_all()));
    assert_eq!(is_cut(&agent), Some(CutCause::DeniedSinceAdmission));
    let dialled = agent.dialled(&host, "203.0.113.30:443".parse().unwrap(), Passing::Unread);
    assert_eq!(dialled.unwrap_err().code.as_str(), "DeniedSinceAdmission");
}

proptest! {
    /// Whatever cluster policies come: what one more of them leaves was left before.
    #[test]
    fn no_cluster_policy_widens(
        before in proptest::collection::vec((0..3_usize, any::<bool>()), 0..4),
        more in (0..3_usize, any::<bool>()),
        host in 0..3_usize,
    ) {
        const HOSTS: [&str; 3] = ["one.example", "two.example", "three.example"];
        let policy = |name: &str, (host, selects): (usize, bool)| {
            let egress = if host == 0 { deny_all() } else { allow(&HOSTS[..host]) };
            cluster_policy(name, &json!({"team": if selects { "red" } else { "blue" }}), &egress)
        };
        let now = Instant::now();
        let view = view(now);
        let agent = admit(&view, Kind::Egress, now).unwrap();
        let host = Host::parse(HOSTS[host]).unwrap();
        for (index, drawn) in before.into_iter().enumerate() {
            view.put_cluster_policy(policy(&format!("p{index}"), drawn));
        }
        let passed_before = agent.meet_ceilings(&host, 443).is_ok();
        view.put_cluster_policy(policy("q", more));
        prop_assert!(passed_before || agent.meet_ceilings(&host, 443).is_err());
    }
}
