//! The documentation lists every reason with its class, and no other.

use cofferdam_api::Reason;

#[test]
fn the_documented_reasons_are_those_of_the_code() {
    let page = include_str!("../../docs/api.md");
    let (_, listed) = page.split_once("## Reasons").unwrap();
    let (listed, _) = listed.split_once("\n## ").unwrap();
    let documented: Vec<String> = listed
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.split('|')
                .take(3)
                .map(str::trim)
                .collect::<Vec<_>>()
                .join("|")
        })
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
