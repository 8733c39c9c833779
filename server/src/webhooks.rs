//! Webhooks: events of rooms for applications.
//!
//! An event is handed over without waiting ([`Webhooks::send`]), written to the [`outbox`] on disk, and posted from
//! there. It stays until its receiver has taken or refused it, so that neither an outage there nor a restart here
//! loses any; a receiver may get an event twice (same `id`) when we stop between its answer and our note of it.
//!
//! A [`DeliveryQueue`] is one receiver and one room: its events go one after the other. Queues do not wait for each other. An
//! event that its receiver turns away again and again is set [`aside`] and repeated there; while a receiver does not
//! answer at all, its queues wait.

mod aside;
mod deliver;
mod outbox;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicI32, Ordering::Relaxed},
    },
    time::Duration,
};

use anyhow::Context;
use protocol::{livekit::WebhookEvent, token::Keys};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::{
    config,
    metrics::{Metrics, WebhookOutcome},
};
use aside::Asides;
use deliver::Receiver;
use outbox::{Entry, Outbox, Stored};

/// The most events that are written to disk at once.
const BATCH: usize = 256;

/// The time after which a disk that took nothing is tried again.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// The time that a server that stops waits for events that can be delivered at once. The next one delivers the rest.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// The receiver of events of rooms. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks(Option<Arc<Inner>>);

struct Inner {
    receivers: Vec<Receiver>,
    outbox: Outbox,
    inbox: mpsc::UnboundedSender<Mail>,
    /// Queues at work, with the last entry each knows of.
    queues: Mutex<HashMap<DeliveryQueue, i64>>,
    /// Queues that have set events aside.
    asides: Mutex<Asides>,
    /// Signalled when a queue has nothing more to do.
    idle: Notify,
    /// Bytes of events that wait, in memory and on disk.
    queued: Mutex<Queued>,
    max_queued: i64,
    max_age: Duration,
    /// Number of events dropped since receivers were last told.
    dropped: AtomicI32,
    metrics: Metrics,
}

/// Bytes that wait: of each room, and of all.
#[derive(Default)]
struct Queued {
    rooms: HashMap<Arc<str>, i64>,
    all: i64,
}

impl Queued {
    /// Whether the room has room for this many bytes more. A room may have as many as are free beside: one alone fills
    /// half of the outbox, two a third each, and there is always room for rooms with few events.
    fn has_room_for(&self, room: &str, bytes: i64, max: i64) -> bool {
        self.rooms.get(room).copied().unwrap_or_default() + bytes <= max - self.all
    }

    fn add(&mut self, room: &Arc<str>, bytes: i64) {
        self.all += bytes;
        let queued = self.rooms.entry(room.clone()).or_default();
        *queued += bytes;
        if *queued <= 0 {
            self.rooms.remove(room);
        }
    }
}

enum Mail {
    Event(Entry),
    /// Every event before this one is to be on disk.
    Flush(oneshot::Sender<()>),
}

/// The events of one room for one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct DeliveryQueue {
    url: Arc<str>,
    /// The room, by name: rooms of one name follow one another.
    room: Arc<str>,
}

impl Webhooks {
    /// Opens the outbox and begins with what waits there. Without receivers, events go nowhere and no file is made.
    ///
    /// # Errors
    /// When there is no key to sign with, or the outbox cannot be opened. The text is for the administrator.
    pub async fn start(
        config: &config::Webhook,
        keys: &Keys,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        if config.urls.is_empty() {
            return Ok(Self(None));
        }
        let api_key = match config.api_key.as_str() {
            "" => keys.ids().next(),
            named => keys.ids().find(|id| *id == named),
        };
        let api_key =
            api_key.context("webhook.api_key names no API key, so webhooks cannot be signed")?;
        let urls = config.urls.iter();
        let receivers = urls
            .map(|url| Receiver::new(url, api_key, keys))
            .collect::<anyhow::Result<_>>()?;
        let opening = || format!("cannot open webhook.file {}", config.file.display());
        let outbox = Outbox::open(&config.file).await.with_context(opening)?;
        outbox
            .forget_others(&config.urls)
            .await
            .with_context(opening)?;
        let (inbox, mail) = mpsc::unbounded_channel();
        let inner = Arc::new(Inner {
            receivers,
            queued: Mutex::default(),
            queues: Mutex::default(),
            asides: Mutex::default(),
            idle: Notify::new(),
            outbox,
            inbox,
            max_queued: i64::from(config.max_queued_mb) * 1024 * 1024,
            max_age: Duration::from_secs(u64::from(config.max_age_hours) * 3600),
            dropped: AtomicI32::new(0),
            metrics: metrics.clone(),
        });
        for (room, bytes) in inner.outbox.bytes().await.with_context(opening)? {
            inner.add_queued(&room, bytes);
        }
        for (queue, last) in inner.outbox.queues().await.with_context(opening)? {
            inner.wake(queue, last);
        }
        tokio::spawn(inner.clone().store(mail));
        Ok(Self(Some(inner)))
    }

    /// Takes an event of a room. Never waits; where too many of this room wait already, the event is dropped and
    /// counted.
    #[allow(deprecated)] // `num_dropped`: receivers still read it.
    pub fn send(&self, mut event: WebhookEvent) {
        let Some(inner) = &self.0 else { return };
        let room = event.room.as_ref().map_or("", |room| room.name.as_str());
        let room: Arc<str> = room.into();
        let dropped = inner.dropped.swap(0, Relaxed);
        event.num_dropped = dropped;
        // Rooms have no enum value that JSON has no word for.
        let Ok(body) = serde_json::to_string(&event) else {
            return debug_assert!(false, "an event that cannot be written");
        };
        let body: Arc<str> = body.into();
        let bytes = (body.len() * inner.receivers.len()) as i64;
        if !inner.queued().has_room_for(&room, bytes, inner.max_queued) {
            inner.dropped.fetch_add(dropped.saturating_add(1), Relaxed);
            return inner.count("dropped");
        }
        for receiver in &inner.receivers {
            let queue = DeliveryQueue {
                url: receiver.url.clone(),
                room: room.clone(),
            };
            inner.add_queued(&room, body.len() as i64);
            inner.metrics.webhook_unstored.inc();
            let entry = Entry {
                queue,
                body: body.clone(),
                created_at: event.created_at,
            };
            let _ = inner.inbox.send(Mail::Event(entry));
        }
    }

    /// Waits until everything sent so far is on disk, and a moment for its delivery.
    pub async fn stop(&self) {
        let Some(inner) = &self.0 else { return };
        let (done, stored) = oneshot::channel();
        let _ = inner.inbox.send(Mail::Flush(done));
        let _ = stored.await;
        let _ = tokio::time::timeout(LAST_WORDS, inner.delivered()).await;
    }
}

impl Inner {
    /// Writes events to disk as they come.
    async fn store(self: Arc<Self>, mut mail: mpsc::UnboundedReceiver<Mail>) {
        let mut batch = Vec::new();
        while mail.recv_many(&mut batch, BATCH).await > 0 {
            let (mut entries, mut flushed) = (Vec::new(), Vec::new());
            for mail in batch.drain(..) {
                match mail {
                    Mail::Event(entry) => entries.push(entry),
                    Mail::Flush(done) => flushed.push(done),
                }
            }
            let sequences = loop {
                match self.outbox.append(&entries).await {
                    Ok(sequences) => break sequences,
                    Err(error) => {
                        tracing::warn!(%error, "webhook events cannot be written; trying again");
                        tokio::time::sleep(DISK_RETRY).await;
                    }
                }
            };
            self.metrics.webhook_unstored.dec_by(entries.len() as i64);
            for (entry, sequence) in entries.into_iter().zip(sequences) {
                self.wake(entry.queue, sequence);
            }
            for done in flushed {
                let _ = done.send(());
            }
        }
    }

    /// Makes the queue work until it has delivered this entry.
    fn wake(self: &Arc<Self>, queue: DeliveryQueue, sequence: i64) {
        let mut queues = self.queues();
        if queues.insert(queue.clone(), sequence).is_none() {
            tokio::spawn(self.clone().work(queue));
        }
    }

    async fn work(self: Arc<Self>, queue: DeliveryQueue) {
        let Some(receiver) = self.receivers.iter().find(|r| r.url == queue.url) else {
            return debug_assert!(false, "a queue without a receiver");
        };
        let mut delivered = 0;
        loop {
            match self.outbox.next(&queue, delivered).await {
                Ok(Some(event)) => {
                    delivered = event.sequence;
                    let (max_age, metrics) = (self.max_age, &self.metrics);
                    match receiver.deliver(&event, max_age, metrics).await {
                        Ok(outcome) => self.settle(&queue, &event, outcome).await,
                        Err(status) => self.set_aside(receiver, &queue, &event, status).await,
                    }
                }
                Ok(None) => {
                    let mut queues = self.queues();
                    // An event that was written in the meantime has raised the number.
                    if queues.get(&queue).is_none_or(|last| *last <= delivered) {
                        queues.remove(&queue);
                        return self.idle.notify_waiters();
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "webhook events cannot be read; trying again");
                    tokio::time::sleep(DISK_RETRY).await;
                }
            }
        }
    }

    /// Forgets an event whose delivery is over.
    async fn settle(&self, queue: &DeliveryQueue, event: &Stored, outcome: &'static str) {
        self.count(outcome);
        while let Err(error) = self.outbox.remove(event.sequence).await {
            tracing::warn!(%error, "a delivered webhook event cannot be removed; trying again");
            tokio::time::sleep(DISK_RETRY).await;
        }
        self.add_queued(&queue.room, -(event.body.len() as i64));
    }

    /// Waits until no queue has anything to do.
    async fn delivered(&self) {
        loop {
            let idle = self.idle.notified();
            if self.queues().is_empty() {
                return;
            }
            idle.await;
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<DeliveryQueue, i64>> {
        // Every change of the map is complete before anything can panic.
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queued(&self) -> MutexGuard<'_, Queued> {
        self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_queued(&self, room: &Arc<str>, bytes: i64) {
        let mut queued = self.queued();
        queued.add(room, bytes);
        self.metrics.webhook_queue.set(queued.all);
    }

    fn count(&self, outcome: &'static str) {
        let outcome = WebhookOutcome { outcome };
        self.metrics.webhooks.get_or_create(&outcome).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::livekit::Room;

    fn event(room: &str) -> WebhookEvent {
        WebhookEvent {
            event: "room_started".into(),
            room: Some(Room {
                name: room.into(),
                ..Room::default()
            }),
            ..WebhookEvent::default()
        }
    }

    fn outcomes(metrics: &Metrics, outcome: &'static str) -> u64 {
        let label = WebhookOutcome { outcome };
        metrics.webhooks.get_or_create(&label).get()
    }

    #[tokio::test]
    async fn what_does_not_fit_is_dropped_and_counted() {
        let folder = outbox::folder();
        let config = config::Webhook {
            // Nobody listens at the port that means none.
            urls: vec!["http://127.0.0.1:0/".into()],
            file: folder.0.join("events.db"),
            max_queued_mb: 1,
            ..config::Webhook::default()
        };
        let (keys, metrics) = (Keys::new([("key", "secret")]), Metrics::default());
        let webhooks = Webhooks::start(&config, &keys, &metrics).await.unwrap();
        let mut long = event("long");
        long.room.as_mut().unwrap().metadata = "x".repeat(700_000);
        webhooks.send(long.clone());
        webhooks.send(long);
        assert_eq!(outcomes(&metrics, "dropped"), 1);
        webhooks.send(event("short"));
        assert_eq!(outcomes(&metrics, "dropped"), 1);
        // The receiver of the next one learns of it.
        let inner = webhooks.0.as_ref().unwrap();
        assert_eq!(inner.dropped.load(Relaxed), 0);
        assert!(metrics.webhook_queue.get() > 700_000);
    }

    #[test]
    fn a_room_that_says_too_much_leaves_room_for_the_others() {
        let (mut queued, max) = (Queued::default(), 256_000_000);
        let rooms: Vec<Arc<str>> = ["one", "two", "three"].map(Into::into).into();
        let mut fill = |room: &Arc<str>, bytes: i64| {
            let mut taken = 0;
            while queued.has_room_for(room, bytes, max) {
                queued.add(room, bytes);
                taken += bytes;
            }
            taken
        };
        let first = fill(&rooms[0], 541_000);
        // Half, and the event that came last.
        assert!((120_000_000..=128_541_000).contains(&first), "{first}");
        // Another that does the same, and one more, which says what rooms say.
        assert!(fill(&rooms[1], 541_000) > 60_000_000);
        assert!(fill(&rooms[2], 2_000) > 30_000_000);
        queued.add(&rooms[0], -first);
        assert!(!queued.rooms.contains_key("one"));
    }

    #[tokio::test]
    async fn a_key_that_is_not_there_is_named_at_the_start() {
        let config = config::Webhook {
            urls: vec!["http://127.0.0.1:0/".into()],
            api_key: "other".into(),
            ..config::Webhook::default()
        };
        let keys = Keys::new([("key", "secret")]);
        let started = Webhooks::start(&config, &keys, &Metrics::default()).await;
        let error = started.err().unwrap().to_string();
        assert!(error.contains("webhook.api_key"), "{error}");
    }
}
