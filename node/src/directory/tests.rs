use std::collections::BTreeMap;

use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::room_key::Tenant;
use protocol::RoomName;

const LIMITS: Limits = Limits { all: 5, per_key: 3 };

fn key(tenant: &str, name: &str) -> RoomKey {
    RoomKey {
        tenant: Tenant::from(tenant),
        name: RoomName::from(name),
    }
}

fn sid(number: u64) -> RoomSid {
    RoomSid::random(&mut StdRng::seed_from_u64(number))
}

/// Opens a room, or finds it; what its handle is.
fn open(directory: &mut Directory<u64>, key: &RoomKey, api_key: &str, number: u64) -> u64 {
    let opened = directory.find_or_open(key, api_key, |_| 0, |_| (sid(number), number));
    opened.unwrap()
}

#[test]
fn a_room_goes_where_the_fewest_are() {
    let mut directory = Directory::new(2, LIMITS, true);
    let mut shard_of = |name: &str, participants: [usize; 2]| {
        let number = name.len() as u64;
        let place = |place: Placement| (sid(number), place.shard);
        let opened = directory.find_or_open(&key("", name), "key", |at| participants[at], place);
        opened.unwrap()
    };
    assert_eq!(shard_of("a", [0, 0]), 0);
    assert_eq!(shard_of("ab", [0, 0]), 1, "a new room counts as somebody");
    assert_eq!(shard_of("abc", [3, 1]), 1);
}

#[test]
fn a_room_too_many_is_refused_and_one_that_is_open_is_not() {
    let mut directory = Directory::new(1, LIMITS, true);
    for number in 0..3 {
        open(&mut directory, &key("", &number.to_string()), "key", number);
    }
    let (new, old) = (key("", "new"), key("", "0"));
    assert_eq!(directory.admits(&new, "key"), Err(Error::TooManyRooms));
    assert_eq!(directory.admits(&old, "key"), Ok(()));
    for number in 3..5 {
        open(
            &mut directory,
            &key("", &number.to_string()),
            "other",
            number,
        );
    }
    let overloaded = Err(Error::Overloaded("too many rooms"));
    assert_eq!(directory.admits(&new, "third"), overloaded);
    // The end of a room makes way for another.
    assert!(directory.vacate(sid(0), Revocations::default()));
    assert!(!directory.vacate(sid(0), Revocations::default()), "once");
    assert_eq!(directory.admits(&new, "key"), Ok(()));
    directory.close();
    assert_eq!(
        directory.admits(&key("", "1"), "key"),
        Err(Error::ShuttingDown)
    );
}

#[test]
fn where_only_applications_create_rooms_a_join_opens_none() {
    let mut directory = Directory::new(1, LIMITS, false);
    let room = key("", "room");
    assert_eq!(directory.admits(&room, "key"), Err(Error::RoomNotFound));
    open(&mut directory, &room, "key", 1);
    assert_eq!(directory.admits(&room, "key"), Ok(()));
}

#[test]
fn the_next_room_of_a_key_knows_the_revoked_tokens_of_the_last() {
    let mut directory = Directory::new(1, LIMITS, true);
    let (room, mut revoked) = (key("a", "room"), Revocations::default());
    revoked.add(&"mallory".into(), 7);
    open(&mut directory, &room, "key", 1);
    directory.vacate(sid(1), revoked.clone());
    let mut known = |key: &RoomKey, number| {
        let mut known = None;
        let open = |place: Placement| {
            known = Some(place.revoked);
            (sid(number), number)
        };
        directory.find_or_open(key, "key", |_| 0, open).unwrap();
        known
    };
    let others = known(&key("b", "room"), 2);
    assert_eq!(others, Some(Revocations::default()), "of another tenant");
    assert_eq!(known(&room, 3), Some(revoked));
}

#[derive(Debug, Clone)]
enum Step {
    Open { tenant: u8, name: u8 },
    End(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_u8, 0..4_u8).prop_map(|(tenant, name)| Step::Open { tenant, name }),
        1 => (0..8_usize).prop_map(Step::End),
    ]
}

proptest! {
    /// Whatever two tenants open and end: each finds its own rooms and nothing else, by key and by sid, and rooms are
    /// counted to whom they belong.
    #[test]
    fn two_tenants_never_see_each_others_rooms(steps in prop::collection::vec(step(), 0..60)) {
        let limits = Limits { all: 100, per_key: 3 };
        let mut directory = Directory::new(3, limits, true);
        let mut open: BTreeMap<(u8, u8), u64> = BTreeMap::new();
        let key_of = |(tenant, name): (u8, u8)| key(&tenant.to_string(), &name.to_string());
        for (number, step) in (1..).zip(steps) {
            match step {
                Step::Open { tenant, name } => {
                    let known = open.get(&(tenant, name)).copied();
                    let own = open.keys().filter(|(of, _)| *of == tenant).count();
                    let opened = directory.find_or_open(
                        &key_of((tenant, name)),
                        &tenant.to_string(),
                        |_| 0,
                        |_| (sid(number), number),
                    );
                    match known {
                        Some(known) => prop_assert_eq!(opened, Ok(known)),
                        None if own < 3 => {
                            prop_assert_eq!(opened, Ok(number));
                            open.insert((tenant, name), number);
                        }
                        None => prop_assert_eq!(opened, Err(Error::TooManyRooms)),
                    }
                }
                Step::End(index) => {
                    let ended = open.iter().nth(index).map(|(key, number)| (*key, *number));
                    if let Some((key, number)) = ended {
                        prop_assert!(directory.vacate(sid(number), Revocations::default()));
                        open.remove(&key);
                    }
                }
            }
            prop_assert_eq!(directory.len(), open.len());
            for tenant in 0..2 {
                for name in 0..4 {
                    let number = open.get(&(tenant, name));
                    prop_assert_eq!(directory.find(&key_of((tenant, name))), number);
                }
            }
            for number in open.values() {
                prop_assert_eq!(directory.find_sid(sid(*number)), Some(number));
            }
            prop_assert_eq!(directory.per_shard.iter().sum::<usize>(), open.len());
        }
    }
}
