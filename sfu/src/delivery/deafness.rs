//! Deaf clients: ICE lives and nothing else comes, though the client is sent packets that it has to report on. Its DTLS
//! is dead. Firefox's is, for good, once it wanted to send where there was no network for a moment.
//!
//! Only streams count of which something has arrived: media overtakes the answer that announces it, and a page that is
//! busy may take its time with that while its ICE answers.

use std::time::{Duration, Instant};

/// The path works when the client checks it this long after the first packet that it did not answer. A client that says
/// nothing for this long again, while it is sent media, is deaf. Feedback comes every 250 ms at the latest.
const LIMIT: Duration = Duration::from_millis(2500);

/// A client counts as deaf only when [`LIMIT`] has passed and this many followed packets had no answer: where little is
/// sent, a packet may be lost, and its report too.
const UNANSWERED: u32 = 8;

/// The packets that were sent to a client since it was heard.
#[derive(Debug, Default)]
pub struct Deafness(Option<Unanswered>);

/// The packets since the first that had no answer.
#[derive(Debug)]
struct Unanswered {
    since: Instant,
    /// The client has checked its path since: what is sent from now on arrives.
    is_checked: bool,
    /// The first packet after that check, and the number of packets.
    then: Option<(Instant, u32)>,
}

impl Deafness {
    /// RTP or RTCP came.
    pub fn heard(&mut self) {
        self.0 = None;
    }

    /// A packet went out on which the client has to report, of a stream that it knows.
    pub fn sent(&mut self, now: Instant) {
        let unanswered = self.0.get_or_insert(Unanswered {
            since: now,
            is_checked: false,
            then: None,
        });
        if unanswered.is_checked {
            unanswered.then.get_or_insert((now, 0)).1 += 1;
        }
    }

    /// The client checked the path that we send to.
    pub fn checked(&mut self, now: Instant) {
        if let Some(unanswered) = &mut self.0 {
            unanswered.is_checked |= now >= unanswered.since + LIMIT;
        }
    }

    /// Whether the client is deaf.
    pub fn is_certain(&self, now: Instant) -> bool {
        let then = self.0.as_ref().and_then(|unanswered| unanswered.then);
        then.is_some_and(|(since, packets)| packets >= UNANSWERED && now >= since + LIMIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a client is found deaf that is sent a packet every 100 ms, checks its path at these times, and is heard at
    /// those, in milliseconds.
    fn found(checks: &[u64], heard: &[u64]) -> Option<u64> {
        let (mut deafness, start) = (Deafness::default(), Instant::now());
        (0..30_000).step_by(10).find(|ms| {
            let now = start + Duration::from_millis(*ms);
            if ms % 100 == 0 {
                deafness.sent(now);
            }
            if checks.contains(ms) {
                deafness.checked(now);
            }
            if heard.contains(ms) {
                deafness.heard();
            }
            deafness.is_certain(now)
        })
    }

    #[test]
    fn a_client_that_checks_its_path_and_says_nothing_is_deaf() {
        assert_eq!(found(&[1000, 6000, 11_000], &[]), Some(8600));
        assert_eq!(found(&[6000], &[5500]), None, "heard just before");
        assert_eq!(found(&[6000, 8500], &[5500]), Some(11_100));
        assert_eq!(found(&[6000], &[8400]), None, "heard at last");
    }

    #[test]
    fn a_network_that_is_gone_deafens_nobody() {
        assert_eq!(found(&[], &[]), None);
        assert_eq!(found(&[0, 2000], &[]), None);
        // It is back: the check comes before the word.
        assert_eq!(found(&[9000], &[9400]), None);
    }

    #[test]
    fn who_is_sent_nothing_has_nothing_to_say() {
        let (mut deafness, now) = (Deafness::default(), Instant::now());
        let at = |ms| now + Duration::from_millis(ms);
        deafness.sent(at(0));
        for second in 3..60 {
            deafness.checked(at(second * 1000));
            assert!(!deafness.is_certain(at(second * 1000)));
        }
        // The first packets for a minute.
        for packet in 0..20 {
            deafness.sent(at(60_000 + packet * 100));
        }
        assert!(!deafness.is_certain(at(62_000)));
        deafness.heard();
        assert!(!deafness.is_certain(at(90_000)));
    }
}
