//! Columns as kubectl writes them.

use cofferdam_text::bounded;

use super::paint::Paint;

/// Longest cell but the last of a line, in bytes.
const CELL: usize = 64;
/// Longest last cell.
const LAST_CELL: usize = 400;

/// How a cell looks on a terminal that has colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Look {
    /// As it is.
    #[default]
    Plain,
    /// Good news.
    Good,
    /// Bad news.
    Bad,
    /// What deserves a second look.
    Odd,
}

/// A cell. Its text is a stranger's: it is escaped when it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    text: String,
    look: Look,
}

impl Cell {
    /// A cell that looks like this.
    pub fn new(text: impl Into<String>, look: Look) -> Self {
        Self {
            text: text.into(),
            look,
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Look::Plain)
    }
}

/// The lines of a table; every row has as many cells as the header.
pub fn render(header: &[&str], rows: &[Vec<Cell>], paint: Paint) -> String {
    let last = header.len().saturating_sub(1);
    let shown: Vec<Vec<(String, Look)>> = rows
        .iter()
        .map(|row| {
            let cells = row.iter().enumerate().map(|(column, cell)| {
                let limit = if column == last { LAST_CELL } else { CELL };
                let text = bounded(&cell.text, limit);
                let text = if text.is_empty() { "-".to_owned() } else { text };
                (text, cell.look)
            });
            cells.collect()
        })
        .collect();
    let mut widths: Vec<usize> = header.iter().map(|title| title.len()).collect();
    for row in &shown {
        for (width, (text, _)) in widths.iter_mut().zip(row) {
            *width = (*width).max(text.chars().count());
        }
    }
    let mut out = line(
        header
            .iter()
            .map(|title| ((*title).to_owned(), (*title).to_owned())),
        &widths,
    );
    for row in shown {
        let cells = row.into_iter().map(|(text, look)| {
            let painted = match look {
                Look::Plain => text.clone(),
                Look::Good => paint.good(&text),
                Look::Bad => paint.bad(&text),
                Look::Odd => paint.odd(&text),
            };
            (text, painted)
        });
        out.push_str(&line(cells, &widths));
    }
    out
}

fn line(cells: impl Iterator<Item = (String, String)>, widths: &[usize]) -> String {
    let mut out = String::new();
    for ((text, painted), width) in cells.zip(widths) {
        out.push_str(&painted);
        out.push_str(&" ".repeat(width.saturating_sub(text.chars().count()) + 3));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use cofferdam_text::is_hidden;
    use proptest::prelude::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            vec![Cell::from("a"), Cell::new("Failed", Look::Bad), Cell::from("")],
            vec![Cell::from("longer-name"), Cell::from("Running"), Cell::from("3m")],
        ];
        insta::assert_snapshot!(render(&["NAME", "PHASE", "AGE"], &rows, Paint::Plain), @r"
        NAME          PHASE     AGE
        a             Failed    -
        longer-name   Running   3m
        ");
        let coloured = render(&["NAME", "PHASE", "AGE"], &rows, Paint::Ansi);
        assert!(
            coloured.contains("\u{1b}[31;1mFailed\u{1b}[0m    -"),
            "{coloured:?}"
        );
    }

    proptest! {
        #[test]
        fn no_cell_breaks_its_line_or_moves_the_cursor(cells in proptest::collection::vec(any::<String>(), 3)) {
            let row: Vec<Cell> = cells.into_iter().map(Cell::from).collect();
            let text = render(&["A", "B", "C"], &[row], Paint::Plain);
            prop_assert_eq!(text.lines().count(), 2);
            prop_assert!(text.chars().all(|character| character == '\n' || !is_hidden(character)));
        }
    }
}
