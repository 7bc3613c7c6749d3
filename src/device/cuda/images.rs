//! The kernels as this build compiled them for cards.

use std::fmt;
use std::io::Read;

use crate::error::{Error, Result};

/// What an image runs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Architecture {
    /// The compute capability it was compiled for, (major, minor).
    pub capability: (i32, i32),
    /// It uses instructions that no other capability has (`sm_90a`).
    pub exact: bool,
    /// PTX, which the driver compiles for its card, rather than machine code.
    pub ptx: bool,
}

/// Jetson Orin: machine code of the desktop's cards does not run on Tegra's.
const ORIN: (i32, i32) = (8, 7);

impl Architecture {
    /// Whether a card of `capability` runs it. Machine code runs on the same major capability from its own minor one
    /// up; PTX on everything from its own up.
    fn runs_on(self, capability: (i32, i32)) -> bool {
        if self.exact {
            self.capability == capability
        } else if self.ptx {
            self.capability <= capability
        } else if capability == ORIN {
            self.capability == ORIN
        } else {
            self.capability.0 == capability.0 && self.capability.1 <= capability.1
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, (major, minor)) = (if self.ptx { "compute" } else { "sm" }, self.capability);
        f.pad(&format!("{kind}_{major}{minor}{}", if self.exact { "a" } else { "" }))
    }
}

/// One family of kernels for one architecture.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// The file it was compiled from: its path below `kernels/`, `/` as `_`.
    pub family: &'static str,
    /// What it runs on.
    pub architecture: Architecture,
    /// The names of its kernels.
    pub kernels: &'static [&'static str],
    /// The image, compressed by zlib.
    pub compressed: &'static [u8],
}

impl Image {
    /// The image as the driver takes it: an ELF file, or PTX.
    ///
    /// # Errors
    /// A binary that was damaged.
    pub fn load(&self) -> Result<Vec<u8>> {
        let mut image = Vec::new();
        flate2::read::ZlibDecoder::new(self.compressed).read_to_end(&mut image).map_err(|e| {
            let family = self.family;
            Error::device(format!(
                "the CUDA kernels of {family} in this program are damaged ({e}): install rir again"
            ))
        })?;
        Ok(image)
    }
}

/// All images of a build.
#[derive(Debug, Clone, Copy)]
pub struct Images {
    /// One a family and architecture.
    pub all: &'static [Image],
    /// The release of CUDA that compiled them, (major, minor).
    pub toolkit: (i32, i32),
}

static BUILT: Images = Images {
    all: &include!(concat!(env!("OUT_DIR"), "/images.rs")),
    toolkit: include!(concat!(env!("OUT_DIR"), "/toolkit.rs")),
};

/// The images of this build; none, where it had no nvcc.
pub fn images() -> Images {
    BUILT
}

/// What ptxas said of every kernel of this build: a JSON array of objects.
pub fn ptxas_report() -> &'static str {
    include_str!(concat!(env!("OUT_DIR"), "/ptxas.json"))
}

impl Images {
    /// The best image of each family for a card: what was compiled for it alone, else the nearest machine code, else
    /// the newest PTX. A family that has no image for the card is left out.
    pub fn for_card(&self, capability: (i32, i32)) -> Vec<Image> {
        let mut best: Vec<Image> = Vec::new();
        for image in self.all.iter().filter(|image| image.architecture.runs_on(capability)) {
            let rank = |image: &Image| {
                let Architecture { exact, ptx, capability } = image.architecture;
                (exact, !ptx, capability)
            };
            match best.iter_mut().find(|other| other.family == image.family) {
                Some(other) if rank(other) < rank(image) => *other = *image,
                Some(_) => {}
                None => best.push(*image),
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn image(family: &'static str, capability: (i32, i32), exact: bool, ptx: bool) -> Image {
        Image { family, architecture: Architecture { capability, exact, ptx }, kernels: &[], compressed: &[] }
    }

    static ALL: [Image; 5] = [
        image("relu", (8, 0), false, false),
        image("relu", (9, 0), true, false),
        image("relu", (12, 0), false, false),
        image("relu", (8, 0), false, true),
        image("conv2d_hopper", (9, 0), true, false),
    ];

    #[test]
    fn a_card_gets_the_best_image_that_it_runs() {
        let images = Images { all: &ALL, toolkit: (13, 0) };
        let chosen = |capability| -> Vec<(&str, (i32, i32), bool)> {
            let of = |i: &Image| (i.family, i.architecture.capability, i.architecture.ptx);
            images.for_card(capability).iter().map(of).collect()
        };
        assert_eq!(chosen((8, 0)), [("relu", (8, 0), false)]);
        assert_eq!(chosen((8, 9)), [("relu", (8, 0), false)]);
        assert_eq!(chosen((9, 0)), [("relu", (9, 0), false), ("conv2d_hopper", (9, 0), false)]);
        assert_eq!(chosen((10, 0)), [("relu", (8, 0), true)]);
        assert_eq!(chosen((12, 1)), [("relu", (12, 0), false)]);
        assert_eq!(chosen((13, 0)), [("relu", (8, 0), true)]);
        assert!(chosen((7, 5)).is_empty());
    }

    #[test]
    fn a_damaged_image_is_no_panic() {
        assert!(image("relu", (8, 0), false, false).load().unwrap_err().to_string().contains("relu"));
    }

    #[test]
    fn every_image_of_this_build_is_whole() {
        for image in images().all {
            let bytes = image.load().unwrap();
            assert!(bytes.starts_with(b"\x7fELF") != image.architecture.ptx, "{}", image.family);
            assert!(!image.kernels.is_empty(), "{}", image.family);
        }
    }
}
