use std::convert::Infallible;

use proptest::prelude::*;
use rstest::rstest;

use super::*;

const HOUR: i64 = 3600;
const SETTINGS: Settings = Settings {
    period: SignedDuration::from_hours(100),
    longest_run: SignedDuration::from_hours(10),
    settle: SignedDuration::from_hours(1),
};

fn at(hours: i64) -> Timestamp {
    Timestamp::from_second(hours * HOUR).unwrap()
}

/// Pairs are numbers, in the order in which they are made.
struct Maker(u32);

impl Maker {
    fn step(&mut self, before: Option<&Authorities<u32>>, now: Timestamp) -> Option<Authorities<u32>> {
        let made = step(before, now, &SETTINGS, || {
            self.0 += 1;
            Ok::<_, Infallible>((self.0, now + SETTINGS.lifetime()))
        });
        made.unwrap()
    }
}

fn published(pair: u32, hours: i64) -> Published<u32> {
    Published {
        pair,
        since: at(hours),
        expires: at(hours) + SETTINGS.lifetime(),
    }
}

fn with(signs_since: i64, beside: Option<Beside<u32>>) -> Authorities<u32> {
    Authorities {
        current: published(1, 0),
        signs_since: at(signs_since),
        beside,
    }
}

/// Which pairs stand there as current and beside, and whether the second one is the next.
fn shape(state: &Authorities<u32>) -> (u32, Option<(u32, bool)>) {
    let beside = state.beside.as_ref().map(|beside| match beside {
        Beside::Next(next) => (next.pair, true),
        Beside::Former { authority, .. } => (authority.pair, false),
    });
    (state.current.pair, beside)
}

#[rstest]
#[case::nothing_is_there(None, 0, Some((11, Some((12, true)))))]
#[case::all_is_well(Some(with(0, Some(Beside::Next(published(2, 0))))), 99, None)]
#[case::no_next(Some(with(0, None)), 5, Some((1, Some((11, true)))))]
#[case::period_is_over(Some(with(0, Some(Beside::Next(published(2, 0))))), 100, Some((2, Some((1, false)))))]
#[case::next_is_too_young(Some(with(0, Some(Beside::Next(published(2, 90))))), 100, None)]
#[case::next_is_just_old_enough(Some(with(0, Some(Beside::Next(published(2, 90))))), 101, Some((2, Some((1, false)))))]
#[case::the_former_stays_for_a_while(
    Some(with(50, Some(Beside::Former { authority: published(7, 0), replaced: at(50) }))), 50, None)]
#[case::and_then_makes_room(
    Some(with(50, Some(Beside::Former { authority: published(7, 0), replaced: at(50) }))), 51, Some((1, Some((11, true)))))]
#[case::next_would_not_last(Some(with(200, Some(Beside::Next(published(2, 0))))), 223, Some((1, Some((11, true)))))]
#[case::current_ended_and_the_next_is_good(
    Some(with(0, Some(Beside::Next(published(2, 100))))), 245, Some((2, None)))]
#[case::all_ended(Some(with(0, Some(Beside::Next(published(2, 0))))), 245, Some((11, Some((12, true)))))]
#[case::clock_went_back(Some(with(50, Some(Beside::Next(published(2, 50))))), 1, None)]
fn steps(
    #[case] before: Option<Authorities<u32>>,
    #[case] hours: i64,
    #[case] wanted: Option<(u32, Option<(u32, bool)>)>,
) {
    let after = Maker(10).step(before.as_ref(), at(hours));
    assert_eq!(after.as_ref().map(shape), wanted);
}

/// What stood there since when.
type History = Vec<(Timestamp, Authorities<u32>)>;

/// What any reader may have in hand at some time: what stood there during the time to settle before.
fn readable(history: &History, time: Timestamp) -> impl Iterator<Item = &Authorities<u32>> {
    let earliest = time - SETTINGS.settle;
    history
        .iter()
        .enumerate()
        .filter_map(move |(index, (since, state))| {
            let until = history.get(index + 1).map(|(until, _)| *until);
            let was_there = *since <= time && until.is_none_or(|until| until > earliest);
            was_there.then_some(state)
        })
}

fn trusted(state: &Authorities<u32>) -> Vec<u32> {
    let (current, beside) = shape(state);
    std::iter::once(current)
        .chain(beside.map(|(pair, _)| pair))
        .collect()
}

proptest! {
    /// Looks at irregular times, and a next authority that gets lost now and then.
    #[test]
    fn every_live_run_trusts_whatever_signs(looks in prop::collection::vec((1_i64..20 * HOUR, 0_u8..20), 1..120)) {
        let mut maker = Maker(0);
        let mut now = at(0);
        let mut state = maker.step(None, now).unwrap();
        let mut history = vec![(now, state.clone())];
        let mut end = now;
        for (pause, fate) in looks {
            now += SignedDuration::from_secs(pause);
            if state.current.expires <= now {
                // What is lost again and again never gets old enough to sign.
                break;
            }
            let lost = fate == 19 && matches!(state.beside, Some(Beside::Next(_)));
            if lost {
                state.beside = None;
                history.push((now, state.clone()));
            }
            while let Some(after) = maker.step(Some(&state), now) {
                state = after;
                history.push((now, state.clone()));
            }
            end = now;
        }
        for (time, _) in &history {
            for time in [*time, *time + SETTINGS.settle - SignedDuration::from_secs(1)] {
                if time > end { continue; }
                for signing in readable(&history, time) {
                    let oldest = (time - SETTINGS.longest_run).max(at(0));
                    let starts = history.iter().map(|(start, _)| *start).chain([oldest, time]);
                    for start in starts.filter(|start| (oldest..=time).contains(start)) {
                        for given in readable(&history, start) {
                            prop_assert!(
                                trusted(given).contains(&signing.current.pair),
                                "at {time} {} signs; a run of {start} was given {:?}",
                                signing.current.pair,
                                trusted(given)
                            );
                        }
                    }
                }
            }
        }
    }

    /// Looks without a long pause: the turns are taken.
    #[test]
    fn authorities_take_turns(pauses in prop::collection::vec(1_i64..2 * HOUR, 400..401)) {
        let mut maker = Maker(0);
        let mut now = at(0);
        let mut state = maker.step(None, now).unwrap();
        for pause in pauses {
            now += SignedDuration::from_secs(pause);
            if let Some(after) = maker.step(Some(&state), now) {
                state = after;
            }
            prop_assert!(state.current.expires > now, "what signs has ended");
            prop_assert!(now.duration_since(state.signs_since) < SETTINGS.period + SignedDuration::from_hours(2));
        }
        prop_assert!(state.current.pair > 1, "nobody took over");
    }
}
