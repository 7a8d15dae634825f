//! The plan of a run from flags, from a file, or both.

use std::path::PathBuf;

use allmende_core::agreement::clause::ClauseKind;
use allmende_core::agreement::terms::Terms;
use allmende_core::agreement::vocabulary::{BenefitRule, DataClass, Purpose};
use allmende_core::decimal::Decimal;
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, PartyId};
use allmende_core::run::plan::{ModelSpec, Normalization, Optimizer, Outer, Plan, Seed, Slot, Training};
use allmende_core::state::State;
use allmende_core::statement::AssetRegistered;
use allmende_train::model::initial_model;
use allmende_train::prepare::constants;
use allmende_train::table::Table;
use clap::Args;

use super::failure::Failure;
use super::member::Member;
use super::words::{code, parse_duration_ms};

/// Significant digits of normalization constants that are computed from a table.
const NORMALIZATION_DIGITS: usize = 3;

/// What decides the result of a run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Plan")]
pub struct PlanArgs {
    /// The whole plan as TOML instead of the flags below; base_model and agreement may be left out
    #[arg(long, value_name = "FILE")]
    plan: Option<PathBuf>,
    /// The terms it runs under: 'current', or the first digits of a digest
    #[arg(long, value_name = "TERMS", default_value = "current")]
    agreement: String,
    /// The datasets, one a party, in folding order [default: every registered dataset]
    #[arg(long = "asset", value_name = "ASSET,…", value_delimiter = ',')]
    assets: Vec<AssetId>,
    /// linear, or mlp:64 or mlp:64-32 for hidden layers of so many units
    #[arg(long, default_value = "mlp:64")]
    model: String,
    /// Rounds of the whole coalition and of each smaller one
    #[arg(long, default_value_t = 40)]
    rounds: u32,
    /// Passes over the local rows in one round
    #[arg(long, default_value_t = 1)]
    epochs: u32,
    /// Rows of one step
    #[arg(long, value_name = "ROWS", default_value_t = 64)]
    batch_rows: u32,
    /// The local optimizer: sgd:RATE, momentum:RATE:MOMENTUM or adam:RATE
    #[arg(long, default_value = "sgd:0.1")]
    optimizer: String,
    /// The outer step: average, or nesterov:RATE:MOMENTUM
    #[arg(long, default_value = "nesterov:1:0.8")]
    outer: String,
    /// Feature scaling: none, uniform:SHIFT:SCALE, a CSV file whose means and deviations are used, or a plan's JSON
    #[arg(long, default_value = "none")]
    normalize: String,
    /// Evaluate after every so many rounds, and after the last; 0 for the last only
    #[arg(long, value_name = "ROUNDS", default_value_t = 5)]
    evaluate_every: u32,
    /// Sizes of smaller coalitions trained to measure contribution: all, none, or 1,2 [default: all if the terms share by it]
    #[arg(long, value_name = "SIZES")]
    measure: Option<String>,
    /// Fewest updates with which a round may close [default: all]
    #[arg(long, value_name = "NUMBER")]
    min_parties: Option<u32>,
    /// Longest a round may stay open, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = parse_duration_ms)]
    round_timeout: u64,
    /// What the result is for [default: the first purpose of the terms]
    #[arg(long, value_parser = code::<Purpose>)]
    purpose: Option<Purpose>,
    /// Seed of initialization and shuffling
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl PlanArgs {
    /// The plan, complete and checked.
    ///
    /// # Errors
    /// When terms or datasets are missing, or the plan breaks a rule.
    pub fn build(&self, member: &Member<'_>) -> Result<Plan, Failure> {
        let (agreement, terms) = member.agreement(&self.agreement).map(|(d, a)| (d, &a.terms))?;
        let plan = match &self.plan {
            Some(path) => from_file(path, agreement)?,
            None => self.of_flags(member.state(), agreement, terms)?,
        };
        plan.validate().map_err(|e| Failure::usage(format!("the plan cannot be proposed: {e}")).code("run.plan"))?;
        Ok(plan)
    }

    fn of_flags(&self, state: &State, agreement: Digest, terms: &Terms) -> Result<Plan, Failure> {
        let datasets = self.datasets(state, terms)?;
        let slots: Vec<Slot> =
            datasets.iter().map(|a| Slot { party: a.asset.owner(), asset: a.asset.clone() }).collect();
        let first = datasets.first().ok_or_else(|| {
            Failure::usage("no dataset is registered under these terms").next("each party runs 'allmende asset add'")
        })?;
        let model = model(&self.model, first.features, first.classes)?;
        let seed = Seed(self.seed);
        let count = u32::try_from(slots.len()).unwrap_or(u32::MAX);
        Ok(Plan {
            agreement,
            purpose: self.purpose.or_else(|| terms.purpose.first().copied()).unwrap_or(Purpose::Research),
            base_model: base_model(&model, seed)?,
            normalization: self.normalization(first.classes)?,
            training: Training {
                optimizer: optimizer(&self.optimizer)?,
                batch_rows: self.batch_rows,
                epochs: self.epochs,
            },
            outer: outer(&self.outer)?,
            rounds: self.rounds,
            evaluate_every: self.evaluate_every,
            measure: self.sizes(terms, count)?,
            min_parties: self.min_parties.unwrap_or(count),
            round_timeout_ms: self.round_timeout,
            model,
            slots,
            seed,
        })
    }

    /// The datasets in the order of slots: as given, or in the order of the parties in the terms.
    fn datasets<'s>(&self, state: &'s State, terms: &Terms) -> Result<Vec<&'s AssetRegistered>, Failure> {
        if !self.assets.is_empty() {
            let find = |id: &AssetId| {
                state.asset(id).ok_or_else(|| {
                    Failure::usage(format!("{id} is not registered, or was taken back"))
                        .code("asset.unknown")
                        .next("see 'allmende asset list'")
                })
            };
            return self.assets.iter().map(find).collect();
        }
        let mut datasets = Vec::new();
        for party in &terms.parties {
            let mut own = state.assets().values().filter(|a| a.revoked_at.is_none()).map(|a| &a.registered);
            let mut own = own.by_ref().filter(|r| r.class == DataClass::Record && r.asset.owner() == party.id);
            match (own.next(), own.next()) {
                (Some(one), None) => datasets.push(one),
                (None, _) => {}
                (Some(_), Some(_)) => return Err(several(&party.id)),
            }
        }
        Ok(datasets)
    }

    fn normalization(&self, classes: u32) -> Result<Normalization, Failure> {
        let refuse =
            || Failure::usage(format!("--normalize {:?} is none, uniform:SHIFT:SCALE or a file", self.normalize));
        let number = |text: &str| text.parse::<Decimal>().map_err(|e| Failure::usage(format!("--normalize: {e}")));
        if self.normalize == "none" {
            return Ok(Normalization::Uniform { shift: number("0")?, scale: number("1")? });
        }
        if let Some(rest) = self.normalize.strip_prefix("uniform:") {
            let (shift, scale) = rest.split_once(':').ok_or_else(refuse)?;
            return Ok(Normalization::Uniform { shift: number(shift)?, scale: number(scale)? });
        }
        if self.normalize.starts_with('{') {
            return serde_json::from_str(&self.normalize).map_err(|e| refuse().because(e.to_string()));
        }
        let path = std::path::Path::new(&self.normalize);
        let file = std::fs::File::open(path).map_err(|e| Failure::file(path, e))?;
        let table = Table::read(file, classes).map_err(|e| Failure::file(path, e))?;
        constants(&table, NORMALIZATION_DIGITS).map_err(|e| Failure::file(path, e))
    }

    fn sizes(&self, terms: &Terms, parties: u32) -> Result<Vec<u32>, Failure> {
        let shapley = terms
            .clause
            .iter()
            .any(|c| matches!(&c.rule, ClauseKind::Benefit(benefit) if benefit.rule == BenefitRule::Shapley));
        match self.measure.as_deref().unwrap_or(if shapley { "all" } else { "none" }) {
            "all" => Ok((1..parties).collect()),
            "none" => Ok(Vec::new()),
            list => list
                .split(',')
                .map(|size| {
                    size.trim()
                        .parse()
                        .map_err(|_| Failure::usage(format!("--measure {list:?} is all, none, or sizes such as 1,2")))
                })
                .collect(),
        }
    }
}

fn several(party: &PartyId) -> Failure {
    Failure::usage(format!("{party} has several datasets")).next("choose one a party with --asset")
}

fn base_model(model: &ModelSpec, seed: Seed) -> Result<Digest, Failure> {
    let bytes = initial_model(model, seed).map_err(|e| Failure::usage(format!("the model cannot be made: {e}")))?;
    Ok(Digest::of(&bytes))
}

fn model(text: &str, inputs: u32, classes: u32) -> Result<ModelSpec, Failure> {
    let refuse = || Failure::usage(format!("--model {text:?} is linear, mlp:64 or mlp:64-32"));
    if text == "linear" {
        return Ok(ModelSpec::Linear { inputs, classes });
    }
    let hidden = text.strip_prefix("mlp:").ok_or_else(refuse)?.split('-');
    let hidden = hidden.map(|units| units.parse().map_err(|_| refuse())).collect::<Result<_, _>>()?;
    Ok(ModelSpec::Mlp { inputs, hidden, classes })
}

fn optimizer(text: &str) -> Result<Optimizer, Failure> {
    let refuse = || Failure::usage(format!("--optimizer {text:?} is sgd:RATE, momentum:RATE:MOMENTUM or adam:RATE"));
    let number = |text: &str| text.parse::<Decimal>().map_err(|e| refuse().because(e.to_string()));
    match text.split(':').collect::<Vec<_>>().as_slice() {
        ["sgd", rate] => Ok(Optimizer::Sgd { rate: number(rate)? }),
        ["momentum", rate, momentum] => Ok(Optimizer::Momentum { rate: number(rate)?, momentum: number(momentum)? }),
        ["adam", rate] => Ok(Optimizer::Adam { rate: number(rate)? }),
        _ => Err(refuse()),
    }
}

fn outer(text: &str) -> Result<Outer, Failure> {
    let refuse = || Failure::usage(format!("--outer {text:?} is average, or nesterov:RATE:MOMENTUM"));
    if text == "average" {
        return Ok(Outer::Average);
    }
    let (rate, momentum) = text.strip_prefix("nesterov:").and_then(|rest| rest.split_once(':')).ok_or_else(refuse)?;
    Ok(Outer::Nesterov { rate: rate.parse().map_err(|_| refuse())?, momentum: momentum.parse().map_err(|_| refuse())? })
}

fn from_file(path: &std::path::Path, agreement: Digest) -> Result<Plan, Failure> {
    let text = std::fs::read_to_string(path).map_err(|e| Failure::file(path, e))?;
    let mut table: toml::Table = toml::from_str(&text).map_err(|e| Failure::file(path, e))?;
    table.entry("agreement").or_insert_with(|| agreement.to_string().into());
    let computed = !table.contains_key("base_model");
    // Replaced below: only the finished plan says which model it begins from.
    table.entry("base_model").or_insert_with(|| Digest::of(b"").to_string().into());
    let mut plan: Plan = toml::Value::Table(table).try_into().map_err(|e| Failure::file(path, e))?;
    if computed {
        plan.base_model = base_model(&plan.model, plan.seed)?;
    }
    Ok(plan)
}
