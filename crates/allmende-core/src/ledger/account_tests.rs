//! The rules of double entry, one by one and under random histories.

use proptest::prelude::*;

use super::*;

fn account(text: &str) -> AccountId {
    text.parse().expect("valid")
}

fn transfer(id: &str, debit: &str, credit: &str, minor: i64, action: Action) -> Transfer {
    Transfer {
        id: id.parse().expect("valid"),
        debit: account(debit),
        credit: account(credit),
        amount: Amount::from_minor(minor).expect("in range"),
        action,
    }
}

fn id(text: &str) -> TransferId {
    text.parse().expect("valid")
}

/// `payer` is money from outside; `pool` may give only what it has.
fn books() -> Accounts {
    let mut books = Accounts::new();
    for (name, limit) in [
        ("payer", Limit::None),
        ("pool", Limit::DebitsWithinCredits),
        ("party:north", Limit::None),
        ("fund", Limit::None),
    ] {
        books.open(account(name), limit).expect("new");
    }
    books
}

fn totals(books: &Accounts, name: &str) -> [u128; 4] {
    let a = books.account(&account(name)).expect("open");
    [a.debits_posted.0, a.credits_posted.0, a.debits_pending.0, a.credits_pending.0]
}

#[test]
fn names_are_bounded() {
    for good in ["fund", "party:north", "epsilon:north/digits", "a-1:2", &"x".repeat(200)] {
        assert!(good.parse::<AccountId>().is_ok(), "{good}");
    }
    for bad in ["", ":", "a:", ":a", "a::b", "A", "a b", "-a", "a-", "a/-b", "ä", &"x".repeat(201)] {
        assert!(bad.parse::<AccountId>().is_err(), "{bad}");
    }
}

#[test]
fn a_transfer_debits_one_and_credits_the_other_at_most_once() {
    let mut books = books();
    let first = transfer("t1", "payer", "pool", 100, Action::Post);
    books.post(std::slice::from_ref(&first)).expect("unlimited");
    assert_eq!(totals(&books, "payer"), [100, 0, 0, 0]);
    assert_eq!(totals(&books, "pool"), [0, 100, 0, 0]);
    assert_eq!(books.post(std::slice::from_ref(&first)), Err(AccountError::Duplicate(id("t1"))));
    let twin = [transfer("t2", "payer", "pool", 1, Action::Post), transfer("t2", "payer", "fund", 1, Action::Post)];
    assert_eq!(books.post(&twin), Err(AccountError::Duplicate(id("t2"))));
    assert_eq!(totals(&books, "payer"), [100, 0, 0, 0]);
    let same = [transfer("t3", "pool", "pool", 1, Action::Post)];
    assert_eq!(books.post(&same), Err(AccountError::SameAccount(id("t3"))));
    let nobody = [transfer("t4", "pool", "party:nobody", 1, Action::Post)];
    assert_eq!(books.post(&nobody), Err(AccountError::UnknownAccount(account("party:nobody"))));
    assert_eq!(books.open(account("pool"), Limit::None), Err(AccountError::AccountExists(account("pool"))));
    assert_eq!(books.account(&account("pool")).and_then(Account::balance_minor), Some(100));
    assert_eq!(books.account(&account("payer")).and_then(Account::balance_minor), Some(-100));
}

#[test]
fn linked_transfers_are_all_or_nothing_and_limits_hold_after_each() {
    let mut books = books();
    let before = books.clone();
    let limit = |t: &str| Err(AccountError::Limit { transfer: id(t), account: account("pool") });
    let in_and_out = [
        transfer("in", "payer", "pool", 10, Action::Post),
        transfer("north", "pool", "party:north", 6, Action::Post),
        transfer("fund", "pool", "fund", 5, Action::Post),
    ];
    assert_eq!(books.post(&in_and_out), limit("fund"));
    assert_eq!(books, before);
    let (fund, rest) = (&in_and_out[1], &in_and_out[0]);
    assert_eq!(books.post(&[fund.clone(), rest.clone()]), limit("north"));
    assert_eq!(books, before);
    books.post(&in_and_out[..2]).expect("within credits");
    assert_eq!(totals(&books, "pool"), [6, 10, 0, 0]);
}

#[test]
fn pending_counts_against_the_limit_until_voided() {
    let mut books = books();
    books.post(&[transfer("in", "payer", "pool", 10, Action::Post)]).expect("unlimited");
    books.post(&[transfer("r1", "pool", "party:north", 7, Action::Reserve)]).expect("within");
    assert_eq!(totals(&books, "pool"), [0, 10, 7, 0]);
    assert_eq!(totals(&books, "party:north"), [0, 0, 0, 7]);
    assert!(matches!(
        books.post(&[transfer("r2", "pool", "fund", 4, Action::Reserve)]),
        Err(AccountError::Limit { .. })
    ));
    let settle = |name: &str, minor| transfer(name, "pool", "party:north", minor, Action::Settle(id("r1")));
    let void = |name: &str| transfer(name, "pool", "party:north", 7, Action::Void(id("r1")));
    assert!(matches!(books.post(&[settle("s0", 6)]), Err(AccountError::Differs { .. })));
    // Settling and voiding in one group, or twice, is refused as a whole.
    let before = books.clone();
    assert!(matches!(books.post(&[settle("s1", 7), void("v1")]), Err(AccountError::NotPending { .. })));
    assert_eq!(books, before);
    let mut voided = books.clone();
    voided.post(&[void("v1")]).expect("pending");
    assert_eq!(totals(&voided, "pool"), [0, 10, 0, 0]);
    assert_eq!(voided.transfer(&id("r1")).map(|r| r.status.clone()), Some(Status::Voided(id("v1"))));
    books.post(&[settle("s1", 7)]).expect("pending");
    assert_eq!(totals(&books, "pool"), [7, 10, 0, 0]);
    assert_eq!(totals(&books, "party:north"), [0, 7, 0, 0]);
    assert_eq!(books.transfer(&id("r1")).map(|r| r.status.clone()), Some(Status::Settled(id("s1"))));
    assert!(matches!(books.post(&[void("v2")]), Err(AccountError::NotPending { .. })));
    let posted = transfer("s9", "payer", "pool", 10, Action::Settle(id("in")));
    assert!(matches!(books.post(&[posted]), Err(AccountError::NotPending { .. })));
    for books in [books, voided] {
        assert_eq!(books.audit(), Ok(()));
        // A reservation that is said to be closed by nobody, and a closing whose reservation says otherwise.
        let mut orphan = books.clone();
        orphan.transfers.retain(|name, _| *name != id("s1") && *name != id("v1"));
        assert_eq!(orphan.audit(), Err(AccountError::UnsoundTransfer(id("r1"))));
        let mut reopened = books;
        reopened.transfers.get_mut(&id("r1")).expect("posted").status = Status::Pending;
        assert!(matches!(reopened.audit(), Err(AccountError::UnsoundTransfer(_))));
    }
}

#[test]
fn the_other_limit_is_the_mirror() {
    let mut books = books();
    books.open(account("budget"), Limit::CreditsWithinDebits).expect("new");
    assert!(books.post(&[transfer("t1", "payer", "budget", 1, Action::Post)]).is_err());
    books.post(&[transfer("t2", "budget", "payer", 5, Action::Post)]).expect("no limit on debits");
    assert!(books.post(&[transfer("t3", "payer", "budget", 6, Action::Reserve)]).is_err());
    books.post(&[transfer("t4", "payer", "budget", 5, Action::Reserve)]).expect("within");
}

#[test]
fn a_doctored_snapshot_is_found() {
    let mut books = books();
    books.post(&[transfer("in", "payer", "pool", 10, Action::Post)]).expect("unlimited");
    let text = serde_json::to_string(&books).expect("plain");
    assert_eq!(serde_json::from_str::<Accounts>(&text).expect("own output"), books);
    let doctored: Accounts =
        serde_json::from_str(&text.replace(r#""credits_posted":"10""#, r#""credits_posted":"11""#))
            .expect("well-formed");
    assert_eq!(doctored.audit(), Err(AccountError::Unsound(account("pool"))));
    let full = text.replace(r#""debits_posted":"10""#, &format!(r#""debits_posted":"{}""#, u128::MAX));
    let mut full: Accounts = serde_json::from_str(&full).expect("well-formed");
    assert_eq!(
        full.post(&[transfer("t", "payer", "pool", 1, Action::Post)]),
        Err(AccountError::Range(account("payer")))
    );
    assert!(
        serde_json::from_str::<Transfer>(
            r#"{"id":"t","debit":"a","credit":"b","amount":"1","action":"post","memo":"x"}"#
        )
        .is_err()
    );
}

#[test]
fn transfers_have_one_encoding() {
    let settle = transfer("s1", "pool", "party:north", 7, Action::Settle(id("r1")));
    let bytes = crate::canonical::to_bytes(&settle).expect("strict");
    assert_eq!(
        String::from_utf8(bytes.clone()).expect("ASCII"),
        r#"{"action":{"settle":"r1"},"amount":"7","credit":"party:north","debit":"pool","id":"s1"}"#
    );
    assert_eq!(crate::canonical::from_bytes(&bytes), Ok(settle));
}

const NAMES: [&str; 4] = ["payer", "pool", "party:north", "fund"];

/// A random transfer among few names, so that duplicates, limits and settlements really occur.
fn any_transfer() -> impl Strategy<Value = Transfer> {
    (0..30_u8, 0..4_usize, 0..4_usize, 0..50_i64, 0..6_u8, 0..30_u8).prop_map(
        |(n, debit, credit, minor, kind, other)| {
            let other = id(&format!("t{other}"));
            let action = match kind {
                0..=2 => Action::Post,
                3 => Action::Reserve,
                4 => Action::Settle(other),
                _ => Action::Void(other),
            };
            transfer(&format!("t{n}"), NAMES[debit], NAMES[credit], minor, action)
        },
    )
}

proptest! {
    #[test]
    fn debits_always_equal_credits(groups in prop::collection::vec(prop::collection::vec(any_transfer(), 1..4), 0..40)) {
        let mut books = books();
        for mut group in groups {
            // Half of the settlements and voidings are made to fit what they name, so that some succeed.
            for t in &mut group {
                if let Action::Settle(p) | Action::Void(p) = &t.action
                    && let Some(found) = books.transfer(p)
                {
                    let Transfer { debit, credit, amount, .. } = found.transfer.clone();
                    (t.debit, t.credit, t.amount) = (debit, credit, amount);
                }
            }
            let before = books.clone();
            if books.post(&group).is_err() {
                prop_assert_eq!(&books, &before);
            } else {
                prop_assert_eq!(books.transfers().count(), before.transfers().count() + group.len());
            }
            let sum = |f: fn(&Account) -> Total| books.accounts().map(|(_, a)| f(a).0).sum::<u128>();
            prop_assert_eq!(sum(|a| a.debits_posted), sum(|a| a.credits_posted));
            prop_assert_eq!(sum(|a| a.debits_pending), sum(|a| a.credits_pending));
            prop_assert_eq!(books.audit(), Ok(()));
            let pool = books.account(&account("pool")).expect("open");
            prop_assert!(pool.debits_posted.0 + pool.debits_pending.0 <= pool.credits_posted.0);
        }
        let bytes = crate::canonical::to_bytes(&books).expect("strict");
        prop_assert_eq!(crate::canonical::from_bytes::<Accounts>(&bytes), Ok(books));
    }
}
