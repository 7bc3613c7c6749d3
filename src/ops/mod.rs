//! The operations. A closed set: users compose them, contributors add them.
//!
//! One file an operation holds its definition, shape rule, gradient rule and exact cost. The devices match
//! exhaustively over [`Op`], so adding one makes the compiler list the places that need it: a kernel in
//! `device/cpu/`, one in `kernels/` with its launch in `device/cuda/launch/`, a definition in `check/reference/`, and a
//! row in the table of cases.
//!
//! | operation | forward | gradients |
//! |---|---|---|
//! | [`Conv2d`] (+ identity, statistics, projection, or a folded epilogue) | `conv2d.rs` | [`Conv2dDataGrad`], [`Conv2dWeightGrad`] |
//! | [`BatchStats`], [`BatchNorm`], [`UpdateRunning`] | `batch_norm.rs` | [`BatchNormReduce`], [`BatchNormBackward`] |
//! | [`FoldBatchNorm`], [`ScaleShift`] | `fold.rs` | evaluation only |
//! | [`TwoStreamUpdate`] | `two_stream.rs` | [`TwoStreamReduce`], [`TwoStreamBackward`] |
//! | [`Shortcut`] | `shortcut.rs` | [`ShortcutBackward`] |
//! | [`Relu`] | `relu.rs` | [`ReluBackward`] |
//! | [`Add`] | `add.rs` | itself |
//! | [`GlobalAvgPool`] | `pool.rs` | [`GlobalAvgPoolBackward`] |
//! | [`Linear`] | `linear.rs` | [`LinearDataGrad`], [`LinearWeightGrad`], [`BiasGrad`] |
//! | [`SoftmaxCrossEntropy`] | `softmax_cross_entropy.rs` | [`SoftmaxCrossEntropyBackward`] |
//! | [`Reshape`], [`Cast`], [`Fill`] | `layout.rs` | themselves |
//! | [`ShadowWeights`] | `shadow_weights.rs` | none needed: fusion makes it |
//! | [`Sgd`] with L2 | `sgd.rs` | changes the State |

pub mod add;
pub mod batch_norm;
pub mod conv2d;
pub mod fold;
pub mod layout;
pub mod linear;
pub mod pool;
pub mod relu;
pub mod sgd;
pub mod shadow_weights;
pub mod shortcut;
pub mod softmax_cross_entropy;
pub mod two_stream;

pub use add::Add;
pub use batch_norm::{BatchNorm, BatchNormBackward, BatchNormReduce, BatchStats, EPSILON, UpdateRunning};
pub use conv2d::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Epilogue, GradEpilogue};
pub use fold::{FoldBatchNorm, ScaleShift};
pub use layout::{Cast, Fill, Reshape};
pub use linear::{BiasGrad, Linear, LinearDataGrad, LinearWeightGrad};
pub use pool::{GlobalAvgPool, GlobalAvgPoolBackward};
pub use relu::{Relu, ReluBackward};
pub use sgd::Sgd;
pub use shadow_weights::ShadowWeights;
pub use shortcut::{Shortcut, ShortcutBackward};
pub use softmax_cross_entropy::{SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward};
pub use two_stream::{Outer, TwoStreamBackward, TwoStreamReduce, TwoStreamUpdate};

use std::fmt::Debug;

use crate::error::Result;
use crate::graph::value::{Role, Shape, Value, ValueId};
use crate::graph::{Graph, shape_error};

/// What one run of a node costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// Floating-point operations: a multiply-add is two; comparisons and conversions are none.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

/// What every operation tells about itself. Data flow, not arithmetic: the arithmetic is the devices'.
pub trait Operation: Debug {
    /// The name that tables, benchmarks and error messages use.
    fn name(&self) -> &'static str;

    /// Shape rule: extents and role of every output.
    ///
    /// # Errors
    /// A sentence that says which input does not fit and why.
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>>;

    /// The role in which each input is read; lowering casts what is stored otherwise.
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role>;

    /// Gradient rule: from the outputs' gradients to the inputs', appending nodes to the graph.
    ///
    /// One entry an input: `None` where no gradient flows or none is wanted.
    ///
    /// # Errors
    /// An operation without a gradient says so by name.
    fn gradient(&self, _: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        Err(shape_error(format!("{} has no gradient", self.name())))
    }

    /// Exact floating-point operations.
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64;

    /// Compulsory traffic: by default every input read once and every output written once.
    fn bytes(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        inputs.iter().chain(outputs).map(|v| v.bytes() as u64).sum()
    }
}

/// What a gradient rule works with: the graph to append to, and the node being differentiated.
pub struct Backward<'a> {
    /// Gradient nodes are appended here.
    pub graph: &'a mut Graph,
    /// The forward node's inputs.
    pub inputs: &'a [ValueId],
    /// The forward node's outputs.
    pub outputs: &'a [ValueId],
    /// The loss' gradient with respect to each output; `None` where the loss does not depend on it.
    pub upstream: &'a [Option<ValueId>],
    /// Which inputs a parameter flows into: only their gradients are needed.
    pub wanted: &'a [bool],
}

impl Backward<'_> {
    /// The gradient of the first output.
    ///
    /// # Errors
    /// If the loss does not depend on it (differentiation never asks then).
    pub fn dy(&self) -> Result<ValueId> {
        self.upstream[0].ok_or_else(|| shape_error("the first output has no gradient"))
    }
    /// Appends `op` where input `i`'s gradient is wanted.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn when_wanted(&mut self, i: usize, op: Op, inputs: &[ValueId]) -> Result<Option<ValueId>> {
        if self.wanted[i] { self.graph.push1(op, inputs).map(Some) } else { Ok(None) }
    }
}

macro_rules! operations {
    ($($name:ident),* $(,)?) => {
        /// An operation with its attributes.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Op {
            $(#[doc = concat!("[`", stringify!($name), "`].")] $name($name)),*
        }

        impl Op {
            /// The rules of this operation.
            pub fn operation(&self) -> &dyn Operation {
                match self { $(Op::$name(op) => op),* }
            }
        }

        $(impl From<$name> for Op {
            fn from(op: $name) -> Op { Op::$name(op) }
        })*
    };
}

operations! {
    Conv2d, Conv2dDataGrad, Conv2dWeightGrad,
    BatchStats, BatchNorm, BatchNormReduce, BatchNormBackward, UpdateRunning,
    FoldBatchNorm, ScaleShift,
    TwoStreamUpdate, TwoStreamReduce, TwoStreamBackward,
    Shortcut, ShortcutBackward,
    Relu, ReluBackward,
    Add,
    GlobalAvgPool, GlobalAvgPoolBackward,
    Linear, LinearDataGrad, LinearWeightGrad, BiasGrad,
    SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward,
    Reshape, Cast, ShadowWeights, Fill,
    Sgd,
}

/// The extents of an activation, N H W C.
pub(crate) fn nhwc(value: &Value, what: &str) -> Result<[usize; 4]> {
    value.shape.dims4().ok_or_else(|| shape_error(format!("{what} must be [N H W C], got {}", value.shape)))
}

/// `Ok` where `got` is the shape that the operation needs.
pub(crate) fn expect_shape(got: &Value, want: &Shape, what: &str) -> Result<()> {
    if got.shape == *want {
        return Ok(());
    }
    Err(shape_error(format!("{what} must be {want}, got {}", got.shape)))
}

/// `Ok` where there are `want` inputs.
pub(crate) fn expect_inputs(inputs: &[&Value], want: usize) -> Result<()> {
    if inputs.len() == want {
        return Ok(());
    }
    Err(shape_error(format!("takes {want} inputs, got {}", inputs.len())))
}

/// Elements of a value, as cost formulas count them.
pub(crate) fn elements(value: &Value) -> u64 {
    value.shape.elements() as u64
}
