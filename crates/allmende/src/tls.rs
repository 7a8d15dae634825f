//! TLS 1.3 for hub and clients. A client that joined pins the hub's public key, so no authority has to be trusted.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use allmende_core::digest::Digest;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, ServerConfig, SignatureScheme, version,
};
use zeroize::Zeroizing;

use crate::config::{Config, TlsMode};
use crate::keyfile::{KeyFileError, load_or_create};

/// How long a client waits for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Why TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of ours failed.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A file of the operator holds no usable certificate or key.
    #[error("{path}: {message}")]
    Pem {
        /// The file.
        path: String,
        /// Why.
        message: String,
    },
    /// No certificate could be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// rustls refused.
    #[error("TLS: {0}")]
    Rustls(#[from] Error),
    /// The client could not be built.
    #[error("HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// Not a URL of a hub.
    #[error("{0:?} is no hub: write https://host:port, or http:// on this machine")]
    Url(String),
    /// Plain HTTP to another machine.
    #[error("plain http:// is for this machine only: tokens would travel in clear")]
    Plain,
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes ring the process's provider, for libraries that ask for the default. Later calls do nothing.
pub fn install_provider() {
    // An error means that one is installed already.
    let _ = ring::default_provider().install_default();
}

/// The pin of a certificate: the SHA-256 of its public key's SPKI. It stays when the certificate is renewed.
///
/// # Errors
/// [`TlsError::Rustls`] when it is no certificate.
pub fn pin_of(certificate: &CertificateDer<'_>) -> Result<Digest, TlsError> {
    Ok(spki_digest(certificate)?)
}

fn spki_digest(certificate: &CertificateDer<'_>) -> Result<Digest, Error> {
    Ok(Digest::of(&ParsedCertificate::try_from(certificate)?.subject_public_key_info()))
}

/// What the hub shows to clients.
#[derive(Debug, Clone)]
pub struct ServerTls {
    /// For the acceptor.
    pub config: Arc<ServerConfig>,
    /// For clients to pin.
    pub pin: Digest,
}

/// Sets up the hub's side, or nothing when TLS is off.
///
/// # Errors
/// [`TlsError`].
pub fn server(config: &Config) -> Result<Option<ServerTls>, TlsError> {
    match config.tls_mode() {
        TlsMode::Off => Ok(None),
        TlsMode::Files => {
            presenting(from_files(&config.tls_cert_path, &config.tls_key_path)?, &config.tls_cert_path).map(Some)
        }
        TlsMode::SelfSigned | TlsMode::Auto => self_made(&config.data_dir, &config.name).map(Some),
    }
}

/// Sets up a server with a certificate that is made in `dir` when there is none; clients pin its key.
///
/// # Errors
/// [`TlsError`].
pub fn self_made(dir: &Path, name: &str) -> Result<ServerTls, TlsError> {
    presenting(self_signed(dir, name)?, dir)
}

fn presenting((chain, key): Identity, from: &Path) -> Result<ServerTls, TlsError> {
    let first = chain.first().ok_or_else(|| pem(from, "no certificate"))?;
    let pin = pin_of(first)?;
    let mut tls = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    tls.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(ServerTls { config: Arc::new(tls), pin })
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn pem(path: &Path, message: &(impl ToString + ?Sized)) -> TlsError {
    TlsError::Pem { path: path.display().to_string(), message: message.to_string() }
}

fn from_files(cert_path: &Path, key_path: &Path) -> Result<Identity, TlsError> {
    let chain = CertificateDer::pem_file_iter(cert_path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| pem(cert_path, &e))?;
    let key = PrivateKeyDer::from_pem_file(key_path).map_err(|e| pem(key_path, &e))?;
    Ok((chain, key))
}

/// The key in `data_dir/tls.key` and a certificate for it in `data_dir/tls.crt`, both made when missing.
fn self_signed(data_dir: &Path, name: &str) -> Result<Identity, TlsError> {
    let (key_path, cert_path) = (data_dir.join("tls.key"), data_dir.join("tls.crt"));
    let fresh = rcgen::KeyPair::generate()?;
    let key_pem = load_or_create(&key_path, || Ok(Zeroizing::new(fresh.serialize_pem())))?;
    let key = rcgen::KeyPair::from_pem(&key_pem)?;
    // The name may carry a port or path-like parts that no certificate takes; clients pin the key anyway.
    let host = name.split([':', '/']).next().unwrap_or(name).to_owned();
    let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    if !names.contains(&host) {
        names.push(host);
    }
    let certificate = rcgen::CertificateParams::new(names)?.self_signed(&key)?;
    let cert_pem = load_or_create(&cert_path, || Ok(Zeroizing::new(certificate.pem())))?;
    let certificate = CertificateDer::from_pem_slice(cert_pem.as_bytes()).map_err(|e| pem(&cert_path, &e))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|e| pem(&key_path, &e))?;
    Ok((vec![certificate], key))
}

/// The server's key is not the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the hub's TLS key is {shown}, not the pinned {pinned}")]
pub struct OtherKey {
    /// What was pinned: SHA-256 of a public key.
    pub pinned: Digest,
    /// What the server shows.
    pub shown: Digest,
}

/// What TLS has against a server, where that is why a request failed: another key than the pinned one, or a certificate that
/// nobody vouches for.
#[must_use]
pub fn distrust(error: &(dyn std::error::Error + 'static)) -> Option<(String, Option<OtherKey>)> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Error::InvalidCertificate(why)) = error.downcast_ref::<Error>() {
            let other = match why {
                CertificateError::Other(OtherError(inner)) => inner.downcast_ref::<OtherKey>().copied(),
                _ => None,
            };
            return Some((other.map_or_else(|| why.to_string(), |other| other.to_string()), other));
        }
        // An error of input and output hides the one that it carries from its chain.
        let carried = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        next = match carried {
            Some(carried) => Some(carried),
            None => error.source(),
        };
    }
    None
}

/// Accepts exactly one public key, whatever certificate carries it, and checks that the server holds it.
#[derive(Debug)]
struct Pinned {
    pin: Digest,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let shown = spki_digest(end_entity)?;
        if shown == self.pin {
            Ok(ServerCertVerified::assertion())
        } else {
            let other = OtherKey { pinned: self.pin, shown };
            Err(Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(other)))))
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Whom a client trusts to be the hub.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Exactly this key.
    Pin(Digest),
    /// A private authority, as PEM.
    Authority(Vec<u8>),
    /// The authorities of the operating system.
    System,
}

/// An HTTP client for the hub at `url`: TLS 1.3, no redirects; plain HTTP to this machine only.
///
/// # Errors
/// [`TlsError`].
pub fn client(url: &str, trust: &Trust) -> Result<reqwest::Client, TlsError> {
    install_provider();
    let parsed = reqwest::Url::parse(url).map_err(|_| TlsError::Url(url.to_owned()))?;
    let builder =
        reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).connect_timeout(CONNECT_TIMEOUT);
    match parsed.scheme() {
        "http" if !is_loopback(&parsed) => Err(TlsError::Plain),
        // A proxy would see the token in clear.
        "http" => Ok(builder.no_proxy().build()?),
        "https" => {
            let tls = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])?;
            let builder = builder.https_only(true);
            Ok(match trust {
                Trust::System => builder.tls_version_min(reqwest::tls::Version::TLS_1_3).build()?,
                Trust::Pin(pin) => pinned(builder, pin)?.build()?,
                Trust::Authority(text) => {
                    let mut roots = rustls::RootCertStore::empty();
                    for certificate in CertificateDer::pem_slice_iter(text) {
                        roots.add(certificate.map_err(|e| pem(Path::new("authority"), &e))?)?;
                    }
                    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
                        .build()
                        .map_err(|e| pem(Path::new("authority"), &e))?;
                    builder
                        .tls_backend_preconfigured(tls.with_webpki_verifier(verifier).with_no_client_auth())
                        .build()?
                }
            })
        }
        _ => Err(TlsError::Url(url.to_owned())),
    }
}

/// The same builder of a client, for whoever holds the pinned key and nobody else, over TLS 1.3.
///
/// # Errors
/// [`TlsError`].
pub fn pinned(builder: reqwest::ClientBuilder, pin: &Digest) -> Result<reqwest::ClientBuilder, TlsError> {
    install_provider();
    let tls = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&version::TLS13])?;
    let verifier = Arc::new(Pinned { pin: *pin, provider: provider() });
    let tls = tls.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(builder.tls_backend_preconfigured(tls))
}

fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|ip| ip.is_loopback())
}
