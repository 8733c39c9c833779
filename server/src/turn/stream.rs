//! TURN over TLS: one task for each connection.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};
use turn::stun::stream_message_len;

use super::{Client, TurnServer, moment};
use crate::links::{MAX_FRAMED, link_queue};

/// The time after which a client without an allocation is closed.
const ALLOCATE_TIMEOUT: Duration = Duration::from_secs(30);

/// The time after which a client that takes no bytes is gone.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The longest message: a datagram with its headers.
const MAX_MESSAGE: usize = MAX_FRAMED + 512;

impl TurnServer {
    /// Serves one connection until it ends. `guard` is dropped when the client has an allocation.
    pub async fn serve_stream<S>(self: Arc<Self>, stream: S, remote: SocketAddr, guard: impl Send)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let (mut reader, mut writer) = tokio::io::split(stream);
        let (sender, mut queue) = link_queue();
        let mut client = Client::new(self, remote, sender);
        let mut buffer = Vec::with_capacity(2 * MAX_MESSAGE);
        let mut guard = Some(guard);
        let mut deadline = Instant::now() + ALLOCATE_TIMEOUT;
        loop {
            let mut out = Vec::new();
            tokio::select! {
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) || !take_messages(&mut buffer, &mut client, &mut out) {
                        return;
                    }
                }
                Some(outgoing) = queue.recv() => {
                    let now = Instant::now();
                    client.wrap(&outgoing, true, now, |message| out.extend_from_slice(message));
                    queue.sent(outgoing.frames.len());
                }
                () = tokio::time::sleep_until(deadline.into()) => return,
            }
            if let Some(expires) = client.association.expires() {
                guard.take();
                deadline = expires;
            }
            if out.is_empty() {
                continue;
            }
            let written = async {
                writer.write_all(&out).await?;
                writer.flush().await
            };
            if !matches!(timeout(STALL_TIMEOUT, written).await, Ok(Ok(()))) {
                return;
            }
        }
    }
}

/// Handles the complete messages at the start of `buffer`. False: the next bytes are no message.
fn take_messages(buffer: &mut Vec<u8>, client: &mut Client, out: &mut Vec<u8>) -> bool {
    let moment = moment();
    let mut start = 0;
    loop {
        let rest = &buffer[start..];
        let len = match stream_message_len(rest) {
            Ok(Some(len)) if len <= MAX_MESSAGE => len,
            Ok(None) => break,
            _ => return false,
        };
        let Some(message) = rest.get(..len) else {
            break;
        };
        if let Some(reply) = client.handle(message, moment) {
            out.extend_from_slice(&reply);
        }
        start += len;
    }
    buffer.drain(..start);
    true
}
