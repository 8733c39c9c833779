//! The negotiations of one room: descriptions of its members are read and written in the room's own task, where no
//! media waits for it.
//!
//! A room's commands go through its [`Negotiator`]. Offers and answers end there. The negotiator makes sections from
//! tracks and subscriptions, and gives the shard plain parameters ([`ConnectionCommand`](crate::ConnectionCommand),
//! [`DownTrackCommand`]). All other commands pass. Events of the shard pass on the way back, except those
//! that ask for a negotiation.
//!
//! The owner hands over all commands and events ([`Negotiator::handle_command`], [`Negotiator::handle_event`]) and then
//! takes all outputs ([`Negotiator::poll`]). The changes in between are one negotiation for each client, not one for
//! each track.

mod backup;
mod connection;
mod descriptions;
mod track;
mod tracks;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    panic::{AssertUnwindSafe, catch_unwind},
};

use protocol::{ParticipantSid, TrackSid};
use rand::{SeedableRng, rngs::StdRng};

use self::{
    connection::{Connection, Local},
    track::Track,
};
use crate::{
    api::{
        Command, Config, DescriptionCommand, DownTrackCommand, Event, MediaSections, MemberCommand,
        RoomCommand, SendStream, ShardCommand, SubscriptionCommand, Target, TrackCommand,
        TransportProtocol,
    },
    negotiate::{ENABLED_CODECS, Negotiation},
    transport::{MAX_MESSAGE_SIZE, certificate_fingerprint},
};

/// An output of the negotiator.
#[derive(Debug, Clone)]
pub enum Output {
    /// A command for the shard.
    Command(ShardCommand),
    /// An event for the room.
    Event(Event),
}

/// The negotiations of one room.
pub struct Negotiator {
    /// [`Config::index`] of the room's shard.
    shard: u16,
    /// The part of our descriptions that is the same for all members, without credentials.
    local: Local,
    rng: StdRng,
    members: BTreeMap<ParticipantSid, Member>,
    /// Participants who are connected to another shard, with their tracks: there is nothing to negotiate with them.
    elsewhere: BTreeMap<ParticipantSid, BTreeSet<TrackSid>>,
    tracks: BTreeMap<TrackSid, Track>,
    /// The most tracks of one participant, besides backups.
    max_tracks: usize,
    outputs: VecDeque<Output>,
    /// The members whose sections may differ from what they should carry.
    changed: BTreeSet<ParticipantSid>,
}

/// The negotiation state of one participant.
struct Member {
    publisher: Connection,
    /// The second PeerConnection, on which the participant receives, if it has one.
    subscriber: Option<Connection>,
    /// Sections that the client was asked to add and has not offered yet.
    asked: MediaSections,
    /// Set when our descriptions list candidates of this protocol only.
    candidates: Option<TransportProtocol>,
    /// The parameters of each subscription, as the shard knows them.
    sending: BTreeMap<TrackSid, SendStream>,
    /// The tracks of the participant, and those it subscribed to.
    published: BTreeSet<TrackSid>,
    subscribed: BTreeSet<TrackSid>,
}

impl Member {
    /// The PeerConnection on which the participant receives.
    fn receiver(&mut self) -> &mut Connection {
        self.subscriber.as_mut().unwrap_or(&mut self.publisher)
    }

    fn connection(&mut self, target: Target) -> Option<&mut Connection> {
        match target {
            Target::Publisher => Some(&mut self.publisher),
            Target::Subscriber => self.subscriber.as_mut(),
        }
    }
}

impl Negotiator {
    /// The negotiator of a room whose shard has this configuration. `seed` is the room's own: from the operating
    /// system, or fixed in tests.
    pub fn new(config: &Config, seed: [u8; 32]) -> Self {
        Self {
            shard: config.index,
            local: Local {
                fingerprint: certificate_fingerprint(&config.certificate),
                candidates: config.addresses.clone(),
                tcp_candidates: config.tcp_addresses.clone(),
                max_message_size: MAX_MESSAGE_SIZE.into(),
            },
            rng: StdRng::from_seed(seed),
            members: BTreeMap::new(),
            elsewhere: BTreeMap::new(),
            tracks: BTreeMap::new(),
            max_tracks: config.max_tracks_per_peer,
            outputs: VecDeque::new(),
            changed: BTreeSet::new(),
        }
    }

    /// Takes a command of the room.
    pub fn handle_command(&mut self, command: impl Into<Command>) {
        match command.into() {
            Command::Member(command) => self.member_command(command),
            Command::Description(command) => self.description_command(command),
            Command::Track(command) => self.track_command(command),
            Command::Subscription(command) => self.subscription_command(command),
            Command::Data(command) => self.pass(command),
            Command::Relay(command) => self.pass(command),
            Command::Room(command) => {
                if let RoomCommand::Close { .. } = command {
                    self.members.clear();
                    self.elsewhere.clear();
                    self.tracks.clear();
                    self.changed.clear();
                }
                self.pass(command);
            }
        }
    }

    fn member_command(&mut self, command: MemberCommand) {
        self.pass(command.clone());
        match command {
            MemberCommand::Add { peer, .. } => {
                if self.add_member(peer) {
                    self.tell_ice(peer, Target::Publisher, false);
                }
            }
            MemberCommand::AddRelayed { peer, .. } => {
                self.elsewhere.entry(peer).or_default();
            }
            MemberCommand::AddSecondConnection { peer, .. } => self.add_second_connection(peer),
            MemberCommand::Remove { peer } => self.remove_member(peer),
            MemberCommand::SetPermissions { .. } | MemberCommand::LimitBandwidth { .. } => {}
        }
    }

    fn description_command(&mut self, command: DescriptionCommand) {
        match command {
            DescriptionCommand::Offer {
                peer,
                id,
                description,
            } => self.guard(peer, |it| it.offer(peer, id, &description)),
            DescriptionCommand::OfferSubscriber { peer, restart_ice } => {
                self.guard(peer, |it| it.make_offer(peer, restart_ice));
            }
            DescriptionCommand::Answer {
                peer,
                id,
                description,
            } => self.guard(peer, |it| it.answer(peer, id, &description)),
            DescriptionCommand::RestrictCandidates { peer, protocol } => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.candidates = Some(protocol);
                }
            }
        }
    }

    fn track_command(&mut self, command: TrackCommand) {
        match command {
            TrackCommand::Publish { peer, track } => self.publish(peer, track),
            TrackCommand::PublishRelayed { peer, track, codec } => {
                self.publish_relayed(peer, track, codec);
            }
            TrackCommand::Unpublish { peer, track } => {
                self.pass(command);
                self.unpublish(peer, track);
            }
            TrackCommand::SetMuted { .. } => self.pass(command),
        }
    }

    fn subscription_command(&mut self, command: SubscriptionCommand) {
        match command {
            SubscriptionCommand::Subscribe {
                peer,
                track,
                setting,
            } => self.subscribe(peer, track, setting, false),
            SubscriptionCommand::Unsubscribe { peer, track } => {
                self.pass(DownTrackCommand::Remove { peer, track });
                self.unsubscribe(peer, track);
            }
            SubscriptionCommand::SetSetting {
                peer,
                track,
                setting,
            } => {
                self.pass(DownTrackCommand::SetSetting {
                    peer,
                    track,
                    setting,
                });
                let known = self.tracks.get_mut(&track);
                if let Some(known) = known.and_then(|track| track.subscribers.get_mut(&peer)) {
                    *known = setting;
                }
            }
        }
    }

    /// Takes an event of the shard.
    pub fn handle_event(&mut self, event: Event) {
        match event {
            Event::OtherCodec { peer, track } => self.insist_on_codec(peer, track),
            Event::Unbound { peer } => {
                self.changed.insert(peer);
            }
            Event::Undelivered { peer, track } => {
                let known = self.tracks.get(&track);
                let setting = known.and_then(|track| track.subscribers.get(&peer).copied());
                if let Some(setting) = setting {
                    self.unsubscribe(peer, track);
                    self.subscribe(peer, track, setting, true);
                }
            }
            Event::TrackActive { track, .. } => {
                self.tell(event);
                self.backup_woke(track);
            }
            _ => self.tell(event),
        }
    }

    /// The next output, in order.
    pub fn poll(&mut self) -> Option<Output> {
        while self.outputs.is_empty() {
            let peer = self.changed.pop_first()?;
            self.guard(peer, |it| it.negotiate(peer));
        }
        self.outputs.pop_front()
    }

    fn pass(&mut self, command: impl Into<ShardCommand>) {
        self.outputs.push_back(Output::Command(command.into()));
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn connection(&mut self, negotiation: Negotiation) -> Connection {
        Connection::new(negotiation, self.shard, &mut self.rng)
    }

    /// Adds a member. False: the participant is one already.
    fn add_member(&mut self, peer: ParticipantSid) -> bool {
        if self.members.contains_key(&peer) {
            return false;
        }
        let publisher = self.connection(Negotiation::new(peer, ENABLED_CODECS));
        let member = Member {
            publisher,
            subscriber: None,
            asked: MediaSections::default(),
            candidates: None,
            sending: BTreeMap::new(),
            published: BTreeSet::new(),
            subscribed: BTreeSet::new(),
        };
        self.members.insert(peer, member);
        true
    }

    fn add_second_connection(&mut self, peer: ParticipantSid) {
        let has_one = |member: &Member| member.subscriber.is_some();
        if self.members.get(&peer).is_none_or(has_one) {
            return;
        }
        let subscriber = self.connection(Negotiation::subscriber(peer));
        if let Some(member) = self.members.get_mut(&peer) {
            member.subscriber = Some(subscriber);
        }
        self.tell_ice(peer, Target::Subscriber, false);
    }

    fn remove_member(&mut self, peer: ParticipantSid) {
        let own = self.members.get(&peer).map(|member| &member.published);
        let own = own.or_else(|| self.elsewhere.get(&peer));
        for track in own.cloned().unwrap_or_default() {
            self.unpublish(peer, track);
        }
        let gone = self.members.remove(&peer);
        for track in gone.into_iter().flat_map(|member| member.subscribed) {
            if let Some(track) = self.tracks.get_mut(&track) {
                track.subscribers.remove(&peer);
            }
        }
        self.elsewhere.remove(&peer);
        self.changed.remove(&peer);
    }

    /// Runs `work` for one participant. A panic is a bug of ours: it ends that participant's stay, never the room.
    fn guard(&mut self, peer: ParticipantSid, work: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| work(self))).is_err() {
            tracing::error!(participant = %peer, "a bug ended this participant's negotiation");
            let reason = "an error of the server".to_owned();
            self.tell(Event::NegotiationFailed { peer, reason });
        }
    }
}
