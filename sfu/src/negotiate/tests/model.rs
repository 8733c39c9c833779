//! Random sessions and damaged offers, against what any answer must keep to.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// What RFC 9429 and this module promise of every answer.
fn check(state: &Negotiation, offer: &str, negotiated: &Negotiated) {
    let offer = SessionDescription::parse(offer).expect("accepted");
    let answer = SessionDescription::parse(&negotiated.answer).expect("our answer");
    assert_eq!(offer.media.len(), answer.media.len());
    for (theirs, ours) in offer.media.iter().zip(&answer.media) {
        assert_eq!(
            (&theirs.mid, &theirs.kind, &theirs.proto),
            (&ours.mid, &ours.kind, &ours.proto)
        );
        assert!(
            !ours.formats.is_empty()
                && ours
                    .formats
                    .iter()
                    .all(|format| theirs.formats.contains(format))
        );
        if ours.is_rejected() {
            assert!(!answer.bundle.contains(ours.mid.as_ref().expect("mid")));
            continue;
        }
        assert!(!theirs.is_rejected());
        assert!(answer.bundle.contains(ours.mid.as_ref().expect("mid")));
        assert_eq!(ours.transport.setup, Some(Setup::Passive));
        assert_eq!(
            ours.transport.ice_ufrag.as_ref(),
            Some(&negotiated.local_ice.ufrag)
        );
        if ours.sctp_port.is_some() {
            continue;
        }
        assert!(!ours.direction.sends() || theirs.direction.receives());
        assert!(!ours.direction.receives() || theirs.direction.sends());
        assert!(ours.rtcp_mux && theirs.rtcp_mux);
        assert_eq!(
            ours.direction.sends(),
            ours.msid.is_some() && !ours.ssrcs.is_empty()
        );
        for codec in &ours.codecs {
            let offered = theirs
                .codecs
                .iter()
                .find(|offered| offered.payload_type == codec.payload_type);
            assert!(offered.is_some_and(|offered| offered.name.eq_ignore_ascii_case(&codec.name)));
        }
        for extension in &ours.extensions {
            assert!(
                theirs
                    .extensions
                    .iter()
                    .any(|offered| (offered.id, &offered.uri) == (extension.id, &extension.uri))
            );
        }
        for rid in &ours.rids {
            assert!(
                !rid.send
                    && theirs
                        .rids
                        .iter()
                        .any(|offered| offered.send && offered.id == rid.id)
            );
        }
    }
    let candidates = answer
        .media
        .iter()
        .filter(|media| media.end_of_candidates)
        .count();
    assert_eq!(candidates, 1);

    let sent = state.send_sections();
    let received = state.receive_sections();
    let tracks: BTreeSet<TrackSid> = sent.iter().map(|section| section.track).collect();
    assert_eq!(tracks.len(), sent.len(), "one section per subscription");
    let mids: BTreeSet<&str> = sent
        .iter()
        .map(|s| s.mid.as_str())
        .chain(received.iter().map(|r| r.mid.as_str()))
        .collect();
    assert_eq!(
        mids.len(),
        sent.len() + received.len(),
        "one job per section"
    );
    assert_eq!(
        mids,
        negotiated
            .mid_to_track
            .iter()
            .map(|(mid, _)| mid.as_str())
            .collect()
    );
    for section in &sent {
        assert_eq!(
            section.rtx_ssrc.is_some(),
            section.codec.rtx_payload_type.is_some()
        );
    }
    for bound in &negotiated.newly_bound {
        assert!(
            received
                .iter()
                .any(|section| (&section.mid, section.track) == (&bound.mid, bound.track))
        );
    }
    for track in &negotiated.unbound {
        assert!(received.iter().all(|section| section.track != *track));
    }
}

/// Offers, and checks whatever comes of it.
fn try_offer(state: &mut Negotiation, text: &str) {
    let before = format!("{state:?}");
    let mut ssrc = 1 << 31;
    let fresh_ssrc = || {
        ssrc += 1;
        ssrc
    };
    let Ok(offer) = SessionDescription::parse(text) else {
        return;
    };
    match state.handle_offer(&offer, &local(1), fresh_ssrc) {
        Ok(negotiated) => check(state, text, &negotiated),
        Err(error) => {
            assert_eq!(format!("{state:?}"), before, "{error}");
            assert!(error.to_string().len() < 400);
        }
    }
}

#[derive(Debug, Clone)]
enum Damage {
    DeleteLine(prop::sample::Index),
    RepeatLine(prop::sample::Index),
    SwapLines(prop::sample::Index, prop::sample::Index),
    MoveLine(prop::sample::Index, prop::sample::Index),
    Truncate(prop::sample::Index),
    Byte(prop::sample::Index, u8),
    Value(prop::sample::Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        at().prop_map(Damage::DeleteLine),
        at().prop_map(Damage::RepeatLine),
        (at(), at()).prop_map(|(a, b)| Damage::SwapLines(a, b)),
        (at(), at()).prop_map(|(a, b)| Damage::MoveLine(a, b)),
        at().prop_map(Damage::Truncate),
        (at(), 0x20u8..0x7f).prop_map(|(a, byte)| Damage::Byte(a, byte)),
        (
            at(),
            prop::sample::select(vec![
                "",
                "0",
                "1",
                "7",
                "96",
                "4294967296",
                "-1",
                "recvonly",
                "~",
                "send q;h",
                "\u{e9}",
                "*"
            ])
        )
            .prop_map(|(a, value)| Damage::Value(a, value)),
    ]
}

fn apply(text: &str, damages: &[Damage]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for damage in damages {
        let count = lines.len();
        if count < 2 {
            break;
        }
        match damage {
            Damage::DeleteLine(at) => drop(lines.remove(at.index(count))),
            Damage::RepeatLine(at) => lines.insert(at.index(count), lines[at.index(count)].clone()),
            Damage::SwapLines(a, b) => lines.swap(a.index(count), b.index(count)),
            Damage::MoveLine(from, to) => {
                let line = lines.remove(from.index(count));
                lines.insert(to.index(count), line);
            }
            Damage::Truncate(at) => {
                let line = &mut lines[at.index(count)];
                let end = (0..=line.len() / 2)
                    .rev()
                    .find(|end| line.is_char_boundary(*end))
                    .unwrap_or(0);
                line.truncate(end);
            }
            Damage::Byte(at, byte) => {
                let line = &mut lines[at.index(count)];
                let position = at.index(line.len().max(1));
                if line.is_ascii() && !line.is_empty() {
                    line.replace_range(position..=position, &char::from(*byte).to_string());
                }
            }
            Damage::Value(at, value) => {
                let line = &mut lines[at.index(count)];
                let name = line
                    .split_once(':')
                    .map(|(name, _)| name.to_owned())
                    .unwrap_or_else(|| line.clone());
                *line = format!("{name}:{value}");
            }
        }
    }
    lines.join("\r\n") + "\r\n"
}

/// What happens in a meeting, seen from one client.
#[derive(Debug, Clone)]
enum Step {
    Subscribe(u8, bool),
    Unsubscribe(u8),
    AddTrack(u8, bool),
    Unpublish(u8),
    OfferTrack(u8, bool),
    StopSection(u8, bool),
    Offer,
    LoseAnswer(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0u8..8, any::<bool>()).prop_map(|(track, video)| Step::Subscribe(track, video)),
        2 => (0u8..8).prop_map(Step::Unsubscribe),
        2 => (0u8..5, any::<bool>()).prop_map(|(track, video)| Step::AddTrack(track, video)),
        1 => (0u8..5).prop_map(Step::Unpublish),
        2 => (0u8..5, any::<bool>()).prop_map(|(track, video)| Step::OfferTrack(track, video)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(section, rejected)| Step::StopSection(section, rejected)),
        3 => Just(Step::Offer),
        2 => any::<bool>().prop_map(Step::LoseAnswer),
    ]
}

/// A client that does as it is told: adds the sections that are missing and offers again.
struct Client {
    state: Negotiation,
    sections: Vec<Offered>,
    /// The same after the last answer that arrived, and the tracks that answer put into them.
    applied: Vec<Offered>,
    seen: BTreeMap<String, TrackSid>,
    next_mid: u32,
    ice: u32,
    /// Mids of sections whose end the server has answered: browsers use those again.
    ended: BTreeSet<String>,
}

impl Client {
    fn add(&mut self, kind: &'static str, direction: &'static str, cid: Option<String>) {
        let mut section = Offered::new(&self.next_mid.to_string(), kind, direction);
        section.cid = cid;
        self.next_mid += 1;
        match self
            .sections
            .iter()
            .position(|section| self.ended.contains(&section.mid))
        {
            Some(index) => self.sections[index] = section,
            None => self.sections.push(section),
        }
    }

    fn offer(&mut self) {
        for _ in 0..4 {
            let negotiated = self.negotiate();
            self.apply(&negotiated);
            let ended = self.sections.iter().filter(|section| section.rejected);
            self.ended = ended.map(|section| section.mid.clone()).collect();
            if !self.state.needs_renegotiation() {
                return;
            }
            for _ in 0..negotiated.missing.audios {
                self.add("audio", "recvonly", None);
            }
            for _ in 0..negotiated.missing.videos {
                self.add("video", "recvonly", None);
            }
        }
        panic!("the client would be asked for ever");
    }

    fn negotiate(&mut self) -> Negotiated {
        let text = offer_of(&self.sections, &format!("theirs{}", self.ice), 0x11);
        let negotiated = self
            .state
            .take_offer(&text, &local(self.ice), fresh_ssrc)
            .expect("a well-behaved client");
        check(&self.state, &text, &negotiated);
        negotiated
    }

    /// Clients fire no event for a track that follows another one in a section without a pause.
    fn apply(&mut self, negotiated: &Negotiated) {
        let sent = self.state.send_sections().into_iter();
        let sent: BTreeMap<_, _> = sent.map(|section| (section.mid, section.track)).collect();
        for (mid, track) in &sent {
            let before = self.seen.get(mid).unwrap_or(track);
            assert_eq!(before, track, "{}", negotiated.answer);
        }
        self.seen = sent;
        self.applied.clone_from(&self.sections);
    }

    /// The signal connection breaks with the answer; the next offer restarts ICE. The client offers the same again, or
    /// rolls its offer back and makes another one, in which what is new has another name.
    fn lose_answer(&mut self, rolls_back: bool) {
        self.negotiate();
        self.ice += 1;
        if !rolls_back {
            return;
        }
        for (index, section) in self.sections.iter_mut().enumerate() {
            if self.applied.get(index).is_none_or(|s| s.mid != section.mid) {
                section.mid = self.next_mid.to_string();
                self.next_mid += 1;
            }
        }
    }

    fn step(&mut self, step: &Step) {
        let kind = |video| {
            if video {
                MediaKind::Video
            } else {
                MediaKind::Audio
            }
        };
        match step {
            // A track has one kind for life.
            Step::Subscribe(track, video) => {
                let name = format!("TR_{}{track}", if *video { "V" } else { "A" });
                self.state
                    .subscribe(send(&name, kind(*video), 100 + 2 * u32::from(*track)));
            }
            Step::Unsubscribe(track) => {
                for letter in ["A", "V"] {
                    self.state.unsubscribe(sid(&format!("TR_{letter}{track}")));
                }
            }
            Step::AddTrack(track, video) => {
                let letter = if *video { "V" } else { "A" };
                self.state.publish(&published(
                    &format!("TR_me{letter}{track}"),
                    kind(*video),
                    &format!("{letter}{track}"),
                ));
            }
            Step::Unpublish(track) => {
                for letter in ["A", "V"] {
                    self.state.unpublish(sid(&format!("TR_me{letter}{track}")));
                }
            }
            Step::OfferTrack(track, video) => {
                let (letter, kind) = if *video {
                    ("V", "video")
                } else {
                    ("A", "audio")
                };
                self.add(kind, "sendonly", Some(format!("{letter}{track}")));
            }
            Step::StopSection(index, rejected) => {
                let media = self
                    .sections
                    .iter_mut()
                    .filter(|section| section.kind != "application");
                let media: Vec<&mut Offered> = media.collect();
                let count = media.len();
                if let Some(section) = media.into_iter().nth(usize::from(*index) % count.max(1)) {
                    section.direction = "inactive";
                    section.rejected |= rejected;
                }
            }
            Step::Offer => self.offer(),
            Step::LoseAnswer(rolls_back) => self.lose_answer(*rolls_back),
        }
    }
}

proptest! {
    #[test]
    fn damaged_offers_never_panic_and_never_half_apply(
        name in prop::sample::select(vec!["chromium-publish", "firefox-publish", "native-join", "firefox-late"]),
        damages in prop::collection::vec(damage(), 1..12),
        again in prop::collection::vec(damage(), 1..6),
    ) {
        let text = fixture(name);
        for first in [text.clone(), apply(&text, &again)] {
            let mut state = negotiation();
            state.publish(&published("TR_A", MediaKind::Audio, "a"));
            state.publish(&published("TR_V", MediaKind::Video, "v"));
            state.subscribe(send("TR_A1", MediaKind::Audio, 10));
            state.subscribe(send("TR_V1", MediaKind::Video, 20));
            try_offer(&mut state, &first);
            try_offer(&mut state, &apply(&text, &damages));
            state.unsubscribe(sid("TR_V1"));
            state.subscribe(send("TR_V2", MediaKind::Video, 30));
            try_offer(&mut state, &apply(&first, &damages));
            try_offer(&mut state, &text);
        }
    }

    #[test]
    fn every_session_of_a_willing_client_settles_with_all_subscriptions_served(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut client = Client {
            state: negotiation(),
            sections: first_layout(),
            applied: Vec::new(),
            seen: BTreeMap::new(),
            next_mid: 7,
            ice: 1,
            ended: BTreeSet::new(),
        };
        client.offer();
        for step in &steps {
            client.step(step);
        }
        client.offer();
        prop_assert_eq!(client.state.send_sections().len(), client.state.subscriptions.len());
        let unserved = client.state.missing();
        prop_assert_eq!(unserved, MediaSections::default());
        // Nobody is told to send what we do not take, and every named track has its section.
        for section in &client.state.sections {
            if let (Role::Receiving(Binding::Unknown), Some(cid)) = (section.role, &section.offered_track) {
                let carried = |published: &Published| {
                    client.state.sections.iter().any(|s| s.role.published() == Some(published.sid) && s.offered_track.as_ref() == Some(cid))
                };
                prop_assert!(client.state.published.iter().all(|p| !p.is_named(section) || carried(p)));
            }
        }
    }
}
