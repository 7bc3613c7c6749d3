//! The table of cases, as data: one row an operation, its attributes and its input shapes.
//!
//! The shapes are the awkward ones: one image, one pixel, odd and oblong extents, channels that are no multiple of any
//! tile, and a few that are. To add an operation, add its rows to the file of its family.

mod classifier;
mod convolution;
mod elementwise;
mod network;
mod normalise;
mod state;
mod two_stream;

pub use network::{of_graph, of_node};

use rand_distr::{Distribution, StandardNormal, StandardUniform};

use super::reference::Tensor;
use crate::device::cuda::{Generation, Kernels, kernels};
use crate::graph::{DType, ParameterKind, Precision, Role, Shape, Source, Value};
use crate::ops::Op;
use crate::random::{Purpose, Stream};

/// The numbers of an input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// Normal, mean 1/4, variance 1: no symmetry that would hide a permutation or a missing term.
    Normal,
    /// Normal with this mean, variance 1: shows a variance taken as a difference of squares.
    Offset(f64),
    /// Normal, mean 0, times this: sums over many elements are that large.
    Scaled(f64),
    /// Whole numbers from -2 to 2: ties, and exact zeros.
    Integers,
    /// Uniform from 1/4 to 2: variances.
    Positive,
    /// A row of means and a row of variances.
    Statistics,
    /// Fair coins.
    Mask,
    /// Classes, uniform below this.
    Labels(usize),
}

/// An input of a case.
#[derive(Debug, Clone, PartialEq)]
pub struct Input {
    /// Extents.
    pub shape: Shape,
    /// Its numbers.
    pub fill: Fill,
}

/// How close to the definition a case's outputs must be; see [`limits`](super::limits).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Limit {
    /// Nothing is computed: every stored bit must be right.
    Exact,
    /// Sums of this many terms.
    Sum(usize),
    /// Variances.
    Variance {
        /// Numbers that each is taken over.
        terms: usize,
        /// How many deviations their mean lies from zero.
        distance: f64,
    },
}

/// Products of more terms run in faster forms alone. A naive kernel knows no tiles that a large one would fill, a tiled
/// one no rings; and on the emulator a few geometries would take as long as all else.
const MOST_NAIVE_TERMS: usize = 1 << 22;
const MOST_TILED_TERMS: usize = 3 << 22;

/// One row of the table at one precision.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The operation with its attributes.
    pub op: Op,
    /// Attributes and shapes, for people: the middle of the name.
    pub form: String,
    /// What it reads, in the operation's order. For [`Op::Sgd`] the gradients.
    pub inputs: Vec<Input>,
    /// The parameters of the State, of the inputs' shapes; only [`Op::Sgd`] has any.
    pub kinds: Vec<ParameterKind>,
    /// The arithmetic.
    pub precision: Precision,
    /// The form of CUDA kernels; `None` where a device has no choice, or the operation one form only.
    pub kernels: Option<Kernels>,
    /// What its outputs are held to.
    pub limit: Limit,
}

/// What a family's file lists: everything but the precision.
struct Row {
    op: Op,
    form: String,
    inputs: Vec<Input>,
    kinds: Vec<ParameterKind>,
    limit: Limit,
}

impl Row {
    /// A row whose inputs are [`Fill::Normal`], and which sums nothing.
    fn new<const N: usize>(op: impl Into<Op>, form: impl Into<String>, shapes: [Shape; N]) -> Self {
        let inputs = shapes.into_iter().map(|shape| Input { shape, fill: Fill::Normal }).collect();
        Self { op: op.into(), form: form.into(), inputs, kinds: Vec::new(), limit: Limit::Sum(1) }
    }
    /// One more input.
    fn with(mut self, shape: impl Into<Shape>, fill: Fill) -> Self {
        self.inputs.push(Input { shape: shape.into(), fill });
        self
    }
    /// Sums of `terms` terms.
    fn sums(self, terms: usize) -> Self {
        Self { limit: Limit::Sum(terms), ..self }
    }
    /// Computes nothing.
    fn exact(self) -> Self {
        Self { limit: Limit::Exact, ..self }
    }
}

/// Extents as names spell them: `n2h7w5c20`.
fn activation([n, h, w, c]: [usize; 4]) -> String {
    format!("n{n}h{h}w{w}c{c}")
}

/// Every row at every precision.
pub(super) fn all() -> impl Iterator<Item = Case> {
    let rows = [
        convolution::rows(),
        normalise::rows(),
        two_stream::rows(),
        elementwise::rows(),
        classifier::rows(),
        state::rows(),
    ];
    rows.into_iter().flatten().flat_map(|Row { op, form, inputs, kinds, limit }| {
        [Precision::F32, Precision::F64, Precision::Bf16].map(|precision| Case {
            op: op.clone(),
            form: form.clone(),
            inputs: inputs.clone(),
            kinds: kinds.clone(),
            precision,
            kernels: None,
            limit,
        })
    })
}

impl Case {
    /// Its unique name, by which it is rerun: operation, form, precision, and the form of its kernels.
    pub fn name(&self) -> String {
        let kernels = self.kernels.map_or_else(String::new, |kernels| format!("/{kernels}"));
        format!("{}/{}/{}{kernels}", self.op.operation().name(), self.form, self.precision)
    }

    /// The rows that this one is on a device of CUDA kernels: one a form, none in a precision that kernels do not know.
    pub(super) fn with_kernels(self, generation: Generation) -> Vec<Self> {
        if self.precision == Precision::F64 {
            return Vec::new();
        }
        let forms = self.forms(generation);
        if forms.len() == 1 {
            return vec![self];
        }
        let terms = self.terms();
        let most = |form| match form {
            Kernels::Naive => MOST_NAIVE_TERMS,
            Kernels::Tiled => MOST_TILED_TERMS,
            _ => usize::MAX,
        };
        let forms = forms.into_iter().filter(|&form| terms <= most(form));
        forms.map(|form| Self { kernels: Some(form), ..self.clone() }).collect()
    }

    /// The forms of CUDA kernels that it has, the simplest first.
    pub fn forms(&self, generation: Generation) -> Vec<Kernels> {
        let inputs: Vec<&Shape> = self.inputs.iter().map(|input| &input.shape).collect();
        kernels::forms(&self.op, &inputs, self.precision.dtype(Role::Activation), generation)
    }

    /// Whether its kernels are those that run where `asked` is asked for.
    pub fn is_of(&self, asked: Kernels, generation: Generation) -> bool {
        self.kernels.is_none_or(|form| asked.of(&self.forms(generation)) == form)
    }

    /// Terms of all sums of the first output together.
    pub(super) fn terms(&self) -> usize {
        let inputs: Vec<Value> = self.inputs.iter().map(provisional).collect();
        let outputs = self.op.operation().infer(&inputs.iter().collect::<Vec<_>>());
        let elements = outputs.ok().and_then(|outputs| Some(outputs.first()?.0.elements())).unwrap_or(0);
        match self.limit {
            Limit::Sum(terms) => elements * terms,
            Limit::Exact | Limit::Variance { .. } => elements,
        }
    }

    /// The role in which the operation reads each input.
    pub fn roles(&self) -> Vec<Role> {
        let values: Vec<Value> = self.inputs.iter().map(provisional).collect();
        self.op.operation().input_roles(&values.iter().collect::<Vec<_>>())
    }

    /// The storage type of each input.
    pub fn input_dtypes(&self) -> Vec<DType> {
        self.roles().into_iter().map(|role| self.precision.dtype(role)).collect()
    }

    /// Input `i`, rounded to its storage type: the same numbers in every run, on every device.
    pub fn input(&self, i: usize) -> Tensor {
        let Input { shape, fill } = &self.inputs[i];
        tensor(shape, *fill, i as u32).stored(self.input_dtypes()[i])
    }

    /// As [`Case::input`], but with numbers that repeat after `period` where there are more: for inputs so large that
    /// drawing each would take long.
    pub fn repeated_input(&self, i: usize, period: usize) -> Tensor {
        let Input { shape, fill } = &self.inputs[i];
        if shape.elements() <= period {
            return self.input(i);
        }
        let drawn = tensor(&Shape::from([period]), *fill, i as u32).stored(self.input_dtypes()[i]);
        let data = drawn.data.iter().copied().cycle().take(shape.elements()).collect();
        Tensor::new(shape.clone(), data)
    }
}

/// An input as shape rules see it.
fn provisional(input: &Input) -> Value {
    let role = Role::Activation;
    let dtype = Precision::F64.dtype(role);
    Value { shape: input.shape.clone(), dtype, role, source: Source::Input, name: String::new() }
}

/// Random numbers of stream `item`, not yet rounded.
pub(super) fn tensor(shape: &Shape, fill: Fill, item: u32) -> Tensor {
    let mut stream = Stream::new(0, Purpose::Test, 0, item);
    let mut normal = {
        let mut stream = stream.clone();
        move || -> f64 { StandardNormal.sample(&mut stream) }
    };
    let mut uniform = || -> f64 { StandardUniform.sample(&mut stream) };
    Tensor::from_fn(shape.clone(), |i| match fill {
        Fill::Normal => normal() + 0.25,
        Fill::Offset(mean) => normal() + mean,
        Fill::Scaled(factor) => normal() * factor,
        Fill::Integers => normal().round().clamp(-2.0, 2.0),
        Fill::Positive => 0.25 + 1.75 * uniform(),
        Fill::Statistics if i < shape.channels() => normal(),
        Fill::Statistics => 0.25 + 1.75 * uniform(),
        Fill::Mask => uniform().round(),
        Fill::Labels(classes) => (uniform() * classes as f64).floor(),
    })
}
