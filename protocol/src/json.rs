//! Protobuf's JSON as livekit-server's API answers it: field names as in the `.proto` files, and fields without a
//! value written out. (`serde` on LiveKit's messages gives lowerCamelCase names and leaves empty fields out, which is
//! what webhooks want.)

use serde::Serialize;
use serde_json::Value;

/// The fields of a message, under their names in the `.proto` file.
pub type Shape = &'static [(&'static str, Field)];

/// What a field holds, and so how it is written when it is empty.
#[derive(Debug, Clone, Copy)]
pub enum Field {
    /// `""`
    Text,
    /// `false`
    Bool,
    /// `0`
    Number,
    /// `"0"`: 64-bit numbers are texts in protobuf's JSON.
    Long,
    /// The name of the enum's zero.
    Enum(&'static str),
    /// `null`
    Message(Shape),
    /// `[]`, of messages.
    Messages(Shape),
    /// `[]`, of anything else.
    List,
    /// `{}`
    Map,
    /// Nothing: one of several, of which one is there.
    Either,
}

use Field::{Bool, Either, Enum, List, Long, Map, Message, Messages, Number, Text};

/// A message without fields.
pub const EMPTY: Shape = &[];

/// The lists of egress, ingress and SIP, while nothing is in them.
pub const ITEMS: Shape = &[("items", List)];

/// `livekit.Room`
pub const ROOM: Shape = &[
    ("sid", Text),
    ("name", Text),
    ("empty_timeout", Number),
    ("departure_timeout", Number),
    ("max_participants", Number),
    ("creation_time", Long),
    ("creation_time_ms", Long),
    ("turn_password", Text),
    (
        "enabled_codecs",
        Messages(&[("mime", Text), ("fmtp_line", Text)]),
    ),
    ("metadata", Text),
    ("num_participants", Number),
    ("num_publishers", Number),
    ("active_recording", Bool),
    ("version", Message(TIMED_VERSION)),
];

/// `livekit.ListRoomsResponse`
pub const ROOMS: Shape = &[("rooms", Messages(ROOM))];

/// `livekit.ParticipantInfo`
pub const PARTICIPANT: Shape = &[
    ("sid", Text),
    ("identity", Text),
    ("state", Enum("JOINING")),
    ("tracks", Messages(TRACK)),
    ("metadata", Text),
    ("joined_at", Long),
    ("joined_at_ms", Long),
    ("name", Text),
    ("version", Number),
    ("permission", Message(PERMISSION)),
    ("region", Text),
    ("is_publisher", Bool),
    ("kind", Enum("STANDARD")),
    ("attributes", Map),
    ("disconnect_reason", Enum("UNKNOWN_REASON")),
    ("kind_details", List),
    ("data_tracks", Messages(DATA_TRACK)),
    ("client_protocol", Number),
    ("capabilities", List),
];

/// `livekit.ListParticipantsResponse`
pub const PARTICIPANTS: Shape = &[("participants", Messages(PARTICIPANT))];

/// `livekit.MuteRoomTrackResponse`
pub const MUTED_TRACK: Shape = &[("track", Message(TRACK))];

/// `livekit.PerformRpcResponse`
pub const RPC_RESPONSE: Shape = &[("payload", Text)];

const TIMED_VERSION: Shape = &[("unix_micro", Long), ("ticks", Number)];

const PERMISSION: Shape = &[
    ("can_subscribe", Bool),
    ("can_publish", Bool),
    ("can_publish_data", Bool),
    ("can_publish_sources", List),
    ("hidden", Bool),
    ("recorder", Bool),
    ("can_update_metadata", Bool),
    ("agent", Bool),
    ("can_subscribe_metrics", Bool),
    ("can_manage_agent_session", Bool),
];

const TRACK: Shape = &[
    ("sid", Text),
    ("type", Enum("AUDIO")),
    ("name", Text),
    ("muted", Bool),
    ("width", Number),
    ("height", Number),
    ("simulcast", Bool),
    ("disable_dtx", Bool),
    ("source", Enum("UNKNOWN")),
    ("layers", Messages(LAYER)),
    ("mime_type", Text),
    ("mid", Text),
    (
        "codecs",
        Messages(&[
            ("mime_type", Text),
            ("mid", Text),
            ("cid", Text),
            ("layers", Messages(LAYER)),
            ("video_layer_mode", Enum("MODE_UNUSED")),
            ("sdp_cid", Text),
        ]),
    ),
    ("stereo", Bool),
    ("disable_red", Bool),
    ("encryption", Enum("NONE")),
    ("stream", Text),
    ("version", Message(TIMED_VERSION)),
    ("audio_features", List),
    ("backup_codec_policy", Enum("PREFER_REGRESSION")),
    ("packet_trailer_features", List),
];

const DATA_TRACK: Shape = &[
    ("pub_handle", Number),
    ("sid", Text),
    ("name", Text),
    ("encryption", Enum("NONE")),
    ("frame_encoding", Message(ENCODING)),
    (
        "schema",
        Message(&[("name", Text), ("encoding", Message(ENCODING))]),
    ),
];

/// One of two, of which the other is not written.
const ENCODING: Shape = &[("well_known", Either), ("custom", Either)];

const LAYER: Shape = &[
    ("quality", Enum("LOW")),
    ("width", Number),
    ("height", Number),
    ("bitrate", Number),
    ("ssrc", Number),
    ("spatial_layer", Number),
    ("rid", Text),
    ("repair_ssrc", Number),
];

/// Writes a message of this shape. `None` when it holds an enum value that JSON has no word for.
pub fn write(message: &impl Serialize, shape: Shape) -> Option<Value> {
    Some(complete(serde_json::to_value(message).ok()?, shape))
}

fn complete(value: Value, shape: Shape) -> Value {
    // A message is written as an object, or as null where there is none.
    let Value::Object(mut object) = value else {
        return value;
    };
    let mut complete = serde_json::Map::new();
    for (name, field) in shape {
        let value = object.remove(&camel_case(name));
        if value.is_none() && matches!(field, Either) {
            continue;
        }
        complete.insert((*name).to_owned(), field.complete(value));
    }
    debug_assert!(object.is_empty(), "fields without a shape: {object:?}");
    complete.into()
}

impl Field {
    fn complete(self, value: Option<Value>) -> Value {
        match (self, value) {
            (Message(shape), Some(value)) => complete(value, shape),
            (Messages(shape), Some(Value::Array(values))) => values
                .into_iter()
                .map(|value| complete(value, shape))
                .collect(),
            (_, Some(value)) => value,
            (Text, None) => "".into(),
            (Bool, None) => false.into(),
            (Number, None) => 0.into(),
            (Long, None) => "0".into(),
            (Enum(zero), None) => zero.into(),
            (Message(_) | Either, None) => Value::Null,
            (Messages(_) | List, None) => Value::Array(Vec::new()),
            (Map, None) => Value::Object(serde_json::Map::new()),
        }
    }
}

/// `num_participants` → `numParticipants`
fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

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
