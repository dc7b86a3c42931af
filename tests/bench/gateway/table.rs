//! The table of all results, the first of which is the way without a proxy.

use serde_json::Value;

pub fn print(files: &[&str]) {
    let results: Vec<Value> = files
        .iter()
        .map(|file| serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap())
        .collect();
    let direct = &results[0];
    println!(
        "| | MB/s, 1 connection | MB/s, 64 | CPU-s a GB, 1 / 64 | added on a kept connection, p50 / p99, ms | added on a new \
         one, p50 / p99, ms | requests/s, 64 connections | CPU-µs a request | first event, p50, ms | KiB an idle tunnel |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for result in &results {
        let number = |path: &str| result.pointer(path).and_then(Value::as_f64);
        let added = |path: &str| {
            let direct = direct.pointer(path).and_then(Value::as_f64)?;
            number(path).map(|found| (found - direct) / 1000.0)
        };
        let show = |found: Option<f64>, digits: usize| {
            found.map_or_else(|| "–".to_owned(), |found| format!("{found:.digits$}"))
        };
        let is_direct = result["name"] == direct["name"];
        let both = |name: &str| {
            if is_direct {
                let own = |at: &str| number(&format!("/{name}/{at}")).map(|found| found / 1000.0);
                format!("({} / {})", show(own("p50"), 2), show(own("p99"), 2))
            } else {
                let of = |at: &str| show(added(&format!("/{name}/{at}")), 2);
                format!("{} / {}", of("p50"), of("p99"))
            }
        };
        let tunnels = number("/idle/tunnels").unwrap_or(5000.0);
        let of_fewer = if tunnels < 5000.0 {
            format!(" ({tunnels:.0} tunnels)")
        } else {
            String::new()
        };
        println!(
            "| {} | {} | {} | {} / {} | {} | {} | {} | {} | {} | {}{of_fewer} |",
            result["name"].as_str().unwrap(),
            show(number("/one/mbPerSecond"), 0),
            show(number("/many/mbPerSecond"), 0),
            show(number("/one/cpuSecondsPerGB"), 2),
            show(number("/many/cpuSecondsPerGB"), 2),
            both("kept"),
            both("new"),
            show(number("/rate/perSecond"), 0),
            show(number("/rate/cpuMicrosPerRequest"), 0),
            show(number("/events/p50").map(|found| found / 1000.0), 2),
            show(number("/idle/kibEach"), 1),
        );
    }
}
