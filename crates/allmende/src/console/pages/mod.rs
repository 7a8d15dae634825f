//! The pages. Each is a function of views to HTML.

mod benefit;
mod ledger;
mod overview;
mod runs;
mod shell;
mod terms;

pub use benefit::benefit;
pub use ledger::{entry, ledger};
pub use overview::{collaborations, overview};
pub use runs::{run, runs};
pub use shell::{Page, Tab, document, fault, login};
pub use terms::{terms, terms_list};
