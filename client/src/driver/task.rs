//! The task between the participant and its sockets.

use std::{
    collections::VecDeque,
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures_util::{SinkExt, StreamExt};
use protocol::{livekit::SignalResponse, prost::Message};
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::{mpsc, oneshot},
    time::{sleep, sleep_until, timeout},
};
use tokio_tungstenite::tungstenite;

use super::{
    Call,
    link::{Endpoint, Signal},
};
use crate::{Error, Event, Participant, Reconnect};

/// The time in which the server's first message must come; LiveKit's clients wait as long.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The waits before each attempt to reconnect, milliseconds: those of LiveKit's clients.
const RETRY_DELAYS: [u64; 10] = [0, 300, 1200, 2700, 4800, 7000, 7000, 7000, 7000, 7000];

/// The number of attempts to resume before the session is given up for a new one.
const RESUME_ATTEMPTS: usize = 3;

/// Size of the receive buffer, bytes: larger than any datagram on an Ethernet path; DTLS flights and RTP are below
/// 1500.
const MAX_DATAGRAM: usize = 2048;

type Opening = Pin<Box<dyn Future<Output = Result<Signal, Error>> + Send>>;
type Ready = oneshot::Sender<Result<(), Error>>;

enum Link {
    Open(Box<Signal>),
    Opening(Opening),
    Closed,
}

/// An event that woke the task.
enum Wake {
    Datagram(std::io::Result<(usize, SocketAddr)>),
    Opened(Result<Box<Signal>, Error>),
    Message(Option<Result<tungstenite::Message, tungstenite::Error>>),
    Call(Option<Call>),
    EventRoom,
    Timeout,
}

/// The task of one participant: WebSocket, UDP socket and timers.
pub(super) struct Task {
    participant: Participant,
    endpoint: Endpoint,
    /// The token of the endpoint, for others.
    newest_token: Arc<Mutex<String>>,
    udp: UdpSocket,
    local: SocketAddr,
    /// See [`super::ConnectOptions`].
    gather_datagrams: Duration,
    calls: mpsc::Receiver<Call>,
    events: mpsc::Sender<Event>,
    /// Events that found no room.
    waiting: VecDeque<Event>,
    ready: Option<Ready>,
    link: Link,
    attempt: usize,
    /// When an open WebSocket must have brought its first message.
    respond_by: Option<Instant>,
    dropped: u64,
}

impl Task {
    pub(super) fn new(
        participant: Participant,
        (endpoint, newest_token): (Endpoint, Arc<Mutex<String>>),
        udp: UdpSocket,
        gather_datagrams: Duration,
        calls: mpsc::Receiver<Call>,
        events: mpsc::Sender<Event>,
        ready: Ready,
    ) -> Self {
        let local = udp
            .local_addr()
            .unwrap_or_else(|_| ([0, 0, 0, 0], 0).into());
        Self {
            participant,
            endpoint,
            newest_token,
            udp,
            local,
            gather_datagrams,
            calls,
            events,
            waiting: VecDeque::new(),
            ready: Some(ready),
            link: Link::Closed,
            attempt: 0,
            respond_by: None,
            dropped: 0,
        }
    }

    pub(super) async fn run(mut self, stream: TcpStream) {
        self.open(Some(stream));
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            self.flush().await;
            if self.participant.has_left() && self.waiting.is_empty() {
                break;
            }
            let wake = self.wait(&mut buffer).await;
            let now = Instant::now();
            match wake {
                Wake::Datagram(Ok((len, remote))) => {
                    let first = (remote, buffer[..len].to_vec());
                    self.receive(first, &mut buffer).await;
                }
                // The port was unreachable a moment ago; ICE decides whether that matters.
                Wake::Datagram(Err(error)) => tracing::debug!(%error, "receive"),
                Wake::Opened(Ok(signal)) => {
                    self.link = Link::Open(signal);
                    self.respond_by = Some(now + RESPONSE_TIMEOUT);
                }
                Wake::Opened(Err(error)) => self.on_open_failed(error, now),
                Wake::Message(message) => self.on_message(message, now),
                Wake::Call(Some(call)) => call(&mut self.participant, now),
                Wake::Call(None) => self.participant.leave(now),
                Wake::EventRoom => {}
                Wake::Timeout => {
                    if self.respond_by.is_some_and(|by| by <= now) {
                        self.lose_link(now);
                    }
                    self.participant.handle_timeout(now);
                }
            }
        }
        if let Link::Open(mut signal) = self.link {
            // The server may have closed first.
            let _ = timeout(Duration::from_secs(1), signal.close(None)).await;
        }
        if self.dropped > 0 {
            tracing::info!(dropped = self.dropped, "packets and frames nobody took");
        }
    }

    async fn wait(&mut self, buffer: &mut [u8]) -> Wake {
        let wakes = [self.participant.poll_timeout(), self.respond_by];
        let due = wakes.into_iter().flatten().min();
        let due = async {
            match due {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let link = async {
            match &mut self.link {
                Link::Open(signal) => Wake::Message(signal.next().await),
                Link::Opening(opening) => Wake::Opened(opening.await.map(Box::new)),
                Link::Closed => std::future::pending().await,
            }
        };
        tokio::select! {
            received = self.udp.recv_from(buffer) => Wake::Datagram(received),
            wake = link => wake,
            call = self.calls.recv() => Wake::Call(call),
            _ = self.events.reserve(), if !self.waiting.is_empty() => Wake::EventRoom,
            () = due => Wake::Timeout,
        }
    }

    /// Takes in a datagram and what has arrived in the meantime: many datagrams cost one turn of the loop.
    async fn receive(&mut self, first: (SocketAddr, Vec<u8>), buffer: &mut [u8]) {
        const MOST: usize = 64;
        if !self.gather_datagrams.is_zero() {
            sleep(self.gather_datagrams).await;
        }
        let mut datagrams = vec![first];
        while datagrams.len() < MOST
            && let Ok((len, remote)) = self.udp.try_recv_from(buffer)
        {
            datagrams.push((remote, buffer[..len].to_vec()));
        }
        let datagrams = datagrams
            .iter()
            .map(|(remote, payload)| (*remote, payload.as_slice()));
        self.participant
            .handle_datagrams(self.local, datagrams, Instant::now());
    }

    /// Sends and reports everything that the participant has to send and to report.
    async fn flush(&mut self) {
        while let Some(transmit) = self.participant.poll_transmit() {
            if let Err(error) = self.udp.send_to(&transmit.payload, transmit.remote).await {
                tracing::debug!(%error, "send");
            }
        }
        while let Some(event) = self.participant.poll_event() {
            self.on_event(event);
        }
        if let Link::Open(signal) = &mut self.link {
            let mut failed = false;
            let mut sent = false;
            while let Some(request) = self.participant.poll_signal() {
                let message = tungstenite::Message::Binary(request.encode_to_vec().into());
                failed |= signal.feed(message).await.is_err();
                sent = true;
            }
            failed |= sent && signal.flush().await.is_err();
            if failed {
                self.lose_link(Instant::now());
            }
        }
        while let Some(event) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
                self.waiting.push_front(event);
                break;
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match &event {
            Event::Connected => {
                self.attempt = 0;
                self.report_ready(Ok(()));
            }
            Event::Resumed => self.attempt = 0,
            Event::Left(reason) => {
                let reason = reason.as_str_name().to_owned();
                self.report_ready(Err(Error::Refused(reason)));
            }
            Event::TokenRefreshed(token) => {
                self.endpoint.token.clone_from(token);
                let newest = self.newest_token.lock();
                newest
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone_from(token);
            }
            Event::Reconnecting(kind) => {
                // Before the first connection the owner is told, and decides.
                if self.ready.is_some() {
                    self.report_ready(Err(self
                        .endpoint
                        .broken("closed before the connection was up")));
                    self.participant.leave(Instant::now());
                } else if *kind == Reconnect::Resume && self.attempt >= RESUME_ATTEMPTS {
                    self.participant.reconnect_fully(Instant::now());
                } else {
                    self.open(None);
                }
            }
            Event::Packet { .. } | Event::Frame { .. } => {
                if self.events.try_send(event).is_err() {
                    self.dropped += 1;
                }
                return;
            }
            _ => {}
        }
        // Where nobody listens any more, nothing is kept.
        if !self.events.is_closed() {
            self.waiting.push_back(event);
        }
    }

    fn on_message(
        &mut self,
        message: Option<Result<tungstenite::Message, tungstenite::Error>>,
        now: Instant,
    ) {
        let bytes = match message {
            Some(Ok(tungstenite::Message::Binary(bytes))) => bytes,
            Some(Ok(tungstenite::Message::Close(_)) | Err(_)) | None => return self.lose_link(now),
            Some(Ok(_)) => return,
        };
        self.respond_by = None;
        let taken = SignalResponse::decode(bytes)
            .map_err(|error| Error::Protocol(error.to_string()))
            .and_then(|response| self.participant.handle_signal(response, now));
        if let Err(error) = taken {
            tracing::warn!(%error, "message of the server");
            self.report_ready(Err(error));
        }
    }

    fn lose_link(&mut self, now: Instant) {
        self.link = Link::Closed;
        self.respond_by = None;
        self.participant.signal_lost(now);
    }

    fn on_open_failed(&mut self, error: Error, now: Instant) {
        self.link = Link::Closed;
        if self.ready.is_some() {
            self.report_ready(Err(error));
            return self.participant.leave(now);
        }
        tracing::debug!(%error, attempt = self.attempt, "reconnecting failed");
        self.participant.signal_lost(now);
    }

    /// Opens the WebSocket: at once on `stream`, or after a wait on a new one.
    fn open(&mut self, stream: Option<TcpStream>) {
        let Some(delay) = RETRY_DELAYS.get(self.attempt) else {
            tracing::warn!("the server stays away");
            return self.participant.leave(Instant::now());
        };
        // Random, so that not everybody comes back at once after a restart of the server.
        let delay = Duration::from_millis(delay * rand::random_range(50..=150) / 100);
        self.attempt += 1;
        let parameter = match self.participant.join_parameter(Instant::now()) {
            Ok(parameter) => parameter,
            Err(error) => {
                self.report_ready(Err(error));
                return self.participant.leave(Instant::now());
            }
        };
        let endpoint = self.endpoint.clone();
        self.link = Link::Opening(Box::pin(async move {
            let stream = match stream {
                Some(stream) => stream,
                None => {
                    sleep(delay).await;
                    endpoint.reach().await?
                }
            };
            timeout(RESPONSE_TIMEOUT, endpoint.open(stream, &parameter))
                .await
                .unwrap_or(Err(Error::Timeout("the WebSocket")))
        }));
    }

    fn report_ready(&mut self, result: Result<(), Error>) {
        if let Some(ready) = self.ready.take() {
            // The owner may have stopped waiting; then it is gone, and its calls with it.
            let _ = ready.send(result);
        }
    }
}
