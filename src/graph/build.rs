//! Building a graph: one method an operation that people write.

use super::{Graph, Parameter, ParameterKind, Role, Running, Segment, Shape, Source, ValueId};
use crate::error::Result;
use crate::ops::{
    Add, BatchNorm, BatchStats, Conv2d, FoldBatchNorm, GlobalAvgPool, Linear, Relu, Reshape, ScaleShift, Sgd,
    Shortcut, SoftmaxCrossEntropy, UpdateRunning,
};

impl Graph {
    /// The batch's images, [N H W C].
    pub fn images(&mut self, shape: [usize; 4]) -> ValueId {
        self.add_value(shape.into(), Role::Exact, Source::Images, "images".into())
    }

    /// The batch's class indices, `[N]`.
    pub fn labels(&mut self, batch: usize) -> ValueId {
        self.add_value([batch].into(), Role::Label, Source::Labels, "labels".into())
    }

    /// Any other tensor that is written before a run; for tests and benchmarks of single operations.
    pub fn input(&mut self, name: impl Into<String>, shape: impl Into<Shape>, role: Role) -> ValueId {
        self.add_value(shape.into(), role, Source::Input, name.into())
    }

    /// A trained tensor, the next of the State.
    pub fn parameter(
        &mut self,
        name: impl Into<String>,
        shape: impl Into<Shape>,
        kind: ParameterKind,
    ) -> ValueId {
        let (name, shape) = (name.into(), shape.into());
        let source = Source::Parameter(self.state.parameters.len());
        self.state.parameters.push(Parameter { name: name.clone(), shape: shape.clone(), kind });
        self.add_value(shape, Role::Exact, source, name)
    }

    /// A running statistic, the next of the State.
    pub fn running(&mut self, name: impl Into<String>, channels: usize, initial: f32) -> ValueId {
        let name = name.into();
        let source = Source::Running(self.state.running.len());
        self.state.running.push(Running { name: name.clone(), channels, initial });
        self.add_value([channels].into(), Role::Exact, source, name)
    }

    /// A convolution without bias whose filter, a new parameter `name.weight`, is `size` x `size`, padded to keep
    /// the extents at stride 1. See [`Conv2d`].
    ///
    /// # Errors
    /// If `x` is not [N H W C].
    pub fn conv2d(
        &mut self,
        name: &str,
        x: ValueId,
        channels: usize,
        size: usize,
        stride: usize,
    ) -> Result<ValueId> {
        let c = self.shape(x).channels();
        let kind = ParameterKind::Weight { fan_in: c * size * size };
        let w = self.parameter(format!("{name}.weight"), [channels, size, size, c], kind);
        self.push1(Conv2d::same(size, stride).into(), &[x, w])
    }

    /// Batch norm with the batch's statistics, and the update of its running ones; new parameters `name.weight`,
    /// `name.bias`, new running statistics `name.running_mean`, `name.running_var`. See [`BatchNorm`].
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn batch_norm(&mut self, name: &str, z: ValueId) -> Result<ValueId> {
        let [scale, shift, mean, variance] = self.batch_norm_state(name, z);
        let stats = self.push1(BatchStats.into(), &[z])?;
        let count = self.shape(z).rows();
        self.push_in(Segment::Update, UpdateRunning { count }.into(), &[stats, mean, variance])?;
        self.push1(BatchNorm.into(), &[z, stats, scale, shift])
    }

    /// Batch norm with the running statistics, folded into one scale and shift per channel; the same State as
    /// [`Graph::batch_norm`]. See [`FoldBatchNorm`].
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn folded_batch_norm(&mut self, name: &str, z: ValueId) -> Result<ValueId> {
        let state = self.batch_norm_state(name, z);
        let fold = self.push1(FoldBatchNorm.into(), &state)?;
        self.push1(ScaleShift.into(), &[z, fold])
    }

    fn batch_norm_state(&mut self, name: &str, z: ValueId) -> [ValueId; 4] {
        let c = self.shape(z).channels();
        [
            self.parameter(format!("{name}.weight"), [c], ParameterKind::Scale),
            self.parameter(format!("{name}.bias"), [c], ParameterKind::Shift),
            self.running(format!("{name}.running_mean"), c, 0.0),
            self.running(format!("{name}.running_var"), c, 1.0),
        ]
    }

    /// ReLU.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn relu(&mut self, x: ValueId) -> Result<ValueId> {
        self.push1(Relu.into(), &[x])
    }

    /// The sum of two tensors of one shape.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn add(&mut self, a: ValueId, b: ValueId) -> Result<ValueId> {
        self.push1(Add.into(), &[a, b])
    }

    /// The parameter-free shortcut: subsampled, `copied` channels kept, zero-padded to `channels`.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn shortcut(&mut self, x: ValueId, stride: usize, channels: usize, copied: usize) -> Result<ValueId> {
        self.push1(Shortcut::new(stride, channels, copied).into(), &[x])
    }

    /// `count` channels from `first` on: a stream.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn channels(&mut self, x: ValueId, first: usize, count: usize) -> Result<ValueId> {
        self.push1(Shortcut { from: first, ..Shortcut::new(1, count, count) }.into(), &[x])
    }

    /// Two tensors side by side in the channels: both streams, r first.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn concatenate(&mut self, r: ValueId, t: ValueId) -> Result<ValueId> {
        let (first, second) = (self.shape(r).channels(), self.shape(t).channels());
        let r = self.push1(Shortcut::new(1, first + second, first).into(), &[r])?;
        let t =
            self.push1(Shortcut { to: first, ..Shortcut::new(1, first + second, second) }.into(), &[t])?;
        self.add(r, t)
    }

    /// The mean over all pixels, [N C].
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn global_avg_pool(&mut self, x: ValueId) -> Result<ValueId> {
        self.push1(GlobalAvgPool.into(), &[x])
    }

    /// The same elements with other extents.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn reshape(&mut self, x: ValueId, shape: impl Into<Shape>) -> Result<ValueId> {
        self.push1(Reshape { shape: shape.into() }.into(), &[x])
    }

    /// A fully connected layer; new parameters `name.weight` [K C] and `name.bias` `[K]`.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn linear(&mut self, name: &str, x: ValueId, classes: usize) -> Result<ValueId> {
        let c = self.shape(x).channels();
        let w = self.parameter(format!("{name}.weight"), [classes, c], ParameterKind::Weight { fan_in: c });
        let b = self.parameter(format!("{name}.bias"), [classes], ParameterKind::Bias);
        self.push1(Linear.into(), &[x, w, b])
    }

    /// Mean softmax cross-entropy, kept as the result `loss`, with the number of right answers as `correct`.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn softmax_cross_entropy(
        &mut self,
        logits: ValueId,
        labels: ValueId,
        smoothing: f64,
    ) -> Result<ValueId> {
        let outputs = self.push(SoftmaxCrossEntropy { smoothing }.into(), &[logits, labels])?;
        self.keep("loss", outputs[0]);
        self.keep("correct", outputs[1]);
        Ok(outputs[0])
    }

    /// Ends a differentiated graph with the optimiser's step.
    ///
    /// # Errors
    /// If the graph has no gradients yet.
    pub fn sgd(&mut self, sgd: Sgd) -> Result<()> {
        if self.gradients.len() != self.state.parameters.len() {
            return Err(super::shape_error("sgd needs a differentiated graph"));
        }
        self.enter("optimiser");
        let gradients = self.gradients.clone();
        self.push_in(Segment::Update, sgd.into(), &gradients).map(|_| ())
    }
}
