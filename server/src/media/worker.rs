//! The life of one media thread: input, timers and output, in turns.

use std::{
    ops::ControlFlow,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{self, TrySendError},
    },
    time::{Duration, Instant},
};

use node::{
    HostedShard,
    turn::{
        ARRIVALS_PER_TURN, FLUSH_EVERY, MAX_BATCHES, RELAYED_PER_TURN, Rest, TIME_FOR_COMMANDS,
        by_number, by_time,
    },
};
use sfu::Datagram;

use crate::{
    links::datagrams,
    udp::{Batch, MediaSockets, Ready, Receiver, Wake},
};

use super::{
    Arrival, EventSender, Inbox, Mailbox, ShardFigures, ShardSettings, ToShard, turns::thread_time,
};

/// A media thread: its shard, sockets, links and queues.
pub(super) struct Worker {
    index: usize,
    inbox: Inbox,
    /// The mailboxes of all media threads, by index.
    mailboxes: Arc<[Mailbox]>,
    /// Packets for each of the other threads.
    relays: Vec<Vec<u8>>,
    sockets: Arc<MediaSockets>,
    figures: Arc<ShardFigures>,
    settings: ShardSettings,
    shard: HostedShard<EventSender>,
    batch: Batch,
    receiver: Receiver,
    /// [`TIME_FOR_COMMANDS`], or what a test says.
    time_for_commands: Duration,
}

impl Worker {
    pub(super) fn new(
        index: usize,
        inbox: Inbox,
        mailboxes: Arc<[Mailbox]>,
        sockets: Arc<MediaSockets>,
        figures: Arc<ShardFigures>,
        settings: ShardSettings,
    ) -> Self {
        Self {
            shard: HostedShard::new(settings.config(index, &sockets)),
            batch: Batch::new(sockets.clone()),
            receiver: Receiver::new(),
            time_for_commands: TIME_FOR_COMMANDS,
            index,
            inbox,
            relays: vec![Vec::new(); mailboxes.len()],
            mailboxes,
            sockets,
            figures,
            settings,
        }
    }

    pub(super) fn run(mut self) {
        // The engine contains the panic of one peer's call itself. A panic that gets through would otherwise end every
        // meeting of the process; here it ends those of this shard.
        while catch_unwind(AssertUnwindSafe(|| while self.turn() {})).is_err() {
            let peers = self.shard.peers();
            tracing::error!(
                shard = self.index,
                peers,
                "a media thread panicked and starts anew"
            );
            self.restart();
        }
    }

    fn restart(&mut self) {
        let config = self.settings.config(self.index, &self.sockets);
        self.shard.restart(config);
        self.batch = Batch::new(self.sockets.clone());
        self.deliver();
        self.figures.restarts.fetch_add(1, Relaxed);
    }

    /// Waits for something to do and does it. False: the thread is to end.
    fn turn(&mut self) -> bool {
        let due = self.shard.state().poll_timeout().map(|(at, _)| at);
        let timeout = due.map(|at| at.saturating_duration_since(Instant::now()));
        let wake = &self.mailboxes[self.index].wake;
        let ready = match self.sockets.wait(wake, timeout) {
            Ok(ready) => ready,
            Err(error) => {
                // Only a broken descriptor set leads here; do not spin over it.
                tracing::error!(shard = self.index, %error, "cannot wait for datagrams");
                std::thread::sleep(Duration::from_millis(10));
                Ready::NONE
            }
        };
        let (start, processor) = (Instant::now(), thread_time());
        for index in 0..self.sockets.len() {
            if ready.readable(index) {
                self.receive(index);
            }
        }
        if ready.woken() {
            self.wake().clear();
            if !self.carry_out() {
                return false;
            }
            self.receive_links();
            self.receive_relayed();
        }
        let now = Instant::now();
        let shard = self.shard.shard();
        if shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
            shard.handle_timeout(now, &mut self.batch);
        }
        self.batch.send();
        self.relay();
        self.deliver();
        let figures = &self.figures;
        figures.turns.fetch_add(1, Relaxed);
        figures
            .turn_times
            .observe(thread_time().saturating_sub(processor));
        figures
            .busy_nanos
            .fetch_add(start.elapsed().as_nanos() as u64, Relaxed);
        let late = due.map_or(0, |at| now.saturating_duration_since(at).as_nanos() as u64);
        figures.late_nanos.fetch_add(late, Relaxed);
        true
    }

    fn receive(&mut self, index: usize) {
        for _ in 0..MAX_BATCHES {
            let now = Instant::now();
            let (shard, batch) = (self.shard.shard(), &mut self.batch);
            let mut count = 0;
            let more = self.receiver.receive(&self.sockets, index, |datagram| {
                shard.handle_datagram(datagram, now, batch);
                count += 1;
                if count % FLUSH_EVERY == 0 {
                    shard.flush(now, batch);
                }
            });
            if count > 0 {
                self.shard.shard().flush(now, &mut self.batch);
                self.batch.send();
                self.relay();
            }
            if !more {
                return;
            }
        }
    }

    /// Hands events to the rooms that they are for.
    fn deliver(&mut self) {
        while let Some((mailbox, event)) = self.shard.poll_event() {
            let _ = mailbox.send(event);
        }
    }

    /// Takes the frames that came over connections and allocations.
    fn receive_links(&mut self) {
        let now = Instant::now();
        let (shard, batch) = (self.shard.shard(), &mut self.batch);
        let next = || self.inbox.arrived.try_recv().ok();
        let rest = by_number(ARRIVALS_PER_TURN, next, |Arrival { link, frames }| {
            batch.links.learn(&link);
            let path = link.path();
            for payload in datagrams(&frames) {
                let datagram = Datagram {
                    remote: path.remote,
                    local: path.local,
                    protocol: path.protocol,
                    payload,
                };
                shard.handle_datagram(datagram, now, batch);
            }
        });
        shard.flush(now, batch);
        self.wait_for_turn(rest);
    }

    /// Takes the packets of other media threads for rooms of this one.
    fn receive_relayed(&mut self) {
        let now = Instant::now();
        let (shard, batch) = (self.shard.shard(), &mut self.batch);
        let next = || self.inbox.relayed.try_recv().ok();
        let rest = by_number(RELAYED_PER_TURN, next, |packets| {
            for packet in datagrams(&packets) {
                shard.handle_relayed(packet, now, batch);
            }
            shard.flush(now, batch);
        });
        self.wait_for_turn(rest);
    }

    /// What is left has its turn after the datagrams that came meanwhile.
    fn wait_for_turn(&self, rest: Rest) {
        if rest == Rest::Waits {
            self.wake().signal();
        }
    }

    /// Hands over the packets of this shard for others, in one batch for each.
    fn relay(&mut self) {
        let shard = self.shard.shard();
        while let Some((shard, request)) = shard.poll_request() {
            if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
                mailbox.send(ToShard::Command(request.into()));
            }
        }
        let relays = &mut self.relays;
        shard.drain_relayed(|shard, packet| {
            // Framed as on a connection (RFC 4571).
            if let (Some(batch), Ok(len)) = (
                relays.get_mut(usize::from(shard)),
                u16::try_from(packet.len()),
            ) {
                batch.extend_from_slice(&len.to_be_bytes());
                batch.extend_from_slice(packet);
            }
        });
        for (batch, mailbox) in self.relays.iter_mut().zip(&*self.mailboxes) {
            if batch.is_empty() {
                continue;
            }
            let unsent = mailbox.relayed.try_send(std::mem::take(batch));
            if let Err(TrySendError::Full(packets) | TrySendError::Disconnected(packets)) = unsent {
                let lost = datagrams(&packets).count() as u64;
                self.figures.dropped_relayed.fetch_add(lost, Relaxed);
            }
            mailbox.wake.signal();
        }
    }

    fn wake(&self) -> &Wake {
        &self.mailboxes[self.index].wake
    }

    /// Carries out commands. False: the thread is to end.
    fn carry_out(&mut self) -> bool {
        let (shard, batch, figures) = (&mut self.shard, &mut self.batch, &self.figures);
        let count = |shard: &HostedShard<_>| figures.peers.store(shard.peers(), Relaxed);
        let next = || match self.inbox.queue.try_recv() {
            Ok(message) => Some(message),
            Err(mpsc::TryRecvError::Empty) => None,
            Err(mpsc::TryRecvError::Disconnected) => Some(ToShard::Stop),
        };
        let rest = by_time(
            self.time_for_commands,
            Instant::now,
            next,
            |message, now| {
                match message {
                    ToShard::Command(command) => shard.handle_command(command, now, batch),
                    ToShard::Open(room, events) => shard.open(room, events),
                    ToShard::Report(reply) => {
                        // The caller that gets the answer sees the figures of the same moment.
                        count(shard);
                        // The caller may have given up waiting.
                        drop(reply.try_send(shard.state().stats()));
                    }
                    ToShard::CloseLink(link) => batch.links.forget(&link),
                    #[cfg(test)]
                    ToShard::Panic => panic!("asked to"),
                    ToShard::Stop => return ControlFlow::Break(()),
                }
                ControlFlow::Continue(())
            },
        );
        count(shard);
        self.wait_for_turn(rest);
        rest != Rest::Stop
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use protocol::ParticipantSid;
    use rand::{SeedableRng, rngs::StdRng};
    use sfu::{DataCommand, ShardCommand};

    use super::*;
    use crate::media::bind;

    #[test]
    fn commands_take_turns_with_datagrams_by_their_time() {
        let sockets = bind(&[Ipv4Addr::LOCALHOST.into()], 0, 1).unwrap();
        let settings = ShardSettings::small();
        let (commands, queue) = mpsc::channel();
        let (_arrivals, arrived) = mpsc::sync_channel(1);
        let (relays, relayed) = mpsc::sync_channel(1);
        let mailbox = Mailbox {
            commands,
            relayed: relays,
            wake: Arc::new(Wake::new().unwrap()),
        };
        let inbox = Inbox {
            queue,
            arrived,
            relayed,
        };
        let mailboxes: Arc<[Mailbox]> = vec![mailbox].into();
        let sockets = Arc::new(sockets.into_iter().next().unwrap());
        let figures = Arc::new(ShardFigures::default());
        let all = mailboxes.clone();
        let mut worker = Worker::new(0, inbox, all, sockets, figures, settings);

        let mut rng = StdRng::seed_from_u64(1);
        let busy = ParticipantSid::random(&mut rng);
        let mut ask = |count: u32, time: Duration| {
            worker.time_for_commands = time;
            for _ in 0..count {
                let command = ShardCommand::Data(DataCommand::AwaitReply { peer: busy });
                mailboxes[0].send(ToShard::Command(command));
            }
            let (reply, answer) = mpsc::sync_channel(1);
            mailboxes[0].send(ToShard::Report(reply));
            let mut turns = 1;
            assert!(worker.turn());
            while answer.try_recv().is_err() {
                turns += 1;
                assert!(worker.turn());
            }
            turns
        };
        assert_eq!(
            ask(160, Duration::from_secs(60)),
            1,
            "there is time for all"
        );
        let turns = ask(160, Duration::ZERO);
        assert!(
            turns > 100,
            "there is time for one, or for none more: {turns}"
        );
    }
}
