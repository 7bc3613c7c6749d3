//! Networks: descriptions, the model zoo, and how a description becomes a graph and initial weights.

pub mod ablation;
pub mod description;
pub mod initialise;
pub mod network;
pub mod table;
pub mod toml;
pub mod zoo;

pub use ablation::{Ablation, Stream};
pub use description::{Body, Description, Family, Form, Group, Head, Layer, Projection};
pub use initialise::initial_parameters;
pub use network::{Options, Purpose, build, training_step};
pub use zoo::by_name;
