//! What together, pooled and alone reach on the two tables in `data/`, over several seeds.
//!
//! ```text
//! cargo run --release -p allmende-train --example digits_fedavg -- [digits|cancer] [key=value ...]
//! ```
//! Keys: seeds, first (seed), cuts (digits: `4-7` for 0–3, 4–6, 7–9), curve=1 (accuracy every four rounds), hidden (`64`, `64-32`, `0` for none), optimizer (sgd, momentum, adam), rate, momentum, batch, epochs,
//! rounds, outer_rate, outer_momentum (outer_rate=0 for plain averaging), spread (cancer: how much the sites mix).
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use allmende_core::run::plan::{Coalition, ModelSpec, Normalization, Optimizer, Outer, Seed, Training};
use allmende_train::fit::{Recipe, fit};
use allmende_train::prepare::{constants, deduplicate, normalized, split};
use allmende_train::table::Table;

/// Three parties' rows to train on, and everybody's held-out fifths together.
struct Case {
    parties: Vec<Table>,
    held_out: Table,
    classes: u32,
}

fn read(name: &str, classes: u32) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data").join(name);
    let (table, report) = deduplicate(&Table::read(std::fs::File::open(path).unwrap(), classes).unwrap());
    assert!(report.repeats.is_empty());
    table
}

fn case(shares: &[Table], normalization: &Normalization, classes: u32, seed: u64) -> Case {
    let mut parties = vec![];
    let mut held_out = vec![];
    for (i, share) in shares.iter().enumerate() {
        let share = normalized(share, normalization).unwrap();
        let mut salt = [i as u8; 32];
        salt[..8].copy_from_slice(&seed.to_le_bytes());
        let split = split(&share, &salt);
        parties.push(share.select(&split.train));
        held_out.push(share.select(&split.held_out));
    }
    let held_out = Table::concat(&held_out.iter().collect::<Vec<_>>()).unwrap();
    Case { parties, held_out, classes }
}

/// Digits below the first cut, between both, and from the second on: 0–3, 4–6 and 7–9 for cuts 4 and 7.
fn digits(seed: u64, cuts: &str) -> Case {
    let (low, high) = cuts.split_once('-').unwrap();
    let (low, high): (u32, u32) = (low.parse().unwrap(), high.parse().unwrap());
    let table = read("digits.csv.gz", 10);
    let share = |range: std::ops::Range<u32>| {
        table.select(&(0..table.rows()).filter(|&i| range.contains(&table.labels[i])).collect::<Vec<_>>())
    };
    let normalization = Normalization::Uniform { shift: "8".parse().unwrap(), scale: "0.125".parse().unwrap() };
    case(&[share(0..low), share(low..high), share(high..10)], &normalization, 10, seed)
}

/// Three sites that see different cases: thirds by mean radius, every `spread`th row sent to another site (0 for none).
fn cancer(seed: u64, spread: usize) -> Case {
    let table = read("breast-cancer.csv.gz", 2);
    let mut order: Vec<usize> = (0..table.rows()).collect();
    order.sort_by(|&a, &b| table.row(a)[0].total_cmp(&table.row(b)[0]));
    let mut sites = vec![vec![]; 3];
    for (rank, &row) in order.iter().enumerate() {
        let site = rank * 3 / order.len();
        let moved = if spread > 0 && rank % spread == 0 { 1 + rank / spread % 2 } else { 0 };
        sites[(site + moved) % 3].push(row);
    }
    let normalization = constants(&table, 4).unwrap();
    let shares: Vec<Table> = sites.iter().map(|rows| table.select(rows)).collect();
    case(&shares, &normalization, 2, seed)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_digits = arguments.first().is_none_or(|a| a != "cancer");
    let mut keys: BTreeMap<&str, &str> = BTreeMap::from_iter(if is_digits { DIGITS } else { CANCER });
    keys.extend(arguments.iter().filter_map(|a| a.split_once('=')));
    let number = |key: &str| keys[key].parse::<u32>().unwrap();
    let rate = keys["rate"].parse().unwrap();
    let optimizer = match keys["optimizer"] {
        "sgd" => Optimizer::Sgd { rate },
        "momentum" => Optimizer::Momentum { rate, momentum: keys["momentum"].parse().unwrap() },
        _ => Optimizer::Adam { rate },
    };
    let outer = match keys["outer_rate"] {
        "0" => Outer::Average,
        rate => Outer::Nesterov { rate: rate.parse().unwrap(), momentum: keys["outer_momentum"].parse().unwrap() },
    };
    let names = ["together", "pooled", "alone 0", "alone 1", "alone 2", "0 and 1", "0 and 2", "1 and 2"];
    let mut sums = [(0.0, 1.0_f64, 0.0_f64); 8];
    println!("{keys:?}");
    let first = u64::from(number("first"));
    let mut widest: f64 = -1.0;
    for seed in first..first + u64::from(number("seeds")) {
        let case = if is_digits { digits(seed, keys["cuts"]) } else { cancer(seed, number("spread") as usize) };
        let inputs = case.held_out.columns.len() as u32;
        let hidden: Vec<u32> = keys["hidden"].split('-').map(|h| h.parse().unwrap()).collect();
        let spec = match hidden[0] {
            0 => ModelSpec::Linear { inputs, classes: case.classes },
            _ => ModelSpec::Mlp { inputs, hidden, classes: case.classes },
        };
        let training = Training { optimizer: optimizer.clone(), batch_rows: number("batch"), epochs: number("epochs") };
        let recipe = Recipe { spec, training, outer: outer.clone(), rounds: number("rounds"), seed: Seed(seed) };
        let all = Table::concat(&case.parties.iter().collect::<Vec<_>>()).unwrap();
        let parties: Vec<&Table> = case.parties.iter().collect();
        let pooled = [&all];
        let masks = [0b111, 0b1, 0b1, 0b10, 0b100, 0b11, 0b101, 0b110];
        let mut line = format!("seed {seed}:");
        let mut together = 0.0;
        for (i, coalition) in masks.map(Coalition).into_iter().enumerate() {
            let parties = if i == 1 { &pooled[..] } else { &parties[..] };
            let start = Instant::now();
            let held_out = if keys["curve"] == "1" { Some(&case.held_out) } else { None };
            let outcome = fit(&recipe, parties, coalition, held_out, &mut |p| {
                if let (Some(e), 0, true) = (&p.evaluation, i, p.round % 4 == 3) {
                    line += &format!(" [{} {:.4}]", p.round + 1, e.confusion.accuracy().unwrap());
                }
                ControlFlow::Continue(())
            });
            let ms = start.elapsed().as_secs_f64() * 1e3 / f64::from(recipe.rounds) / f64::from(coalition.len());
            let accuracy = match outcome {
                Ok(o) => {
                    let e = allmende_train::evaluate::evaluate(&recipe.spec, &o.last, &case.held_out).unwrap();
                    e.confusion.accuracy().unwrap()
                }
                Err(e) => {
                    println!("{e}");
                    0.0
                }
            };
            line += &format!(" {} {accuracy:.4} ({ms:.1} ms)", names[i]);
            let (sum, low, high) = sums[i];
            if i == 1 {
                widest = widest.max(accuracy - together);
            } else if i == 0 {
                together = accuracy;
            }
            sums[i] = (sum + accuracy, low.min(accuracy), high.max(accuracy));
        }
        println!("{line}");
    }
    println!("pooled minus together, at most: {widest:.4}");
    for (name, (sum, low, high)) in names.iter().zip(sums) {
        println!("{name}: mean {:.4}, {low:.4} to {high:.4}", sum / f64::from(number("seeds")));
    }
}

const DIGITS: [(&str, &str); 14] = [
    ("seeds", "5"),
    ("first", "1"),
    ("cuts", "4-7"),
    ("hidden", "128"),
    ("optimizer", "sgd"),
    ("rate", "0.4"),
    ("momentum", "0.9"),
    ("batch", "128"),
    ("epochs", "1"),
    ("rounds", "40"),
    ("outer_rate", "1"),
    ("outer_momentum", "0.8"),
    ("spread", "0"),
    ("curve", "0"),
];
const CANCER: [(&str, &str); 14] = [
    ("seeds", "5"),
    ("first", "1"),
    ("cuts", "4-7"),
    ("hidden", "16"),
    ("optimizer", "sgd"),
    ("rate", "0.1"),
    ("momentum", "0.9"),
    ("batch", "64"),
    ("epochs", "1"),
    ("rounds", "20"),
    ("outer_rate", "1"),
    ("outer_momentum", "0.9"),
    ("spread", "0"),
    ("curve", "0"),
];
