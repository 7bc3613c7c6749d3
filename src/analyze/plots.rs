//! An analysis as figures.

use super::{Analysis, Effect, LayerReport, Quarter};
use crate::error::Result;
use crate::plot::{Axis, Heatmap, Level, Lines, Point, Scale, Series};
use crate::text::grouped;

impl Analysis {
    /// The figures as SVG, by the names of their files: accuracy without streams, quarters and identities, the sizes of
    /// weights and of activations, and the likeness of r.
    ///
    /// # Errors
    /// If a figure cannot be drawn.
    pub fn plots(&self) -> Result<Vec<(&'static str, String)>> {
        let mut plots = vec![
            ("streams.svg", self.streams_plot()?),
            ("quarters.svg", self.quarters_plot()?),
            ("identity.svg", self.identity_plot()?),
            ("norms.svg", self.norms_plot()?),
            ("activations.svg", self.activations_plot()?),
        ];
        plots.extend(self.similarity_plot()?.map(|plot| ("similarity.svg", plot)));
        Ok(plots)
    }

    fn streams_plot(&self) -> Result<String> {
        let series = [
            self.effects("without the residual stream r", |layer| Some(layer.without_residual)),
            self.effects("without the transient stream t", |layer| Some(layer.without_transient)),
        ];
        self.accuracy_plot("accuracy with one stream zero behind one layer", &series, &self.levels())
    }

    fn quarters_plot(&self) -> Result<String> {
        let series = Quarter::ALL.map(|quarter| {
            let of =
                |layer: &LayerReport| layer.quarters.iter().find(|q| q.quarter == quarter).map(|q| q.without);
            self.effects(&named(quarter), of)
        });
        // A quarter is a small part: chance, far below, would press its effects together.
        self.accuracy_plot(
            "accuracy with one quarter of one layer's filter zero",
            &series,
            &self.levels()[..1],
        )
    }

    fn identity_plot(&self) -> Result<String> {
        let series = [self.effects("without E in the layer", |layer| layer.without_identity)];
        let mut levels = self.levels();
        levels.push(Level { name: "without E in any layer".into(), y: self.without_identities.accuracy });
        self.accuracy_plot("accuracy without the identity E", &series, &levels)
    }

    fn norms_plot(&self) -> Result<String> {
        let series = Quarter::ALL.map(|quarter| {
            let of =
                |layer: &LayerReport| layer.quarters.iter().find(|q| q.quarter == quarter).map(|q| q.rms);
            self.values(&named(quarter), of)
        });
        self.size_plot(
            "size of a weight in each quarter of a layer's filter",
            "root mean square of a weight",
            &series,
        )
    }

    fn activations_plot(&self) -> Result<String> {
        let series = [
            self.values("residual stream r", |layer| Some(layer.residual_rms)),
            self.values("transient stream t", |layer| Some(layer.transient_rms)),
        ];
        let title = format!("size of the streams behind each layer, {} images", self.similarity_images);
        self.size_plot(&title, "root mean square of an activation", &series)
    }

    fn similarity_plot(&self) -> Result<Option<String>> {
        let Some(similarity) = &self.similarity else { return Ok(None) };
        let values: Vec<Vec<f64>> = similarity
            .iter()
            .map(|row| row.iter().map(|value| value.unwrap_or(f64::NAN)).collect())
            .collect();
        if !values.iter().flatten().any(|value| value.is_finite()) {
            return Ok(None);
        }
        let names: Vec<String> = self.layers.iter().map(|layer| layer.short.clone()).collect();
        let title = format!(
            "{}: likeness of the residual stream behind every two layers, {} images",
            self.model, self.similarity_images
        );
        let plot = Heatmap {
            title: &title,
            names: &names,
            values: &values,
            legend: "debiased linear CKA",
            range: Some((0.0, 1.0)),
            breaks: &starts(&self.places()),
        };
        plot.draw().map(Some)
    }

    fn accuracy_plot(&self, what: &str, series: &[Series], levels: &[Level]) -> Result<String> {
        let synthetic = if self.source.synthetic { "synthetic " } else { "" };
        let title = format!("{} on {}: {what}", self.model, self.source.data);
        let y = format!("{synthetic}test accuracy, % of {} images", grouped(self.images as u64));
        let bars = "; bars: 95 % intervals of the change";
        self.draw(&title, bars, &Axis { title: y, scale: Scale::Linear }, series, levels)
    }

    /// Sizes are compared by their ratios, unless one is 0.
    fn size_plot(&self, what: &str, unit: &str, series: &[Series]) -> Result<String> {
        let is_positive = series.iter().flat_map(|series| &series.points).all(|point| point.y > 0.0);
        let scale = if is_positive { Scale::Log } else { Scale::Linear };
        self.draw(&format!("{}: {what}", self.model), "", &Axis { title: unit.into(), scale }, series, &[])
    }

    /// Over the layers; `remark` follows the title of their axis.
    fn draw(
        &self,
        title: &str,
        remark: &str,
        y: &Axis,
        series: &[Series],
        levels: &[Level],
    ) -> Result<String> {
        OverLayers { title, remark, layers: &self.places(), y, series, levels }.draw()
    }

    /// The layers' short names and groups.
    fn places(&self) -> Vec<(&str, usize)> {
        self.layers.iter().map(|layer| (layer.short.as_str(), layer.group)).collect()
    }

    fn levels(&self) -> Vec<Level> {
        vec![
            Level { name: "the whole network".into(), y: self.accuracy },
            Level { name: "the commonest class".into(), y: self.chance },
        ]
    }

    fn effects(&self, name: &str, of: impl Fn(&LayerReport) -> Option<Effect>) -> Series {
        let points = self.layers.iter().enumerate().filter_map(|(at, layer)| {
            let effect = of(layer)?;
            Some(Point { x: at as f64, y: effect.accuracy, spread: Some(effect.spread) })
        });
        Series { name: name.into(), points: points.collect() }
    }

    fn values(&self, name: &str, of: impl Fn(&LayerReport) -> Option<f64>) -> Series {
        let points = self.layers.iter().enumerate();
        let points =
            points.filter_map(|(at, layer)| Some(Point { x: at as f64, y: of(layer)?, spread: None }));
        Series { name: name.into(), points: points.collect() }
    }
}

/// Values over the layers of a network, its groups apart.
pub(crate) struct OverLayers<'a> {
    /// Above all.
    pub title: &'a str,
    /// Follows the title of the layers' axis.
    pub remark: &'a str,
    /// Short names, and groups.
    pub layers: &'a [(&'a str, usize)],
    /// Values.
    pub y: &'a Axis,
    /// What is drawn, by the layers' places.
    pub series: &'a [Series],
    /// Lines across.
    pub levels: &'a [Level],
}

impl OverLayers<'_> {
    /// The figure as SVG.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn draw(&self) -> Result<String> {
        let Self { title, remark, layers, y, series, levels } = *self;
        let names = layers.iter().map(|(name, _)| name.to_string()).collect();
        let has_groups = layers.iter().any(|(name, _)| name.contains('.'));
        let x = if has_groups { "layer: group.block.layer" } else { "layer" };
        let x = Axis { title: format!("{x}{remark}"), scale: Scale::Named(names) };
        let breaks: Vec<f64> = starts(layers).iter().map(|&at| at as f64 - 0.5).collect();
        Lines { title, x: &x, y, series, levels, breaks: &breaks }.draw()
    }
}

/// The first layer of each group.
fn starts(layers: &[(&str, usize)]) -> Vec<usize> {
    (1..layers.len()).filter(|&at| layers[at].1 != layers[at - 1].1).collect()
}

fn named(quarter: Quarter) -> String {
    format!("{}: {}", quarter.name(), quarter.path())
}
