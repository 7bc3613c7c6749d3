//! Training: sessions, checkpoints, run folders and the loop that joins them.
//!
//! | to | see |
//! |---|---|
//! | train a network, or resume a run | [`train()`], [`train_seeds`] with [`TrainOptions`] |
//! | run a network's plans on a device | [`Session`] |
//! | read and write weights | [`Checkpoint`] |
//! | measure a trained network | [`evaluate()`], [`Evaluation`] |
//! | find a run's files | [`RunFolder`], [`Config`], [`find_checkpoint`] |

mod append;
pub(crate) mod atomic;
pub(crate) mod checkpoint;
mod config;
mod diverged;
mod evaluate;
mod feeder;
mod looping;
mod memory;
mod metrics;
pub(crate) mod names;
mod options;
mod position;
mod prepare;
mod progress;
mod run;
mod seeds;
mod session;
mod stop;
mod summary;
pub(crate) mod tensor;
mod tensorboard;
mod trainer;
mod weights;

pub use checkpoint::{Checkpoint, FORMAT_VERSION, Info};
pub use config::Config;
pub(crate) use evaluate::suits;
pub use evaluate::{Evaluation, argmax, evaluate, flipped_accuracy};
pub use memory::peak_rss_bytes;
pub use options::{Environment, Length, OpenDevice, TrainOptions, Verbosity, parse_duration};
pub use position::{Measured, Position, Sums};
pub(crate) use run::safe_file_name;
pub use run::{RUNS, RunFolder, find_checkpoint};
pub(crate) use seeds::mean_and_deviation;
pub use seeds::train_seeds;
pub use session::{BatchResult, Session, SessionOptions, StepResult};
pub use stop::Stop;
pub use summary::{SeedsSummary, Stopped, Summary};
pub(crate) use summary::{accuracy_label, accuracy_line};
pub use tensor::Tensor;
pub use trainer::{data_of_run, train};
pub use weights::{Weights, file_digest};
