//! Hand-computed tiles, corners and patches of the layers of the paper, and of shapes that fit badly.

use super::pixels::{Class, Corners, Patch};
use super::*;
use crate::device::cuda::choices::h100::MULTIPROCESSORS;
use crate::device::cuda::launch::{Address, Launch, View};
use crate::graph::Shape;
use crate::ops::{Conv2d, Conv2dDataGrad, Conv2dWeightGrad};

/// Each takes no more than the one before.
const FORMS: [Kernels; 6] = [
    Kernels::Wgmma,
    Kernels::WgmmaWs,
    Kernels::WgmmaPersistent,
    Kernels::WgmmaCluster,
    Kernels::WgmmaHalo,
    Kernels::WgmmaResident,
];

/// The three products of images of these extents by `k` filters.
fn products(image: [usize; 4], k: usize, size: usize, stride: usize) -> [(Op, Extents); 3] {
    let (conv, x, w) =
        (Conv2d::same(size, stride), Shape::from(image), Shape::from([k, size, size, image[3]]));
    let ops: [Op; 3] = [
        conv.into(),
        Conv2dDataGrad::new(conv, x.clone()).into(),
        Conv2dWeightGrad { conv, filter: w.clone() }.into(),
    ];
    ops.map(|op| {
        let extents = Extents::new(&op, &x, &w);
        (op, extents)
    })
}

/// The last form that suits each product, each with all before it.
fn suiting(image: [usize; 4], k: usize, size: usize, stride: usize) -> [Option<Kernels>; 3] {
    products(image, k, size, stride).map(|(op, extents)| {
        let suit = FORMS.map(|form| suits(form, &op, &extents));
        assert!(suit.is_sorted_by(|before, after| before >= after), "{op:?}: {suit:?}");
        FORMS.into_iter().zip(suit).rfind(|(_, suits)| *suits).map(|(form, _)| form)
    })
}

#[test]
fn the_layers_of_the_network_have_every_form() {
    let [resident, halo, cluster] =
        [Kernels::WgmmaResident, Kernels::WgmmaHalo, Kernels::WgmmaCluster].map(Some);
    for (extent, channels, most) in [(32, 96, resident), (16, 192, halo), (8, 384, halo)] {
        assert_eq!(suiting([500, extent, extent, channels], channels, 3, 1), [most, most, halo]);
    }
    // The first of a stage, and its projection: 96 channels are three spans, 192 filters of the first tap too.
    assert_eq!(suiting([500, 32, 32, 96], 192, 3, 2), [cluster; 3]);
    assert_eq!(suiting([500, 32, 32, 96], 192, 1, 2), [cluster; 3]);
    // The stem.
    assert_eq!(suiting([500, 32, 32, 3], 96, 3, 1), [None, None, None]);
}

#[test]
fn copies_store_what_is_only_rounded() {
    let (x, w) = (Shape::from([2, 7, 5, 64]), Shape::from([64, 3, 3, 64]));
    let takes = |op: Op| suits(Kernels::WgmmaStore, &op, &Extents::new(&op, &x, &w));
    let conv = Conv2d::same(3, 1);
    assert!(takes(conv.into()));
    assert!(takes(Conv2d { epilogue: Epilogue::Statistics, identity: 32, ..conv }.into()));
    assert!(takes(Conv2d::same(3, 2).into()));
    assert!(!takes(Conv2d { identity: 12, ..conv }.into()));
    let scaled = Epilogue::ScaleShift { outer: false, relu: false };
    assert!(!takes(Conv2d { epilogue: scaled, ..conv }.into()));

    let data = Conv2dDataGrad::new(conv, x.clone());
    assert!(takes(data.clone().into()));
    assert!(!takes(Conv2dDataGrad { addend: Addend::Tensor, ..data.clone() }.into()));
    assert!(!takes(Conv2dDataGrad { epilogue: GradEpilogue::Relu { projected: false }, ..data }.into()));
    assert!(!takes(Conv2dDataGrad::new(Conv2d::same(3, 2), x.clone()).into()));
    assert!(!takes(Conv2dWeightGrad { conv, filter: w.clone() }.into()));
}

#[test]
fn a_form_takes_what_its_copies_can_bring() {
    let cluster = Some(Kernels::WgmmaCluster);
    // A stage of three spans of 32 channels is full of nine taps, not of one or of 25.
    assert_eq!(suiting([2, 7, 5, 32], 64, 3, 1), [cluster; 3]);
    assert_eq!(suiting([2, 7, 5, 32], 64, 1, 1), [None, cluster, cluster]);
    assert_eq!(suiting([2, 7, 5, 64], 32, 5, 1), [cluster, None, cluster]);
    // Classes of four, two, two and one taps.
    assert_eq!(suiting([2, 8, 8, 64], 32, 3, 2), [cluster, None, cluster]);
    // Channels across the depth come by eight; and strides of three have nine classes.
    assert_eq!(suiting([2, 7, 5, 64], 40, 3, 1), [cluster, None, cluster]);
    assert_eq!(suiting([2, 7, 5, 64], 36, 3, 1), [None; 3]);
    assert_eq!(suiting([2, 9, 9, 64], 64, 3, 3), [cluster, None, cluster]);
    assert_eq!(suiting([1, 70, 70, 64], 64, 1, 9), [None; 3]);
}

#[test]
fn patches_are_whole_rows_of_images() {
    let patch = |rows, images| Some(Patch { rows, images });
    let extents = [(32, 32), (16, 16), (8, 8), (4, 16), (16, 8), (64, 16)];
    let patches = [patch(4, 1), patch(8, 1), patch(8, 2), patch(4, 2), patch(16, 1), patch(8, 1)];
    assert_eq!(extents.map(|(height, width)| Patch::of(height, width)), patches);
    // Widths that are no rounds of the swizzle; rows that tiles do not divide; wgmma of two images; too long lines.
    for (height, width) in [(7, 7), (12, 12), (6, 32), (24, 24), (4, 8), (2, 16), (64, 64), (8, 256)] {
        assert_eq!(Patch::of(height, width), None, "{height} x {width}");
    }
}

#[test]
fn corners_hold_the_pixels_of_a_product() {
    let [(_, forward), ..] = products([2, 7, 5, 64], 64, 3, 2);
    assert_eq!(Corners::forward(&forward), Corners { lower: [-1; 2], upper: [-1; 2] });
    // Of 7 x 5 pixels, 4 x 3 have even places and one tap, in the middle; 3 x 2 have odd ones, and two taps a side.
    let class =
        |n| Class::of(&forward, n).map(|class| (class.taps, class.corners.lower, class.corners.upper));
    assert_eq!(class(0), Some((1, [0, 0], [0, 0])));
    assert_eq!(class(1), Some((2, [0, 0], [-1, 0])));
    assert_eq!(class(2), Some((2, [0, 0], [0, -1])));
    assert_eq!(class(3), Some((4, [0, 0], [-1, -1])));
    assert_eq!(class(4), None);
    let [(_, wide), ..] = products([2, 1, 5, 64], 64, 5, 1);
    let class = Class::of(&wide, 0).unwrap();
    assert_eq!((class.taps, class.corners.lower, class.corners.upper), (25, [-2; 2], [-2; 2]));
    let [(_, single), ..] = products([2, 1, 5, 64], 64, 1, 2);
    assert_eq!(Class::of(&single, 1).unwrap().taps, 0);
    assert!(Class::of(&single, 2).is_none(), "there is no second row");
}

#[test]
fn tiles_and_their_parts() {
    let widths = [8, 64, 96, 128, 160, 192, 256, 384];
    assert_eq!(widths.map(|c| columns(Kernels::Wgmma, false, c)), [64, 64, 96, 128, 192, 192, 128, 192]);
    let [(op, extents), ..] = products([8, 32, 32, 96], 96, 3, 1);
    let tile = |form, columns| Tile::new(form, &op, &extents, columns);
    let parts = |form, columns| (tile(form, columns).part_rows(), tile(form, columns).parts(700));
    assert_eq!(parts(Kernels::WgmmaWs, 96), (64, 12));
    assert_eq!(parts(Kernels::WgmmaPersistent, 96), (128, 6));
    assert_eq!(parts(Kernels::WgmmaPersistent, 192), (64, 12));
    assert_eq!(parts(Kernels::WgmmaCluster, 96), (128, 6));
    assert_eq!(tile(Kernels::WgmmaCluster, 96).parts(900), 8);
    assert_eq!(tile(Kernels::WgmmaCluster, 192).suffix(), "_192_span32");
    assert_eq!(tile(Kernels::WgmmaHalo, 96).suffix(), "_96");
    assert_eq!(tile(Kernels::WgmmaStore, 96).suffix(), "_halo_96");
    let [(op, odd), ..] = products([8, 7, 5, 96], 96, 3, 1);
    assert_eq!(Tile::new(Kernels::WgmmaStore, &op, &odd, 64).suffix(), "_64_span32");
}

#[test]
fn blocks_are_as_many_as_tiles_or_multiprocessors() {
    let (view, none) = (|bytes| View { address: Address(1 << 20), bytes }, 0_u64);
    let [(op, extents), (data_op, data), (weight_op, weight)] = products([3, 16, 16, 96], 96, 3, 1);
    let (x, w) = (view(2 * 3 * 256 * 96), view(2 * 96 * 9 * 96));
    let launch = |form, multiprocessors| {
        let tile = Tile::new(form, &op, &extents, 96);
        let maps = tile.forward_maps(&extents, x, w, x);
        let launch = tile.over(Launch::new("k"), [768, 96], 1, multiprocessors, maps, &none);
        (launch.grid[0], launch.block[0])
    };
    assert_eq!(launch(Kernels::Wgmma, 4), (6, 256));
    assert_eq!(launch(Kernels::WgmmaWs, 4), (6, 384));
    assert_eq!(launch(Kernels::WgmmaPersistent, 4), (4, 384));
    assert_eq!(launch(Kernels::WgmmaPersistent, 132), (6, 384));
    // Pairs of blocks.
    assert_eq!(launch(Kernels::WgmmaCluster, 5), (4, 384));
    assert_eq!(launch(Kernels::WgmmaHalo, 132), (6, 384));
    assert_eq!(launch(Kernels::WgmmaHalo, 0), (2, 384));

    let tile = Tile::new(Kernels::WgmmaHalo, &data_op, &data, 96);
    let maps = tile.data_grad_maps(&data, &[[x, w]], x);
    let launch = tile.over(Launch::new("k"), [768, 96], 1, 4, maps, &none);
    let offsets: Vec<usize> = launch.maps.iter().map(|(offset, _)| *offset).collect();
    assert_eq!((launch.params.len(), offsets), (11 * 128, vec![0, 4 * 128]));
    let tile = Tile::new(Kernels::WgmmaCluster, &weight_op, &weight, 192);
    let maps = tile.weight_grad_maps(&weight, x, x);
    // Four tiles of 256 rows in clusters, one of columns, two splits.
    let launch = tile.over(Launch::new("k"), [864, 96], 2, 132, maps, &none);
    assert_eq!((launch.grid[0], launch.params.len(), launch.maps.len()), (8, 384, 2));
}

#[test]
fn splits_fill_the_multiprocessors() {
    for (extent, channels, columns) in [(32, 96, 96), (16, 192, 192), (8, 384, 192)] {
        let [.., (op, extents)] = products([500, extent, extent, channels], channels, 3, 1);
        for form in FORMS.into_iter().filter(|&form| suits(form, &op, &extents)) {
            let tile = Tile::new(form, &op, &extents, columns);
            let tiles = tile.row_tiles(extents.filter_elements()) * extents.w[0].div_ceil(columns);
            let splits = tile.splits(&extents, 1000);
            let units = MULTIPROCESSORS / tile.sharers();
            let rounds = (splits * tiles).div_ceil(units);
            assert!(
                splits * tiles * 100 >= rounds * units * 80,
                "{form}, {channels} channels: {splits} splits of {tiles} tiles in {rounds} rounds"
            );
        }
    }
    let [.., (op, small)] = products([1, 4, 4, 32], 32, 3, 1);
    assert_eq!(Tile::new(Kernels::Wgmma, &op, &small, 64).splits(&small, 1), 1);
}
