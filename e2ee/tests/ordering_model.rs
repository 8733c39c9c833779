//! All that can happen to a small group under the order of commits, looked through by a model checker: messages that take
//! any time, get lost or come twice, members who come, go and lose their connections, and a service that crashes.
//!
//! What is checked is [`Ordering`] itself. Around it stands as little as can be: commits without cryptography, whose key is
//! what came before them and what they are; a log that survives a crash; members who read it in order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use e2ee::ordering::{Ordering, Step};
use stateright::{Checker, HasDiscoveries, Model, Property};

type Who = u8;

/// A change of the group. The one at place `n` of the log ends epoch `n`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Commit {
    epoch: u64,
    by: Who,
    added: BTreeSet<Who>,
    removed: BTreeSet<Who>,
}

/// A message to or from a member.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Message {
    Join,
    Commit(Commit),
    Ready(u64),
    Ask {
        epoch: u64,
        added: BTreeSet<Who>,
        removed: BTreeSet<Who>,
    },
    /// What an epoch is: for those who are added by it, or come in after it from outside.
    State {
        epoch: u64,
        key: u64,
        members: BTreeSet<Who>,
        welcome: bool,
    },
    Entry(Commit),
    Rejected(u64),
}

/// A direction of a member's connection, on which messages keep their order: to the service, or from it.
type Way = (bool, Who);

/// The group as a member has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct View {
    epoch: u64,
    key: u64,
    members: BTreeSet<Who>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Member {
    /// It is in the meeting.
    present: bool,
    connected: bool,
    connection: u8,
    view: Option<View>,
    /// The epoch that a commit of its own is to end.
    committing: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct System {
    ordering: Ordering<Who>,
    /// All commits that were taken: they survive a crash.
    log: Vec<Commit>,
    members: Vec<Member>,
    /// What is under way.
    network: BTreeMap<Way, VecDeque<Message>>,
    /// Those who come in from outside as soon as that can succeed.
    entering: BTreeSet<Who>,
    now: Duration,
    /// How often each kind of mishap may still happen.
    mishaps: Mishaps,
    /// A message was lost. A connection on which that happens breaks in the end.
    is_lossy: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Mishaps {
    losses: u8,
    repeats: u8,
    cuts: u8,
    leaves: u8,
    crashes: u8,
    timeouts: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Action {
    Deliver(Way),
    Lose(Way),
    Repeat(Way),
    Arrive(Who),
    Connect(Who),
    Cut(Who),
    Leave(Who),
    Timeout,
    Crash,
}

/// The model: so many members, of whom the first has founded the group.
struct Group {
    members: u8,
    mishaps: Mishaps,
    /// The mutant: whatever fits together is taken, the first or not.
    takes_any: bool,
}

/// The key of an epoch, from that of the one before.
fn next_key(key: u64, commit: &Commit) -> u64 {
    let mut hasher = DefaultHasher::new();
    (key, commit).hash(&mut hasher);
    hasher.finish()
}

impl System {
    /// The group after the log so far.
    fn present_view(&self) -> View {
        let mut view = View {
            epoch: 0,
            key: 0,
            members: BTreeSet::from([0]),
        };
        for commit in &self.log {
            view = view.after(commit);
        }
        view
    }

    fn send(&mut self, to_service: bool, who: Who, message: Message) {
        if self.members[usize::from(who)].connected {
            let way = self.network.entry((to_service, who)).or_default();
            way.push_back(message);
        }
    }

    fn take_steps(&mut self) {
        while let Some(step) = self.ordering.poll() {
            let view = self.present_view();
            match step {
                Step::Ask(who) => {
                    let added = self.ordering.joins().collect();
                    let removed = self.ordering.removals();
                    let removed = removed.map(|leaf| leaf as Who).collect();
                    let epoch = view.epoch;
                    self.send(
                        false,
                        who,
                        Message::Ask {
                            epoch,
                            added,
                            removed,
                        },
                    );
                }
                // Nobody could let it in: whoever has a leaf connects with it.
                Step::Enter(_) | Step::Go(_) => {}
            }
        }
        if !self.ordering.waits_for_removal() {
            for who in std::mem::take(&mut self.entering) {
                self.send_state(who, false);
            }
        }
    }

    fn connect(&mut self, who: Who) {
        let view = self.present_view();
        let member = &mut self.members[usize::from(who)];
        member.connected = true;
        member.connection += 1;
        member.committing = None;
        let has_leaf = view.members.contains(&who);
        let own = member.view.clone();
        let now = self.now;
        match own {
            // It reads on.
            Some(own) if has_leaf => {
                let missed = self.log[own.epoch as usize..].to_vec();
                for commit in missed {
                    self.send(false, who, Message::Entry(commit));
                }
                self.ordering.connect(who, Some(who.into()), now);
            }
            // Its leaf is there and its state is not: it comes in by a commit of its own.
            None if has_leaf => {
                self.ordering.connect(who, None, now);
                self.entering.insert(who);
            }
            _ => {
                self.members[usize::from(who)].view = None;
                self.ordering.connect(who, None, now);
                self.send(true, who, Message::Join);
            }
        }
        self.take_steps();
    }

    fn send_state(&mut self, who: Who, welcome: bool) {
        let View {
            epoch,
            key,
            members,
        } = self.present_view();
        self.send(
            false,
            who,
            Message::State {
                epoch,
                key,
                members,
                welcome,
            },
        );
    }

    fn cut(&mut self, who: Who) {
        self.members[usize::from(who)].connected = false;
        self.network.retain(|(_, other), _| *other != who);
        self.entering.remove(&who);
        self.ordering.disconnect(who, self.now);
        self.take_steps();
    }

    /// The service takes a message.
    fn serve(&mut self, who: Who, message: Message, takes_any: bool) {
        let view = self.present_view();
        match message {
            Message::Join if view.members.contains(&who) => _ = self.entering.insert(who),
            Message::Join => self.ordering.join(who, self.now),
            Message::Ready(epoch) => self.ordering.ready(who, epoch),
            Message::Commit(commit) => {
                let removed: BTreeSet<u32> =
                    commit.removed.iter().map(|one| (*one).into()).collect();
                // Whoever has left meanwhile is added and removed next, as in the service.
                let is_next = self.ordering.takes(commit.epoch, &removed);
                let by_member = view.members.contains(&commit.by);
                if !(is_next || takes_any && commit.epoch + 1 >= view.epoch) || !by_member {
                    return self.send(false, who, Message::Rejected(commit.epoch));
                }
                self.log.push(commit.clone());
                let after = self.present_view();
                for one in 0..self.members.len() as Who {
                    let is_added = commit.added.contains(&one);
                    if view.members.contains(&one) && !is_added {
                        self.send(false, one, Message::Entry(commit.clone()));
                    } else if is_added && after.members.contains(&one) {
                        self.send_state(one, true);
                    }
                }
                let members = self.members.iter().zip(0..);
                let connected =
                    members.filter(|(member, who)| member.connected && after.members.contains(who));
                let members: BTreeMap<Who, u32> =
                    connected.map(|(_, who)| (who, who.into())).collect();
                self.ordering.commit(&members, &removed, self.now);
                let gone: Vec<_> = after.members.into_iter().collect();
                for one in gone {
                    if !self.members[usize::from(one)].present {
                        self.ordering.remove(one.into(), self.now);
                    }
                }
            }
            _ => {}
        }
        self.take_steps();
    }

    /// A member takes a message.
    fn read(&mut self, who: Who, message: Message) {
        let member = &mut self.members[usize::from(who)];
        let mut answers = Vec::new();
        match message {
            Message::Ask {
                epoch,
                added,
                removed,
            } => {
                let is_present = member.view.as_ref().is_some_and(|view| view.epoch == epoch);
                // While it does not know what became of one commit it makes no other.
                if is_present && member.committing.is_none() {
                    member.committing = Some(epoch);
                    let by = who;
                    answers.push(Message::Commit(Commit {
                        epoch,
                        by,
                        added,
                        removed,
                    }));
                }
            }
            Message::State {
                epoch,
                key,
                members,
                welcome,
            } if member.view.is_none() => match welcome {
                true => {
                    member.view = Some(View {
                        epoch,
                        key,
                        members,
                    });
                    answers.push(Message::Ready(epoch));
                }
                // Its leaf takes the place of the one that is there.
                false => answers.push(Message::Commit(Commit {
                    epoch,
                    by: who,
                    added: BTreeSet::from([who]),
                    removed: BTreeSet::new(),
                })),
            },
            Message::Entry(commit) => {
                let view = member.view.take_if(|view| view.epoch == commit.epoch);
                if let Some(view) = view {
                    let after = view.after(&commit);
                    member.committing = None;
                    if after.members.contains(&who) {
                        answers.push(Message::Ready(after.epoch));
                        member.view = Some(after);
                    }
                }
            }
            Message::Rejected(epoch) => {
                member.committing.take_if(|own| *own == epoch);
                if member.view.is_none() {
                    answers.push(Message::Join);
                }
            }
            _ => {}
        }
        for answer in answers {
            self.send(true, who, answer);
        }
    }

    fn crash(&mut self) {
        let view = self.present_view();
        self.ordering = Ordering::new(view.epoch);
        self.network.clear();
        self.entering.clear();
        self.members
            .iter_mut()
            .for_each(|member| member.connected = false);
        for one in view.members {
            if !self.members[usize::from(one)].present {
                self.ordering.remove(one.into(), self.now);
            }
        }
        self.take_steps();
    }

    /// What would come of it if nothing went wrong from here on.
    fn in_the_end(&self) -> Self {
        let mut system = self.clone();
        if system.is_lossy {
            (0..system.members.len() as Who).for_each(|who| system.cut(who));
        }
        for _ in 0..40 {
            for who in 0..system.members.len() as Who {
                let member = &system.members[usize::from(who)];
                if member.present && !member.connected {
                    system.connect(who);
                }
            }
            while let Some(&way) = system.network.keys().next() {
                system.deliver(way, false);
            }
            match system.ordering.due() {
                Some(due) => {
                    system.now = system.now.max(due);
                    system.ordering.handle_timeout(system.now);
                    system.take_steps();
                }
                None => break,
            }
        }
        system
    }

    /// The next message of a way arrives.
    fn deliver(&mut self, way: Way, takes_any: bool) {
        if let Some(message) = self.take_next(way) {
            self.arrive(way, message, takes_any);
        }
    }

    fn take_next(&mut self, way: Way) -> Option<Message> {
        let messages = self.network.get_mut(&way)?;
        let message = messages.pop_front();
        if messages.is_empty() {
            self.network.remove(&way);
        }
        message
    }

    fn arrive(&mut self, (to_service, who): Way, message: Message, takes_any: bool) {
        match to_service {
            true => self.serve(who, message, takes_any),
            false => self.read(who, message),
        }
    }

    /// All who are in the meeting have the newest epoch, and nobody else is a member.
    fn is_settled(&self) -> bool {
        let view = self.present_view();
        let mut members = self.members.iter().zip(0..);
        members.all(|(member, who)| match member.present {
            true => member.view.as_ref() == Some(&view),
            false => !view.members.contains(&who),
        })
    }
}

impl View {
    fn after(&self, commit: &Commit) -> Self {
        let stay = self.members.difference(&commit.removed);
        Self {
            epoch: self.epoch + 1,
            key: next_key(self.key, commit),
            members: stay.chain(&commit.added).copied().collect(),
        }
    }
}

impl Model for Group {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        let mut members = vec![Member::default(); self.members.into()];
        members[0] = Member {
            present: true,
            connected: true,
            connection: 1,
            view: Some(View {
                epoch: 0,
                key: 0,
                members: BTreeSet::from([0]),
            }),
            committing: None,
        };
        let mut ordering = Ordering::new(0);
        ordering.connect(0, Some(0), Duration::ZERO);
        vec![System {
            ordering,
            log: Vec::new(),
            members,
            network: BTreeMap::new(),
            entering: BTreeSet::new(),
            now: Duration::ZERO,
            mishaps: self.mishaps,
            is_lossy: false,
        }]
    }

    fn actions(&self, state: &System, actions: &mut Vec<Action>) {
        let mishaps = &state.mishaps;
        for &way in state.network.keys() {
            actions.push(Action::Deliver(way));
            if mishaps.losses > 0 {
                actions.push(Action::Lose(way));
            }
            if mishaps.repeats > 0 {
                actions.push(Action::Repeat(way));
            }
        }
        for (member, who) in state.members.iter().zip(0..) {
            match (member.present, member.connected) {
                (false, _) if member.connection == 0 => actions.push(Action::Arrive(who)),
                (true, false) => actions.push(Action::Connect(who)),
                (true, true) if mishaps.cuts > 0 => actions.push(Action::Cut(who)),
                _ => {}
            }
            if member.present && mishaps.leaves > 0 {
                actions.push(Action::Leave(who));
            }
        }
        if mishaps.timeouts > 0 && state.ordering.due().is_some() {
            actions.push(Action::Timeout);
        }
        if mishaps.crashes > 0 {
            actions.push(Action::Crash);
        }
    }

    fn next_state(&self, state: &System, action: Action) -> Option<System> {
        let mut next = state.clone();
        match action {
            Action::Deliver(way) => next.deliver(way, self.takes_any),
            Action::Lose(way) => {
                next.mishaps.losses -= 1;
                next.is_lossy = true;
                next.take_next(way);
            }
            Action::Repeat(way) => {
                next.mishaps.repeats -= 1;
                let message = next.network.get(&way)?.front()?.clone();
                next.arrive(way, message, self.takes_any);
            }
            Action::Arrive(who) => {
                next.members[usize::from(who)].present = true;
                next.connect(who);
            }
            Action::Connect(who) => next.connect(who),
            Action::Cut(who) => {
                next.mishaps.cuts -= 1;
                next.cut(who);
            }
            Action::Leave(who) => {
                next.mishaps.leaves -= 1;
                next.members[usize::from(who)].present = false;
                next.cut(who);
                if next.present_view().members.contains(&who) {
                    next.ordering.remove(who.into(), next.now);
                    next.take_steps();
                }
            }
            Action::Timeout => {
                next.mishaps.timeouts -= 1;
                next.now = next.now.max(next.ordering.due()?);
                next.ordering.handle_timeout(next.now);
                next.take_steps();
            }
            Action::Crash => {
                next.mishaps.crashes -= 1;
                next.crash();
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("members of one epoch have one key", |_, state: &System| {
                let mut keys = BTreeMap::new();
                let mut views = state
                    .members
                    .iter()
                    .filter_map(|member| member.view.as_ref());
                views.all(|view| *keys.entry(view.epoch).or_insert(view.key) == view.key)
            }),
            Property::always(
                "who is removed is in no later epoch",
                |_, state: &System| {
                    let views = state.members.iter().zip(0..);
                    let mut views =
                        views.filter_map(|(member, who)| Some((member.view.as_ref()?, who)));
                    views.all(|(view, who)| view.members.contains(&who))
                },
            ),
            Property::always("never stuck", |_, state: &System| {
                // Where nobody is a member any more there is nobody to go on: the service founds another group.
                let view = state.present_view();
                let somebody = view
                    .members
                    .iter()
                    .any(|who| state.members[usize::from(*who)].present);
                !somebody || state.in_the_end().is_settled()
            }),
        ]
    }
}

const CALM: Mishaps = Mishaps {
    losses: 0,
    repeats: 0,
    cuts: 0,
    leaves: 0,
    crashes: 0,
    timeouts: 0,
};

fn assert_holds(members: u8, mishaps: Mishaps) {
    let group = Group {
        members,
        mishaps,
        takes_any: false,
    };
    let checker = group.checker().threads(2).spawn_bfs().join();
    println!(
        "{members} members, {mishaps:?}: {} states",
        checker.unique_state_count()
    );
    checker.assert_properties();
}

#[test]
fn a_group_of_three_agrees_whatever_one_mishap_of_each_kind_does() {
    let one_of = [
        Mishaps {
            losses: 1,
            timeouts: 1,
            ..CALM
        },
        Mishaps { repeats: 2, ..CALM },
        Mishaps {
            cuts: 1,
            timeouts: 1,
            ..CALM
        },
        Mishaps {
            leaves: 1,
            timeouts: 1,
            ..CALM
        },
        Mishaps { leaves: 2, ..CALM },
        Mishaps { crashes: 1, ..CALM },
        Mishaps {
            crashes: 1,
            leaves: 1,
            ..CALM
        },
        Mishaps {
            cuts: 1,
            leaves: 1,
            ..CALM
        },
        Mishaps {
            losses: 1,
            repeats: 1,
            ..CALM
        },
    ];
    for mishaps in one_of {
        assert_holds(3, mishaps);
    }
}

#[test]
fn a_group_of_four_agrees() {
    assert_holds(4, CALM);
    assert_holds(4, Mishaps { leaves: 1, ..CALM });
}

#[test]
fn where_any_commit_is_taken_the_checker_finds_that_keys_differ() {
    let group = Group {
        members: 3,
        mishaps: Mishaps {
            repeats: 2,
            timeouts: 1,
            ..CALM
        },
        takes_any: true,
    };
    let found = HasDiscoveries::Any;
    let checker = group
        .checker()
        .finish_when(found)
        .threads(2)
        .spawn_bfs()
        .join();
    let found = checker
        .discovery("members of one epoch have one key")
        .is_some()
        || checker.discovery("never stuck").is_some();
    assert!(found, "the mutant is not found");
}
