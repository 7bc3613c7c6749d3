//! What follows from a choice: the tile of a block, the stages of its ring, and the cluster that shares what it copies.

use std::fmt;

use serde::Serialize;

use super::Choice;
use crate::device::cuda::launch::tiling;
use crate::graph::Shape;
use crate::ops::Op;
use crate::text::counted;

/// How a block cuts a convolution's product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tile {
    /// Rows of a block: pixels, or of a weight gradient elements of a filter.
    pub rows: u32,
    /// Columns: filters, or of a data gradient channels.
    pub columns: u32,
    /// Depth of a stage.
    pub depth: u32,
    /// Stages in shared memory.
    pub stages: u32,
    /// Blocks that share the columns that they copy.
    pub cluster: u32,
    /// Whether three taps share the pixels of a stage: a patch of images with its halo.
    pub halo: bool,
    /// Parts into which the pixels are cut; of a weight gradient alone.
    pub splits: Option<u32>,
}

impl Tile {
    /// The tile of a choice for an operation on inputs of these shapes; `None` where it has none.
    pub fn of(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<Self> {
        tiling::tile(op, inputs, choice)
    }
}

/// `128 x 192, 4 stages of 64, clusters of 2, 8 parts`; patches are told by `with halo`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, depth, stages, cluster, halo, splits } = self;
        let halo = if *halo { " with halo" } else { "" };
        let cluster = if *cluster > 1 { format!(", clusters of {cluster}") } else { String::new() };
        let splits = splits.map_or_else(String::new, |n| format!(", {}", counted(n.into(), "part")));
        f.pad(&format!("{rows} x {columns}{halo}, {stages} stages of {depth}{cluster}{splits}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::Kernels;
    use crate::ops::{Conv2d, Conv2dWeightGrad};

    /// A 3 x 3 convolution of so many channels, forward or as a weight gradient, on images of this size.
    fn conv(channels: usize, size: usize, weight_grad: bool) -> (Op, [Shape; 2]) {
        let (x, w) = (Shape::from([500, size, size, channels]), Shape::from([channels, 3, 3, channels]));
        let conv = Conv2d::same(3, 1);
        match weight_grad {
            true => (Conv2dWeightGrad { conv, filter: w }.into(), [x.clone(), x]),
            false => (conv.into(), [x, w]),
        }
    }

    #[test]
    fn a_choice_is_told_as_a_tile() {
        let told = |channels, weight_grad, choice: Choice| {
            let (op, [x, w]) = conv(channels, 16, weight_grad);
            Tile::of(&op, &[&x, &w], choice).map(|tile| tile.to_string())
        };
        let of = Choice::of;
        assert_eq!(told(192, false, of(Kernels::Mma)).unwrap(), "128 x 192, 4 stages of 32");
        assert_eq!(told(192, false, of(Kernels::Naive)), None);
        let parts = Choice { splits: Some(16), columns: Some(96), ..of(Kernels::Mma) };
        assert_eq!(told(192, true, parts).unwrap(), "128 x 96, 4 stages of 32, 16 parts");
        let cluster = Choice { columns: Some(192), ..of(Kernels::WgmmaCluster) };
        assert_eq!(told(192, false, cluster).unwrap(), "128 x 192, 4 stages of 64, clusters of 2");
        let halo = Choice { columns: Some(96), ..of(Kernels::WgmmaHalo) };
        assert_eq!(told(96, false, halo).unwrap(), "128 x 96 with halo, 6 stages of 96, clusters of 2");
    }
}
