//! A private PostgreSQL server, shared by all test processes that run at the same time and gone soon after the last.
//!
//! Every test process holds a shared lock for its whole life. A supervising shell looks every few seconds whether it
//! can have the lock alone; then it stops the server and removes its folder.

use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use sqlx::{AnyConnection, Connection as _};

struct Server {
    folder: PathBuf,
    start: PathBuf,
    /// Kept so that the server stays while this process lives.
    _alive: File,
}

/// The URL of an empty database.
pub async fn fresh_database() -> String {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(server);
    sqlx::any::install_default_drivers();
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let name = format!("t{}", allmende_core::digest::to_hex(&random));
    let url = |name: &str| {
        format!("postgres://allmende@localhost/{name}?host={}", server.folder.display().to_string().replace('/', "%2F"))
    };
    // The template can be copied by one session at a time.
    let lock = File::create(&server.start).unwrap();
    lock.lock().unwrap();
    let mut connection = AnyConnection::connect(&url("postgres")).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    url(&name)
}

fn server() -> Server {
    let uid = std::fs::metadata("/proc/self").unwrap().uid();
    let base = std::env::temp_dir().join(format!("allmende-test-postgres-{uid}"));
    let folder = base.with_extension("d");
    let (alive_path, start) = (base.with_extension("alive"), base.with_extension("start"));
    let alive = File::create(&alive_path).unwrap();
    alive.lock_shared().unwrap();
    let starting = File::create(&start).unwrap();
    starting.lock().unwrap();
    if UnixStream::connect(folder.join(".s.PGSQL.5432")).is_err() {
        boot(&folder, &alive_path, uid);
    }
    Server { folder, start, _alive: alive }
}

fn boot(folder: &Path, alive: &Path, uid: u32) {
    let bin = binaries();
    let _ = std::fs::remove_dir_all(folder);
    std::fs::create_dir(folder).unwrap();
    // PostgreSQL refuses to run as root.
    let user = if uid == 0 { Some(unprivileged()) } else { None };
    if let Some((uid, gid)) = user {
        std::os::unix::fs::chown(folder, Some(uid), Some(gid)).unwrap();
    }
    let as_user =
        user.map_or(String::new(), |(uid, gid)| format!("setpriv --reuid={uid} --regid={gid} --clear-groups "));
    let (bin, folder, alive) = (bin.display(), folder.display(), alive.display());
    let script = format!(
        "set -e; cd {folder}
         {as_user}{bin}/initdb -D {folder}/data -U allmende -A trust -E UTF8 --locale=C --no-sync >{folder}/initdb.log 2>&1
         {as_user}{bin}/pg_ctl -D {folder}/data -w -l {folder}/log start >/dev/null 2>&1 -o \
         \"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off -c max_connections=300\""
    );
    let done = Command::new("sh").args(["-c", &script]).stdin(Stdio::null()).status().unwrap();
    let logs = || ["initdb.log", "log"].map(|f| std::fs::read_to_string(format!("{folder}/{f}")).unwrap_or_default());
    assert!(done.success(), "PostgreSQL did not start: {:?}", logs());
    let supervisor = format!(
        "while :; do sleep 5; flock -n -x {alive} sh -c '\
         cd /; {as_user}{bin}/pg_ctl -D {folder}/data -m immediate stop; rm -rf {folder}' && exit; done"
    );
    // In a session of its own, so that the end of this test does not take it along.
    let supervised = Command::new("setsid")
        .args(["--fork", "sh", "-c", &supervisor])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(supervised.success());
}

fn binaries() -> PathBuf {
    let installed =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|v| v.path().join("bin"));
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&in_path).collect::<Vec<_>>();
    installed.chain(in_path).find(|dir| dir.join("initdb").exists() && dir.join("pg_ctl").exists()).unwrap_or_else(
        || {
            panic!(
                "these tests need a PostgreSQL server of their own: install one (Debian: apt-get install postgresql)"
            )
        },
    )
}

fn unprivileged() -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let ids = |name: &str| {
        let mut fields = passwd.lines().find(|l| l.starts_with(&format!("{name}:")))?.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).expect("a user 'postgres' or 'nobody', because PostgreSQL refuses root")
}
