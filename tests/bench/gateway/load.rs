//! The load: each part is bounded in time and in count, and says so where it did not get as far as it should.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use super::client::{Way, ask, head, small};
use super::process;

/// For so long bytes are read, and requests made.
const SPAN: Duration = Duration::from_secs(4);
/// Requests on a connection that is kept: less than a run may make at once.
const KEPT: usize = 800;
/// Connections one after the other.
const NEW: usize = 320;
/// Longest time for either.
const AT_MOST: Duration = Duration::from_secs(12);
/// Connections at the same time.
const MANY: usize = 64;
/// Tunnels in which nothing moves.
const IDLE: usize = 5000;
/// Longest time for opening them.
const OPENING: Duration = Duration::from_secs(90);
/// Streams of events.
const STREAMS: usize = 20;

/// Measures everything and writes it to a file.
pub async fn run(name: &str, proxy: &str, trusted: &str, tokens: &str, pid: Option<u32>, to: &str) {
    let way = Way::new(proxy, trusted, tokens);
    // The first connection has a certificate minted and a policy read.
    small(&mut way.open(0).await.unwrap()).await.unwrap();
    let one = throughput(&way, 1, pid).await;
    let many = throughput(&way, MANY, pid).await;
    let kept = kept(&way).await;
    let new = new(&way).await;
    let rate = rate(&way, pid).await;
    let events = events(&way).await;
    let idle = idle(&way, pid).await;
    let result = json!({
        "name": name, "one": one, "many": many, "kept": kept, "new": new, "rate": rate, "events": events, "idle": idle,
    });
    println!("{result}");
    std::fs::write(to, result.to_string()).unwrap();
}

#[expect(clippy::cast_precision_loss, reason = "a measurement")]
fn float(number: u64) -> f64 {
    number as f64
}

/// Bytes of an endless answer on so many connections: MB/s, and seconds of the proxy's processor for each GB.
async fn throughput(way: &Way, connections: usize, pid: Option<u32>) -> Value {
    let read: Arc<AtomicU64> = Arc::default();
    let mut tasks = Vec::new();
    for number in 0..connections {
        let mut stream = way.open(number).await.unwrap();
        ask(&mut stream, "/endless").await.unwrap();
        head(&mut stream).await.unwrap();
        let read = Arc::clone(&read);
        tasks.push(tokio::spawn(async move {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length) = stream.read(&mut buffer).await
                && length > 0
            {
                read.fetch_add(length as u64, Ordering::Relaxed);
            }
        }));
    }
    sleep(Duration::from_millis(300)).await;
    let (before, cpu, start) = (
        read.load(Ordering::Relaxed),
        pid.map(process::cpu),
        Instant::now(),
    );
    sleep(SPAN).await;
    let bytes = float(read.load(Ordering::Relaxed) - before);
    let seconds = start.elapsed().as_secs_f64();
    let used = pid
        .map(process::cpu)
        .zip(cpu)
        .map(|(after, before)| after - before);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    sleep(Duration::from_millis(500)).await;
    json!({"mbPerSecond": bytes / 1e6 / seconds, "cpuSecondsPerGB": used.map(|used| used / (bytes / 1e9))})
}

/// The middle and the last hundredth of these times, in microseconds.
fn spread(mut times: Vec<Duration>) -> Value {
    times.sort();
    let at = |part: usize| {
        times
            .get(times.len() * part / 100)
            .map(|time| time.as_secs_f64() * 1e6)
    };
    json!({"count": times.len(), "p50": at(50), "p99": at(99)})
}

/// Requests that follow each other on one connection.
async fn kept(way: &Way) -> Value {
    let mut stream = way.open(1).await.unwrap();
    for _ in 0..50 {
        small(&mut stream).await.unwrap();
    }
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < KEPT && start.elapsed() < AT_MOST {
        let begun = Instant::now();
        small(&mut stream).await.unwrap();
        times.push(begun.elapsed());
    }
    spread(times)
}

/// Connections with one request each: TCP, tunnel, TLS, request, answer.
async fn new(way: &Way) -> Value {
    let mut times = Vec::new();
    let start = Instant::now();
    while times.len() < NEW && start.elapsed() < AT_MOST {
        let begun = Instant::now();
        let mut stream = way.open(times.len()).await.unwrap();
        small(&mut stream).await.unwrap();
        times.push(begun.elapsed());
    }
    spread(times)
}

/// Requests on many connections: how many a second, and microseconds of the proxy's processor for each.
async fn rate(way: &Way, pid: Option<u32>) -> Value {
    let done: Arc<AtomicU64> = Arc::default();
    let mut tasks = Vec::new();
    for number in 0..MANY {
        let mut stream = way.open(number).await.unwrap();
        let done = Arc::clone(&done);
        tasks.push(tokio::spawn(async move {
            while small(&mut stream).await.is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    sleep(Duration::from_millis(300)).await;
    let (before, cpu, start) = (
        done.load(Ordering::Relaxed),
        pid.map(process::cpu),
        Instant::now(),
    );
    sleep(SPAN).await;
    let count = float(done.load(Ordering::Relaxed) - before);
    let seconds = start.elapsed().as_secs_f64();
    let used = pid
        .map(process::cpu)
        .zip(cpu)
        .map(|(after, before)| after - before);
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    sleep(Duration::from_millis(500)).await;
    json!({"perSecond": count / seconds, "cpuMicrosPerRequest": used.map(|used| used / count * 1e6)})
}

/// From the request for a stream of events to its first byte of body. The host waits before the second event, so a proxy
/// that collects shows.
async fn events(way: &Way) -> Value {
    let mut times = Vec::new();
    let mut stream = way.open(2).await.unwrap();
    for _ in 0..STREAMS {
        let begun = Instant::now();
        ask(&mut stream, "/events").await.unwrap();
        head(&mut stream).await.unwrap();
        stream.read_u8().await.unwrap();
        times.push(begun.elapsed());
        let mut rest = Vec::new();
        while !rest.ends_with(b"0\r\n\r\n") {
            rest.push(stream.read_u8().await.unwrap());
        }
    }
    spread(times)
}

/// Memory of the proxy with many tunnels in which nothing moves, in KiB a tunnel.
async fn idle(way: &Way, pid: Option<u32>) -> Value {
    let Some(pid) = pid else {
        return Value::Null;
    };
    sleep(Duration::from_secs(2)).await;
    let before = process::resident(pid);
    let mut open = Vec::new();
    let opening = async {
        let mut streams = futures::stream::iter(0..IDLE)
            .map(|number| async move { way.open(number).await })
            .buffer_unordered(16);
        while let Some(stream) = streams.next().await {
            match stream {
                Ok(stream) => open.push(stream),
                Err(error) => {
                    eprintln!("an idle tunnel cannot be opened: {error}");
                    break;
                }
            }
        }
    };
    let _ = timeout(OPENING, opening).await;
    sleep(Duration::from_secs(1)).await;
    let grown = process::resident(pid) - before;
    let count = open.len();
    json!({"tunnels": count, "kibEach": grown / float(count.max(1) as u64), "mib": process::resident(pid) / 1024.0})
}
