//! Who may do what with a repository.

use allmende_core::time::Timestamp;

use super::*;
use crate::account::token::TokenInfo;
use crate::account::{Grant, Membership, Rights};

fn account(id: &str, kind: crate::account::Kind) -> Account {
    let name = id.parse().unwrap();
    let at = Timestamp(0);
    Account { id: id.into(), kind, name, full_name: id.into(), party: None, private_default: false, created_at: at }
}

fn repo(private: bool) -> Repo {
    Repo {
        id: "r".into(),
        kind: Kind::Model,
        owner: account("north", crate::account::Kind::Organization),
        name: "bert".parse().unwrap(),
        creator: "carla".into(),
        private,
        gate: Gate::Off,
        disabled: false,
        collaboration: None,
        settings: Settings::default(),
        created_at: Timestamp(0),
        modified_at: Timestamp(0),
        downloads: 0,
        likes: 0,
    }
}

fn member(id: &str, role: Option<Role>, rights: Rights) -> Principal {
    let organization = account("north", crate::account::Kind::Organization);
    Principal {
        account: account(id, crate::account::Kind::User),
        memberships: role.map(|role| Membership { organization, role }).into_iter().collect(),
        token: TokenInfo {
            id: String::new(),
            label: String::new(),
            rights,
            created_at: Timestamp(0),
            expires_at: None,
        },
    }
}

#[test]
fn who_may_do_what() {
    let (open, closed) = (repo(false), repo(true));
    assert_eq!((right(None, &open), right(None, &closed)), (Some(Right::Read), None));
    let stranger = member("mallory", None, Rights::Write);
    assert_eq!((right(Some(&stranger), &open), right(Some(&stranger), &closed)), (Some(Right::Read), None));
    let of = |role, rights| right(Some(&member("dora", Some(role), rights)), &closed);
    assert_eq!(of(Role::Read, Rights::Write), Some(Right::Read));
    assert_eq!(of(Role::Contributor, Rights::Write), Some(Right::Read));
    assert_eq!(of(Role::Write, Rights::Write), Some(Right::Write));
    assert_eq!(of(Role::Admin, Rights::Write), Some(Right::Admin));
    assert_eq!(of(Role::Admin, Rights::Read), Some(Right::Read));
    let own = member("carla", Some(Role::Contributor), Rights::Write);
    assert_eq!(right(Some(&own), &closed), Some(Right::Admin));
}

#[test]
fn a_token_can_do_less_than_its_account() {
    let fine = |place: &str, write| Rights::FineGrained { grants: vec![Grant { place: place.into(), write }] };
    let closed = repo(true);
    let of = |rights| right(Some(&member("dora", Some(Role::Admin), rights)), &closed);
    assert_eq!(of(fine("north/bert", true)), Some(Right::Admin));
    assert_eq!(of(fine("north/bert", false)), Some(Right::Read));
    assert_eq!(of(fine("north/other", true)), None);
    assert_eq!(of(Rights::FineGrained { grants: vec![] }), None);
    // Never more than the account itself.
    assert_eq!(right(Some(&member("mallory", None, fine("north/bert", true))), &closed), None);
}

#[test]
fn a_closed_repository_is_nobodys_but_its_owners() {
    let mut repo = repo(false);
    repo.disabled = true;
    assert_eq!(right(None, &repo), None);
    assert_eq!(right(Some(&member("dora", Some(Role::Read), Rights::Read)), &repo), Some(Right::Read));
}
