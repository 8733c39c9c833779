//! Groups of encrypted meetings on disk. One of the places that know the database.

use std::path::{Path, PathBuf};

use node::RoomKey;
use signaling::delivery_service::{LogEntry, Record, Saved, Snapshot};
use sqlx::{Row, SqlitePool, sqlite::SqliteRow};
use tokio::sync::OnceCell;

use crate::database;

/// Column `head`: the number of the entry that comes after this state; `tail`: the oldest that clients may still ask for.
const SNAPSHOTS: &str = "CREATE TABLE IF NOT EXISTS group_snapshot (
    tenant TEXT NOT NULL,
    room TEXT NOT NULL,
    id BLOB NOT NULL,
    profile INTEGER NOT NULL,
    key BLOB NOT NULL,
    head INTEGER NOT NULL,
    tail INTEGER NOT NULL,
    group_info BLOB NOT NULL,
    tree BLOB NOT NULL,
    PRIMARY KEY (tenant, room)
) STRICT";

const ENTRIES: &str = "CREATE TABLE IF NOT EXISTS group_entry (
    tenant TEXT NOT NULL,
    room TEXT NOT NULL,
    number INTEGER NOT NULL,
    message BLOB NOT NULL,
    group_info BLOB NOT NULL,
    PRIMARY KEY (tenant, room, number)
) STRICT";

/// The database, which is opened when something is to be kept for the first time.
pub(super) struct Store {
    /// Without one, everything is forgotten with the process.
    file: Option<PathBuf>,
    pool: OnceCell<SqlitePool>,
}

impl Store {
    /// The database in this file. What is in it already is read; where there is no file, none is made yet.
    pub(super) async fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        let this = Self {
            file: file.map(Path::to_owned),
            pool: OnceCell::new(),
        };
        if file.is_some_and(Path::exists) {
            this.pool().await?;
        }
        Ok(this)
    }

    async fn pool(&self) -> anyhow::Result<&SqlitePool> {
        let statements = &[SNAPSHOTS, ENTRIES];
        let open = || database::open(self.file.as_deref(), statements);
        self.pool.get_or_try_init(open).await
    }

    /// The meetings of which a group is kept.
    pub(super) async fn rooms(&self) -> anyhow::Result<Vec<RoomKey>> {
        let Some(pool) = self.pool.get() else {
            return Ok(Vec::new());
        };
        let rows = sqlx::query("SELECT tenant, room FROM group_snapshot").fetch_all(pool);
        let key = |row: &SqliteRow| RoomKey {
            tenant: row.get::<&str, _>(0).into(),
            name: row.get::<&str, _>(1).into(),
        };
        Ok(rows.await?.iter().map(key).collect())
    }

    /// The group of a meeting, as it was kept.
    pub(super) async fn load(&self, room: &RoomKey) -> anyhow::Result<Option<Saved>> {
        let Some(pool) = self.pool.get() else {
            return Ok(None);
        };
        let select = "SELECT id, profile, key, head, tail, group_info, tree FROM group_snapshot \
                      WHERE tenant = ? AND room = ?";
        let (tenant, name) = (room.tenant.as_str(), room.name.as_str());
        let row = sqlx::query(select).bind(tenant).bind(name);
        let Some(row) = row.fetch_optional(pool).await? else {
            return Ok(None);
        };
        let number = |row: &SqliteRow, column| row.get::<i64, _>(column).max(0) as u64;
        let snapshot = Snapshot {
            id: row.get(0),
            profile: u8::try_from(row.get::<i64, _>(1)).unwrap_or_default(),
            key: row.get(2),
            next: number(&row, 3),
            first: number(&row, 4),
            group_info: row.get(5),
            tree: row.get(6),
        };
        let select = "SELECT number, message, group_info FROM group_entry \
                      WHERE tenant = ? AND room = ? AND number >= ? ORDER BY number";
        let rows = sqlx::query(select)
            .bind(tenant)
            .bind(name)
            .bind(snapshot.first as i64);
        let rows = rows.fetch_all(pool).await?;
        let entry = |row: &SqliteRow| LogEntry {
            number: number(row, 0),
            message: row.get::<Vec<u8>, _>(1).into(),
            group_info: row.get::<Vec<u8>, _>(2).into(),
        };
        let entries = rows.iter().map(entry).collect();
        Ok(Some(Saved { snapshot, entries }))
    }

    /// Keeps a record.
    pub(super) async fn keep(&self, room: &RoomKey, record: Record) -> anyhow::Result<()> {
        let (tenant, name) = (room.tenant.as_str(), room.name.as_str());
        let pool = self.pool().await?;
        match record {
            Record::Entry(entry) => {
                sqlx::query("INSERT OR REPLACE INTO group_entry VALUES (?, ?, ?, ?, ?)")
                    .bind(tenant)
                    .bind(name)
                    .bind(entry.number as i64)
                    .bind(entry.message.to_vec())
                    .bind(entry.group_info.to_vec())
                    .execute(pool)
                    .await?;
            }
            Record::Snapshot(snapshot) => {
                let mut transaction = pool.begin().await?;
                let insert =
                    "INSERT OR REPLACE INTO group_snapshot VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)";
                sqlx::query(insert)
                    .bind(tenant)
                    .bind(name)
                    .bind(snapshot.id)
                    .bind(i64::from(snapshot.profile))
                    .bind(snapshot.key)
                    .bind(snapshot.next as i64)
                    .bind(snapshot.first as i64)
                    .bind(snapshot.group_info)
                    .bind(snapshot.tree)
                    .execute(&mut *transaction)
                    .await?;
                let old = "DELETE FROM group_entry WHERE tenant = ? AND room = ? AND number < ?";
                sqlx::query(old)
                    .bind(tenant)
                    .bind(name)
                    .bind(snapshot.first as i64)
                    .execute(&mut *transaction)
                    .await?;
                transaction.commit().await?;
            }
            Record::Ended => self.forget(room).await?,
        }
        Ok(())
    }

    /// Forgets the group of a meeting.
    pub(super) async fn forget(&self, room: &RoomKey) -> anyhow::Result<()> {
        let Some(pool) = self.pool.get() else {
            return Ok(());
        };
        let mut transaction = pool.begin().await?;
        for delete in [
            "DELETE FROM group_snapshot WHERE tenant = ? AND room = ?",
            "DELETE FROM group_entry WHERE tenant = ? AND room = ?",
        ] {
            sqlx::query(delete)
                .bind(room.tenant.as_str())
                .bind(room.name.as_str())
                .execute(&mut *transaction)
                .await?;
        }
        Ok(transaction.commit().await?)
    }
}
