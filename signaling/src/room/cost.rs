//! The cost of each kind of message. No kind is without a cost: a new one does not compile.

use protocol::{
    ParticipantSid,
    livekit::{UpdateSubscription, signal_request},
};

use crate::room::Room;

/// The cost of a subscription that begins or ends: it is negotiated anew, and its publisher may hear of it.
const SUBSCRIPTION: usize = 8;

/// The cost of coming in, anew or back: for what the room looks up and the others hear. The length of the welcome is
/// charged on top.
pub(crate) const REJOIN: usize = 1000;

impl Room {
    /// The cost of a message in units of `budget`. Telling the others of a change is charged when they are told
    /// (`announce`).
    #[allow(deprecated)] // `update_layers` still exists.
    pub(crate) fn cost(&self, sid: ParticipantSid, request: &signal_request::Message) -> u64 {
        use signal_request::Message as M;
        let tracks = |sid| {
            let participant = self.participants.get(&sid);
            participant.map_or(0, |p| p.tracks.len() + p.data.published.len())
        };
        let effect = match request {
            M::Offer(offer) => offer.mid_to_track_id.len(),
            M::Answer(answer) => answer.mid_to_track_id.len(),
            M::Trickle(_) => 1,
            M::AddTrack(request) => 4 + request.simulcast_codecs.len(),
            M::Mute(_) | M::UpdateAudioTrack(_) | M::UpdateVideoTrack(_) => 2,
            M::Subscription(update) => SUBSCRIPTION * subscriptions(update),
            M::TrackSetting(settings) => 2 * settings.track_sids.len(),
            // Each track is looked at for each of the others, at most every 100 ms (`announce`).
            M::SubscriptionPermission(permission) => permission.track_permissions.len(),
            M::UpdateMetadata(update) => update.attributes.len(),
            M::SyncState(state) => {
                let wishes = state.subscription.as_ref().map_or(0, subscriptions);
                let data = state.data_subscription.as_ref();
                let data = data.map_or(0, |update| update.updates.len());
                SUBSCRIPTION * (wishes + data)
                    + state.publish_tracks.len()
                    + state.publish_data_tracks.len()
                    + state.track_sids_disabled.len()
                    + state.datachannel_receive_states.len()
            }
            M::Leave(_) => 1,
            M::Simulate(_) => REJOIN + self.sessions.len(),
            M::PublishDataTrackRequest(_) | M::UnpublishDataTrackRequest(_) => 4 + tracks(sid),
            M::UpdateDataSubscription(update) => SUBSCRIPTION * update.updates.len(),
            M::StoreDataBlobRequest(_) | M::GetDataBlobRequest(_) => 1,
            M::UpdateLayers(_) | M::Ping(_) | M::PingReq(_) => 0,
        };
        // The cost of reading it, handing it on and answering it.
        let bytes = request.encoded_len();
        (1 + effect + bytes / 1024) as u64
    }
}

fn subscriptions(update: &UpdateSubscription) -> usize {
    let nested = update.participant_tracks.iter();
    update.track_sids.len() + nested.map(|tracks| tracks.track_sids.len()).sum::<usize>()
}
