//! Whether media arrives at each subscriber, so that nobody is unheard without notice: a subscription whose media
//! should arrive and does not is repaired.
//!
//! Evidence of arrival is what subscribers report: transport-wide feedback, for which one packet of each stream is
//! followed at a time, and receiver reports. A stream counts as lost only by what its receiver says of it: packets
//! reported missing one after the other, or reports that pass the stream over. Where nothing at all is heard of a
//! receiver, its network is at fault, which is ICE's business.
//!
//! With transport-wide feedback a stream that does not arrive is found in two to three seconds. All browsers and SDKs
//! give it, for sound too, and where congestion control is off, packets that are followed have numbers and no others.
//! Receiver reports alone are slower, and must be: for sound libwebrtc sends one in 2.5 to 7.5 s for each stream by
//! itself (five seconds, times a half to one and a half as in RFC 3550, section 6.3.1), none at all for a stream it
//! does not know, and any of them may be lost. Less than two of the longest intervals are no silence, and of reports in
//! which a stream stands still one may be older than a full queue. Sooner would mean to begin voices anew that arrive.
//!
//! But a client that is not heard at all while its path is checked is deaf ([`deafness`]): it is told to connect anew.
//!
//! Repairs go step by step: a key frame where nobody could start to decode; the subscription anew, with another SSRC in
//! another section; the whole connection anew. Each is counted, and none is repeated without end.

mod deafness;

use std::time::{Duration, Instant};

use self::deafness::Deafness;
use crate::{api::MediaKind, keys::DownTrackKey, rtcp::TransportCc, rtp::SeqNo};

/// The time between two looks at a peer.
const INTERVAL: Duration = Duration::from_millis(250);

/// A stream that should flow and did not arrive for this long is repaired.
const LIMIT: Duration = Duration::from_millis(1900);

/// The limit where transport-wide feedback is negotiated and none comes, while other packets of the receiver do.
const SILENT_LIMIT: Duration = Duration::from_millis(2500);

/// A stream stands still when this many receiver reports in a row show no progress, and [`LIMIT`] has passed.
const STOOD_STILL: u32 = 2;

/// A report is older than the packets sent within this time.
const REPORT_LAG: Duration = Duration::from_millis(500);

/// The limit for a picture that receiver reports do not name: clients send a report on a picture every second or so.
const REPORT_LIMIT_VIDEO: Duration = Duration::from_secs(6);

/// The limit for sound that receiver reports do not name: clients send a report on sound every five seconds, at times
/// every seven and a half. Two of those intervals, and one report may be lost.
const REPORT_LIMIT_AUDIO: Duration = Duration::from_secs(16);

/// A stream counts as passed over only when its time limit has passed and this many reports of the receiver did not
/// name it.
const PASSED_OVER: u32 = 3;

/// A stream counts as unanswered only when its time limit has passed and this many packets went out without a sign of
/// arrival: of a picture that rests one comes now and then, and one may be lost.
const UNANSWERED: u32 = 8;

/// A stream counts as missing only when [`LIMIT`] has passed and the receiver reported this many followed packets in a
/// row as missing: a burst of losses is no broken path.
const MISSING: u32 = 5;

/// The next packet of a stream is followed this long after the one before.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// A peer of which nothing was heard for this long is not judged by its feedback; by its receiver reports, after half
/// of their limit.
const ALIVE: Duration = Duration::from_secs(1);

/// A track is being sent when packets of it came within this time.
pub const FLOWING: Duration = Duration::from_secs(1);

/// The number of subscriptions of one peer that are begun anew within [`REPAIR_WINDOW`]. When that does not help, its
/// connection is begun anew.
const MAX_REPAIRS: u8 = 3;

/// The time in which [`MAX_REPAIRS`] counts.
const REPAIR_WINDOW: Duration = Duration::from_secs(60);

/// A client that was asked to offer sections for its subscriptions, and did not, is asked again after twice this time,
/// then after four times this time, and so on.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// A client that does not offer sections is asked again at least this often.
const MAX_ASK_AGAIN: Duration = Duration::from_secs(60);

/// A publisher that sends nothing of a track for this long has a problem, of which it is told once.
const PUBLISHER_LIMIT: Duration = Duration::from_secs(4);

/// The evidence of one stream's arrival at its receiver.
#[derive(Debug, Clone, Copy, Default)]
pub struct Delivery {
    /// Number of packets that went out.
    count: u32,
    /// Since when packets with transport-wide numbers go out without a sign of arrival, and `count` by then.
    unproven: Option<(Instant, u32)>,
    /// Whether a packet of the stream has arrived.
    proven: bool,
    /// Number of followed packets in a row that did not arrive.
    missing: u32,
    /// When the packet that is followed went out.
    probed: Option<Instant>,
    /// Since when packets go out without a receiver report of progress, and by then `count` and the number of reports.
    unreported: Option<(Instant, u32, u32)>,
    highest_reported: Option<u32>,
    /// Number of reports in a row in which the stream stands still, and when the last of them came.
    still: u32,
    still_at: Option<Instant>,
    /// Number of packets sent at the last look.
    seen: u32,
    /// Since when nothing goes out though it should.
    starved: Option<Instant>,
    /// Since when no section carries the stream, and how many times the client was asked for one.
    unbound: Option<(Instant, u32)>,
    /// The stream was begun anew as a repair, and nothing has arrived since.
    repaired: bool,
}

impl Delivery {
    /// A packet went out to a receiver that has sent `reports` reports. Returns whether the packet should be followed.
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

    /// Whether the next packet with a transport-wide number is followed.
    pub fn is_due(&self, now: Instant) -> bool {
        self.probed.is_none_or(|at| now >= at + PROBE_INTERVAL)
    }

    /// The followed packet was reported as arrived, or as missing.
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

    /// Whether a packet of the stream has arrived: its receiver knows the stream.
    pub fn is_proven(&self) -> bool {
        self.proven
    }

    /// A receiver report named the stream.
    pub fn reported(&mut self, highest_seq: u32, now: Instant) {
        self.proven = true;
        if self.highest_reported.replace(highest_seq) != Some(highest_seq) {
            self.unreported = None;
            self.still = 0;
            self.repaired = false;
        } else if self
            .unreported
            .is_some_and(|(since, ..)| now >= since + REPORT_LAG)
            // Reports that a network held back come all at once, and say what was.
            && self.still_at.is_none_or(|at| now >= at + REPORT_LAG)
        {
            self.still += 1;
            self.still_at = Some(now);
        }
    }

    /// Whether the stream does not arrive, as far as the receiver tells. Where nothing is heard of the receiver, the
    /// clocks start again with the next packet.
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

    /// Nothing is expected of the stream now.
    pub fn rest(&mut self) {
        self.unproven = None;
        self.missing = 0;
        self.unreported = None;
        self.still = 0;
    }

    /// Takes note of whether anything went out since the last look. Returns whether nothing did for too long.
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

    /// A section carries the stream.
    pub fn bound(&mut self) {
        self.unbound = None;
    }

    /// The stream was begun anew as a repair.
    pub fn mark_repaired(&mut self) {
        self.repaired = true;
    }

    /// Whether the stream was begun anew as a repair, and nothing has arrived since.
    pub fn is_repaired(&self) -> bool {
        self.repaired
    }

    /// The stream has no section. Returns whether the client should be asked for one again.
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

/// The packets that are followed, by their transport-wide number.
#[derive(Debug, Clone)]
struct Followed([Option<(SeqNo, DownTrackKey)>; Self::SLOTS]);

impl Followed {
    /// Number of packets that can be followed at a time: those of a meeting of fifty between two feedbacks (50 to 250
    /// ms).
    const SLOTS: usize = 128;

    fn slot(&mut self, number: SeqNo) -> &mut Option<(SeqNo, DownTrackKey)> {
        &mut self.0[usize::from(number.0) % Self::SLOTS]
    }
}

/// The watch over one peer as a receiver, over all its streams.
#[derive(Debug)]
pub struct Watch {
    next: Instant,
    /// The transport-wide number of the next packet that is followed, where nobody estimates what the network carries.
    pub number: SeqNo,
    followed: Box<Followed>,
    /// The peer's last RTP or RTCP packet, and its last transport-wide feedback.
    heard: Option<Instant>,
    feedback: Option<Instant>,
    deafness: Deafness,
    /// Number of the peer's reports on what it receives.
    reports: u32,
    /// Number of subscriptions begun anew since the instant.
    repairs: (Instant, u8),
    reconnecting: bool,
    /// The peer is not asked to offer again before this instant.
    ask_after: Instant,
}

impl Watch {
    /// A watch over a peer of which nothing is known yet.
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

    /// Whether the peer may be asked for sections now. Each subscription waits for itself, and the peer is asked for
    /// all of them at once.
    pub fn may_ask(&mut self, now: Instant) -> bool {
        let may = now >= self.ask_after;
        if may {
            self.ask_after = now + 2 * ASK_AGAIN;
        }
        may
    }

    /// Whether it is time to look at the peer. Never again for one whose connection begins anew.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = now >= self.next && !self.reconnecting;
        if is_due {
            self.next = now + INTERVAL;
        }
        is_due
    }

    /// Whether the client is deaf: it does not hear us, and never will on this connection.
    pub fn is_deaf(&self, now: Instant) -> bool {
        self.deafness.is_certain(now)
    }

    /// The peer's connection begins anew.
    pub fn gave_up(&mut self) {
        self.reconnecting = true;
    }

    /// Transport-wide feedback came: tells of each followed packet that the feedback reports or passes over whether it
    /// arrived.
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
        // A packet that the feedback passes over is missing too.
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

    /// The peer checked the path that we send to.
    pub fn checked(&mut self, now: Instant) {
        self.deafness.checked(now);
    }

    /// The time since anything of the peer came.
    pub fn silent(&self, now: Instant) -> Duration {
        self.heard
            .map_or(Duration::MAX, |at| now.saturating_duration_since(at))
    }

    /// A receiver report came, or a sender report, which contains one.
    pub fn reported(&mut self) {
        self.reports = self.reports.wrapping_add(1);
    }

    /// Number of receiver reports that came.
    pub fn reports(&self) -> u32 {
        self.reports
    }

    /// The packet with this number went out and is followed; it belongs to `down`, a stream that the receiver knows or
    /// does not know yet.
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

    /// Whether one more subscription may be begun anew.
    pub fn may_repair(&mut self, now: Instant) -> bool {
        let (since, count) = &mut self.repairs;
        if now >= *since + REPAIR_WINDOW {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count <= MAX_REPAIRS
    }
}

/// The silence of a publisher that should send and does not: since when, and whether it was told.
#[derive(Debug, Default)]
pub struct Silence {
    since: Option<Instant>,
    told: bool,
}

impl Silence {
    /// Whether the silence has become too long. True once.
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
