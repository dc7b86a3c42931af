//! The law of the queue, its cost, and its life among threads.

mod model;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use jiff::Timestamp;
use rstest::rstest;

use super::{Answer, MAX_QUEUED, QueueFull, Restored, RunKey, Slots, WaitsFor, Woken};
use cofferdam_policy::refusal::{Layer, LayerKind};
use cofferdam_policy::source::Sourced;

thread_local! {
    /// Nodes of lines that were looked at.
    pub static VISITS: Cell<usize> = const { Cell::new(0) };
}

const NAMESPACE: &str = "team-a";

/// The run that was created in this second.
fn run(second: usize) -> RunKey {
    RunKey {
        created: Timestamp::from_second(i64::try_from(second).unwrap()).unwrap(),
        name: format!("run-{second}"),
        uid: format!("uid-{second}"),
    }
}

fn uid(second: usize) -> String {
    run(second).uid
}

fn ask(slots: &Slots, second: usize, ceiling: i32) -> (Answer, Vec<String>) {
    let (answer, woken) = slots.ask(NAMESPACE, run(second), ceiling);
    (answer, names(&woken))
}

fn names(woken: &Woken) -> Vec<String> {
    woken.iter().map(|run| run.name.clone()).collect()
}

fn waiting(second: usize) -> Restored {
    Restored::Waiting {
        run: run(second),
        ceiling: None,
    }
}

#[test]
fn starts_with_free_slots_do_not_wait_for_each_other() {
    let slots = Slots::default();
    for second in (0..100).rev() {
        assert_eq!(ask(&slots, second, 1000), (Answer::Start, vec![]), "{second}");
    }
    assert_eq!(slots.count(NAMESPACE), (100, 0));
}

#[test]
fn a_freed_slot_wakes_the_oldest_and_no_other() {
    let slots = Slots::default();
    assert_eq!(ask(&slots, 0, 1).0, Answer::Start);
    for second in [3, 1, 2] {
        assert_eq!(ask(&slots, second, 1), (Answer::Wait, vec![]));
    }
    assert_eq!(names(&slots.release(NAMESPACE, &uid(0))), ["run-1"]);
    assert_eq!(
        ask(&slots, 2, 1),
        (Answer::Wait, vec![]),
        "the slot is reserved for run-1"
    );
    assert_eq!(ask(&slots, 4, 1), (Answer::Wait, vec![]));
    assert_eq!(ask(&slots, 1, 1), (Answer::Start, vec![]));
    assert_eq!(ask(&slots, 1, 1), (Answer::Start, vec![]), "it holds it already");
    assert_eq!(slots.count(NAMESPACE), (1, 3));
}

#[test]
fn a_woken_run_that_leaves_hands_its_slot_on() {
    let slots = Slots::default();
    for second in 0..4 {
        ask(&slots, second, 1);
    }
    assert_eq!(names(&slots.release(NAMESPACE, &uid(0))), ["run-1"]);
    assert_eq!(names(&slots.leave(NAMESPACE, &uid(1))), ["run-2"]);
    assert_eq!(names(&slots.release(NAMESPACE, &uid(2))), ["run-3"]);
    assert!(slots.leave(NAMESPACE, &uid(1)).is_empty(), "again");
    assert_eq!(ask(&slots, 3, 1), (Answer::Start, vec![]));
}

#[test]
fn a_raised_ceiling_wakes_as_many_as_it_serves() {
    let slots = Slots::default();
    for second in 0..10 {
        ask(&slots, second, 1);
    }
    // Each run learns of the new ceiling when it asks; the policy's change makes all of them do so.
    assert_eq!(ask(&slots, 1, 4), (Answer::Start, vec![]));
    assert_eq!(
        ask(&slots, 9, 4),
        (Answer::Wait, vec![]),
        "runs 2 to 8 may be under the old one"
    );
    assert_eq!(ask(&slots, 2, 4), (Answer::Start, vec![]));
    for second in (4..9).rev() {
        assert_eq!(ask(&slots, second, 4), (Answer::Wait, vec![]));
    }
    assert_eq!(ask(&slots, 3, 4), (Answer::Start, vec![]));
    assert_eq!(slots.count(NAMESPACE), (4, 6));
}

#[test]
fn an_older_run_under_a_smaller_ceiling_is_not_overtaken() {
    let slots = Slots::default();
    ask(&slots, 0, 10);
    ask(&slots, 1, 10);
    assert_eq!(ask(&slots, 2, 1), (Answer::Wait, vec![]));
    assert_eq!(
        ask(&slots, 3, 10),
        (Answer::Wait, vec![]),
        "two of ten are live, but run-2 is older"
    );
    assert!(
        slots.release(NAMESPACE, &uid(0)).is_empty(),
        "one is live, as many as run-2 may see at most"
    );
    assert_eq!(names(&slots.release(NAMESPACE, &uid(1))), ["run-2"]);
    assert_eq!(ask(&slots, 2, 1), (Answer::Start, vec!["run-3".to_owned()]));
    assert_eq!(ask(&slots, 3, 10), (Answer::Start, vec![]));
}

#[test]
fn a_start_never_takes_what_an_older_run_of_the_front_needs() {
    let slots = Slots::default();
    // Run 1 may start beside no other, run 2 beside nine: had run 2 started first, run 1 could not any more.
    let known = |second, ceiling| Restored::Waiting {
        run: run(second),
        ceiling: Some(ceiling),
    };
    slots.restore(NAMESPACE, [known(1, 1), known(2, 10)]);
    assert_eq!(ask(&slots, 2, 10).0, Answer::Wait);
    assert_eq!(ask(&slots, 1, 1), (Answer::Start, vec!["run-2".to_owned()]));
}

#[test]
fn a_ceiling_of_nothing_holds_back_nobody() {
    let slots = Slots::default();
    assert_eq!(ask(&slots, 0, 0), (Answer::Wait, vec![]));
    assert_eq!(ask(&slots, 1, -3), (Answer::Wait, vec![]));
    assert_eq!(ask(&slots, 2, 1), (Answer::Start, vec![]));
    ask(&slots, 3, 1);
    ask(&slots, 4, 1);
    slots.release(NAMESPACE, &uid(2));
    assert_eq!(ask(&slots, 3, 0), (Answer::Wait, vec!["run-4".to_owned()]));
}

#[test]
fn a_slot_outlives_the_run_until_its_pods_are_gone() {
    let slots = Slots::default();
    ask(&slots, 0, 1);
    ask(&slots, 1, 1);
    assert!(
        slots.leave(NAMESPACE, &uid(0)).is_empty(),
        "its pod is still there"
    );
    assert_eq!(slots.count(NAMESPACE), (1, 1));
    assert_eq!(names(&slots.release(NAMESPACE, &uid(0))), ["run-1"]);
}

#[test]
fn a_run_with_a_workload_holds_a_slot_above_any_ceiling() {
    let slots = Slots::default();
    ask(&slots, 0, 1);
    ask(&slots, 1, 1);
    assert!(slots.hold(NAMESPACE, &uid(1)).is_empty());
    assert!(
        slots.hold(NAMESPACE, &uid(2)).is_empty(),
        "nobody has asked for it"
    );
    assert_eq!(slots.count(NAMESPACE), (3, 0));
    ask(&slots, 3, 1);
    assert!(slots.release(NAMESPACE, &uid(0)).is_empty());
    assert!(slots.release(NAMESPACE, &uid(1)).is_empty());
    assert_eq!(names(&slots.release(NAMESPACE, &uid(2))), ["run-3"]);
}

#[test]
fn a_restart_keeps_order_before_all_runs_were_looked_at() {
    let slots = Slots::default();
    slots.restore(
        NAMESPACE,
        [waiting(2), Restored::Holding(uid(0)), waiting(1), waiting(0)],
    );
    assert_eq!(
        slots.count(NAMESPACE),
        (1, 2),
        "run-0 holds, whatever else was said of it"
    );
    assert_eq!(
        ask(&slots, 9, 3),
        (Answer::Wait, vec![]),
        "both free slots are for older runs"
    );
    assert_eq!(ask(&slots, 9, 4), (Answer::Start, vec![]), "a third is not");
    slots.release(NAMESPACE, &uid(9));
    assert_eq!(ask(&slots, 8, 3), (Answer::Wait, vec![]));
    assert_eq!(
        slots.leave(NAMESPACE, &uid(1)).len(),
        1,
        "run-1 is suspended, so run-8 may start"
    );
    assert_eq!(ask(&slots, 2, 3).0, Answer::Start);
    assert_eq!(ask(&slots, 8, 3).0, Answer::Start);
}

#[test]
fn a_deletion_that_nobody_saw_loses_no_slot() {
    let slots = Slots::default();
    for second in 0..5 {
        ask(&slots, second, 2);
    }
    slots.ask("team-b", run(0), 1);
    assert!(slots.retain(|_, _| true).is_empty());
    let gone = [uid(0), uid(2)];
    let woken = slots.retain(|namespace, uid| namespace == "team-b" || !gone.contains(&uid.to_owned()));
    let woken: Vec<_> = woken
        .iter()
        .map(|(namespace, woken)| (namespace.as_str(), names(woken)))
        .collect();
    assert_eq!(woken, [(NAMESPACE, vec!["run-3".to_owned()])]);
    assert_eq!(slots.count(NAMESPACE), (1, 2));
    assert_eq!(slots.count("team-b"), (1, 0));
}

#[test]
fn the_queue_is_bounded_by_the_older_runs_in_it() {
    let slots = Slots::with_limit(2);
    for second in [10, 11, 12] {
        ask(&slots, second, 1);
    }
    let full = QueueFull {
        namespace: NAMESPACE.to_owned(),
        limit: 2,
    };
    assert_eq!(ask(&slots, 13, 1), (Answer::Refused(full.clone()), vec![]));
    assert_eq!(slots.count(NAMESPACE), (1, 2), "what is refused leaves no trace");
    assert_eq!(ask(&slots, 12, 1).0, Answer::Wait, "one that waits already stays");
    assert_eq!(
        ask(&slots, 5, 1).0,
        Answer::Wait,
        "an older one that was suspended has the older place"
    );
    assert_eq!(
        ask(&slots, 12, 1).0,
        Answer::Wait,
        "two older ones wait, but it was taken before"
    );
    assert_eq!(ask(&slots, 13, 10).0, Answer::Refused(full.clone()));
    assert_eq!(
        full.to_string(),
        "2 older runs of namespace team-a wait for a slot already, which is the limit of queued runs; create this run \
         again when fewer wait."
    );
    assert_eq!(slots.ask("team-b", run(13), 1).0, Answer::Start);
}

#[rstest]
#[case::built_in(
    Sourced::built_in(1000),
    "Waits for a slot in namespace team-a: the built-in limits.maxRunning allows 1000 live runs, and older runs start first."
)]
#[case::policy(
    Sourced::by(1, &Layer { kind: LayerKind::SandboxPolicy, name: "house-rules".to_owned() }, "limits.maxRunning"),
    "Waits for a slot in namespace team-a: SandboxPolicy/house-rules (limits.maxRunning) allows 1 live run, and older \
     runs start first."
)]
fn what_a_run_waits_for_is_told_without_what_changes(#[case] ceiling: Sourced<i32>, #[case] text: &str) {
    let waits_for = WaitsFor {
        namespace: NAMESPACE,
        ceiling: &ceiling,
    };
    assert_eq!(waits_for.to_string(), text);
}

#[test]
fn empty_namespaces_are_forgotten() {
    let slots = Slots::default();
    for second in 0..100 {
        let namespace = format!("team-{second}");
        slots.ask(&namespace, run(second), 1);
        slots.release(&namespace, &uid(second));
        slots.count(&namespace);
    }
    assert!(slots.spaces.lock().is_empty());
}

/// Nodes visited and runs woken while `act` runs.
fn visits(act: impl FnOnce()) -> usize {
    let before = VISITS.get();
    act();
    VISITS.get() - before
}

/// With 3,000 queued runs, no call visits more nodes than a few times the depth of a good tree; the sum over the whole
/// life of the queue is as bounded.
#[test]
fn every_call_costs_the_logarithm_of_the_queue() {
    const RUNS: usize = 3000;
    /// log2 of 3,000 is 11.6; a treap is about twice as deep at its deepest path, and a call goes down some six times.
    const MOST: usize = 350;
    let slots = Slots::with_limit(RUNS);
    slots.ask(NAMESPACE, run(0), 1);
    for second in 1..=RUNS {
        let cost = visits(|| assert_eq!(ask(&slots, second, 1).0, Answer::Wait));
        assert!(cost <= MOST, "ask of run {second}: {cost}");
    }
    let mut live = 0;
    let total = visits(|| {
        for second in 1..=RUNS {
            let mut woken = Vec::new();
            let cost = visits(|| woken = names(&slots.release(NAMESPACE, &uid(live))));
            assert_eq!(woken, [format!("run-{second}")]);
            assert!(cost <= MOST, "end of run {live}: {cost}");
            let cost = visits(|| assert_eq!(ask(&slots, second, 1), (Answer::Start, vec![])));
            assert!(cost <= MOST, "start of run {second}: {cost}");
            live = second;
        }
    });
    assert!(total <= 200 * RUNS, "{total} for all");
    assert_eq!(slots.count(NAMESPACE), (1, 0));
}

#[test]
fn the_limit_of_queued_runs_is_what_the_documentation_says() {
    assert_eq!(MAX_QUEUED, 1000);
}

/// Threads that ask, end and are woken at once: never more live than the ceiling, and in the end nothing is left.
#[test]
fn threads_share_a_namespace_without_losing_a_slot() {
    const CEILING: usize = 3;
    const EACH: usize = 200;
    let slots = Arc::new(Slots::default());
    let live = Arc::new(AtomicUsize::new(0));
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (slots, live) = (Arc::clone(&slots), Arc::clone(&live));
            std::thread::spawn(move || {
                let mut todo: Vec<RunKey> = (0..EACH).map(|n| run(thread + 4 * n)).collect();
                while let Some(run) = todo.pop() {
                    let uid = run.uid.clone();
                    let (answer, woken) = slots.ask(NAMESPACE, run, 3);
                    todo.extend(woken.iter().map(|run| RunKey::clone(run)));
                    if answer == Answer::Start {
                        // A run that another thread has started and ended meanwhile starts once more: harmless here.
                        assert!(live.fetch_add(1, Ordering::SeqCst) < CEILING);
                        live.fetch_sub(1, Ordering::SeqCst);
                        let woken = slots.release(NAMESPACE, &uid);
                        todo.extend(woken.iter().map(|run| RunKey::clone(run)));
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert!(slots.spaces.lock().is_empty());
}
