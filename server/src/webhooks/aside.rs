//! Events that their receiver turns away: one of them must not hold back its room's events for a day. Each is repeated
//! beside its queue, and so out of order, until it is taken, refused or too old.

use std::{
    collections::HashMap,
    sync::{Arc, MutexGuard, PoisonError},
};

use hyper::StatusCode;
use serde::Deserialize;

use super::{
    DISK_RETRY, DeliveryQueue, Inner,
    deliver::{LONGEST_PAUSE, Outcome, Receiver, rest},
    outbox::Stored,
};

/// Number of events of each queue that are set aside, where there are any. The outbox knows which.
pub(super) type Asides = HashMap<DeliveryQueue, usize>;

impl Inner {
    /// Sets an event aside: it is repeated beside the others of its queue from now on.
    pub(super) async fn set_aside(
        self: &Arc<Self>,
        receiver: &Receiver,
        queue: &DeliveryQueue,
        event: &Stored,
        status: StatusCode,
    ) {
        let is_first = {
            let mut asides = self.asides();
            let of_queue = asides.entry(queue.clone()).or_default();
            *of_queue += 1;
            *of_queue == 1
        };
        while let Err(error) = self.outbox.set_aside(event.sequence).await {
            tracing::warn!(%error, "a webhook event cannot be set aside; trying again");
            tokio::time::sleep(DISK_RETRY).await;
        }
        if is_first {
            // Logged once for each receiver and room, until the receiver takes its events again.
            let (receiver, room) = (&receiver.origin, sid(event));
            tracing::warn!(receiver, room, %status, "a receiver turns a webhook event away again and again: \
                 it is set aside and repeated, later events go on");
            tokio::spawn(self.clone().repeat(queue.clone()));
        }
    }

    /// Repeats the events that this queue has set aside, round after round, until there are none.
    async fn repeat(self: Arc<Self>, queue: DeliveryQueue) {
        let Some(receiver) = self.receivers.iter().find(|r| r.url == queue.url) else {
            return debug_assert!(false, "a queue without a receiver");
        };
        loop {
            rest(LONGEST_PAUSE).await;
            let mut settled = 0;
            if let Err(error) = self.repeat_once(receiver, &queue, &mut settled).await {
                tracing::warn!(%error, "webhook events cannot be read; trying again");
            }
            let mut asides = self.asides();
            let left = asides
                .get(&queue)
                .map_or(0, |left| left.saturating_sub(settled));
            if left == 0 {
                asides.remove(&queue);
                return;
            }
            asides.insert(queue.clone(), left);
        }
    }

    /// Makes one round: each event once, the oldest first, as long as the receiver answers.
    async fn repeat_once(
        &self,
        receiver: &Receiver,
        queue: &DeliveryQueue,
        settled: &mut usize,
    ) -> anyhow::Result<()> {
        let mut last = 0;
        // Read anew each time: events that wait for hours wait on disk.
        while let Some(event) = self.outbox.next_aside(queue, last).await? {
            last = event.sequence;
            match receiver.post(&event, self.max_age, &self.metrics).await {
                Outcome::Over(outcome) => {
                    self.settle(queue, &event, outcome).await;
                    *settled += 1;
                }
                Outcome::TurnedAway(_) => {}
                Outcome::Unanswered => break,
            }
        }
        Ok(())
    }

    fn asides(&self) -> MutexGuard<'_, Asides> {
        // Every change of the map is complete before anything can panic.
        self.asides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The room's sid, for the log: its name may be a person's.
fn sid(event: &Stored) -> String {
    #[derive(Deserialize)]
    struct Event {
        room: Room,
    }
    #[derive(Deserialize)]
    struct Room {
        sid: String,
    }
    let event = serde_json::from_str::<Event>(&event.body);
    event.map(|event| event.room.sid).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicBool, Ordering::Relaxed},
        time::Duration,
    };

    use protocol::{
        livekit::{Room, WebhookEvent},
        token::Keys,
    };
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::mpsc,
        time::timeout,
    };

    use super::super::{Webhooks, outbox};
    use crate::{
        config,
        metrics::{Metrics, WebhookOutcome},
    };

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    const OWN_FAULT: &str = "500 Internal Server Error";

    /// Notes which events it takes; turns the first kind away with the status `illness` while it is told to.
    async fn receive(
        listener: TcpListener,
        (is_ill, illness): (&'static AtomicBool, &'static str),
        taken: mpsc::UnboundedSender<String>,
    ) {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let taken = taken.clone();
            tokio::spawn(async move {
                let mut text = Vec::new();
                // The body is JSON, and ends the request.
                while !text.ends_with(b"}") && stream.read_buf(&mut text).await.unwrap() > 0 {}
                let text = String::from_utf8(text).unwrap();
                let is_started = text.contains("room_started");
                let status = match is_started && is_ill.load(Relaxed) {
                    true => illness,
                    false => "200 OK",
                };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
                if status.starts_with("200") {
                    let body = text.split("\r\n\r\n").nth(1).unwrap();
                    let event: WebhookEvent = serde_json::from_str(body).unwrap();
                    let _ = taken.send(event.event);
                }
            });
        }
    }

    async fn start(folder: &outbox::Folder, address: std::net::SocketAddr) -> Webhooks {
        start_measured(folder, address).await.0
    }

    async fn start_measured(
        folder: &outbox::Folder,
        address: std::net::SocketAddr,
    ) -> (Webhooks, Metrics) {
        let config = config::Webhook {
            urls: vec![format!("http://{address}/")],
            file: folder.0.join("events.db"),
            ..config::Webhook::default()
        };
        let keys = Keys::new([("key", "secret")]);
        let metrics = Metrics::default();
        let webhooks = Webhooks::start(&config, &keys, &metrics).await;
        (webhooks.unwrap(), metrics)
    }

    fn send(webhooks: &Webhooks, events: &[&str]) {
        for event in events {
            webhooks.send(WebhookEvent {
                event: (*event).to_owned(),
                room: Some(Room {
                    name: "r".into(),
                    ..Room::default()
                }),
                created_at: super::super::deliver::unix_now() as i64,
                ..WebhookEvent::default()
            });
        }
    }

    async fn next(taken: &mut mpsc::UnboundedReceiver<String>) -> String {
        timeout(PATIENCE, taken.recv())
            .await
            .expect("an event")
            .unwrap()
    }

    #[tokio::test]
    async fn an_event_that_is_turned_away_again_and_again_does_not_hold_back_those_behind_it() {
        static ILL: AtomicBool = AtomicBool::new(true);
        let folder = outbox::folder();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut taken) = mpsc::unbounded_channel();
        tokio::spawn(receive(listener, (&ILL, OWN_FAULT), sender));
        let webhooks = start(&folder, address).await;
        send(
            &webhooks,
            &["room_started", "participant_joined", "room_finished"],
        );
        assert_eq!(next(&mut taken).await, "participant_joined");
        assert_eq!(next(&mut taken).await, "room_finished");
        // A queue that was idle begins anew, and does not take up what is repeated beside it.
        send(&webhooks, &["participant_left"]);
        assert_eq!(next(&mut taken).await, "participant_left");
        ILL.store(false, Relaxed);
        assert_eq!(next(&mut taken).await, "room_started");
        send(&webhooks, &["participant_joined"]);
        assert_eq!(next(&mut taken).await, "participant_joined");
        assert!(taken.try_recv().is_err(), "each came once");
    }

    #[tokio::test]
    async fn while_nobody_answers_everything_keeps_its_order() {
        static WELL: AtomicBool = AtomicBool::new(false);
        let folder = outbox::folder();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let webhooks = start(&folder, address).await;
        let events = ["room_started", "participant_joined", "room_finished"];
        send(&webhooks, &events);
        // Long enough for many attempts.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let inner = webhooks.0.as_ref().unwrap();
        assert!(inner.asides().is_empty(), "they are waited for");
        let (sender, mut taken) = mpsc::unbounded_channel();
        tokio::spawn(receive(
            TcpListener::bind(address).await.unwrap(),
            (&WELL, OWN_FAULT),
            sender,
        ));
        for event in events {
            assert_eq!(next(&mut taken).await, event);
        }
    }

    #[tokio::test]
    async fn while_a_proxy_answers_for_a_receiver_that_is_away_everything_keeps_its_order() {
        static AWAY: AtomicBool = AtomicBool::new(true);
        let folder = outbox::folder();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut taken) = mpsc::unbounded_channel();
        let away = (&AWAY, "503 Service Unavailable");
        tokio::spawn(receive(listener, away, sender));
        let (webhooks, metrics) = start_measured(&folder, address).await;
        let events = ["room_started", "participant_joined", "room_finished"];
        send(&webhooks, &events);
        let label = WebhookOutcome { outcome: "failed" };
        // More attempts than set an event aside.
        while metrics.webhooks.get_or_create(&label).get() < 10 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(taken.try_recv().is_err(), "nothing overtakes");
        AWAY.store(false, Relaxed);
        for event in events {
            assert_eq!(next(&mut taken).await, event);
        }
    }

    #[tokio::test]
    async fn all_that_is_set_aside_of_a_room_is_repeated_by_one_task_in_order() {
        static ILL: AtomicBool = AtomicBool::new(true);
        let folder = outbox::folder();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, mut taken) = mpsc::unbounded_channel();
        tokio::spawn(receive(listener, (&ILL, OWN_FAULT), sender));
        let webhooks = start(&folder, address).await;
        send(&webhooks, &["room_started"; 3]);
        send(&webhooks, &["participant_joined"]);
        assert_eq!(next(&mut taken).await, "participant_joined");
        let inner = webhooks.0.as_ref().unwrap();
        let aside = |inner: &super::Inner| inner.asides().values().copied().collect::<Vec<_>>();
        assert_eq!(aside(inner), [3], "one entry, one task");
        ILL.store(false, Relaxed);
        for _ in 0..3 {
            assert_eq!(next(&mut taken).await, "room_started");
        }
        while !inner.asides().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(taken.try_recv().is_err(), "each came once");
    }
}
