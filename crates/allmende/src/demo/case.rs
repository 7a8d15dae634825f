//! The data and the network of a demonstration.

use std::io::Write as _;
use std::path::Path;

use allmende_train::prepare::constants;
use allmende_train::table::Table;

use super::stage::Failed;

static DIGITS: &[u8] = include_bytes!("../../../../data/digits.csv.gz");
static CANCER: &[u8] = include_bytes!("../../../../data/breast-cancer.csv.gz");

/// Rows of the set that north shares openly.
const REFERENCE_ROWS: usize = 40;

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// Handwritten digits: each organization has seen only some of the ten.
    Digits,
    /// Breast cancer diagnoses at three clinics that see different cases.
    Clinic,
}

/// One organization of the case.
#[derive(Debug, Clone)]
pub struct Organization {
    /// Its party name.
    pub party: &'static str,
    /// What it holds, in words.
    pub holds: &'static str,
    /// Its rows, private.
    pub rows: Table,
}

/// Everything that differs between cases.
#[derive(Debug, Clone)]
pub struct Script {
    /// The collaboration's name.
    pub collaboration: &'static str,
    /// Its title.
    pub title: &'static str,
    /// Its goal.
    pub goal: &'static str,
    /// The purpose in the terms.
    pub purpose: &'static str,
    /// A purpose that the terms do not allow.
    pub forbidden_purpose: &'static str,
    /// Name of each organization's dataset.
    pub dataset: &'static str,
    /// Classes of the label.
    pub classes: u32,
    /// Who takes part; the first one coordinates.
    pub organizations: Vec<Organization>,
    /// What the first one shares openly.
    pub reference: Table,
    /// Hidden layers, as `run propose --model` takes them.
    pub model: &'static str,
    /// The rest of the plan: (flag, value).
    pub plan: Vec<(&'static str, String)>,
    /// Rounds.
    pub rounds: u32,
}

impl Case {
    /// The case's name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Clinic => "clinic",
        }
    }

    /// Reads the data and divides it.
    ///
    /// # Errors
    /// [`Failed`] when the built-in table cannot be read.
    pub fn script(self) -> Result<Script, Failed> {
        match self {
            Self::Digits => digits(),
            Self::Clinic => clinic(),
        }
    }
}

fn read(bytes: &[u8], classes: u32) -> Result<Table, Failed> {
    Table::read(bytes, classes).map_err(|e| Failed::new("read the data", e))
}

/// Splits off the first rows of the first organization as its open set.
fn share(organizations: &mut [Organization]) -> Table {
    let rows = &mut organizations[0].rows;
    let count = rows.rows();
    // Every so many rows, so that the shared set looks like the rest.
    let step = (count / REFERENCE_ROWS).max(1);
    let (shared, kept): (Vec<usize>, Vec<usize>) =
        (0..count).partition(|&i| i % step == 0 && i / step < REFERENCE_ROWS);
    let reference = rows.select(&shared);
    *rows = rows.select(&kept);
    reference
}

fn digits() -> Result<Script, Failed> {
    let table = read(DIGITS, 10)?;
    let with = |range: std::ops::Range<u32>| {
        let rows: Vec<usize> = (0..table.rows()).filter(|&i| range.contains(&table.labels[i])).collect();
        table.select(&rows)
    };
    let mut organizations = vec![
        Organization { party: "north", holds: "digits 0 to 3", rows: with(0..4) },
        Organization { party: "east", holds: "digits 4 to 6", rows: with(4..7) },
        Organization { party: "west", holds: "digits 7 to 9", rows: with(7..10) },
    ];
    let reference = share(&mut organizations);
    Ok(Script {
        collaboration: "handwriting",
        title: "Handwriting consortium",
        goal: "One model that reads all ten digits, though each of us has seen only a few.",
        purpose: "research",
        forbidden_purpose: "commercial",
        dataset: "digits",
        classes: 10,
        organizations,
        reference,
        model: "mlp:128",
        plan: vec![
            ("--normalize", "uniform:8:0.125".to_owned()),
            ("--optimizer", "sgd:0.4".to_owned()),
            ("--batch-rows", "128".to_owned()),
            ("--epochs", "1".to_owned()),
            ("--outer", "nesterov:1:0.8".to_owned()),
            ("--evaluate-every", "4".to_owned()),
        ],
        rounds: 40,
    })
}

fn clinic() -> Result<Script, Failed> {
    let table = read(CANCER, 2)?;
    // Thirds by mean radius, the first column: each clinic sees tumours of another size.
    let mut order: Vec<usize> = (0..table.rows()).collect();
    order.sort_by(|&a, &b| table.row(a)[0].total_cmp(&table.row(b)[0]).then(a.cmp(&b)));
    let third = order.len() / 3;
    let site = |range: std::ops::Range<usize>| {
        let mut rows = order[range].to_vec();
        rows.sort_unstable();
        table.select(&rows)
    };
    let mut organizations = vec![
        Organization { party: "north", holds: "tumours of middle size", rows: site(third..2 * third) },
        Organization { party: "east", holds: "small tumours", rows: site(0..third) },
        Organization { party: "west", holds: "large tumours", rows: site(2 * third..order.len()) },
    ];
    let reference = share(&mut organizations);
    // Scaling constants stand in the plan, so they come from what is shared openly and from nothing else.
    let normalization = constants(&reference, 4).map_err(|e| Failed::new("compute scaling constants", e))?;
    let normalization = serde_json::to_string(&normalization).map_err(|e| Failed::new("write scaling constants", e))?;
    Ok(Script {
        collaboration: "clinic",
        title: "Tumour diagnosis consortium",
        goal: "One model that tells benign from malignant at every clinic, whatever cases it usually sees.",
        purpose: "care",
        forbidden_purpose: "commercial",
        dataset: "cases",
        classes: 2,
        organizations,
        reference,
        model: "mlp:16",
        plan: vec![
            ("--normalize", normalization),
            ("--optimizer", "sgd:0.1".to_owned()),
            ("--batch-rows", "64".to_owned()),
            ("--epochs", "1".to_owned()),
            ("--outer", "nesterov:1:0.9".to_owned()),
            ("--evaluate-every", "2".to_owned()),
        ],
        rounds: 20,
    })
}

/// Writes a table as the CSV file that an organization would have.
///
/// # Errors
/// [`Failed`] when the file cannot be written.
pub fn write_csv(path: &Path, table: &Table) -> Result<(), Failed> {
    let write = || -> std::io::Result<()> {
        let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
        writeln!(file, "{},label", table.columns.join(","))?;
        for i in 0..table.rows() {
            for value in table.row(i) {
                write!(file, "{value},")?;
            }
            writeln!(file, "{}", table.labels[i])?;
        }
        file.flush()
    };
    write().map_err(|e| Failed::new(format!("write {}", path.display()), e))
}
