use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::testing::at;
use cofferdam_policy::refusal::{Layer, LayerKind};

const SPACE: &str = "tenant-a";

fn open(uid: &str, created: i64) -> Open {
    Open {
        created: at(created),
        name: format!("name-of-{uid}"),
        uid: uid.to_owned(),
        begun: false,
        wanted: true,
    }
}

fn ceiling(value: i32) -> Met<i32> {
    let layer = Layer {
        kind: LayerKind::SandboxPolicy,
        name: "default".to_owned(),
    };
    Met::by(value, &layer, "limits.maxRunning")
}

fn ask(queue: &Queue, uid: &str, runs: &[Open], value: i32) -> Turn {
    queue.ask(SPACE, uid, &ceiling(value), || runs.to_vec()).0
}

fn position(turn: &Turn) -> usize {
    match turn {
        Turn::Go => 0,
        Turn::Wait(place) => place.position,
    }
}

#[test]
fn a_place_is_told_in_one_line_and_read_back() {
    let queue = Queue::default();
    let runs: Vec<Open> = (0..3).map(|n| open(&format!("run-{n}"), n)).collect();
    assert_eq!(ask(&queue, "run-0", &runs, 1), Turn::Go);
    ask(&queue, "run-1", &runs, 1);
    let Turn::Wait(place) = ask(&queue, "run-2", &runs, 1) else {
        panic!("there is one slot")
    };
    let text = place.to_string();
    assert_eq!(
        text,
        "2nd of 2 in the queue of namespace tenant-a; 1 run is live, SandboxPolicy/default (limits.maxRunning) allows 1."
    );
    assert_eq!(Place::told(&text), Some(2));
    assert_eq!(Place::told("The run is suspended."), None);
}

#[rstest]
#[case(1, "st")]
#[case(2, "nd")]
#[case(3, "rd")]
#[case(4, "th")]
#[case(11, "th")]
#[case(112, "th")]
#[case(121, "st")]
fn ordinals(#[case] number: usize, #[case] suffix: &str) {
    assert_eq!(ordinal(number), suffix);
}

#[test]
fn near_positions_are_news_and_far_ones_only_when_they_move_by_a_tenth() {
    let place = |position| Place {
        position,
        length: 500,
        namespace: SPACE.to_owned(),
        live: 4,
        ceiling: Met::built_in(4),
    };
    for (position, told, news) in [
        (3, None, true),
        (3, Some(3), false),
        (3, Some(4), true),
        (200, Some(210), false),
        (200, Some(223), true),
        (10, Some(11), true),
    ] {
        assert_eq!(place(position).is_news(told), news, "{told:?} → {position}");
    }
}

#[test]
fn the_older_goes_first_also_where_it_was_not_looked_at_yet() {
    let queue = Queue::default();
    let runs = [open("old", 1), open("young", 2)];
    assert_eq!(position(&ask(&queue, "young", &runs, 1)), 2);
    assert_eq!(ask(&queue, "old", &runs, 1), Turn::Go);
    assert_eq!(position(&ask(&queue, "young", &runs, 1)), 1);
    assert!(
        queue.note(SPACE, "old", Standing::Aside),
        "the one that waits is told"
    );
    assert_eq!(ask(&queue, "young", &runs, 1), Turn::Go);
}

#[test]
fn whoever_is_set_aside_or_does_not_want_to_start_holds_nobody_up() {
    let queue = Queue::default();
    let mut suspended = open("suspended", 0);
    suspended.wanted = false;
    let runs = [suspended, open("refused", 1), open("good", 2)];
    assert_eq!(position(&ask(&queue, "good", &runs, 1)), 2);
    queue.note(SPACE, "refused", Standing::Aside);
    assert_eq!(ask(&queue, "good", &runs, 1), Turn::Go);
}

#[test]
fn after_a_start_of_the_controller_the_workloads_that_the_caches_show_count() {
    let queue = Queue::default();
    let mut live = open("live", 5);
    live.begun = true;
    let runs = [open("old", 1), live];
    let Turn::Wait(place) = ask(&queue, "old", &runs, 1) else {
        panic!("the slot is taken")
    };
    assert_eq!((place.position, place.live), (1, 1));
    assert_eq!(ask(&Queue::default(), "old", &runs, 2), Turn::Go);
}

#[test]
fn a_slot_is_kept_while_the_caches_lag_and_goes_with_a_run_that_is_gone() {
    let queue = Queue::default();
    let both = [open("first", 1), open("second", 2)];
    assert_eq!(ask(&queue, "first", &both, 1), Turn::Go);
    assert_eq!(ask(&queue, "first", &both, 1), Turn::Go, "it keeps what it has");
    assert_eq!(position(&ask(&queue, "second", &both, 1)), 1);
    assert_eq!(
        ask(&queue, "second", &both[1..], 1),
        Turn::Go,
        "deleted runs hold nothing"
    );
}

#[test]
fn looking_twice_wakes_nobody() {
    let queue = Queue::default();
    let runs: Vec<Open> = (0..4).map(|n| open(&format!("run-{n}"), n)).collect();
    let wakes = |uid: &str| queue.ask(SPACE, uid, &ceiling(1), || runs.clone()).1;
    assert!(!wakes("run-0"), "nobody waits yet");
    for uid in ["run-1", "run-2", "run-3"] {
        wakes(uid);
    }
    for uid in ["run-0", "run-1", "run-2", "run-3"] {
        assert!(!wakes(uid), "{uid}");
    }
    assert!(queue.forget(SPACE, "run-0"));
    assert!(!queue.forget(SPACE, "run-0"));
}

#[test]
fn of_many_that_ask_at_once_no_more_than_the_ceiling_get_a_slot() {
    let queue = Queue::default();
    let runs: Vec<Open> = (0..32).map(|n| open(&format!("run-{n:02}"), n)).collect();
    std::thread::scope(|scope| {
        for run in &runs {
            scope.spawn(|| {
                for _ in 0..50 {
                    ask(&queue, &run.uid, &runs, 3);
                }
            });
        }
    });
    for run in &runs {
        ask(&queue, &run.uid, &runs, 3);
    }
    let live: Vec<&str> = runs
        .iter()
        .filter(|run| ask(&queue, &run.uid, &runs, 3) == Turn::Go)
        .map(|run| run.uid.as_str())
        .collect();
    assert_eq!(live, ["run-00", "run-01", "run-02"]);
}

#[derive(Clone, Debug)]
enum Step {
    Arrive,
    End(usize),
    Suspend(usize),
    Resume(usize),
    Ceiling(i32),
    Look(usize),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Arrive),
        3 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Suspend),
        1 => any::<usize>().prop_map(Step::Resume),
        1 => (1..5i32).prop_map(Step::Ceiling),
        6 => any::<usize>().prop_map(Step::Look),
        1 => Just(Step::Restart),
    ]
}

/// A namespace as the controller would work it.
#[derive(Default)]
struct Model {
    queue: Queue,
    runs: Vec<Open>,
    live: Vec<String>,
    made: usize,
    ceiling: i32,
}

impl Model {
    /// Looks at a run as a reconciler does; the order of age is checked whenever one starts.
    fn look(&mut self, index: usize) -> Result<(), TestCaseError> {
        let run = self.runs[index].clone();
        if self.live.contains(&run.uid) {
            self.queue.note(SPACE, &run.uid, Standing::Holding);
            return Ok(());
        }
        if !run.wanted {
            self.queue.note(SPACE, &run.uid, Standing::Aside);
            return Ok(());
        }
        if ask(&self.queue, &run.uid, &self.runs, self.ceiling) == Turn::Go {
            let limit = usize::try_from(self.ceiling).unwrap();
            prop_assert!(self.live.len() < limit, "{} live of {limit}", self.live.len());
            let older = self
                .runs
                .iter()
                .find(|other| other.wanted && other.created < run.created && !self.live.contains(&other.uid));
            prop_assert_eq!(older, None);
            self.live.push(run.uid.clone());
            self.runs[index].begun = true;
        }
        Ok(())
    }

    fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let count = self.runs.len();
        match step {
            Step::Arrive => {
                self.made += 1;
                let created = i64::try_from(self.made).unwrap();
                self.runs.push(open(&format!("run-{created:04}"), created));
            }
            Step::Ceiling(value) => self.ceiling = *value,
            Step::Restart => self.queue = Queue::default(),
            _ if count == 0 => {}
            Step::Look(n) => self.look(n % count)?,
            Step::End(n) => {
                let uid = self.runs[n % count].uid.clone();
                if self.live.contains(&uid) {
                    self.queue.note(SPACE, &uid, Standing::Aside);
                    self.runs.remove(n % count);
                    self.live.retain(|live| *live != uid);
                    self.queue.forget(SPACE, &uid);
                }
            }
            Step::Suspend(n) | Step::Resume(n) => {
                let index = n % count;
                if !self.runs[index].begun {
                    self.runs[index].wanted = matches!(step, Step::Resume(_));
                    self.look(index)?;
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn never_more_than_the_ceiling_are_live_the_oldest_go_first_and_none_starves(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let mut model = Model { ceiling: 2, ..Model::default() };
        for step in &steps {
            model.take(step)?;
        }
        // From here on everyone wants to start and what is live ends: in as many rounds as there are runs all have had
        // their turn.
        for run in &mut model.runs {
            run.wanted = true;
        }
        for _ in 0..=model.runs.len() {
            for index in 0..model.runs.len() {
                model.look(index)?;
            }
            for uid in std::mem::take(&mut model.live) {
                model.queue.note(SPACE, &uid, Standing::Aside);
                model.runs.retain(|run| run.uid != uid);
                model.queue.forget(SPACE, &uid);
            }
        }
        prop_assert_eq!(model.runs, vec![]);
    }
}
