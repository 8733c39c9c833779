//! `simulate`: the faults by which client SDKs test themselves against a server.

use std::time::{Duration, Instant};

use protocol::{
    ParticipantSid,
    livekit::{
        CandidateProtocol, ClientConfigSetting, ClientConfiguration, DisconnectReason,
        SimulateScenario, leave_request::Action, simulate_scenario::Scenario,
    },
};

use crate::{clock::seconds, farewell::Farewell, participant::CutOnResume, room::Room};

/// The time after which a cut that was asked for and did not come is forgotten.
const CUT_WITHIN: Duration = Duration::from_secs(5);

/// The time in which a participant that was told to come back over another protocol must do so; after it, it comes as
/// it likes.
const SWITCH_WITHIN: Duration = Duration::from_secs(30);

/// The longest simulated speech, seconds.
const MAX_SPEECH: i32 = 60;

impl Room {
    pub(crate) fn simulate(
        &mut self,
        sid: ParticipantSid,
        scenario: &SimulateScenario,
        now: Instant,
    ) {
        if !self.config.simulations {
            return tracing::debug!(participant = %sid, "a simulation was ignored");
        }
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
            Some(Scenario::SwitchCandidateProtocol(protocol)) => {
                self.switch_protocol(sid, protocol, now);
            }
            Some(Scenario::SubscriberBandwidth(bits)) => {
                let limit = u64::try_from(bits).ok().filter(|bits| *bits > 0);
                self.command(sfu::MemberCommand::LimitBandwidth { peer: sid, limit });
            }
            None => {}
        }
    }

    /// Makes a participant come in anew and, this once, offers it candidates of this protocol only. Clients do not wait
    /// for the `leave`: they behave as if they had got it.
    fn switch_protocol(&mut self, sid: ParticipantSid, protocol: i32, now: Instant) {
        let Ok(protocol) = CandidateProtocol::try_from(protocol) else {
            return;
        };
        let Some(participant) = self.participants.get(&sid) else {
            return;
        };
        let identity = participant.identity.clone();
        self.switched.retain(|_, (_, until)| now < *until);
        self.switched
            .insert(identity, (protocol, now + SWITCH_WITHIN));
        let farewell = Farewell::Leave(Action::Reconnect);
        self.remove(sid, DisconnectReason::UnknownReason, farewell, now);
    }

    /// Tells the shard which candidates a participant is offered, where not all of them. With TLS, the participant's
    /// relay reaches us over any protocol.
    pub(crate) fn restrict_candidates(&mut self, sid: ParticipantSid) {
        let protocol = self.participants.get(&sid).and_then(|it| it.protocol);
        let protocol = match protocol {
            Some(CandidateProtocol::Udp) => sfu::TransportProtocol::Udp,
            Some(CandidateProtocol::Tcp) => sfu::TransportProtocol::Tcp,
            Some(CandidateProtocol::Tls) | None => return,
        };
        self.command(sfu::DescriptionCommand::RestrictCandidates {
            peer: sid,
            protocol,
        });
    }

    /// Whether the participant reaches us through TURN over TLS only; never so without a TURN server.
    pub(crate) fn is_relayed(&self, sid: ParticipantSid) -> bool {
        let protocol = self.participants.get(&sid).and_then(|it| it.protocol);
        let turn = self.config.turn.as_ref();
        protocol == Some(CandidateProtocol::Tls) && turn.is_some_and(|turn| turn.has_tls())
    }

    pub(crate) fn client_configuration(&self, sid: ParticipantSid) -> ClientConfiguration {
        let mut configuration = ClientConfiguration::default();
        if self.is_relayed(sid) {
            configuration.set_force_relay(ClientConfigSetting::Enabled);
        }
        configuration
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
