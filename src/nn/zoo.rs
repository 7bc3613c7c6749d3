//! The models by name.

use super::description::{Body, Description, Family, Form, Group, Head, Layer, Projection};
use crate::error::{Error, Result, unknown};

/// Every name, in the order in which help lists them.
pub const NAMES: [&str; 11] = [
    "rir-32",
    "resnet-32",
    "resnet-init-32",
    "cnn-32",
    "rir-18-wide",
    "resnet-18-wide",
    "resnet-init-18-wide",
    "cnn-18-wide",
    "all-cnn-c",
    "resnet-init-all-cnn-c",
    "rir-mlp",
];

/// The description of a named model.
///
/// # Errors
/// For an unknown name, the nearest known one.
pub fn by_name(name: &str) -> Result<Description> {
    let (prefix, family) = [
        ("rir-", Family::Rir),
        ("resnet-init-", Family::ResnetInit),
        ("resnet-", Family::Resnet),
        ("cnn-", Family::Cnn),
    ]
    .into_iter()
    .find(|(prefix, _)| name.starts_with(prefix))
    .unwrap_or(("", Family::Cnn));
    match &name[prefix.len()..] {
        _ if !NAMES.contains(&name) => Err(Error::model(unknown("model", name, &NAMES))),
        "32" => Ok(groups(name, family, Head::Linear, [(16, 5), (32, 5), (64, 5)])),
        "18-wide" => Ok(groups(name, family, Head::Conv, [(96, 2), (192, 3), (384, 3)])),
        "mlp" => Ok(mlp(name)),
        _ => Ok(all_cnn_c(name, family)),
    }
}

/// (width, blocks) of three groups, the second and third at half the resolution of the one before.
fn groups(name: &str, family: Family, head: Head, widths: [(usize, usize); 3]) -> Description {
    let group = |(i, (width, blocks))| Group { width, blocks, stride: if i == 0 { 1 } else { 2 } };
    Description {
        name: name.into(),
        family,
        stem: widths[0].0,
        size: 3,
        flatten: false,
        layers_per_block: 2,
        residual_share: 0.5,
        projection: Projection::Conv3x3,
        outer_relu: true,
        form: Form::OneConvolution,
        head,
        body: Body::Groups(widths.into_iter().enumerate().map(group).collect()),
    }
}

/// A fully connected generalized network: the block is not tied to convolutions (paper: "The generalized residual
/// block"). A fully connected layer is a 1x1 convolution on an image of one pixel.
fn mlp(name: &str) -> Description {
    let body = Body::Groups(vec![Group { width: 256, blocks: 3, stride: 1 }]);
    let base = groups(name, Family::Rir, Head::Linear, [(256, 1); 3]);
    Description { size: 1, flatten: true, body, ..base }
}

/// ALL-CNN-C (Springenberg et al., 2014), with batch norm, its first convolution being the stem.
fn all_cnn_c(name: &str, family: Family) -> Description {
    let layer = |(width, size, stride)| Layer { width, size, stride };
    let layers = [(96, 3, 1), (96, 3, 2), (192, 3, 1), (192, 3, 1), (192, 3, 2), (192, 3, 1), (192, 1, 1)];
    let base = groups(name, family, Head::Conv, [(96, 1); 3]);
    Description { body: Body::Layers(layers.into_iter().map(layer).collect()), ..base }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_valid_description() {
        for name in NAMES {
            let description = by_name(name).unwrap();
            assert_eq!(description.name, name);
            description.validate().unwrap();
        }
    }
}
