//! Data sets: reading, splitting, augmenting and loading them.
//!
//! A [`Dataset`] is two [`Images`] (training and test) as bytes in memory. [`load`] finds and reads one;
//! [`split`] takes validation sets and subsets from it; [`Normaliser`] and [`Augment`] say how a byte image
//! becomes a network's input; [`Loader`] prepares batches in the background. Every random choice is a pure
//! function of (seed, purpose, epoch, sample), so a resumed run, and any device, sees the same batches.

mod archive;
mod augment;
mod cifar;
mod dataset;
mod decode;
mod folder;
mod loader;
mod normalise;
mod order;
mod pickle;
mod source;
pub mod split;
mod synthetic;

pub use augment::{Augment, AugmentDraw, Border, Cut, Flip, write_sample};
pub use dataset::{Dataset, Images};
pub use decode::decode_image;
pub use folder::SplitRecord;
pub use loader::{Batch, Loader, TrainOptions};
pub use normalise::{Normaliser, Preprocess};
pub use order::epoch_order;
pub use source::{DataSpec, LoadOptions, Loaded, load};
pub use synthetic::{TEST as SYNTHETIC_TEST, TRAIN as SYNTHETIC_TRAIN, synthetic};
