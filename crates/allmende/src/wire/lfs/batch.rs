//! What is asked before bytes move: which objects are to be sent or fetched, and where.

use allmende_core::digest::{Digest, from_hex, to_hex};
use axum::extract::{Request, State};
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::link::{Act, Link, LinkKey, lifetime_ms};
use super::{Refusal, answer, bytes, read};
use crate::app::App;
use crate::error::{ApiError, Code};
use crate::repo::Right;
use crate::wire::git::{Door, may_send};
use crate::wire::hub::Base;
use crate::wire::xet::address;
use crate::xet::Session;
use crate::xet::pass::{Need, TOKEN_MS};

/// Most objects of one question.
const MAX_OBJECTS: usize = 1_000;
/// Most parts of one object; with more bytes the parts are larger.
const MAX_PARTS: u64 = 4_000;

/// Which objects are to move, and how.
#[derive(Debug, Deserialize)]
pub struct Question {
    operation: Operation,
    #[serde(default)]
    transfers: Vec<String>,
    /// The objects, whose names and sizes are the sender's word.
    pub objects: Vec<Object>,
    #[serde(default)]
    hash_algo: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operation {
    Download,
    Upload,
}

/// An object of a question.
#[derive(Debug, Deserialize)]
pub struct Object {
    oid: String,
    size: u64,
}

impl Object {
    /// The digest that it is named by, if it is one.
    #[must_use]
    pub fn sha256(&self) -> Option<Digest> {
        from_hex(&self.oid).map(Digest)
    }
}

impl Question {
    /// Refuses what this hub cannot do.
    ///
    /// # Errors
    /// [`Code::Unprocessable`], [`Code::TooLarge`].
    pub fn check(&self) -> Result<(), ApiError> {
        if self.hash_algo.as_ref().is_some_and(|algorithm| algorithm != "sha256") {
            return Err(ApiError::new(Code::Unprocessable, "objects are named by sha256"));
        }
        if self.objects.len() > MAX_OBJECTS {
            return Err(ApiError::new(Code::TooLarge, format!("more than {MAX_OBJECTS} objects in one question")));
        }
        if !self.transfers.is_empty() && !["basic", "multipart", "xet"].iter().any(|known| self.offers(known)) {
            return Err(ApiError::new(Code::Unprocessable, "this hub transfers as 'basic', 'multipart' and 'xet'"));
        }
        Ok(())
    }

    fn offers(&self, name: &str) -> bool {
        self.transfers.iter().any(|offered| offered == name)
    }
}

/// How many bytes each part of an object has, and how many parts there are. The first is not less than `least`.
pub(in crate::wire) fn parts(size: u64, least: u64) -> (u64, u64) {
    let unit = 1 << 20;
    let each = least.max(size.div_ceil(MAX_PARTS).div_ceil(unit).saturating_mul(unit)).max(1);
    (each, size.div_ceil(each))
}

/// What one batch makes its addresses from.
struct Maker<'a> {
    app: &'a App,
    door: &'a Door,
    base: String,
    key: LinkKey,
    lifetime_ms: i64,
    until: i64,
    how: How,
}

/// How the objects of one question are sent.
enum How {
    /// Each whole.
    Basic,
    /// Large ones in parts.
    Multipart,
    /// In chunks to the storage of Xet, with these headers, of which clients get fresh ones at this address.
    Xet { header: Map<String, Value>, refresh: String },
}

impl How {
    const fn name(&self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Multipart => "multipart",
            Self::Xet { .. } => "xet",
        }
    }

    /// As `git-xet` sends: a token for the repository's part of the storage, and where another one is given.
    async fn xet(app: &App, door: &Door, base: &str) -> Result<Self, ApiError> {
        let session = Session { seen: door.seen.clone(), principal: door.principal.clone() };
        let (writes, repo) = (door.seen.right >= Right::Write, &door.seen.repo);
        let need = if writes { Need::Write } else { Need::Propose };
        let (token, expires_at) = session.token(app, need).await?;
        let header = [
            ("X-Xet-Cas-Url", address(base, repo)),
            ("X-Xet-Access-Token", token),
            ("X-Xet-Token-Expiration", expires_at.0.div_euclid(1_000).to_string()),
        ];
        let header = header.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let query = if writes { "" } else { "?create_pr=1" };
        let (kind, name) = (repo.kind.plural(), repo.full_name());
        Ok(Self::Xet { header, refresh: format!("{base}/api/{kind}/{name}/xet-write-token/main{query}") })
    }
}

impl Maker<'_> {
    fn address(&self, act: Act, object: &Object, part: u32, upload: &str) -> String {
        let token = self.door.principal.as_ref().map_or_else(String::new, |principal| principal.token.id.clone());
        let (repo, oid, upload) = (self.door.seen.repo.id.clone(), object.oid.clone(), upload.to_owned());
        let link = Link { act, repo, oid, size: object.size, part, upload, token, until: self.until };
        link.address(&self.base, &self.key)
    }

    fn action(&self, href: &str, header: &Map<String, Value>) -> Value {
        json!({ "href": href, "header": header, "expires_in": self.lifetime_ms / 1_000 })
    }

    fn upload(&self, object: &Object) -> Result<Value, ApiError> {
        let least = self.app.config.max_part_bytes;
        if let How::Xet { header, refresh } = &self.how {
            return Ok(json!({ "href": refresh, "header": header, "expires_in": TOKEN_MS / 1_000 }));
        }
        if matches!(self.how, How::Basic) || object.size <= least {
            return Ok(self.action(&self.address(Act::Put, object, 0, ""), &Map::new()));
        }
        let (each, count) = parts(object.size, least);
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|e| ApiError::internal(std::io::Error::other(e)))?;
        let upload = to_hex(&random);
        let count = u32::try_from(count).map_err(|_| ApiError::new(Code::TooLarge, "too many parts"))?;
        let mut header = Map::new();
        header.insert("chunk_size".to_owned(), each.to_string().into());
        for number in 1..=count {
            header.insert(number.to_string(), self.address(Act::Part, object, number, &upload).into());
        }
        Ok(self.action(&self.address(Act::Join, object, count, &upload), &header))
    }

    async fn object(&self, operation: Operation, object: &Object) -> Result<Value, ApiError> {
        let wrong = |code: u16, message: &str| json!({ "oid": object.oid, "size": object.size, "error": { "code": code, "message": message } });
        let Some(sha256) = object.sha256() else {
            return Ok(wrong(422, "an object is named by the 64 lower-case hexadecimal digits of its SHA-256"));
        };
        let seen = &self.door.seen;
        let held = match operation {
            Operation::Upload => bytes::cite(self.app, &seen.repo, &sha256).await?,
            Operation::Download => bytes::held(self.app, &seen.repo, &sha256).await?,
        };
        let actions = match (operation, held) {
            (_, Some(size)) if size != object.size => return Ok(wrong(422, "the object has another size")),
            (Operation::Download, None) => return Ok(wrong(404, "this repository does not hold the object")),
            (Operation::Download, Some(_)) => {
                json!({ "download": self.action(&self.address(Act::Get, object, 0, ""), &Map::new()) })
            }
            // No action says that nothing is left to do.
            (Operation::Upload, Some(_)) => return Ok(json!({ "oid": object.oid, "size": object.size })),
            (Operation::Upload, None) if object.size > self.app.config.max_blob_bytes => {
                return Ok(wrong(422, "the object is larger than max_blob_bytes"));
            }
            (Operation::Upload, None) => {
                match bytes::room(self.app, &seen.repo, object.size).await {
                    Err(error) if error.code() == Code::QuotaExceeded => {
                        return Ok(wrong(Code::QuotaExceeded.status(), &error.problem().detail));
                    }
                    asked => asked?,
                }
                let verify = self.address(Act::Verify, object, 0, "");
                json!({ "upload": self.upload(object)?, "verify": self.action(&verify, &Map::new()) })
            }
        };
        Ok(json!({ "oid": object.oid, "size": object.size, "authenticated": true, "actions": actions }))
    }
}

/// Where the objects are to be sent, or to be had.
pub async fn batch(
    State(app): State<App>,
    door: Result<Door, ApiError>,
    Base(base): Base,
    request: Request,
) -> Result<Response, Refusal> {
    let door = door?;
    let question: Question = read(&app, request).await?;
    match question.operation {
        Operation::Upload if door.principal.is_none() => door.require(Right::Write)?,
        Operation::Upload => may_send(&app, door.principal.as_ref(), &door.seen).await?,
        Operation::Download => door.may_read_files(&app).await?,
    }
    question.check()?;
    let lifetime_ms = lifetime_ms(question.objects.iter().fold(0, |sum, object| sum.saturating_add(object.size)));
    let (key, until) = (LinkKey::of(&app.hub_key), app.clock.now().plus_ms(lifetime_ms).0);
    let how = match question.operation {
        Operation::Upload if question.offers("xet") => How::xet(&app, &door, &base).await?,
        Operation::Upload if question.offers("multipart") => How::Multipart,
        // Whoever has the program for Xet fetches in another way all the same.
        _ => How::Basic,
    };
    let maker = Maker { app: &app, door: &door, base, key, lifetime_ms, until, how };
    let mut objects = Vec::with_capacity(question.objects.len());
    for object in &question.objects {
        objects.push(maker.object(question.operation, object).await?);
    }
    Ok(answer(&json!({ "transfer": maker.how.name(), "objects": objects, "hash_algo": "sha256" })))
}

/// Nobody locks files here, so there are none.
pub async fn locks(door: Result<Door, ApiError>) -> Result<Response, Refusal> {
    door?.require(Right::Read)?;
    Ok(answer(&json!({ "locks": [], "next_cursor": "" })))
}

/// What stands in the way of a push: nothing.
pub async fn verify_locks(door: Result<Door, ApiError>) -> Result<Response, Refusal> {
    door?.require(Right::Write)?;
    Ok(answer(&json!({ "ours": [], "theirs": [], "next_cursor": "" })))
}

/// Locking and unlocking.
pub async fn lock(door: Result<Door, ApiError>) -> Result<Response, Refusal> {
    door?.require(Right::Write)?;
    let error = ApiError::new(Code::NotFound, "files are not locked on this hub");
    Err(error.hint("work on a branch, and merge").into())
}

#[cfg(test)]
mod tests {
    use super::parts;

    #[test]
    fn parts_cover_an_object() {
        let mib = 1 << 20;
        assert_eq!(parts(20 * mib, 16 * mib), (16 * mib, 2));
        assert_eq!(parts(32 * mib, 16 * mib), (16 * mib, 2));
        assert_eq!(parts(1 << 40, 16 * mib), (263 * mib, 3_987));
        assert_eq!(parts(5, 0), (mib, 1));
        assert!(parts(u64::MAX, 1).1 <= super::MAX_PARTS);
    }
}
