//! Convolution with every identity and epilogue, and its gradients.

use super::{Fill, Row, activation};
use crate::graph::Shape;
use crate::ops::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Epilogue, GradEpilogue, ShadowWeights};

/// A convolution's extents: image, filters, filter size, stride, padding.
struct Geometry {
    image: [usize; 4],
    k: usize,
    size: usize,
    conv: Conv2d,
}

const fn plain(stride: usize, pad: usize) -> Conv2d {
    Conv2d { stride, pad, identity: 0, projected: false, epilogue: Epilogue::None }
}

const fn same(image: [usize; 4], k: usize, size: usize, stride: usize) -> Geometry {
    Geometry { image, k, size, conv: plain(stride, size / 2) }
}

const GEOMETRIES: [Geometry; 16] = [
    same([1, 1, 1, 3], 10, 1, 1),
    same([1, 1, 1, 20], 10, 3, 1),
    same([1, 7, 5, 3], 10, 3, 1),
    same([1, 7, 5, 10], 3, 1, 1),
    same([2, 7, 5, 20], 33, 3, 1),
    same([2, 7, 5, 20], 33, 3, 2),
    same([2, 7, 5, 20], 33, 1, 2),
    same([3, 5, 7, 33], 20, 3, 2),
    same([5, 4, 4, 10], 20, 1, 1),
    same([3, 6, 10, 12], 7, 3, 3),
    same([1, 7, 7, 4], 6, 5, 1),
    same([2, 8, 8, 32], 64, 3, 2),
    same([2, 8, 8, 64], 128, 1, 2),
    same([4, 6, 6, 64], 64, 3, 1),
    same([2, 8, 8, 96], 96, 3, 1),
    // Without padding the image shrinks, and no identity fits.
    Geometry { conv: plain(1, 0), ..same([2, 7, 5, 6], 10, 3, 1) },
];

/// What tensor cores tile otherwise: channels in whole chunks of 8 and in stages of 32, all widths of tiles, several tiles
/// of rows, more steps than stages, as many taps as a mask has bits and more, and one of the stem's kind.
const FOR_TENSOR_CORES: [Geometry; 12] = [
    same([3, 8, 8, 8], 16, 3, 1),
    same([3, 8, 8, 3], 96, 3, 1),
    same([3, 13, 13, 24], 32, 3, 2),
    same([3, 8, 8, 32], 24, 3, 1),
    same([3, 7, 7, 64], 128, 3, 1),
    same([4, 7, 5, 32], 192, 3, 1),
    same([1, 7, 9, 192], 96, 3, 2),
    same([1, 7, 5, 128], 192, 1, 1),
    same([1, 3, 3, 384], 40, 3, 2),
    same([1, 5, 6, 32], 32, 5, 1),
    same([1, 3, 3, 32], 32, 15, 1),
    same([1, 3, 3, 32], 32, 17, 1),
];

/// What Hopper's forms do otherwise: several tiles a block and a block without one, rings of stages that go round, splits
/// of pixels, every width of tile with stages of 64 channels and of 96; patches of a part of an image, of one and of
/// several; residue classes without taps, and of several extents; more columns than a tile has, E's among them.
const FOR_HOPPER: [Geometry; 8] = [
    same([11, 8, 16, 96], 32, 3, 1),
    same([1, 32, 32, 32], 96, 3, 1),
    same([3, 4, 16, 32], 192, 3, 1),
    same([5, 8, 8, 64], 128, 3, 1),
    same([5, 12, 12, 128], 128, 1, 1),
    same([4, 15, 17, 64], 96, 3, 2),
    same([5, 16, 16, 96], 192, 1, 2),
    same([1, 8, 8, 288], 256, 1, 1),
];

impl Geometry {
    /// The same with a projection's filter beside its own.
    fn projected(&self) -> Self {
        Self { conv: Conv2d { projected: true, ..self.conv }, ..*self }
    }
    fn filter(&self) -> Shape {
        [self.k, self.size, self.size, self.image[3]].into()
    }
    fn output(&self) -> Shape {
        let [n, h, w, _] = self.image;
        let extent = |image| self.conv.output_extent(image, self.size).expect("the filter fits");
        [n, extent(h), extent(w), self.k].into()
    }
    /// Channels of E: none, ResNet Init's half of the input, and as many as there are.
    fn identities(&self) -> Vec<usize> {
        let most = self.image[3].min(self.k);
        let mut identities = vec![0];
        if self.conv.pad == self.size / 2 {
            identities.extend([(self.image[3] / 2).min(most), most]);
            identities.dedup();
        }
        identities
    }
    fn form(&self, identity: usize, suffix: &str) -> String {
        let Conv2d { stride, pad, projected, .. } = self.conv;
        let e = if identity > 0 { format!("-e{identity}") } else { String::new() };
        let projected = if projected { "-projected" } else { "" };
        let image = activation(self.image);
        format!("{image}k{k}r{r}s{stride}p{pad}{e}{projected}{suffix}", k = self.k, r = self.size)
    }
    fn forward(&self, identity: usize, epilogue: Epilogue) -> Row {
        let conv = Conv2d { identity, epilogue, ..self.conv };
        let (suffix, extra) = match epilogue {
            Epilogue::None => ("", 0),
            Epilogue::Statistics => ("-stats", 0),
            Epilogue::ScaleShift { outer: false, relu: false } => ("-scale", 1),
            Epilogue::ScaleShift { outer: false, relu: true } => ("-scale-relu", 1),
            Epilogue::ScaleShift { outer: true, relu: false } => ("-scale-outer", 2),
            Epilogue::ScaleShift { outer: true, relu: true } => ("-scale-outer-relu", 2),
        };
        let mut row = Row::new(conv, self.form(identity, suffix), [self.image.into(), self.filter()]);
        if conv.projected {
            row = row.with(self.filter(), Fill::Normal);
        }
        if extra > 0 {
            row = row.with([2, self.k], Fill::Normal);
        }
        if extra > 1 {
            row = row.with(self.output(), Fill::Normal);
        }
        row.sums(self.size * self.size * self.image[3])
    }
    fn data_grad(&self, identity: usize, addend: Addend, epilogue: GradEpilogue) -> Row {
        let conv = Conv2d { identity, ..self.conv };
        let op = Conv2dDataGrad { conv, input: self.image.into(), addend, epilogue };
        let branches = epilogue.branches();
        let (suffix, addends) = match addend {
            Addend::None => ("", vec![]),
            Addend::Tensor => ("-add", vec![Fill::Normal]),
            Addend::Masked => ("-masked", vec![Fill::Normal, Fill::Mask]),
        };
        let end = ["", "-relu", "-relu-projection"][branches];
        let form = self.form(identity, &format!("{suffix}{end}"));
        let mut row = Row::new(op, form, [self.output(), self.filter()]);
        if conv.projected {
            row = row.with(self.output(), Fill::Normal).with(self.filter(), Fill::Normal);
        }
        let mut row = addends.into_iter().fold(row, |row, fill| row.with(self.image, fill));
        if branches > 0 {
            row = row.with(self.image, Fill::Mask);
        }
        for _ in 0..branches {
            row = row.with(self.image, Fill::Normal).with([2, self.image[3]], Fill::Statistics);
        }
        row.sums(conv.branches() * self.size * self.size * self.k)
    }
    fn weight_grad(&self) -> Row {
        let op = Conv2dWeightGrad { conv: self.conv, filter: self.filter() };
        let mut row = Row::new(op, self.form(0, ""), [self.image.into(), self.output()]);
        if self.conv.projected {
            row = row.with(self.output(), Fill::Normal);
        }
        row.sums(self.output().rows())
    }
}

/// The filters of several layers together, with and without E.
fn shadow_weights() -> Vec<Row> {
    let filters: [[usize; 4]; 5] =
        [[10, 3, 3, 3], [12, 3, 3, 12], [33, 1, 1, 20], [3, 5, 5, 7], [8, 3, 3, 16]];
    let forms = [("plain", [0; 5]), ("identity", [2, 6, 20, 0, 8]), ("identity-all", [3, 12, 10, 3, 1])];
    let row = |(form, identities): (&str, [usize; 5])| {
        Row::new(ShadowWeights { identities: identities.to_vec() }, form, filters.map(Shape::from))
    };
    // More than one launch takes.
    let many = ShadowWeights { identities: vec![1; 70] };
    let many =
        (0..70).fold(Row::new(many, "many", []), |row, i| row.with([1 + i % 3, 3, 3, 2], Fill::Normal));
    forms.map(row).into_iter().chain([many]).collect()
}

/// Layer 1 and a projection together, with E and without, and every addend and epilogue of the gradient.
fn projection(geometry: Geometry) -> Vec<Row> {
    let identity = geometry.identities().get(1).copied().unwrap_or(0);
    let relu = |projected| GradEpilogue::Relu { projected };
    vec![
        geometry.forward(0, Epilogue::None),
        geometry.forward(identity, Epilogue::Statistics),
        geometry.data_grad(0, Addend::None, GradEpilogue::None),
        geometry.data_grad(identity, Addend::Masked, GradEpilogue::None),
        geometry.data_grad(identity, Addend::None, relu(false)),
        geometry.data_grad(identity, Addend::Tensor, relu(true)),
        geometry.weight_grad(),
    ]
}

/// Conv2d, Conv2dDataGrad, Conv2dWeightGrad and ShadowWeights.
pub(super) fn rows() -> Vec<Row> {
    let scaled = |outer, relu| Epilogue::ScaleShift { outer, relu };
    let epilogues = [
        Epilogue::None,
        Epilogue::Statistics,
        scaled(false, false),
        scaled(false, true),
        scaled(true, false),
        scaled(true, true),
    ];
    let mut rows = shadow_weights();
    for geometry in &GEOMETRIES {
        for identity in geometry.identities() {
            rows.extend(epilogues.map(|epilogue| geometry.forward(identity, epilogue)));
            let relu = |projected| GradEpilogue::Relu { projected };
            // Every addend and every epilogue, if not each with each.
            let ends = [
                (Addend::None, GradEpilogue::None),
                (Addend::Tensor, GradEpilogue::None),
                (Addend::Masked, GradEpilogue::None),
                (Addend::None, relu(false)),
                (Addend::Tensor, relu(true)),
                (Addend::Masked, relu(false)),
            ];
            rows.extend(ends.map(|(addend, end)| geometry.data_grad(identity, addend, end)));
        }
        rows.push(geometry.weight_grad());
    }
    for geometry in FOR_TENSOR_CORES.iter().chain(&FOR_HOPPER) {
        let identity = (geometry.image[3] / 2).min(geometry.k);
        rows.push(geometry.forward(identity, Epilogue::Statistics));
        rows.push(geometry.forward(identity, scaled(true, true)));
        rows.push(geometry.data_grad(identity, Addend::Masked, GradEpilogue::None));
        rows.push(geometry.data_grad(identity, Addend::Tensor, GradEpilogue::Relu { projected: true }));
        rows.push(geometry.weight_grad());
    }
    // Several tiles a block, of one step each; and such as go out by bulk copies.
    rows.push(same([9, 12, 12, 64], 128, 1, 1).forward(32, Epilogue::Statistics));
    rows.push(same([11, 8, 16, 96], 32, 3, 1).data_grad(32, Addend::None, GradEpilogue::None));
    // Where a block projects, it strides.
    let strided = FOR_TENSOR_CORES.iter().filter(|geometry| geometry.conv.stride > 1);
    rows.extend(GEOMETRIES.iter().chain(strided).map(Geometry::projected).flat_map(projection));
    // One image more than two of any tile's rows, so that a reduction over pixels takes several rounds.
    rows.push(same([9, 16, 16, 10], 20, 3, 1).weight_grad());
    rows.push(same([9, 16, 16, 8], 16, 3, 1).weight_grad());
    rows.push(same([9, 16, 16, 10], 20, 3, 1).forward(5, Epilogue::Statistics));
    for (addend, projected, stride) in
        [(Addend::None, false, 1), (Addend::Tensor, true, 1), (Addend::None, false, 2)]
    {
        let geometry = same([9, 16, 16, 10], 20, 3, stride);
        rows.push(geometry.data_grad(5, addend, GradEpilogue::Relu { projected }));
    }
    rows
}
