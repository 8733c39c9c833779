//! Calls of the server API to rooms: one question, one answer.

use std::time::Instant;

use node::{RoomKey, Tenant};
use protocol::{error::Error, livekit};
use signaling::{ApiCall, ApiReply, RoomInput};
use tokio::sync::oneshot;

use super::{RoomMail, RoomSender, RoomTask, Rooms};

/// The sender of the answer.
pub(super) type ReplySender = oneshot::Sender<Result<ApiReply, Error>>;

type ReplyReceiver = oneshot::Receiver<Result<ApiReply, Error>>;

impl RoomSender {
    fn ask(&self, call: ApiCall) -> ReplyReceiver {
        let (reply, answer) = oneshot::channel();
        let _ = self.mail.send(RoomMail::Api(call, reply));
        answer
    }
}

impl Rooms {
    /// Asks the room of this key.
    ///
    /// # Errors
    /// [`Error::RoomNotFound`] where there is none, and errors of the room.
    pub async fn call(&self, room: &RoomKey, call: ApiCall) -> Result<ApiReply, Error> {
        let mailbox = self.find(room).ok_or(Error::RoomNotFound)?;
        // A room that ends before it answers was deleted or is idle.
        mailbox.ask(call).await.unwrap_or(Err(Error::RoomNotFound))
    }

    /// The room of this key, opened with these settings for this API key where there is none.
    ///
    /// # Errors
    /// As for [`Rooms::admits`].
    pub async fn create(
        &self,
        room: &RoomKey,
        settings: &livekit::RoomConfiguration,
        api_key: &str,
    ) -> Result<livekit::Room, Error> {
        loop {
            let mailbox =
                self.find_or_open(&mut self.0.directory(), room, Some(settings), api_key)?;
            // A room that has just ended makes way for a new one.
            match mailbox.ask(ApiCall::GetRoom).await {
                Ok(Ok(ApiReply::Room(room))) => return Ok(*room),
                _ if self.is_closing() => return Err(Error::ShuttingDown),
                _ => tokio::task::yield_now().await,
            }
        }
    }

    /// The open rooms of a tenant; those with these names, where names are given.
    pub async fn list(&self, tenant: &Tenant, names: &[String]) -> Vec<livekit::Room> {
        let mut rooms = Vec::new();
        for answer in self.ask_all(tenant, names) {
            if let Ok(Ok(ApiReply::Room(room))) = answer.await {
                rooms.push(*room);
            }
        }
        rooms.sort_by(|a, b| (a.creation_time_ms, &a.name).cmp(&(b.creation_time_ms, &b.name)));
        rooms
    }

    fn ask_all(&self, tenant: &Tenant, names: &[String]) -> Vec<ReplyReceiver> {
        let directory = self.0.directory();
        let is_named = |name: &str| names.is_empty() || names.iter().any(|n| n == name);
        let chosen = directory
            .iter()
            .filter(|(key, _)| key.tenant == *tenant && is_named(key.name.as_str()));
        chosen
            .map(|(_, mailbox)| mailbox.ask(ApiCall::GetRoom))
            .collect()
    }
}

impl RoomTask {
    pub(super) fn ask(&mut self, call: ApiCall, reply: ReplySender) {
        let id = self.next_call;
        self.next_call += 1;
        self.calls.insert(id, reply);
        self.room
            .handle(RoomInput::Api { id, call }, Instant::now());
    }

    pub(super) fn answer(&mut self, id: u64, reply: Result<ApiReply, Error>) {
        // The caller may have gone.
        let _ = self.calls.remove(&id).map(|sender| sender.send(reply));
    }
}
