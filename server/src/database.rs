//! SQLite files: one process has one open, nobody else may read it, and a write survives a power cut.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use sqlx::{
    SqlitePool,
    sqlite::{
        SqliteConnectOptions, SqliteJournalMode, SqliteLockingMode, SqlitePoolOptions,
        SqliteSynchronous,
    },
};

/// Opens the file, or makes it, and carries out `statements`. Another process that has it open is an error. Without a
/// file the database is in memory.
pub(crate) async fn open(
    file: Option<&Path>,
    statements: &[&'static str],
) -> anyhow::Result<SqlitePool> {
    let options = match file {
        None => SqliteConnectOptions::new().in_memory(true),
        Some(file) => {
            // The file may contain names of people: nobody else may read it, nor the files that SQLite puts beside it.
            OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(file)?;
            SqliteConnectOptions::new()
                .filename(file)
                .locking_mode(SqliteLockingMode::Exclusive)
                .journal_mode(SqliteJournalMode::Wal)
        }
    };
    let options = options
        // Another server that has the file open keeps it; a process that has just ended lets go of it.
        .busy_timeout(Duration::from_secs(1))
        // A commit survives a power cut.
        .synchronous(SqliteSynchronous::Full);
    // The lock lives as long as the connection: there is one, and it stays.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None)
        .connect_with(options)
        .await?;
    for statement in statements {
        sqlx::query(*statement).execute(&pool).await?;
    }
    Ok(pool)
}
