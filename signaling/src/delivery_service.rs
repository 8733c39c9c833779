//! The delivery service of one encrypted meeting (RFC 9750): it orders the messages of the group, checks them on what is public
//! of it, and says who is to commit. It can read nothing that members say, and let nobody in; members check the same.
//!
//! Verbs have files of their own: `connect` (who comes and goes), `found`, `join`, `commit` and `restore`.

mod api;
mod commit;
mod connect;
mod connection;
mod found;
mod join;
mod log;
mod record;
mod restore;
mod waiting;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use e2ee::{
    identity::Identity,
    messages::{self, client_message, server_message},
    ordering::{Ordering, Step},
    public_group::{Origin, PublicGroup},
};
use protocol::{ParticipantIdentity, budget::Budget};
use rand::{Rng, SeedableRng, rngs::StdRng};

pub use self::{
    api::{ConnectionId, GroupInput, GroupOutput},
    log::LogEntry,
    record::{Record, Saved, Snapshot},
};
pub use e2ee::{messages::MAX_CLIENT_BYTES as MAX_FRAME, profile::Profile};

use self::{connection::Connection, log::Log, waiting::Waiting};
use crate::clock::{Clock, earliest};

/// The time in which the founder has to found the group. After it the next one is asked as well.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// The time in which who has a leaf or a connection has to be in the meeting.
const ARRIVE_WITHIN: Duration = Duration::from_secs(30);

/// The most bytes of what a member says at once: it goes to all others.
const MAX_SAID: usize = 64 * 1024;

/// The most epochs a second in the long run: keys of the last ten seconds must differ in the lowest eight bits of their epochs.
const EPOCHS_PER_SECOND: u32 = 4;

/// The most epochs at once.
const EPOCH_BURST: u32 = 40;

/// The delivery service of one meeting.
pub struct DeliveryService {
    profile: Profile,
    /// The group's id.
    id: Vec<u8>,
    me: Identity,
    group: Option<PublicGroup>,
    /// Its members: leaf and signature key of each identity.
    members: BTreeMap<Vec<u8>, (u32, Vec<u8>)>,
    ordering: Ordering<ConnectionId>,
    log: Log,
    connections: BTreeMap<ConnectionId, Connection>,
    /// Those who are in the meeting, and whether each may found a group with moderators.
    present: BTreeMap<ParticipantIdentity, bool>,
    /// Members who are not in the meeting (yet): until then they may come.
    absent_until: Option<Instant>,
    /// Those who have been asked to found the group, and until when.
    founders: BTreeSet<ConnectionId>,
    found_until: Option<Instant>,
    waiting: BTreeMap<ConnectionId, Waiting>,
    /// Those who come in from outside as soon as that can succeed.
    entering: BTreeSet<ConnectionId>,
    epochs: Budget,
    /// Commits since what is kept was last a whole group.
    since_snapshot: u32,
    rng: StdRng,
    clock: Clock,
    outputs: VecDeque<GroupOutput>,
}

impl DeliveryService {
    /// The delivery service of a meeting that has no group yet. Ids of groups come from `seed`. `unix_now` (time since 1970) and
    /// `now` name the same moment. `None`: there is no randomness for its key.
    pub fn new(profile: Profile, seed: [u8; 32], unix_now: Duration, now: Instant) -> Option<Self> {
        let me = Identity::new("").ok()?;
        Some(Self::with(profile, me, seed, unix_now, now))
    }

    fn with(
        profile: Profile,
        me: Identity,
        seed: [u8; 32],
        unix_now: Duration,
        now: Instant,
    ) -> Self {
        let mut rng = StdRng::from_seed(seed);
        Self {
            profile,
            id: rng.random::<[u8; 16]>().to_vec(),
            rng,
            me,
            group: None,
            members: BTreeMap::new(),
            ordering: Ordering::new(0),
            log: Log::default(),
            connections: BTreeMap::new(),
            present: BTreeMap::new(),
            absent_until: None,
            founders: BTreeSet::new(),
            found_until: None,
            waiting: BTreeMap::new(),
            entering: BTreeSet::new(),
            epochs: Budget::new(EPOCHS_PER_SECOND, EPOCH_BURST, now),
            since_snapshot: 0,
            clock: Clock::new(unix_now, now),
            outputs: VecDeque::new(),
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, input: GroupInput, now: Instant) {
        match input {
            GroupInput::Connect {
                connection,
                identity,
            } => self.connect(connection, identity, now),
            GroupInput::Frame { connection, frame } => self.frame(connection, &frame, now),
            GroupInput::Disconnect { connection } => self.disconnect(connection, now),
            GroupInput::Arrived {
                identity,
                may_moderate,
            } => self.arrived(identity, may_moderate, now),
            GroupInput::Left { identity, returns } => self.left(&identity, returns, now),
        }
        self.take_steps();
        self.let_enter(now);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.look_for_founder(now);
        self.remove_absent(now);
        self.close_strangers(now);
        self.ordering.handle_timeout(now - self.clock.start());
        self.take_steps();
        self.let_enter(now);
    }

    /// When [`DeliveryService::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let strangers = self.connections.values();
        earliest([
            self.found_until,
            self.absent_until,
            strangers.filter_map(|one| one.arrive_until).min(),
            self.ordering.due().map(|due| self.clock.start() + due),
            (!self.entering.is_empty() && !self.ordering.waits_for_removal())
                .then(|| self.epochs.ready_for(1)),
        ])
    }

    /// Whether nobody is connected or in the meeting, and there is no group.
    pub fn is_idle(&self) -> bool {
        self.connections.is_empty() && self.present.is_empty() && self.group.is_none()
    }

    /// The next output.
    pub fn poll_output(&mut self) -> Option<GroupOutput> {
        self.outputs.pop_front()
    }

    fn frame(&mut self, from: ConnectionId, frame: &[u8], now: Instant) {
        use client_message::Message as M;
        let Some(message) = messages::read_client(frame) else {
            // A message of a later version.
            return self.charge(from, 1, now);
        };
        let members = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        let size = u32::try_from(frame.len() / 1024).unwrap_or(u32::MAX);
        // Checking a commit takes time for each member, and so does carrying what is said.
        let cost = match &message {
            M::Commit(_) | M::Found(_) => 10 + members / 4 + size / 4,
            M::Join(_) | M::Propose(_) | M::Admit(_) => 4 + members / 16,
            M::Enter(_) => 4 + members,
            M::Say(_) => 1 + members * (1 + size) / 32,
            M::Hello(_) => 4 + members / 4,
            M::Ready(_) => 1,
            // Each is a line of the log.
            M::Complaint(_) => 100,
        };
        self.charge(from, cost, now);
        let Some(connection) = self.connections.get(&from).filter(|one| !one.is_closing) else {
            return;
        };
        if connection.hello.is_none() && !matches!(message, M::Hello(_)) {
            return self.refuse(from, "the first message is Hello", now);
        }
        match message {
            M::Hello(hello) => self.hello(from, hello, now),
            M::Found(found) => self.found(from, &found, now),
            M::Join(join) => self.join(from, join, now),
            M::Enter(_) => _ = self.entering.insert(from),
            M::Commit(commit) => self.commit(from, commit, now),
            M::Propose(propose) => self.propose(from, propose.message, now),
            M::Say(say) => self.say(from, say.message, now),
            M::Ready(ready) => {
                if self.leaf_of(from).is_some() {
                    self.ordering.ready(from, ready.epoch);
                }
            }
            M::Admit(admit) => self.admit(from, &admit, now),
            M::Complaint(complaint) => {
                tracing::warn!(
                    connection = from.0,
                    number = complaint.number,
                    reason = %complaint.reason.chars().take(200).collect::<String>(),
                    "a member does not take what the others took"
                );
            }
        }
    }

    /// Where none of its members is in the meeting any more, nobody can let anybody in: the group has ended, and the next who
    /// comes founds another.
    fn end_if_deserted(&mut self, now: Instant) {
        let mut present = self.present.keys();
        let is_member =
            |one: &ParticipantIdentity| self.members.contains_key(one.as_str().as_bytes());
        if self.group.is_none() || self.absent_until.is_some() || present.any(is_member) {
            return;
        }
        self.group = None;
        self.members.clear();
        self.waiting.clear();
        self.entering.clear();
        self.log = Log::default();
        self.ordering = Ordering::new(0);
        self.id = self.rng.random::<[u8; 16]>().to_vec();
        self.outputs.push_back(GroupOutput::Keep(Record::Ended));
        let connections = self.connections.iter();
        let others = connections.filter(|(_, one)| one.is_heard());
        let others: Vec<_> = others.map(|(&id, _)| id).collect();
        for id in others {
            self.stand(id, now);
        }
    }

    /// Says something to all members.
    fn say(&mut self, from: ConnectionId, message: Vec<u8>, now: Instant) {
        if message.len() > MAX_SAID {
            return self.refuse(from, "what is said is too long", now);
        }
        let Some(group) = self.group.as_ref().filter(|_| self.reads(from)) else {
            return;
        };
        let checked = group.check(&message, self.clock.unix_seconds(now));
        // Of an epoch that has ended: its sender sees the commit, and says it again.
        if checked.is_ok_and(|checked| checked.origin() == Some(Origin::SomeMember)) {
            self.append(message.into(), Bytes::new());
        }
    }

    /// A member proposes to leave.
    fn propose(&mut self, from: ConnectionId, message: Vec<u8>, now: Instant) {
        let own = self.leaf_of(from);
        // It says so once.
        let Some(own) = own.filter(|own| self.ordering.removals().all(|gone| gone != *own)) else {
            return;
        };
        let Some(group) = &mut self.group else {
            return;
        };
        let Ok(checked) = group.check(&message, self.clock.unix_seconds(now)) else {
            return;
        };
        let is_proposal =
            checked.removed().is_none() && checked.origin() == Some(Origin::Member(own));
        if is_proposal && group.apply(checked, &[]).is_ok() {
            self.append(message.into(), Bytes::new());
            self.ordering.remove(own, now - self.clock.start());
        }
    }

    /// Adds an entry to the log and sends it to all who read.
    fn append(&mut self, message: Bytes, group_info: Bytes) {
        let entry = self.log.append(message, group_info);
        let frame = entry_frame(entry);
        self.outputs
            .push_back(GroupOutput::Keep(Record::Entry(entry.clone())));
        for (&connection, it) in &self.connections {
            if it.reads {
                let frame = frame.clone();
                self.outputs
                    .push_back(GroupOutput::Send { connection, frame });
            }
        }
    }

    /// Carries out what the order of commits asks for.
    fn take_steps(&mut self) {
        while let Some(step) = self.ordering.poll() {
            match step {
                Step::Ask(who) => self.ask_for_commit(who),
                Step::Enter(who) => _ = self.entering.insert(who),
                Step::Go(epoch) => {
                    let readers = self.connections.iter().filter(|(_, one)| one.reads);
                    let readers: Vec<_> = readers.map(|(&id, _)| id).collect();
                    let go = server_message::Message::Go(messages::Go { epoch });
                    let frame = Bytes::from(go.to_bytes());
                    for connection in readers {
                        let frame = frame.clone();
                        self.outputs
                            .push_back(GroupOutput::Send { connection, frame });
                    }
                }
            }
        }
    }

    /// The leaf of a connection's identity, if its client has the state of the group.
    fn leaf_of(&self, connection: ConnectionId) -> Option<u32> {
        let connection = self.connections.get(&connection)?;
        let member = self.members.get(connection.identity.as_str().as_bytes());
        member.filter(|_| connection.reads).map(|(leaf, _)| *leaf)
    }

    fn reads(&self, connection: ConnectionId) -> bool {
        self.leaf_of(connection).is_some()
    }

    fn send(&mut self, connection: ConnectionId, message: server_message::Message) {
        let frame = message.to_bytes().into();
        self.outputs
            .push_back(GroupOutput::Send { connection, frame });
    }
}

fn entry_frame(entry: &LogEntry) -> Bytes {
    let message = server_message::Message::Entry(messages::Entry {
        number: entry.number,
        message: entry.message.to_vec(),
    });
    message.to_bytes().into()
}
