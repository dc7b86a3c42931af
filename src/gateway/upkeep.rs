//! Loops beside the requests. Each is alone, so that one which waits for the archive holds up no other.

use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::caller::View;
use crate::credentials::app::held::Tokens;
use crate::credentials::app::tokens;
use crate::egress::Upstreams;
use crate::egress::frozen::FrozenPolicies;
use crate::egress::limits::RunLimits;
use crate::egress::ranges::Ranges;
use crate::evidence::Recorder;
use crate::inspect::Inspection;
use cofferdam_service::serve::Readiness;
use cofferdam_wire::record::StreamEnd;

/// How often each loop does its work.
const TICK: Duration = Duration::from_secs(1);
/// How a gateway ends.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// From the signal to the end of what is accepted: by then nodes send new connections to other gateways.
    pub handover: Duration,
    /// From there to the end of what is open, at most.
    pub longest: Duration,
}

/// Kubernetes takes a second or two to tell every node that a pod is not ready.
pub const HANDOVER: Duration = Duration::from_secs(5);

/// Keeps the readiness of the gateway: whether its view of the cluster is current, its deny set complete, and its
/// certificate authority there. From the signal on it is not ready.
pub async fn readiness(
    view: &View,
    ranges: &Ranges,
    inspection: &Inspection,
    (readiness, stop): (&Readiness, &CancellationToken),
) {
    let keeping = async {
        loop {
            tokio::time::sleep(TICK).await;
            let is_current = view.is_fresh(Instant::now()) && ranges.deny_set().is_some();
            readiness.set(is_current && inspection.is_ready());
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keeping => {}
    }
    readiness.set(false);
    std::future::pending::<()>().await;
}

/// Forgets the policies and the limits of runs that are gone.
pub async fn forget(view: &View, policies: &FrozenPolicies, limits: &RunLimits) {
    loop {
        tokio::time::sleep(TICK).await;
        let (hashes, runs) = view.in_use();
        policies.retain(&hashes);
        limits.retain(|run| runs.contains(run));
    }
}

/// Revokes the tokens of runs that have no live pod and no open connection any more.
pub async fn revoke(view: &View, upstreams: &Upstreams) {
    loop {
        tokio::time::sleep(TICK).await;
        let (_, runs) = view.in_use();
        let live = |run: &str| runs.contains(run) || upstreams.limits.has_open(run);
        tokens::revoke(upstreams, live).await;
    }
}

/// Sends records to the archive, and closes the streams of runs that have no live pod, no open connection and no token any
/// more: what becomes of a connection or a token is recorded at its end.
pub async fn send_records(view: &View, limits: &RunLimits, tokens: &Tokens, recorder: &Recorder) {
    loop {
        tokio::time::sleep(TICK).await;
        let (_, runs) = view.in_use();
        let live = |run: &str| runs.contains(run) || limits.has_open(run) || tokens.has(run);
        recorder.flush_all(live, StreamEnd::RunEnded).await;
    }
}

/// Sends to the archive what a process before this one could not, and never ends.
pub async fn send_left(recorder: &Recorder) {
    recorder.send_left().await;
    std::future::pending::<()>().await;
}

/// Waits for the signal, then until nothing new comes, then until the open connections have ended, still under watch, or the
/// time is over. Whoever accepts connections, and connections that could serve further requests, end with `ending`.
pub async fn drain(
    limits: &RunLimits,
    (stop, ending): (&CancellationToken, &CancellationToken),
    drain: Drain,
) {
    stop.cancelled().await;
    tokio::time::sleep(drain.handover).await;
    ending.cancel();
    let until = tokio::time::Instant::now() + drain.longest;
    while limits.any_open() && tokio::time::Instant::now() < until {
        tokio::time::sleep(TICK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::view::Source;
    use crate::evidence::testing::{Memory, Never};
    use crate::inspect::authority::Authority;
    use crate::inspect::testing::{CaOptions, ca, files};
    use cofferdam_wire::record::{ProcessId, RecordEvent};
    use cofferdam_wire::runner::RunIdentity;
    use std::sync::Arc;

    /// An archive that takes a request and never answers holds up the records, and nothing else.
    #[tokio::test(start_paused = true)]
    async fn archive_that_hangs_leaves_readiness_current() {
        let (view, ready) = (View::default(), Readiness::default());
        let inspection = Inspection::new(bytes::Bytes::new()).unwrap();
        let ranges = Ranges::new(Vec::new(), "cofferdam-system".to_owned());
        ranges.replace_nodes([]);
        ranges.replace_services(Vec::new());
        let recorder = Recorder::new(ProcessId(1), Never);
        let limits = RunLimits::new(1);
        let tokens = Tokens::default();
        let never = CancellationToken::new();
        let event = RecordEvent::PodMutated {
            built: String::new(),
            live: String::new(),
        };
        recorder.record("run-1", None, event);
        let watched = async {
            tokio::time::sleep(TICK * 3).await;
            assert!(!ready.get());
            for source in Source::ALL {
                view.set_open(source, true);
            }
            view.confirm(Instant::now());
            tokio::time::sleep(TICK * 3).await;
            assert!(!ready.get(), "there is no certificate authority");
            let files = files(&ca(CaOptions::default()), None);
            inspection.put(Authority::read(&files, time::OffsetDateTime::now_utc()).unwrap());
            tokio::time::sleep(TICK * 3).await;
            assert!(ready.get());
        };
        tokio::select! {
            () = readiness(&view, &ranges, &inspection, (&ready, &never)) => {}
            () = send_records(&view, &limits, &tokens, &recorder) => {}
            () = watched => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_gateway_that_ends_is_not_ready_at_once_accepts_a_while_and_waits_for_what_is_open() {
        let (stop, ending, ready) = (
            CancellationToken::new(),
            CancellationToken::new(),
            Readiness::default(),
        );
        let view = View::default();
        let inspection = Inspection::new(bytes::Bytes::new()).unwrap();
        let ranges = Ranges::new(Vec::new(), "cofferdam-system".to_owned());
        let limits = Arc::new(RunLimits::new(10));
        let run = RunIdentity {
            namespace: "team-a".to_owned(),
            name: "fix".to_owned(),
            uid: "run-1".to_owned(),
        };
        let how = Drain {
            handover: HANDOVER,
            longest: Duration::from_mins(10),
        };
        for (open_for, drained_after) in [(30, 31), (10_000, 606)] {
            let slot = limits
                .enter(&run, tokio::time::Instant::now().into_std())
                .unwrap();
            let (stop, ending) = (stop.child_token(), ending.child_token());
            ready.set(true);
            let start = tokio::time::Instant::now();
            let watched = async {
                stop.cancel();
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert!(!ready.get() && !ending.is_cancelled());
                tokio::time::sleep(HANDOVER).await;
                assert!(ending.is_cancelled());
                tokio::time::sleep_until(start + Duration::from_secs(open_for)).await;
                drop(slot);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = readiness(&view, &ranges, &inspection, (&ready, &stop)) => {}
                () = drain(&limits, (&stop, &ending), how) => {}
                () = watched => {}
            }
            assert!(
                start.elapsed().as_secs() <= drained_after,
                "{:?}",
                start.elapsed()
            );
            assert!(
                start.elapsed().as_secs() + 2 >= drained_after,
                "{:?}",
                start.elapsed()
            );
        }
    }

    /// What a connection comes to is recorded when it ends, and a closed stream takes no record.
    #[tokio::test(start_paused = true)]
    async fn stream_stays_open_as_long_as_a_connection_of_its_run() {
        let (view, sink) = (View::default(), Memory::default());
        let limits = Arc::new(RunLimits::new(10));
        let tokens = Tokens::default();
        let recorder = Recorder::new(ProcessId(1), sink.clone());
        let run = RunIdentity {
            namespace: "team-a".to_owned(),
            name: "fix".to_owned(),
            uid: "run-1".to_owned(),
        };
        let slot = limits.enter(&run, Instant::now()).unwrap();
        let event = RecordEvent::PodMutated {
            built: String::new(),
            live: String::new(),
        };
        recorder.record(&run.uid, None, event);
        let is_closed = || {
            let mut records = sink.all().into_iter();
            records.any(|record| matches!(record.event, RecordEvent::StreamClosed { .. }))
        };
        let watched = async {
            tokio::time::sleep(TICK * 3).await;
            assert!(!is_closed());
            drop(slot);
            tokio::time::sleep(TICK * 3).await;
            assert!(is_closed());
        };
        tokio::select! {
            () = send_records(&view, &limits, &tokens, &recorder) => {}
            () = watched => {}
        }
    }
}
