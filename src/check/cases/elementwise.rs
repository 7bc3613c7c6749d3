//! Shortcut, ReLU, sum, pool, and what only moves or converts.

use super::{Fill, Row, activation};
use crate::graph::{Role, Shape};
use crate::ops::{
    Add, Cast, Fill as Constant, GlobalAvgPool, GlobalAvgPoolBackward, Relu, ReluBackward, Reshape, Shortcut,
    ShortcutBackward,
};

const SHAPES: [[usize; 4]; 6] =
    [[1, 1, 1, 3], [1, 7, 5, 10], [2, 7, 5, 20], [3, 5, 8, 33], [2, 8, 8, 96], [5, 4, 4, 10]];

/// Shortcut, ShortcutBackward, Relu, ReluBackward, Add, GlobalAvgPool and its gradient, Reshape, Cast, Fill.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for extents in SHAPES {
        let ([n, h, w, c], x, form) = (extents, Shape::from(extents), activation(extents));
        rows.extend(shortcuts(extents));
        rows.push(Row::new(Relu, &form, [x.clone()]).exact());
        rows.push(Row::new(Relu, format!("{form}-zeros"), []).with(x.clone(), Fill::Integers).exact());
        for (masked, suffix, gate) in [(false, "", Fill::Integers), (true, "-masked", Fill::Mask)] {
            let row = Row::new(ReluBackward { masked }, format!("{form}{suffix}"), [x.clone()]);
            rows.push(row.with(x.clone(), gate).exact());
        }
        rows.push(Row::new(Add, format!("{form}-2"), [x.clone(), x.clone()]));
        rows.push(Row::new(Add, format!("{form}-3"), [x.clone(), x.clone(), x.clone()]));
        rows.push(Row::new(GlobalAvgPool, &form, [x.clone()]).sums(h * w));
        rows.push(Row::new(GlobalAvgPoolBackward { input: x.clone() }, &form, [[n, c].into()]));
        rows.push(Row::new(Reshape { shape: [n, 1, 1, h * w * c].into() }, &form, [x.clone()]).exact());
        for (from, to, suffix) in [
            (Role::Exact, Role::Activation, "-exact-to-activation"),
            (Role::Activation, Role::Exact, "-activation-to-exact"),
            (Role::Exact, Role::Exact, "-copy"),
        ] {
            rows.push(Row::new(Cast { from, to }, format!("{form}{suffix}"), [x.clone()]).exact());
        }
        rows.push(Row::new(Constant { shape: x, value: -0.3 }, form, []).exact());
    }
    rows
}

/// The identity subsampled, widened, narrowed, and between offsets; each with its transpose.
fn shortcuts(extents: [usize; 4]) -> Vec<Row> {
    let ([n, h, w, c], form) = (extents, activation(extents));
    let half = c.div_ceil(2);
    let forms = [
        Shortcut::new(1, 2 * c, c),
        Shortcut::new(1, c, half),
        Shortcut::new(2, 2 * c, c),
        Shortcut::new(2, half, half),
        Shortcut::new(3, c + 1, half),
        Shortcut { from: c - half, ..Shortcut::new(1, half, half) },
        Shortcut { to: c - half, ..Shortcut::new(1, c, half) },
        Shortcut { from: 1, to: 2, ..Shortcut::new(2, c + 2, c - 1) },
    ];
    let row = |op: Shortcut| {
        let Shortcut { stride, channels, copied, from, to } = op;
        let form = format!("{form}k{channels}s{stride}-copy{copied}from{from}to{to}");
        let dy = [n, h.div_ceil(stride), w.div_ceil(stride), channels];
        let backward = ShortcutBackward { shortcut: op, input: extents.into() };
        [Row::new(op, &form, [extents.into()]).exact(), Row::new(backward, form, [dy.into()]).exact()]
    };
    forms.into_iter().flat_map(row).collect()
}
