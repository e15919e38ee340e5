//! Measurements as a table in Markdown.

use std::fmt::Write;

use super::measure::Measurement;

/// The measurements of one subject, one for each round.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    /// The ratios are those to the row before, not to the first.
    is_baseline: bool,
    pub(super) measurements: Vec<Measurement>,
    /// The error that ended its measurements.
    pub(super) failure: Option<String>,
}

impl Row {
    pub(super) fn new(name: &str, is_baseline: bool) -> Self {
        Self {
            name: name.to_owned(),
            is_baseline,
            measurements: Vec::new(),
            failure: None,
        }
    }

    fn walls(&self) -> Vec<f64> {
        let walls = self.measurements.iter().map(|one| one.wall.as_secs_f64());
        walls.collect()
    }

    /// Returns the times divided by those of `reference` in the same round, rising.
    fn ratios(&self, reference: &Self) -> Vec<f64> {
        let pairs = self.walls().into_iter().zip(reference.walls());
        let mut ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

/// Writes a row for each subject. A baseline is compared with the row before
/// it, every other subject with the first.
pub(super) fn render(rows: &[Row]) -> String {
    let mut text = "| subject | wall s | ratio | spread | CPU s | peak MiB | output MB |\n\
        |---|---:|---:|---:|---:|---:|---:|\n"
        .to_owned();
    for (index, row) in rows.iter().enumerate() {
        let reference = if row.is_baseline {
            &rows[index - 1]
        } else {
            &rows[0]
        };
        if !row.measurements.is_empty() {
            let cells = cells(row, reference).join(" | ");
            writeln!(text, "| {} | {cells} |", row.name).expect("a string takes everything");
        }
    }
    for row in rows {
        if let Some(failure) = &row.failure {
            writeln!(text, "\nNot measured: {}: {failure}", row.name)
                .expect("a string takes everything");
        }
    }
    text
}

fn cells(row: &Row, reference: &Row) -> [String; 6] {
    let measurements = &row.measurements;
    let ratios = row.ratios(reference);
    let spread = match (ratios.first(), ratios.last()) {
        (Some(low), Some(high)) => format!("{low:.2}–{high:.2}"),
        _ => "–".to_owned(),
    };
    let processor = measurements.iter().map(|one| one.processor.as_secs_f64());
    let peak = measurements.iter().map(|one| one.peak).max().unwrap_or(0);
    let output = measurements.iter().map(|one| one.output).max().unwrap_or(0);
    [
        format!("{:.3}", median(row.walls())),
        format!("{:.2}", median(ratios)),
        spread,
        format!("{:.3}", median(processor.collect())),
        format!("{:.1}", peak as f64 / f64::from(1 << 20)),
        format!("{:.1}", output as f64 / 1e6),
    ]
}

/// Returns the median; that of no values is not a number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(name: &str, is_baseline: bool, walls: &[u64]) -> Row {
        let mut row = Row::new(name, is_baseline);
        row.measurements = walls
            .iter()
            .map(|wall| Measurement {
                wall: Duration::from_millis(*wall),
                processor: Duration::from_millis(2 * wall),
                peak: 10 << 20,
                output: 2_000_000,
            })
            .collect();
        row
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rows = [
            row("imgbuild", false, &[100, 200, 100]),
            row("other", false, &[300, 400, 300]),
            row("baseline", true, &[300, 400, 600]),
        ];
        assert_eq!(
            render(&rows),
            "| subject | wall s | ratio | spread | CPU s | peak MiB | output MB |\n\
             |---|---:|---:|---:|---:|---:|---:|\n\
             | imgbuild | 0.100 | 1.00 | 1.00–1.00 | 0.200 | 10.0 | 2.0 |\n\
             | other | 0.300 | 3.00 | 2.00–3.00 | 0.600 | 10.0 | 2.0 |\n\
             | baseline | 0.400 | 1.00 | 1.00–2.00 | 0.800 | 10.0 | 2.0 |\n"
        );
    }

    #[test]
    fn a_failure_is_named_below_the_table() {
        let mut failed = Row::new("broken", false);
        failed.failure = Some("no space".to_owned());
        let text = render(&[row("imgbuild", false, &[1]), failed]);
        let end = "\nNot measured: broken: no space\n";
        assert!(text.ends_with(end), "{text}");
        assert!(!text.contains("| broken"));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 10.0]), 3.0);
        assert!(median(vec![]).is_nan());
    }
}
