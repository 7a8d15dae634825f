//! Repositories that stand under the terms of a collaboration, as its log knows them.

use allmende_core::state::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepositoryView {
    /// Its name, `owner/name`; a release stands under the collaboration's own name.
    pub repository: String,
    /// What it holds: `reference` data or a `model`.
    pub class: String,
    /// Since when it stands under the terms, UTC.
    pub placed_at: String,
    /// Since when it no longer does, UTC.
    pub withdrawn_at: Option<String>,
    /// Whom its owner let in, where readers have to ask.
    pub granted: Vec<String>,
    /// Up to when its reads stand in the log, UTC.
    pub counted_until: String,
}

/// All repositories, by name.
#[must_use]
pub fn repositories(state: &State) -> Vec<RepositoryView> {
    let all = state.repositories().iter();
    all.map(|(id, repository)| RepositoryView {
        repository: id.to_string(),
        class: repository.class.code().to_owned(),
        placed_at: repository.placed_at.to_string(),
        withdrawn_at: repository.withdrawn_at.map(|at| at.to_string()),
        granted: repository.granted.iter().map(ToString::to_string).collect(),
        counted_until: repository.counted_until.to_string(),
    })
    .collect()
}
