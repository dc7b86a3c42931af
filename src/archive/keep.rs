//! How long what a run left is kept. Pure.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Days that policies say at least; absent: they say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keep {
    /// Of the run's records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records_days: Option<u32>,
    /// Of its patches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patches_days: Option<u32>,
}

impl Keep {
    /// Reads what the controller told with an admission. Fields that are unknown, or have other values, are passed over: what a
    /// newer controller writes must not shorten anything.
    pub fn told(evidence: Option<&Value>) -> Self {
        let days = |name| {
            let days = evidence?.get(name)?.as_u64()?;
            Some(u32::try_from(days).unwrap_or(u32::MAX))
        };
        Self {
            records_days: days("keepRecordsDays"),
            patches_days: days("keepPatchesDays"),
        }
    }

    /// The longer of both, part by part.
    pub fn longest(self, other: Self) -> Self {
        Self {
            records_days: self.records_days.max(other.records_days),
            patches_days: self.patches_days.max(other.patches_days),
        }
    }

    /// Whether policies say nothing.
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

/// What the installation says.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
pub struct Terms {
    /// Days of records where policies say fewer or nothing.
    pub records_days: u32,
    /// Days of patches where policies say fewer or nothing.
    pub patches_days: u32,
    /// Days up to which policies count.
    pub most_days: u32,
}

/// How long it is kept after the last of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The records, and whatever else there is.
    pub records: Duration,
    /// The patches.
    pub patches: Duration,
}

impl Terms {
    /// What holds for a run of which policies say this. Records stay as long as the patches that they tell of.
    pub fn of(&self, keep: Keep) -> Due {
        let longest = |own: u32, said: Option<u32>| own.max(said.unwrap_or(0).min(self.most_days));
        let patches = longest(self.patches_days, keep.patches_days);
        let records = longest(self.records_days, keep.records_days).max(patches);
        let days = |days: u32| Duration::from_hours(24 * u64::from(days));
        Due {
            records: days(records),
            patches: days(patches),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;
    use serde_json::json;

    const DAY: Duration = Duration::from_hours(24);

    fn keep(records_days: Option<u32>, patches_days: Option<u32>) -> Keep {
        Keep {
            records_days,
            patches_days,
        }
    }

    #[rstest]
    #[case::silence(None, None, (90, 30))]
    #[case::records_longer(Some(400), None, (400, 30))]
    #[case::patches_longer(None, Some(60), (90, 60))]
    #[case::patches_longer_than_records(None, Some(200), (200, 200))]
    #[case::a_policy_shortens_nothing(Some(1), Some(1), (90, 30))]
    #[case::beyond_the_most(Some(36_500), Some(u32::MAX), (1000, 1000))]
    fn the_longest_of_policy_and_installation_counts(
        #[case] records: Option<u32>,
        #[case] patches: Option<u32>,
        #[case] (of_records, of_patches): (u32, u32),
    ) {
        let terms = Terms {
            records_days: 90,
            patches_days: 30,
            most_days: 1000,
        };
        let due = terms.of(keep(records, patches));
        assert_eq!((due.records, due.patches), (DAY * of_records, DAY * of_patches));
    }

    #[test]
    fn the_installations_own_days_are_not_cut() {
        let terms = Terms {
            records_days: 90,
            patches_days: 90,
            most_days: 30,
        };
        let due = terms.of(keep(Some(60), None));
        assert_eq!((due.records, due.patches), (DAY * 90, DAY * 90));
    }

    #[rstest]
    #[case(json!({"keepRecordsDays": 400, "keepPatchesDays": 7}), keep(Some(400), Some(7)))]
    #[case(json!({"onSinkFailure": "Later", "more": [1], "keepRecordsDays": 400}), keep(Some(400), None))]
    #[case(json!({"keepRecordsDays": 1_u64 << 40, "keepPatchesDays": "7"}), keep(Some(u32::MAX), None))]
    #[case(json!({"keepRecordsDays": -1}), keep(None, None))]
    #[case(json!([]), keep(None, None))]
    fn what_was_told_is_read_as_far_as_it_is_known(#[case] told: Value, #[case] read: Keep) {
        assert_eq!(Keep::told(Some(&told)), read);
    }

    fn days() -> impl Strategy<Value = Keep> {
        (
            proptest::option::of(0..2000_u32),
            proptest::option::of(0..2000_u32),
        )
            .prop_map(|(r, p)| keep(r, p))
    }

    proptest! {
        #[test]
        fn no_word_shortens_anything(
            one in days(), other in days(), records_days in 1..2000_u32, patches_days in 1..2000_u32, most_days in 1..2000_u32,
        ) {
            let terms = Terms { records_days, patches_days, most_days };
            let (alone, both) = (terms.of(one), terms.of(one.longest(other)));
            prop_assert!(alone.records <= both.records && alone.patches <= both.patches);
            prop_assert!(both.records >= DAY * records_days && both.patches >= DAY * patches_days);
            prop_assert!(both.patches <= both.records);
            let most = DAY * most_days.max(records_days).max(patches_days);
            prop_assert!(both.records <= most);
            prop_assert_eq!(one.longest(other), other.longest(one));
        }
    }
}
