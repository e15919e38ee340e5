//! Measurements as a table in Markdown.

use std::fmt::Write;

use super::measure::Measurement;

/// The measurements of one subject, one a round.
#[derive(Debug)]
pub(super) struct Row {
    name: String,
    pub(super) measurements: Vec<Measurement>,
    /// Why it was not measured further.
    pub(super) failure: Option<String>,
}

impl Row {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            measurements: Vec::new(),
            failure: None,
        }
    }

    fn walls(&self) -> Vec<f64> {
        self.measurements
            .iter()
            .map(|one| one.wall.as_secs_f64())
            .collect()
    }

    fn output(&self) -> u64 {
        self.measurements
            .iter()
            .map(|one| one.output)
            .max()
            .unwrap_or(0)
    }

    /// The walls divided by those of `reference` in the same round, rising.
    fn ratios(&self, reference: &Self) -> Vec<f64> {
        let pairs = self.walls().into_iter().zip(reference.walls());
        let mut ratios: Vec<f64> = pairs.map(|(own, other)| own / other).collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }
}

/// What one subject should reach, compared with another.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) subject: &'static str,
    pub(super) other: &'static str,
    pub(super) limit: Limit,
}

/// How much time a subject may take.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// So many times the other's.
    AtMostTimes(f64),
    /// Half of the other's, for no more bytes.
    TwiceAsFastAndNoLarger,
    /// Twice the other's, and so many seconds.
    AtMostTwiceAnd(f64),
}

/// Says of each target whether it was met; of one that was not measured
/// nothing.
pub(super) fn render_targets(rows: &[Row], targets: &[Target]) -> String {
    let mut text = String::new();
    let find = |name| rows.iter().find(|row| row.name == name);
    for target in targets {
        let (Some(row), Some(other)) = (find(target.subject), find(target.other)) else {
            continue;
        };
        let Some((is_met, what)) = judge(row, other, target.limit) else {
            continue;
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        writeln!(text, "- Target {verdict}: {}, {what}.", target.subject)
            .expect("a string takes everything");
    }
    if !text.is_empty() {
        text.insert(0, '\n');
    }
    text
}

fn judge(row: &Row, other: &Row, limit: Limit) -> Option<(bool, String)> {
    let ratio = median(row.ratios(other))?;
    let name = &other.name;
    Some(match limit {
        Limit::AtMostTimes(most) => {
            let what = format!("{ratio:.2} times `{name}` (at most {most})");
            (ratio <= most, what)
        }
        Limit::TwiceAsFastAndNoLarger => {
            let size = row.output() as f64 / other.output().max(1) as f64;
            let speed = 1.0 / ratio;
            let what = format!(
                "{speed:.2} times as fast as `{name}` (at least 2), {size:.3} times its bytes (at most 1)"
            );
            (speed >= 2.0 && size <= 1.0, what)
        }
        Limit::AtMostTwiceAnd(seconds) => {
            let most = 2.0 * median(other.walls())? + seconds;
            let took = median(row.walls())?;
            let what = format!("{took:.3} s (at most {most:.3} s: twice `{name}` and {seconds} s)");
            (took <= most, what)
        }
    })
}

/// Writes the rows; the first one is what all are compared with.
pub(super) fn render(rows: &[Row], notes: &str) -> String {
    let mut text = String::from(
        "| subject | wall s | times the first | spread | CPU s | peak MiB | output MB |\n\
         |---|---:|---:|---:|---:|---:|---:|\n",
    );
    let Some(reference) = rows.first() else {
        return text;
    };
    for row in rows.iter().filter(|row| row.failure.is_none()) {
        let cells = cells(row, reference).join(" | ");
        writeln!(text, "| {} | {cells} |", row.name).expect("a string takes everything");
    }
    for row in rows {
        if let Some(failure) = &row.failure {
            writeln!(text, "\nNot measured: {}: {failure}", row.name).expect("as above");
        }
    }
    if !notes.is_empty() {
        writeln!(text, "\n{notes}").expect("as above");
    }
    text
}

fn cells(row: &Row, reference: &Row) -> Vec<String> {
    let ratios = row.ratios(reference);
    let spread = match (ratios.first(), ratios.last()) {
        (Some(low), Some(high)) => format!("{low:.2}–{high:.2}"),
        _ => "–".to_owned(),
    };
    let processor = row.measurements.iter().filter_map(|one| one.processor);
    let peak = row.measurements.iter().filter_map(|one| one.peak).max();
    vec![
        shown(median(row.walls())),
        median(ratios).map_or("–".to_owned(), |ratio| format!("{ratio:.2}")),
        spread,
        shown(median(processor.map(|time| time.as_secs_f64()).collect())),
        peak.map_or("–".to_owned(), |bytes| {
            format!("{:.1}", bytes as f64 / f64::from(1 << 20))
        }),
        Some(row.output())
            .filter(|bytes| *bytes > 0)
            .map_or("–".to_owned(), |bytes| {
                format!("{:.1}", bytes as f64 / 1e6)
            }),
    ]
}

fn shown(seconds: Option<f64>) -> String {
    seconds.map_or("–".to_owned(), |seconds| format!("{seconds:.3}"))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        length if length % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn row(name: &str, walls: &[u64], peak: Option<u64>) -> Row {
        let mut row = Row::new(name);
        row.measurements = walls
            .iter()
            .map(|wall| Measurement {
                wall: Duration::from_millis(*wall),
                processor: peak.map(|_| Duration::from_millis(2 * wall)),
                peak,
                output: 2_000_000,
            })
            .collect();
        row
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let rows = [
            row("imgbuild", &[100, 200, 100], Some(10 << 20)),
            row("daemon", &[300, 400, 300], None),
        ];
        assert_eq!(
            render(&rows, "A note."),
            "| subject | wall s | times the first | spread | CPU s | peak MiB | output MB |\n\
             |---|---:|---:|---:|---:|---:|---:|\n\
             | imgbuild | 0.100 | 1.00 | 1.00–1.00 | 0.200 | 10.0 | 2.0 |\n\
             | daemon | 0.300 | 3.00 | 2.00–3.00 | – | – | 2.0 |\n\
             \nA note.\n"
        );
    }

    #[test]
    fn a_failure_is_named_below_the_table() {
        let mut failed = Row::new("broken");
        failed.failure = Some("no space".to_owned());
        let text = render(&[row("imgbuild", &[1], None), failed], "");
        assert!(
            text.ends_with("\nNot measured: broken: no space\n"),
            "{text}"
        );
        assert!(!text.contains("| broken"));
    }

    #[test]
    fn targets_are_judged_by_the_median() {
        let rows = [
            row("own", &[100, 100, 100], None),
            row("other", &[300, 150, 250], None),
            row("bound", &[90, 90, 30], None),
        ];
        let target = |other, limit| Target {
            subject: "own",
            other,
            limit,
        };
        let targets = [
            target("other", Limit::TwiceAsFastAndNoLarger),
            target("bound", Limit::AtMostTimes(1.1)),
            target("bound", Limit::AtMostTwiceAnd(0.005)),
            target("absent", Limit::AtMostTimes(1.0)),
        ];
        assert_eq!(
            render_targets(&rows, &targets),
            "\n- Target met: own, 2.50 times as fast as `other` (at least 2), 1.000 times its bytes (at most 1).\n\
             - Target MISSED: own, 1.11 times `bound` (at most 1.1).\n\
             - Target met: own, 0.100 s (at most 0.185 s: twice `bound` and 0.005 s).\n"
        );
        assert_eq!(render_targets(&rows, &[]), "");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 10.0]), Some(3.0));
        assert_eq!(median(vec![]), None);
    }
}
