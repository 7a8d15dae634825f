//! Assets that members offer. Rows never stand here: only schema, counts and a salted commitment.

use super::{Checked, Context, Refusal, State};
use crate::agreement::vocabulary::DataClass;
use crate::statement::{AssetRegistered, AssetRevoked};
use crate::time::Timestamp;

/// Most assets in one collaboration.
const MAX_ASSETS: usize = 10_000;
/// Most rows of one dataset.
const MAX_ROWS: u64 = 1 << 40;

/// An asset as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asset {
    /// What was registered.
    pub registered: AssetRegistered,
    /// When.
    pub registered_at: Timestamp,
    /// When its owner took it back, if so.
    pub revoked_at: Option<Timestamp>,
}

impl State {
    /// The asset, if it is registered and not taken back.
    #[must_use]
    pub fn asset(&self, id: &crate::id::AssetId) -> Option<&AssetRegistered> {
        self.assets.get(id).filter(|a| a.revoked_at.is_none()).map(|a| &a.registered)
    }

    pub(super) fn asset_registered(&mut self, context: &Context<'_>, body: &AssetRegistered) -> Checked {
        self.require_member(context.party())?;
        if body.asset.owner() != *context.party() {
            return Err(Refusal::NotYours { party: context.party().clone() });
        }
        let placed_otherwise = self.repository(&body.asset).is_some_and(|r| r.class != body.class);
        if self.assets.contains_key(&body.asset) || placed_otherwise {
            return Err(Refusal::AssetExists { asset: body.asset.clone() });
        }
        if self.assets.len() >= MAX_ASSETS {
            return Err(Refusal::Limit { what: "assets in one collaboration", limit: MAX_ASSETS as u64 });
        }
        if body.train_rows > MAX_ROWS || body.held_out_rows > MAX_ROWS {
            return Err(Refusal::BadAsset { detail: "more than 2^40 rows" });
        }
        match (body.class, &body.bytes) {
            (DataClass::Record, None) if body.train_rows > 0 && body.features > 0 && body.classes > 1 => {}
            (DataClass::Record, None) => {
                return Err(Refusal::BadAsset {
                    detail: "a dataset has training rows, features and at least two classes",
                });
            }
            (DataClass::Reference, Some(_)) => {}
            (DataClass::Record, Some(_)) => {
                return Err(Refusal::BadAsset {
                    detail: "records are never shared as bytes; register the open part as reference",
                });
            }
            _ => {
                return Err(Refusal::BadAsset {
                    detail: "a dataset is of class record, or of class reference with its bytes",
                });
            }
        }
        let asset = Asset { registered: body.clone(), registered_at: context.at, revoked_at: None };
        self.assets.insert(body.asset.clone(), asset);
        Ok(())
    }

    pub(super) fn asset_revoked(&mut self, context: &Context<'_>, body: &AssetRevoked) -> Checked {
        if body.asset.owner() != *context.party() {
            return Err(Refusal::NotYours { party: context.party().clone() });
        }
        match self.assets.get_mut(&body.asset) {
            Some(asset) if asset.revoked_at.is_none() => {
                asset.revoked_at = Some(context.at);
                Ok(())
            }
            _ => Err(Refusal::UnknownAsset { asset: body.asset.clone() }),
        }
    }
}
