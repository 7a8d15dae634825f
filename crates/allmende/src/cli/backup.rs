//! `backup` and `restore` of a hub, and what else an operator does to its logs: `ledger rebuild --from`, `ledger resume`.

use std::path::{Path, PathBuf};

use clap::Args;

use super::config::SettingsArgs;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::table::{Table, fields};
use crate::backup::{self, ArchiveError, BackupError, Parts};
use crate::client::home::sealed::{Effort, SealedError};

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let text = error.to_string();
        let (exit, code, next) = match &error {
            BackupError::File { path, source } if source.kind() == std::io::ErrorKind::AlreadyExists => {
                return Self::usage(format!("{} exists already", path.display())).next("choose another file name");
            }
            BackupError::Archive(ArchiveError::Key(SealedError::WrongPassphrase)) => {
                (Exit::Usage, "backup.passphrase", "give the passphrase with which the backup was made")
            }
            BackupError::NoKey { .. } => {
                (Exit::Usage, "backup.no-key", "put the hub's key there first: the file hub.key, with mode 600")
            }
            BackupError::OtherKey { .. } => {
                (Exit::Usage, "backup.other-key", "use the key of the hub that made the logs")
            }
            BackupError::OtherHub { .. } => (Exit::Usage, "backup.other-hub", "give the hub's name with --name"),
            BackupError::NotEmpty { .. } => {
                (Exit::Usage, "backup.not-empty", "choose another --data-dir and --database-url")
            }
            BackupError::Format { .. } => {
                (Exit::Usage, "backup.format", "restore it with the release of the program that made it, then upgrade")
            }
            BackupError::NoLog { .. } => {
                (Exit::Usage, "backup.no-log", "give a folder with a checkpoint, or a folder of such folders")
            }
            BackupError::Judged { .. } | BackupError::Entry { .. } | BackupError::Lacks { .. } => {
                (Exit::Wrong, "backup.wrong", "keep these bytes, and use another backup or a member's copy")
            }
            BackupError::Forked { .. } => {
                (Exit::Wrong, "backup.forked", "keep both as evidence: the same hub signed two histories")
            }
            BackupError::Archive(ArchiveError::Io(e)) | BackupError::File { source: e, .. }
                if matches!(e.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
            {
                (Exit::Wrong, "backup.damaged", "use another copy of the backup")
            }
            _ => return Self::internal(text),
        };
        Self::new(exit, text).code(code).next(next)
    }
}

/// Back up a hub into one encrypted file, also while it runs.
///
/// The file holds every log and every model, update and shared file that a log names, and every repository with its history,
/// its large files and the accounts that own them. It does not hold the hub's key (hub.key in its data folder): keep that
/// apart, and safe, because a restore needs both. Tokens are not in it; after a restore everyone signs in again.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende backup /mnt/backup/hub-2027-01-31.allmende --data-dir /srv/allmende --name hub.example --passphrase-file backup.pass"
)]
pub struct Backup {
    /// The file to write; it must not exist
    archive: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Backup {
    /// Runs the command.
    ///
    /// # Errors
    /// As [`backup::backup`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let passphrase = context.passphrase().new_for(&context.out, "New passphrase for this backup: ")?;
        let parts = Parts::open(config, context.now()).await?;
        let bar = context.out.bytes("backing up", 0);
        let progress = |done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let made =
            backup::backup(&parts, &self.archive, &passphrase, Effort::default(), context.now(), &progress).await?;
        bar.finish_and_clear();
        if !made.missing.is_empty() {
            context.out.warn(&format!("{} blobs that the logs name are not in the hub's store", made.missing.len()));
        }
        if made.lost_xorbs > 0 {
            context.out.warn(&format!(
                "{} parts of large files are not in the hub's store; 'allmende hub fsck' says of which files",
                made.lost_xorbs
            ));
        }
        context.out.result(&made, || {
            let rows = fields([
                ("backup", made.archive.display().to_string()),
                ("bytes", made.bytes.to_string()),
                ("logs", format!("{} with {} entries", made.logs, made.entries)),
                ("blobs", made.blobs.to_string()),
                ("repositories", format!("{} with {} bytes of large files", made.repositories, made.large_bytes)),
            ]);
            format!("{rows}\nThe hub's key is not in it. Keep hub.key apart from this file; a restore needs both.\n")
        })
    }
}

/// Restore a hub from a backup, into an empty data folder and an empty database.
///
/// Put the hub's key (hub.key, mode 600) into the data folder first. Every log is verified before it is taken. Entries that
/// came after the backup may stand in the members' copies alone, so each log takes nothing new before a node of every member
/// was heard; 'ledger rebuild --from' brings such entries back.
#[derive(Debug, Args)]
#[command(
    after_long_help = "Example:\n  allmende restore hub-2027-01-31.allmende --data-dir /srv/allmende --name hub.example\nPut the hub's key, which no backup holds, there first:\n  install -m 600 hub.key /srv/allmende/hub.key"
)]
pub struct Restore {
    /// The backup
    archive: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Restore {
    /// Runs the command.
    ///
    /// # Errors
    /// As [`backup::restore`].
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        let config = self.settings.layers()?.build()?;
        let passphrase = context.passphrase().existing_for(&context.out, "Passphrase of the backup: ")?;
        let parts = Parts::open(config, context.now()).await?;
        let bar = context.out.bar("restoring", 0);
        let progress = |done: u64, total: u64| {
            bar.set_length(total);
            bar.set_position(done);
        };
        let restored = backup::restore(&parts, &self.archive, &passphrase, context.now(), &progress).await?;
        bar.finish_and_clear();
        parts.db.close().await;
        context.out.result(&restored, || {
            let mut text = fields([
                ("hub", restored.hub.clone()),
                ("logs", format!("{} with {} entries", restored.logs, restored.entries)),
                ("blobs", restored.blobs.to_string()),
                (
                    "repositories",
                    format!("{} with {} bytes of large files", restored.repositories, restored.large_bytes),
                ),
                ("waiting", restored.waiting.join(", ")),
            ]);
            text.push_str("\nStart it with 'allmende serve'. All tokens are invalid now.\n");
            if !restored.waiting.is_empty() {
                text.push_str("The logs that wait open when a node of every member has been heard.\n");
            }
            text
        })
    }
}

/// Takes logs from folders of tiles into the hub's database.
///
/// # Errors
/// As [`backup::rebuild`].
pub(super) async fn rebuild(context: &Context, settings: &SettingsArgs, from: &Path) -> Result<(), Failure> {
    let parts = Parts::open(settings.layers()?.build()?, context.now()).await?;
    let spinner = context.out.spinner("judging and importing");
    let done = backup::rebuild(&parts, from, context.now(), &|one| spinner.set_message(one.log.clone())).await?;
    spinner.finish_and_clear();
    parts.db.close().await;
    context.out.result(&done, || {
        let mut table = Table::new(&["log", ">entries", ">new"]);
        for one in &done {
            table.row([one.log.clone(), one.entries.to_string(), one.added.to_string()]);
        }
        format!("{table}\nLogs with new entries open when a node of every member has been heard.\n")
    })
}

/// Let logs that wait after a restore take entries again, although not every member was heard.
///
/// Entries that a silent member's copy alone holds are then lost for good, and that member's node will say that the log was
/// rolled back. Better: start the missing node, or bring its entries back with 'ledger rebuild --from'.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  allmende ledger resume --force handwriting --data-dir /srv/allmende")]
pub struct Resume {
    /// Only this log [default: all]
    log: Option<String>,
    /// Yes, entries may be lost
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl Resume {
    /// Runs the command.
    ///
    /// # Errors
    /// Without `--force`.
    pub async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.force {
            return Err(Failure::usage("entries that only a silent member has would be lost")
                .next("wait for its node; or, if it is gone for good, give --force"));
        }
        let parts = Parts::open(self.settings.layers()?.build()?, context.now()).await?;
        let resumed = backup::resume(&parts, self.log.as_deref()).await?;
        parts.db.close().await;
        context.out.result(&resumed, || match resumed.as_slice() {
            [] => "no log waited".to_owned(),
            logs => format!("these logs take entries again: {}", logs.join(", ")),
        })
    }
}
