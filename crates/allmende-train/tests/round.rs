//! Rounds as a node runs them: what they change, repeat and refuse.
#![allow(clippy::unwrap_used)]

use std::ops::ControlFlow;

use allmende_core::run::plan::{Coalition, ModelSpec, Optimizer, Outer, Seed, Training};
use allmende_train::evaluate::{EvaluateError, evaluate, predict};
use allmende_train::fit::{Recipe, fit};
use allmende_train::local::{Round, RoundOutcome, TrainError, train_round};
use allmende_train::model::{Model, initial_model};
use allmende_train::stream::StreamKey;
use allmende_train::table::Table;

/// Two classes that a line tells apart: is the first feature larger than the second?
fn table(rows: usize) -> Table {
    let mut stream = StreamKey::salted("rows", &[3; 32]).open();
    let features: Vec<f32> = (0..2 * rows).map(|_| (2.0 * stream.unit() - 1.0) as f32).collect();
    Table {
        labels: features.chunks(2).map(|x| u32::from(x[0] > x[1])).collect(),
        features,
        columns: vec!["a".into(), "b".into()],
        label: "label".into(),
        file_rows: (2..2 + rows as u32).collect(),
    }
}

fn spec() -> ModelSpec {
    ModelSpec::Mlp { inputs: 2, hidden: vec![8], classes: 2 }
}

fn training(optimizer: &str, rate: &str) -> Training {
    let rate = rate.parse().unwrap();
    let optimizer = match optimizer {
        "sgd" => Optimizer::Sgd { rate },
        "momentum" => Optimizer::Momentum { rate, momentum: "0.9".parse().unwrap() },
        _ => Optimizer::Adam { rate },
    };
    Training { optimizer, batch_rows: 30, epochs: 4 }
}

fn run(training: &Training, table: &Table, slot: usize) -> Result<RoundOutcome, TrainError> {
    let base = initial_model(&spec(), Seed(5)).unwrap();
    let key = StreamKey::round(Seed(5), Coalition(3), 0, slot);
    let round = Round { spec: &spec(), training, table, base: &base, key };
    train_round(&round, &mut |_| ControlFlow::Continue(()))
}

#[test]
fn every_optimizer_learns_and_repeats_bit_for_bit() {
    let table = table(200);
    for (optimizer, rate) in [("sgd", "1"), ("momentum", "0.3"), ("adam", "0.03")] {
        let training = training(optimizer, rate);
        let outcome = run(&training, &table, 0).unwrap();
        assert_eq!(outcome.steps, 28, "4 passes of ⌈200/30⌉ batches");
        assert!(
            outcome.loss_last < 0.8 * outcome.loss_first,
            "{optimizer}: {} {}",
            outcome.loss_first,
            outcome.loss_last
        );
        let evaluation = evaluate(&spec(), &outcome.model, &table).unwrap();
        assert!(evaluation.confusion.accuracy().unwrap() > 0.85, "{optimizer}");
        assert_eq!(run(&training, &table, 0).unwrap(), outcome, "{optimizer}");
        assert_ne!(run(&training, &table, 1).unwrap().model, outcome.model, "another slot shuffles differently");
        // Other trainings at the same time change nothing: nothing is shared between threads.
        std::thread::scope(|scope| {
            let threads = [0, 1, 0].map(|slot| {
                (
                    slot,
                    scope.spawn({
                        let (t, r) = (&table, &training);
                        move || run(r, t, slot)
                    }),
                )
            });
            for (slot, thread) in threads {
                assert_eq!(thread.join().unwrap().unwrap() == outcome, slot == 0);
            }
        });
    }
}

#[test]
fn one_full_batch_step_of_each_party_averages_to_the_pooled_step() {
    let whole = table(90);
    let parts = [whole.select(&(0..50).collect::<Vec<_>>()), whole.select(&(50..90).collect::<Vec<_>>())];
    let training = Training { batch_rows: 1_000, epochs: 1, ..training("sgd", "0.5") };
    let recipe = Recipe { spec: spec(), training, outer: Outer::Average, rounds: 5, seed: Seed(9) };
    let quiet = &mut |_: &_| ControlFlow::Continue(());
    let together = fit(&recipe, &[&parts[0], &parts[1]], Coalition::all(2), Some(&whole), quiet).unwrap();
    let pooled = fit(&recipe, &[&whole], Coalition::all(1), Some(&whole), quiet).unwrap();
    assert_eq!(together.evaluations.len(), 5);
    let [together_model, pooled_model] = [&together, &pooled].map(|o| Model::load(&spec(), &o.last).unwrap());
    for (a, b) in together_model.values().iter().zip(pooled_model.values()) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
    assert_eq!(evaluate(&spec(), &together.best, &whole).unwrap(), together.evaluations[together.best_round as usize]);
}

#[test]
fn refusals() {
    let rows = table(50);
    let base = initial_model(&spec(), Seed(5)).unwrap();
    let key = StreamKey::round(Seed(5), Coalition(3), 0, 0);
    let training = training("sgd", "0.5");
    let mut steps = 0;
    let mut stop = |_| {
        steps += 1;
        if steps == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let round = Round { spec: &spec(), training: &training, table: &rows, base: &base, key };
    assert_eq!(train_round(&round, &mut stop), Err(TrainError::Cancelled));
    assert_eq!(steps, 3);
    let mut wild = rows.clone();
    wild.features.iter_mut().for_each(|x| *x *= 3e38);
    assert_eq!(run(&training, &wild, 0), Err(TrainError::Diverged { step: 1 }));
    wild.features.iter_mut().for_each(|x| *x *= 1e-19);
    assert!(matches!(run(&training, &wild, 0), Err(TrainError::Diverged { .. })), "no broken model is handed out");
    assert_eq!(run(&training, &rows.select(&[]), 0), Err(TrainError::NoRows));
    let mut more = rows.clone();
    more.labels[0] = 2;
    assert!(matches!(run(&training, &more, 0), Err(TrainError::Misfit { what: "classes", expected: 2, found: 3 })));
    let mut wide = rows.clone();
    wide.columns.push("c".into());
    assert!(matches!(run(&training, &wide, 0), Err(TrainError::Misfit { what: "features", .. })));
    let round = Round { base: &base[1..], ..round };
    assert!(matches!(train_round(&round, &mut |_| ControlFlow::Continue(())), Err(TrainError::Model(_))));
}

#[test]
fn predictions_are_probabilities() {
    let base = initial_model(&spec(), Seed(5)).unwrap();
    let d = |text: &str| text.parse().unwrap();
    let normalization = allmende_core::run::plan::Normalization::Uniform { shift: d("0"), scale: d("0.5") };
    let p = predict(&spec(), &base, &normalization, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap();
    assert_eq!(p.len(), 6);
    assert!(p.chunks(2).all(|row| (row[0] + row[1] - 1.0).abs() < 1e-6));
    assert!(predict(&spec(), &base, &normalization, &[]).unwrap().is_empty());
    assert!(predict(&spec(), &base, &normalization, &[1.0]).is_err());
    assert!(predict(&spec(), &base, &normalization, &[1.0, f32::NAN]).is_err());
    let error = predict(&spec(), &base, &normalization, &[1.0, 1.0, f32::MAX, -f32::MAX]).map(|p| p.len());
    assert!(error.is_ok() || error == Err(EvaluateError::Overflow { row: 1 }), "never a NaN");
}
