//! Assets as their owners registered them. Rows never stand here.

use allmende_core::state::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// An asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AssetView {
    /// Its name, `party/name`.
    pub asset: String,
    /// Who owns it.
    pub owner: String,
    /// What its bytes hold: `record` or `reference`.
    pub class: String,
    /// Features of a row.
    pub features: u32,
    /// Classes of the label.
    pub classes: u32,
    /// Rows for training.
    pub train_rows: u64,
    /// Rows held out for evaluation.
    pub held_out_rows: u64,
    /// SHA-256 over a secret salt and the data.
    pub commitment: String,
    /// Digest of the schema document.
    pub schema: String,
    /// For an openly shared asset: digest of its bytes.
    pub bytes: Option<String>,
    /// For an openly shared asset: their number.
    pub size_bytes: Option<u64>,
    /// The licence of others that it stands under; none when it is its owner's own.
    pub licence: Option<String>,
    /// When it was registered, UTC.
    pub registered_at: String,
    /// When its owner took it back, UTC.
    pub revoked_at: Option<String>,
}

/// All assets, by name.
#[must_use]
pub fn assets(state: &State) -> Vec<AssetView> {
    let view = |asset: &allmende_core::state::Asset| {
        let r = &asset.registered;
        AssetView {
            asset: r.asset.to_string(),
            owner: r.asset.owner().to_string(),
            class: r.class.code().to_owned(),
            features: r.features,
            classes: r.classes,
            train_rows: r.train_rows,
            held_out_rows: r.held_out_rows,
            commitment: r.commitment.to_string(),
            schema: r.schema.to_string(),
            bytes: r.bytes.as_ref().map(|b| b.digest.to_string()),
            size_bytes: r.bytes.as_ref().map(|b| b.size_bytes),
            licence: r.licence.map(|licence| licence.to_string()),
            registered_at: asset.registered_at.to_string(),
            revoked_at: asset.revoked_at.map(|at| at.to_string()),
        }
    };
    state.assets().values().map(view).collect()
}
