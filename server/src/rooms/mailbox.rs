//! The mailbox of a session between two tasks: a [`Mailbox`] behind a lock, whose reader is woken.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use node::{Bounds, Line, Mail, Mailbox};
use tokio::sync::Notify;

use super::RoomSender;

/// Mail for a session's task.
pub type SessionMail = Mail<RoomSender>;

/// The room's end of a mailbox. When it is dropped, the session reads what is left, and then the end.
pub struct SessionSender(Arc<Shared>);

/// The session's end of a mailbox.
pub struct SessionReceiver(Arc<Shared>);

struct Shared {
    mailbox: Mutex<Mailbox<RoomSender>>,
    /// Signalled when there is mail, or never will be.
    ready: Notify,
    /// Signalled when the mail that waits is not to be read any more.
    cut_off: Notify,
}

/// A mailbox for a session.
pub fn session_mailbox() -> (SessionSender, SessionReceiver) {
    let shared = Arc::new(Shared {
        mailbox: Mutex::new(Mailbox::new(Bounds::SERVER)),
        ready: Notify::new(),
        cut_off: Notify::new(),
    });
    (SessionSender(shared.clone()), SessionReceiver(shared))
}

impl Line for SessionSender {
    type Room = RoomSender;

    fn with<T>(&self, act: impl FnOnce(&mut Mailbox<RoomSender>) -> T) -> T {
        let mut mailbox = self.0.mailbox();
        let result = act(&mut mailbox);
        let is_cut_off = mailbox.is_cut_off();
        drop(mailbox);
        self.0.ready.notify_one();
        if is_cut_off {
            self.0.cut_off.notify_one();
        }
        result
    }

    fn is_abandoned(&self) -> bool {
        self.0.mailbox().is_abandoned()
    }
}

impl Drop for SessionSender {
    fn drop(&mut self) {
        self.with(Mailbox::finish);
    }
}

impl SessionReceiver {
    /// Waits for mail. `None`: there will be none. Nothing is lost when the future is dropped.
    pub async fn recv(&mut self) -> Option<SessionMail> {
        loop {
            {
                let mut mailbox = self.0.mailbox();
                let mail = mailbox.pop();
                if mail.is_some() || mailbox.is_finished() {
                    return mail;
                }
            }
            self.0.ready.notified().await;
        }
    }

    /// Resolves when the room wants the session gone, whatever it has not read.
    pub fn cut_off(&self) -> impl Future<Output = ()> + use<> {
        let shared = self.0.clone();
        async move { shared.cut_off.notified().await }
    }

    /// The next mail, if there is any now.
    pub fn try_recv(&mut self) -> Option<SessionMail> {
        self.0.mailbox().pop()
    }
}

impl Drop for SessionReceiver {
    fn drop(&mut self) {
        self.0.mailbox().abandon();
    }
}

impl Shared {
    fn mailbox(&self) -> MutexGuard<'_, Mailbox<RoomSender>> {
        // Every change of the mailbox is complete before anything in it can panic.
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use node::Undelivered;
    use signaling::SessionMessage;

    fn mail() -> SessionMail {
        Mail::Message(SessionMessage::Close)
    }

    #[tokio::test]
    async fn what_was_sent_is_read_before_the_end() {
        let (sender, mut receiver) = session_mailbox();
        assert_eq!(sender.with(|it| it.push(mail())), Ok(()));
        let reader = tokio::spawn(async move {
            let first = receiver.recv().await.is_some();
            (first, receiver.recv().await.is_none())
        });
        tokio::task::yield_now().await;
        drop(sender);
        assert_eq!(reader.await.unwrap(), (true, true));
        let (sender, receiver) = session_mailbox();
        drop(receiver);
        let gone = Err(Undelivered::Gone);
        assert_eq!(sender.with(|it| it.push(mail())), gone);
    }

    #[tokio::test]
    async fn a_session_that_waits_for_mail_hears_that_it_is_cut_off() {
        let (sender, mut receiver) = session_mailbox();
        let mut cut_off = Box::pin(receiver.cut_off());
        sender.with(Mailbox::finish);
        assert!(cut_off.as_mut().now_or_never().is_none());
        sender.with(Mailbox::cut_off);
        assert!(receiver.recv().await.is_none());
        cut_off.await;
    }
}
