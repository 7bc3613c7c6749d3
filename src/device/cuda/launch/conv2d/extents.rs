//! The extents of a convolution, and what follows from them.

use bytemuck::{Pod, Zeroable};

use crate::device::cuda::launch::{Site, extent, mma};
use crate::graph::{Graph, Node, Shape};
use crate::ops::{Conv2d, Op};

/// The extents of a convolution, the same for all three products: `Extents` of `params.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct Extents {
    /// N H W C.
    pub x: [u32; 4],
    /// K R S.
    pub w: [u32; 3],
    /// P Q.
    pub z: [u32; 2],
    /// Of the filter's positions.
    pub stride: u32,
    /// Pixels of zeros on every side.
    pub pad: u32,
    /// Channels of E.
    pub identity: u32,
}

impl Extents {
    /// Of one of the three products.
    pub fn new(op: &Op, x: &Shape, w: &Shape) -> Self {
        let conv = convolution(op);
        let four = |shape: &Shape| shape.dims4().expect("shape rules have checked it").map(extent);
        let ([n, h, width, _], [k, r, s, _]) = (four(x), four(w));
        let [stride, pad] = [conv.stride, conv.pad].map(extent);
        let output = |image: u32, filter: u32| (image + 2 * pad - filter) / stride + 1;
        let z = [output(h, r), output(width, s)];
        // Kernels count pixels in 31 bits, since a tap may lie before the first, and elements of all filters in 32.
        // Memory ends long before.
        let most = product(&[n, h, width]).max(product(&[n, z[0], z[1]]));
        assert!(
            most < 1 << 31 && u32::try_from(w.elements()).is_ok(),
            "{x} by {w} is more than kernels count"
        );
        Self { x: four(x), w: [k, r, s], z, stride, pad, identity: extent(conv.identity) }
    }

    /// Of an operation on inputs of these shapes; `None` of any but the three.
    pub fn of_op(op: &Op, inputs: &[&Shape]) -> Option<Self> {
        operands(op, inputs).map(|(x, w)| Self::new(op, x, w))
    }

    /// Of a node of the three; `None` for any other.
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        Self::of_op(&node.op, &inputs)
    }

    /// Of the convolution that is launched here.
    pub fn at(site: &Site<'_>) -> Self {
        Self::of(site.graph(), site.node()).expect("only convolutions are launched here")
    }

    /// Those of the convolution with this filter alone: only the first has E.
    pub fn branch(mut self, branch: usize) -> Self {
        self.identity = if branch == 0 { self.identity } else { 0 };
        self
    }
    /// N P Q.
    pub fn output_pixels(&self) -> u32 {
        product(&[self.x[0], self.z[0], self.z[1]])
    }
    /// R S C.
    pub fn filter_elements(&self) -> u32 {
        product(&[self.w[1], self.w[2], self.x[3]])
    }
    /// Whether the faster kernels on tensor cores can compute this product: its depth comes in whole stages where that
    /// is channels, the channels across it in whole chunks, and a mask has a bit for every tap.
    pub fn whole(&self, op: &Op) -> bool {
        let [filters, rows, columns] = self.w;
        let channels = self.x[3];
        let suits = match op {
            Op::Conv2d(_) => channels.is_multiple_of(mma::DEPTH),
            Op::Conv2dDataGrad(_) => {
                filters.is_multiple_of(mma::DEPTH) && channels.is_multiple_of(mma::CHUNK)
            }
            _ => [channels, filters].iter().all(|c| c.is_multiple_of(mma::CHUNK)),
        };
        suits && rows.max(columns) <= mma::MOST_TAPS
    }
    /// Columns of the product.
    pub fn columns(&self, op: &Op) -> u32 {
        if let Op::Conv2dDataGrad(_) = op { self.x[3] } else { self.w[0] }
    }
}

/// The convolution of which an operation is one of the three products.
///
/// # Panics
/// If it is none.
pub fn convolution(op: &Op) -> &Conv2d {
    match op {
        Op::Conv2d(conv) => conv,
        Op::Conv2dDataGrad(op) => &op.conv,
        Op::Conv2dWeightGrad(op) => &op.conv,
        _ => unreachable!("{} is no convolution", op.operation().name()),
    }
}

/// The images and the filter of one of the three products, which its inputs and the operation itself tell; `None` for
/// any other operation.
pub fn operands<'a>(op: &'a Op, inputs: &[&'a Shape]) -> Option<(&'a Shape, &'a Shape)> {
    match op {
        Op::Conv2d(_) => Some((inputs[0], inputs[1])),
        Op::Conv2dDataGrad(op) => Some((&op.input, inputs[1])),
        Op::Conv2dWeightGrad(op) => Some((inputs[0], &op.filter)),
        _ => None,
    }
}

/// Elements of some extents.
pub fn product(extents: &[u32]) -> u32 {
    extent(extents.iter().map(|&e| e as usize).product())
}

/// Bytes of f32 numbers.
pub fn floats(elements: &[u32]) -> usize {
    elements.iter().map(|&e| e as usize).product::<usize>() * size_of::<f32>()
}
