//! A private S3 server, SeaweedFS, shared by all test processes that run at the same time and gone soon after the last: as
//! [`postgres`](super::postgres) is. It keeps what it takes on disk and listens on loopback alone.

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use allmende::blobs::Blobs;
use allmende::config::{Config, Flags, Layers};

/// The bucket that is there.
pub const BUCKET: &str = "allmende";
pub const KEY: &str = "allmende-tests";
pub const SECRET: &str = "a secret of tests / with + signs";
/// A key that may read and nothing else.
pub const READER: (&str, &str) = ("reader", "another secret of tests");
/// Longest wait for the server to begin.
const PATIENCE: Duration = Duration::from_secs(120);

struct Server {
    port: u16,
    /// Kept so that the server stays while this process lives.
    _alive: File,
}

/// Its address. `ALLMENDE_TEST_S3` names another server to try, with the same keys and bucket.
pub fn endpoint() -> String {
    if let Ok(other) = std::env::var("ALLMENDE_TEST_S3") {
        return other;
    }
    static SERVER: OnceLock<Server> = OnceLock::new();
    format!("http://127.0.0.1:{}", SERVER.get_or_init(server).port)
}

/// A place in the bucket where nothing lies.
pub fn fresh_place() -> String {
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    format!("s3://{BUCKET}/tests/t{}", allmende_core::digest::to_hex(&random))
}

/// The settings of a store at this place.
pub fn settings_at(place: &str) -> Vec<(&'static str, String)> {
    vec![
        ("blob_store", place.to_owned()),
        ("s3_endpoint", endpoint()),
        ("s3_access_key_id", KEY.to_owned()),
        ("s3_secret_access_key", SECRET.to_owned()),
    ]
}

/// The settings of a hub whose bytes lie at this place.
pub fn config_at(place: &str) -> Config {
    config(settings_at(place))
}

pub fn config(settings: Vec<(&'static str, String)>) -> Config {
    Layers::default().flags(&Flags(settings)).build().unwrap()
}

/// The store at this place.
pub async fn blobs_at(place: &str) -> Blobs {
    Blobs::of(&config_at(place)).await.unwrap()
}

fn server() -> Server {
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    let base = std::env::temp_dir().join(format!("allmende-test-s3-{uid}"));
    let folder = base.with_extension("d");
    let (alive_path, start) = (base.with_extension("alive"), base.with_extension("start"));
    let alive = File::create(&alive_path).unwrap();
    alive.lock_shared().unwrap();
    let starting = File::create(&start).unwrap();
    starting.lock().unwrap();
    let port = || std::fs::read_to_string(folder.join("port")).ok()?.parse().ok();
    let port = port().filter(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok());
    Server { port: port.unwrap_or_else(|| boot(&folder, &alive_path)), _alive: alive }
}

/// Four ports, each free together with the one ten thousand above it, where the server takes gRPC.
fn ports() -> [u16; 4] {
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for port in (20_000..50_000).step_by(7).cycle().skip(std::process::id() as usize % 4_000) {
        let pair = [port, port + 10_000].map(|port| TcpListener::bind(("127.0.0.1", port)));
        if pair.iter().all(Result::is_ok) {
            held.extend(pair);
            ports.push(port);
        }
        if ports.len() == 4 {
            break;
        }
    }
    ports.try_into().unwrap()
}

fn boot(folder: &Path, alive: &Path) -> u16 {
    let weed = binary();
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir_all(folder.join("data")).unwrap();
    let identity = |name: &str, secret: &str, actions: &[&str]| {
        let credentials = serde_json::json!([{ "accessKey": name, "secretKey": secret }]);
        serde_json::json!({ "name": name, "credentials": credentials, "actions": actions })
    };
    let identities = [identity(KEY, SECRET, &["Admin"]), identity(READER.0, READER.1, &["Read", "List"])];
    std::fs::write(folder.join("s3.json"), serde_json::json!({ "identities": identities }).to_string()).unwrap();
    let [master, volume, filer, s3] = ports();
    let (weed, folder, alive) = (weed.display(), folder.display(), alive.display());
    // In a session of its own, so that the end of this test does not take it along. When nobody needs it any more it is
    // ended at once: it would take ten seconds to stop by itself.
    let script = format!(
        "cd {folder}
         TMPDIR={folder} GOMEMLIMIT=400MiB {weed} -v=0 server -dir={folder}/data -ip=127.0.0.1 -ip.bind=127.0.0.1 \
         -master.port={master} -master.volumeSizeLimitMB=256 -master.telemetry=false -volume.port={volume} -volume.max=0 \
         -filer -filer.port={filer} -filer.localSocket={folder}/filer.sock -s3 -s3.port={s3} -s3.port.iceberg=0 \
         -s3.port.lance=0 -s3.localSocket={folder}/s3.sock -s3.config={folder}/s3.json -s3.iam=false \
         -s3.autoCreateBucket=false >log 2>&1 &
         server=$!
         while :; do sleep 5; flock -n -x {alive} sh -c \"kill -9 $server; cd /; rm -rf {folder} \
         /tmp/seaweedfs-*-grpc-$(({master} + 10000)).sock /tmp/seaweedfs-*-grpc-$(({volume} + 10000)).sock \
         /tmp/seaweedfs-*-grpc-$(({filer} + 10000)).sock /tmp/seaweedfs-*-grpc-$(({s3} + 10000)).sock\" && exit; done"
    );
    let started = Command::new("setsid")
        .args(["--fork", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(started.success());
    let commands = format!("s3.bucket.create -name {BUCKET}\\ns3.bucket.list\\n");
    let make = format!("printf '{commands}' | {weed} shell -master=127.0.0.1:{master} -filer=127.0.0.1:{filer} 2>&1");
    let began = Instant::now();
    loop {
        let made = Command::new("sh").args(["-c", &make]).current_dir(format!("{folder}")).output().unwrap();
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        if said.contains(&format!("{BUCKET}\tsize:")) && TcpStream::connect(("127.0.0.1", s3)).is_ok() {
            break;
        }
        let log = || std::fs::read_to_string(format!("{folder}/log")).unwrap_or_default();
        assert!(began.elapsed() < PATIENCE, "the S3 server did not start: {said}\n{}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    std::fs::write(format!("{folder}/port"), s3.to_string()).unwrap();
    s3
}

fn binary() -> PathBuf {
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin");
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&in_path).chain([environment]).map(|dir| dir.join("weed"));
    places.find(|weed| weed.exists()).unwrap_or_else(|| {
        panic!("these tests need an S3 server: ./check installs SeaweedFS from python/requirements.txt into .venv")
    })
}
