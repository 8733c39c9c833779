//! Announcements: the others hear what a participant is now. At most every 100 ms, the newest state only, and only when
//! it differs from what they know.
//!
//! A change marks its participant; at the end of the turn, or when it is time, those marked are announced.
//! Subscriptions to a track begin when its `update` is out: clients take no media of tracks they have not heard of.

use std::{collections::BTreeSet, time::Instant};

use protocol::{
    ParticipantSid,
    livekit::{
        ParticipantInfo, ParticipantUpdate, RoomUpdate, SubscriptionPermission,
        signal_response::Message,
    },
    prost::Message as _,
};

use super::presence::quality_message;
use crate::{
    announcements::{BYTES_PER_SECOND, Change, FEW, INTERVAL, TOGETHER, interval},
    api::{Response, RoomOutput, SessionMessage},
    budget::PER_SECOND,
    clock::earliest,
    room::Room,
};

impl Room {
    /// A participant changed: it is announced to those who may see it. `to_itself`: and to itself.
    pub(crate) fn announce(&mut self, sid: ParticipantSid, to_itself: bool) {
        let is_charged = !self.news.by_moderator;
        let change = self.changed(sid);
        change.info = true;
        change.to_itself |= to_itself;
        change.charged |= is_charged;
    }

    /// Marks a participant: it is announced when it is time.
    fn changed(&mut self, sid: ParticipantSid) -> &mut Change {
        let participant = self.participants.get(&sid);
        let at = participant.and_then(|participant| participant.announced.due());
        self.news.due.set(sid, at.unwrap_or(self.clock.start()));
        self.news.participants.entry(sid).or_default()
    }

    /// A participant has just become visible: it is announced at once, or in a crowd together with others, whatever it
    /// did before. Somebody who comes in again and again pays for the time that a participant who stays would have to
    /// wait.
    pub(crate) fn introduce(&mut self, sid: ParticipantSid, now: Instant) {
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.announced.digest = None;
            participant.announced.next = None;
            let bytes = participant.info().encoded_len();
            self.announce(sid, false);
            if !self.is_crowd() {
                self.tell_news_of(sid, now);
            }
            let time = bytes as f64 / BYTES_PER_SECOND;
            self.charge(sid, (time * PER_SECOND) as u64, now);
        }
    }

    /// Forgets what the others know of a participant, which has left for them: they are to hear of it, and of all its
    /// tracks, as if for the first time.
    pub(crate) fn forget_announced(&mut self, sid: ParticipantSid) {
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.announced.digest = None;
            for track in &mut participant.tracks {
                track.announced = false;
            }
            for track in &mut participant.data.published {
                track.announced = false;
            }
        }
    }

    /// A participant has left: the others hear of it, in a crowd together with what else happens.
    pub(crate) fn announce_departure(&mut self, sid: ParticipantSid, info: ParticipantInfo) {
        let participants = vec![info];
        let farewell = Message::Update(ParticipantUpdate { participants }).into();
        self.news.departures.push((sid, farewell));
        if !self.is_crowd() {
            self.tell_departures();
        }
    }

    /// Tells everybody who has left: before somebody comes in, who must not hear it. Clients would take the farewell for
    /// that of a participant who is back under the same identity.
    pub(crate) fn tell_departures(&mut self) {
        let departures = std::mem::take(&mut self.news.departures);
        self.broadcast_together(departures);
    }

    /// The grant of a participant changed: everybody hears of it, and the next token has it.
    pub(crate) fn grant_changed(&mut self, sid: ParticipantSid) {
        self.announce(sid, true);
        self.changed(sid).grant = true;
    }

    /// The count changed: everybody but `except` (who has just read it in `join`) is to hear how many participants
    /// there are, and whether one records.
    pub(crate) fn announce_count(&mut self, except: Option<ParticipantSid>) {
        let is_new = self.announced != (self.count(), self.is_recorded());
        // A participant that has read the old count in `join` hears the new one too, even if the others need not.
        if is_new || self.news.room.is_some() {
            let known = self.news.room.replace(except);
            if known.is_some_and(|known| known != except) {
                self.news.room = Some(None);
            }
        }
    }

    /// Takes a publisher's message on who may receive its tracks.
    pub(crate) fn subscription_permission(
        &mut self,
        sid: ParticipantSid,
        permission: SubscriptionPermission,
    ) {
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.announced.audience = Some(permission);
            self.changed(sid);
        }
    }

    /// When [`Room::tell_news`] has something to do.
    pub(crate) fn news_until(&self) -> Option<Instant> {
        let together_at = self.news.together_at.filter(|_| self.is_crowd());
        // The later of the two; an absent one counts as past.
        let left = (!self.news.departures.is_empty()).then(|| self.clock.start());
        let own = earliest([self.news.due.next(), left]);
        let participants = own.map(|own| Some(own).max(together_at));
        let room = self.news.room_at.filter(|_| self.news.room.is_some());
        let handles = self.news.handles_due.next();
        earliest([participants.flatten(), room, handles])
    }

    /// Makes the announcements that are due. Called at the end of each turn.
    pub(crate) fn tell_news(&mut self, now: Instant) {
        if self.closed {
            return;
        }
        if !self.is_crowd() {
            self.tell_departures();
            for sid in self.changes_due(now) {
                self.tell_news_of(sid, now);
            }
            self.tell_qualities();
        } else if self.news.together_at.is_none_or(|at| at <= now) {
            self.tell_together(now);
        }
        let is_due = self.news.room_at.is_none_or(|at| at <= now);
        if let Some(except) = self.news.room.take_if(|_| is_due) {
            self.tell_count(except, now);
        }
        self.tell_data_handles(now);
    }

    /// Whether so many sessions hear of participants that announcements are put together.
    fn is_crowd(&self) -> bool {
        self.sessions.len() > FEW
    }

    fn changes_due(&self, now: Instant) -> BTreeSet<ParticipantSid> {
        self.news.due.due(now).into_iter().collect()
    }

    /// Announces the participants that are due, in one message for everybody.
    fn tell_together(&mut self, now: Instant) {
        let (mut told, mut parts) = (Vec::new(), std::mem::take(&mut self.news.departures));
        for sid in self.changes_due(now) {
            let Some(change) = self.take_change(sid, now) else {
                continue;
            };
            let (is_news, update) = self.tell_info(sid, change, now);
            parts.extend(update.map(|update| (sid, update)));
            told.push((sid, change, is_news));
        }
        if !parts.is_empty() {
            self.news.together_at = Some(now + TOGETHER);
        }
        self.broadcast_together(parts);
        self.tell_qualities();
        for (sid, change, is_news) in told {
            self.follow_up(sid, change, is_news);
        }
    }

    /// Tells everybody the quality of participants that have just connected.
    fn tell_qualities(&mut self) {
        let qualities = std::mem::take(&mut self.news.qualities);
        let parts = qualities.into_iter().filter_map(|sid| {
            let participant = self.participants.get(&sid).filter(|p| p.is_visible())?;
            Some((sid, quality_message(participant)))
        });
        self.broadcast_together(parts.collect());
    }

    /// Sends the parts to everybody, to each session without the part about its own participant.
    fn broadcast_together(&mut self, parts: Vec<(ParticipantSid, Response)>) {
        let all = parts.iter().map(|(_, part)| part.clone()).collect();
        let Some(all) = Response::together(all) else {
            return;
        };
        let about: BTreeSet<_> = parts.iter().map(|(about, _)| *about).collect();
        for (session, sid) in &self.sessions {
            let knows_one = about.contains(sid) && parts.len() <= FEW;
            let response = match knows_one {
                // Where they are many, what it knows already costs less than a message of its own.
                false => Some(all.clone()),
                true => {
                    let others = parts.iter().filter(|(about, _)| about != sid);
                    Response::together(others.map(|(_, part)| part.clone()).collect())
                }
            };
            let to_session = |response| RoomOutput::ToSession {
                session: *session,
                message: SessionMessage::Response(response),
            };
            self.outputs.extend(response.map(to_session));
        }
    }

    /// Announces one participant, by itself.
    pub(crate) fn tell_news_of(&mut self, sid: ParticipantSid, now: Instant) {
        if let Some(change) = self.take_change(sid, now) {
            let (is_news, update) = self.tell_info(sid, change, now);
            if let Some(update) = update {
                self.broadcast(update, Some(sid));
            }
            self.follow_up(sid, change, is_news);
        }
    }

    /// Takes the change of a participant that is to be announced now, if it is time.
    fn take_change(&mut self, sid: ParticipantSid, now: Instant) -> Option<Change> {
        if !self.news.participants.contains_key(&sid) || self.is_put_off(sid, now) {
            return None;
        }
        let participant = self.participants.get_mut(&sid);
        let announced = participant.map(|participant| &mut participant.announced);
        if let Some(announced) = announced
            && let Some(permission) = announced.audience.take()
        {
            announced.audience_at = Some(now + INTERVAL);
            self.apply_audience(sid, permission, now);
            if self.is_put_off(sid, now) {
                return None;
            }
        }
        self.news.due.cancel(&sid);
        let change = self.news.participants.remove(&sid)?;
        (change.info && self.participants.contains_key(&sid)).then_some(change)
    }

    /// Whether a marked participant may not be announced yet: it is put off until it may be.
    fn is_put_off(&mut self, sid: ParticipantSid, now: Instant) -> bool {
        let participant = self.participants.get(&sid);
        let due = participant.and_then(|participant| participant.announced.due());
        let later = due.filter(|at| *at > now);
        if let Some(at) = later {
            self.news.due.set(sid, at);
        }
        later.is_some()
    }

    /// Carries out what follows once the others have heard of a change.
    fn follow_up(&mut self, sid: ParticipantSid, change: Change, is_news: bool) {
        if let Some(participant) = self.participants.get(&sid).filter(|_| change.grant)
            && let Some(session) = participant.session
        {
            let grant = Box::new(participant.grant.clone());
            self.tell(session, SessionMessage::Grant(grant));
        }
        if is_news {
            self.forward_changes(sid);
        }
        self.offer_announced(sid);
    }

    /// Returns whether the participant differs from its last announcement, which costs time to find out, and the
    /// message for the others.
    fn tell_info(
        &mut self,
        sid: ParticipantSid,
        change: Change,
        now: Instant,
    ) -> (bool, Option<Response>) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return (false, None);
        };
        let (digest, bytes) = participant.digest();
        let is_news = participant.announced.digest.replace(digest) != Some(digest);
        let (is_visible, to_itself) = (participant.is_visible(), change.to_itself);
        if !is_news || !(is_visible || to_itself) {
            participant.announced.next = Some(now + INTERVAL);
            if change.charged {
                self.charge(sid, (1 + bytes / 1024) as u64, now);
            }
            return (is_news, None);
        }
        participant.version += 1;
        let update = ParticipantUpdate {
            participants: vec![participant.info()],
        };
        let response = Response::from(Message::Update(update));
        let bytes = response.binary().len();
        let mut receivers = usize::from(to_itself);
        if is_visible {
            receivers += self.sessions.len();
        }
        if to_itself {
            self.send(sid, response.clone().by_itself());
        }
        if change.charged {
            self.charge(sid, (receivers * (1 + bytes / 1024)) as u64, now);
        }
        if let Some(participant) = self.participants.get_mut(&sid) {
            let owes_until = self.ledger.owes_until(&participant.principal(), now);
            participant.announced.next = Some(now + interval(bytes)).max(owes_until);
        }
        (true, is_visible.then_some(response))
    }

    /// Begins subscriptions to tracks that have been announced.
    fn offer_announced(&mut self, sid: ParticipantSid) {
        let Some(participant) = self.participants.get_mut(&sid) else {
            return;
        };
        if !participant.is_visible() {
            return;
        }
        let (mut tracks, mut data) = (Vec::new(), Vec::new());
        for track in participant.tracks.iter_mut().filter(|track| track.bound) {
            if !std::mem::replace(&mut track.announced, true) {
                tracks.push(track.sid);
            }
        }
        for track in &mut participant.data.published {
            if !std::mem::replace(&mut track.announced, true) {
                data.push(track.sid);
            }
        }
        for track in tracks {
            self.reconcile_track(track);
        }
        self.reconcile_data_tracks(&data);
    }

    fn tell_count(&mut self, except: Option<ParticipantSid>, now: Instant) {
        self.announced = (self.count(), self.is_recorded());
        let room = Some(self.info(now));
        let response = Response::from(Message::RoomUpdate(RoomUpdate { room }));
        self.news.room_at = Some(now + interval(response.binary().len()));
        self.broadcast(response, except);
    }
}
