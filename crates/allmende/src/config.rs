//! Settings of the hub, each declared once in the table below: key, type, default and documentation.
//!
//! From that table come the struct, the environment variable (`ALLMENDE_` and the key in capitals), the flag (`--` and
//! the key with `-`), the reference page and `config show`. Later layers win: defaults, TOML file, environment, flags.
//!
//! Architecture invariant: nothing here reads the process's environment or files by itself; `main` passes them in.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use allmende_core::id::Origin;

mod bytes;
mod flags;
mod network;
mod value;
mod witness;

pub use flags::Flags;
pub use network::{Network, Networks};
pub use value::{LogFormat, RegistrationMode, Secret, TlsMode, Value};
pub use witness::{Witness, Witnesses};

/// One setting as the reference shows it.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in the TOML file.
    pub key: &'static str,
    /// What it does; several sentences joined by spaces.
    pub doc: &'static str,
    /// The default, as text.
    pub default: &'static str,
    /// The kind of value, for people.
    pub kind: &'static str,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The table's default.
    Default,
    /// A TOML file.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// A command-line flag.
    Flag(String),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Why the settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML.
    #[error("{path}: {message}", path = path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A key that no setting has.
    #[error("{path}: unknown setting '{key}'{hint}", path = path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The key as written.
        key: String,
        /// The nearest known key, in words.
        hint: String,
    },
    /// A value that the setting does not take.
    #[error("setting '{key}' from {origin}: {message}")]
    Invalid {
        /// The setting.
        key: &'static str,
        /// Where the value came from.
        origin: Source,
        /// What it should be.
        message: String,
    },
}

macro_rules! settings {
    ($($(#[doc = $doc:literal])+ $key:ident: $type:ty = $default:literal;)+) => {
        /// All settings of a hub.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $key: $type,)+
        }

        /// The table of all settings, in the order of the reference.
        pub const SETTINGS: &[Setting] = &[
            $(Setting {
                key: stringify!($key),
                doc: concat!($($doc),+),
                default: $default,
                kind: <$type as Value>::KIND,
            },)+
        ];

        impl Config {
            fn from_texts(text_of: impl Fn(&'static str) -> (String, Source)) -> Result<Self, ConfigError> {
                Ok(Self {
                    $($key: {
                        let (text, origin) = text_of(stringify!($key));
                        <$type as Value>::parse(&text)
                            .map_err(|message| ConfigError::Invalid { key: stringify!($key), origin, message })?
                    },)+
                })
            }

            /// Each key with its value as text, secrets blanked.
            #[must_use]
            pub fn shown(&self) -> Vec<(&'static str, String)> {
                vec![$((stringify!($key), value::redact(&self.$key.render())),)+]
            }
        }
    };
}

settings! {
    /// Name of this hub, like a host name. Every log's origin begins with it, so it cannot change once a log exists.
    name: String = "localhost";
    /// Address and port to listen on.
    listen: SocketAddr = "127.0.0.1:8440";
    /// Folder for the database, the bytes, the hub's key and its certificate. Made with access for its owner only.
    data_dir: PathBuf = "allmende-data";
    /// `sqlite:///path/hub.db` or `postgres://user@host/database`. Empty means SQLite in `data_dir`.
    database_url: String = "";
    /// Where large bytes lie: a folder, `s3://bucket` or `s3://bucket/prefix` in an S3 store, or `memory:///` for tests. Empty means `blobs` in `data_dir`.
    blob_store: String = "";
    /// Address of the S3 store, like `https://s3.example`. Empty means AWS in `s3_region`. Without this setting `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` counts.
    s3_endpoint: String = "";
    /// Region of the bucket; stores outside AWS mostly take any. Without this setting `AWS_REGION` or `AWS_DEFAULT_REGION` counts.
    s3_region: String = "us-east-1";
    /// Id of the key for the S3 store. Without this setting `AWS_ACCESS_KEY_ID` counts.
    s3_access_key_id: String = "";
    /// The secret of that key. Other users of the machine see flags: give it in a file or the environment. Without this setting `AWS_SECRET_ACCESS_KEY` counts.
    s3_secret_access_key: Secret = "";
    /// File that holds the secret of that key and nothing else; it goes before `s3_secret_access_key`.
    s3_secret_access_key_path: PathBuf = "";
    /// Whether the bucket stands in the path of each address (`https://s3.example/bucket`) or before the host's name (`https://bucket.s3.example`).
    s3_path_style: bool = "true";
    /// Whether the S3 store may be reached by `http://` on another machine too. Nothing is encrypted on the way then.
    s3_allow_http: bool = "false";
    /// Folder of the bare git repositories; several hub processes share it. Empty means `git` in `data_dir`.
    git_dir: PathBuf = "";
    /// Whether every log also stands as tiles in `data_dir/export`, for auditors' tools and for rebuilding a lost database.
    export_tiles: bool = "true";
    /// Connections to the database for reading.
    database_connections: u32 = "8";
    /// How long a statement waits for a lock of another process, in milliseconds.
    database_busy_timeout_ms: u64 = "5000";

    /// `auto` is `off` on a loopback address and `self-signed` elsewhere; `files` uses `tls_cert_path` and `tls_key_path`.
    tls: TlsMode = "auto";
    /// PEM certificate chain for `tls = "files"`.
    tls_cert_path: PathBuf = "";
    /// PEM private key for `tls = "files"`.
    tls_key_path: PathBuf = "";

    /// Who may register a party: `open` is whoever reaches the hub, `invited` whoever has a code from `allmende invitation create`; `auto` is `open` on a loopback address and `invited` elsewhere.
    registration: RegistrationMode = "auto";

    /// Largest JSON body of a request, in bytes.
    max_body_bytes: u64 = "1048576";
    /// Largest part of an update or file, in bytes.
    max_part_bytes: u64 = "16777216";
    /// Largest update of a member, in bytes.
    max_update_bytes: u64 = "17179869184";
    /// Largest single stored object, in bytes.
    max_blob_bytes: u64 = "1099511627776";
    /// Bytes that the large files of an account, or of a collaboration, may occupy, each chunk counted once; 0 is no limit. `allmende account quota` gives single accounts another limit.
    default_quota_bytes: u64 = "0";
    /// Parts that the hub receives at the same time; more are asked to come back.
    max_parts_in_flight: u64 = "64";
    /// Largest push by git, in bytes as they are sent; large files go beside it.
    max_push_bytes: u64 = "4294967296";
    /// Files that one bucket may hold.
    max_bucket_files: u64 = "1000000";
    /// Fetches and pushes by git at the same time; more wait, and are then asked to come back.
    max_git_transfers: u64 = "32";
    /// Open connections; more wait to be accepted.
    max_connections: u64 = "2048";
    /// Members of one collaboration.
    max_members: u64 = "256";
    /// Entries of one log. Past it members can only revoke and withdraw, and the hub may close what is open, in 1000 more.
    max_log_entries: u64 = "100000000";
    /// Items in one page of a list.
    max_page_items: u64 = "1000";
    /// Uploads that one party may hold open.
    max_open_uploads: u64 = "64";
    /// Tokens that one party may hold.
    max_tokens: u64 = "1000";

    /// Longest time from a request to its answer, in seconds; transfers and long polls have their own.
    request_timeout_s: u64 = "30";
    /// Longest transfer of one part or file, in seconds.
    transfer_timeout_s: u64 = "3600";
    /// Longest wait of a long poll, in seconds, whatever it asks for.
    long_poll_timeout_s: u64 = "25";
    /// Longest time for a client to send its request's head, in seconds.
    header_timeout_s: u64 = "15";
    /// Time for open requests to finish when the hub stops, in seconds.
    drain_timeout_s: u64 = "30";
    /// Age at which an unsealed upload is dropped, in seconds.
    upload_max_age_s: u64 = "86400";
    /// Over which time the reads of repositories under terms are summed up before the log has them, in seconds.
    reads_period_s: u64 = "86400";
    /// How long nothing must have needed a large file, or a part of the store, before its bytes are removed, in seconds. Longer than any transfer: what was sent and is not committed yet is needed by nothing either.
    gc_min_age_s: u64 = "604800";
    /// How far a client's clock may differ from the hub's, in seconds.
    clock_skew_max_s: u64 = "300";
    /// Lifetime of a token got by signing in, in seconds.
    login_token_lifetime_s: u64 = "3600";
    /// Lifetime of a token that a device got with a code, as by `hf auth login`, in seconds; never longer than the token it was approved with.
    device_token_lifetime_s: u64 = "2592000";
    /// Longest lifetime of any token, in seconds.
    token_max_lifetime_s: u64 = "31536000";
    /// How long the answer to an idempotency key is kept, in seconds.
    idempotency_max_age_s: u64 = "86400";

    /// Witnesses outside that cosign every log of this hub, each as `VKEY URL`, where the URL is a C2SP tlog-witness; for a
    /// self-made certificate the pin follows. In TOML a list of texts, elsewhere separated by commas. A member's node counts
    /// a witness only if its own settings name it.
    witnesses: Witnesses = "";
    /// How often each log is cosigned anew by the witnesses outside although it did not grow, in seconds: less than the
    /// `freshness_s` of the members' nodes.
    witness_refresh_s: u64 = "20";

    /// Networks that addresses named by users, such as webhooks', may lie in although they are not public, each as
    /// `ADDRESS/BITS`; in TOML a list of texts, elsewhere separated by commas. Loopback addresses that stand here may also
    /// be reached by `http://`. Whatever else is not public is never reached.
    outbound_networks: Networks = "";

    /// Log lines as `text` for people or `json` for machines.
    log_format: LogFormat = "text";
    /// What is logged, in the syntax of `RUST_LOG`.
    log_filter: String = "info";
    /// Whether `/metrics` answers (to loopback callers and to tokens with the scope `admin`).
    metrics: bool = "true";
}

/// The heading in a command's help under which its settings of a hub stand.
pub const HEADING: &str = "Settings";

/// The environment variable of a setting.
#[must_use]
pub fn env_name(key: &str) -> String {
    format!("ALLMENDE_{}", key.to_ascii_uppercase())
}

/// The flag of a setting, without the leading dashes.
#[must_use]
pub fn flag_name(key: &str) -> String {
    key.replace('_', "-")
}

/// The layers above the defaults, still as text.
#[derive(Debug, Default)]
pub struct Layers {
    values: std::collections::BTreeMap<&'static str, (String, Source)>,
}

impl Layers {
    /// Adds the text of a TOML file that was read from `path`.
    ///
    /// # Errors
    /// [`ConfigError`] names the file and the key.
    pub fn file(mut self, path: &Path, text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table =
            toml::from_str(text).map_err(|e| ConfigError::Syntax { path: path.into(), message: e.to_string() })?;
        for (key, value) in table {
            let Some(setting) = SETTINGS.iter().find(|s| s.key == key) else {
                let hint = value::nearest(&key).map_or(String::new(), |k| format!("; did you mean '{k}'?"));
                return Err(ConfigError::Unknown { path: path.into(), key, hint });
            };
            let origin = Source::File(path.into());
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(truth) => truth.to_string(),
                toml::Value::Array(items)
                    if [Witnesses::KIND, Networks::KIND].contains(&setting.kind)
                        && items.iter().all(toml::Value::is_str) =>
                {
                    items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(", ")
                }
                other => {
                    let message = format!("expected {}, not {}", setting.kind, other.type_str());
                    return Err(ConfigError::Invalid { key: setting.key, origin, message });
                }
            };
            self.values.insert(setting.key, (text, origin));
        }
        Ok(self)
    }

    /// Adds the environment, which `variable` looks up. Other `ALLMENDE_` variables are not the hub's settings.
    #[must_use]
    pub fn env(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        for setting in SETTINGS {
            let name = env_name(setting.key);
            if let Some(text) = variable(&name) {
                self.values.insert(setting.key, (text, Source::Env(name)));
            }
        }
        for (key, name, text) in bytes::standard(variable) {
            self.values.entry(key).or_insert((text, Source::Env(name.to_owned())));
        }
        self
    }

    /// Adds flags of the command line.
    #[must_use]
    pub fn flags(mut self, flags: &Flags) -> Self {
        for (key, text) in &flags.0 {
            self.values.insert(key, (text.clone(), Source::Flag(format!("--{}", flag_name(key)))));
        }
        self
    }

    /// Where the value of `key` comes from.
    #[must_use]
    pub fn source(&self, key: &str) -> Source {
        self.values.get(key).map_or(Source::Default, |(_, source)| source.clone())
    }

    /// Reads all values and checks them against each other.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] names the first wrong setting and where it came from.
    pub fn build(&self) -> Result<Config, ConfigError> {
        let config = Config::from_texts(|key| match self.values.get(key) {
            Some((text, source)) => (text.clone(), source.clone()),
            None => {
                let default = SETTINGS.iter().find(|s| s.key == key).map_or("", |s| s.default);
                (default.to_owned(), Source::Default)
            }
        })?;
        let refuse = |key, message: &str| {
            Err(ConfigError::Invalid { key, origin: self.source(key), message: message.to_owned() })
        };
        if config.name.contains('/') || format!("{}/x", config.name).parse::<Origin>().is_err() {
            return refuse("name", "use 1 to 198 of letters, digits, '.', '-', '_' and ':', like a host name");
        }
        for (key, zero) in [
            ("max_body_bytes", config.max_body_bytes),
            ("max_connections", config.max_connections),
            ("max_parts_in_flight", config.max_parts_in_flight),
            ("max_part_bytes", config.max_part_bytes),
            ("max_git_transfers", config.max_git_transfers),
            ("max_page_items", config.max_page_items),
            ("max_log_entries", config.max_log_entries),
            ("request_timeout_s", config.request_timeout_s),
            ("witness_refresh_s", config.witness_refresh_s),
            ("database_connections", u64::from(config.database_connections)),
        ] {
            if zero == 0 {
                return refuse(key, "must be at least 1");
            }
        }
        if config.gc_min_age_s <= config.transfer_timeout_s {
            return refuse("gc_min_age_s", "must be more than transfer_timeout_s");
        }
        if config.long_poll_timeout_s >= config.request_timeout_s {
            return refuse("long_poll_timeout_s", "must be less than request_timeout_s");
        }
        if config.tls == TlsMode::Files && config.tls_cert_path.as_os_str().is_empty() {
            return refuse("tls_cert_path", "is needed for tls = \"files\"");
        }
        if config.tls == TlsMode::Files && config.tls_key_path.as_os_str().is_empty() {
            return refuse("tls_key_path", "is needed for tls = \"files\"");
        }
        if config.tls == TlsMode::Off && !config.listen.ip().is_loopback() {
            return refuse("tls", "can be off on a loopback address only: tokens would travel in clear");
        }
        match bytes::wrong(&config) {
            Some((key, message)) => refuse(key, message),
            None => Ok(config),
        }
    }
}

impl Config {
    /// The defaults with everything in `data_dir`, for tests and demos.
    ///
    /// # Errors
    /// Never in practice: the defaults are tested.
    pub fn in_dir(data_dir: &Path) -> Result<Self, ConfigError> {
        let flags = Flags(vec![("data_dir", data_dir.display().to_string())]);
        Layers::default().flags(&flags).build()
    }

    /// The database's URL, with the default filled in.
    #[must_use]
    pub fn database_url(&self) -> String {
        if self.database_url.is_empty() {
            let path = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone()).join("hub.db");
            format!("sqlite://{}", value::percent_encode_path(&path))
        } else {
            self.database_url.clone()
        }
    }

    /// The store of bytes, with the default filled in.
    #[must_use]
    pub fn blob_store(&self) -> String {
        if self.blob_store.is_empty() {
            self.data_dir.join("blobs").display().to_string()
        } else {
            self.blob_store.clone()
        }
    }

    /// The folder of the bare repositories, with the default filled in.
    #[must_use]
    pub fn git_dir(&self) -> PathBuf {
        if self.git_dir.as_os_str().is_empty() { self.data_dir.join("git") } else { self.git_dir.clone() }
    }

    /// Where the hub's signing key lies.
    #[must_use]
    pub fn hub_key_path(&self) -> PathBuf {
        self.data_dir.join("hub.key")
    }

    /// The mode of TLS with `auto` decided.
    #[must_use]
    pub fn tls_mode(&self) -> TlsMode {
        match self.tls {
            TlsMode::Auto if self.listen.ip().is_loopback() => TlsMode::Off,
            TlsMode::Auto => TlsMode::SelfSigned,
            mode => mode,
        }
    }

    /// Who may register a party, with `auto` decided.
    #[must_use]
    pub fn registration_mode(&self) -> RegistrationMode {
        match self.registration {
            RegistrationMode::Auto if self.listen.ip().is_loopback() => RegistrationMode::Open,
            RegistrationMode::Auto => RegistrationMode::Invited,
            mode => mode,
        }
    }
}

/// The reference page, generated from the table.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "# Settings of the hub\n\n<!-- Generated from crates/allmende/src/config.rs; do not edit. -->\n\n\
         Later layers win: defaults, the TOML file (`--config`), environment variables, flags. \
         `allmende config show` prints what is in force and where each value came from.\n\n\
         | key | environment | default | what |\n|---|---|---|---|\n",
    );
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let doc = setting.doc.trim().replace('|', "\\|");
        page.push_str(&format!("| `{}` | `{}` | {default} | {doc} |\n", setting.key, env_name(setting.key)));
    }
    page
}
