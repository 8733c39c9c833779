//! The descriptors have what the messages have: every field and every word of every enum, however deep. What a message has
//! is asked of its generated `Deserialize`: it names its fields, and what it reads for each.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use prost_reflect::FieldDescriptor;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor},
    forward_to_deserialize_any,
};

use super::*;
use crate::livekit;

/// More than any message has alternatives for one thing.
const ALTERNATIVES: usize = 8;

/// What has names, and these names.
type Names = BTreeMap<String, BTreeSet<String>>;

/// What the generated code says: the fields of messages, the words of enums.
#[derive(Default)]
struct Seen {
    messages: Names,
    enums: Names,
}

/// Reading stops, and begins again: the words of an enum are only told with an error.
#[derive(Debug)]
enum Stop {
    Words(&'static [&'static str]),
    Wrong(String),
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Wrong(message.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::Words(expected)
    }
}

/// Answers with one of each: a message with all fields, a list of one, a map of one.
#[derive(Clone)]
struct Probe<'a> {
    /// What is read. Messages find out themselves.
    field: Option<FieldDescriptor>,
    is_element: bool,
    /// Which of several alternatives is there.
    alternative: usize,
    seen: &'a RefCell<Seen>,
}

impl Probe<'_> {
    fn element(mut self) -> Self {
        self.is_element = true;
        self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let fields = fields.iter().map(|field| field.to_string()).collect();
        let mut seen = self.seen.borrow_mut();
        seen.messages.insert(name.to_owned(), fields);
        drop(seen);
        let pool = MESSAGES.as_ref().unwrap();
        let Some(message) = pool.get_message_by_name(name) else {
            return Err(Stop::Wrong(format!("{name} is not among the descriptors")));
        };
        let is_there = |field: &FieldDescriptor| match field.containing_oneof() {
            None => true,
            Some(one_of) => {
                let all: Vec<_> = one_of.fields().collect();
                all[self.alternative % all.len()] == *field
            }
        };
        let fields: Vec<_> = message.fields().filter(is_there).collect();
        visitor.visit_map(Fields {
            fields: fields.into_iter(),
            next: None,
            probe: self,
        })
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let Some(field) = &self.field else {
            return Err(Stop::Wrong("not a message".to_owned()));
        };
        if field.is_list() && !self.is_element {
            return visitor.visit_seq(One(Some(self.element())));
        }
        if field.is_map() && !self.is_element {
            return visitor.visit_map(One(Some(self.element())));
        }
        let kind = match field.kind() {
            Kind::Message(entry) if entry.is_map_entry() => entry.map_entry_value_field().kind(),
            kind => kind,
        };
        match kind {
            Kind::Enum(kind) => {
                let words = self.seen.borrow().enums.get(kind.full_name()).cloned();
                if words.is_some() {
                    return visitor.visit_u64(0);
                }
                match visitor.visit_str("no word of any enum") {
                    Err(Stop::Words(words)) => {
                        let words_of = words.iter().map(|word| word.to_string()).collect();
                        let mut seen = self.seen.borrow_mut();
                        seen.enums.insert(kind.full_name().to_owned(), words_of);
                        Err(Stop::Words(words))
                    }
                    other => other,
                }
            }
            Kind::Message(kind) if kind.full_name() == "google.protobuf.Duration" => {
                visitor.visit_str("0s")
            }
            Kind::Message(_) => visitor.visit_str("1970-01-01T00:00:00Z"),
            Kind::Bool => visitor.visit_bool(true),
            Kind::String | Kind::Bytes => visitor.visit_str(""),
            Kind::Float | Kind::Double => visitor.visit_f64(0.0),
            _ => visitor.visit_u64(0),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The fields of a message.
struct Fields<'a> {
    fields: std::vec::IntoIter<FieldDescriptor>,
    next: Option<FieldDescriptor>,
    probe: Probe<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        self.next = self.fields.next();
        let name = self.next.as_ref().map(|field| field.name().to_owned());
        name.map(|name| seed.deserialize(name.into_deserializer()))
            .transpose()
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        seed.deserialize(Probe {
            field: self.next.take(),
            is_element: false,
            ..self.probe.clone()
        })
    }
}

/// A list, or a map, of one.
struct One<'a>(Option<Probe<'a>>);

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Stop> {
        self.0.take().map(|one| seed.deserialize(one)).transpose()
    }
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Stop> {
        match &self.0 {
            Some(_) => seed.deserialize("0".into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Stop> {
        match self.0.take() {
            Some(one) => seed.deserialize(one),
            None => Err(Stop::Wrong("one value only".to_owned())),
        }
    }
}

/// Reads a message in all ways, and looks whether it has this name.
fn probe<M: for<'de> Deserialize<'de>>(shape: Shape, seen: &RefCell<Seen>) {
    for alternative in 0..ALTERNATIVES {
        loop {
            let probe = Probe {
                field: None,
                is_element: false,
                alternative,
                seen,
            };
            match M::deserialize(probe) {
                Ok(_) => break,
                Err(Stop::Words(_)) => {}
                Err(Stop::Wrong(message)) => panic!("{shape}: {message}"),
            }
        }
    }
    assert!(seen.borrow().messages.contains_key(shape), "{shape}");
}

#[test]
fn the_descriptors_have_every_field_and_every_word_of_every_message() {
    let seen = RefCell::default();
    probe::<livekit::DeleteRoomResponse>(EMPTY, &seen);
    probe::<livekit::ListSipDispatchRuleResponse>(ITEMS, &seen);
    probe::<livekit::Room>(ROOM, &seen);
    probe::<livekit::ListRoomsResponse>(ROOMS, &seen);
    probe::<livekit::ParticipantInfo>(PARTICIPANT, &seen);
    probe::<livekit::ListParticipantsResponse>(PARTICIPANTS, &seen);
    probe::<livekit::MuteRoomTrackResponse>(MUTED_TRACK, &seen);
    probe::<livekit::PerformRpcResponse>(RPC_RESPONSE, &seen);
    probe::<livekit::AgentDispatch>(AGENT_DISPATCH, &seen);
    probe::<livekit::ListAgentDispatchResponse>(AGENT_DISPATCHES, &seen);
    let Seen { messages, enums } = seen.into_inner();
    for deep in ["livekit.SimulcastCodecInfo", "livekit.JobState"] {
        assert!(messages.contains_key(deep), "{:?}", messages.keys());
    }
    assert!(enums.contains_key("livekit.BackupCodecPolicy"), "{enums:?}");
    let pool = MESSAGES.as_ref().unwrap();
    for (name, fields) in messages {
        let message = pool.get_message_by_name(&name).unwrap();
        let both = |field: FieldDescriptor| [field.name().to_owned(), field.json_name().to_owned()];
        let described: BTreeSet<_> = message.fields().flat_map(both).collect();
        assert_eq!(described, fields, "{name}: run `make descriptors`");
    }
    for (name, words) in enums {
        let described = pool.get_enum_by_name(&name).unwrap();
        let described: BTreeSet<_> = described.values().map(|v| v.name().to_owned()).collect();
        assert_eq!(described, words, "{name}: run `make descriptors`");
    }
}
