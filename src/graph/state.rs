//! State: what outlives every plan. Its layout is plain data; a device owns the memory.

use super::value::{DType, Shape};

/// What a parameter is, which decides its initial value and its regularisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// Weights of a convolution, K R S C, or of a linear layer, K C: He normal with this fan-in; L2 toward 0.
    Weight {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
    /// Scale of a batch norm: 1; L2 toward 1.
    Scale,
    /// Shift of a batch norm: 0; not regularised.
    Shift,
    /// Bias of a linear layer: 0; not regularised.
    Bias,
}

/// A trained tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameter {
    /// Its name in checkpoints, such as `group1.block1.layer1.conv.weight`.
    pub name: String,
    /// Extents in memory (files hold O I H W).
    pub shape: Shape,
    /// What it is.
    pub kind: ParameterKind,
}

/// A running statistic of a batch norm, `[C]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    /// Its name in checkpoints, such as `stem.bn.running_mean`.
    pub name: String,
    /// Channels.
    pub channels: usize,
    /// The value it starts with.
    pub initial: f32,
}

/// Every tensor of a model's State, in checkpoint order, and where it lies.
///
/// Five regions, each contiguous with tensors aligned to [`StateLayout::ALIGNMENT`] bytes: parameters, momentum,
/// gradients and slow weights share one set of offsets; running statistics have their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateLayout {
    /// Trained tensors.
    pub parameters: Vec<Parameter>,
    /// Running statistics.
    pub running: Vec<Running>,
}

/// A region of the State.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// Master weights.
    Parameters,
    /// The optimiser's velocity.
    Momentum,
    /// Gradients of the last step.
    Gradients,
    /// Running statistics of batch norm.
    Running,
    /// The slow weights of lookahead; nothing sensible where the optimiser does not look ahead.
    Slow,
}

impl StateLayout {
    /// Bytes to which every tensor of the State is aligned.
    pub const ALIGNMENT: usize = 256;

    /// Byte offsets of the parameters in their region (also of their momentum, gradients and slow weights), and the
    /// region's size.
    pub fn parameter_offsets(&self, master: DType) -> (Vec<usize>, usize) {
        offsets(self.parameters.iter().map(|p| p.shape.elements() * master.size()))
    }
    /// Byte offsets of the running statistics in their region, and the region's size.
    pub fn running_offsets(&self, master: DType) -> (Vec<usize>, usize) {
        offsets(self.running.iter().map(|r| r.channels * master.size()))
    }
    /// Number of trained numbers.
    pub fn parameter_count(&self) -> usize {
        self.parameters.iter().map(|p| p.shape.elements()).sum()
    }
    /// The index of a parameter.
    pub fn parameter(&self, name: &str) -> Option<usize> {
        self.parameters.iter().position(|p| p.name == name)
    }
}

fn offsets(sizes: impl Iterator<Item = usize>) -> (Vec<usize>, usize) {
    let mut end = 0;
    let starts = sizes
        .map(|bytes| {
            let start = end;
            end = (start + bytes).next_multiple_of(StateLayout::ALIGNMENT);
            start
        })
        .collect();
    (starts, end)
}
