//! Tables as Markdown.

/// A table with these headings, and what `cell` says in each row and column.
pub(crate) fn render(rows: &[&str], columns: &[&str], cell: impl Fn(usize, usize) -> String) -> String {
    let mut lines = vec![line("", columns.iter().map(|&title| title.to_owned()))];
    lines.push(format!("|{}", "---|".repeat(columns.len() + 1)));
    for (row, title) in rows.iter().enumerate() {
        lines.push(line(title, (0..columns.len()).map(|column| cell(row, column))));
    }
    lines.join("\n") + "\n"
}

fn line(title: &str, cells: impl Iterator<Item = String>) -> String {
    let cells: String = cells.map(|cell| format!(" {cell} |")).collect();
    format!("| {title} |{cells}")
}
