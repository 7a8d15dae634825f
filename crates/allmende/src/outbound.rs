//! Requests to addresses that users name, such as a webhook's: HTTPS, to addresses that are public or that the operator
//! has listed, resolved once and connected to just there, without proxies and redirects.
//!
//! Architecture invariant: nothing reaches an address named by a user but through a client made here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use allmende_core::digest::Digest;
use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::Policy;

use crate::config::Networks;
use crate::tls::{self, TlsError};

/// Longest address.
const MAX_URL_BYTES: usize = 2_048;
/// Longest wait for the names of an address, and for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// No URL, or one with parts that it may not have.
    #[error(
        "the address is no URL of the form https://host/path, at most {MAX_URL_BYTES} bytes, without user and password"
    )]
    Url,
    /// Something else than HTTPS.
    #[error("the address must begin with https://")]
    Plain,
    /// An address that users may not reach through the hub. It is not named: that would tell how names resolve inside.
    #[error(
        "the address leads into a network that is not public; the hub's operator can permit it with outbound_networks"
    )]
    Private,
    /// The name has no address now.
    #[error("the host's name cannot be resolved")]
    Unresolved,
    /// No client could be made.
    #[error("no connection can be made: {0}")]
    Client(#[from] reqwest::Error),
    /// Nor one that keeps to a key.
    #[error("no connection can be made: {0}")]
    Tls(#[from] TlsError),
}

impl OutboundError {
    /// Whether the same address may be good later.
    #[must_use]
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unresolved | Self::Client(_))
    }
}

/// Whether an address is one of the public internet: globally reachable, unicast, and of no network that leads into
/// another family's addresses.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 10
        || (a == 100 && b & 0xc0 == 64)
        || a == 127
        || (a == 169 && b == 254)
        || (a == 172 && b & 0xf0 == 16)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99)
        || (a == 192 && b == 168)
        || (a == 198 && b & 0xfe == 18)
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    // 2000::/3 alone is given out; without 2001::/23 (Teredo and other protocols), documentation, 6to4.
    a & 0xe000 == 0x2000 && !(a == 0x2001 && (b < 0x200 || b == 0xdb8)) && a != 0x2002 && !(a == 0x3fff && b < 0x1000)
}

fn permitted(address: IpAddr, plain: bool, networks: &Networks) -> bool {
    let address = address.to_canonical();
    // In clear only to this very machine, and only if the operator says so.
    if plain { address.is_loopback() && networks.hold(address) } else { is_public(address) || networks.hold(address) }
}

fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Looks at an address before anything is resolved: what is refused here never becomes good.
///
/// # Errors
/// [`OutboundError`].
pub fn check(text: &str, networks: &Networks) -> Result<Url, OutboundError> {
    if text.len() > MAX_URL_BYTES {
        return Err(OutboundError::Url);
    }
    let url = Url::parse(text).map_err(|_| OutboundError::Url)?;
    let plain = match url.scheme() {
        "https" => false,
        "http" => true,
        _ => return Err(OutboundError::Plain),
    };
    if !url.username().is_empty() || url.password().is_some() || url.host_str().is_none_or(str::is_empty) {
        return Err(OutboundError::Url);
    }
    match literal(&url) {
        Some(address) if !permitted(address, plain, networks) => {
            Err(if plain && is_public(address) { OutboundError::Plain } else { OutboundError::Private })
        }
        None if plain && url.host_str() != Some("localhost") => Err(OutboundError::Plain),
        None if plain && !networks.hold(Ipv4Addr::LOCALHOST.into()) => Err(OutboundError::Private),
        _ => Ok(url),
    }
}

/// Answers every question for a name with what was found and judged once.
struct Fixed(Vec<SocketAddr>);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(async move { Ok(addresses) })
    }
}

/// A client that reaches this address and nothing else, after its name was resolved and judged.
///
/// # Errors
/// [`OutboundError`].
pub async fn client(text: &str, networks: &Networks) -> Result<(Url, reqwest::Client), OutboundError> {
    client_of(text, networks, None).await
}

/// The same for whoever there holds the key of this SHA-256, if one is given, whatever authorities say.
///
/// # Errors
/// [`OutboundError`].
pub async fn client_of(
    text: &str,
    networks: &Networks,
    pin: Option<&Digest>,
) -> Result<(Url, reqwest::Client), OutboundError> {
    let url = check(text, networks)?;
    let plain = url.scheme() == "http";
    let addresses: Vec<SocketAddr> = match literal(&url) {
        Some(address) => vec![SocketAddr::new(address, 0)],
        None => {
            let host = (url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or(443));
            let found = tokio::time::timeout(CONNECT_TIMEOUT, tokio::net::lookup_host(host)).await;
            found.map_err(|_| OutboundError::Unresolved)?.map_err(|_| OutboundError::Unresolved)?.collect()
        }
    };
    if addresses.is_empty() {
        return Err(OutboundError::Unresolved);
    }
    // One that is not permitted spoils all: which of them is tried would be chance.
    if !addresses.iter().all(|address| permitted(address.ip(), plain, networks)) {
        return Err(OutboundError::Private);
    }
    let builder = reqwest::Client::builder();
    let builder = match pin.filter(|_| !plain) {
        Some(pin) => tls::pinned(builder, pin)?,
        None => builder,
    };
    let http = builder
        .dns_resolver(Fixed(addresses))
        .no_proxy()
        .redirect(Policy::none())
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(0)
        .user_agent(concat!("allmende/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok((url, http))
}
