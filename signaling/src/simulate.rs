//! `simulate`: what client SDKs use to test themselves against a server.

use std::time::{Duration, Instant};

use protocol::{
    ParticipantSid,
    livekit::{
        DisconnectReason, SimulateScenario, leave_request::Action, simulate_scenario::Scenario,
    },
};

use crate::{clock::seconds, leave::Farewell, participant::CutOnResume, room::Room};

/// A cut that was asked for and did not come is forgotten after this time.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// Longest simulated speech, seconds.
const MAX_SPEECH: i32 = 60;

impl Room {
    pub(crate) fn simulate(
        &mut self,
        sid: ParticipantSid,
        scenario: &SimulateScenario,
        now: Instant,
    ) {
        match scenario.scenario {
            Some(Scenario::SpeakerUpdate(length)) => {
                self.simulate_speech(sid, now + seconds(length.clamp(1, MAX_SPEECH) as u32));
            }
            // The connection breaks without a word, and the participant is unknown when its client comes back.
            Some(Scenario::NodeFailure(_) | Scenario::Migration(_)) => {
                self.remove(sid, DisconnectReason::Migration, Farewell::Silent, now);
            }
            Some(Scenario::ServerLeave(_)) => {
                self.remove(
                    sid,
                    DisconnectReason::ServerShutdown,
                    Farewell::Leave(Action::Disconnect),
                    now,
                );
            }
            Some(Scenario::LeaveRequestFullReconnect(_)) => {
                self.remove(
                    sid,
                    DisconnectReason::UnknownReason,
                    Farewell::Leave(Action::Reconnect),
                    now,
                );
            }
            Some(Scenario::DisconnectSignalOnResume(_)) => self.cut_on_resume(sid, false, now),
            Some(Scenario::DisconnectSignalOnResumeNoMessages(_)) => {
                self.cut_on_resume(sid, true, now)
            }
            // There is UDP only, and no artificial limit of bandwidth.
            Some(Scenario::SwitchCandidateProtocol(_) | Scenario::SubscriberBandwidth(_))
            | None => {}
        }
    }

    fn cut_on_resume(&mut self, sid: ParticipantSid, silently: bool, now: Instant) {
        if let Some(participant) = self.participants.get_mut(&sid) {
            participant.cut_on_resume = Some(CutOnResume {
                until: now + CUT_WITHIN,
                silently,
            });
        }
    }
}
