//! Tables on standard output.

/// Prints rows with their columns aligned; the last column is not padded.
pub(crate) fn table(rows: &[Vec<String>]) {
    print!("{}", render(rows));
}

fn render(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Seconds with one decimal.
pub(crate) fn seconds(duration: std::time::Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_do_not_end_in_spaces() {
        let rows = [vec!["a".to_owned(), "ok".to_owned()], vec!["long".to_owned(), "failed".to_owned()]];
        assert_eq!(render(&rows), "a     ok\nlong  failed\n");
    }
}
