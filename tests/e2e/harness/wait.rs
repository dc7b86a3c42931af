//! Waiting for conditions. Tests never sleep for a guess: they ask again until it is so, or say what they saw last.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(300);

/// Asks `look` again until it gives a value, for at most `limit`.
pub async fn until<T, S: Debug, F: Future<Output = Result<T, S>>>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(value) => return value,
            Err(seen) if start.elapsed() > limit => {
                panic!("{what}: not within {limit:?}; last seen: {seen:#?}")
            }
            Err(_) => tokio::time::sleep(INTERVAL).await,
        }
    }
}

/// Asks `look` again until it says true, for at most `limit`.
pub async fn eventually<F: Future<Output = bool>>(what: &str, limit: Duration, mut look: impl FnMut() -> F) {
    until(what, limit, || {
        let asked = look();
        async { if asked.await { Ok(()) } else { Err("not so") } }
    })
    .await;
}
