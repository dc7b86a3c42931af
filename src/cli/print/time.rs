//! Times as kubectl writes them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

/// The time now. Everything else takes it as an argument.
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// Seconds from `start` to `end`, none where that is before.
pub fn seconds_between(start: Timestamp, end: Timestamp) -> u64 {
    u64::try_from(end.as_second() - start.as_second()).unwrap_or_default()
}

/// How long ago a time is, in at most two units: `5m12s`, `3h`, `2d`.
pub fn age(time: Option<&Time>, now: Timestamp) -> String {
    time.map_or_else(
        || "<unknown>".to_owned(),
        |time| span(seconds_between(time.0, now)),
    )
}

/// A span as kubectl writes it: the longer, the coarser.
pub fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |big: u64, unit: &str, small: u64, smaller: &str| match small {
        0 => format!("{big}{unit}"),
        small => format!("{big}{unit}{small}{smaller}"),
    };
    match seconds {
        0..=119 => format!("{seconds}s"),
        120..=599 => two(minutes, "m", seconds % 60, "s"),
        600..=10_799 => format!("{minutes}m"),
        10_800..=28_799 => two(hours, "h", minutes % 60, "m"),
        28_800..=172_799 => format!("{hours}h"),
        172_800..=691_199 => two(days, "d", hours % 24, "h"),
        691_200..=63_071_999 => format!("{days}d"),
        _ => two(days / 365, "y", days % 365, "d"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_kubectls() {
        for (seconds, text) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (312, "5m12s"),
            (3600, "60m"),
            (11_520, "3h12m"),
            (40_000, "11h"),
            (200_000, "2d7h"),
            (1_000_000, "11d"),
            (100_000_000, "3y62d"),
        ] {
            assert_eq!(span(seconds), text, "{seconds}");
        }
    }
}
