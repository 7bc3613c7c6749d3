//! Small networks: one of each kind, and a strategy that draws any.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed};
use rir::nn::{Body, Description, Family, Form, Group, Head, Layer, Options, Projection, Purpose};

/// Every family.
pub const FAMILIES: [Family; 4] = [Family::Cnn, Family::Resnet, Family::ResnetInit, Family::Rir];

/// A network of one block a group, whose groups after the first halve the resolution.
pub fn network(family: Family, widths: &[usize]) -> Description {
    let group = |(i, &width): (usize, &usize)| Group { width, blocks: 1, stride: if i == 0 { 1 } else { 2 } };
    Description {
        name: "test".into(),
        family,
        stem: widths[0],
        size: 3,
        flatten: false,
        layers_per_block: 2,
        residual_share: 0.5,
        projection: Projection::Conv3x3,
        outer_relu: true,
        form: Form::OneConvolution,
        head: Head::Linear,
        body: Body::Groups(widths.iter().enumerate().map(group).collect()),
    }
}

/// The same network with this many blocks in every group.
pub fn with_blocks(mut description: Description, blocks: usize) -> Description {
    if let Body::Groups(groups) = &mut description.body {
        groups.iter_mut().for_each(|group| group.blocks = blocks);
    }
    description
}

/// Networks that together have every family, projection, head, form, body and switch.
pub fn one_of_each() -> Vec<(&'static str, Description)> {
    let rir = |widths: &[usize]| network(Family::Rir, widths);
    let layer = |width, size, stride| Layer { width, size, stride };
    vec![
        ("cnn", network(Family::Cnn, &[4, 6])),
        ("resnet", network(Family::Resnet, &[4, 7])),
        ("resnet-1x1", Description { projection: Projection::Conv1x1, ..network(Family::Resnet, &[5, 6]) }),
        ("resnet-init", network(Family::ResnetInit, &[5, 8])),
        ("rir", with_blocks(rir(&[4, 6]), 2)),
        ("rir-1x1", Description { projection: Projection::Conv1x1, ..rir(&[4, 6]) }),
        ("rir-pad", Description { projection: Projection::Pad, ..rir(&[4, 6]) }),
        ("rir-conv-head", Description { head: Head::Conv, ..rir(&[4, 6]) }),
        ("rir-three-layers", Description { layers_per_block: 3, ..rir(&[4, 6]) }),
        ("rir-one-layer", Description { layers_per_block: 1, ..rir(&[4, 6]) }),
        ("rir-no-outer-relu", Description { outer_relu: false, ..rir(&[4, 6]) }),
        ("rir-quarter", Description { residual_share: 0.25, ..rir(&[8, 6]) }),
        ("rir-four", Description { form: Form::FourConvolutions, ..rir(&[4, 6]) }),
        ("rir-mlp", Description { size: 1, flatten: true, ..with_blocks(rir(&[6]), 2) }),
        (
            "resnet-init-layers",
            Description {
                body: Body::Layers(vec![layer(6, 3, 1), layer(8, 3, 2), layer(5, 1, 1)]),
                head: Head::Conv,
                ..network(Family::ResnetInit, &[4])
            },
        ),
    ]
}

/// The same cases in every run; a failure shrinks, and prints the network.
pub fn config(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(20160325), failure_persistence: None, ..Config::default() }
}

/// Any network of the zoo's kinds, with a batch and an image that suit it.
///
/// Every batch norm sees at least eight elements a channel: of two, the normalised ones are plus and minus one
/// whatever the weights, and every gradient is a difference of equals.
pub fn any_network() -> impl Strategy<Value = (Description, Options)> {
    let family = prop::sample::select(FAMILIES.to_vec());
    let projection = prop::sample::select(vec![Projection::Conv3x3, Projection::Conv1x1, Projection::Pad]);
    let head = prop::sample::select(vec![Head::Linear, Head::Conv]);
    let form = prop::sample::select(vec![Form::OneConvolution, Form::FourConvolutions]);
    let share = prop::sample::select(vec![0.0, 0.25, 0.5, 0.75, 1.0]);
    let width = prop::sample::select(vec![4usize, 5, 6, 8, 11]);
    let group = (width.clone(), 1usize..=2, 1usize..=2).prop_map(|(width, blocks, stride)| Group {
        width,
        blocks,
        stride,
    });
    let layer = (width.clone(), prop::sample::select(vec![1usize, 3, 5]), 1usize..=2)
        .prop_map(|(width, size, stride)| Layer { width, size, stride });
    let body = prop_oneof![
        4 => prop::collection::vec(group, 1..=3).prop_map(Body::Groups),
        1 => prop::collection::vec(layer, 1..=3).prop_map(Body::Layers),
    ];
    let flags = (any::<bool>(), any::<bool>(), prop::bool::weighted(0.1));
    let model = (family, projection, head, form, share, width, body, 1usize..=3, flags);
    let options = (2usize..=5, 5usize..=9, 5usize..=9, 1usize..=3, 2usize..=5);
    (model, options)
        .prop_map(|((family, projection, head, form, share, stem, body, layers, flags), options)| {
            let (outer_relu, smooth, flatten) = flags;
            let (batch, h, w, c, classes) = options;
            let description = Description {
                stem,
                size: if flatten { 1 } else { 3 },
                flatten,
                layers_per_block: layers,
                residual_share: share,
                projection,
                outer_relu,
                form,
                head,
                body,
                ..network(family, &[4])
            };
            let batch = if flatten { batch + 8 } else { batch };
            let mut options = Options::new(Purpose::Train, batch, [h, w, c], classes);
            options.label_smoothing = if smooth { 0.1 } else { 0.0 };
            (description, options)
        })
        .prop_filter("a valid description whose last layer sees enough elements", |(d, o)| {
            let shrink: usize = match &d.body {
                Body::Groups(groups) => groups.iter().map(|g| g.stride).product(),
                Body::Layers(layers) => layers.iter().map(|l| l.stride).product(),
            };
            let pixels = o.image[0].div_ceil(shrink) * o.image[1].div_ceil(shrink);
            d.validate().is_ok() && (d.flatten || o.batch * pixels >= 8)
        })
}
