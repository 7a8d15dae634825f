//! What is told of discussions, in the transaction that changes them.

use allmende_core::time::Timestamp;

use super::{Discussion, Event, What};
use crate::account::Account;
use crate::db::{DbError, Tx};
use crate::repo::Repo;
use crate::repo::event::{self, Action, Discussed, Said};

fn id(account: Option<&Account>) -> String {
    account.map_or_else(String::new, |account| account.id.clone())
}

fn discussed(discussion: &Discussion) -> Discussed {
    Discussed {
        num: discussion.num,
        author: id(discussion.author.as_ref()),
        title: discussion.title.clone(),
        status: discussion.status.as_str().to_owned(),
        base: discussion.pull_request.then(|| discussion.base.clone()),
        merge_commit: discussion.merge_commit.clone(),
    }
}

fn said(comment: &Event) -> Option<Said> {
    let What::Comment { text, hidden, .. } = &comment.what else { return None };
    Some(Said { id: comment.id.clone(), author: id(comment.author.as_ref()), text: text.clone(), hidden: *hidden })
}

/// It is new, with a first comment.
///
/// # Errors
/// [`DbError`].
pub async fn opened(
    tx: &mut Tx,
    repo: &Repo,
    discussion: &Discussion,
    first: &Event,
    now: Timestamp,
) -> Result<(), DbError> {
    let event = event::Event::Discussion(Action::Create, discussed(discussion), said(first));
    event::note(tx, repo, &event, now).await
}

/// It has another title or status.
///
/// # Errors
/// [`DbError`].
pub async fn changed(tx: &mut Tx, repo: &Repo, discussion: &Discussion, now: Timestamp) -> Result<(), DbError> {
    event::note(tx, repo, &event::Event::Discussion(Action::Update, discussed(discussion), None), now).await
}

/// Somebody said something, or changed what they had said.
///
/// # Errors
/// [`DbError`].
pub async fn commented(
    tx: &mut Tx,
    repo: &Repo,
    discussion: &Discussion,
    action: Action,
    comment: &Event,
    now: Timestamp,
) -> Result<(), DbError> {
    match said(comment) {
        Some(said) => event::note(tx, repo, &event::Event::Comment(action, discussed(discussion), said), now).await,
        None => Ok(()),
    }
}
