//! Values: what flows along the edges of a graph. Plain data.

use std::fmt;

/// How the elements of a value are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE double.
    F64,
    /// IEEE single.
    F32,
    /// bfloat16: the upper half of a single.
    Bf16,
    /// Class indices.
    I32,
    /// Packed bits, eight elements a byte.
    U8,
}

impl DType {
    /// Bytes of one stored element.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::Bf16 => 2,
            DType::U8 => 1,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
            DType::I32 => "i32",
            DType::U8 => "u8",
        })
    }
}

/// What a value is for; with a [`Precision`] this decides its [`DType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Activations, their gradients, and weights as a convolution reads them: the precision's storage type.
    Activation,
    /// Statistics, reductions, logits, losses, master weights and their gradients: never rounded to bf16.
    Exact,
    /// Class indices.
    Label,
    /// One bit an element, set where ReLU passed; element i is bit i % 8 of byte i / 8, rows of memory order.
    Mask,
}

/// The arithmetic of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Everything in f64: for gradient checks and golden comparisons.
    F64,
    /// Everything in f32.
    F32,
    /// Activations and weights stored in bf16, accumulation, statistics and master weights in f32.
    Bf16,
}

impl Precision {
    /// The storage type of a role.
    pub const fn dtype(self, role: Role) -> DType {
        match (role, self) {
            (Role::Label, _) => DType::I32,
            (Role::Mask, _) => DType::U8,
            (_, Precision::F64) => DType::F64,
            (_, Precision::F32) | (Role::Exact, Precision::Bf16) => DType::F32,
            (Role::Activation, Precision::Bf16) => DType::Bf16,
        }
    }
    /// The type of parameters, momentum, gradients and running statistics.
    pub const fn master(self) -> DType {
        self.dtype(Role::Exact)
    }
    /// Every precision by its name.
    pub const NAMES: [&str; 3] = ["f32", "bf16", "f64"];
}

impl std::str::FromStr for Precision {
    type Err = crate::Error;
    fn from_str(s: &str) -> crate::Result<Self> {
        match s {
            "f64" => Ok(Self::F64),
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(crate::Error::usage(crate::error::unknown("precision", s, &Self::NAMES))),
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Precision::F64 => "f64",
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
        })
    }
}

/// Extents, outermost first. Activations are N H W C, convolution weights K R S C.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(pub Vec<usize>);

impl Shape {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.0.iter().product()
    }
    /// The extents of a four-dimensional shape.
    pub fn dims4(&self) -> Option<[usize; 4]> {
        self.0.as_slice().try_into().ok()
    }
    /// The extents of a matrix.
    pub fn dims2(&self) -> Option<[usize; 2]> {
        self.0.as_slice().try_into().ok()
    }
    /// The innermost extent: channels, of every layout used here. 1 for a scalar.
    pub fn channels(&self) -> usize {
        self.0.last().copied().unwrap_or(1)
    }
    /// Elements per channel.
    pub fn rows(&self) -> usize {
        self.elements() / self.channels().max(1)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self(dims.to_vec())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: Vec<String> = self.0.iter().map(usize::to_string).collect();
        f.pad(&format!("[{}]", text.join(" ")))
    }
}

/// A value's index in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub usize);

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// The batch's images, [N H W C].
    Images,
    /// The batch's class indices, `[N]`.
    Labels,
    /// Any other tensor that the caller writes before a run.
    Input,
    /// A parameter of the State, by index.
    Parameter(usize),
    /// A running statistic of the State, by index.
    Running(usize),
    /// An output of a node.
    Node {
        /// The node's index.
        node: usize,
        /// Which of its outputs.
        output: usize,
    },
}

/// A tensor of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Extents.
    pub shape: Shape,
    /// Storage type; F32, I32 or U8 until the graph is lowered.
    pub dtype: DType,
    /// What it is for.
    pub role: Role,
    /// Where it comes from.
    pub source: Source,
    /// For people: the layer and what the value is in it.
    pub name: String,
}

impl Value {
    /// Size in memory. Mask bits are packed.
    pub fn bytes(&self) -> usize {
        match self.role {
            Role::Mask => self.shape.elements().div_ceil(8),
            _ => self.shape.elements() * self.dtype.size(),
        }
    }
}
