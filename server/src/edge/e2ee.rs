//! `/e2ee`: the connection of a participant to the delivery service of its encrypted meeting, with the token of the signal
//! connection.

use std::time::{Duration, Instant};

use axum::{
    body::Bytes,
    extract::{
        FromRequestParts, Query, Request,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    },
    http::{Method, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use node::RoomKey;
use protocol::{ParticipantIdentity, error::Error};
use signaling::delivery_service::MAX_FRAME;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Edge, rtc};
use crate::groups::GroupConnection;

/// The time between two pings: proxies between us and the client close connections that are silent.
const PING_EVERY: Duration = Duration::from_secs(10);

/// The time after which a client of which nothing was heard, not even the answer to a ping, is gone.
const SILENCE: Duration = Duration::from_secs(30);

/// The time in which a client must take one message.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// `GET /e2ee`.
pub(super) async fn connect(edge: Edge, request: Request) -> Response {
    if *request.method() == Method::OPTIONS {
        return rtc::preflight(request.headers());
    }
    let (mut parts, _) = request.into_parts();
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return rtc::cors(StatusCode::NOT_FOUND.into_response());
    };
    match admit(&edge, &parts) {
        Ok((key, identity)) => upgrade
            .max_message_size(MAX_FRAME)
            .max_frame_size(MAX_FRAME)
            .on_upgrade(move |socket| converse(edge, socket, key, identity)),
        Err(error) => rtc::refuse(&edge, &error),
    }
}

/// The meeting, and who the client is there. Whether it is there the room knows.
fn admit(edge: &Edge, parts: &Parts) -> Result<(RoomKey, ParticipantIdentity), Error> {
    let Query(parameters) = Query::<rtc::Parameters>::try_from_uri(&parts.uri).unwrap_or_default();
    let who = (&parts.headers, &parts.extensions);
    let grant = rtc::authenticate(who.0, who.1, &parameters.access_token, &edge.0.keys)?
        .ok_or(Error::NoRoomPermission)?;
    let room = rtc::check(&grant)?;
    edge.0.meetings.admits(&grant, &room)?;
    let key = RoomKey::new(&grant.api_key, room);
    edge.0.rooms.admits(&key, &grant.api_key)?;
    Ok((key, grant.identity()))
}

async fn converse(edge: Edge, socket: WebSocket, key: RoomKey, identity: ParticipantIdentity) {
    let Some(_alive) = edge.0.alive.upgrade() else {
        return;
    };
    let group = edge.0.rooms.groups().connect(&key, identity);
    let mut task = ConnectionTask {
        socket,
        group,
        heard: Instant::now(),
    };
    let stopping = edge.0.rooms.closing();
    let reason = tokio::select! {
        reason = task.run() => reason,
        () = stopping => "the server stops",
    };
    tracing::debug!(reason, "a connection to a delivery service ended");
    task.close().await;
}

struct ConnectionTask {
    socket: WebSocket,
    group: GroupConnection,
    /// When something was last heard of the client.
    heard: Instant,
}

impl ConnectionTask {
    /// Runs until the connection ends, and says why it did.
    async fn run(&mut self) -> &'static str {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        loop {
            let ended = tokio::select! {
                message = self.socket.recv() => self.hear(message).await,
                frame = self.group.recv() => match frame {
                    Some(frame) => self.write(Message::Binary(frame)).await,
                    None => Err("the delivery service has ended it"),
                },
                _ = ping.tick() => match self.heard.elapsed() > SILENCE {
                    true => Err("silent"),
                    false => self.write(Message::Ping(Bytes::new())).await,
                },
            };
            if let Err(reason) = ended {
                return reason;
            }
        }
    }

    async fn hear(
        &mut self,
        message: Option<Result<Message, axum::Error>>,
    ) -> Result<(), &'static str> {
        self.heard = Instant::now();
        match message {
            Some(Ok(Message::Binary(frame))) => self.group.say(frame).await,
            Some(Ok(Message::Text(_))) => return Err("messages are binary"),
            // They count as any other.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => self.group.say(Bytes::new()).await,
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err("closed"),
        }
        Ok(())
    }

    async fn write(&mut self, message: Message) -> Result<(), &'static str> {
        match timeout(WRITE_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("closed"),
            Err(_) => Err("it does not read"),
        }
    }

    /// Says goodbye, and gives the client a moment to hear it.
    async fn close(mut self) {
        let goodbye = Message::Close(Some(CloseFrame {
            code: close_code::NORMAL,
            reason: Utf8Bytes::default(),
        }));
        let socket = &mut self.socket;
        let _ = timeout(WRITE_TIMEOUT, async {
            if socket.send(goodbye).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        })
        .await;
    }
}
