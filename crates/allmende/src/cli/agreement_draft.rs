//! `agreement draft`: terms to begin from, filled with what the log knows.

use std::path::PathBuf;

use allmende_core::agreement::draft::{DraftInputs, DraftParty, template};
use allmende_core::agreement::vocabulary::{DataClass, Purpose};
use allmende_core::id::{AssetId, PartyId};
use allmende_core::time::{Date, Timestamp};
use clap::Args;

use super::context::Context;
use super::failure::Failure;
use super::member::Member;
use super::words::{Lang, code};

const DAY_MS: i64 = 86_400_000;

/// Write a draft of terms to begin from: joint training where the rows stay with their owners.
///
/// Parties, keys, the hub's key and the log's origin are filled in from your verified copy of the log. The text parses and
/// passes 'agreement lint' as it stands; edit it, then propose it.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende agreement draft --title 'Handwriting, first model' \\\n    --asset north/digits,east/digits,west/digits --reference north/reference --out terms.toml"
)]
pub struct Draft {
    /// What the agreement is called [default: the charter's title]
    #[arg(long)]
    title: Option<String>,
    /// The datasets that parties bring, as party/name [default: those registered]
    #[arg(long = "asset", value_name = "ASSET,…", value_delimiter = ',')]
    assets: Vec<AssetId>,
    /// A small set that its owner shares openly
    #[arg(long, value_name = "ASSET")]
    reference: Option<AssetId>,
    /// What the results are for: research, education, care, commercial
    #[arg(long, value_name = "PURPOSE,…", value_delimiter = ',', value_parser = code::<Purpose>, default_value = "research")]
    purpose: Vec<Purpose>,
    /// First day [default: today, UTC]
    #[arg(long, value_name = "DATE")]
    starts: Option<Date>,
    /// Last day [default: a year later]
    #[arg(long, value_name = "DATE")]
    ends: Option<Date>,
    /// Last day of the offer [default: in 30 days]
    #[arg(long, value_name = "DATE")]
    offer_expires: Option<Date>,
    /// Three capital letters
    #[arg(long, default_value = "EUR")]
    currency: String,
    /// Fewest parties in a training [default: all]
    #[arg(long, value_name = "NUMBER")]
    min_parties: Option<u32>,
    /// Who coordinates [default: the first party]
    #[arg(long, value_name = "PARTY")]
    coordinator: Option<PartyId>,
    /// The office a party's representative signs in, as PARTY=OFFICE; may be repeated
    #[arg(long = "signatory", value_name = "OFFICE")]
    signatories: Vec<String>,
    /// The language that prevails
    #[arg(long, value_enum, default_value = "en")]
    lang: Lang,
    /// Write it here instead of to standard output; an existing file is not replaced
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Draft {
    /// Runs the command.
    ///
    /// # Errors
    /// When there is no collaboration, or the file exists.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let member = Member::open(context).await?;
        let text = template(&self.inputs(&member)?);
        let Some(path) = &self.out else {
            return context.out.result(&serde_json::json!({ "toml": text }), || text.clone());
        };
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        let written = file.and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.map_err(|e| Failure::file(path, e).next("give another --out; drafts are not replaced"))?;
        let shown = path.display().to_string();
        context.out.result(&serde_json::json!({ "file": shown, "toml": text }), || {
            format!("{shown} is a draft. Edit it, then:\n  allmende agreement lint {shown}\n  allmende agreement show {shown}\n  allmende agreement propose {shown}\n")
        })
    }

    fn inputs(&self, member: &Member<'_>) -> Result<DraftInputs, Failure> {
        let state = member.state();
        let now = member.context.now();
        let day = |days: i64| now.plus_ms(days * DAY_MS).date();
        let starts = self.starts.unwrap_or_else(|| day(0));
        let hub_key = state.hub_key().ok_or_else(|| Failure::internal("the log names no hub"))?;
        let mut parties = Vec::new();
        for id in state.members().keys() {
            let key = state.parties().get(id).and_then(|p| p.governance).ok_or_else(|| {
                Failure::usage(format!("{id} has no governance key now"))
                    .next("it must rotate its key before it can sign")
            })?;
            let registered = state.assets().values().filter(|a| a.revoked_at.is_none()).map(|a| &a.registered);
            let registered = registered.filter(|r| r.class == DataClass::Record).map(|r| r.asset.clone());
            let all: Vec<AssetId> = if self.assets.is_empty() { registered.collect() } else { self.assets.clone() };
            parties.push(DraftParty {
                id: id.clone(),
                key,
                signatory: self.office(id),
                assets: all.into_iter().filter(|a| a.owner() == *id).collect(),
            });
        }
        if let Some(stranger) =
            self.assets.iter().chain(&self.reference).find(|a| !state.members().contains_key(&a.owner()))
        {
            return Err(Failure::usage(format!("{stranger}: {} is no member", stranger.owner()))
                .next("see 'allmende collaboration show'"));
        }
        let count = u32::try_from(parties.len()).unwrap_or(u32::MAX);
        Ok(DraftInputs {
            title: self.title.clone().or_else(|| state.charter().map(|c| c.title.clone())).unwrap_or_default(),
            collaboration: member.collaboration.clone(),
            origin: state.origin().clone(),
            hub_key,
            starts,
            ends: self.ends.unwrap_or_else(|| a_year_after(starts, now)),
            offer_expires: self.offer_expires.unwrap_or_else(|| day(30)),
            currency: self.currency.clone(),
            language: self.lang.into(),
            purpose: self.purpose.clone(),
            parties,
            reference: self.reference.clone(),
            min_parties: self.min_parties.unwrap_or(count),
            coordinator: self.coordinator.clone(),
        })
    }

    fn office(&self, party: &PartyId) -> String {
        let given = self.signatories.iter().filter_map(|text| text.split_once('='));
        let mut given = given.filter(|(id, _)| *id == party.as_str()).map(|(_, office)| office.to_owned());
        given.next().unwrap_or_else(|| "managing director".to_owned())
    }
}

/// 364 days later than `day`: a year, both days included.
fn a_year_after(day: Date, now: Timestamp) -> Date {
    let mut at = now;
    // Found by walking: a day knows no arithmetic, and an agreement starts within years of today.
    for _ in 0..36_600 {
        match at.date().cmp(&day) {
            std::cmp::Ordering::Less => at = at.plus_ms(DAY_MS),
            std::cmp::Ordering::Greater => at = at.plus_ms(-DAY_MS),
            std::cmp::Ordering::Equal => break,
        }
    }
    at.plus_ms(364 * DAY_MS).date()
}
