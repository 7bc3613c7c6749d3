//! Checking a device: one table of cases, held to the definition of every operation.
//!
//! The same table runs in `cargo test` on every device that needs no hardware, and on any machine as
//! `rir check [--device D] [--filter F]`.
//!
//! - [`mod@reference`] defines every operation in plain f64 loops, and runs whole plans as an oracle.
//! - [`cases`] lists operations, attributes and shapes as data.
//! - [`limits`] says how close is close enough, and why.
//! - [`run_case`] runs one row on a device.

pub mod cases;
pub mod limits;
pub mod reference;
mod run;

pub use cases::Case;
pub use run::{
    CaseResult, Checked, Factory, Outputs, Prepared, Report, run_case, run_cases, run_cases_watched,
};

use crate::device::cuda::Generation;
use crate::ops::Op;

macro_rules! every_operation {
    ($($variant:ident $name:literal),* $(,)?) => {
        /// The name of every operation. A new variant of [`Op`] does not compile until it is listed.
        pub const OPERATIONS: &[&str] = &[$($name),*];

        /// The name under which `op` is listed in [`OPERATIONS`].
        fn listed(op: &Op) -> &'static str {
            match op { $(Op::$variant(_) => $name),* }
        }
    };
}

every_operation! {
    Conv2d "conv2d",
    Conv2dDataGrad "conv2d_data_grad",
    Conv2dWeightGrad "conv2d_weight_grad",
    BatchStats "batch_stats",
    BatchNorm "batch_norm",
    BatchNormReduce "batch_norm_reduce",
    BatchNormBackward "batch_norm_backward",
    UpdateRunning "update_running",
    FoldBatchNorm "fold_batch_norm",
    ScaleShift "scale_shift",
    TwoStreamUpdate "two_stream_update",
    TwoStreamReduce "two_stream_reduce",
    TwoStreamBackward "two_stream_backward",
    Shortcut "shortcut",
    ShortcutBackward "shortcut_backward",
    Relu "relu",
    ReluBackward "relu_backward",
    Add "add",
    GlobalAvgPool "global_avg_pool",
    GlobalAvgPoolBackward "global_avg_pool_backward",
    Linear "linear",
    LinearDataGrad "linear_data_grad",
    LinearWeightGrad "linear_weight_grad",
    BiasGrad "bias_grad",
    SoftmaxCrossEntropy "softmax_cross_entropy",
    SoftmaxCrossEntropyBackward "softmax_cross_entropy_backward",
    Reshape "reshape",
    Cast "cast",
    ShadowWeights "shadow_weights",
    Fill "fill",
    Sgd "sgd",
}

/// What kind of device a table is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row an operation, shape and precision.
    Plain,
    /// One more for every form of its CUDA kernels, large products in their fast form alone; no f64.
    Kernels(Generation),
}

/// The cases whose name contains `filter`, or all. A whole name gives that one case.
pub fn table(rows: Rows, filter: Option<&str>) -> impl Iterator<Item = Case> {
    let all = move || {
        cases::all().flat_map(move |case| match rows {
            Rows::Plain => vec![case],
            Rows::Kernels(generation) => case.with_kernels(generation),
        })
    };
    let whole = all().any(|case| Some(case.name().as_str()) == filter);
    all().filter(move |case| match filter {
        None => true,
        Some(filter) if whole => case.name() == filter,
        Some(filter) => case.name().contains(filter),
    })
}

/// Operations that the table has no row for.
pub fn operations_without_rows() -> Vec<&'static str> {
    let covered: std::collections::HashSet<&str> = cases::all().map(|case| listed(&case.op)).collect();
    OPERATIONS.iter().copied().filter(|name| !covered.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_operation_has_rows_and_is_listed_by_its_own_name() {
        assert_eq!(operations_without_rows(), Vec::<&str>::new());
        for case in cases::all() {
            assert_eq!(listed(&case.op), case.op.operation().name());
        }
    }

    #[test]
    fn a_name_picks_one_case() {
        let names: Vec<String> = cases::all().map(|case| case.name()).collect();
        let distinct: HashSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        // The second is also the end of a name that begins with fold_.
        let kernels: HashSet<String> =
            table(Rows::Kernels(Generation::Hopper), None).map(|case| case.name()).collect();
        assert_eq!(kernels.len(), table(Rows::Kernels(Generation::Hopper), None).count());
        for one in ["conv2d/n2h7w5c20k33r3s2p1-e10-stats/f32", "batch_norm/5x10/f32"] {
            assert_eq!(table(Rows::Plain, Some(one)).map(|case| case.name()).collect::<Vec<_>>(), [one]);
        }
        assert!(table(Rows::Plain, Some("pool/")).all(|case| case.name().starts_with("global_avg_pool/")));
    }
}
