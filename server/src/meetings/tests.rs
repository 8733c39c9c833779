use std::collections::BTreeSet;

use super::{
    attempts::{MISSES, SAME_MISS, STARTS},
    *,
};
use crate::config::Config;

/// A full hour, long after whatever the clock says that forgets meetings beside the tests.
const NOW: u64 = 4_000_003_200;
const DAY: u64 = 86_400;

/// A folder of its own for a test, removed with it.
struct Folder(std::path::PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn folder() -> Folder {
    let name = format!("conclave-meetings-{:016x}", rand::random::<u64>());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).unwrap();
    Folder(path)
}

fn config(folder: &Folder) -> Config {
    let mut config = Config::default();
    config.meetings.start = StartMeetings::Anyone;
    config.meetings.join = Some(JoinMeetings::Link);
    config.meetings.file = folder.0.join("meetings.db");
    config
}

async fn open(folder: &Folder) -> Meetings {
    Meetings::open(&config(folder)).await.unwrap().0
}

fn address() -> IpAddr {
    "192.0.2.1".parse().unwrap()
}

async fn enter(meetings: &Meetings, slug: &str, guest: &Guest) -> Result<Grant, Refusal> {
    let times = (NOW, Instant::now());
    meetings
        .enter(slug, guest, ("Ada", "tab"), address(), times)
        .await
}

async fn start(meetings: &Meetings) -> String {
    meetings
        .start(address(), NOW, Instant::now())
        .await
        .unwrap()
}

#[test]
fn a_code_reads_well_and_favours_no_letter() {
    let mut bytes = [255, 254, 253, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 22].into_iter();
    assert_eq!(new_slug(|| bytes.next().unwrap()), "abcd-efgh-jkz");
    let groups = |slug: String| slug.split('-').map(str::len).collect::<Vec<_>>();
    assert_eq!(groups(new_slug(rand::random)), GROUPS);
}

#[tokio::test]
async fn a_meeting_its_end_and_who_was_removed_outlive_a_restart() {
    let folder = folder();
    let (ada, ben) = (Guest::new(), Guest::new());
    let meetings = open(&folder).await;
    let (slug, other) = (start(&meetings).await, start(&meetings).await);
    let before = enter(&meetings, &slug, &ada).await.unwrap();
    let removed = enter(&meetings, &slug, &ben).await.unwrap();
    assert!(
        meetings
            .remove(&slug.as_str().into(), &removed.identity)
            .await
            .unwrap()
    );
    assert!(meetings.end(&other.as_str().into(), NOW).await.unwrap());
    meetings.0.store.close().await;

    let meetings = open(&folder).await;
    let after = enter(&meetings, &slug, &ada).await.unwrap();
    assert_eq!(after.identity, before.identity, "the same person");
    assert_eq!(enter(&meetings, &slug, &ben).await, Err(Refusal::Removed));
    assert_eq!(enter(&meetings, &other, &ada).await, Err(Refusal::Ended));
    // Nor with the token that was given out before.
    assert_eq!(meetings.admits(&before, &slug.as_str().into()), Ok(()));
    let refused = meetings.admits(&removed, &slug.as_str().into());
    assert_eq!(refused, Err(Error::TokenRevoked));
}

#[tokio::test]
async fn who_was_removed_does_not_come_back_in_another_window_or_with_an_old_token() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (slug, guest) = (start(&meetings).await, Guest::new());
    let room = RoomName::from(slug.as_str());
    let mut grants = Vec::new();
    for tab in ["", "one", "two"] {
        let times = (NOW, Instant::now());
        let grant = meetings
            .enter(&slug, &guest, ("", tab), address(), times)
            .await;
        grants.push(grant.unwrap());
    }
    let identities: BTreeSet<_> = grants.iter().map(|grant| &grant.identity).collect();
    assert_eq!(identities.len(), 3, "windows are told apart");
    let removed = meetings.remove(&room, &grants[1].identity).await;
    assert_eq!(removed, Ok(true));
    for tab in ["", "one", "two", "three"] {
        let times = (NOW, Instant::now());
        let refused = meetings
            .enter(&slug, &guest, ("", tab), address(), times)
            .await;
        assert_eq!(refused, Err(Refusal::Removed));
    }
    for grant in &mut grants {
        assert_eq!(meetings.admits(grant, &room), Err(Error::TokenRevoked));
        // The same person once more, to publish only.
        grant.identity.push_str("#screen");
        assert_eq!(meetings.admits(grant, &room), Err(Error::TokenRevoked));
    }
    assert!(
        enter(&meetings, &slug, &Guest::new()).await.is_ok(),
        "others may"
    );
    let elsewhere = start(&meetings).await;
    assert!(
        enter(&meetings, &elsewhere, &guest).await.is_ok(),
        "and in other meetings"
    );
}

#[tokio::test]
async fn a_guest_is_somebody_else_in_each_meeting() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (one, two) = (start(&meetings).await, start(&meetings).await);
    let guest = Guest::new();
    let in_one = enter(&meetings, &one, &guest).await.unwrap().identity;
    let in_two = enter(&meetings, &two, &guest).await.unwrap().identity;
    assert_ne!(guest_of(&in_one), guest_of(&in_two));
    assert!(!in_one.contains(guest.as_cookie()));
}

/// A code of no meeting, another one for each number.
fn wrong(n: u32) -> String {
    format!("aaaa-aaaa-{n:03}")
}

/// Enters from this address at this moment.
async fn enter_from(
    meetings: &Meetings,
    (slug, guest): (&str, &Guest),
    address: &str,
    now: Instant,
) -> Result<Grant, Refusal> {
    let address = address.parse().unwrap();
    let entered = meetings.enter(slug, guest, ("", ""), address, (NOW, now));
    entered.await
}

#[tokio::test]
async fn codes_cannot_be_tried_out() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (slug, guest) = (start(&meetings).await, Guest::new());
    let (burst, every) = MISSES;
    let now = Instant::now();
    let here = "192.0.2.1";
    let unknown = Err(Refusal::Unknown);
    for n in 0..burst {
        let code = wrong(n);
        assert_eq!(
            enter_from(&meetings, (&code, &guest), here, now).await,
            unknown
        );
    }
    // Right or wrong, nobody at this address learns which: not with a cookie of another meeting either.
    let known = Guest::new();
    let other = start(&meetings).await;
    let elsewhere = "192.0.2.2";
    assert!(
        enter_from(&meetings, (&other, &known), elsewhere, now)
            .await
            .is_ok()
    );
    for code in [&wrong(burst), &slug] {
        for guest in [&guest, &known, &Guest::new()] {
            let refused = enter_from(&meetings, (code, guest), here, now).await;
            assert!(
                matches!(refused, Err(Refusal::TooMany { .. })),
                "{refused:?}"
            );
        }
    }
    // What was tried already tells nothing new.
    assert_eq!(
        enter_from(&meetings, (&wrong(0), &guest), here, now).await,
        unknown
    );
    assert!(
        enter_from(&meetings, (&slug, &guest), elsewhere, now)
            .await
            .is_ok()
    );
    // One further code in ten seconds.
    let later = now + every;
    assert_eq!(
        enter_from(&meetings, (&wrong(burst), &guest), here, later).await,
        unknown
    );
    let refused = enter_from(&meetings, (&wrong(burst + 1), &guest), here, later).await;
    assert!(matches!(refused, Err(Refusal::TooMany { .. })));
}

#[tokio::test]
async fn whoever_stands_at_the_door_tries_no_codes_out_and_keeps_nobody_from_entering() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (slug, guest, now) = (start(&meetings).await, Guest::new(), Instant::now());
    let look = |slug: &str, at: &str| meetings.look(slug, &guest, at.parse().unwrap(), now);
    let (here, there) = ("192.0.2.1", "192.0.2.2");
    let is_told = |refused: &Result<(), Refusal>| matches!(refused, Err(Refusal::TooMany { .. }));
    let looks = (0..1000).map(|_| look(&slug, there));
    assert!(looks.filter(is_told).count() > 0);
    assert!(
        enter_from(&meetings, (&slug, &guest), there, now)
            .await
            .is_ok()
    );
    for n in 0..MISSES.0 {
        assert_eq!(look(&wrong(n), here), Err(Refusal::Unknown));
    }
    assert!(is_told(&look(&wrong(MISSES.0), here)));
    let refused = enter_from(&meetings, (&wrong(MISSES.0), &Guest::new()), here, now).await;
    assert!(matches!(refused, Err(Refusal::TooMany { .. })));
}

#[tokio::test]
async fn a_class_with_a_mistyped_link_shuts_nobody_out() {
    let folder = folder();
    let meetings = open(&folder).await;
    let slug = start(&meetings).await;
    let (here, now) = ("192.0.2.1", Instant::now());
    for _ in 0..100 {
        let refused = enter_from(&meetings, (&wrong(0), &Guest::new()), here, now).await;
        assert_eq!(refused, Err(Refusal::Unknown));
    }
    assert!(
        enter_from(&meetings, (&slug, &Guest::new()), here, now)
            .await
            .is_ok()
    );
    // Much later it counts again.
    let later = now + SAME_MISS * 2;
    for n in 0..MISSES.0 {
        let refused = enter_from(&meetings, (&wrong(n), &Guest::new()), here, later).await;
        assert_eq!(refused, Err(Refusal::Unknown));
    }
    let next = wrong(MISSES.0);
    let refused = enter_from(&meetings, (&next, &Guest::new()), here, later).await;
    assert!(matches!(refused, Err(Refusal::TooMany { .. })));
}

#[tokio::test]
async fn who_was_in_a_meeting_and_its_neighbours_come_back_whatever_was_tried_from_their_address() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (at_home, at_school) = (start(&meetings).await, start(&meetings).await);
    let (ada, ben, now) = (Guest::new(), Guest::new(), Instant::now());
    let (home, school) = ("192.0.2.1", "192.0.2.2");
    for (code, from) in [(&at_home, home), (&at_school, school)] {
        assert!(enter_from(&meetings, (code, &ada), from, now).await.is_ok());
    }
    for n in 0..2 * MISSES.0 {
        let _ = enter_from(&meetings, (&wrong(n), &ben), school, now).await;
    }
    // Ada by her cookie, though she was in that meeting from elsewhere; others in the meeting that is known there.
    assert!(
        enter_from(&meetings, (&at_home, &ada), school, now)
            .await
            .is_ok()
    );
    assert!(
        enter_from(&meetings, (&at_school, &Guest::new()), school, now)
            .await
            .is_ok()
    );
    let third = start(&meetings).await;
    for _ in 0..100 {
        let refused = enter_from(&meetings, (&third, &ada), school, now).await;
        assert!(matches!(refused, Err(Refusal::TooMany { .. })));
    }
    // Who tries very many codes learns nothing of those entered at school, and does not shut out Ada.
    let refused = enter_from(&meetings, (&at_school, &ben), school, now).await;
    assert!(matches!(refused, Err(Refusal::TooMany { .. })));
    assert!(
        enter_from(&meetings, (&at_home, &ada), school, now)
            .await
            .is_ok()
    );
    let refused = enter_from(&meetings, (&third, &ada), school, now).await;
    assert!(matches!(refused, Err(Refusal::TooMany { .. })));
}

#[tokio::test]
async fn one_address_does_not_fill_the_table_in_a_day() {
    let folder = folder();
    let meetings = open(&folder).await;
    let now = Instant::now();
    let started = (0..24 * 60).filter(|minute| {
        let at = now + Duration::from_secs(60 * minute);
        meetings.attempts().start(address(), at).is_ok()
    });
    let started = started.count();
    assert!((300..=600).contains(&started), "{started}");
}

#[tokio::test]
async fn a_full_table_makes_room_by_what_is_needed_least() {
    let folder = folder();
    let meetings = open(&folder).await;
    let used = |created_at| Meeting {
        created_at,
        entered_at: Some(created_at),
        ..Meeting::default()
    };
    // Old ones are looked for when it is opened: that is over then.
    start(&meetings).await;
    let all = (0..MAX_MEETINGS).map(|n| (format!("used-{n}"), used(NOW - 9)));
    *meetings.table() = all.collect();
    let started = meetings.start(address(), NOW, Instant::now()).await;
    assert_eq!(started, Err(Refusal::Full), "those in use stay");
    let put = |slug: &str, meeting| {
        let mut table = meetings.table();
        let used = table.keys().find(|slug| slug.starts_with("used-")).cloned();
        table.remove(&used.unwrap());
        table.insert(slug.to_owned(), meeting);
    };
    let ended = |ended_at| Meeting {
        ended_at: Some(ended_at),
        ..used(NOW - 1000)
    };
    put("over", ended(NOW - 601));
    put("just-over", ended(NOW - 1));
    for (slug, created_at) in [("newer", NOW - 7), ("older", NOW - 8)] {
        let unused = Meeting {
            created_at,
            ..Meeting::default()
        };
        put(slug, unused);
    }
    for gone in ["over", "older", "newer"] {
        assert!(meetings.table().contains_key(gone));
        start(&meetings).await;
        assert!(!meetings.table().contains_key(gone), "{gone}");
        assert_eq!(meetings.table().len(), MAX_MEETINGS);
    }
    assert!(meetings.table().contains_key("just-over"));
}

#[tokio::test]
async fn what_cannot_be_written_is_an_error_and_asking_again_writes_it() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (slug, other) = (start(&meetings).await, start(&meetings).await);
    let (room, other_room) = (
        RoomName::from(slug.as_str()),
        RoomName::from(other.as_str()),
    );
    let ben = Guest::new();
    let removed = enter(&meetings, &slug, &ben).await.unwrap().identity;
    meetings.0.store.set_read_only(true).await;
    for _ in 0..2 {
        assert_eq!(meetings.remove(&room, &removed).await, Err(NOT_WRITTEN));
        assert_eq!(meetings.end(&other_room, NOW).await, Err(NOT_WRITTEN));
    }
    // It holds all the same.
    assert_eq!(enter(&meetings, &slug, &ben).await, Err(Refusal::Removed));
    assert_eq!(enter(&meetings, &other, &ben).await, Err(Refusal::Ended));
    // What cannot be forgotten is tried again: it is still there.
    assert!(meetings.forget(NOW + 100 * DAY).await.is_err());
    assert_eq!(meetings.table().len(), 2);
    meetings.0.store.set_read_only(false).await;
    assert_eq!(meetings.remove(&room, &removed).await, Ok(true));
    assert_eq!(meetings.end(&other_room, NOW).await, Ok(true));
    meetings.0.store.close().await;
    let meetings = open(&folder).await;
    assert_eq!(enter(&meetings, &slug, &ben).await, Err(Refusal::Removed));
    assert_eq!(enter(&meetings, &other, &ben).await, Err(Refusal::Ended));
}

#[tokio::test]
async fn a_removal_is_written_though_who_asked_for_it_has_gone() {
    use futures_util::FutureExt;
    let folder = folder();
    let meetings = open(&folder).await;
    let slug = start(&meetings).await;
    let removed = enter(&meetings, &slug, &Guest::new()).await.unwrap();
    let room = RoomName::from(slug.as_str());
    let asked = meetings.remove(&room, &removed.identity).now_or_never();
    assert_eq!(asked, None, "dropped in the middle");
    let written = async {
        while meetings.0.store.removed_rows().await == 0 {
            tokio::task::yield_now().await;
        }
    };
    // Generous: it only tells what never comes from a slow machine.
    let limit = std::time::Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, written).await.is_ok());
}

#[tokio::test]
async fn the_last_guests_that_were_removed_are_remembered() {
    let config = Config::default().into_dev(None);
    let (meetings, _) = Meetings::open(&config).await.unwrap();
    let slug = start(&meetings).await;
    let room = RoomName::from(slug.as_str());
    let guest = |n: usize| format!("g-{n:020x}");
    for n in 0..=MAX_REMOVED {
        assert_eq!(meetings.remove(&room, &guest(n)).await, Ok(true));
    }
    let all = meetings.0.store.all().await.unwrap();
    let on_disk = &all.iter().find(|(code, _)| *code == slug).unwrap().1;
    assert_eq!(*on_disk, meetings.table()[&slug], "on disk and in memory");
    assert_eq!(on_disk.removed.len(), MAX_REMOVED);
    assert!(!on_disk.removed.contains(&guest(0)));
    assert!(on_disk.removed.contains(&guest(MAX_REMOVED)));
}

#[tokio::test]
async fn an_address_starts_n_meetings_and_not_one_more() {
    let folder = folder();
    let meetings = open(&folder).await;
    let now = Instant::now();
    for _ in 0..STARTS.0 {
        meetings.start(address(), NOW, now).await.unwrap();
    }
    let refused = meetings.start(address(), NOW, now).await;
    assert_eq!(
        refused,
        Err(Refusal::TooMany {
            retry_after: STARTS.1
        })
    );
    assert!(meetings.start(address(), NOW, now + STARTS.1).await.is_ok());
}

#[tokio::test]
async fn what_is_not_used_is_forgotten_and_what_is_used_is_not() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (entered, never) = (start(&meetings).await, start(&meetings).await);
    let over = start(&meetings).await;
    meetings.end(&over.as_str().into(), NOW).await.unwrap();
    let guest = Guest::new();
    let grant = enter(&meetings, &entered, &guest).await.unwrap();
    meetings
        .remove(&entered.as_str().into(), &grant.identity)
        .await
        .unwrap();
    let known = async |meetings: &Meetings| {
        let all = meetings.0.store.all().await.unwrap();
        let mut slugs: Vec<String> = all.into_iter().map(|(slug, _)| slug).collect();
        let mut table: Vec<String> = meetings.table().keys().cloned().collect();
        slugs.sort();
        table.sort();
        assert_eq!(slugs, table, "on disk and in memory");
        slugs
    };
    let mut both = vec![entered.clone(), never.clone()];
    both.sort();
    meetings.forget(NOW + DAY).await.unwrap();
    assert!(known(&meetings).await.contains(&over));
    meetings.forget(NOW + DAY + 1).await.unwrap();
    assert_eq!(
        known(&meetings).await,
        both,
        "tokens for it are no good now"
    );
    meetings.forget(NOW + 7 * DAY).await.unwrap();
    assert_eq!(known(&meetings).await, both);
    meetings.forget(NOW + 7 * DAY + 1).await.unwrap();
    assert_eq!(known(&meetings).await, std::slice::from_ref(&entered));
    meetings.forget(NOW + 90 * DAY).await.unwrap();
    assert_eq!(known(&meetings).await, std::slice::from_ref(&entered));
    meetings.forget(NOW + 90 * DAY + 1).await.unwrap();
    assert!(known(&meetings).await.is_empty());
    assert_eq!(
        enter(&meetings, &entered, &guest).await,
        Err(Refusal::Unknown)
    );
    let rows = meetings.0.store.removed_rows().await;
    assert_eq!(rows, 0, "nor is it known who was removed");
}

#[tokio::test]
async fn without_meetings_by_link_nothing_is_kept_and_nobody_comes_in() {
    let folder = folder();
    let mut config = config(&folder);
    config.meetings.start = StartMeetings::Nobody;
    config.meetings.join = Some(JoinMeetings::Token);
    let (meetings, keys) = Meetings::open(&config).await.unwrap();
    assert!(!config.meetings.file.exists());
    assert!(keys.is_empty());
    let refused = meetings.start(address(), NOW, Instant::now()).await;
    assert_eq!(refused, Err(Refusal::StartNotAllowed));
    let refused = enter(&meetings, "abcd-efgh-jkm", &Guest::new()).await;
    assert_eq!(refused, Err(Refusal::TokenRequired));
}

#[test]
fn a_cookie_that_is_none_of_ours_is_nobody() {
    let guest = Guest::new();
    assert!(Guest::read(guest.as_cookie()) == Some(guest));
    for cookie in [
        "",
        "x",
        &"A".repeat(32),
        &"0".repeat(33),
        &"0".repeat(31),
        &"é".repeat(16),
    ] {
        assert!(Guest::read(cookie).is_none(), "{cookie}");
    }
    for identity in ["", "g-", "alice", "g-ALICE-ALICE-ALICE-AL", &"é".repeat(20)] {
        assert_eq!(guest_of(identity), None, "{identity}");
    }
}
