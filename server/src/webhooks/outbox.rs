//! Webhook events on disk until they are delivered. One of the places that know the database.

use std::{path::Path, sync::Arc};

use sqlx::{Row, SqlitePool};

use super::DeliveryQueue;
use crate::database;

const TABLE: &str = "CREATE TABLE IF NOT EXISTS webhook (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    url TEXT NOT NULL,
    room TEXT NOT NULL,
    body TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT";

const INDEX: &str = "CREATE INDEX IF NOT EXISTS webhook_lane ON webhook (url, room, sequence)";

/// The table of events that are set aside, by sequence number.
const ASIDE: &str = "CREATE TABLE IF NOT EXISTS aside (sequence INTEGER PRIMARY KEY) STRICT";

/// Empties that table: a server that starts finds out anew which events belong there.
const NONE_ASIDE: &str = "DELETE FROM aside";

/// An event for one receiver, not yet on disk.
pub(super) struct Entry {
    pub(super) queue: DeliveryQueue,
    pub(super) body: Arc<str>,
    /// When the event was made, seconds since 1970.
    pub(super) created_at: i64,
}

/// An event that waits.
pub(super) struct Stored {
    /// Number that grows from event to event.
    pub(super) sequence: i64,
    pub(super) body: String,
    /// When the event was made, seconds since 1970.
    pub(super) created_at: i64,
}

/// The table of events that wait.
pub(super) struct Outbox(SqlitePool);

impl Outbox {
    /// Opens the file, or makes it. Another process that has it open is an error.
    pub(super) async fn open(file: &Path) -> anyhow::Result<Self> {
        let pool = database::open(Some(file), &[TABLE, INDEX, ASIDE, NONE_ASIDE]).await?;
        Ok(Self(pool))
    }

    /// Forgets events for receivers that are configured no longer.
    pub(super) async fn forget_others(&self, urls: &[String]) -> sqlx::Result<()> {
        let rows = sqlx::query("SELECT DISTINCT url FROM webhook")
            .fetch_all(&self.0)
            .await?;
        for row in rows {
            let url: String = row.get(0);
            if !urls.contains(&url) {
                let deleted = sqlx::query("DELETE FROM webhook WHERE url = ?")
                    .bind(&url)
                    .execute(&self.0)
                    .await?;
                let events = deleted.rows_affected();
                tracing::warn!(
                    events,
                    "webhook events for a receiver that is not configured any more were dropped"
                );
            }
        }
        Ok(())
    }

    /// Writes events, all or none, and returns their sequence numbers.
    pub(super) async fn append(&self, entries: &[Entry]) -> sqlx::Result<Vec<i64>> {
        let mut transaction = self.0.begin().await?;
        let mut sequences = Vec::with_capacity(entries.len());
        for entry in entries {
            let insert = "INSERT INTO webhook (url, room, body, created_at) VALUES (?, ?, ?, ?)";
            let done = sqlx::query(insert)
                .bind(&*entry.queue.url)
                .bind(&*entry.queue.room)
                .bind(&*entry.body)
                .bind(entry.created_at)
                .execute(&mut *transaction)
                .await?;
            sequences.push(done.last_insert_rowid());
        }
        transaction.commit().await?;
        Ok(sequences)
    }

    /// Queues that have events, and the last sequence number of each.
    pub(super) async fn queues(&self) -> sqlx::Result<Vec<(DeliveryQueue, i64)>> {
        let select = "SELECT url, room, MAX(sequence) FROM webhook GROUP BY url, room";
        let rows = sqlx::query(select).fetch_all(&self.0).await?;
        let queue = |row: &sqlx::sqlite::SqliteRow| DeliveryQueue {
            url: row.get::<String, _>(0).into(),
            room: row.get::<String, _>(1).into(),
        };
        Ok(rows.iter().map(|row| (queue(row), row.get(2))).collect())
    }

    /// The event that is next in a queue after this sequence number, without those that are set aside.
    pub(super) async fn next(
        &self,
        queue: &DeliveryQueue,
        after: i64,
    ) -> sqlx::Result<Option<Stored>> {
        let select = "SELECT sequence, body, created_at FROM webhook WHERE url = ? AND room = ? AND sequence > ? \
                      AND sequence NOT IN (SELECT sequence FROM aside) ORDER BY sequence LIMIT 1";
        self.select(select, queue, after).await
    }

    /// The event that is next among those set aside of a queue, after this sequence number.
    pub(super) async fn next_aside(
        &self,
        queue: &DeliveryQueue,
        after: i64,
    ) -> sqlx::Result<Option<Stored>> {
        let select = "SELECT sequence, body, created_at FROM webhook WHERE url = ? AND room = ? AND sequence > ? \
                      AND sequence IN (SELECT sequence FROM aside) ORDER BY sequence LIMIT 1";
        self.select(select, queue, after).await
    }

    async fn select(
        &self,
        select: &'static str,
        queue: &DeliveryQueue,
        after: i64,
    ) -> sqlx::Result<Option<Stored>> {
        let row = sqlx::query(select)
            .bind(&*queue.url)
            .bind(&*queue.room)
            .bind(after)
            .fetch_optional(&self.0)
            .await?;
        Ok(row.map(|row| Stored {
            sequence: row.get(0),
            body: row.get(1),
            created_at: row.get(2),
        }))
    }

    /// Sets an event aside: [`Outbox::next_aside`] finds it from now on.
    pub(super) async fn set_aside(&self, sequence: i64) -> sqlx::Result<()> {
        sqlx::query("INSERT INTO aside (sequence) VALUES (?) ON CONFLICT DO NOTHING")
            .bind(sequence)
            .execute(&self.0)
            .await?;
        Ok(())
    }

    /// Forgets an event.
    pub(super) async fn remove(&self, sequence: i64) -> sqlx::Result<()> {
        let mut transaction = self.0.begin().await?;
        for delete in [
            "DELETE FROM webhook WHERE sequence = ?",
            "DELETE FROM aside WHERE sequence = ?",
        ] {
            sqlx::query(delete)
                .bind(sequence)
                .execute(&mut *transaction)
                .await?;
        }
        transaction.commit().await
    }

    /// Number of bytes of all bodies of each room.
    pub(super) async fn bytes(&self) -> sqlx::Result<Vec<(Arc<str>, i64)>> {
        let sum = "SELECT room, SUM(LENGTH(CAST(body AS BLOB))) FROM webhook GROUP BY room";
        let rows = sqlx::query(sum).fetch_all(&self.0).await?;
        let room = |row: &sqlx::sqlite::SqliteRow| (row.get::<String, _>(0).into(), row.get(1));
        Ok(rows.iter().map(room).collect())
    }
}

/// A folder of its own for a test, removed with it.
#[cfg(test)]
pub(super) struct Folder(pub(super) std::path::PathBuf);

#[cfg(test)]
pub(super) fn folder() -> Folder {
    let name = format!("conclave-outbox-{:016x}", rand::random::<u64>());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    Folder(path)
}

#[cfg(test)]
impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn queue(url: &str, room: &str) -> DeliveryQueue {
        DeliveryQueue {
            url: url.into(),
            room: room.into(),
        }
    }

    fn entry(queue: DeliveryQueue, body: &str) -> Entry {
        Entry {
            queue,
            body: body.into(),
            created_at: 7,
        }
    }

    #[tokio::test]
    async fn lanes_keep_their_order_over_a_restart() {
        let folder = folder();
        let file = folder.0.join("events.db");
        let (one, two) = (queue("u", "1"), queue("u", "2"));
        let other = queue("v", "1");
        let outbox = Outbox::open(&file).await.unwrap();
        let mut sequences = Vec::new();
        for (queue, body) in [(&one, "a"), (&two, "b"), (&one, "c"), (&other, "ü")] {
            sequences.extend(outbox.append(&[entry(queue.clone(), body)]).await.unwrap());
        }
        assert!(sequences.is_sorted());
        outbox.0.close().await;

        let outbox = Outbox::open(&file).await.unwrap();
        let mut bytes = outbox.bytes().await.unwrap();
        bytes.sort();
        assert_eq!(bytes, [("1".into(), 4), ("2".into(), 1)]);
        let mut queues = outbox.queues().await.unwrap();
        queues.sort_by_key(|(_, last)| *last);
        assert_eq!(
            queues,
            [
                (two.clone(), sequences[1]),
                (one.clone(), sequences[2]),
                (other, sequences[3])
            ]
        );
        for body in ["a", "c"] {
            let next = outbox.next(&one, 0).await.unwrap().unwrap();
            assert_eq!((next.body.as_str(), next.created_at), (body, 7));
            outbox.remove(next.sequence).await.unwrap();
        }
        assert!(outbox.next(&one, 0).await.unwrap().is_none());
        outbox.forget_others(&["u".into()]).await.unwrap();
        assert_eq!(outbox.bytes().await.unwrap(), [("2".into(), 1)]);
    }

    #[tokio::test]
    async fn what_is_set_aside_is_passed_over_and_found_on_its_own_way_until_a_restart() {
        let folder = folder();
        let file = folder.0.join("events.db");
        let queue = queue("u", "1");
        let outbox = Outbox::open(&file).await.unwrap();
        let entries = ["a", "b", "c"].map(|body| entry(queue.clone(), body));
        let sequences = outbox.append(&entries).await.unwrap();
        outbox.set_aside(sequences[0]).await.unwrap();
        outbox.set_aside(sequences[2]).await.unwrap();
        let body = |stored: Option<Stored>| stored.map(|stored| stored.body);
        assert_eq!(
            body(outbox.next(&queue, 0).await.unwrap()).as_deref(),
            Some("b")
        );
        assert_eq!(body(outbox.next(&queue, sequences[1]).await.unwrap()), None);
        let aside = outbox.next_aside(&queue, sequences[0]).await.unwrap();
        assert_eq!(body(aside).as_deref(), Some("c"));
        outbox.remove(sequences[0]).await.unwrap();
        let aside = outbox.next_aside(&queue, 0).await.unwrap();
        assert_eq!(body(aside).as_deref(), Some("c"));
        outbox.0.close().await;
        let outbox = Outbox::open(&file).await.unwrap();
        assert_eq!(
            body(outbox.next(&queue, sequences[1]).await.unwrap()).as_deref(),
            Some("c")
        );
    }

    #[tokio::test]
    async fn nobody_else_may_read_the_file_or_open_it_meanwhile() {
        let folder = folder();
        let file = folder.0.join("events.db");
        let outbox = Outbox::open(&file).await.unwrap();
        outbox.append(&[entry(queue("u", "1"), "a")]).await.unwrap();
        for file in std::fs::read_dir(&folder.0).unwrap() {
            let mode = file.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0);
        }
        assert!(Outbox::open(&file).await.is_err());
    }
}
