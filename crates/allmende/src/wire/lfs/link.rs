//! Addresses that carry what they are good for: one repository, one object, one direction, for a while.
//!
//! They are signed with a key that follows from the hub's, so that every process of a hub knows them and nothing is kept. An
//! address alone is not enough: whoever it was made for must still be allowed what it does when it is used.

use allmende_core::digest::{Digest, from_hex, to_hex};
use allmende_core::signature::SecretKey;
use allmende_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::error::{ApiError, Code};

/// How long an address is good for, at least.
const LIFETIME_MS: i64 = 10 * 60 * 1_000;
/// Slower clients than this do not finish, in bytes each second.
const SLOWEST_BYTES_S: u64 = 1 << 20;
/// How long one is good for at most.
const MAX_LIFETIME_MS: i64 = 12 * 60 * 60 * 1_000;

/// What an address is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Reading the object.
    Get,
    /// Sending it whole.
    Put,
    /// Sending one part of it.
    Part,
    /// Saying that all parts are there.
    Join,
    /// Asking whether it has arrived.
    Verify,
}

/// What an address says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What it is good for.
    pub act: Act,
    /// The repository's id.
    pub repo: String,
    /// The object: 64 hexadecimal digits.
    pub oid: String,
    /// Its bytes.
    pub size: u64,
    /// The part's number, from 1; with [`Act::Join`] how many there are.
    #[serde(default)]
    pub part: u32,
    /// The upload that parts belong to.
    #[serde(default)]
    pub upload: String,
    /// The id of the token that it was made for; empty for whoever came without.
    #[serde(default)]
    pub token: String,
    /// Until when, in milliseconds since 1970.
    pub until: i64,
}

/// How long addresses are good for when this many bytes go through them.
pub fn lifetime_ms(bytes: u64) -> i64 {
    let transfer = i64::try_from(bytes / SLOWEST_BYTES_S).unwrap_or(i64::MAX).saturating_mul(1_000);
    LIFETIME_MS.saturating_add(transfer).min(MAX_LIFETIME_MS)
}

impl Link {
    /// The object's digest.
    pub fn sha256(&self) -> Result<Digest, ApiError> {
        from_hex(&self.oid).map(Digest).ok_or_else(|| ApiError::new(Code::BadRequest, "no SHA-256"))
    }

    fn told(&self) -> String {
        let Self { act, repo, oid, size, part, upload, token, until } = self;
        let act = match act {
            Act::Get => "get",
            Act::Put => "put",
            Act::Part => "part",
            Act::Join => "join",
            Act::Verify => "verify",
        };
        format!("{act}\n{repo}\n{oid}\n{size}\n{part}\n{upload}\n{token}\n{until}")
    }

    /// The address below `base`.
    pub fn address(&self, base: &str, key: &LinkKey) -> String {
        let Self { act: _, repo, oid, size, part, upload, token, until } = self;
        let act = self.told();
        let act = act.split('\n').next().unwrap_or_default();
        let mac = to_hex(&key.mac(self.told().as_bytes()));
        format!(
            "{base}/lfs/{act}/{repo}/{oid}?size={size}&part={part}&upload={upload}&token={token}&until={until}&mac={mac}"
        )
    }

    /// Refuses unless this hub made the address and it is still good.
    ///
    /// # Errors
    /// [`Code::Forbidden`].
    pub fn check(&self, mac: &str, key: &LinkKey, now: Timestamp) -> Result<(), ApiError> {
        let made = key.mac(self.told().as_bytes());
        let given: [u8; 32] = from_hex(mac).unwrap_or_default();
        let differs = std::hint::black_box(made.iter().zip(given).fold(0, |acc, (a, b)| acc | (a ^ b)));
        if differs != 0 || mac.len() != 64 {
            return Err(ApiError::new(Code::Forbidden, "this hub did not make this address"));
        }
        if self.until < now.0 {
            let error = ApiError::new(Code::Forbidden, "this address was good for a while, which is over");
            return Err(error.hint("ask for another: run the same command again"));
        }
        Ok(())
    }
}

/// The key that addresses are signed with.
pub struct LinkKey(Zeroizing<[u8; 32]>);

impl LinkKey {
    /// The key of the hub with this key.
    pub fn of(hub_key: &SecretKey) -> Self {
        let seed = Zeroizing::new(hub_key.seed());
        Self(Zeroizing::new(Digest::of_parts(&[b"allmende: addresses of large files\n", &*seed]).0))
    }

    /// HMAC-SHA-256, RFC 2104.
    fn mac(&self, text: &[u8]) -> [u8; 32] {
        let (mut inner, mut outer) = (Zeroizing::new([0x36; 64]), Zeroizing::new([0x5c; 64]));
        for (i, byte) in self.0.iter().enumerate() {
            inner[i] ^= byte;
            outer[i] ^= byte;
        }
        let within = Digest::of_parts(&[&*inner, text]);
        Digest::of_parts(&[&*outer, &within.0]).0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link() -> Link {
        let (repo, oid) = ("0123456789abcdef01234567".to_owned(), "ab".repeat(32));
        let (upload, token) = ("u1".to_owned(), "t1".to_owned());
        Link { act: Act::Part, repo, oid, size: 5, part: 2, upload, token, until: 1_000 }
    }

    #[test]
    fn hmac_is_rfc_4231s() {
        // Test case 1: its key of 20 bytes is filled with zeros, as HMAC does.
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        let mac = LinkKey(Zeroizing::new(key)).mac(b"Hi There");
        assert_eq!(to_hex(&mac), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    }

    #[test]
    fn an_address_is_good_for_what_it_says_and_until_then() {
        let key = LinkKey::of(&SecretKey::from_seed(&[1; 32]));
        let address = link().address("http://hub", &key);
        let mac = address.rsplit_once("mac=").unwrap().1;
        assert!(address.starts_with("http://hub/lfs/part/0123456789abcdef01234567/abab"));
        assert!(link().check(mac, &key, Timestamp(1_000)).is_ok());
        assert!(link().check(mac, &key, Timestamp(1_001)).is_err());
        assert!(link().check(mac, &LinkKey::of(&SecretKey::from_seed(&[2; 32])), Timestamp(0)).is_err());
        for other in [
            Link { act: Act::Put, ..link() },
            Link { repo: "1123456789abcdef01234567".into(), ..link() },
            Link { oid: "ac".repeat(32), ..link() },
            Link { size: 6, ..link() },
            Link { part: 3, ..link() },
            Link { upload: "u2".into(), ..link() },
            Link { token: String::new(), ..link() },
            Link { until: 2_000, ..link() },
        ] {
            assert!(other.check(mac, &key, Timestamp(0)).is_err(), "{other:?}");
        }
        for bad in ["", "00", &"0".repeat(64), &mac[..62], &mac.to_uppercase()] {
            assert!(link().check(bad, &key, Timestamp(0)).is_err(), "{bad}");
        }
    }

    #[test]
    fn large_transfers_have_longer() {
        assert_eq!(lifetime_ms(0), LIFETIME_MS);
        assert_eq!(lifetime_ms(600 << 20), 2 * LIFETIME_MS);
        assert_eq!(lifetime_ms(u64::MAX), MAX_LIFETIME_MS);
    }
}
