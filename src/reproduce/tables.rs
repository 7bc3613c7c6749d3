//! The paper's tables, and two of our own, as plain data.

use super::cell::{Cell, Confidence, Published, narrow};
use super::ingredients::without_each;
use super::settings::{CIFAR10, CIFAR100, Deviation, Settings, set_name};
use crate::error::{Error, Result, unknown};
use crate::graph::Precision;
use crate::nn::{self, Body, Description, Group, Projection};
use crate::optim::Recipe;
use crate::text::grouped;
use crate::train::Length;

/// Every table, in the order in which help lists them.
pub const NAMES: [&str; 7] =
    ["cifar10", "cifar100", "depth", "all-cnn", "streams", "few-data", "ingredients"];

/// Training-set sizes of `few-data`.
const SIZES: [usize; 7] = [500, 1000, 2500, 5000, 10_000, 25_000, 50_000];

/// Evaluations of a run of `few-data`: an epoch of few images is too short for one each, and only the last one counts.
const EVALUATIONS: u64 = 4;

/// Layers of a group of geometry 32, which `depth` splits into blocks.
const LAYERS_OF_GROUP: usize = 10;

/// The figures of the paper's that we are sure enough of to quote: data, network, per cent.
const PUBLISHED: [(&str, &str, f64, Confidence); 5] = [
    (CIFAR10, "rir-18-wide", 94.99, Confidence::Sure),
    (CIFAR10, "resnet-18-wide", 93.95, Confidence::Likely),
    (CIFAR10, "resnet-32", 92.49, Confidence::Sure),
    (CIFAR100, "rir-18-wide", 77.10, Confidence::Sure),
    (CIFAR100, "resnet-18-wide", 76.58, Confidence::Likely),
];

/// The families, the plainest first, and what a table calls them.
const FAMILIES: [(&str, &str); 4] =
    [("cnn", "CNN"), ("resnet", "ResNet"), ("resnet-init", "ResNet Init"), ("rir", "RiR")];

/// What a table shows beside the accuracies of its cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    /// Nothing.
    Plain,
    /// Rows are numbers of training images: accuracy is drawn over them, and the first column compared with the others,
    /// seed by seed.
    BySize,
    /// What the streams of its trained networks do.
    Streams,
    /// The first row is a recipe, and the others are the same without one of its ingredients, whose worth is the
    /// difference, seed by seed.
    Ingredients,
}

/// A table: cells, and what holds for all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Its name, and that of its files.
    pub name: String,
    /// Its heading.
    pub title: String,
    /// What the names of its rows are.
    pub rows: String,
    /// The data set, as [`crate::train::Environment::open_data`] understands it.
    pub data: String,
    /// The arithmetic of every run.
    pub precision: Precision,
    /// Whether the paper has it.
    pub is_of_paper: bool,
    /// What it shows beside its cells.
    pub kind: TableKind,
    /// Where its runs are not trained in the paper's way.
    pub deviations: Vec<Deviation>,
    /// The cells, row by row.
    pub cells: Vec<Cell>,
}

impl Table {
    /// Whether the paper's figures are figures of the same thing.
    pub fn is_comparable(&self) -> bool {
        self.deviations.iter().all(|deviation| deviation.comparable)
    }
}

/// The data set that a table is of.
///
/// # Errors
/// For an unknown table, the nearest known one.
pub fn data_of(table: &str) -> Result<&'static str> {
    match table {
        _ if !NAMES.contains(&table) => Err(Error::usage(unknown("table", table, &NAMES))),
        "cifar100" => Ok(CIFAR100),
        _ => Ok(CIFAR10),
    }
}

/// The recipe that a table's runs are trained by unless another is asked for.
///
/// # Errors
/// For an unknown table, the nearest known one.
pub fn recipe_of(table: &str) -> Result<Recipe> {
    data_of(table)?;
    Recipe::by_name(if table == "ingredients" { "fast" } else { "paper" })
}

/// A table by its name, whose runs draw from `images` training images of the data that they read by the name `data`.
///
/// # Errors
/// For an unknown name, and for settings that leave a run without a step, a layer without two streams, or the table
/// without a cell.
pub fn by_name(name: &str, settings: &Settings, data: &str, images: usize) -> Result<Table> {
    let set = data_of(name)?;
    let of = Definition { set, settings, images };
    of.check()?;
    let images_of = if settings.synthetic { "Synthetic images" } else { set_name(set) };
    let title = |text: &str| format!("{images_of}: {text}");
    let (title, rows, cells) = match name {
        "depth" => (title("blocks x layers of a block, ten layers a group"), "blocks x layers", of.depth()?),
        "all-cnn" => (title("ALL-CNN-C with and without the identity"), "network", of.all_cnn()?),
        "streams" => (title("what the streams of trained networks do"), "network", of.streams()?),
        "few-data" => (title("accuracy by the number of training images"), "training images", of.few_data()?),
        "ingredients" => (
            title(&format!("what each ingredient of recipe {} is worth", settings.recipe.name)),
            "left out",
            of.ingredients()?,
        ),
        _ => (title("the four families in two geometries"), "family", of.families()?),
    };
    Ok(Table {
        name: name.into(),
        title,
        rows: rows.into(),
        data: data.into(),
        precision: settings.precision,
        is_of_paper: !matches!(name, "few-data" | "ingredients"),
        kind: match name {
            "few-data" => TableKind::BySize,
            "streams" => TableKind::Streams,
            "ingredients" => TableKind::Ingredients,
            _ => TableKind::Plain,
        },
        deviations: settings.deviations(set, images)?,
        cells,
    })
}

/// What the cells of a table are made from.
struct Definition<'a> {
    set: &'static str,
    settings: &'a Settings,
    images: usize,
}

impl Definition<'_> {
    /// # Errors
    /// If the training set has no room for the subset, or that none for a batch.
    fn check(&self) -> Result<()> {
        let (pool, batch) = (self.pool(), self.settings.recipe()?.batch_size);
        if pool == 0 || pool > self.images {
            return Err(Error::usage(format!(
                "--subset {pool}: there are {} training images; give a number from 1 to {}",
                self.images, self.images
            )));
        }
        if batch > pool {
            return Err(Error::usage(format!(
                "a batch of {batch} images is larger than the training set of {pool}; choose a smaller batch"
            )));
        }
        if self.settings.epochs() == 0 {
            return Err(Error::usage("a run has at least one epoch; give a number from 1"));
        }
        Ok(())
    }

    /// The training images that there are for a run.
    fn pool(&self) -> usize {
        self.settings.subset.unwrap_or(self.images)
    }

    /// A cell that trains the recipe's epochs on all images, or on the subset that is asked for.
    fn cell(&self, row: &str, column: &str, model: Description) -> Result<Cell> {
        let name = model.name.clone();
        let published = PUBLISHED.iter().find(|(set, model, ..)| (*set, *model) == (self.set, &name));
        Ok(Cell {
            row: row.into(),
            column: column.into(),
            published: published.map(|&(_, _, accuracy, confidence)| Published { accuracy, confidence }),
            name,
            model: narrow(model, self.settings.narrow)?,
            recipe: self.settings.recipe()?,
            length: Length::Epochs(self.settings.epochs()),
            subset: self.settings.subset.filter(|&subset| subset < self.images),
            evaluate_every: None,
        })
    }

    /// The four families in both geometries.
    fn families(&self) -> Result<Vec<Cell>> {
        let geometries = ["32", "18-wide"];
        let pairs = FAMILIES.into_iter().flat_map(|family| geometries.map(|geometry| (family, geometry)));
        pairs
            .map(|((family, row), geometry)| {
                self.cell(row, geometry, nn::by_name(&format!("{family}-{geometry}"))?)
            })
            .collect()
    }

    /// The same layers in blocks of one to ten, with as many parameters.
    fn depth(&self) -> Result<Vec<Cell>> {
        let families = [("resnet-32", "ResNet"), ("rir-32", "RiR")];
        let pairs = [1, 2, 5, 10].into_iter().flat_map(|layers| families.map(|family| (layers, family)));
        pairs
            .map(|(layers, (name, column))| {
                let blocks = LAYERS_OF_GROUP / layers;
                self.cell(&format!("{blocks} x {layers}"), column, split(nn::by_name(name)?, blocks, layers))
            })
            .collect()
    }

    /// ALL-CNN-C, and the same with the identity E.
    fn all_cnn(&self) -> Result<Vec<Cell>> {
        let networks = [("all-cnn-c", "ALL-CNN-C"), ("resnet-init-all-cnn-c", "ResNet Init, ALL-CNN-C")];
        networks.into_iter().map(|(name, row)| self.cell(row, "accuracy", nn::by_name(name)?)).collect()
    }

    /// Networks with two streams. Their runs are those of `cifar10`.
    fn streams(&self) -> Result<Vec<Cell>> {
        let networks = ["rir-18-wide", "resnet-init-18-wide", "rir-32"];
        networks.into_iter().map(|name| self.cell(name, "accuracy", nn::by_name(name)?)).collect()
    }

    /// `rir-18-wide` by the recipe, and by the recipe without each of its ingredients.
    fn ingredients(&self) -> Result<Vec<Cell>> {
        let (recipe, paper) = (self.settings.recipe()?, Recipe::by_name("paper")?);
        let without = without_each(&recipe, &paper);
        if without.is_empty() {
            return Err(Error::usage(format!(
                "recipe {} has no ingredient that the paper's has not; give another, such as --recipe fast",
                recipe.name
            )));
        }
        let all = [("nothing", recipe)].into_iter().chain(without);
        all.map(|(row, recipe)| {
            let cell = self.cell(row, "accuracy", nn::by_name("rir-18-wide")?)?;
            // It is the paper's network, but not the paper's figure.
            Ok(Cell { name: recipe.name.clone(), recipe, published: None, ..cell })
        })
        .collect()
    }

    /// Three families of the same 464,154 parameters on ever more images, all for the same number of steps: those of
    /// the recipe's epochs over all images.
    fn few_data(&self) -> Result<Vec<Cell>> {
        let batch = self.settings.recipe()?.batch_size;
        let sizes: Vec<usize> = SIZES.into_iter().filter(|&size| size <= self.pool()).collect();
        let Some(&least) = sizes.first() else {
            return Err(Error::usage(format!(
                "few-data begins with {} training images, and --subset {} leaves none of its sizes; give a larger one",
                SIZES[0],
                self.pool()
            )));
        };
        if batch > least {
            return Err(Error::usage(format!(
                "a batch of {batch} images is larger than the {least} training images that few-data begins with; choose \
                 a smaller batch"
            )));
        }
        let steps = u64::from(self.settings.epochs()) * self.pool() as u64 / batch as u64;
        let families = [("rir-32", "RiR"), ("resnet-32", "ResNet"), ("cnn-32", "CNN")];
        let pairs = sizes.into_iter().flat_map(|size| families.map(|family| (size, family)));
        pairs
            .map(|(size, (name, column))| {
                let base = nn::by_name(name)?;
                let model = Description { name: format!("{name}-pad"), projection: Projection::Pad, ..base };
                let epochs = steps.div_ceil((size / batch) as u64);
                let every = epochs.div_ceil(EVALUATIONS).clamp(1, u32::MAX.into()) as u32;
                let cell = self.cell(&grouped(size as u64), column, model)?;
                Ok(Cell {
                    name: format!("{}-n{size}", cell.name),
                    length: Length::Steps(steps),
                    subset: Some(size),
                    evaluate_every: Some(every),
                    ..cell
                })
            })
            .collect()
    }
}

/// The network's groups as `blocks` of `layers` each; named by that, unless it is so anyway.
fn split(model: Description, blocks: usize, layers: usize) -> Description {
    let Body::Groups(groups) = &model.body else { return model };
    let body = Body::Groups(groups.iter().map(|&group| Group { blocks, ..group }).collect());
    if body == model.body && layers == model.layers_per_block {
        return model;
    }
    Description { name: format!("{}-{blocks}x{layers}", model.name), layers_per_block: layers, body, ..model }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::table;

    fn cells(name: &str, settings: &Settings) -> Vec<Cell> {
        by_name(name, settings, data_of(name).unwrap(), 50_000).unwrap().cells
    }

    fn parameters(cell: &Cell, classes: usize) -> usize {
        table::Table::new(&cell.model, [32, 32, 3], classes).unwrap().parameters()
    }

    #[test]
    fn every_cell_of_every_table_is_a_network_of_the_papers_size() {
        let paper = Settings::paper().unwrap();
        for (name, count) in NAMES.into_iter().zip([8, 8, 8, 2, 3, 21, 10]) {
            let settings = Settings { recipe: recipe_of(name).unwrap(), ..paper.clone() };
            let cells = cells(name, &settings);
            assert_eq!(cells.len(), count, "{name}");
            let classes = if name == "cifar100" { 100 } else { 10 };
            let all: Vec<usize> = cells.iter().map(|cell| parameters(cell, classes)).collect();
            match name {
                "cifar10" => assert_eq!(
                    all,
                    [464_154, 9_469_940, 487_386, 10_300_532, 464_154, 9_469_940, 487_386, 10_300_532]
                ),
                "cifar100" => assert_eq!(all[7], 10_335_272),
                "depth" => assert_eq!(all, [487_386; 8]),
                "all-cnn" => assert_eq!(all, [1_370_996; 2]),
                "few-data" => assert_eq!(all, [464_154; 21]),
                "ingredients" => assert_eq!(all, [10_300_532; 10]),
                _ => assert_eq!(all, [10_300_532, 9_469_940, 487_386]),
            }
            // The same place is taken once, and no two cells share a run.
            for (i, a) in cells.iter().enumerate() {
                let clash = |b: &Cell| {
                    (&a.row, &a.column) == (&b.row, &b.column) || a.stem("cifar10") == b.stem("cifar10")
                };
                assert!(!cells[..i].iter().any(clash), "{name}: {}", a.name);
            }
        }
    }

    #[test]
    fn tables_share_the_runs_that_are_the_same() {
        let paper = Settings::paper().unwrap();
        let families = cells("cifar10", &paper);
        let find = |cell: &Cell| families.iter().find(|other| other.stem("d") == cell.stem("d"));
        for cell in cells("streams", &paper) {
            assert_eq!(find(&cell).map(|c| (&c.model, c.length)), Some((&cell.model, cell.length)));
        }
        let shared = cells("depth", &paper).into_iter().filter(|cell| find(cell).is_some());
        assert_eq!(shared.map(|cell| cell.name).collect::<Vec<_>>(), ["resnet-32", "rir-32"]);
    }

    #[test]
    fn only_what_is_sure_or_likely_is_quoted() {
        let paper = Settings::paper().unwrap();
        let mut quoted: Vec<(String, String, f64)> = Vec::new();
        for name in NAMES {
            let settings = Settings { recipe: recipe_of(name).unwrap(), ..paper.clone() };
            for cell in cells(name, &settings) {
                quoted.extend(cell.published.map(|p| (name.into(), cell.name.clone(), p.accuracy)));
            }
        }
        let expected = [
            ("cifar10", "resnet-32", 92.49),
            ("cifar10", "resnet-18-wide", 93.95),
            ("cifar10", "rir-18-wide", 94.99),
            ("cifar100", "resnet-18-wide", 76.58),
            ("cifar100", "rir-18-wide", 77.10),
            ("depth", "resnet-32", 92.49),
            ("streams", "rir-18-wide", 94.99),
        ];
        assert_eq!(quoted, expected.map(|(table, name, figure)| (table.into(), name.into(), figure)));
    }

    #[test]
    fn few_data_changes_nothing_but_the_data() {
        let paper = Settings::paper().unwrap();
        let all = cells("few-data", &paper);
        assert!(all.iter().all(|cell| cell.length == Length::Steps(16_400) && cell.recipe == paper.recipe));
        assert_eq!(all.iter().step_by(3).map(|c| c.subset.unwrap()).collect::<Vec<_>>(), SIZES);
        // 16,400 epochs of one step, and 164 of a hundred: four evaluations each.
        assert_eq!((all[0].evaluate_every, all[20].evaluate_every), (Some(4100), Some(41)));
        let short = Settings { epochs: Some(3), subset: Some(1500), batch_size: Some(50), ..paper.clone() };
        let some = cells("few-data", &short);
        assert_eq!(some.iter().step_by(3).map(|c| c.subset.unwrap()).collect::<Vec<_>>(), [500, 1000]);
        assert!(some.iter().all(|cell| cell.length == Length::Steps(90)));
    }

    #[test]
    fn settings_that_cannot_be_are_refused_in_a_sentence() {
        let paper = Settings::paper().unwrap();
        let refuse = |name: &str, settings: Settings| {
            by_name(name, &settings, CIFAR10, 50_000).unwrap_err().to_string()
        };
        let cases = [
            ("cifar1O", paper.clone(), "did you mean 'cifar10'?"),
            ("cifar10", Settings { subset: Some(50_001), ..paper.clone() }, "from 1 to 50000"),
            (
                "cifar10",
                Settings { subset: Some(499), ..paper.clone() },
                "larger than the training set of 499",
            ),
            ("cifar10", Settings { batch_size: Some(0), ..paper.clone() }, "batch-size must be at least 1"),
            ("cifar10", Settings { epochs: Some(0), ..paper.clone() }, "at least one epoch"),
            ("cifar10", Settings { narrow: 9, ..paper.clone() }, "from 1 to 8"),
            (
                "few-data",
                Settings { subset: Some(400), batch_size: Some(9), ..paper.clone() },
                "begins with 500",
            ),
            ("few-data", Settings { batch_size: Some(1000), ..paper.clone() }, "that few-data begins with"),
        ];
        for (name, settings, expected) in cases {
            let message = refuse(name, settings);
            assert!(message.contains(expected), "{message}");
        }
    }
}
