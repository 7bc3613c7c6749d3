//! Whether a card can be used: each way in which it cannot is one sentence with its remedy.

use cudarc::driver::{DriverError, sys};

use super::fault;
use crate::device::cuda::images::{Image, Images};
use crate::device::cuda::kernels::Generation;
use crate::device::cuda::probe::{Card, cards};
use crate::error::{Error, Result};

/// The oldest cards that the kernels are written for.
const OLDEST: (i32, i32) = (8, 0);
/// Those of [`Generation::Hopper`]; and the oldest whose kernels wait for the launches before them by themselves
/// (`kernels/ptx_launch.cuh`).
const HOPPER: (i32, i32) = (9, 0);

/// The card, if this build's kernels can run on it.
///
/// # Errors
/// No driver, or one too old; no such card, or one too old; no kernels for it in this build.
pub(super) fn usable(ordinal: usize, images: &Images) -> Result<Card> {
    let cards = cards().map_err(|e| e.at(format_args!("cuda:{ordinal}")))?;
    let card = choose(ordinal, cards).map_err(Error::device)?;
    let installed = installed_release().map_err(|e| {
        let said = fault::words(&e);
        Error::device(format!(
            "cuda:{ordinal}: the CUDA driver does not say its version: {said}; reinstall it"
        ))
    })?;
    serves(&card, installed, images).map_err(Error::device)?;
    Ok(card)
}

/// The release of CUDA that the driver was made for.
pub(super) fn installed_release() -> std::result::Result<(i32, i32), DriverError> {
    let mut version = 0;
    // SAFETY: `cards` has found the driver, and the call writes one integer.
    unsafe { sys::cuDriverGetVersion(&raw mut version).result()? };
    Ok((version / 1000, version % 1000 / 10))
}

/// How that release is called.
pub(super) fn release_name((major, minor): (i32, i32)) -> String {
    format!("CUDA {major}.{minor}")
}

/// A usable card, the release of its driver, and what it has that kernels of `images` use.
///
/// # Errors
/// As [`usable`].
pub(super) fn identity(ordinal: usize, images: &Images) -> Result<(Card, String, Generation)> {
    let card = usable(ordinal, images)?;
    let release = installed_release().map(release_name).unwrap_or_default();
    let generation = generation(card.capability, images);
    Ok((card, release, generation))
}

/// What a card of this capability has that kernels of `images` use.
pub(super) fn generation(capability: (i32, i32), images: &Images) -> Generation {
    let own = images.for_card(capability).iter().any(|image| image.architecture.exact);
    if capability == HOPPER && own { Generation::Hopper } else { Generation::Ampere }
}

/// Whether the kernels of an image wait for the launches before them by themselves: a matter of what they were compiled
/// for, not of the card.
pub(super) fn waits_in(image: &Image) -> bool {
    image.architecture.capability >= HOPPER
}

/// Whether kernels of `images` do so on a card of this capability.
pub(super) fn waits(capability: (i32, i32), images: &Images) -> bool {
    images.for_card(capability).iter().any(waits_in)
}

fn choose(ordinal: usize, cards: Option<Vec<Card>>) -> std::result::Result<Card, String> {
    let Some(cards) = cards else {
        return Err(format!(
            "cuda:{ordinal}: no CUDA driver (libcuda) was found: install NVIDIA's driver, or use --device cpu"
        ));
    };
    let known: Vec<String> =
        cards.iter().map(|card| format!("cuda:{} ({})", card.ordinal, card.name)).collect();
    if known.is_empty() {
        return Err(format!(
            "cuda:{ordinal}: the CUDA driver shows no card: nvidia-smi lists what is installed, and \
             CUDA_VISIBLE_DEVICES may hide it; --device cpu works without"
        ));
    }
    let there_is = known.join(", ");
    cards
        .into_iter()
        .find(|card| card.ordinal == ordinal)
        .ok_or_else(|| format!("cuda:{ordinal}: there is no card {ordinal}, only {there_is}"))
}

/// Whether a driver made for release `installed` runs `images` on `card`.
fn serves(card: &Card, installed: (i32, i32), images: &Images) -> std::result::Result<(), String> {
    let Card { ordinal, name, capability, .. } = card;
    let (major, minor) = *capability;
    if *capability < OLDEST {
        return Err(format!(
            "cuda:{ordinal}: {name} has compute capability {major}.{minor}, and the kernels need {}.{} (Ampere) or \
             newer: use --device cpu",
            OLDEST.0, OLDEST.1
        ));
    }
    if images.all.is_empty() {
        return Err(format!(
            "cuda:{ordinal}: {name} is present, but this build holds no CUDA kernels: build again where there is an \
             nvcc (kernels/get-nvcc.sh fetches one), or use --device cpu"
        ));
    }
    // Machine code of a release runs under every driver of the same major release.
    let needed = (images.toolkit.0, 0);
    if installed < needed {
        return Err(format!(
            "cuda:{ordinal}: the CUDA driver is for release {}.{}, and the kernels of this build need one for {}.{} or \
             newer: update NVIDIA's driver{}, or use --device cpu",
            installed.0,
            installed.1,
            needed.0,
            needed.1,
            if needed.0 == 13 { " to version 580 or newer" } else { "" }
        ));
    }
    let chosen = images.for_card(*capability);
    // PTX needs a driver that knows its version: no older a release than the compiler's.
    if chosen.iter().any(|image| image.architecture.ptx) && installed < images.toolkit {
        return Err(format!(
            "cuda:{ordinal}: {name} needs the kernels of this build as PTX, which a driver for release {}.{} cannot read: \
             update NVIDIA's driver to one for {}.{}, or build with RIR_CUDA_ARCHS={major}{minor}",
            installed.0, installed.1, images.toolkit.0, images.toolkit.1
        ));
    }
    if chosen.is_empty() {
        return Err(format!(
            "cuda:{ordinal}: this build holds no kernels for {name} (compute capability {major}.{minor}): build again \
             without RIR_CUDA_ARCHS, or with one that includes {major}{minor}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::images::Architecture;

    const SM_90A: Architecture = Architecture { capability: HOPPER, exact: true, ptx: false };
    static ALL: [Image; 1] = [Image { family: "relu", architecture: SM_90A, kernels: &[], compressed: &[] }];

    fn card(capability: (i32, i32)) -> Card {
        Card { ordinal: 0, name: "NVIDIA H100".into(), memory: 1, capability }
    }

    #[test]
    fn every_lack_is_said_with_its_remedy() {
        assert!(choose(0, None).unwrap_err().contains("install NVIDIA's driver"));
        assert!(choose(0, Some(vec![])).unwrap_err().contains("CUDA_VISIBLE_DEVICES"));
        assert!(choose(3, Some(vec![card((9, 0))])).unwrap_err().contains("only cuda:0 (NVIDIA H100)"));

        let images = Images { all: &ALL, toolkit: (13, 0) };
        assert_eq!(serves(&card((9, 0)), (13, 0), &images), Ok(()));
        assert_eq!(serves(&card((9, 0)), (13, 2), &images), Ok(()));
        assert_eq!(generation((9, 0), &images), Generation::Hopper);
        assert_eq!(generation((10, 0), &images), Generation::Ampere);
        assert_eq!(generation((9, 0), &Images { all: &[], ..images }), Generation::Ampere);
        assert!(waits((9, 0), &images) && !waits((10, 0), &images));
        let lack = |capability, installed, images| serves(&card(capability), installed, images).unwrap_err();
        assert!(lack((7, 5), (13, 0), &images).contains("7.5"));
        assert!(lack((9, 0), (12, 8), &images).contains("release 12.8"));
        assert!(lack((9, 0), (12, 8), &images).contains("580"));
        assert!(lack((8, 6), (13, 0), &images).contains("includes 86"));
        assert!(lack((9, 0), (13, 0), &Images { all: &[], toolkit: (0, 0) }).contains("get-nvcc.sh"));
    }
}
