//! Why training diverged: the layer where the numbers first went wrong.

use super::session::Session;
use crate::error::Result;
use crate::graph::Region;

/// Says in a clause where a batch (N, H, W, C) with labels (N) breaks the network.
///
/// # Errors
/// If the device failed.
pub(super) fn diagnose(session: &mut Session, images: &[f32], labels: &[i32]) -> Result<String> {
    if let Some(name) = damaged_weights(session)? {
        return Ok(format!("{name} is not finite any more"));
    }
    if images.iter().any(|x| !x.is_finite()) {
        return Ok("the batch's images are not finite".into());
    }
    let plan = session.examine(images, labels)?;
    for name in session.result_names(plan) {
        let Some(layer) = name.strip_prefix("activation.").or((name == "logits").then_some("head")) else {
            continue;
        };
        if has_not_finite(&session.result(plan, &name)?) {
            return Ok(format!("the first layer whose output is not finite is {layer}"));
        }
    }
    // Backward, gradients are made from the last parameter to the first.
    let names: Vec<String> = session.layout().parameters.iter().map(|p| p.name.clone()).collect();
    let mut largest = (f64::NEG_INFINITY, "");
    for (i, name) in names.iter().enumerate().rev() {
        let gradient = session.state(Region::Gradients, i)?;
        if has_not_finite(&gradient) {
            return Ok(format!("the first gradient that is not finite is that of {name}"));
        }
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        if norm > largest.0 {
            largest = (norm, name);
        }
    }
    Ok(format!("the largest gradient is that of {} (norm {:.3e})", largest.1, largest.0))
}

/// The first parameter or statistic that holds a number that is not finite.
///
/// # Errors
/// If the device failed.
pub(super) fn damaged_weights(session: &mut Session) -> Result<Option<String>> {
    let parameters = session.layout().parameters.iter().map(|p| p.name.clone()).enumerate();
    let running = session.layout().running.iter().map(|r| r.name.clone()).enumerate();
    let tensors: Vec<_> = (parameters.map(|(i, name)| (Region::Parameters, i, name)))
        .chain(running.map(|(i, name)| (Region::Running, i, name)))
        .collect();
    for (region, i, name) in tensors {
        if has_not_finite(&session.state(region, i)?) {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

fn has_not_finite(values: &[f64]) -> bool {
    values.iter().any(|x| !x.is_finite())
}
