//! The documentation lists every reason with its class, and no other.

use cofferdam_api::{LiveReason, Reason};

#[test]
fn terminal_reasons_are_those_of_the_code() {
    let documented: Vec<String> = rows("| reason | class |")
        .iter()
        .map(|cells| format!("|{}|{}", cells[0], cells[1]))
        .collect();
    let known: Vec<String> = Reason::ALL
        .iter()
        .map(|reason| {
            let class = reason.class().map_or("–", cofferdam_api::FailureClass::as_str);
            format!("|`{reason}`|{class}")
        })
        .collect();
    assert_eq!(documented, known);
}

#[test]
fn live_reasons_are_those_of_the_code() {
    let rows = rows("| reason of a live run | ends with |");
    let documented: Vec<&str> = rows.iter().map(|cells| cells[0].trim_matches('`')).collect();
    let known: Vec<&str> = LiveReason::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(documented, known);
    for cells in &rows {
        let end = cells[1].split(',').next().unwrap().trim_matches('`');
        assert!(end == "–" || end.parse::<Reason>().is_ok(), "{end}");
    }
}

/// The cells of the table with this header.
fn rows(header: &str) -> Vec<Vec<&'static str>> {
    let page = include_str!("../../docs/api.md");
    let mut lines = page.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows: Vec<Vec<&str>> = lines
        .by_ref()
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!(!rows.is_empty(), "no table {header}");
    rows
}
