//! The whole system but the shell, on one thread: shards, rooms, sessions and native clients under a virtual clock and a
//! virtual network.
//!
//! The server is the switchboard of `node`, as in the shell, with tasks and threads whose turns come when the seed says.
//!
//! One seed is one run: [`Scenario::draw`] decides who is there, on which networks, and what happens; [`run`] plays it,
//! ends with a quiet time on good networks, and asks what people would notice: does everybody hear and see everybody
//! else, are those who left gone, was a sound away for longer than a network explains, did data come in order and once,
//! is nothing left when everybody has gone.
//!
//! What is the same when a seed is run again: the scenario, every virtual instant, which datagram of which line is lost
//! or late, every SSRC, id and first sequence number, and so the digest of all of it. What is not: the keys,
//! certificates and signatures of DTLS (see [`os`]), and hence the encrypted bytes; nothing here looks at them.

mod crowd;
mod forward_participant;
mod listener;
mod log;
mod media;
mod moderate;
mod network;
pub mod os;
mod person;
mod scenario;
mod server;
mod verdict;
mod world;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::OnceLock,
    time::Duration,
};

pub use crowd::{CrowdOutcome, crowd};
pub use scenario::Scenario;
pub use server::Met;

use log::{Listener, Log};
use world::World;

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Complaints that people would have; empty when all was well.
    pub complaints: Vec<String>,
    /// Digest of everything that happened.
    pub digest: u64,
    /// Virtual time of the run.
    pub lasted: Duration,
    /// The time in the quiet until everybody had everybody.
    pub recovery: Duration,
    /// What happened that is rare.
    pub met: Met,
}

/// Runs a seed on a thread of its own. `print` prints what happens, and log lines of the code under test up to that
/// level.
pub fn run(seed: u64, print: Option<tracing::Level>) -> Outcome {
    let failed = |why: String| Outcome {
        seed,
        complaints: vec![why],
        digest: 0,
        lasted: Duration::ZERO,
        recovery: Duration::ZERO,
        met: Met::default(),
    };
    simulate(seed, print, move || {
        play(seed, &Scenario::draw(seed), print.is_some())
    })
    .unwrap_or_else(failed)
}

/// Does `work` on a thread that is a simulation, or says why that failed.
fn simulate<T: Send + 'static>(
    seed: u64,
    print: Option<tracing::Level>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let work = move || {
        os::simulate(seed);
        tracing::subscriber::with_default(Listener { print }, || {
            catch_unwind(AssertUnwindSafe(work))
        })
    };
    let thread = std::thread::Builder::new().name(format!("seed {seed}"));
    match thread.spawn(work).map(std::thread::JoinHandle::join) {
        Ok(Ok(Ok(result))) => Ok(result),
        Ok(Ok(Err(panic)) | Err(panic)) => Err(format!("panic: {}", words(&panic))),
        Err(error) => Err(format!("no thread: {error}")),
    }
}

fn play(seed: u64, scenario: &Scenario, verbose: bool) -> Outcome {
    let mut world = World::new(seed, scenario, certificate(), Log::new(verbose));
    world.run(scenario.quiet_from);
    world.calm();
    let (complaints, recovery) = verdict::judge(&mut world);
    Outcome {
        seed,
        complaints,
        digest: world.log.digest(),
        lasted: world.now - world.start,
        recovery,
        met: world.server.met(),
    }
}

/// The certificate of all runs: making one costs more than a handshake.
fn certificate() -> &'static sfu::Certificate {
    static CERTIFICATE: OnceLock<sfu::Certificate> = OnceLock::new();
    CERTIFICATE.get_or_init(|| {
        // Made on another thread than a run's: otherwise the first run only would draw its numbers.
        let made = std::thread::spawn(dimpl::certificate::generate_self_signed_certificate);
        let made = made
            .join()
            .ok()
            .and_then(Result::ok)
            .expect("a certificate");
        sfu::Certificate {
            certificate: made.certificate,
            private_key: made.private_key,
        }
    })
}

fn words(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_else(|| "without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;
    use media::Kind;
    use network::Profile;
    use scenario::{Action, Cast, Moderation, Stop};
    use server::Pace;

    const SECOND: Duration = Duration::from_secs(1);

    /// Three people with microphones; something happens to the last of them.
    fn meeting(at: Duration, what: Action) -> Vec<String> {
        meeting_on(Profile::GOOD, vec![(at, what)])
    }

    fn meeting_on(network: Profile, what: Vec<(Duration, Action)>) -> Vec<String> {
        meeting_in([0; 3], network, what)
    }

    /// Each in a room, which are on two shards.
    fn meeting_in(
        rooms: [usize; 3],
        network: Profile,
        what: Vec<(Duration, Action)>,
    ) -> Vec<String> {
        run(scenario(rooms, network, what)).complaints
    }

    fn scenario(rooms: [usize; 3], network: Profile, what: Vec<(Duration, Action)>) -> Scenario {
        let cast = move |room| Cast {
            room,
            offer_with_join: true,
            two_connections: false,
            tcp: false,
            sources: vec![Kind::Sound],
            network: (network, network),
        };
        let mut script: Vec<_> = (0..3)
            .map(|person| (Duration::ZERO, person, Action::Join))
            .collect();
        script.extend(what.into_iter().map(|(at, what)| (at, 2, what)));
        Scenario {
            shards: 2,
            relay_loss: 0.0,
            cast: rooms.map(cast).into(),
            script,
            quiet_from: 8 * SECOND,
            pace: Pace::IDLE,
            stops: None,
        }
    }

    fn run(scenario: Scenario) -> Outcome {
        simulate(1, None, move || play(1, &scenario, false)).unwrap()
    }

    #[test]
    fn who_stays_away_is_missed() {
        let complaints = meeting(5 * SECOND, Action::CutNetwork(3600 * SECOND));
        assert!(
            complaints.contains(&"2 is not connected".to_owned()),
            "{complaints:?}"
        );
    }

    #[test]
    fn a_silence_that_no_network_explains_is_noticed() {
        // A network that loses everything for a while, and claims to be a good one.
        let lost = Profile {
            loss: 1.0,
            ..Profile::GOOD
        };
        let complaints = meeting(6 * SECOND, Action::Network(Box::new((lost, Profile::GOOD))));
        let noticed = |of: &str| complaints.iter().any(|complaint| complaint.contains(of));
        assert!(
            noticed("0 did not hear 3 of 2") && noticed("1 did not hear 3 of 2"),
            "{complaints:?}"
        );
    }

    #[test]
    fn who_unmutes_far_away_is_heard_when_its_voice_has_come_that_far() {
        let far = Profile {
            delay: Duration::from_millis(250),
            ..Profile::GOOD
        };
        let toggles = [5, 6].map(|at| (at * SECOND, Action::ToggleMute(0)));
        assert_eq!(meeting_on(far, toggles.to_vec()), Vec::<String>::new());
    }

    #[test]
    fn who_is_moderated_is_as_the_server_says() {
        let cases = [
            Moderation::MuteTrack(0),
            Moderation::Remove,
            Moderation::SetMetadata(7),
            Moderation::Move,
        ];
        for what in cases {
            let complaints = meeting(5 * SECOND, Action::Moderate(what.clone()));
            assert_eq!(complaints, Vec::<String>::new(), "{what:?}");
        }
        // Who may not receive gets its permission back when all is calm.
        let deaf = meeting(5 * SECOND, Action::Moderate(Moderation::MayReceive(false)));
        assert_eq!(deaf, Vec::<String>::new());
    }

    #[test]
    fn who_is_forwarded_is_heard_in_the_other_room_and_missed_when_it_falls_silent() {
        let forward = (3 * SECOND, Action::Moderate(Moderation::Forward));
        let stop = (5 * SECOND, Action::Moderate(Moderation::StopForwarding));
        let lost = Profile {
            loss: 1.0,
            ..Profile::GOOD
        };
        let silence = Action::Network(Box::new((lost, Profile::GOOD)));
        let meeting = |what: &[_]| meeting_in([0, 1, 0], Profile::GOOD, what.to_vec());
        assert_eq!(meeting(slice::from_ref(&forward)), Vec::<String>::new());
        assert_eq!(meeting(&[forward.clone(), stop]), Vec::<String>::new());
        let complaints = meeting(&[forward, (6 * SECOND, silence)]);
        assert!(
            complaints
                .iter()
                .any(|complaint| complaint.contains("1 did not hear 3 of 2")),
            "{complaints:?}"
        );
    }

    #[test]
    fn who_does_not_read_loses_its_session_and_comes_back() {
        let stall = vec![(4 * SECOND, Action::StallWire(6 * SECOND))];
        let mut scenario = scenario([0; 3], Profile::GOOD, stall);
        scenario.pace.mailbox.messages = 8;
        // The server tells each person what is in its next token.
        let metadata = |number| Action::Moderate(Moderation::SetMetadata(number));
        let at = |number: u32| Duration::from_millis(4_200 + u64::from(number) * 300);
        let updates = (0..12).map(|number| (at(number), 2, metadata(number)));
        scenario.script.extend(updates);
        scenario.script.sort_by_key(|(at, ..)| *at);
        let outcome = run(scenario);
        assert_eq!(outcome.complaints, Vec::<String>::new());
        assert_eq!(outcome.met.overflows, 1);
    }

    #[test]
    fn a_shard_that_is_lost_is_missed_for_a_moment_only() {
        let lost = vec![(5 * SECOND, Action::RestartShard(0))];
        let outcome = run(scenario([0; 3], Profile::GOOD, lost));
        assert_eq!(outcome.complaints, Vec::<String>::new());
        assert_eq!(outcome.met.restarts, 1);
    }

    #[test]
    fn a_server_that_stops_leaves_nobody_behind_who_was_coming_in() {
        let mut scenario = scenario([0; 3], Profile::GOOD, Vec::new());
        scenario.pace.waits = 0.3;
        scenario.pace.longest = Duration::from_millis(5);
        scenario.stops = Some(Stop {
            reload: vec![0, 1, 2],
            after: Duration::from_millis(5),
        });
        let outcome = run(scenario);
        assert_eq!(outcome.complaints, Vec::<String>::new());
        assert!(outcome.met.refused > 0, "{:?}", outcome.met);
    }

    #[test]
    fn a_quiet_meeting_gives_no_cause_for_complaint() {
        assert_eq!(
            meeting(5 * SECOND, Action::ToggleMute(0)),
            Vec::<String>::new()
        );
    }
}
