//! What a recipe has and the paper's has not, and the same recipe without each of these.

use crate::data::Augment;
use crate::optim::{Recipe, Schedule};

/// An ingredient's name, and the recipe with the paper's choice in its place. Rate, batch and length are no ingredients:
/// they go with each other.
pub(super) fn without_each(recipe: &Recipe, paper: &Recipe) -> Vec<(&'static str, Recipe)> {
    let augmented = |augment| Recipe { augment, ..recipe.clone() };
    let all = [
        ("Nesterov momentum", Recipe { nesterov: paper.nesterov, ..recipe.clone() }),
        (
            "schedule",
            Recipe { schedule: scaled(&paper.schedule, paper.epochs, recipe.epochs), ..recipe.clone() },
        ),
        ("weight decay", Recipe { weight_decay: paper.weight_decay, ..recipe.clone() }),
        ("rate of shifts", Recipe { shift_rate: paper.shift_rate, ..recipe.clone() }),
        ("label smoothing", Recipe { label_smoothing: paper.label_smoothing, ..recipe.clone() }),
        ("preprocessing", Recipe { preprocess: paper.preprocess, ..recipe.clone() }),
        ("flip", augmented(Augment { flip: paper.augment.flip, ..recipe.augment })),
        ("border", augmented(Augment { border: paper.augment.border, ..recipe.augment })),
        ("cutout", augmented(Augment { cutout: paper.augment.cutout, ..recipe.augment })),
        ("lookahead", Recipe { lookahead: paper.lookahead, ..recipe.clone() }),
    ];
    let different = all.into_iter().filter(|(_, without)| without != recipe);
    different
        .map(|(name, without)| {
            let name_of_recipe = format!("{}-without-{}", recipe.name, name.replace(' ', "-"));
            (name, Recipe { name: name_of_recipe, ..without })
        })
        .collect()
}

/// The drops of a schedule of `from` epochs at the same parts of `to`.
fn scaled(schedule: &Schedule, from: u32, to: u32) -> Schedule {
    let Schedule::Steps { drops, factor } = schedule else { return schedule.clone() };
    let place = |drop: &u32| (f64::from(*drop) * f64::from(to) / f64::from(from)).round() as u32;
    Schedule::Steps { drops: drops.iter().map(place).collect(), factor: *factor }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_paper_has_as_well_is_no_ingredient() {
        let [paper, fast, best] = ["paper", "fast", "best"].map(|name| Recipe::by_name(name).unwrap());
        assert!(without_each(&paper, &paper).is_empty());
        let all = without_each(&fast, &paper);
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&"lookahead") && !names.contains(&"cutout"), "{names:?}");
        assert!(without_each(&best, &paper).iter().any(|(name, _)| *name == "cutout"));
        for (name, without) in &all {
            without.validate().unwrap();
            // One thing less: without it again, nothing of that name is left to leave out.
            let rest = without_each(without, &paper);
            assert_eq!(rest.len(), all.len() - 1, "{name}");
            assert!(rest.iter().all(|(other, _)| other != name));
        }
    }

    #[test]
    fn the_papers_drops_keep_their_places() {
        let fast = Recipe::by_name("fast").unwrap();
        let paper = Recipe::by_name("paper").unwrap();
        let all = without_each(&fast, &paper);
        let (_, without) = all.iter().find(|(name, _)| *name == "schedule").unwrap();
        assert_eq!(without.schedule, Schedule::Steps { drops: vec![12, 18], factor: 0.1 });
        assert_eq!(without.name, "fast-without-schedule");
    }
}
