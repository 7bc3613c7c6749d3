//! The layers of a network with two streams.

use super::quarters::Filter;
use crate::error::{Error, Result};
use crate::nn::{Body, Description};
use crate::train::Session;

/// A layer whose output has two streams: the stem, or a generalized layer.
pub(super) struct Layer {
    pub name: String,
    /// For axes and tables.
    pub short: String,
    /// From 1; 0 of the stem.
    pub group: usize,
    /// Of its output.
    pub channels: usize,
    /// The first of them, which are r.
    pub residual: usize,
    /// Pixels of its output.
    pub pixels: usize,
    /// Of a generalized layer.
    pub filter: Option<Filter>,
}

/// The layers in order, as [`Description::layer_names`] counts them.
///
/// # Errors
/// If the network has not two streams everywhere.
pub(super) fn of(session: &Session) -> Result<Vec<Layer>> {
    let (model, image) = (&session.options().model, session.options().image);
    if !model.family.has_identity() {
        return Err(Error::model(format!(
            "'{}' is of the family {}, whose layers have no two streams; analyze a network of the family rir or \
             resnet-init",
            model.name,
            model.family.name()
        )));
    }
    let mut extents = if model.flatten { [1, 1] } else { [image[0], image[1]] };
    let mut inputs = 0;
    let geometry = geometry(model);
    model.layer_names().into_iter().zip(geometry).map(|(name, Geometry { group, width, stride })| {
        let residual = model.residual(width);
        if !(1..width).contains(&residual) {
            return Err(Error::model(format!(
                "'{}' has no two streams in {name}: a residual share of {} of its {width} channels is {residual}",
                model.name, model.residual_share
            )));
        }
        extents = extents.map(|extent| extent.div_ceil(stride));
        let filter = (name != "stem")
            .then(|| Filter::find(session.layout(), &name, (model.residual(inputs), residual)))
            .transpose()?;
        inputs = width;
        let short = name.replace("group", "").replace("block", "").replace("layer", "");
        let pixels = extents[0] * extents[1];
        Ok(Layer { short, group, channels: width, residual, pixels, filter, name })
    }).collect()
}

struct Geometry {
    group: usize,
    width: usize,
    stride: usize,
}

fn geometry(model: &Description) -> Vec<Geometry> {
    let mut geometry = vec![Geometry { group: 0, width: model.stem, stride: 1 }];
    match &model.body {
        Body::Groups(groups) => {
            for (g, group) in groups.iter().enumerate() {
                let stride = |i| if i == 0 { group.stride } else { 1 };
                let layers = (0..group.blocks * model.layers_per_block).map(stride);
                geometry.extend(layers.map(|stride| Geometry { group: g + 1, width: group.width, stride }));
            }
        }
        Body::Layers(layers) => {
            geometry.extend(layers.iter().map(|l| Geometry { group: 1, width: l.width, stride: l.stride }));
        }
    }
    geometry
}
