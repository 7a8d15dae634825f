//! The caller's tokens: listed, made for other programs, revoked.

use reqwest::Method;

use super::error::ClientError;
use super::http::{Call, HubClient};
use crate::auth::api::TokenAnswer;

impl HubClient {
    /// The caller's tokens, without their secrets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn tokens(&self) -> Result<Vec<TokenAnswer>, ClientError> {
        self.json(Call::get("/v1/tokens".to_owned())).await
    }

    /// Revokes one of the caller's tokens.
    ///
    /// # Errors
    /// [`ClientError::Name`] for what cannot be a token's id.
    pub async fn revoke_token(&self, id: &str) -> Result<(), ClientError> {
        let good = !id.is_empty()
            && id.len() <= 100
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !good {
            return Err(ClientError::Name(id.chars().take(80).collect()));
        }
        let call = Call { method: Method::DELETE, ..Call::get(format!("/v1/tokens/{id}")) };
        self.open(call).await.map(drop)
    }
}
