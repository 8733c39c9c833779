use super::*;
use crate::config::Config;

const NOW: u64 = 1_800_000_000;
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
    );
    assert!(meetings.end(&other.as_str().into()).await);
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
    assert!(meetings.remove(&room, &grants[1].identity).await);
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

#[tokio::test]
async fn codes_cannot_be_tried_out() {
    let folder = folder();
    let meetings = open(&folder).await;
    let (slug, guest) = (start(&meetings).await, Guest::new());
    let (burst, every) = MISSES;
    for _ in 0..burst {
        assert_eq!(
            enter(&meetings, "aaaa-aaaa-aaa", &guest).await,
            Err(Refusal::Unknown)
        );
    }
    // Right or wrong, nobody at this address learns which.
    for code in ["aaaa-aaaa-aaa", &slug] {
        let refused = enter(&meetings, code, &guest).await;
        assert!(
            matches!(refused, Err(Refusal::TooMany { .. })),
            "{refused:?}"
        );
    }
    let elsewhere = "192.0.2.2".parse().unwrap();
    let times = (NOW, Instant::now());
    assert!(
        meetings
            .enter(&slug, &guest, ("", ""), elsewhere, times)
            .await
            .is_ok()
    );
    let later = (NOW, Instant::now() + every);
    assert!(
        meetings
            .enter(&slug, &guest, ("", ""), address(), later)
            .await
            .is_ok()
    );
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
    let guest = Guest::new();
    let grant = enter(&meetings, &entered, &guest).await.unwrap();
    meetings
        .remove(&entered.as_str().into(), &grant.identity)
        .await;
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
