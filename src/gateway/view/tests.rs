use super::super::pods::testing::{RUN_UID, identity, live_pod, preparing};
use super::*;
use crate::api::Reason;
use crate::api::names::ANNOTATION_STOP;
use kube::ResourceExt;

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
    view.set_open(Source::Pods, true);
    view.set_open(Source::Runs, true);
    view.confirm(now);
    view
}

fn admit(view: &Arc<View>, kind: Kind, now: Instant) -> Result<Admission, &'static str> {
    admit_as(view, "pod-1", ADDRESS, kind, now)
}

fn admit_as(
    view: &Arc<View>,
    uid: &str,
    peer: &str,
    kind: Kind,
    now: Instant,
) -> Result<Admission, &'static str> {
    view.admit(kind, &identity(uid, "any"), peer.parse().unwrap(), now)
        .map_err(|denial| denial.code)
}

fn is_cut(admission: &Admission) -> Option<CutCause> {
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
    for source in [Source::Pods, Source::Runs] {
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
    assert!(view.table().admissions.is_empty());
}
