//! Groups as their members have them: all agree, and nobody comes in who was not let in.

use e2ee::{
    group::{Commit, Group, GroupError, Joiner, Processed},
    identity::Identity,
    policy::{Policy, Refusal},
    profile::Profile,
    public_group::PublicGroup,
    ticket::Ticket,
};

const ROOM: &[u8] = b"room-1";
const NOW: u64 = 1_800_000_000;
const LATER: u64 = NOW + 3600;

fn identity(name: &str) -> Identity {
    Identity::new(name).unwrap()
}

/// Members of a room, and what the delivery service would do between them.
struct Meeting {
    profile: Profile,
    members: Vec<Group>,
}

impl Meeting {
    fn found(profile: Profile, moderated: bool) -> Self {
        let founder = identity("ada");
        let policy = match moderated {
            true => Policy::moderated(founder.public_key()),
            false => Policy::open(),
        };
        let group = Group::found(founder, ROOM, profile, &policy, None).unwrap();
        Self {
            profile,
            members: vec![group],
        }
    }

    fn with(profile: Profile, moderated: bool, names: &[&str]) -> Self {
        let mut meeting = Self::found(profile, moderated);
        for name in names {
            meeting.add(0, identity(name)).unwrap();
        }
        meeting
    }

    /// The member at this place commits, and everybody takes it.
    fn deliver(&mut self, committer: usize, commit: &Commit) -> Result<(), GroupError> {
        for (place, member) in self.members.iter_mut().enumerate() {
            if place == committer {
                continue;
            }
            if let Err(error) = member.process(&commit.message, NOW) {
                self.members[committer].rejected().unwrap();
                return Err(error);
            }
        }
        self.members[committer].accepted().unwrap();
        Ok(())
    }

    /// The member at this place adds somebody with a ticket of its own.
    fn add(&mut self, committer: usize, who: Identity) -> Result<(), GroupError> {
        let ticket = self.members[committer].ticket(who.name(), who.public_key(), LATER)?;
        self.add_with(committer, who, ticket)
    }

    fn add_with(
        &mut self,
        committer: usize,
        who: Identity,
        ticket: Ticket,
    ) -> Result<(), GroupError> {
        let joiner = Joiner::new(who, self.profile)?;
        let added = [(joiner.key_package(), ticket)];
        let commit = self.members[committer].commit(&added, &[], None)?;
        self.deliver(committer, &commit)?;
        let tree = self.members[committer].tree()?;
        let group = joiner.join(ROOM, commit.welcome.as_deref().unwrap(), &tree)?;
        self.members.push(group);
        Ok(())
    }

    /// Somebody comes in from outside.
    fn enter(&mut self, who: Identity, ticket: Ticket) -> Result<(), GroupError> {
        let (info, tree) = (self.members[0].group_info()?, self.members[0].tree()?);
        let (group, commit) = Group::enter(who, ROOM, &info, &tree, ticket)?;
        for member in &mut self.members {
            member.process(&commit.message, NOW)?;
        }
        self.members.push(group);
        Ok(())
    }

    fn leaf(&self, name: &str) -> u32 {
        let mut members = self.members[0].members();
        members.find(|member| member.identity == name).unwrap().leaf
    }

    fn assert_agreed(&self) {
        let state = |group: &Group| {
            let members: Vec<_> = group.members().collect();
            (
                group.epoch(),
                group.base_key().unwrap(),
                group.code(),
                members,
                group.policy(),
            )
        };
        for member in &self.members[1..] {
            assert_eq!(state(member), state(&self.members[0]));
        }
    }
}

const REFUSED: fn(Refusal) -> Result<(), GroupError> = |refusal| Err(GroupError::Refused(refusal));

#[test]
fn all_who_come_in_agree_on_keys_and_code_in_every_profile() {
    for profile in [Profile::Classic, Profile::Hybrid] {
        let mut meeting = Meeting::with(profile, true, &["ben", "cleo"]);
        let dora = identity("dora");
        let ticket = meeting.members[0]
            .ticket("dora", dora.public_key(), LATER)
            .unwrap();
        meeting.enter(dora, ticket).unwrap();
        meeting.assert_agreed();
        let names: Vec<_> = meeting.members[0]
            .members()
            .map(|one| one.identity)
            .collect();
        assert_eq!(names, ["ada", "ben", "cleo", "dora"]);
    }
}

#[test]
fn each_change_has_other_keys_and_who_is_removed_has_none_of_them() {
    let mut meeting = Meeting::with(Profile::Classic, true, &["ben", "cleo"]);
    let before = (
        meeting.members[0].base_key().unwrap(),
        meeting.members[0].code(),
    );
    let mut removed = meeting.members.remove(1);
    let commit = meeting.members[0]
        .commit(&[], &[removed.own_leaf()], None)
        .unwrap();
    meeting.deliver(0, &commit).unwrap();
    meeting.assert_agreed();
    let after = (
        meeting.members[0].base_key().unwrap(),
        meeting.members[0].code(),
    );
    assert!(before.0 != after.0 && before.1 != after.1);
    assert_eq!(
        removed.process(&commit.message, NOW),
        Ok(Processed::Removed)
    );
    assert!(removed.base_key().is_err());
}

#[test]
fn what_a_member_says_reaches_the_others_and_nobody_else() {
    let mut meeting = Meeting::with(Profile::Classic, false, &["ben"]);
    let said = meeting.members[1].say(b"hello").unwrap();
    let expected = Processed::Message {
        leaf: 1,
        bytes: b"hello".to_vec(),
    };
    assert_eq!(meeting.members[0].process(&said, NOW), Ok(expected));
    assert!(
        meeting.members[0].process(&said, NOW).is_err(),
        "no message is taken twice"
    );
    assert!(!said.windows(5).any(|five| five == b"hello"));
}

#[test]
fn nobody_comes_in_without_a_good_ticket() {
    let mut meeting = Meeting::with(Profile::Classic, true, &["ben", "cleo"]);
    let eve = || identity("eve");

    // Of a member who is no moderator.
    let who = eve();
    assert_eq!(meeting.add(1, who), REFUSED(Refusal::NoTicket));
    // Too late.
    let who = eve();
    let late = meeting.members[0]
        .ticket("eve", who.public_key(), NOW - 1)
        .unwrap();
    assert_eq!(meeting.add_with(0, who, late), REFUSED(Refusal::NoTicket));
    // Of somebody else: another name, another key.
    let who = eve();
    let other = meeting.members[0]
        .ticket("eva", who.public_key(), LATER)
        .unwrap();
    assert_eq!(meeting.enter(who, other), REFUSED(Refusal::NoTicket));
    let other = meeting.members[0]
        .ticket("eve", eve().public_key(), LATER)
        .unwrap();
    assert_eq!(meeting.enter(eve(), other), REFUSED(Refusal::NoTicket));
    // Of another room.
    let who = eve();
    let founder = identity("ada");
    let policy = Policy::moderated(founder.public_key());
    let elsewhere = Group::found(founder, b"room-2", Profile::Classic, &policy, None).unwrap();
    let other = elsewhere.ticket("eve", who.public_key(), LATER).unwrap();
    assert_eq!(meeting.enter(who, other), REFUSED(Refusal::NoTicket));
    // Her own.
    let who = eve();
    let own = Ticket::issue(
        ROOM,
        "eve",
        who.public_key(),
        LATER,
        who.public_key(),
        who.signer(),
    );
    assert_eq!(meeting.enter(who, own.unwrap()), REFUSED(Refusal::NoTicket));
    // A moderator's name on it, her signature under it.
    let who = eve();
    let ada = meeting.members[0].me().public_key().to_vec();
    let forged = Ticket::issue(ROOM, "eve", who.public_key(), LATER, &ada, who.signer());
    assert_eq!(
        meeting.enter(who, forged.unwrap()),
        REFUSED(Refusal::NoTicket)
    );

    meeting.assert_agreed();
    assert_eq!(meeting.members[0].members().count(), 3);
}

#[test]
fn in_an_open_room_whoever_is_there_lets_others_in_but_nobody_else() {
    let mut meeting = Meeting::with(Profile::Classic, false, &["ben"]);
    meeting.add(1, identity("cleo")).unwrap();
    let who = identity("eve");
    let own = Ticket::issue(
        ROOM,
        "eve",
        who.public_key(),
        LATER,
        who.public_key(),
        who.signer(),
    );
    assert_eq!(meeting.enter(who, own.unwrap()), REFUSED(Refusal::NoTicket));
    meeting.assert_agreed();
}

#[test]
fn who_lost_its_group_comes_in_again_with_the_ticket_it_had_and_takes_its_leaf_away() {
    let mut meeting = Meeting::found(Profile::Classic, true);
    let ben = identity("ben");
    let kept = ben.key_to_keep();
    let ticket = meeting.members[0]
        .ticket("ben", ben.public_key(), LATER)
        .unwrap();
    meeting.add_with(0, ben, ticket.clone()).unwrap();
    meeting.members.pop();
    let again = Identity::with_key("ben", &kept).unwrap();
    meeting.enter(again, ticket).unwrap();
    meeting.assert_agreed();
    assert_eq!(meeting.members[0].members().count(), 2);
}

#[test]
fn in_an_open_room_nobody_takes_the_place_of_another_with_a_ticket_in_its_name() {
    let mut meeting = Meeting::with(Profile::Classic, false, &["ben", "eve"]);
    let other = identity("ben");
    let ticket = meeting.members[2]
        .ticket("ben", other.public_key(), LATER)
        .unwrap();
    assert_eq!(meeting.enter(other, ticket), REFUSED(Refusal::Twice));
}

#[test]
fn nobody_comes_in_under_the_name_of_somebody_who_is_there() {
    let mut meeting = Meeting::with(Profile::Classic, true, &["ben"]);
    assert_eq!(meeting.add(0, identity("ben")), REFUSED(Refusal::Twice));
}

#[test]
fn who_is_banned_comes_in_with_no_ticket() {
    let mut meeting = Meeting::found(Profile::Classic, true);
    let ben = identity("ben");
    let (kept, key) = (ben.key_to_keep(), ben.public_key().to_vec());
    let ticket = meeting.members[0].ticket("ben", &key, LATER).unwrap();
    meeting.add_with(0, ben, ticket.clone()).unwrap();
    meeting.add(0, identity("cleo")).unwrap();
    let mut policy = meeting.members[0].policy();
    policy.ban(&key);
    let leaf = meeting.leaf("ben");
    meeting.members.remove(1);
    let commit = meeting.members[0]
        .commit(&[], &[leaf], Some(&policy))
        .unwrap();
    meeting.deliver(0, &commit).unwrap();
    meeting.assert_agreed();
    let again = Identity::with_key("ben", &kept).unwrap();
    assert_eq!(meeting.enter(again, ticket), REFUSED(Refusal::Banned));
}

#[test]
fn only_moderators_remove_and_change_the_rules() {
    let mut meeting = Meeting::with(Profile::Classic, true, &["ben", "cleo"]);
    let cleo = meeting.leaf("cleo");
    let commit = meeting.members[1].commit(&[], &[cleo], None).unwrap();
    assert_eq!(meeting.deliver(1, &commit), REFUSED(Refusal::Removal));

    let mut policy = meeting.members[1].policy();
    policy.promote(meeting.members[1].me().public_key());
    let commit = meeting.members[1].commit(&[], &[], Some(&policy)).unwrap();
    assert_eq!(meeting.deliver(1, &commit), REFUSED(Refusal::Rules));
    // A moderator may, and then the other one may too.
    let commit = meeting.members[0].commit(&[], &[], Some(&policy)).unwrap();
    meeting.deliver(0, &commit).unwrap();
    meeting.add(1, identity("dora")).unwrap();
    meeting.assert_agreed();
    // A room with moderators never becomes one without.
    let commit = meeting.members[0]
        .commit(&[], &[], Some(&Policy::open()))
        .unwrap();
    assert_eq!(meeting.deliver(0, &commit), REFUSED(Refusal::Rules));
}

#[test]
fn malformed_stale_and_repeated_messages_change_nothing() {
    let mut meeting = Meeting::with(Profile::Classic, false, &["ben"]);
    let commit = meeting.members[0].commit(&[], &[], None).unwrap();
    let ben = &mut meeting.members[1];
    for len in 0..commit.message.len() {
        assert!(ben.process(&commit.message[..len], NOW).is_err());
    }
    for at in 0..commit.message.len() {
        let mut bent = commit.message.clone();
        bent[at] ^= 1;
        assert!(ben.process(&bent, NOW).is_err(), "bit {at}");
    }
    meeting.deliver(0, &commit).unwrap();
    assert!(
        meeting.members[1].process(&commit.message, NOW).is_err(),
        "it was there"
    );
    meeting.assert_agreed();
}

#[test]
fn a_welcome_of_another_room_is_refused() {
    let mut meeting = Meeting::found(Profile::Classic, false);
    let ben = identity("ben");
    let ticket = meeting.members[0]
        .ticket("ben", ben.public_key(), LATER)
        .unwrap();
    let joiner = Joiner::new(ben, Profile::Classic).unwrap();
    let commit = meeting.members[0]
        .commit(&[(joiner.key_package(), ticket)], &[], None)
        .unwrap();
    meeting.members[0].accepted().unwrap();
    let tree = meeting.members[0].tree().unwrap();
    let joined = joiner.join(b"room-2", commit.welcome.as_deref().unwrap(), &tree);
    assert!(joined.is_err());
}

/// A meeting as the delivery service sees it.
fn founded(moderated: bool) -> (Meeting, PublicGroup) {
    let service = identity("delivery service");
    let founder = identity("ada");
    let policy = match moderated {
        true => Policy::moderated(founder.public_key()),
        false => Policy::open(),
    };
    let key = Some(service.public_key());
    let group = Group::found(founder, ROOM, Profile::Classic, &policy, key).unwrap();
    let (info, tree) = (group.group_info().unwrap(), group.tree().unwrap());
    let public = PublicGroup::found(service, ROOM, &info, &tree).unwrap();
    let meeting = Meeting {
        profile: Profile::Classic,
        members: vec![group],
    };
    (meeting, public)
}

/// The delivery service takes a commit.
fn take(public: &mut PublicGroup, commit: &Commit) -> Result<(), GroupError> {
    let checked = public.check(&commit.message, NOW)?;
    public.apply(checked, &commit.group_info)
}

#[test]
fn the_delivery_service_sees_what_members_see_and_refuses_what_they_refuse() {
    let (mut meeting, mut public) = founded(true);
    let ben = identity("ben");
    let ticket = meeting.members[0]
        .ticket("ben", ben.public_key(), LATER)
        .unwrap();
    let joiner = Joiner::new(ben, Profile::Classic).unwrap();
    let commit = meeting.members[0]
        .commit(&[(joiner.key_package(), ticket)], &[], None)
        .unwrap();
    take(&mut public, &commit).unwrap();
    meeting.deliver(0, &commit).unwrap();
    let tree = public.tree().unwrap();
    meeting.members.push(
        joiner
            .join(ROOM, commit.welcome.as_deref().unwrap(), &tree)
            .unwrap(),
    );
    meeting.assert_agreed();
    assert_eq!(public.epoch(), 1);
    assert!(public.members().eq(meeting.members[0].members()));

    assert!(
        public.check(&commit.message, NOW).is_err(),
        "of an epoch that is over"
    );
    let commit = meeting.members[1].commit(&[], &[0], None).unwrap();
    assert_eq!(take(&mut public, &commit), REFUSED(Refusal::Removal));
    meeting.members[1].rejected().unwrap();
    let (info, tree) = (public.group_info().to_vec(), public.tree().unwrap());
    let eve = identity("eve");
    let own = Ticket::issue(
        ROOM,
        "eve",
        eve.public_key(),
        LATER,
        eve.public_key(),
        eve.signer(),
    );
    let (_, commit) = Group::enter(eve, ROOM, &info, &tree, own.unwrap()).unwrap();
    assert_eq!(take(&mut public, &commit), REFUSED(Refusal::NoTicket));

    let said = meeting.members[1].say(b"hello").unwrap();
    let checked = public.check(&said, NOW).unwrap();
    assert_eq!(checked.removed(), None);
    public.apply(checked, &[]).unwrap();
    assert_eq!(public.epoch(), 1);
}

#[test]
fn the_delivery_service_removes_who_is_gone_and_lets_nobody_in() {
    let (mut meeting, mut public) = founded(true);
    for name in ["ben", "cleo"] {
        let who = identity(name);
        let ticket = meeting.members[0]
            .ticket(name, who.public_key(), LATER)
            .unwrap();
        let (info, tree) = (public.group_info().to_vec(), public.tree().unwrap());
        let (group, commit) = Group::enter(who, ROOM, &info, &tree, ticket).unwrap();
        take(&mut public, &commit).unwrap();
        for member in &mut meeting.members {
            member.process(&commit.message, NOW).unwrap();
        }
        meeting.members.push(group);
    }
    meeting.assert_agreed();
    meeting.members.remove(1);
    let proposal = public.propose_removal(1).unwrap();
    for member in &mut meeting.members {
        assert_eq!(member.process(&proposal, NOW), Ok(Processed::Proposal));
    }
    // Whoever commits does it, also who may remove nobody herself.
    let commit = meeting.members[1].commit(&[], &[], None).unwrap();
    assert_eq!(
        public.check(&commit.message, NOW).unwrap().removed(),
        Some([1].into())
    );
    take(&mut public, &commit).unwrap();
    meeting.deliver(1, &commit).unwrap();
    meeting.assert_agreed();
    assert_eq!(public.members().count(), 2);
    assert!(public.propose_removal(1).is_err());
}

#[test]
fn group_information_of_another_commit_is_not_taken() {
    let (mut meeting, mut public) = founded(false);
    let before = public.group_info().to_vec();
    let commit = meeting.members[0].commit(&[], &[], None).unwrap();
    for false_one in [before, commit.message.clone(), Vec::new()] {
        let checked = public.check(&commit.message, NOW).unwrap();
        assert!(public.apply(checked, &false_one).is_err());
        assert_eq!(public.epoch(), 0);
    }
    take(&mut public, &commit).unwrap();
    assert_eq!(public.epoch(), 1);
}

#[test]
fn only_a_new_group_of_this_room_is_founded() {
    let service = || identity("delivery service");
    let founded = |room: &[u8], policy: &Policy, key: Option<&[u8]>, service: Identity| {
        let group = Group::found(identity("ada"), room, Profile::Classic, policy, key).unwrap();
        PublicGroup::found(
            service,
            ROOM,
            &group.group_info().unwrap(),
            &group.tree().unwrap(),
        )
    };
    let mine = service();
    let key = mine.public_key().to_vec();
    assert!(founded(ROOM, &Policy::open(), Some(&key), mine).is_ok());
    assert!(
        founded(ROOM, &Policy::open(), None, service()).is_err(),
        "nobody could be removed"
    );
    let mine = service();
    let key = mine.public_key().to_vec();
    assert!(founded(b"room-2", &Policy::open(), Some(&key), mine).is_err());
    let mine = service();
    let key = mine.public_key().to_vec();
    let other = Policy::moderated(identity("eve").public_key());
    assert!(
        founded(ROOM, &other, Some(&key), mine).is_err(),
        "moderated by nobody who is there"
    );
}
