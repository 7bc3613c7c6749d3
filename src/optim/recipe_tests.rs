use proptest::prelude::*;

use super::*;
use crate::data::Flip;

#[test]
fn built_in_recipes_parse_under_their_own_names_and_round_trip() {
    for name in NAMES {
        let recipe = Recipe::by_name(name).unwrap();
        assert_eq!(recipe.name, name);
        assert_eq!(Recipe::parse(&recipe.to_toml().unwrap(), name).unwrap(), recipe);
        let comments = Recipe::source(name).unwrap().lines().filter(|l| l.starts_with('#')).count();
        assert!(comments >= 8, "{name} explains its lines");
    }
    assert_eq!(Recipe::default().name, "quick");
}

#[test]
fn the_paper_is_the_papers() {
    let paper = Recipe::by_name("paper").unwrap();
    assert_eq!((paper.epochs, paper.batch_size), (164, 500));
    assert_eq!(paper.sgd(), Sgd::PAPER);
    assert_eq!((paper.preprocess, paper.augment), (Preprocess::PerPixelMean, Augment::default()));
    let rates = [0, 8_399, 8_400, 12_399, 12_400, 16_399].map(|step| paper.rate(step, 16_400));
    let expected = [0.1, 0.1, 0.01, 0.01, 0.001, 0.001];
    assert!(rates.iter().zip(expected).all(|(r, e)| (r - e).abs() < 1e-15), "{rates:?}");
    let literal = Recipe::by_name("paper-82").unwrap();
    let of_paper =
        Recipe { name: paper.name.clone(), epochs: 164, schedule: paper.schedule.clone(), ..literal.clone() };
    assert_eq!(of_paper, paper, "they differ in nothing else");
    assert_eq!(
        (literal.epochs, literal.rate(4_199, 8_200), literal.rate(4_200, 8_200)),
        (82, 0.1, 0.1 * 0.1)
    );
}

#[test]
fn slow_weights_follow_every_few_steps_and_at_the_end() {
    let lookahead = Lookahead { every: 5, share: 0.25 };
    let shares: Vec<f64> = (0..12).map(|step| lookahead.share(step, 12)).collect();
    let follows: Vec<usize> = (0..12).filter(|&step| shares[step] > 0.0).collect();
    assert_eq!(follows, [4, 9, 11]);
    assert!((shares[4] - (1.0 - 0.75 * (5.0f64 / 12.0).powi(3))).abs() < 1e-15);
    assert_eq!(shares[11], 0.25);
    let fast = Recipe::by_name("fast").unwrap();
    let inputs = fast.inputs(2_399, 2_400);
    assert_eq!((inputs.lookahead, inputs.learning_rate), (0.25, fast.rate(2_399, 2_400)));
    assert_eq!(Recipe::by_name("paper").unwrap().inputs(4, 10).lookahead, 0.0);
    assert!(fast.sgd().lookahead && !Recipe::default().sgd().lookahead);
}

fn message(change: impl Fn(String) -> String) -> String {
    let text = change(Recipe::source("paper").unwrap().to_string());
    Recipe::parse(&text, "mine.toml").unwrap_err().to_string()
}

#[test]
fn mistakes_are_named_with_the_nearest_key() {
    let at = |from: &'static str, to: &'static str| message(move |t| t.replacen(from, to, 1));
    assert_eq!(
        at("momentum = 0.9", "momentun = 0.9"),
        "recipe mine.toml: unknown key 'momentun'; did you mean 'momentum'?"
    );
    assert!(at("pad = 4", "padd = 4").contains("unknown key in [augment] 'padd'; did you mean 'pad'?"));
    assert!(
        at("drops = [84", "drop = [84").contains("[schedule] of kind steps 'drop'; did you mean 'drops'?")
    );
    assert!(at("kind = \"steps\"", "kind = \"step\"").contains("did you mean 'steps'?"));
    assert!(at("kind = \"steps\"\n", "").contains("needs kind, one of constant, steps"));
    assert!(at("epochs = 164", "epochs = 0").contains("epochs must be at least 1"));
    assert!(at("batch-size = 500", "batch-size = -1").contains("recipe mine.toml"));
    assert!(at("learning-rate = 0.1", "learning-rate = nan").contains("learning-rate = NaN must be above 0"));
    assert!(at("momentum = 0.9", "momentum = 1.0").contains("momentum = 1 must be at least 0 and below 1"));
    assert!(at("epochs = 164", "").contains("epochs"));
    assert!(at("epochs = 164", "epochs = = 1").contains("line 4"));
    assert!(at("\"zero\"", "\"black\"").contains("black"));
    let looking = |table: &'static str| message(move |t| t + "[lookahead]\n" + table);
    assert!(looking("every = 5\nshare = 0.0").contains("lookahead.share = 0 must be above 0 and at most 1"));
    assert!(looking("every = 0\nshare = 0.5").contains("lookahead.every must be at least 1"));
    assert!(looking("evry = 5\nshare = 0.5").contains("[lookahead] 'evry'; did you mean 'every'?"));
    assert!(at("flip = true", "flip = \"never\"").contains("flip must be true, false or \"alternating\""));
    assert!(at("nesterov = false", "shift-rate = 0.0").contains("shift-rate = 0 must be above 0"));
    for text in [at("momentum = 0.9", "momentum = \"x\""), message(|_| String::new())] {
        assert!(text.lines().count() == 1, "one sentence: {text}");
    }
}

#[test]
fn names_that_are_neither_built_in_nor_files_are_refused() {
    assert!(Recipe::by_name("papr").unwrap_err().to_string().contains("did you mean 'paper'?"));
    let error = Recipe::by_name("no/such/recipe.toml").unwrap_err();
    assert_eq!(error.kind(), crate::error::Kind::Io);
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), Recipe::source("paper").unwrap()).unwrap();
    assert_eq!(Recipe::by_name(file.path().to_str().unwrap()).unwrap(), Recipe::by_name("paper").unwrap());
}

proptest! {
    /// Whatever happens to a recipe's text, reading it gives a recipe that can be used, or an error.
    #[test]
    fn mutated_text_never_panics(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3u8), 1..8),
        which in 0..NAMES.len(),
    ) {
        let mut bytes = Recipe::source(NAMES[which]).unwrap().as_bytes().to_vec();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => { bytes.remove(at); }
            }
        }
        if let Ok(recipe) = Recipe::parse(&String::from_utf8_lossy(&bytes), "mutated") {
            let rate = recipe.rate(7, 10);
            prop_assert!(rate.is_finite() && rate >= 0.0);
        }
    }

    #[test]
    fn any_recipe_round_trips(
        epochs in 1..1000u32,
        batch_size in 1..5000usize,
        learning_rate in 1e-6..10.0f64,
        momentum in 0.0..1.0f64,
        nesterov: bool,
        warmup in 0.0..1.0f64,
        shift_rate in 0.1..64.0f64,
        every in 0..20u32,
    ) {
        let schedule = Schedule::OneCycle { warmup, start: 0.1, end: 0.0 };
        let lookahead = (every > 0).then_some(Lookahead { every, share: momentum.max(0.01) });
        let flip = [Flip::Never, Flip::Random, Flip::Alternating][every as usize % 3];
        let augment = Augment { flip, cutout: every, ..Augment::default() };
        let recipe = Recipe {
            epochs, batch_size, learning_rate, momentum, nesterov, schedule, shift_rate, lookahead, augment,
            ..Recipe::default()
        };
        prop_assert_eq!(Recipe::parse(&recipe.to_toml().unwrap(), "any").unwrap(), recipe);
    }
}
