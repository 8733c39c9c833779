//! The life of one media thread: input, timers and output, in turns.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering::Relaxed,
        mpsc::{self, TrySendError},
    },
    time::{Duration, Instant},
};

use protocol::{ParticipantSid, RoomSid};
use sfu::{Command, Datagram, DisconnectReason, Event, Shard};

use crate::{
    links::datagrams,
    udp::{Batch, MediaSockets, Ready, Receiver, Wake},
};

use super::{
    Arrival, EventSender, Inbox, Mailbox, ShardFigures, ShardSettings, ToShard, turns::thread_time,
};

/// The number of datagrams between two flushes: as many as the shard's fan-out works on at once.
const FLUSH_EVERY: usize = 64;

/// The most receive batches of one socket before timers and commands have their turn.
const MAX_BATCHES: usize = 16;

/// The time for commands before datagrams have their turn: others must not wait for the work that somebody causes. A
/// command that has begun is finished, however many participants it concerns.
const TIME_FOR_COMMANDS: Duration = Duration::from_millis(1);

/// The most arrivals over links before datagrams have their turn.
const ARRIVALS_PER_TURN: usize = 256;

/// The most batches from other media threads before datagrams have their turn.
const RELAYED_PER_TURN: usize = 64;

/// The rooms of participants on a shard: an event names a participant, whose room has the mailbox.
#[derive(Default)]
struct Members {
    rooms: HashMap<RoomSid, EventSender>,
    peers: HashMap<ParticipantSid, RoomSid>,
}

impl Members {
    /// Learns from a command that passes by.
    fn observe(&mut self, command: &Command) {
        match command {
            Command::AddPeer { room, peer, .. } | Command::AddRelayedPeer { room, peer, .. } => {
                self.peers.insert(*peer, *room);
            }
            Command::RemovePeer { peer } => {
                self.peers.remove(peer);
            }
            Command::CloseRoom { room } => {
                self.rooms.remove(room);
                self.peers.retain(|_, of| of != room);
            }
            _ => {}
        }
    }

    fn deliver(&self, event: Event) {
        let of_peer = |peer| self.peers.get(&peer).copied();
        let room = event.peer().map_or(event.room(), of_peer);
        // An event about a participant that is gone crossed with the command that removed it.
        if let Some(mailbox) = room.and_then(|room| self.rooms.get(&room)) {
            let _ = mailbox.send(event);
        }
    }
}

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
    shard: Shard,
    batch: Batch,
    receiver: Receiver,
    members: Members,
    /// See [`TIME_FOR_COMMANDS`].
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
            shard: new_shard(index, &settings, &sockets),
            batch: Batch::new(sockets.clone()),
            receiver: Receiver::new(),
            members: Members::default(),
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
            let peers = self.members.peers.len();
            tracing::error!(
                shard = self.index,
                peers,
                "a media thread panicked and starts anew"
            );
            self.restart();
        }
    }

    fn restart(&mut self) {
        self.shard = new_shard(self.index, &self.settings, &self.sockets);
        self.batch = Batch::new(self.sockets.clone());
        for &peer in self.members.peers.keys() {
            self.members.deliver(Event::Disconnected {
                peer,
                reason: DisconnectReason::Internal,
            });
        }
        self.figures.restarts.fetch_add(1, Relaxed);
    }

    /// Waits for something to do and does it. False: the thread is to end.
    fn turn(&mut self) -> bool {
        let due = self.shard.poll_timeout().map(|(at, _)| at);
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
        if self.shard.poll_timeout().is_some_and(|(at, _)| at <= now) {
            self.shard.handle_timeout(now, &mut self.batch);
        }
        self.batch.send();
        self.relay();
        while let Some(event) = self.shard.poll_event() {
            self.members.deliver(event);
        }
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
            let (shard, batch) = (&mut self.shard, &mut self.batch);
            let mut count = 0;
            let more = self.receiver.receive(&self.sockets, index, |datagram| {
                shard.handle_datagram(datagram, now, batch);
                count += 1;
                if count % FLUSH_EVERY == 0 {
                    shard.flush(now, batch);
                }
            });
            if count > 0 {
                self.shard.flush(now, &mut self.batch);
                self.batch.send();
                self.relay();
            }
            if !more {
                return;
            }
        }
    }

    /// Takes the frames that came over connections and allocations.
    fn receive_links(&mut self) {
        let now = Instant::now();
        for count in 0..=ARRIVALS_PER_TURN {
            if count == ARRIVALS_PER_TURN {
                // The rest has its turn after the datagrams that came meanwhile.
                self.wake().signal();
                break;
            }
            let Ok(Arrival { link, frames }) = self.inbox.arrived.try_recv() else {
                break;
            };
            self.batch.links.learn(&link);
            let path = link.path();
            for payload in datagrams(&frames) {
                let datagram = Datagram {
                    remote: path.remote,
                    local: path.local,
                    protocol: path.protocol,
                    payload,
                };
                self.shard.handle_datagram(datagram, now, &mut self.batch);
            }
        }
        self.shard.flush(now, &mut self.batch);
    }

    /// Takes the packets of other media threads for rooms of this one.
    fn receive_relayed(&mut self) {
        let now = Instant::now();
        for count in 0..=RELAYED_PER_TURN {
            if count == RELAYED_PER_TURN {
                // The rest has its turn after the datagrams that came meanwhile.
                self.wake().signal();
                break;
            }
            let Ok(packets) = self.inbox.relayed.try_recv() else {
                break;
            };
            for packet in datagrams(&packets) {
                self.shard.handle_relayed(packet, now, &mut self.batch);
            }
            self.shard.flush(now, &mut self.batch);
        }
    }

    /// Hands over the packets of this shard for others, in one batch for each.
    fn relay(&mut self) {
        while let Some((shard, request)) = self.shard.poll_request() {
            if let Some(mailbox) = self.mailboxes.get(usize::from(shard)) {
                mailbox.send(ToShard::Command(request));
            }
        }
        let relays = &mut self.relays;
        self.shard.drain_relayed(|shard, packet| {
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
        let began = Instant::now();
        let mut now = began;
        while now.saturating_duration_since(began) <= self.time_for_commands {
            match self.inbox.queue.try_recv() {
                Ok(ToShard::Command(command)) => {
                    self.members.observe(&command);
                    self.shard.handle_command(command, now, &mut self.batch);
                }
                Ok(ToShard::Open(room, events)) => {
                    self.members.rooms.insert(room, events);
                }
                Ok(ToShard::Report(reply)) => {
                    // The caller that gets the answer sees the figures of the same moment.
                    self.count();
                    // The caller may have given up waiting.
                    drop(reply.try_send(self.shard.stats()));
                }
                Ok(ToShard::CloseLink(link)) => self.batch.links.forget(&link),
                #[cfg(test)]
                Ok(ToShard::Panic) => panic!("asked to"),
                Ok(ToShard::Stop) | Err(mpsc::TryRecvError::Disconnected) => return false,
                Err(mpsc::TryRecvError::Empty) => {
                    self.count();
                    return true;
                }
            }
            now = Instant::now();
        }
        // The rest has its turn after the datagrams that came meanwhile.
        self.wake().signal();
        true
    }

    fn count(&self) {
        self.figures.peers.store(self.members.peers.len(), Relaxed);
    }
}

fn new_shard(index: usize, settings: &ShardSettings, sockets: &MediaSockets) -> Shard {
    Shard::new(settings.config(index, sockets))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use rand::{SeedableRng, rngs::StdRng};

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
                let command = Command::AwaitReply { peer: busy };
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
