//! The bytes of openly shared assets.

use allmende_core::agreement::check::Request;
use allmende_core::agreement::vocabulary::{Action, DataClass, Place};
use allmende_core::digest::Digest;
use allmende_core::id::{AssetId, CollaborationId};
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures::TryStreamExt as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{ReadCaller, RequireScope, WriteCaller};
use crate::blobs::{Expect, Reader};
use crate::collaboration::readable;
use crate::error::{ApiError, Code, Problem};
use crate::extract::{Path, range};

/// Routes of bytes, which may take long.
pub fn transfers() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(get_bytes, put_bytes))
}

fn asset_id(party: &str, name: &str) -> Result<AssetId, ApiError> {
    format!("{party}/{name}").parse().map_err(|_| ApiError::not_found(format!("asset {party}/{name}")))
}

/// Download an openly shared asset. The terms must permit the caller to read it.
#[utoipa::path(
    get, path = "/v1/collaborations/{collaboration}/assets/{party}/{name}/bytes", tag = "assets",
    security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("party" = String, Path, description = "The owner"),
        ("name" = String, Path, description = "The asset's name"),
    ),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream"), (status = "default", body = Problem))
)]
async fn get_bytes(
    State(app): State<App>,
    RequireScope(caller): ReadCaller,
    Path((collaboration, party, name)): Path<(CollaborationId, String, String)>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let log = readable(&app, &collaboration, &caller.party).await?;
    let asset = asset_id(&party, &name)?;
    let digest = {
        let state = log.state().await?;
        let registered = state.asset(&asset).ok_or_else(|| ApiError::not_found(format!("asset {asset}")))?;
        let bytes = registered.bytes.as_ref().ok_or_else(|| {
            let error =
                ApiError::new(Code::Forbidden, format!("{asset} is private: its rows never leave its owner's node"));
            error.hint("propose a run that trains where the data is")
        })?;
        let purpose = state.terms_in_force(app.clock.now()).find_map(|(_, terms)| terms.purpose.first().copied());
        state.require(&Request {
            actor: caller.party.clone(),
            action: Action::Read,
            asset: asset.clone(),
            part: None,
            class: DataClass::Reference,
            purpose: purpose.ok_or_else(|| ApiError::new(Code::Forbidden, "no agreement is in force"))?,
            place: Place::Anywhere,
            parties: 1,
            at: app.clock.now(),
        })?;
        bytes.digest
    };
    download(&app, &digest, &headers).await
}

/// Upload the bytes of an asset that the caller's party is about to register as openly shared.
#[utoipa::path(
    put, path = "/v1/collaborations/{collaboration}/assets/{party}/{name}/bytes", tag = "assets",
    security(("token" = [])),
    params(
        ("collaboration" = String, Path, description = "Its name"),
        ("party" = String, Path, description = "The owner: the caller's party"),
        ("name" = String, Path, description = "The asset's name"),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream"),
    responses((status = 204, description = "Stored; the digest stands in the ETag"), (status = "default", body = Problem))
)]
async fn put_bytes(
    State(app): State<App>,
    RequireScope(caller): WriteCaller,
    Path((collaboration, party, name)): Path<(CollaborationId, String, String)>,
    request: HttpRequest,
) -> Result<Response, ApiError> {
    readable(&app, &collaboration, &caller.party).await?;
    let asset = asset_id(&party, &name)?;
    if asset.owner() != caller.party {
        return Err(ApiError::new(Code::Forbidden, format!("{asset} is not {}'s", caller.party)));
    }
    let expect = Expect { digest: None, size_bytes: None, max_bytes: app.config.max_blob_bytes };
    let stored = app.blobs.put(request.into_body().into_data_stream(), &expect).await?;
    Ok((StatusCode::NO_CONTENT, [(header::ETAG, format!("\"{}\"", stored.digest))]).into_response())
}

/// Streams stored bytes, whole or the one range that the request asks for.
///
/// # Errors
/// [`Code::RangeNotSatisfiable`] or the store's failure.
pub async fn download(app: &App, digest: &Digest, headers: &HeaderMap) -> Result<Response, ApiError> {
    let range = range(headers, app.blobs.size(digest).await?)?;
    let partial = range.is_some();
    let Reader { size_bytes, range, stream } = app.blobs.open_range(digest, range).await?;
    let body = axum::body::Body::from_stream(stream.map_err(std::io::Error::other));
    let status = if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, body).into_response();
    let mut set = |name, value: String| {
        if let Ok(value) = value.parse() {
            response.headers_mut().insert(name, value);
        }
    };
    set(header::CONTENT_TYPE, "application/octet-stream".to_owned());
    set(header::CONTENT_LENGTH, (range.end - range.start).to_string());
    set(header::ETAG, format!("\"{digest}\""));
    set(header::ACCEPT_RANGES, "bytes".to_owned());
    if partial {
        set(header::CONTENT_RANGE, format!("bytes {}-{}/{size_bytes}", range.start, range.end.saturating_sub(1)));
    }
    Ok(response)
}
