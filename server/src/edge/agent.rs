//! `/agent`, to which workers of agents connect. Each has a task that pumps between its WebSocket and
//! [`crate::agents`].

use std::time::{Duration, Instant};

use axum::{
    body::Bytes,
    extract::{
        FromRequestParts, Query, Request,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code},
    },
    http::{StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use protocol::{
    error::Error,
    livekit::ServerMessage,
    signal::{Encoding, Frame, decode_worker_message, encode_server_message},
};
use signaling::MAX_WORKER_FRAME;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{Edge, rtc};
use crate::agents::{ToWorker, WorkerLine};

/// The time between two pings to a worker.
const PING_EVERY: Duration = Duration::from_secs(5);

/// The time after which a worker of which nothing was heard, not even the answer to a ping, is gone: others take over
/// its jobs.
const SILENCE: Duration = Duration::from_secs(15);

/// The time after which a worker that takes no bytes is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// `GET /agent`: the connection of a worker, whose token says that it is one.
pub(super) async fn connect(edge: Edge, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    let api_key = match admit(&edge, &parts) {
        Ok(api_key) => api_key,
        Err(error) => return refuse(&edge, &error),
    };
    let Ok(upgrade) = WebSocketUpgrade::from_request_parts(&mut parts, &()).await else {
        return rtc::cors(StatusCode::NOT_FOUND.into_response());
    };
    upgrade
        .max_message_size(MAX_WORKER_FRAME)
        .max_frame_size(MAX_WORKER_FRAME)
        .on_upgrade(move |socket| converse(edge, socket, api_key))
}

/// The API key of the worker's token.
fn admit(edge: &Edge, parts: &Parts) -> Result<String, Error> {
    let Query(parameters) = Query::<rtc::Parameters>::try_from_uri(&parts.uri).unwrap_or_default();
    let keys = &edge.0.keys;
    let (headers, extensions) = (&parts.headers, &parts.extensions);
    let grant = rtc::authenticate(headers, extensions, &parameters.access_token, keys)?
        .ok_or(Error::PermissionDenied)?;
    let video = grant.video();
    // The token of somebody in a room may have the same flag, but is for that room: a worker's token names none.
    let is_for_a_room = video.room_join || !video.room.is_empty();
    if !video.agent || is_for_a_room {
        return Err(Error::PermissionDenied);
    }
    match edge.0.rooms.is_closing() {
        true => Err(Error::ShuttingDown),
        false => Ok(grant.api_key),
    }
}

fn refuse(edge: &Edge, error: &Error) -> Response {
    let status = error.row().status;
    if let Some(more) = edge.0.refusals.pass(Instant::now()) {
        tracing::info!(status, %error, more, "an agent's worker is refused");
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    rtc::cors((status, error.to_string()).into_response())
}

async fn converse(edge: Edge, socket: WebSocket, api_key: String) {
    let line = edge.0.agents.connect(api_key).await;
    let mut task = WorkerTask {
        socket,
        line,
        encoding: None,
        heard: Instant::now(),
    };
    let reason = task.run().await;
    tracing::debug!(
        worker = task.line.id(),
        reason,
        "a worker's connection ended"
    );
    let WorkerTask { socket, line, .. } = task;
    line.end().await;
    drop(socket);
}

/// The task of one worker's connection.
struct WorkerTask {
    socket: WebSocket,
    line: WorkerLine,
    /// The encoding of both sides, which the worker's first message decides.
    encoding: Option<Encoding>,
    /// When something was last heard of the worker.
    heard: Instant,
}

impl WorkerTask {
    /// Runs until the connection ends, and says why it did.
    async fn run(&mut self) -> &'static str {
        let mut ping = interval(PING_EVERY);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        loop {
            let ended = tokio::select! {
                message = self.socket.recv() => self.hear(message).await,
                mail = self.line.mailbox.recv() => self.tell(mail).await,
                _ = ping.tick() => self.ping().await,
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
        let frame = match message {
            Some(Ok(Message::Binary(bytes))) => Frame::Binary(bytes),
            Some(Ok(Message::Text(text))) => Frame::Text(text.as_str().to_owned()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return Ok(()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err("closed"),
        };
        self.encoding.get_or_insert(frame.encoding());
        let Ok(message) = decode_worker_message(&frame) else {
            self.goodbye("malformed message").await;
            return Err("malformed");
        };
        // A message that this version does not know counts as absent.
        if let Some(message) = message.message {
            self.line.say(message).await;
        }
        Ok(())
    }

    async fn tell(&mut self, mail: Option<ToWorker>) -> Result<(), &'static str> {
        match mail {
            Some(ToWorker::Message(message)) => self.write(encode(&message, self.encoding)).await,
            Some(ToWorker::Close(fault)) => {
                self.goodbye(fault.as_str()).await;
                Err(fault.as_str())
            }
            None => Err("it does not read"),
        }
    }

    async fn ping(&mut self) -> Result<(), &'static str> {
        match self.heard.elapsed() > SILENCE {
            true => Err("silent"),
            false => self.write(Message::Ping(Bytes::new())).await,
        }
    }

    async fn write(&mut self, message: Message) -> Result<(), &'static str> {
        let written = timeout(WRITE_TIMEOUT, self.socket.send(message)).await;
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("closed"),
            Err(_) => Err("it does not read"),
        }
    }

    /// Tells the worker why the connection ends, and gives it a moment to read that.
    async fn goodbye(&mut self, reason: &'static str) {
        let close = Message::Close(Some(CloseFrame {
            code: close_code::POLICY,
            reason: reason.into(),
        }));
        let socket = &mut self.socket;
        let _ = timeout(WRITE_TIMEOUT, async {
            if socket.send(close).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        })
        .await;
    }
}

fn encode(message: &ServerMessage, encoding: Option<Encoding>) -> Message {
    match encode_server_message(message, encoding.unwrap_or_default()) {
        Frame::Binary(bytes) => Message::Binary(bytes),
        Frame::Text(text) => Message::Text(text.into()),
    }
}
