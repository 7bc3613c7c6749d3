//! Findings as text that lines up.

use super::fusion::Variant;
use super::report::{Report, Row};
use super::roofline::Limit;
use super::step::Step;
use super::tune::Candidate;
use crate::error::Result;
use crate::text::{Align, bytes as human, columns};

/// A number with four figures, so that columns of very different ones can be read.
fn figures(x: f64) -> String {
    match x.abs() {
        x if !x.is_finite() => "-".into(),
        1000.0.. => format!("{x:.0}"),
        100.0.. => format!("{x:.1}"),
        10.0.. => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

fn maybe(x: Option<f64>) -> String {
    x.map_or_else(|| "-".into(), figures)
}

fn percent(x: Option<f64>) -> String {
    x.map_or_else(|| "-".into(), |x| format!("{:.1} %", 100.0 * x))
}

fn header<const N: usize>(names: [&str; N]) -> Vec<String> {
    names.map(String::from).to_vec()
}

/// Names left, numbers right.
fn lined<const N: usize>(rows: &[Vec<String>]) -> String {
    let mut sides = [Align::Right; N];
    sides[0] = Align::Left;
    columns(&sides, rows)
}

/// What surrounds a report's table.
pub(super) fn report(report: &Report) -> String {
    let findings = &report.findings;
    let mut text = format!(
        "{}: {}, batch {}, {}; commit {}\n",
        report.device.name, report.model, report.batch, report.precision, report.commit
    );
    if let Some(rates) = &report.rates {
        let driver =
            rates.driver_copy_gb_s.map_or_else(String::new, |x| format!(", {} by the driver", figures(x)));
        let matrix = rates
            .matrix_tflop_s
            .map_or_else(String::new, |x| format!("bf16 products {} TFLOP/s, ", figures(x)));
        let multiply_add = figures(rates.multiply_add_tflop_s);
        let copy = figures(rates.copy_gb_s);
        text += &format!(
            "the roof: copy {copy} GB/s{driver}; {matrix}f32 multiply-adds {multiply_add} TFLOP/s\n"
        );
    }
    if let Some(choices) = &report.choices {
        text += &format!("kernels by {}\n", choices.display());
    }
    text += &format!("\n{}", findings.table);
    if !findings.not_run.is_empty() {
        text += &format!("\nnot run, for lack of time: {}\n", findings.not_run.join(", "));
    }
    for failed in &findings.failed {
        text += &format!("\nFAILED {failed}\n");
    }
    text
}

/// What every table says of a case.
fn timing(row: &Row) -> Vec<String> {
    let Some(timed) = &row.timed else {
        return vec!["FAILED".into()];
    };
    let warm = &timed.warm;
    vec![
        figures(warm.median_us),
        format!("{} - {}", figures(warm.p25_us), figures(warm.p75_us)),
        maybe(timed.cold.map(|cold| cold.median_us)),
        figures(timed.tflop_s),
        figures(timed.gb_s),
        maybe(timed.bound_us),
        timed.bound_by.map_or_else(String::new, |by| match by {
            Limit::Compute => "compute".into(),
            Limit::Memory => "memory".into(),
        }),
        percent(timed.share),
        format!("{:.0e}{}", timed.error, if timed.compared.is_some() { "*" } else { "" }),
    ]
}

const TIMING: [&str; 9] =
    ["us", "quartiles", "cold us", "TFLOP/s", "GB/s", "bound us", "by", "of it", "error"];

/// Below a table where not all elements were compared.
fn footnote<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let sampled = rows.into_iter().filter_map(|row| row.timed.as_ref()?.compared).next();
    sampled.map_or_else(String::new, |n| format!("* compared at {n} elements drawn at random; else at all\n"))
}

/// Cases, each by itself.
pub(super) fn cases(rows: &[Row]) -> String {
    let head = [header(["case", "nodes"]), header(TIMING)].concat();
    let line = |row: &Row| [vec![row.name.clone(), row.count.to_string()], timing(row)].concat();
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(line)).collect();
    lined::<11>(&lines) + &footnote(rows)
}

/// Cases in several forms, each with its gain over the one before.
pub(super) fn ladder(rows: &[Row], gains: &[Option<f64>]) -> String {
    let head = [header(["case", "gain"]), header(TIMING)].concat();
    let line = |(row, gain): (&Row, &Option<f64>)| {
        let gain = gain.map_or_else(|| "-".into(), |gain| format!("{gain:.2} x"));
        [vec![row.name.clone(), gain], timing(row)].concat()
    };
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().zip(gains).map(line)).collect();
    lined::<11>(&lines) + &footnote(rows)
}

/// A whole step, then its nodes by what they lose.
pub(super) fn step(step: &Result<Step>, rows: &[Row], sum_us: f64, bounds: [Option<f64>; 2]) -> String {
    let mut text = match step {
        Ok(step) => whole(step, sum_us, bounds),
        Err(_) => String::new(),
    };
    let head = [header(["case", "nodes", "lost us"]), header(TIMING)].concat();
    let line = |row: &Row| {
        let lost = maybe(row.timed.as_ref().map(|_| row.lost_us()));
        [vec![row.name.clone(), row.count.to_string(), lost], timing(row)].concat()
    };
    let lines: Vec<_> = std::iter::once(head).chain(rows.iter().map(line)).collect();
    text += &lined::<12>(&lines);
    text + &footnote(rows)
}

fn whole(step: &Step, sum_us: f64, [bound, fused]: [Option<f64>; 2]) -> String {
    let Step { spread, .. } = step;
    let part = |bound: Option<f64>| percent(bound.map(|bound| bound / spread.median_us));
    let mut lines = vec![
        vec![
            "step".into(),
            format!("{} us", figures(spread.median_us)),
            format!(
                "quartiles {} - {}, {} images/s, loss {:.4}",
                figures(spread.p25_us),
                figures(spread.p75_us),
                figures(step.images_per_s),
                step.loss
            ),
        ],
        vec!["its nodes, each alone".into(), format!("{} us", figures(sum_us)), String::new()],
        vec![
            "its bound, node by node".into(),
            format!("{} us", maybe(bound)),
            format!("{} of the step", part(bound)),
        ],
        vec![
            "the bound if all is fused".into(),
            format!("{} us", maybe(fused)),
            format!("{} of the step", part(fused)),
        ],
    ];
    if let Some(apart) = step.apart {
        let said = format!("{:.3} times the step", apart.median_us / spread.median_us);
        lines.insert(1, vec!["without overlap".into(), format!("{} us", figures(apart.median_us)), said]);
    }
    if let Some(plan) = step.plan {
        let said = format!("{} nodes, {} launches", step.nodes, step.launches);
        lines.insert(1, vec!["the plan alone".into(), format!("{} us", figures(plan.median_us)), said]);
    }
    let memory = format!("{} of it the State", human(step.state_bytes as u64));
    lines.push(vec!["memory".into(), human((step.workspace_bytes + step.state_bytes) as u64), memory]);
    columns(&[Align::Left, Align::Right, Align::Left], &lines) + "\n"
}

/// Candidates, by convolution; of a rehearsal without times.
pub(super) fn tune(rows: &[Candidate], rehearse: bool) -> String {
    let mut lines =
        vec![header(["convolution, and what could run it", "tile", "us", "TFLOP/s", "of it", "error", ""])];
    for of_one in rows.chunk_by(|a, b| a.node == b.node) {
        lines.push(vec![of_one[0].name.clone()]);
        lines.extend(of_one.iter().map(|row| {
            let mark = match row {
                _ if row.failure.is_some() => "FAILED",
                Candidate { wins: true, usual: true, .. } => "stays",
                Candidate { wins: true, .. } => "wins",
                Candidate { usual: true, .. } => "unmeasured",
                _ => "",
            };
            vec![
                format!("  {}", row.choice),
                row.tile.map_or_else(String::new, |tile| tile.to_string()),
                maybe(row.timed.map(|timed| timed.median_us)),
                maybe(row.tflop_s),
                percent(row.share),
                row.error.map_or_else(|| "-".into(), |error| format!("{error:.0e}")),
                mark.into(),
            ]
        }));
    }
    let sides =
        [Align::Left, Align::Left, Align::Right, Align::Right, Align::Right, Align::Right, Align::Left];
    let rehearsed = "a rehearsal: every candidate was checked, but this device has no clock: none is ranked, and no choice \
                     is written\n";
    columns(&sides, &lines) + if rehearse { rehearsed } else { "" }
}

/// Steps beside each other.
pub(super) fn fusion(variants: &[Variant]) -> String {
    let head =
        header(["step", "us", "quartiles", "images/s", "times", "nodes", "launches", "bytes", "workspace"]);
    let first =
        variants.first().and_then(|variant| variant.step.as_ref().ok()).map(|step| step.spread.median_us);
    let line = |Variant { name, nodes, cost, step }: &Variant| {
        let of = |f: &dyn Fn(&Step) -> String| step.as_ref().map_or_else(|_| "FAILED".into(), f);
        vec![
            name.clone(),
            of(&|s| figures(s.spread.median_us)),
            of(&|s| format!("{} - {}", figures(s.spread.p25_us), figures(s.spread.p75_us))),
            of(&|s| figures(s.images_per_s)),
            of(&|s| first.map_or_else(|| "-".into(), |first| format!("{:.3}", s.spread.median_us / first))),
            nodes.to_string(),
            of(&|s| s.launches.to_string()),
            human(cost.bytes),
            of(&|s| human(s.workspace_bytes as u64)),
        ]
    };
    let lines: Vec<_> = std::iter::once(head).chain(variants.iter().map(line)).collect();
    lined::<9>(&lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_four_figures() {
        assert_eq!(
            [0.01234, 9.8765, 54.321, 543.21, 54321.0].map(figures),
            ["0.012", "9.877", "54.32", "543.2", "54321"]
        );
        assert_eq!(figures(f64::NAN), "-");
    }
}
