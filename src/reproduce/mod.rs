//! The paper's tables and figures, and two of our own, each by one command: which networks they compare, the runs that
//! this takes, and what is known of them so far.
//!
//! | to find | look in |
//! |---|---|
//! | which cells a table has, and what the paper says | [`Table`], [`by_name`] |
//! | what is not as in the paper | [`Settings`], [`Deviation`] |
//! | the runs of the cells, done and to do | [`Work`] |
//! | the result of a run on disk | [`Record`] |
//! | means, intervals and the table's files | [`Report`] |
//! | the analyses of networks with two streams | [`Streams`] |
//!
//! Everything lies below one folder: `runs/NAME`, ordinary run folders; `results/NAME.json`, a [`Record`] each;
//! `analysis/NAME`, the analyses of the runs of table `streams`;
//! `TABLE.json`, `TABLE.md` and pictures, which are drawn anew after every run. A run is named by its data, network,
//! recipe, number of images and seed, so that tables share those that are the same.

mod cell;
mod compare;
mod figures;
mod ingredients;
mod list;
mod markdown;
mod record;
mod report;
mod settings;
mod statistics;
mod streams;
mod tables;
mod work;

pub use cell::{Cell, Confidence, Published};
pub use compare::Comparison;
pub use record::{Outcome, Record};
pub use report::{CellReport, Report, RunReport};
pub use settings::{Deviation, Settings};
pub use statistics::Estimate;
pub use streams::{LayerEffects, Streams};
pub use tables::{NAMES, Table, TableKind, by_name, data_of, recipe_of};
pub use work::{Options, Source, State, Work};
