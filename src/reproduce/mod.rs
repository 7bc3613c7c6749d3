//! The paper's tables and figures, each by one command: which networks they compare, the runs that this takes, and what
//! is known of them so far.
//!
//! | to find | look in |
//! |---|---|
//! | which cells a table has, and what the paper says | [`Table`], [`by_name`] |
//! | what is not as in the paper | [`Settings`], [`Deviation`] |
//! | the runs of the cells, done and to do | [`Work`] |
//! | the result of a run on disk | [`Record`] |
//! | means, intervals and the table's files | [`Report`] |
//!
//! Everything lies below one folder: `runs/NAME`, ordinary run folders; `results/NAME.json`, a [`Record`] each;
//! `TABLE.json`, `TABLE.md` and pictures, which are drawn anew after every run. A run is named by its data, network,
//! recipe, number of images and seed, so that tables share those that are the same.

mod cell;
mod compare;
mod figures;
mod list;
mod markdown;
mod record;
mod report;
mod settings;
mod statistics;
mod tables;
mod work;

pub use cell::{Cell, Confidence, Published};
pub use compare::Comparison;
pub use record::{Outcome, Record};
pub use report::{CellReport, Report, RunReport};
pub use settings::{Deviation, Settings};
pub use statistics::Estimate;
pub use tables::{NAMES, Table, by_name, data_of};
pub use work::{Options, Source, State, Work};
