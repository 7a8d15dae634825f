//! The two tables in `data/`, and what the demo's recipes reach on them.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;
use std::path::Path;

use allmende_core::run::plan::{Coalition, ModelSpec, Normalization, Optimizer, Outer, Seed, Training};
use allmende_train::fit::{Recipe, fit};
use allmende_train::prepare::{DuplicateReport, constants, deduplicate, normalized, split};
use allmende_train::table::Table;

fn read(name: &str, classes: u32) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name);
    let table = Table::read(std::fs::File::open(path).unwrap(), classes).unwrap();
    assert_eq!(table.classes_seen(), classes);
    let (clean, report) = deduplicate(&table);
    assert_eq!((clean, report), (table.clone(), DuplicateReport::default()));
    table
}

fn recipe(spec: ModelSpec, rate: &str, batch_rows: u32, rounds: u32, momentum: &str, seed: u64) -> Recipe {
    let optimizer = Optimizer::Sgd { rate: rate.parse().unwrap() };
    let outer = Outer::Nesterov { rate: "1".parse().unwrap(), momentum: momentum.parse().unwrap() };
    Recipe { spec, training: Training { optimizer, batch_rows, epochs: 1 }, outer, rounds, seed: Seed(seed) }
}

/// Share of the held-out rows that each coalition gets right, and pooled training last.
fn shares(recipe: &Recipe, shares: &[Table], normalization: &Normalization, coalitions: &[u16]) -> Vec<f64> {
    let (mut train, mut held_out) = (vec![], vec![]);
    for (i, share) in shares.iter().enumerate() {
        let share = normalized(share, normalization).unwrap();
        let split = split(&share, &[recipe.seed.0 as u8 ^ (i as u8) << 6; 32]);
        train.push(share.select(&split.train));
        held_out.push(share.select(&split.held_out));
    }
    let held_out = Table::concat(&held_out.iter().collect::<Vec<_>>()).unwrap();
    let parties: Vec<&Table> = train.iter().collect();
    let pooled = Table::concat(&parties).unwrap();
    let share = |parties: &[&Table], mask: u16| {
        let quiet = &mut |_: &_| ControlFlow::Continue(());
        let outcome = fit(recipe, parties, Coalition(mask), Some(&held_out), quiet).unwrap();
        outcome.evaluations.last().unwrap().confusion.accuracy().unwrap()
    };
    let mut all: Vec<f64> = coalitions.iter().map(|&mask| share(&parties, mask)).collect();
    all.push(share(&[&pooled], 1));
    all
}

#[test]
fn digits_together_are_as_good_as_pooled_and_far_better_than_alone() {
    let table = read("digits.csv.gz", 10);
    let normalization = Normalization::Uniform { shift: "8".parse().unwrap(), scale: "0.125".parse().unwrap() };
    let parties = [0..4, 4..7, 7..10].map(|digits| {
        table.select(&(0..table.rows()).filter(|&i| digits.contains(&table.labels[i])).collect::<Vec<_>>())
    });
    let spec = ModelSpec::Mlp { inputs: 64, hidden: vec![128], classes: 10 };
    for seed in [11, 12, 13] {
        let recipe = recipe(spec.clone(), "0.4", 128, 40, "0.8", seed);
        let got = shares(&recipe, &parties, &normalization, &[0b111, 0b001, 0b010, 0b100]);
        assert!(got[0] > 0.955 && got[0] > got[4] - 0.02, "seed {seed}: {got:?}");
        // A party knows no class but its own: four of ten classes bound it.
        assert!(got[1..4].iter().all(|&alone| alone < 0.405), "seed {seed}: {got:?}");
    }
}

#[test]
fn three_sites_with_different_cases_gain_from_each_other() {
    let table = read("breast-cancer.csv.gz", 2);
    let mut order: Vec<usize> = (0..table.rows()).collect();
    order.sort_by(|&a, &b| table.row(a)[0].total_cmp(&table.row(b)[0]));
    let sites = [0, 1, 2].map(|i| table.select(&order[i * order.len() / 3..(i + 1) * order.len() / 3]));
    let spec = ModelSpec::Mlp { inputs: 30, hidden: vec![16], classes: 2 };
    let (mut together, mut best_alone) = (0.0, 0.0);
    for seed in [11, 12, 13] {
        let recipe = recipe(spec.clone(), "0.1", 64, 20, "0.9", seed);
        let got = shares(&recipe, &sites, &constants(&table, 4).unwrap(), &[0b111, 0b001, 0b010, 0b100]);
        assert!(got[0] > 0.94 && got[0] > got[4] - 0.03, "seed {seed}: {got:?}");
        together += got[0] / 3.0;
        best_alone += got[1..4].iter().fold(0.0, |a: f64, &b| a.max(b)) / 3.0;
    }
    assert!(together > best_alone, "{together} {best_alone}");
}
