//! A client of the delivery service: takes its messages, checks them, and says which keys frames have. It trusts the delivery
//! service with the order of messages and with nothing else: what is against the rules is not taken, and said.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    base_key::BaseKey,
    epochs::{self, Epochs},
    group::{Commit, Group, GroupError, Joiner, Member, Processed, is_commit},
    identity::Identity,
    messages::{self, Cause, Standing, VERSION, client_message::Message as Say, server_message},
    newcomer::Newcomer,
    policy::Policy,
    profile::Profile,
    ticket::Ticket,
};

/// The most messages of a member's own that it has not heard back of.
const MAX_UNHEARD: usize = 256;

/// What a client wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Where it founds the group and may: with moderators, itself as the first.
    pub moderated: bool,
    /// The time for which tickets of its own are good, in seconds.
    pub ticket_seconds: u64,
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// By a clock that only goes forward.
    pub clock: Duration,
    /// In seconds since the epoch of Unix.
    pub unix: u64,
}

/// What comes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A frame for the delivery service.
    Send(Vec<u8>),
    /// News for the owner.
    Event(Event),
    /// Connect anew: the delivery service has lost the thread.
    Reconnect,
}

/// News for the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The group has a new epoch: these are its keys, for frames that arrive.
    Epoch {
        /// Its number.
        epoch: u64,
        /// What keys of frames come from.
        base_key: BaseKey,
        /// The leaf of this member.
        leaf: u32,
    },
    /// Frames are sent with the keys of this epoch from now on.
    SendWith(u64),
    /// The keys of this epoch are used no more.
    Forget(u64),
    /// A member has said something.
    Said {
        /// Its leaf.
        leaf: u32,
        /// What.
        bytes: Vec<u8>,
    },
    /// Somebody waits whom this member may let in ([`Client::admit`]).
    Knock {
        /// The identity.
        identity: String,
        /// Its signature key.
        key: Vec<u8>,
    },
    /// The ticket that lets this client in, to be kept while the meeting goes on.
    Ticket(Vec<u8>),
    /// What this member wanted to change in the group was refused.
    ChangeFailed(String),
    /// This client is a member no more, and sends nothing.
    Out(Reason),
}

/// Why a client is a member no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Others have removed it.
    Removed,
    /// It does not take what the delivery service calls the next commit. Others may go on without it.
    Commit(GroupError),
    /// The delivery service speaks of another group than the one it was in.
    OtherGroup,
    /// It was not let in, or not heard. The text is for a log.
    Refused(String),
}

/// How far it has come.
enum Phase {
    /// It has not heard, or waits for others.
    Outside,
    /// It has founded a group that nobody has taken yet.
    Founding(Box<Group>),
    /// It waits to be added.
    Joining(Box<Joiner>),
    /// It has asked for what it needs to come in from outside.
    Asking,
    /// It comes in by this commit.
    Entering(Box<Group>, Vec<u8>),
    Member(Box<Group>),
    /// It is out, and stays so.
    Over,
}

/// A client of the delivery service.
pub struct Client {
    me: Identity,
    wish: Wish,
    /// The group that the delivery service speaks of.
    group: Vec<u8>,
    profile: Profile,
    ticket: Option<Ticket>,
    phase: Phase,
    /// The number of the next entry.
    next: u64,
    epochs: Epochs,
    /// What this member has said and not yet heard, with its message of MLS.
    unheard: VecDeque<(Vec<u8>, Vec<u8>)>,
    /// After a new connection: once it has read up to this entry, it knows what was not heard.
    caught_up_at: Option<u64>,
    /// A commit of this member that is under way, with what it changes.
    committing: Option<(Vec<u8>, Changes)>,
    /// It was asked for another commit since. Until it has heard what became of the first, that one may still come.
    asked: Option<messages::CommitRequest>,
    changes: Changes,
    outputs: VecDeque<Output>,
}

/// What a moderator wants of the next commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Changes {
    removed: BTreeSet<u32>,
    promoted: Vec<Vec<u8>>,
    demoted: Vec<Vec<u8>>,
    banned: Vec<Vec<u8>>,
}

impl Client {
    /// A client that is no member yet. `ticket` is one that it has kept.
    pub fn new(me: Identity, wish: Wish, ticket: Option<&[u8]>) -> Self {
        Self {
            me,
            wish,
            group: Vec::new(),
            profile: Profile::Hybrid,
            ticket: ticket.and_then(Ticket::read),
            phase: Phase::Outside,
            next: 0,
            epochs: Epochs::new(),
            unheard: VecDeque::new(),
            caught_up_at: None,
            committing: None,
            asked: None,
            changes: Changes::default(),
            outputs: VecDeque::new(),
        }
    }

    /// There is a connection to the delivery service, for the first time or again.
    pub fn connected(&mut self) {
        let group = match &self.phase {
            Phase::Over => return,
            // Whether a commit of its own was taken shows in the entries that follow.
            Phase::Member(_) => self.group.clone(),
            _ => {
                self.phase = Phase::Outside;
                Vec::new()
            }
        };
        self.send(Say::Hello(messages::Hello {
            version: VERSION,
            group,
            next: self.next,
            key: self.me.public_key().to_vec(),
        }));
    }

    /// Takes a frame of the delivery service. What cannot be read is of a later version, and left alone.
    pub fn receive(&mut self, frame: &[u8], now: Now) {
        use server_message::Message as M;
        if matches!(self.phase, Phase::Over) {
            return;
        }
        match messages::read_server(frame) {
            Some(M::State(state)) => self.state(&state, now),
            Some(M::Entry(entry)) => self.entry(&entry, now),
            Some(M::CommitRequest(request)) => self.commit_request(request, now),
            Some(M::Rejected(rejected)) => self.rejected(rejected, now),
            Some(M::Welcome(welcome)) => self.welcome(&welcome, now),
            Some(M::GroupInfo(info)) => self.enter(&info, now),
            Some(M::Go(go)) => {
                self.epochs.ready(go.epoch, now.clock);
                self.step(now);
            }
            Some(M::Knock(knock)) => self.event(Event::Knock {
                identity: knock.identity,
                key: knock.key,
            }),
            Some(M::Admitted(admitted)) => self.admitted(&admitted.ticket),
            Some(M::Refused(refused)) => self.over(Reason::Refused(refused.reason)),
            None => {}
        }
    }

    /// The next output.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Client::handle_timeout`] is due.
    pub fn due(&self) -> Option<Duration> {
        self.epochs.due()
    }

    /// That time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.step(now);
    }

    /// The group, once this client is a member.
    pub fn group(&self) -> Option<&Group> {
        match &self.phase {
            Phase::Member(group) => Some(group),
            _ => None,
        }
    }

    /// The members; none before this client is one.
    pub fn members(&self) -> Vec<Member> {
        self.group()
            .map(|group| group.members().collect())
            .unwrap_or_default()
    }

    /// Says something to all members.
    ///
    /// # Errors
    /// When this client is none, or has not heard back of too much.
    pub fn say(&mut self, bytes: &[u8]) -> Result<(), GroupError> {
        let Phase::Member(group) = &mut self.phase else {
            return Err(GroupError::Invalid("not a member".into()));
        };
        if self.unheard.len() >= MAX_UNHEARD {
            return Err(GroupError::Invalid(
                "the delivery service does not answer".into(),
            ));
        }
        let message = group.say(bytes)?;
        self.unheard.push_back((bytes.to_vec(), message.clone()));
        self.send(Say::Say(messages::Say { message }));
        Ok(())
    }

    /// Proposes to leave.
    ///
    /// # Errors
    /// When this client is no member.
    pub fn leave(&mut self) -> Result<(), GroupError> {
        let Phase::Member(group) = &mut self.phase else {
            return Err(GroupError::Invalid("not a member".into()));
        };
        let message = group.leave()?;
        self.send(Say::Propose(messages::Propose { message }));
        Ok(())
    }

    /// Lets in who waits with this key, or refuses it.
    ///
    /// # Errors
    /// When this client is no member.
    pub fn admit(
        &mut self,
        identity: &str,
        key: &[u8],
        admitted: bool,
        now: Now,
    ) -> Result<(), GroupError> {
        let Phase::Member(group) = &self.phase else {
            return Err(GroupError::Invalid("not a member".into()));
        };
        let ticket = match admitted {
            true => group
                .ticket(identity, key, now.unix + self.wish.ticket_seconds)?
                .to_bytes(),
            false => Vec::new(),
        };
        let identity = identity.to_owned();
        self.send(Say::Admit(messages::Admit { identity, ticket }));
        Ok(())
    }

    /// Removes members, and lets none of them in again where `banned`. Moderators may.
    pub fn remove(&mut self, leaves: &[u32], banned: bool) {
        let members = self.members();
        for leaf in leaves {
            let Some(member) = members.iter().find(|member| member.leaf == *leaf) else {
                continue;
            };
            self.changes.removed.insert(*leaf);
            if banned {
                self.changes.banned.push(member.key.clone());
            }
        }
        self.carry_out_changes();
    }

    /// Makes a member a moderator, or one no more. Moderators may.
    pub fn set_moderator(&mut self, key: &[u8], is_moderator: bool) {
        match is_moderator {
            true => self.changes.promoted.push(key.to_vec()),
            false => self.changes.demoted.push(key.to_vec()),
        }
        self.carry_out_changes();
    }

    fn state(&mut self, state: &messages::State, now: Now) {
        let profile = u8::try_from(state.profile).ok().and_then(Profile::new);
        let (Some(profile), Ok(standing)) = (profile, Standing::try_from(state.standing)) else {
            return self.over(Reason::Refused("a later version".into()));
        };
        let was_member = matches!(self.phase, Phase::Member(_));
        if was_member && state.group != self.group {
            return self.over(Reason::OtherGroup);
        }
        self.group.clone_from(&state.group);
        self.profile = profile;
        match (std::mem::replace(&mut self.phase, Phase::Outside), standing) {
            (Phase::Founding(group), Standing::Member) => {
                self.next = 0;
                self.become_member(group, false, now);
            }
            (Phase::Member(group), Standing::Member) => {
                self.phase = Phase::Member(group);
                self.caught_up_at = Some(state.end);
                self.ready();
                self.catch_up(now);
            }
            (Phase::Member(_) | Phase::Outside | Phase::Asking, Standing::Enter) => self.ask(),
            (_, Standing::Found) => self.found(state),
            (_, Standing::Join) => self.join(),
            (_, Standing::Wait) => {}
            // It has a leaf and no state: it comes in anew.
            (_, Standing::Member | Standing::Enter) => self.ask(),
        }
    }

    fn found(&mut self, state: &messages::State) {
        let policy = match self.wish.moderated && state.may_moderate {
            true => Policy::moderated(self.me.public_key()),
            false => Policy::open(),
        };
        let server = Some(state.delivery_service.as_slice());
        let founded = Group::found(self.me.again(), &self.group, self.profile, &policy, server);
        let sent = founded.and_then(|group| {
            let (group_info, tree) = (group.group_info()?, group.tree()?);
            Ok((group, messages::Found { group_info, tree }))
        });
        match sent {
            Ok((group, found)) => {
                self.send(Say::Found(found));
                self.phase = Phase::Founding(Box::new(group));
            }
            Err(error) => self.over(Reason::Refused(error.to_string())),
        }
    }

    fn join(&mut self) {
        let ticket = self
            .ticket
            .as_ref()
            .map(Ticket::to_bytes)
            .unwrap_or_default();
        match Joiner::new(self.me.again(), self.profile) {
            Ok(joiner) => {
                let key_package = joiner.key_package().to_vec();
                self.send(Say::Join(messages::Join {
                    key_package,
                    ticket,
                }));
                self.phase = Phase::Joining(Box::new(joiner));
            }
            Err(error) => self.over(Reason::Refused(error.to_string())),
        }
    }

    fn ask(&mut self) {
        self.committing = None;
        self.phase = Phase::Asking;
        self.send(Say::Enter(messages::Enter {}));
    }

    /// Comes in from outside: in an open group, whose leaf is still there may sign its own ticket.
    fn enter(&mut self, info: &messages::GroupInfo, now: Now) {
        if !matches!(self.phase, Phase::Asking | Phase::Joining(_)) {
            return;
        }
        let until = now.unix + self.wish.ticket_seconds;
        let (key, signer) = (self.me.public_key(), self.me.signer());
        let own = Ticket::issue(&self.group, self.me.name(), key, until, key, signer).ok();
        let Some(ticket) = self.ticket.clone().or(own) else {
            return;
        };
        let entered = Group::enter(
            self.me.again(),
            &self.group,
            &info.group_info,
            &info.tree,
            ticket,
        );
        match entered {
            Ok((group, commit)) => {
                self.phase = Phase::Entering(Box::new(group), commit.message.clone());
                self.send_commit(info.epoch, commit);
            }
            Err(error) => self.over(Reason::Refused(error.to_string())),
        }
    }

    fn welcome(&mut self, welcome: &messages::Welcome, now: Now) {
        let Phase::Joining(joiner) = std::mem::replace(&mut self.phase, Phase::Outside) else {
            return;
        };
        match joiner.join(&self.group, &welcome.welcome, &welcome.tree) {
            Ok(group) => {
                self.next = welcome.next;
                self.become_member(Box::new(group), false, now);
            }
            // Whoever added it may have lied about the welcome. Its leaf is there, so that it can come in by itself.
            Err(_) => self.ask(),
        }
    }

    fn become_member(&mut self, group: Box<Group>, removes: bool, now: Now) {
        self.phase = Phase::Member(group);
        self.new_epoch(removes, now);
    }

    fn new_epoch(&mut self, removes: bool, now: Now) {
        let Phase::Member(group) = &self.phase else {
            return;
        };
        let (epoch, leaf) = (group.epoch(), group.own_leaf());
        match group.base_key() {
            Ok(base_key) => {
                self.event(Event::Epoch {
                    epoch,
                    base_key,
                    leaf,
                });
                self.epochs.install(epoch, removes, now.clock);
                self.ready();
                self.step(now);
                if self.caught_up_at.is_none() {
                    self.say_again();
                    self.carry_out_changes();
                }
            }
            Err(error) => self.over(Reason::Commit(error)),
        }
    }

    fn ready(&mut self) {
        if let Phase::Member(group) = &self.phase {
            let epoch = group.epoch();
            self.send(Say::Ready(messages::Ready { epoch }));
        }
    }

    fn entry(&mut self, entry: &messages::Entry, now: Now) {
        match &mut self.phase {
            Phase::Entering(_, commit) if *commit == entry.message => {
                let Phase::Entering(group, _) = std::mem::replace(&mut self.phase, Phase::Outside)
                else {
                    return;
                };
                self.next = entry.number + 1;
                self.become_member(group, true, now);
            }
            Phase::Member(_) if entry.number < self.next => {}
            Phase::Member(_) if entry.number > self.next => {
                self.outputs.push_back(Output::Reconnect)
            }
            Phase::Member(_) => {
                self.next += 1;
                self.next_entry(entry, now);
                self.catch_up(now);
            }
            _ => {}
        }
    }

    fn next_entry(&mut self, entry: &messages::Entry, now: Now) {
        let Phase::Member(group) = &mut self.phase else {
            return;
        };
        if self
            .unheard
            .front()
            .is_some_and(|(_, message)| *message == entry.message)
        {
            self.unheard.pop_front();
            return;
        }
        let own = self
            .committing
            .take_if(|(commit, _)| *commit == entry.message);
        let processed = match own {
            Some(_) => group.accepted(),
            None => group.process(&entry.message, now.unix),
        };
        match processed {
            Ok(Processed::Proposal) => {}
            Ok(Processed::Message { leaf, bytes }) => self.event(Event::Said { leaf, bytes }),
            Ok(Processed::Epoch { removes }) => {
                // One of its own that was under way is of an epoch that has ended.
                self.give_up_commit();
                self.new_epoch(removes, now);
            }
            Ok(Processed::Removed) => self.over(Reason::Removed),
            Err(error) if is_commit(&entry.message) => {
                let (number, reason) = (entry.number, error.to_string());
                self.send(Say::Complaint(messages::Complaint { number, reason }));
                self.over(Reason::Commit(error));
            }
            // Whoever said it has nothing to say. A proposal that is none makes no commit.
            Err(_) => {}
        }
    }

    fn commit_request(&mut self, request: messages::CommitRequest, now: Now) {
        if self.committing.is_some() || self.caught_up_at.is_some() {
            self.asked = Some(request);
            return;
        }
        let Phase::Member(group) = &mut self.phase else {
            return;
        };
        if group.epoch() != request.epoch {
            return;
        }
        let (policy, until) = (group.policy(), now.unix + self.wish.ticket_seconds);
        let mut added = Vec::new();
        for join in &request.joins {
            // What is wrong with one of them must not keep the others out.
            let Ok(newcomer) = Newcomer::read(&join.key_package, self.profile) else {
                continue;
            };
            let ticket = match Ticket::read(&join.ticket) {
                None if policy.is_open() => group.ticket(&join.identity, &newcomer.key, until).ok(),
                ticket => ticket,
            };
            let (identity, key) = (newcomer.identity.as_slice(), newcomer.key.as_slice());
            let is_admitted = |ticket: &Ticket| group.admits(ticket, identity, key, now.unix);
            if let Some(ticket) = ticket.filter(is_admitted)
                && identity == join.identity.as_bytes()
            {
                added.push((join.key_package.as_slice(), ticket));
            }
        }
        self.commit(&added);
    }

    fn carry_out_changes(&mut self) {
        if self.changes != Changes::default() && self.committing.is_none() {
            self.commit(&[]);
        }
    }

    fn commit(&mut self, added: &[(&[u8], Ticket)]) {
        self.give_up_commit();
        let Phase::Member(group) = &mut self.phase else {
            return;
        };
        let changes = std::mem::take(&mut self.changes);
        let mut policy = group.policy();
        let before = policy.clone();
        changes.promoted.iter().for_each(|key| policy.promote(key));
        changes.demoted.iter().for_each(|key| policy.demote(key));
        changes.banned.iter().for_each(|key| policy.ban(key));
        let members: BTreeSet<_> = group.members().map(|member| member.leaf).collect();
        let removed: Vec<_> = changes.removed.intersection(&members).copied().collect();
        let policy = (policy != before).then_some(&policy);
        let epoch = group.epoch();
        match group.commit(added, &removed, policy) {
            Ok(commit) => {
                self.committing = Some((commit.message.clone(), changes));
                self.send_commit(epoch, commit);
            }
            Err(error) => self.event(Event::ChangeFailed(error.to_string())),
        }
    }

    /// What a commit was to change waits for the next one.
    fn give_up_commit(&mut self) {
        if let (Some((_, changes)), Phase::Member(group)) =
            (self.committing.take(), &mut self.phase)
        {
            // There is none where another one was merged.
            let _ = group.rejected();
            self.changes.add(changes);
        }
    }

    /// What was said in an epoch and not heard in it is said again in the next one.
    fn say_again(&mut self) {
        let Phase::Member(group) = &mut self.phase else {
            return;
        };
        let mut messages = Vec::new();
        for (bytes, message) in &mut self.unheard {
            if let Ok(again) = group.say(bytes) {
                message.clone_from(&again);
                messages.push(again);
            }
        }
        for message in messages {
            self.send(Say::Say(messages::Say { message }));
        }
    }

    fn catch_up(&mut self, now: Now) {
        if self.caught_up_at.take_if(|end| *end <= self.next).is_some() {
            self.give_up_commit();
            self.say_again();
            self.answer(now);
            self.carry_out_changes();
        }
    }

    /// Answers what it was asked while it could not.
    fn answer(&mut self, now: Now) {
        if let Some(request) = self.asked.take() {
            self.commit_request(request, now);
        }
    }

    fn send_commit(&mut self, epoch: u64, commit: Commit) {
        self.send(Say::Commit(messages::Commit {
            epoch,
            message: commit.message,
            welcome: commit.welcome.unwrap_or_default(),
            group_info: commit.group_info,
        }));
    }

    fn rejected(&mut self, rejected: messages::Rejected, now: Now) {
        match &mut self.phase {
            Phase::Entering(..) if rejected.cause() != Cause::Invalid => self.ask(),
            Phase::Entering(..) => self.over(Reason::Refused(rejected.reason)),
            Phase::Founding(_) => self.phase = Phase::Outside,
            // What was late or left somebody in waits for the next epoch, or for who asks again.
            Phase::Member(_) => {
                self.give_up_commit();
                let changes = self.changes != Changes::default();
                if rejected.cause() == Cause::Invalid && changes {
                    self.changes = Changes::default();
                    self.event(Event::ChangeFailed(rejected.reason));
                }
                self.answer(now);
            }
            _ => {}
        }
    }

    fn admitted(&mut self, ticket: &[u8]) {
        match Ticket::read(ticket) {
            Some(read) => {
                self.ticket = Some(read);
                self.event(Event::Ticket(ticket.to_vec()));
            }
            None => self.over(Reason::Refused("a moderator has refused".into())),
        }
    }

    fn step(&mut self, now: Now) {
        while let Some(step) = self.epochs.poll(now.clock) {
            self.event(match step {
                epochs::Step::Send(epoch) => Event::SendWith(epoch),
                epochs::Step::Forget(epoch) => Event::Forget(epoch),
            });
        }
    }

    fn over(&mut self, reason: Reason) {
        self.phase = Phase::Over;
        self.event(Event::Out(reason));
    }

    fn send(&mut self, message: Say) {
        self.outputs.push_back(Output::Send(message.to_bytes()));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

impl Changes {
    fn add(&mut self, other: Self) {
        self.removed.extend(other.removed);
        self.promoted.extend(other.promoted);
        self.demoted.extend(other.demoted);
        self.banned.extend(other.banned);
    }
}
