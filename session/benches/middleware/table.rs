//! A table: contenders down, workloads across.

use crate::contender::{self, Contender};
use crate::workload::Workload;

/// What `cell` says of each contender and workload, as Markdown.
pub(crate) fn render(cell: impl Fn(&Contender, Workload) -> String) -> String {
    let mut rows = vec![vec![String::new()], Vec::new()];
    rows[0].extend(Workload::ALL.map(|workload| workload.title().to_owned()));
    for contender in &contender::ALL {
        let mut row = vec![contender.name.to_owned()];
        row.extend(
            Workload::ALL.map(|workload| match contender.workloads.contains(&workload) {
                true => cell(contender, workload),
                false => String::new(),
            }),
        );
        rows.push(row);
    }
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..=Workload::ALL.len())
        .map(|column| width(column).unwrap_or(0))
        .collect();
    rows[1] = widths.iter().map(|&width| "-".repeat(width)).collect();
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let cells: String = row
        .iter()
        .zip(widths)
        .map(|(cell, &width)| format!(" {cell:<width$} |"))
        .collect();
    format!("|{cells}\n")
}
