//! Events that their receiver turns away: one of them must not hold back what its room has to say for a day. Each is repeated
//! beside its lane, in the end out of order, until it is taken, refused or too old.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, MutexGuard, PoisonError},
};

use hyper::StatusCode;
use serde::Deserialize;

use super::{
    Inner, Lane,
    deliver::{LONGEST_PAUSE, Outcome, Receiver, rest},
    outbox::Stored,
};

/// By lane, the sequence numbers of its events that are set aside.
pub(super) type Asides = HashMap<Lane, BTreeSet<i64>>;

impl Inner {
    /// From now on this event is repeated beside the others of its lane.
    pub(super) fn set_aside(
        self: &Arc<Self>,
        receiver: &Receiver,
        lane: &Lane,
        event: &Stored,
        status: StatusCode,
    ) {
        let sequence = event.sequence;
        let is_first = {
            let mut asides = self.asides();
            let of_lane = asides.entry(lane.clone()).or_default();
            of_lane.insert(sequence);
            of_lane.len() == 1
        };
        if is_first {
            // Once for each receiver and room, until it takes them again.
            let (receiver, room) = (&receiver.origin, sid(event));
            tracing::warn!(receiver, room, %status, "a receiver turns a webhook event away again and again: \
                 it is set aside and repeated, later events go on");
        }
        tokio::spawn(self.clone().repeat(lane.clone(), sequence));
    }

    /// The events of a lane that are repeated beside it.
    pub(super) fn asides_of(&self, lane: &Lane) -> BTreeSet<i64> {
        self.asides().get(lane).cloned().unwrap_or_default()
    }

    async fn repeat(self: Arc<Self>, lane: Lane, sequence: i64) {
        let receiver = self.receivers.iter().find(|r| r.url == lane.url);
        while let Some(receiver) = receiver {
            rest(LONGEST_PAUSE).await;
            // Read each time: what waits for hours waits on disk.
            match self.outbox.next(&lane, sequence - 1).await {
                Ok(Some(event)) if event.sequence == sequence => {
                    let outcome = receiver.post(&event, self.max_age, &self.metrics).await;
                    if let Outcome::Over(outcome) = outcome {
                        self.settle(&lane, &event, outcome).await;
                        break;
                    }
                }
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "webhook events cannot be read; trying again")
                }
            }
        }
        let mut asides = self.asides();
        if let Some(of_lane) = asides.get_mut(&lane) {
            of_lane.remove(&sequence);
            if of_lane.is_empty() {
                asides.remove(&lane);
            }
        }
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
    use crate::{config, metrics::Metrics};

    /// Far longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Notes which events it takes; turns the first kind away while it is told to.
    async fn receive(
        listener: TcpListener,
        is_ill: &'static AtomicBool,
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
                    true => "500 Internal Server Error",
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
        let config = config::Webhook {
            urls: vec![format!("http://{address}/")],
            file: folder.0.join("events.db"),
            ..config::Webhook::default()
        };
        let keys = Keys::new([("key", "secret")]);
        Webhooks::start(&config, &keys, &Metrics::default())
            .await
            .unwrap()
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
        tokio::spawn(receive(listener, &ILL, sender));
        let webhooks = start(&folder, address).await;
        send(
            &webhooks,
            &["room_started", "participant_joined", "room_finished"],
        );
        assert_eq!(next(&mut taken).await, "participant_joined");
        assert_eq!(next(&mut taken).await, "room_finished");
        // A lane that was idle begins anew, and does not take up what is repeated beside it.
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
        let (sender, mut taken) = mpsc::unbounded_channel();
        tokio::spawn(receive(
            TcpListener::bind(address).await.unwrap(),
            &WELL,
            sender,
        ));
        for event in events {
            assert_eq!(next(&mut taken).await, event);
        }
    }
}
