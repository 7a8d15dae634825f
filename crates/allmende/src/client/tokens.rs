//! The caller's tokens: listed, made for other programs, revoked.

use allmende_core::digest::to_hex;
use reqwest::Method;

use super::error::ClientError;
use super::http::{Call, HubClient, Kind, MAX_PROBLEM_BYTES, read};
use crate::auth::api::{LoginAnswer, TokenAnswer};
use crate::auth::{LoginClaim, Scopes};

/// Longest token, in bytes.
const MAX_TOKEN_BYTES: usize = 4_096;

impl HubClient {
    /// A token of its own for another program: signed for with the key, shown once. A lifetime of 0 is the hub's default.
    /// When the answer is lost the request is sent again under its idempotency key, so that no second token is made.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn issue_token(&self, label: &str, lifetime_s: i64, scopes: Scopes) -> Result<LoginAnswer, ClientError> {
        self.claim_token(label, lifetime_s, scopes, true).await
    }

    /// As [`Self::issue_token`]; once only, unless `repeatable`.
    pub(super) async fn claim_token(
        &self,
        label: &str,
        lifetime_s: i64,
        scopes: Scopes,
        repeatable: bool,
    ) -> Result<LoginAnswer, ClientError> {
        let identity = self.identity.as_ref().ok_or(ClientError::NoIdentity)?;
        // The claim names the hub's key; without a pinned one it would serve whoever answers.
        let audience = self.hub_key().ok_or(ClientError::NoIdentity)?;
        let claim = LoginClaim {
            audience,
            label: label.to_owned(),
            lifetime_s,
            nonce: nonce()?,
            party: identity.party.clone(),
            scopes: scopes.to_string(),
            timestamp: self.clock().now(),
        };
        let what = "POST /v1/login".to_owned();
        let bad = |reason: &str| ClientError::Answer { what: what.clone(), reason: reason.to_owned() };
        let envelope = claim.seal(&identity.key).map_err(|e| bad(&e.to_string()))?;
        let call = Call::post("/v1/login".to_owned(), Kind::Login, &envelope)?;
        let idempotency_key = repeatable.then(nonce).transpose()?;
        let call = Call { authorized: false, repeatable, idempotency_key, ..call };
        let mut attempt = 1;
        let bytes = loop {
            let answer = match self.send_once(&call, None).await {
                Ok(response) => read(response, MAX_PROBLEM_BYTES).await,
                Err(error) => Err(error),
            };
            match answer {
                Err(error) if self.again(&call, &error, attempt).await => attempt += 1,
                other => break other?,
            }
        };
        let answer: LoginAnswer = serde_json::from_slice(&bytes).map_err(|_| bad("no token"))?;
        let printable = answer.token.bytes().all(|b| b.is_ascii_graphic());
        if answer.token.is_empty() || answer.token.len() > MAX_TOKEN_BYTES || !printable {
            return Err(bad("a token is printable ASCII"));
        }
        Ok(answer)
    }

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

fn nonce() -> Result<String, ClientError> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|_| ClientError::Randomness)?;
    Ok(to_hex(&random))
}
