//! The settings of an S3 store: what the environment of other tools says of it, and what does not go together.

use super::Config;

/// The variables that tools for S3 agree on, each with the setting that it stands for.
const STANDARD: &[(&str, &str)] = &[
    ("s3_endpoint", "AWS_ENDPOINT_URL_S3"),
    ("s3_endpoint", "AWS_ENDPOINT_URL"),
    ("s3_region", "AWS_REGION"),
    ("s3_region", "AWS_DEFAULT_REGION"),
    ("s3_access_key_id", "AWS_ACCESS_KEY_ID"),
    ("s3_secret_access_key", "AWS_SECRET_ACCESS_KEY"),
];

/// What those variables say: setting, variable, value; the first of a setting counts.
pub(super) fn standard(
    variable: impl Fn(&str) -> Option<String>,
) -> impl Iterator<Item = (&'static str, &'static str, String)> {
    STANDARD.iter().filter_map(move |&(key, name)| Some((key, name, variable(name).filter(|text| !text.is_empty())?)))
}

/// Whether the host of a URL is this very machine.
fn is_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The setting that is wrong, and why.
pub(super) fn wrong(config: &Config) -> Option<(&'static str, &'static str)> {
    let place = config.blob_store.strip_prefix("s3://")?;
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let plain = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if bucket.len() < 3 || bucket.len() > 63 || !plain(bucket) {
        return Some(("blob_store", "the bucket's name has 3 to 63 letters, digits, '-' and '.': s3://bucket/prefix"));
    }
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    let strange = |part: &str| part.is_empty() || !plain(part) || part.bytes().all(|b| b == b'.');
    if prefix.len() > 200 || (!prefix.is_empty() && prefix.split('/').any(strange)) {
        return Some(("blob_store", "the prefix has at most 200 letters, digits, '-', '.', '_' and '/' between them"));
    }
    if config.s3_access_key_id.is_empty() {
        return Some(("s3_access_key_id", "is needed for an S3 store (or AWS_ACCESS_KEY_ID)"));
    }
    if config.s3_secret_access_key.is_empty() && config.s3_secret_access_key_path.as_os_str().is_empty() {
        return Some((
            "s3_secret_access_key_path",
            "is needed for an S3 store, or s3_secret_access_key (or AWS_SECRET_ACCESS_KEY)",
        ));
    }
    if config.s3_region.is_empty() {
        return Some(("s3_region", "is needed for an S3 store; most take any, such as us-east-1"));
    }
    if config.s3_endpoint.is_empty() {
        return None;
    }
    let shape = "is not a URL of the form https://host or https://host:port";
    match reqwest::Url::parse(&config.s3_endpoint) {
        Ok(url)
            if url.host_str().is_none_or(str::is_empty)
                || url.path() != "/"
                || url.query().is_some()
                || url.fragment().is_some()
                || !url.username().is_empty()
                || url.password().is_some() =>
        {
            Some(("s3_endpoint", shape))
        }
        Ok(url) if url.scheme() == "https" => None,
        Ok(url) if url.scheme() == "http" && (is_loopback(&url) || config.s3_allow_http) => None,
        Ok(url) if url.scheme() == "http" => {
            Some(("s3_endpoint", "is http:// on another machine: use https://, or allow it with s3_allow_http = true"))
        }
        _ => Some(("s3_endpoint", shape)),
    }
}
