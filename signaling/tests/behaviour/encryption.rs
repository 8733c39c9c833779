//! The delivery service of an encrypted meeting and its clients, in virtual time, with messages that overtake each other.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use e2ee::{
    client::{Client, Event, Now, Output, Reason, Wish},
    identity::Identity,
    messages::{self, Cause, client_message::Message, server_message},
    profile::Profile,
};
use protocol::ParticipantIdentity;
use rand::{Rng, SeedableRng, rngs::StdRng};
use signaling::delivery_service::{
    ConnectionId, DeliveryService, GroupInput, GroupOutput, Record, Saved, Snapshot,
};

const UNIX: u64 = 1_800_000_000;

/// Somebody with a client.
struct Person {
    identity: ParticipantIdentity,
    key: Vec<u8>,
    client: Client,
    wish: Wish,
    connection: Option<ConnectionId>,
    events: Vec<Event>,
    ticket: Option<Vec<u8>>,
    here: bool,
}

/// A meeting.
struct Meeting {
    service: DeliveryService,
    people: Vec<Person>,
    start: Instant,
    now: Instant,
    rng: StdRng,
    next_connection: u64,
    to_service: BTreeMap<ConnectionId, VecDeque<Vec<u8>>>,
    to_client: BTreeMap<ConnectionId, VecDeque<Vec<u8>>>,
    snapshot: Option<Snapshot>,
    entries: Vec<signaling::delivery_service::LogEntry>,
}

impl Meeting {
    fn new(seed: u64) -> Self {
        let now = Instant::now();
        let service =
            DeliveryService::new(Profile::Classic, [7; 32], Duration::from_secs(UNIX), now);
        Self {
            service: service.unwrap(),
            people: Vec::new(),
            start: now,
            now,
            rng: StdRng::seed_from_u64(seed),
            next_connection: 0,
            to_service: BTreeMap::new(),
            to_client: BTreeMap::new(),
            snapshot: None,
            entries: Vec::new(),
        }
    }

    fn with(names: &[&str]) -> Self {
        let mut meeting = Self::new(1);
        for name in names {
            meeting.come(name, false);
            meeting.settle();
        }
        meeting
    }

    fn moment(&self) -> Now {
        let clock = self.now - self.start;
        Now {
            clock,
            unix: UNIX + clock.as_secs(),
        }
    }

    fn handle(&mut self, input: GroupInput) {
        self.service.handle(input, self.now);
        self.carry();
    }

    /// Somebody comes into the meeting and connects.
    fn come(&mut self, name: &str, moderator: bool) -> usize {
        let me = Identity::new(name).unwrap();
        let wish = Wish {
            moderated: moderator,
            ticket_seconds: 3600,
        };
        let identity: ParticipantIdentity = name.into();
        self.people.push(Person {
            key: me.key_to_keep(),
            client: Client::new(me, wish, None),
            identity: identity.clone(),
            wish,
            connection: None,
            events: Vec::new(),
            ticket: None,
            here: true,
        });
        let may_moderate = moderator;
        self.handle(GroupInput::Arrived {
            identity,
            may_moderate,
        });
        let who = self.people.len() - 1;
        self.connect(who);
        who
    }

    fn connect(&mut self, who: usize) {
        self.next_connection += 1;
        let connection = ConnectionId(self.next_connection);
        self.people[who].connection = Some(connection);
        let identity = self.people[who].identity.clone();
        self.handle(GroupInput::Connect {
            connection,
            identity,
        });
        self.people[who].client.connected();
        self.pump(who);
    }

    /// The connection breaks; what was under way is lost.
    fn cut(&mut self, who: usize) {
        if let Some(connection) = self.people[who].connection.take() {
            self.to_client.remove(&connection);
            self.to_service.remove(&connection);
            self.handle(GroupInput::Disconnect { connection });
        }
    }

    /// The page is loaded anew: the key is kept, the group is not.
    fn reload(&mut self, who: usize) {
        self.cut(who);
        let person = &mut self.people[who];
        let me = Identity::with_key(person.identity.as_str(), &person.key).unwrap();
        person.client = Client::new(me, person.wish, person.ticket.as_deref());
        self.connect(who);
    }

    fn leave(&mut self, who: usize) {
        self.people[who].here = false;
        let identity = self.people[who].identity.clone();
        let returns = false;
        self.handle(GroupInput::Left { identity, returns });
    }

    /// Carries what the service says.
    fn carry(&mut self) {
        while let Some(output) = self.service.poll_output() {
            match output {
                GroupOutput::Send { connection, frame } => {
                    let is_open = self
                        .people
                        .iter()
                        .any(|one| one.connection == Some(connection));
                    if is_open {
                        let queue = self.to_client.entry(connection).or_default();
                        queue.push_back(frame.to_vec());
                    }
                }
                GroupOutput::Close { connection } => {
                    let queue = self.to_client.entry(connection).or_default();
                    queue.push_back(Vec::new());
                }
                GroupOutput::Keep(Record::Snapshot(snapshot)) => {
                    self.entries.retain(|entry| entry.number >= snapshot.first);
                    self.snapshot = Some(snapshot);
                }
                GroupOutput::Keep(Record::Entry(entry)) => self.entries.push(entry),
                GroupOutput::Keep(Record::Ended) => {
                    self.snapshot = None;
                    self.entries.clear();
                }
            }
        }
    }

    /// Carries what a client says.
    fn pump(&mut self, who: usize) {
        while let Some(output) = self.people[who].client.poll() {
            match output {
                Output::Send(frame) => {
                    if let Some(connection) = self.people[who].connection {
                        self.to_service
                            .entry(connection)
                            .or_default()
                            .push_back(frame);
                    }
                }
                Output::Event(Event::Ticket(ticket)) => self.people[who].ticket = Some(ticket),
                Output::Event(event) => self.people[who].events.push(event),
                Output::Reconnect => panic!("the service has lost the thread"),
            }
        }
    }

    /// Delivers one message, of any connection. False: there is none.
    fn deliver_one(&mut self) -> bool {
        self.to_service.retain(|_, queue| !queue.is_empty());
        self.to_client.retain(|_, queue| !queue.is_empty());
        let choices = self.to_service.len() + self.to_client.len();
        if choices == 0 {
            return false;
        }
        let choice = self.rng.random_range(0..choices);
        if let Some((&connection, queue)) = self.to_service.iter_mut().nth(choice) {
            let frame = queue.pop_front().unwrap().into();
            self.handle(GroupInput::Frame { connection, frame });
            return true;
        }
        let choice = choice - self.to_service.len();
        let (&connection, queue) = self.to_client.iter_mut().nth(choice).unwrap();
        let frame = queue.pop_front().unwrap();
        let who = self
            .people
            .iter()
            .position(|one| one.connection == Some(connection));
        let Some(who) = who else {
            return true;
        };
        if frame.is_empty() {
            self.cut(who);
            return true;
        }
        let now = self.moment();
        self.people[who].client.receive(&frame, now);
        self.pump(who);
        true
    }

    /// Everything that is under way arrives, and what is due within a second happens.
    fn settle(&mut self) {
        self.run(Duration::from_secs(1));
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            while self.deliver_one() {}
            let clients = self.people.iter().filter_map(|one| one.client.due());
            let due = clients
                .map(|due| self.start + due)
                .chain(self.service.poll_timeout())
                .min();
            let Some(due) = due.filter(|due| *due <= end) else {
                break;
            };
            self.now = self.now.max(due);
            self.service.handle_timeout(self.now);
            self.carry();
            let now = self.moment();
            for who in 0..self.people.len() {
                self.people[who].client.handle_timeout(now);
                self.pump(who);
            }
        }
        self.now = end;
    }

    /// All who are here are members, agree on keys, and nobody else is a member.
    fn assert_agreed(&self) {
        let here = || self.people.iter().filter(|one| one.here);
        let mut names: Vec<_> = here().map(|one| one.identity.as_str().to_owned()).collect();
        names.sort();
        let mut states = here().map(|one| {
            let group = one.client.group();
            let group = group
                .unwrap_or_else(|| panic!("{:?} is no member: {:?}", one.identity, one.events));
            let mut members: Vec<_> = group.members().map(|member| member.identity).collect();
            members.sort();
            assert_eq!(members, names, "as {:?} sees it", one.identity);
            let sends_with = one.events.iter().rev().find_map(|event| match event {
                Event::SendWith(epoch) => Some(*epoch),
                _ => None,
            });
            assert_eq!(
                sends_with,
                Some(group.epoch()),
                "{:?} has gone over",
                one.identity
            );
            (
                group.id().to_vec(),
                group.epoch(),
                group.base_key().unwrap(),
                group.code(),
            )
        });
        let first = states.next().unwrap();
        assert!(states.all(|state| state == first));
    }

    fn epoch(&self, who: usize) -> u64 {
        self.people[who].client.group().unwrap().epoch()
    }

    /// What somebody heard of others.
    fn heard(&self, who: usize) -> Vec<String> {
        let events = self.people[who].events.iter();
        events
            .filter_map(|event| match event {
                Event::Said { bytes, .. } => Some(String::from_utf8(bytes.clone()).unwrap()),
                _ => None,
            })
            .collect()
    }

    /// Why the last commit of somebody was not taken, as it is about to hear.
    fn last_rejection(&self, who: usize) -> Option<Cause> {
        let frames = self.to_client.get(&self.people[who].connection?)?.iter();
        let mut causes = frames
            .rev()
            .filter_map(|frame| match messages::read_server(frame) {
                Some(server_message::Message::Rejected(rejected)) => Some(rejected.cause()),
                _ => None,
            });
        causes.next()
    }

    /// Sends something that no client of ours would.
    fn forge(&mut self, who: usize, message: Message) {
        let connection = self.people[who].connection.unwrap();
        let frame = message.to_bytes().into();
        self.handle(GroupInput::Frame { connection, frame });
    }
}

#[test]
fn the_first_founds_the_group_and_others_are_added() {
    let meeting = Meeting::with(&["ada", "ben", "cleo", "dora"]);
    meeting.assert_agreed();
    assert_eq!(meeting.epoch(0), 3);
}

#[test]
fn all_who_come_at_once_are_in_within_few_epochs() {
    let mut meeting = Meeting::new(2);
    for name in 0..40 {
        meeting.come(&format!("p{name}"), false);
    }
    meeting.settle();
    meeting.assert_agreed();
    assert!(meeting.epoch(0) <= 3, "{} epochs", meeting.epoch(0));
}

#[test]
fn who_leaves_has_none_of_the_next_keys_and_nobody_waits() {
    let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
    let before = meeting.epoch(0);
    // The one who would be asked first.
    meeting.leave(0);
    while meeting.deliver_one() {}
    meeting.assert_agreed();
    assert_eq!(meeting.epoch(1), before + 1, "at once");
    assert!(
        meeting.people[0]
            .client
            .group()
            .is_none_or(|group| group.epoch() == before)
    );
}

#[test]
fn who_loads_the_page_anew_needs_nobody_and_has_other_keys() {
    let mut meeting = Meeting::with(&["ada", "ben"]);
    for who in [1, 0] {
        let before = meeting.epoch(who);
        meeting.reload(who);
        meeting.settle();
        meeting.assert_agreed();
        assert_eq!(meeting.epoch(who), before + 1);
    }
    // Alone too.
    meeting.leave(1);
    meeting.settle();
    meeting.reload(0);
    meeting.settle();
    meeting.assert_agreed();
}

#[test]
fn what_was_missed_is_read_after_a_new_connection_and_nothing_twice() {
    let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
    meeting.cut(1);
    meeting.people[0].client.say(b"one").unwrap();
    meeting.pump(0);
    meeting.settle();
    meeting.come("dora", false);
    meeting.settle();
    meeting.people[3].client.say(b"two").unwrap();
    meeting.pump(3);
    meeting.settle();
    // Said into a connection that is gone.
    meeting.people[1].client.say(b"three").unwrap();
    meeting.pump(1);
    meeting.connect(1);
    meeting.settle();
    meeting.assert_agreed();
    assert_eq!(meeting.heard(1), ["one", "two"]);
    assert_eq!(meeting.heard(0), ["two", "three"]);
    assert_eq!(meeting.heard(2), ["one", "two", "three"]);
}

#[test]
fn what_is_said_while_the_epoch_changes_arrives_once() {
    for seed in 0..20 {
        let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
        meeting.rng = StdRng::seed_from_u64(seed);
        meeting.come("dora", false);
        for line in 0..10 {
            meeting.people[1]
                .client
                .say(line.to_string().as_bytes())
                .unwrap();
            meeting.pump(1);
            meeting.deliver_one();
        }
        meeting.settle();
        let expected: Vec<_> = (0..10).map(|line| line.to_string()).collect();
        assert_eq!(meeting.heard(0), expected);
        assert_eq!(meeting.heard(2), expected);
    }
}

#[test]
fn a_meeting_goes_on_where_the_server_starts_anew() {
    let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
    meeting.people[0].client.say(b"before").unwrap();
    meeting.pump(0);
    meeting.settle();
    let (id, epoch) = {
        let group = meeting.people[0].client.group().unwrap();
        (group.id().to_vec(), group.epoch())
    };
    (0..3).for_each(|who| meeting.people[who].connection = None);
    let saved = Saved {
        snapshot: meeting.snapshot.clone().unwrap(),
        entries: meeting.entries.clone(),
    };
    let unix = Duration::from_secs(meeting.moment().unix);
    meeting.service = DeliveryService::restore(saved, [8; 32], unix, meeting.now).unwrap();
    // Two come back; one does not.
    for who in [1, 2] {
        let identity = meeting.people[who].identity.clone();
        meeting.handle(GroupInput::Arrived {
            identity,
            may_moderate: false,
        });
        meeting.connect(who);
    }
    meeting.settle();
    for who in [1, 2] {
        let group = meeting.people[who].client.group().unwrap();
        assert_eq!((group.id(), group.epoch()), (id.as_slice(), epoch));
    }
    meeting.people[0].here = false;
    meeting.run(Duration::from_secs(40));
    meeting.assert_agreed();
    assert_eq!(meeting.epoch(1), epoch + 1);
    // Further ones come in as before.
    meeting.come("dora", false);
    meeting.settle();
    meeting.assert_agreed();
}

#[test]
fn in_a_moderated_meeting_who_comes_waits_for_a_moderator() {
    let mut meeting = Meeting::new(3);
    meeting.come("ada", true);
    meeting.settle();
    let ben = meeting.come("ben", false);
    meeting.settle();
    assert!(meeting.people[ben].client.group().is_none());
    let knock = meeting.people[0]
        .events
        .iter()
        .find_map(|event| match event {
            Event::Knock { identity, key } => Some((identity.clone(), key.clone())),
            _ => None,
        });
    let (identity, key) = knock.unwrap();
    let now = meeting.moment();
    meeting.people[0]
        .client
        .admit(&identity, &key, true, now)
        .unwrap();
    meeting.pump(0);
    meeting.settle();
    meeting.assert_agreed();
    // With the ticket it comes in again, while the moderator is away.
    meeting.cut(0);
    meeting.reload(ben);
    meeting.settle();
    meeting.connect(0);
    meeting.settle();
    meeting.assert_agreed();
    // A member that is no moderator lets nobody in, and refuses nobody.
    let cleo = meeting.come("cleo", false);
    meeting.settle();
    let key = Identity::with_key("cleo", &meeting.people[cleo].key).unwrap();
    let now = meeting.moment();
    for admitted in [true, false] {
        let by = &mut meeting.people[ben].client;
        by.admit("cleo", key.public_key(), admitted, now).unwrap();
        meeting.pump(ben);
        meeting.settle();
    }
    assert!(meeting.people[cleo].client.group().is_none());
    assert!(meeting.people[cleo].connection.is_some());
    meeting.people[0]
        .client
        .admit("cleo", key.public_key(), false, now)
        .unwrap();
    meeting.pump(0);
    meeting.settle();
    assert!(matches!(
        meeting.people[cleo].events.last(),
        Some(Event::Out(Reason::Refused(_)))
    ));
}

#[test]
fn a_moderator_removes_somebody_for_good() {
    let mut meeting = Meeting::new(4);
    meeting.come("ada", true);
    meeting.settle();
    let now = meeting.moment();
    for name in ["ben", "cleo"] {
        let who = meeting.come(name, false);
        meeting.settle();
        let key = Identity::with_key(name, &meeting.people[who].key).unwrap();
        meeting.people[0]
            .client
            .admit(name, key.public_key(), true, now)
            .unwrap();
        meeting.pump(0);
        meeting.settle();
    }
    meeting.assert_agreed();
    let leaf = meeting.people[1].client.group().unwrap().own_leaf();
    // A member that is no moderator cannot, and hears so.
    let other = meeting.people[2].client.group().unwrap().own_leaf();
    meeting.people[1].client.remove(&[other], false);
    meeting.pump(1);
    meeting.settle();
    assert!(matches!(
        meeting.people[1].events.last(),
        Some(Event::ChangeFailed(_))
    ));
    meeting.people[0].client.remove(&[leaf], true);
    meeting.pump(0);
    meeting.settle();
    assert_eq!(
        meeting.people[1].events.last(),
        Some(&Event::Out(Reason::Removed))
    );
    meeting.reload(1);
    meeting.settle();
    meeting.people[1].here = false;
    meeting.assert_agreed();
}

#[test]
fn who_is_told_to_come_back_stays_a_member_and_who_does_not_come_is_removed() {
    let mut meeting = Meeting::with(&["ada", "ben"]);
    let epoch = meeting.epoch(0);
    let returns = true;
    for who in [0, 1] {
        let identity = meeting.people[who].identity.clone();
        meeting.handle(GroupInput::Left { identity, returns });
    }
    meeting.settle();
    let identity = meeting.people[0].identity.clone();
    let may_moderate = false;
    meeting.handle(GroupInput::Arrived {
        identity,
        may_moderate,
    });
    meeting.settle();
    assert_eq!(meeting.epoch(0), epoch);
    meeting.people[1].here = false;
    meeting.run(Duration::from_secs(40));
    meeting.assert_agreed();
    assert_eq!(meeting.epoch(0), epoch + 1);
    assert!(meeting.people[1].connection.is_none());
}

#[test]
fn who_all_are_gone_leave_no_group_behind() {
    let mut meeting = Meeting::with(&["ada", "ben"]);
    let before = meeting.people[0].client.group().unwrap().id().to_vec();
    meeting.leave(0);
    meeting.leave(1);
    meeting.settle();
    assert!(meeting.snapshot.is_none() && meeting.entries.is_empty());
    let cleo = meeting.come("cleo", false);
    meeting.settle();
    meeting.assert_agreed();
    assert_ne!(meeting.people[cleo].client.group().unwrap().id(), before);
}

#[test]
fn a_committer_who_is_silent_or_sends_nonsense_holds_nobody_up() {
    let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
    // Ada, who is asked first, reads and does not answer.
    let connection = meeting.people[0].connection.unwrap();
    meeting.come("dora", false);
    meeting.to_service.remove(&connection);
    let started = meeting.now;
    while meeting.people[3].client.group().is_none() {
        while meeting.deliver_one() {
            meeting.to_service.remove(&connection);
        }
        if let Some(due) = meeting.service.poll_timeout() {
            meeting.now = due;
            meeting.service.handle_timeout(due);
            meeting.carry();
        }
        assert!(meeting.now < started + Duration::from_secs(2));
    }
    meeting.settle();
    meeting.assert_agreed();
    // It answers with nonsense.
    meeting.come("emil", false);
    let epoch = meeting.epoch(0);
    for _ in 0..5 {
        meeting.forge(
            0,
            Message::Commit(messages::Commit {
                epoch,
                message: b"nonsense".to_vec(),
                welcome: Vec::new(),
                group_info: Vec::new(),
            }),
        );
    }
    meeting.settle();
    meeting.assert_agreed();
}

#[test]
fn who_cannot_be_added_keeps_nobody_else_out() {
    let mut meeting = Meeting::with(&["ada", "ben"]);
    // Mallory's key package is Ada's, or none, or of another name.
    let ada = Identity::with_key("ada", &meeting.people[0].key).unwrap();
    let packages = [
        b"nonsense".to_vec(),
        e2ee::group::Joiner::new(ada.again(), Profile::Classic)
            .unwrap()
            .key_package()
            .to_vec(),
        e2ee::group::Joiner::new(Identity::new("eve").unwrap(), Profile::Classic)
            .unwrap()
            .key_package()
            .to_vec(),
        e2ee::group::Joiner::new(Identity::new("mallory").unwrap(), Profile::Hybrid)
            .unwrap()
            .key_package()
            .to_vec(),
    ];
    for (number, key_package) in packages.into_iter().enumerate() {
        let mallory = meeting.come("mallory", false);
        let connection = meeting.people[mallory].connection.unwrap();
        meeting.forge(
            mallory,
            Message::Join(messages::Join {
                key_package,
                ticket: Vec::new(),
            }),
        );
        meeting.come(&format!("guest{number}"), false);
        meeting.settle();
        let is_there = meeting.people[mallory].connection == Some(connection);
        let own = meeting.people[mallory].client.group().is_some();
        assert!(!is_there && !own, "Mallory is refused ({number})");
        meeting.leave(mallory);
        meeting.people[mallory].here = false;
        meeting.settle();
        meeting.assert_agreed();
    }
}

#[test]
fn nobody_commits_for_another_or_from_outside_without_a_ticket() {
    let mut meeting = Meeting::with(&["ada", "ben"]);
    let epoch = meeting.epoch(0);
    // Somebody who is in the meeting and not in the group has seen the group information.
    let mallory = meeting.come("mallory", false);
    let connection = meeting.people[mallory].connection.unwrap();
    meeting.to_service.remove(&connection);
    let hello = messages::Hello {
        version: messages::VERSION,
        key: b"key".to_vec(),
        ..Default::default()
    };
    meeting.forge(mallory, Message::Hello(hello));
    let group = meeting.people[0].client.group().unwrap();
    let (info, tree) = (group.group_info().unwrap(), group.tree().unwrap());
    let (id, me) = (group.id().to_vec(), Identity::new("mallory").unwrap());
    let forged = e2ee::ticket::Ticket::issue(
        &id,
        "mallory",
        me.public_key(),
        UNIX + 10_000,
        me.public_key(),
        me.signer(),
    );
    let entered = e2ee::group::Group::enter(me, &id, &info, &tree, forged.unwrap());
    let (_, commit) = entered.unwrap();
    let message = |commit: &e2ee::group::Commit| {
        Message::Commit(messages::Commit {
            epoch,
            message: commit.message.clone(),
            welcome: Vec::new(),
            group_info: commit.group_info.clone(),
        })
    };
    meeting.forge(mallory, message(&commit));
    assert_eq!(meeting.last_rejection(mallory), Some(Cause::Invalid));
    // A commit of Ada's, by the connections of others, by her own, and by her own again.
    meeting.people[0].client.set_moderator(b"nobody", false);
    meeting.pump(0);
    let own = meeting.people[0].connection.unwrap();
    let frame = meeting.to_service[&own].back().unwrap().clone();
    let Some(stolen) = messages::read_client(&frame) else {
        panic!("no message");
    };
    for who in [1, mallory] {
        meeting.forge(who, stolen.clone());
        assert_eq!(meeting.last_rejection(who), Some(Cause::Invalid));
    }
    meeting.settle();
    meeting.forge(0, stolen);
    assert_eq!(meeting.last_rejection(0), Some(Cause::Late));
    meeting.settle();
    meeting.leave(mallory);
    meeting.people[mallory].here = false;
    meeting.settle();
    meeting.assert_agreed();
    assert_eq!(meeting.epoch(1), epoch + 1);
}

#[test]
fn who_sends_too_much_is_closed_and_others_are_not() {
    let mut meeting = Meeting::with(&["ada", "ben", "cleo"]);
    let connection = meeting.people[2].connection;
    for _ in 0..5_000 {
        if meeting.people[2].connection != connection {
            break;
        }
        let epoch = meeting.epoch(2);
        meeting.forge(2, Message::Ready(messages::Ready { epoch }));
        while meeting.deliver_one() {}
    }
    assert_eq!(meeting.people[2].connection, None);
    meeting.leave(2);
    meeting.people[2].here = false;
    meeting.settle();
    meeting.assert_agreed();
}

#[test]
fn whatever_happens_all_who_are_here_agree_in_the_end() {
    for seed in 0..60 {
        let mut meeting = Meeting::new(seed);
        meeting.come("p0", false);
        let mut next = 1;
        for _ in 0..40 {
            let who = meeting.rng.random_range(0..meeting.people.len());
            let here = meeting.people.iter().filter(|one| one.here).count();
            let is_here = meeting.people[who].here;
            match meeting.rng.random_range(0..8) {
                0 | 1 => {
                    meeting.come(&format!("p{next}"), false);
                    next += 1;
                }
                2 if is_here && here > 1 => meeting.leave(who),
                3 if is_here => meeting.reload(who),
                4 if is_here => meeting.cut(who),
                5 if is_here && meeting.people[who].connection.is_none() => meeting.connect(who),
                6 if is_here => {
                    let _ = meeting.people[who].client.say(b"hello");
                    meeting.pump(who);
                }
                _ => {
                    let time = meeting.rng.random_range(0..300);
                    meeting.run(Duration::from_millis(time));
                }
            }
            for _ in 0..meeting.rng.random_range(0..6) {
                meeting.deliver_one();
            }
        }
        for who in 0..meeting.people.len() {
            if meeting.people[who].here && meeting.people[who].connection.is_none() {
                meeting.connect(who);
            }
        }
        meeting.run(Duration::from_secs(60));
        meeting.assert_agreed();
    }
}
