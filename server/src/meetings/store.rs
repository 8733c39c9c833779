//! Meetings by link on disk: their codes, times, and guests that were removed. No name, no address.

use std::{
    collections::{HashMap, VecDeque},
    path::Path,
};

use sqlx::{Row, SqlitePool};

use super::{MAX_REMOVED, Meeting};
use crate::database;

/// Column `ended`: 0, or when the meeting was ended (of an older version: 1).
const MEETINGS: &str = "CREATE TABLE IF NOT EXISTS meeting (
    slug TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    entered_at INTEGER,
    ended INTEGER NOT NULL DEFAULT 0
) STRICT";

const REMOVED: &str = "CREATE TABLE IF NOT EXISTS removed (
    slug TEXT NOT NULL,
    guest TEXT NOT NULL,
    PRIMARY KEY (slug, guest)
) STRICT";

const SECRET: &str = "CREATE TABLE IF NOT EXISTS secret (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    bytes BLOB NOT NULL
) STRICT";

/// The database. Its contents are in memory as well; they are read once.
#[derive(Clone)]
pub(super) struct Store(SqlitePool);

impl Store {
    /// Opens the file, or makes it; without one, everything is forgotten with the process.
    pub(super) async fn open(file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(Self(
            database::open(file, &[MEETINGS, REMOVED, SECRET]).await?,
        ))
    }

    /// The secret that tokens and pseudonyms are made with: the one on disk, or `fresh`, which is kept from now on.
    pub(super) async fn secret(&self, fresh: [u8; 32]) -> sqlx::Result<Vec<u8>> {
        sqlx::query("INSERT INTO secret (one, bytes) VALUES (1, ?) ON CONFLICT DO NOTHING")
            .bind(fresh.as_slice())
            .execute(&self.0)
            .await?;
        let row = sqlx::query("SELECT bytes FROM secret")
            .fetch_one(&self.0)
            .await?;
        Ok(row.get(0))
    }

    /// All meetings, by their codes.
    pub(super) async fn all(&self) -> sqlx::Result<Vec<(String, Meeting)>> {
        let mut removed = HashMap::<String, VecDeque<String>>::new();
        let rows = sqlx::query("SELECT slug, guest FROM removed ORDER BY rowid")
            .fetch_all(&self.0)
            .await?;
        for row in rows {
            removed.entry(row.get(0)).or_default().push_back(row.get(1));
        }
        let rows = sqlx::query("SELECT slug, created_at, entered_at, ended FROM meeting")
            .fetch_all(&self.0)
            .await?;
        let meeting = |row: &sqlx::sqlite::SqliteRow| {
            let slug: String = row.get(0);
            let meeting = Meeting {
                created_at: row.get::<i64, _>(1).max(0) as u64,
                entered_at: row.get::<Option<i64>, _>(2).map(|at| at.max(0) as u64),
                ended_at: Some(row.get::<i64, _>(3).max(0) as u64).filter(|at| *at > 0),
                removed: removed.remove(&slug).unwrap_or_default(),
            };
            (slug, meeting)
        };
        Ok(rows.iter().map(meeting).collect())
    }

    /// Adds a meeting.
    pub(super) async fn insert(&self, slug: &str, created_at: u64) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO meeting (slug, created_at) VALUES (?, ?)")
            .bind(slug)
            .bind(created_at as i64)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that somebody has entered a meeting.
    pub(super) async fn entered(&self, slug: &str, at: u64) -> sqlx::Result<()> {
        sqlx::query("UPDATE meeting SET entered_at = ? WHERE slug = ?")
            .bind(at as i64)
            .bind(slug)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that a meeting was ended for everyone.
    pub(super) async fn ended(&self, slug: &str, at: u64) -> sqlx::Result<()> {
        sqlx::query("UPDATE meeting SET ended = ? WHERE slug = ?")
            .bind(at as i64)
            .bind(slug)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Notes that a guest was removed from a meeting. Of more than [`MAX_REMOVED`] the first one is forgotten.
    pub(super) async fn removed(&self, slug: &str, guest: &str) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO removed (slug, guest) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(slug)
            .bind(guest)
            .execute(&self.0)
            .await?;
        let newest = "DELETE FROM removed WHERE slug = ?1 AND rowid NOT IN \
                      (SELECT rowid FROM removed WHERE slug = ?1 ORDER BY rowid DESC LIMIT ?2)";
        sqlx::query(newest)
            .bind(slug)
            .bind(MAX_REMOVED as i64)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets meetings, with the guests that were removed from them.
    pub(super) async fn forget(&self, slugs: &[String]) -> sqlx::Result<()> {
        let mut transaction = self.0.begin().await?;
        for slug in slugs {
            for delete in [
                "DELETE FROM meeting WHERE slug = ?",
                "DELETE FROM removed WHERE slug = ?",
            ] {
                sqlx::query(delete)
                    .bind(slug)
                    .execute(&mut *transaction)
                    .await?;
            }
        }
        transaction.commit().await
    }

    #[cfg(test)]
    pub(super) async fn close(&self) {
        self.0.close().await;
    }

    /// Makes writes fail, as on a disk that takes nothing, until it is called with `false`.
    #[cfg(test)]
    pub(super) async fn set_read_only(&self, read_only: bool) {
        let pragma = match read_only {
            true => "PRAGMA query_only = ON",
            false => "PRAGMA query_only = OFF",
        };
        sqlx::query(pragma).execute(&self.0).await.unwrap();
    }

    #[cfg(test)]
    pub(super) async fn removed_rows(&self) -> i64 {
        let row = sqlx::query("SELECT COUNT(*) FROM removed")
            .fetch_one(&self.0)
            .await;
        row.unwrap().get(0)
    }
}
