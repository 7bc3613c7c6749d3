//! What changes the State: the optimiser and the running statistics.

use super::{Fill, Row};
use crate::graph::ParameterKind;
use crate::ops::{Sgd, UpdateRunning};

/// Sgd with every switch, over parameters of every kind; UpdateRunning.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let momentum = Sgd { momentum: 0.9, ..Sgd::PLAIN };
    let decay = Sgd { weight_decay: 0.02, decay_scale: true, ..momentum };
    // A smaller rate of shifts: where a step is as large as what it changes, their difference has less than all digits.
    let all = Sgd { nesterov: true, shift_rate: 0.5, lookahead: true, ..decay };
    for (op, form) in [
        (Sgd::PLAIN, "plain"),
        (momentum, "momentum"),
        (Sgd { nesterov: true, ..momentum }, "nesterov"),
        (decay, "momentum-decay"),
        (Sgd { nesterov: true, ..decay }, "nesterov-decay"),
        (Sgd { momentum: 0.5, nesterov: true, decay_scale: false, ..decay }, "nesterov-decay-not-scale"),
        (Sgd { shift_rate: 4.0, ..momentum }, "momentum-shift-rate"),
        (Sgd { lookahead: true, ..momentum }, "momentum-lookahead"),
        (all, "nesterov-decay-shift-rate-lookahead"),
    ] {
        // Sizes that leave gaps between the State's aligned tensors, and one that fills its own exactly.
        let weight = ParameterKind::Weight { fan_in: 27 };
        let mut row = Row::new(op, form, [[10, 3, 3, 3].into(), [10].into(), [10].into()]);
        row = row.with([64, 4], Fill::Normal).with([1], Fill::Normal).with([33, 1, 1, 20], Fill::Normal);
        row.kinds =
            vec![weight, ParameterKind::Scale, ParameterKind::Shift, weight, ParameterKind::Bias, weight];
        rows.push(row);
    }
    for (c, count) in [(3, 1), (10, 2), (20, 70), (33, 192), (384, 8192)] {
        let row = Row::new(UpdateRunning { count }, format!("c{c}m{count}"), []);
        let row = row.with([2, c], Fill::Statistics).with([c], Fill::Normal);
        rows.push(row.with([c], Fill::Positive));
    }
    rows
}
