//! Double-entry accounts derived from entries of a log: what one account is debited, another is credited.
//!
//! Amounts are integers of the smallest unit. Transfers are never changed or removed; a correction is a new transfer.
//! One call of [`Accounts::post`] takes the linked transfers of one statement: all of them, or none.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::amount::Amount;
use crate::id::identifier;

/// Longest account or transfer name, in bytes.
pub const MAX_NAME_BYTES: usize = 200;
/// Most transfers in one linked group.
pub const MAX_LINKED: usize = 10_000;

/// Words of a-z, 0-9 and '-' joined by ':' or '/'.
fn is_name(text: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && !word.starts_with('-')
            && !word.ends_with('-')
            && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    text.len() <= MAX_NAME_BYTES && text.split([':', '/']).all(word)
}

const NAME_RULE: &str = "use up to 200 bytes: words of a-z, 0-9 and '-' joined by ':' or '/'";

identifier!(
    /// An account, unique in one collaboration, for instance `party:north`, `fund` or `payer`.
    AccountId, "account", is_name, NAME_RULE
);
identifier!(
    /// A transfer, unique in one collaboration for ever, for instance `first-model:1:north`.
    TransferId, "transfer", is_name, NAME_RULE
);

/// What a transfer does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Moves the amount at once.
    Post,
    /// Reserves the amount until another transfer settles or voids it.
    Reserve,
    /// Moves what the named pending transfer reserved. Accounts and amount must be that transfer's own.
    Settle(TransferId),
    /// Gives back what the named pending transfer reserved. Accounts and amount must be that transfer's own.
    Void(TransferId),
}

/// One debit and one credit of the same amount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Transfer {
    /// Its name; no name is used twice.
    pub id: TransferId,
    /// The account that gives.
    pub debit: AccountId,
    /// The account that receives.
    pub credit: AccountId,
    /// How much, in minor units.
    pub amount: Amount,
    /// Whether it moves, reserves, settles or voids.
    pub action: Action,
}

impl Transfer {
    /// What a settlement or voiding must have in common with its reservation.
    fn essence(&self) -> (&AccountId, &AccountId, Amount) {
        (&self.debit, &self.credit, self.amount)
    }
}

/// Which total of an account may not exceed the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Limit {
    /// Neither.
    #[default]
    None,
    /// Debits, pending ones included, never exceed posted credits: the account cannot give what it has not received.
    DebitsWithinCredits,
    /// Credits, pending ones included, never exceed posted debits.
    CreditsWithinDebits,
}

/// A sum of amounts in minor units, written as a decimal string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Total(pub u128);

impl Serialize for Total {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Total {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<u128>() {
            Ok(total) if total.to_string() == text => Ok(Self(total)),
            _ => Err(serde::de::Error::custom("a total is a decimal unsigned 128-bit number")),
        }
    }
}

/// One account's totals, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// The rule its totals obey.
    pub limit: Limit,
    /// Given.
    pub debits_posted: Total,
    /// Received.
    pub credits_posted: Total,
    /// Reserved to be given.
    pub debits_pending: Total,
    /// Reserved to be received.
    pub credits_pending: Total,
}

impl Account {
    fn keeps_limit(&self) -> Option<bool> {
        let sum = |a: Total, b: Total| a.0.checked_add(b.0);
        Some(match self.limit {
            Limit::None => true,
            Limit::DebitsWithinCredits => sum(self.debits_posted, self.debits_pending)? <= self.credits_posted.0,
            Limit::CreditsWithinDebits => sum(self.credits_posted, self.credits_pending)? <= self.debits_posted.0,
        })
    }

    /// What was received less what was given, in minor units. `None` only for totals that no log can reach.
    #[must_use]
    pub fn balance_minor(&self) -> Option<i128> {
        i128::try_from(self.credits_posted.0).ok()?.checked_sub_unsigned(self.debits_posted.0)
    }
}

/// Where a recorded transfer stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Done: it moved its amount, or settled or voided another.
    Done,
    /// Its amount is reserved.
    Pending,
    /// Its reservation was settled by this transfer.
    Settled(TransferId),
    /// Its reservation was voided by this transfer.
    Voided(TransferId),
}

/// A transfer as it stands in the books.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// What was posted.
    pub transfer: Transfer,
    /// What became of it.
    pub status: Status,
}

/// Why a transfer was refused. Nothing of its group was posted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// No such account.
    #[error("there is no account {0}")]
    UnknownAccount(AccountId),
    /// The account exists already.
    #[error("account {0} exists already")]
    AccountExists(AccountId),
    /// The name was used before, perhaps by the same transfer.
    #[error("transfer {0} was posted before")]
    Duplicate(TransferId),
    /// Debit and credit are one account.
    #[error("transfer {0} debits and credits the same account")]
    SameAccount(TransferId),
    /// An account's limit would be broken.
    #[error("transfer {transfer} would break the limit of account {account}")]
    Limit {
        /// The transfer.
        transfer: TransferId,
        /// The account.
        account: AccountId,
    },
    /// The transfer to settle or void is not pending.
    #[error("transfer {transfer} names {pending}, which is not pending")]
    NotPending {
        /// The transfer.
        transfer: TransferId,
        /// What it names.
        pending: TransferId,
    },
    /// Accounts or amount differ from the pending transfer's.
    #[error("transfer {transfer} differs from {pending} in accounts or amount")]
    Differs {
        /// The transfer.
        transfer: TransferId,
        /// What it names.
        pending: TransferId,
    },
    /// More than [`MAX_LINKED`] at once.
    #[error("{0} linked transfers; at most {MAX_LINKED}")]
    TooMany(usize),
    /// A total left its range, which no log of valid amounts can cause.
    #[error("a total of account {0} is out of range")]
    Range(AccountId),
    /// Stored books whose totals are not what their transfers say.
    #[error("the totals of account {0} are not what its transfers say")]
    Unsound(AccountId),
    /// A stored transfer whose status no posting could have led to.
    #[error("the stored status of transfer {0} cannot have come about")]
    UnsoundTransfer(TransferId),
}

/// The books of one collaboration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounts {
    accounts: BTreeMap<AccountId, Account>,
    transfers: BTreeMap<TransferId, Recorded>,
}

/// What a group of transfers would change, kept aside until all of it holds.
struct Draft<'a> {
    books: &'a Accounts,
    accounts: BTreeMap<AccountId, Account>,
    transfers: BTreeMap<TransferId, Recorded>,
}

impl Accounts {
    /// Books without accounts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens an account.
    ///
    /// # Errors
    /// [`AccountError::AccountExists`].
    pub fn open(&mut self, id: AccountId, limit: Limit) -> Result<(), AccountError> {
        if self.accounts.contains_key(&id) {
            return Err(AccountError::AccountExists(id));
        }
        self.accounts.insert(id, Account { limit, ..Account::default() });
        Ok(())
    }

    /// Posts linked transfers in their order: all of them, or on an error none. Limits hold after each.
    ///
    /// # Errors
    /// [`AccountError`] names the first transfer or account at fault.
    pub fn post(&mut self, linked: &[Transfer]) -> Result<(), AccountError> {
        self.post_drafted(linked, BTreeMap::new())
    }

    /// As [`Self::post`]; accounts that do not exist yet are opened without limit, if the transfers hold.
    ///
    /// # Errors
    /// As [`Self::post`].
    pub fn post_opening(&mut self, linked: &[Transfer]) -> Result<(), AccountError> {
        let named = linked.iter().flat_map(|t| [&t.debit, &t.credit]).filter(|id| !self.accounts.contains_key(id));
        let opened = named.map(|id| (id.clone(), Account::default())).collect();
        self.post_drafted(linked, opened)
    }

    fn post_drafted(&mut self, linked: &[Transfer], opened: BTreeMap<AccountId, Account>) -> Result<(), AccountError> {
        if linked.len() > MAX_LINKED {
            return Err(AccountError::TooMany(linked.len()));
        }
        let mut draft = Draft { books: self, accounts: opened, transfers: BTreeMap::new() };
        for transfer in linked {
            draft.take(transfer)?;
        }
        let Draft { accounts, transfers, .. } = draft;
        self.accounts.extend(accounts);
        self.transfers.extend(transfers);
        Ok(())
    }

    /// One account.
    #[must_use]
    pub fn account(&self, id: &AccountId) -> Option<&Account> {
        self.accounts.get(id)
    }

    /// All accounts by name.
    pub fn accounts(&self) -> impl Iterator<Item = (&AccountId, &Account)> {
        self.accounts.iter()
    }

    /// One transfer and what became of it.
    #[must_use]
    pub fn transfer(&self, id: &TransferId) -> Option<&Recorded> {
        self.transfers.get(id)
    }

    /// All transfers by name.
    pub fn transfers(&self) -> impl Iterator<Item = &Recorded> {
        self.transfers.values()
    }

    /// Recomputes every total from the transfers, for books that were read back from a snapshot.
    ///
    /// # Errors
    /// [`AccountError`] names the first transfer that cannot have come about, or the first account whose totals are not
    /// what its transfers say.
    pub fn audit(&self) -> Result<(), AccountError> {
        let mut fresh: BTreeMap<&AccountId, Account> =
            self.accounts.iter().map(|(id, a)| (id, Account { limit: a.limit, ..Account::default() })).collect();
        for (id, Recorded { transfer, status }) in &self.transfers {
            if *id != transfer.id || transfer.debit == transfer.credit || !self.status_is_due(transfer, status) {
                return Err(AccountError::UnsoundTransfer(id.clone()));
            }
            let posted = match (&transfer.action, status) {
                (Action::Post, Status::Done) | (Action::Reserve, Status::Settled(_)) => true,
                (Action::Reserve, Status::Pending) => false,
                _ => continue,
            };
            for (id, is_debit) in [(&transfer.debit, true), (&transfer.credit, false)] {
                let account = fresh.get_mut(id).ok_or_else(|| AccountError::UnknownAccount(id.clone()))?;
                let total = match (is_debit, posted) {
                    (true, true) => &mut account.debits_posted,
                    (true, false) => &mut account.debits_pending,
                    (false, true) => &mut account.credits_posted,
                    (false, false) => &mut account.credits_pending,
                };
                increase(total, transfer.amount).ok_or_else(|| AccountError::Range(id.clone()))?;
            }
        }
        match self
            .accounts
            .iter()
            .find(|&(id, account)| fresh.get(id) != Some(account) || account.keeps_limit() != Some(true))
        {
            Some((id, _)) => Err(AccountError::Unsound(id.clone())),
            None => Ok(()),
        }
    }

    /// Whether a transfer and the one that closed it, if any, name each other.
    fn status_is_due(&self, transfer: &Transfer, status: &Status) -> bool {
        let closed_by =
            |by: &TransferId, action: Action| self.transfers.get(by).is_some_and(|r| r.transfer.action == action);
        let own = || transfer.id.clone();
        match (&transfer.action, status) {
            (Action::Post, Status::Done) | (Action::Reserve, Status::Pending) => true,
            (Action::Reserve, Status::Settled(by)) => closed_by(by, Action::Settle(own())),
            (Action::Reserve, Status::Voided(by)) => closed_by(by, Action::Void(own())),
            (Action::Settle(of), Status::Done) => self.has_status(of, &Status::Settled(own()), transfer),
            (Action::Void(of), Status::Done) => self.has_status(of, &Status::Voided(own()), transfer),
            _ => false,
        }
    }

    fn has_status(&self, of: &TransferId, status: &Status, by: &Transfer) -> bool {
        self.transfers.get(of).is_some_and(|r| r.status == *status && r.transfer.essence() == by.essence())
    }
}

fn units(amount: Amount) -> u128 {
    u128::from(amount.minor().unsigned_abs())
}

fn increase(total: &mut Total, amount: Amount) -> Option<()> {
    total.0 = total.0.checked_add(units(amount))?;
    Some(())
}

fn decrease(total: &mut Total, amount: Amount) -> Option<()> {
    total.0 = total.0.checked_sub(units(amount))?;
    Some(())
}

impl Draft<'_> {
    fn account(&mut self, id: &AccountId) -> Result<&mut Account, AccountError> {
        let unknown = || AccountError::UnknownAccount(id.clone());
        if let (None, Some(before)) = (self.accounts.get(id), self.books.accounts.get(id)) {
            self.accounts.insert(id.clone(), *before);
        }
        self.accounts.get_mut(id).ok_or_else(unknown)
    }

    fn recorded(&self, id: &TransferId) -> Option<&Recorded> {
        self.transfers.get(id).or_else(|| self.books.transfers.get(id))
    }

    fn take(&mut self, transfer: &Transfer) -> Result<(), AccountError> {
        let Transfer { id, debit, credit, amount, action } = transfer;
        if self.recorded(id).is_some() {
            return Err(AccountError::Duplicate(id.clone()));
        }
        if debit == credit {
            return Err(AccountError::SameAccount(id.clone()));
        }
        if let Action::Settle(pending) | Action::Void(pending) = action {
            self.close(transfer, pending)?;
        }
        let side = |pending: &mut Total, posted: &mut Total| match action {
            Action::Post => increase(posted, *amount),
            Action::Reserve => increase(pending, *amount),
            Action::Settle(_) => decrease(pending, *amount).and_then(|()| increase(posted, *amount)),
            Action::Void(_) => decrease(pending, *amount),
        };
        let account = self.account(debit)?;
        let done = side(&mut account.debits_pending, &mut account.debits_posted);
        done.ok_or_else(|| AccountError::Range(debit.clone()))?;
        let account = self.account(credit)?;
        let done = side(&mut account.credits_pending, &mut account.credits_posted);
        done.ok_or_else(|| AccountError::Range(credit.clone()))?;
        for id in [debit, credit] {
            match self.account(id)?.keeps_limit() {
                Some(true) => {}
                Some(false) => {
                    return Err(AccountError::Limit { transfer: transfer.id.clone(), account: id.clone() });
                }
                None => return Err(AccountError::Range(id.clone())),
            }
        }
        let status = if *action == Action::Reserve { Status::Pending } else { Status::Done };
        self.transfers.insert(id.clone(), Recorded { transfer: transfer.clone(), status });
        Ok(())
    }

    /// Marks a pending transfer as settled or voided by `transfer`.
    fn close(&mut self, transfer: &Transfer, pending: &TransferId) -> Result<(), AccountError> {
        let names = (transfer.id.clone(), pending.clone());
        let mut target = match self.recorded(pending) {
            Some(recorded) if recorded.status == Status::Pending => recorded.clone(),
            _ => return Err(AccountError::NotPending { transfer: names.0, pending: names.1 }),
        };
        if target.transfer.essence() != transfer.essence() {
            return Err(AccountError::Differs { transfer: names.0, pending: names.1 });
        }
        let settles = matches!(transfer.action, Action::Settle(_));
        target.status = if settles { Status::Settled(names.0) } else { Status::Voided(names.0) };
        self.transfers.insert(names.1, target);
        Ok(())
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
