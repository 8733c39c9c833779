//! Nobody is silently unheard: for each subscription it is known whether media arrives, and where it should and does not,
//! it is repaired.
//!
//! Evidence of arrival is what subscribers report: transport-wide feedback, for which one packet of each stream is
//! followed at a time, and receiver reports. Against a stream counts only what a receiver says of it: packets that it
//! reports missing one after the other, or reports that pass it over. Where nothing at all is heard of a receiver, its
//! network is at fault, which is ICE's business.
//!
//! With transport-wide feedback a stream that does not arrive is found in two to three seconds. All browsers and SDKs give
//! it, for sound too, and where congestion control is off, packets that are followed have numbers and no others.
//! Receiver reports alone are slower, and must be: for sound libwebrtc sends one in 2.5 to 7.5 s for each stream by itself
//! (five seconds, times a half to one and a half as in RFC 3550, section 6.3.1), none at all for a stream it does not
//! know, and any of them may be lost. Less than two of the longest intervals are no silence, and of reports in which a
//! stream stands still one may be older than a full queue. Sooner would mean to begin voices anew that arrive.
//!
//! But a client that is not heard at all while its path is checked is deaf ([`deafness`]): it is told to connect anew.
//!
//! Repairs go step by step: a key frame where nobody could start to decode; the subscription anew, with another SSRC in
//! another section; the whole connection anew. Each is counted, and none is repeated without end.

mod deafness;

use std::time::{Duration, Instant};

use self::deafness::Deafness;
use crate::{api::MediaKind, keys::DownTrackKey, rtcp::TransportCc, rtp::SeqNo};

/// Time between two looks at a peer.
const INTERVAL: Duration = Duration::from_millis(250);

/// Media that should flow and did not arrive for this long is repaired.
const LIMIT: Duration = Duration::from_millis(1900);

/// The same where transport-wide feedback is negotiated and nothing of it comes, while other packets do.
const SILENT_LIMIT: Duration = Duration::from_millis(2500);

/// Receiver reports in a row in which a stream stands still.
const STOOD_STILL: u32 = 2;

/// A report is older than the packets sent within this time.
const REPORT_LAG: Duration = Duration::from_millis(500);

/// The same where receiver reports do not name the stream: clients send them every second or so for a picture, …
const REPORT_LIMIT_VIDEO: Duration = Duration::from_secs(6);

/// … and every five seconds for sound, at times every seven and a half: two of those, and one may be lost.
const REPORT_LIMIT_AUDIO: Duration = Duration::from_secs(16);

/// Reports of a receiver that pass a stream over, besides the time.
const PASSED_OVER: u32 = 3;

/// Packets without a sign of arrival, besides the time: of a picture that rests one comes now and then, and one may be lost.
const UNANSWERED: u32 = 8;

/// Followed packets in a row that a receiver reports as missing, besides the time: a burst of losses is no broken path.
const MISSING: u32 = 5;

/// A stream is asked about again after this.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// A peer of which nothing was heard for this long is not judged; by its reports, half of their limit.
const ALIVE: Duration = Duration::from_secs(1);

/// Packets of a track within this time: it is being sent.
pub const FLOWING: Duration = Duration::from_secs(1);

/// Subscriptions of one peer that are begun anew within [`REPAIR_WINDOW`]. When that does not help, its connection is.
const MAX_REPAIRS: u8 = 3;

/// See [`MAX_REPAIRS`].
const REPAIR_WINDOW: Duration = Duration::from_secs(60);

/// A client that was asked to offer sections for its subscriptions, and did not, is asked again after twice this, then
/// four times this, …
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// … but never after more than this.
const MAX_ASK_AGAIN: Duration = Duration::from_secs(60);

/// A publisher that sends nothing of a track for so long has a problem, of which it is told once.
const PUBLISHER_LIMIT: Duration = Duration::from_secs(4);

/// What is known of the arrival of one stream at its receiver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delivery {
    /// Packets that went out.
    count: u32,
    /// Since when packets with transport-wide numbers went out without a sign of arrival, and how many had by then.
    unproven: Option<(Instant, u32)>,
    /// Something of it has arrived.
    proven: bool,
    /// Followed packets in a row that did not arrive.
    missing: u32,
    /// The packet that is followed went out; when.
    probed: Option<Instant>,
    /// Since when packets went out without a receiver report of progress; how many packets had, and how many
    /// reports had come by then.
    unreported: Option<(Instant, u32, u32)>,
    highest_reported: Option<u32>,
    /// Reports in a row in which it stands still, and when the last of them came.
    still: u32,
    still_at: Option<Instant>,
    /// Packets sent, when it was last looked at.
    seen: u32,
    /// Since when nothing went out though it should.
    starved: Option<Instant>,
    /// Since when no section carries it, and times it was asked for one.
    unbound: Option<(Instant, u32)>,
    /// It was begun anew as a repair.
    repaired: bool,
}

impl Delivery {
    /// A packet went out to a receiver that has sent so many reports. True: it should be followed.
    pub fn sent(&mut self, is_numbered: bool, reports: u32, now: Instant) -> bool {
        let count = self.count;
        self.count = count.wrapping_add(1);
        self.unreported.get_or_insert((now, count, reports));
        if is_numbered {
            self.unproven.get_or_insert((now, count));
        }
        let is_followed = is_numbered && self.is_due(now);
        if is_followed {
            self.probed = Some(now);
        }
        is_followed
    }

    /// The next packet with a transport-wide number is followed.
    pub fn is_due(&self, now: Instant) -> bool {
        self.probed.is_none_or(|at| now >= at + PROBE_INTERVAL)
    }

    /// It was reported as arrived, or as missing.
    pub fn followed(&mut self, arrived: bool) {
        if arrived {
            self.unproven = None;
            self.proven = true;
            self.missing = 0;
            self.repaired = false;
        } else {
            self.missing += 1;
        }
    }

    /// Something of it has arrived: its receiver knows the stream.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// A receiver report spoke of it.
    pub fn reported(&mut self, highest_seq: u32, now: Instant) {
        self.proven = true;
        if self.highest_reported.replace(highest_seq) != Some(highest_seq) {
            self.unreported = None;
            self.still = 0;
            self.repaired = false;
        } else if self
            .unreported
            .is_some_and(|(since, ..)| now >= since + REPORT_LAG)
            // Those that a network held back come all at once, and say what was.
            && self.still_at.is_none_or(|at| now >= at + REPORT_LAG)
        {
            self.still += 1;
            self.still_at = Some(now);
        }
    }

    /// It does not arrive, as far as the receiver tells. Where nothing is heard of it, the clocks start again with the
    /// next packet.
    pub fn is_lost(&mut self, kind: MediaKind, receiver: &Watch, now: Instant) -> bool {
        let silent = receiver.silent(now);
        if silent >= ALIVE {
            self.unproven = None;
            self.missing = 0;
        }
        if silent >= report_limit(kind) / 2 {
            self.unreported = None;
            self.still = 0;
        }
        let enough = |since: u32| self.count.wrapping_sub(since) >= UNANSWERED;
        let is_missing = self.unproven.is_some_and(|(since, count)| {
            let waited = now.saturating_duration_since(since);
            let is_quiet = enough(count) && receiver.feedback.is_none_or(|at| at < since);
            (waited >= LIMIT && self.missing >= MISSING) || (waited >= SILENT_LIMIT && is_quiet)
        });
        let is_passed_over = self.unreported.is_some_and(|(since, count, reports)| {
            if !enough(count) {
                return false;
            }
            let waited = now.saturating_duration_since(since);
            waited >= LIMIT && self.still >= STOOD_STILL
                || waited >= report_limit(kind)
                    && receiver.reports.wrapping_sub(reports) >= PASSED_OVER
        });
        is_missing || is_passed_over
    }

    /// Nothing is expected of it now.
    pub fn rest(&mut self) {
        self.unproven = None;
        self.missing = 0;
        self.unreported = None;
        self.still = 0;
    }

    /// Takes note of whether anything went out since the last look. True: nothing did for too long.
    pub fn is_starved(&mut self, sent: u32, should_flow: bool, now: Instant) -> bool {
        if !should_flow || std::mem::replace(&mut self.seen, sent) != sent {
            self.starved = None;
            return false;
        }
        let since = *self.starved.get_or_insert(now);
        let is_starved = now >= since + LIMIT;
        if is_starved {
            self.starved = None;
        }
        is_starved
    }

    /// A section carries it.
    pub fn bound(&mut self) {
        self.unbound = None;
    }

    /// It is what was begun anew as a repair.
    pub fn mark_repaired(&mut self) {
        self.repaired = true;
    }

    /// It was begun anew as a repair, and nothing has arrived since.
    pub fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// It has no section. True: the client should be asked for one again.
    pub fn must_ask(&mut self, now: Instant) -> bool {
        let (since, asked) = *self.unbound.get_or_insert((now, 1));
        let wait = ASK_AGAIN * 2u32.saturating_pow(asked.min(16));
        if now < since + wait.min(MAX_ASK_AGAIN) {
            return false;
        }
        self.unbound = Some((now, asked.saturating_add(1)));
        true
    }
}

fn report_limit(kind: MediaKind) -> Duration {
    match kind {
        MediaKind::Video => REPORT_LIMIT_VIDEO,
        MediaKind::Audio => REPORT_LIMIT_AUDIO,
    }
}

/// Packets that are followed, by their transport-wide number.
#[derive(Debug, Clone)]
struct Followed([Option<(SeqNo, DownTrackKey)>; Self::SLOTS]);

impl Followed {
    /// Feedback comes every 50 to 250 ms, in which a meeting of fifty is asked about.
    const SLOTS: usize = 128;

    fn slot(&mut self, number: SeqNo) -> &mut Option<(SeqNo, DownTrackKey)> {
        &mut self.0[usize::from(number.0) % Self::SLOTS]
    }
}

/// What is watched of one peer.
#[derive(Debug)]
pub struct Watch {
    next: Instant,
    /// Where nobody estimates what its network carries: the transport-wide number of the next packet that is followed.
    pub number: SeqNo,
    followed: Box<Followed>,
    /// Its last RTP or RTCP packet, and its last transport-wide feedback.
    heard: Option<Instant>,
    feedback: Option<Instant>,
    deafness: Deafness,
    /// Its reports on what it receives.
    reports: u32,
    /// Subscriptions begun anew since the instant.
    repairs: (Instant, u8),
    reconnecting: bool,
    /// It is not asked to offer again before.
    ask_after: Instant,
}

impl Watch {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self {
            next: now,
            number: SeqNo(1),
            followed: Box::new(Followed([None; Followed::SLOTS])),
            heard: None,
            feedback: None,
            deafness: Deafness::default(),
            reports: 0,
            repairs: (now, 0),
            reconnecting: false,
            ask_after: now,
        }
    }

    /// Subscriptions wait each for itself, and the peer is asked for all of them at once: whether it is time.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        let may = now >= self.ask_after;
        if may {
            self.ask_after = now + 2 * ASK_AGAIN;
        }
        may
    }

    /// It is time to look at the peer, until which nothing is done but to wait where its connection begins anew.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next && !self.reconnecting;
        if is_due {
            self.next = now + INTERVAL;
        }
        is_due
    }

    /// The client does not hear us, and never will on this connection.
    pub fn is_deaf(&self, now: Instant) -> bool {
        self.deafness.is_certain(now)
    }

    /// Its connection begins anew.
    pub fn gave_up(&mut self) {
        self.reconnecting = true;
    }

    /// Transport-wide feedback came: tells for each followed packet that it speaks of, or passes over, whether it arrived.
    pub fn learn(
        &mut self,
        feedback: &TransportCc<'_>,
        now: Instant,
        mut tell: impl FnMut(DownTrackKey, bool),
    ) {
        self.feedback = Some(now);
        for (number, arrived) in feedback.statuses() {
            let slot = self.followed.slot(number);
            if let Some((_, down)) = slot.take_if(|(followed, _)| *followed == number) {
                tell(down, arrived.is_some());
            }
        }
        // What a feedback passes over is missing too.
        let base = feedback.base_seq.0;
        let is_older = |number: SeqNo| (1..0x8000).contains(&base.wrapping_sub(number.0));
        for slot in &mut self.followed.0 {
            if let Some((_, down)) = slot.take_if(|(number, _)| is_older(*number)) {
                tell(down, false);
            }
        }
    }

    /// RTP or RTCP of the peer came.
    pub fn heard(&mut self, now: Instant) {
        self.heard = Some(now);
        self.deafness.heard();
    }

    /// It checked the path that we send to.
    pub fn checked(&mut self, now: Instant) {
        self.deafness.checked(now);
    }

    /// For how long nothing of it came.
    pub fn silent(&self, now: Instant) -> Duration {
        self.heard
            .map_or(Duration::MAX, |at| now.saturating_duration_since(at))
    }

    /// A receiver report came, or a sender report, which is one too.
    pub fn reported(&mut self) {
        self.reports = self.reports.wrapping_add(1);
    }

    /// How many of those.
    pub fn reports(&self) -> u32 {
        self.reports
    }

    /// The packet with this number went out, and belongs to `down`, a stream that its receiver knows or does not yet.
    pub fn follow(&mut self, number: SeqNo, down: DownTrackKey, is_known: bool, now: Instant) {
        *self.followed.slot(number) = Some((number, down));
        self.sent(is_known, now);
    }

    /// A packet went out on which the peer has to report, of a stream that it knows or does not yet.
    pub fn sent(&mut self, is_known: bool, now: Instant) {
        if is_known {
            self.deafness.sent(now);
        }
    }

    /// One more subscription may be begun anew.
    pub fn may_repair(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.repairs;
        if now >= *since + REPAIR_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REPAIRS
    }
}

/// What a publisher should send and does not.
#[derive(Debug, Default)]
pub struct Silence {
    since: Option<Instant>,
    told: bool,
}

impl Silence {
    /// True once: it lasts too long.
    pub fn is_new(&mut self, should_flow: bool, flows: bool, now: Instant) -> bool {
        if flows || !should_flow {
            self.since = None;
            self.told &= !flows;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        now >= since + PUBLISHER_LIMIT && !std::mem::replace(&mut self.told, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_lost_when_its_receiver_says_so_and_not_before() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        let mut receiver = Watch::new(now);
        let after = |ms| now + Duration::from_millis(ms);
        for ms in (0..3000).step_by(20) {
            receiver.heard(after(ms));
            receiver.feedback = Some(after(ms));
            if delivery.sent(true, 0, after(ms)) {
                delivery.followed(false);
            }
            let is_lost = delivery.is_lost(MediaKind::Audio, &receiver, after(ms));
            assert_eq!(is_lost, ms >= 1900, "{ms}");
        }
        delivery.followed(true);
        assert!(!delivery.is_lost(MediaKind::Audio, &receiver, after(3000)));
        // Nothing more is said of anything, …
        let mut lost = (3020..9000).step_by(20).filter(|ms| {
            receiver.heard(after(*ms));
            delivery.sent(true, 0, after(*ms));
            delivery.is_lost(MediaKind::Audio, &receiver, after(*ms))
        });
        assert_eq!(lost.next(), Some(5520));
        // … and then nothing is heard of the receiver at all.
        let mut lost = (9000..19_000).step_by(20).filter(|ms| {
            delivery.sent(true, 0, after(*ms));
            delivery.is_lost(MediaKind::Audio, &receiver, after(*ms))
        });
        assert_eq!(lost.next(), None);
    }

    #[test]
    fn a_report_that_stands_still_is_no_sign_of_arrival() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        let mut receiver = Watch::new(now);
        let after = |seconds| now + Duration::from_secs(seconds);
        let mut lost = (0..40).filter(|second| {
            receiver.heard(after(*second));
            receiver.reported();
            (0..30).for_each(|_| _ = delivery.sent(false, receiver.reports(), after(*second)));
            delivery.reported(19.min(*second as u32), after(*second));
            delivery.is_lost(MediaKind::Video, &receiver, after(*second))
        });
        assert_eq!(lost.next(), Some(22));
    }

    #[test]
    fn a_picture_that_rests_is_not_missed() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        let mut receiver = Watch::new(now);
        delivery.sent(true, 0, now);
        for second in 0..10 {
            let now = now + Duration::from_secs(second);
            receiver.heard(now);
            receiver.reported();
            delivery.reported(7, now);
            assert!(!delivery.is_lost(MediaKind::Video, &receiver, now));
        }
    }

    #[test]
    fn reports_that_were_held_back_count_as_one() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        let mut receiver = Watch::new(now);
        let later = |ms| now + Duration::from_millis(ms);
        delivery.reported(7, now);
        for packet in 0..100 {
            delivery.sent(true, 0, later(packet * 40));
        }
        for _ in 0..5 {
            receiver.reported();
            delivery.reported(7, later(600));
        }
        receiver.heard(later(2300));
        assert!(!delivery.is_lost(MediaKind::Audio, &receiver, later(2300)));
        delivery.reported(7, later(2400));
        assert!(delivery.is_lost(MediaKind::Audio, &receiver, later(2400)));
    }

    #[test]
    fn a_client_is_asked_for_sections_less_and_less_often() {
        let (mut delivery, now) = (Delivery::default(), Instant::now());
        let asked: Vec<_> = (0..300)
            .filter(|second| delivery.must_ask(now + Duration::from_secs(*second)))
            .collect();
        assert_eq!(asked, [2, 6, 14, 30, 62, 122, 182, 242]);
    }

    #[test]
    fn a_silent_publisher_is_told_once_until_it_is_heard() {
        let (mut silence, now) = (Silence::default(), Instant::now());
        let mut told = |seconds: std::ops::Range<u64>, should_flow, flows| {
            let is_new = |second: &u64| {
                silence.is_new(should_flow, flows, now + Duration::from_secs(*second))
            };
            seconds.filter(is_new).collect::<Vec<_>>()
        };
        let none: [u64; 0] = [];
        assert_eq!(told(0..60, true, false), [4]);
        assert_eq!(told(60..70, false, false), none);
        assert_eq!(told(70..80, true, false), none, "it was told");
        assert_eq!(told(80..81, true, true), none);
        assert_eq!(told(81..100, true, false), [85]);
    }
}
