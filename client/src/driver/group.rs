//! The connection to the delivery service of an encrypted meeting: a task of its own beside that of the participant, to which
//! it hands the keys.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use e2ee::client::{Client as GroupClient, Event as GroupEvent, Now, Output};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    sync::mpsc,
    time::{sleep_until, timeout},
};
use tokio_tungstenite::tungstenite::Message;

use super::{
    Call, GroupCall,
    link::{Endpoint, Signal},
};
use crate::{Event, Participant};

/// The waits before each attempt to connect again, milliseconds; the last one over and over.
const RETRY_DELAYS: [u64; 6] = [0, 300, 1200, 2700, 4800, 7000];

/// The time in which a connection has to come up.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The task of one member.
pub(super) struct Task {
    pub(super) client: GroupClient,
    pub(super) endpoint: Endpoint,
    /// The newest token.
    pub(super) token: Arc<Mutex<String>>,
    /// To the participant, for as long as anybody else has it.
    pub(super) participant: mpsc::WeakSender<Call>,
    pub(super) calls: mpsc::Receiver<GroupCall>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) started: Instant,
}

impl Task {
    /// Runs until the participant is gone.
    pub(super) async fn run(mut self) {
        let mut socket: Option<Box<Signal>> = None;
        let mut attempt = 0;
        let mut retry_at = Some(Instant::now());
        loop {
            let mut lost = false;
            while let Some(output) = self.client.poll() {
                match output {
                    Output::Send(frame) => {
                        if let Some(socket) = &mut socket {
                            lost |= socket.send(Message::Binary(frame.into())).await.is_err();
                        }
                    }
                    Output::Event(event) => {
                        if self.carry(event).await.is_none() {
                            return;
                        }
                    }
                    Output::Reconnect => lost = true,
                }
            }
            if lost {
                socket = None;
                retry_at = retry_at.or_else(|| Some(next_attempt(&mut attempt)));
            }
            let due = self.client.due().map(|due| self.started + due);
            let wake = due.into_iter().chain(retry_at).min();
            let sleep = sleep_until(wake.unwrap_or_else(Instant::now).into());
            tokio::select! {
                message = next(&mut socket) => match message {
                    Some(frame) => {
                        attempt = 0;
                        let now = self.now();
                        self.client.receive(&frame, now);
                    }
                    None => {
                        socket = None;
                        retry_at = Some(next_attempt(&mut attempt));
                    }
                },
                call = self.calls.recv() => match call {
                    Some(call) => {
                        let now = self.now();
                        call(&mut self.client, now);
                    }
                    None => return,
                },
                () = sleep, if wake.is_some() => {
                    let now = self.now();
                    self.client.handle_timeout(now);
                    if retry_at.is_some_and(|at| at <= Instant::now()) {
                        socket = self.open().await;
                        retry_at = match socket {
                            Some(_) => {
                                self.client.connected();
                                None
                            }
                            None => Some(next_attempt(&mut attempt)),
                        };
                    }
                }
            }
        }
    }

    /// Hands keys to the participant, and the event to its owner. `None`: the participant is gone.
    async fn carry(&self, event: GroupEvent) -> Option<()> {
        let participant = self.participant.upgrade()?;
        let members = self.client.members();
        let handed = event.clone();
        let call: Call = Box::new(move |participant: &mut Participant, _| match handed {
            GroupEvent::Epoch {
                epoch,
                base_key,
                leaf,
            } => participant.install_keys(epoch, base_key, leaf, &members),
            GroupEvent::SendWith(epoch) => participant.send_with(epoch),
            GroupEvent::Forget(epoch) => participant.forget_keys(epoch),
            GroupEvent::Out(_) => participant.leave_group(),
            _ => {}
        });
        participant.send(call).await.ok()?;
        // An owner that does not read its events does not stop the keys.
        let _ = self.events.try_send(Event::Group(Box::new(event)));
        Some(())
    }

    async fn open(&self) -> Option<Box<Signal>> {
        let token = self
            .token
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let open = async {
            let stream = self.endpoint.reach().await?;
            self.endpoint.open_group(stream, &token).await
        };
        match timeout(OPEN_TIMEOUT, open).await {
            Ok(Ok(socket)) => Some(Box::new(socket)),
            Ok(Err(error)) => {
                tracing::debug!(%error, "no way to the delivery service");
                None
            }
            Err(_) => None,
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        Now {
            clock: self.started.elapsed(),
            unix: unix.unwrap_or_default().as_secs(),
        }
    }
}

fn next_attempt(attempt: &mut usize) -> Instant {
    let delay = RETRY_DELAYS[(*attempt).min(RETRY_DELAYS.len() - 1)];
    *attempt += 1;
    Instant::now() + Duration::from_millis(delay * rand::random_range(50..=150) / 100)
}

/// The next frame. `None`: the connection has ended.
async fn next(socket: &mut Option<Box<Signal>>) -> Option<Vec<u8>> {
    let Some(socket) = socket else {
        return std::future::pending().await;
    };
    loop {
        match socket.next().await {
            Some(Ok(Message::Binary(frame))) => return Some(frame.to_vec()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}
