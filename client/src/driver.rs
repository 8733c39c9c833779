//! A participant with sockets: one WebSocket, one UDP socket, one task.
//!
//! [`Client::connect`] returns when ICE and DTLS are up. From then on the owner reads [`Client::next_event`] and calls
//! the methods of its [`Handle`], which may be cloned. Broken connections are resumed or made anew by the task.

mod group;
mod link;
mod play;
mod task;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use e2ee::{
    client::{Client as GroupClient, Now, Wish},
    identity::Identity,
};
use protocol::{
    TrackSid,
    livekit::{DataPacket, UserPacket, data_packet},
};
use tokio::{
    net::UdpSocket,
    sync::{mpsc, oneshot},
    time::timeout,
};

pub use play::{play_picture, play_tone};

use crate::{
    Error, Event, Options, Participant, Publish, Stats, TrackSetting,
    media::{AudioLevel, Layer, OutgoingPacket},
    peer_connection::DataChannel,
};

/// The longest time from the WebSocket's opening to a running connection; LiveKit's clients wait as long.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// The most events that wait for the owner. Media beyond that is dropped, everything else waits.
const EVENT_QUEUE: usize = 4096;

/// The most calls that wait for the task.
const COMMAND_QUEUE: usize = 256;

/// Options of [`Client::connect`].
#[derive(Debug, Default)]
pub struct ConnectOptions {
    /// The participant's options. There is one socket, for datagrams: [`Options::subscriber`] and
    /// [`crate::PeerConfig::tcp`] are not heeded.
    pub participant: Options,
    /// In an encrypted meeting: who we are in its group. The participant is [`Options::encrypted`] then.
    pub group: Option<GroupOptions>,
    /// Our address for media. `None`: the one from which the server was reached.
    pub local: Option<IpAddr>,
    /// The time that datagrams gather after the first before they are read: less work for each where one machine is
    /// many participants, and as much delay.
    pub gather_datagrams: Duration,
}

/// Who somebody is in the group of an encrypted meeting.
#[derive(Debug)]
pub struct GroupOptions {
    /// The identity of the token, with a signature key.
    pub identity: Identity,
    /// What is wanted of the group.
    pub wish: Wish,
    /// A ticket that was kept ([`e2ee::client::Event::Ticket`]).
    pub ticket: Option<Vec<u8>>,
}

type GroupCall = Box<dyn FnOnce(&mut GroupClient, Now) + Send>;

type Call = Box<dyn FnOnce(&mut Participant, Instant) + Send>;

/// A connected participant and its events.
#[derive(Debug)]
pub struct Client {
    handle: Handle,
    events: mpsc::Receiver<Event>,
}

/// A handle to a connected participant. The last one dropped (with its [`Client`]) leaves the room.
#[derive(Debug, Clone)]
pub struct Handle {
    calls: mpsc::Sender<Call>,
    group: Option<mpsc::Sender<GroupCall>>,
}

impl Client {
    /// Joins the room of `token` at `url` (`ws://host:port`, a path prefix is kept; `http://` means the same).
    ///
    /// # Errors
    /// [`Error::Signal`] and [`Error::Socket`] when there is no way to the server, [`Error::Refused`] when it does not
    /// take us, [`Error::Timeout`] when ICE or DTLS do not come up.
    pub async fn connect(url: &str, token: &str, options: ConnectOptions) -> Result<Self, Error> {
        let mut endpoint = link::Endpoint::parse(url, token)?;
        endpoint.mls = options.group.is_some();
        let stream = endpoint.reach().await?;
        let local = match options.local {
            Some(local) => local,
            None => stream
                .local_addr()
                .map_err(|error| endpoint.broken(error))?
                .ip(),
        };
        let bind = (local, 0).into();
        let refused = |source| Error::Socket {
            address: bind,
            source,
        };
        let udp = UdpSocket::bind(bind).await.map_err(refused)?;
        let address = udp.local_addr().map_err(refused)?;
        let mut settings = options.participant;
        // There is one socket, for datagrams.
        (settings.subscriber, settings.peer.tcp) = (None, false);
        settings.encrypted = options.group.is_some();
        let participant = Participant::new(settings, address, Instant::now())?;
        let (calls, call_queue) = mpsc::channel(COMMAND_QUEUE);
        let (event_sender, events) = mpsc::channel(EVENT_QUEUE);
        let (ready_sender, ready) = oneshot::channel();
        let newest_token = Arc::new(Mutex::new(token.to_owned()));
        let group = options.group.map(|group| {
            let (group_calls, group_queue) = mpsc::channel(COMMAND_QUEUE);
            let task = group::Task {
                client: GroupClient::new(group.identity, group.wish, group.ticket.as_deref()),
                endpoint: endpoint.clone(),
                token: newest_token.clone(),
                participant: calls.downgrade(),
                calls: group_queue,
                events: event_sender.clone(),
                started: Instant::now(),
            };
            tokio::spawn(task.run());
            group_calls
        });
        let task = task::Task::new(
            participant,
            (endpoint, newest_token),
            udp,
            options.gather_datagrams,
            call_queue,
            event_sender,
            ready_sender,
        );
        tokio::spawn(task.run(stream));
        let handle = Handle { calls, group };
        match timeout(CONNECT_TIMEOUT, ready).await {
            Ok(Ok(result)) => result.map(|()| Self { handle, events }),
            Ok(Err(_)) => Err(Error::Ended),
            Err(_) => Err(Error::Timeout("ICE and DTLS")),
        }
    }

    /// The next event; `None` after the session ended.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The first of the next events that `wanted` takes.
    ///
    /// # Errors
    /// [`Error::Timeout`] naming `what` when it does not come in time, [`Error::Ended`] when it cannot come any more.
    pub async fn wait_for<R>(
        &mut self,
        what: &'static str,
        within: Duration,
        mut wanted: impl FnMut(Event) -> Option<R>,
    ) -> Result<R, Error> {
        let search = async {
            while let Some(event) = self.events.recv().await {
                if let Some(found) = wanted(event) {
                    return Ok(found);
                }
            }
            Err(Error::Ended)
        };
        timeout(within, search)
            .await
            .unwrap_or(Err(Error::Timeout(what)))
    }

    /// A handle for use by other tasks.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Leaves the room and waits until the goodbye is sent.
    pub async fn leave(mut self) {
        // An error means that it has ended already.
        let _ = self
            .handle
            .call(|participant, now| participant.leave(now))
            .await;
        while self.events.recv().await.is_some() {}
    }
}

impl std::ops::Deref for Client {
    type Target = Handle;

    fn deref(&self) -> &Handle {
        &self.handle
    }
}

impl Handle {
    /// Runs `f` on the participant, in its task.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session has ended.
    pub async fn call<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut Participant, Instant) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let (reply, result) = oneshot::channel();
        let call = Box::new(move |participant: &mut Participant, now: Instant| {
            // Sending fails when the caller was dropped.
            let _ = reply.send(f(participant, now));
        });
        self.calls.send(call).await.map_err(|_| Error::Ended)?;
        result.await.map_err(|_| Error::Ended)
    }

    /// Runs `f` on our side of an encrypted meeting's group, in its task.
    ///
    /// # Errors
    /// [`Error::Ended`] when there is none, or the session has ended.
    pub async fn group<R: Send + 'static>(
        &self,
        f: impl FnOnce(&mut GroupClient, Now) -> R + Send + 'static,
    ) -> Result<R, Error> {
        let group = self.group.as_ref().ok_or(Error::Ended)?;
        let (reply, result) = oneshot::channel();
        let call = Box::new(move |client: &mut GroupClient, now: Now| {
            // Sending fails when the caller was dropped.
            let _ = reply.send(f(client, now));
        });
        group.send(call).await.map_err(|_| Error::Ended)?;
        result.await.map_err(|_| Error::Ended)
    }

    /// Publishes a track; returns our id of it. [`Event::TrackPublished`] says when to write.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session has ended.
    pub async fn publish(&self, publish: Publish) -> Result<String, Error> {
        self.call(move |participant, now| participant.publish(publish, now))
            .await
    }

    /// See [`Participant::unpublish`].
    ///
    /// # Errors
    /// As there, and [`Error::Ended`].
    pub async fn unpublish(&self, cid: &str) -> Result<(), Error> {
        let cid = cid.to_owned();
        self.call(move |participant, now| participant.unpublish(&cid, now))
            .await?
    }

    /// See [`Participant::set_muted`].
    ///
    /// # Errors
    /// As there, and [`Error::Ended`].
    pub async fn set_muted(&self, cid: &str, muted: bool) -> Result<(), Error> {
        let cid = cid.to_owned();
        self.call(move |participant, _| participant.set_muted(&cid, muted))
            .await?
    }

    /// See [`Participant::set_subscribed`].
    ///
    /// # Errors
    /// [`Error::Ended`] when the session has ended.
    pub async fn set_subscribed(
        &self,
        tracks: Vec<TrackSid>,
        subscribe: bool,
    ) -> Result<(), Error> {
        self.call(move |participant, _| participant.set_subscribed(&tracks, subscribe))
            .await
    }

    /// See [`Participant::set_track_setting`].
    ///
    /// # Errors
    /// [`Error::Ended`] when the session has ended.
    pub async fn set_track_setting(
        &self,
        track: TrackSid,
        setting: TrackSetting,
    ) -> Result<(), Error> {
        self.call(move |participant, _| participant.set_track_setting(track, setting))
            .await
    }

    /// See [`Participant::write_rtp`].
    ///
    /// # Errors
    /// As there, and [`Error::Ended`].
    pub async fn write_rtp(
        &self,
        cid: &str,
        layer: Option<Layer>,
        packet: OutgoingPacket,
    ) -> Result<(), Error> {
        let cid = cid.to_owned();
        self.call(move |participant, now| participant.write_rtp(&cid, layer, packet, now))
            .await?
    }

    /// See [`Participant::write_frame`].
    ///
    /// # Errors
    /// As there, and [`Error::Ended`].
    pub async fn write_frame(
        &self,
        cid: &str,
        layer: Option<Layer>,
        frame: Vec<u8>,
        timestamp: u32,
        level: Option<AudioLevel>,
    ) -> Result<(), Error> {
        let cid = cid.to_owned();
        self.call(move |participant, now| {
            participant.write_frame(&cid, layer, &frame, timestamp, level, now)
        })
        .await?
    }

    /// Sends a data packet on `_reliable` or `_lossy`.
    ///
    /// # Errors
    /// As [`Participant::send_data`], and [`Error::Ended`].
    pub async fn send_data(&self, channel: DataChannel, packet: DataPacket) -> Result<(), Error> {
        self.call(move |participant, now| participant.send_data(channel, packet, now))
            .await?
    }

    /// Sends `payload` to everybody in the room.
    ///
    /// # Errors
    /// As [`Self::send_data`].
    pub async fn send_user_data(
        &self,
        channel: DataChannel,
        topic: &str,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        let user = UserPacket {
            payload,
            topic: Some(topic.to_owned()),
            ..Default::default()
        };
        let packet = DataPacket {
            value: Some(data_packet::Value::User(user)),
            ..Default::default()
        };
        self.send_data(channel, packet).await
    }

    /// The figures up to now.
    ///
    /// # Errors
    /// [`Error::Ended`] when the session has ended.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.call(|participant, _| participant.stats()).await
    }
}
