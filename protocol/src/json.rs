//! Protobuf's JSON as livekit-server's API answers it: field names as in the `.proto` files, and fields without a
//! value written out. (`serde` on LiveKit's messages gives lowerCamelCase names and leaves empty fields out, which is
//! what webhooks want.)
//!
//! What a message has in it is in `json/livekit.binpb`, the descriptors of livekit-protocol's `.proto` files;
//! `make descriptors` writes it when that crate was updated, and a test fails until then.

use std::sync::LazyLock;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Kind, MessageDescriptor, SerializeOptions};
use serde_json::Value;

/// The name of a message: which fields it has.
pub type Shape = &'static str;

/// A message without fields.
pub const EMPTY: Shape = "livekit.DeleteRoomResponse";

/// The lists of egress, ingress and SIP, while nothing is in them.
pub const ITEMS: Shape = "livekit.ListSIPDispatchRuleResponse";

/// `livekit.Room`
pub const ROOM: Shape = "livekit.Room";

/// `livekit.ListRoomsResponse`
pub const ROOMS: Shape = "livekit.ListRoomsResponse";

/// `livekit.ParticipantInfo`
pub const PARTICIPANT: Shape = "livekit.ParticipantInfo";

/// `livekit.ListParticipantsResponse`
pub const PARTICIPANTS: Shape = "livekit.ListParticipantsResponse";

/// `livekit.MuteRoomTrackResponse`
pub const MUTED_TRACK: Shape = "livekit.MuteRoomTrackResponse";

/// `livekit.PerformRpcResponse`
pub const RPC_RESPONSE: Shape = "livekit.PerformRpcResponse";

/// `livekit.AgentDispatch`
pub const AGENT_DISPATCH: Shape = "livekit.AgentDispatch";

/// `livekit.ListAgentDispatchResponse`
pub const AGENT_DISPATCHES: Shape = "livekit.ListAgentDispatchResponse";

/// All messages of LiveKit's server API, a constant that is decoded once.
static MESSAGES: LazyLock<Option<DescriptorPool>> = LazyLock::new(|| {
    let pool = DescriptorPool::decode(&include_bytes!("json/livekit.binpb")[..]);
    debug_assert!(pool.is_ok(), "{pool:?}");
    pool.ok()
});

/// Writes the message with this name. `None`: there is no message of this name, or `message` is another.
pub fn write(message: &impl Message, shape: Shape) -> Option<Value> {
    let descriptor = MESSAGES.as_ref()?.get_message_by_name(shape)?;
    let encoded = message.encode_to_vec();
    let message = DynamicMessage::decode(descriptor.clone(), encoded.as_slice()).ok()?;
    let options = SerializeOptions::new()
        .skip_default_fields(false)
        .use_proto_field_name(true);
    let mut value = message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .ok()?;
    add_nulls(&mut value, &descriptor);
    Some(value)
}

/// Go's `EmitUnpopulated` also writes messages that are not there, except where one of several is there instead.
fn add_nulls(value: &mut Value, descriptor: &MessageDescriptor) {
    // Some of protobuf's own messages are texts.
    let Value::Object(object) = value else {
        return;
    };
    for field in descriptor.fields() {
        match (object.get_mut(field.name()), field.kind()) {
            (None, _) if field.containing_oneof().is_none() => {
                object.insert(field.name().to_owned(), Value::Null);
            }
            (Some(Value::Array(values)), Kind::Message(message)) => {
                for value in values {
                    add_nulls(value, &message);
                }
            }
            (Some(value), Kind::Message(message)) if !field.is_map() => {
                add_nulls(value, &message);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod completeness;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::livekit::{
        self, ListRoomsResponse, MuteRoomTrackResponse, ParticipantInfo, Room, SimulcastCodecInfo,
        TimedVersion, TrackInfo, VideoLayer, data_track_frame_encoding::Value as FrameEncoding,
        data_track_schema_encoding::Value as SchemaEncoding,
    };
    use serde_json::json;

    #[test]
    fn a_room_is_written_with_all_its_fields() {
        let room = Room {
            name: "r".into(),
            creation_time: 1_700_000_000,
            enabled_codecs: vec![livekit::Codec::default()],
            version: Some(TimedVersion::default()),
            ..Room::default()
        };
        let rooms = ListRoomsResponse { rooms: vec![room] };
        assert_eq!(
            write(&rooms, ROOMS),
            Some(json!({"rooms": [{
                "sid": "", "name": "r", "empty_timeout": 0, "departure_timeout": 0, "max_participants": 0,
                "creation_time": "1700000000", "creation_time_ms": "0", "turn_password": "",
                "enabled_codecs": [{"mime": "", "fmtp_line": ""}], "metadata": "", "num_participants": 0,
                "num_publishers": 0, "active_recording": false, "version": {"unix_micro": "0", "ticks": 0},
            }]}))
        );
        assert_eq!(
            write(&ListRoomsResponse::default(), ROOMS),
            Some(json!({"rooms": []}))
        );
    }

    #[test]
    #[allow(deprecated)] // All fields.
    fn every_field_has_a_shape() {
        // What is missing in a shape fails the assertion inside.
        let layer = VideoLayer {
            quality: 2,
            width: 1,
            height: 1,
            bitrate: 1,
            ssrc: 1,
            spatial_layer: 1,
            rid: "q".into(),
            repair_ssrc: 1,
        };
        let codec = SimulcastCodecInfo {
            mime_type: "video/VP8".into(),
            mid: "1".into(),
            cid: "c".into(),
            layers: vec![layer.clone()],
            video_layer_mode: 1,
            sdp_cid: "s".into(),
        };
        let track = TrackInfo {
            sid: "TR_1".into(),
            r#type: 1,
            name: "n".into(),
            muted: true,
            width: 1,
            height: 1,
            simulcast: true,
            disable_dtx: true,
            source: 1,
            layers: vec![layer],
            mime_type: "video/VP8".into(),
            mid: "1".into(),
            codecs: vec![codec],
            stereo: true,
            disable_red: true,
            encryption: 1,
            stream: "camera".into(),
            version: Some(TimedVersion::default()),
            audio_features: vec![1],
            backup_codec_policy: 1,
            packet_trailer_features: vec![1],
        };
        let person = ParticipantInfo {
            sid: "PA_1".into(),
            identity: "i".into(),
            state: 2,
            tracks: vec![track],
            metadata: "m".into(),
            joined_at: 1,
            joined_at_ms: 1,
            name: "n".into(),
            version: 1,
            permission: Some(livekit::ParticipantPermission {
                can_subscribe: true,
                can_publish: true,
                can_publish_data: true,
                can_publish_sources: vec![1],
                hidden: true,
                recorder: true,
                can_update_metadata: true,
                agent: true,
                can_subscribe_metrics: true,
                can_manage_agent_session: true,
            }),
            region: "r".into(),
            is_publisher: true,
            kind: 4,
            attributes: [("k".to_owned(), "v".to_owned())].into(),
            disconnect_reason: 1,
            kind_details: vec![1],
            data_tracks: vec![livekit::DataTrackInfo {
                pub_handle: 1,
                sid: "DTR_1".into(),
                name: "n".into(),
                encryption: 1,
                frame_encoding: Some(livekit::DataTrackFrameEncoding {
                    value: Some(FrameEncoding::WellKnown(7)),
                }),
                schema: Some(livekit::DataTrackSchemaId {
                    name: "s".into(),
                    encoding: Some(livekit::DataTrackSchemaEncoding {
                        value: Some(SchemaEncoding::Custom("c".into())),
                    }),
                }),
            }],
            client_protocol: 2,
            capabilities: vec![1],
        };
        let written = write(&person, PARTICIPANT).unwrap();
        assert_eq!(written["tracks"][0]["codecs"][0]["layers"][0]["rid"], "q");
        assert_eq!(
            written["data_tracks"][0]["frame_encoding"],
            json!({"well_known": "WELL_KNOWN_FRAME_ENCODING_JSON"})
        );
        assert_eq!(
            written["data_tracks"][0]["schema"]["encoding"],
            json!({"custom": "c"})
        );
        assert_eq!(written["joined_at"], "1");
        assert_eq!(written["attributes"], json!({"k": "v"}));
        let empty = write(&ParticipantInfo::default(), PARTICIPANT).unwrap();
        assert_eq!(
            empty.as_object().unwrap().len(),
            written.as_object().unwrap().len()
        );
        assert_eq!(empty["kind"], "STANDARD");
        let muted = MuteRoomTrackResponse::default();
        assert_eq!(write(&muted, MUTED_TRACK), Some(json!({"track": null})));
    }
}
