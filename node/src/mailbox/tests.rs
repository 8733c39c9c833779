use super::*;
use signaling::Response;

use protocol::livekit::{
    LeaveRequest, ParticipantInfo, ParticipantUpdate, RequestResponse, signal_response::Message,
};

type TestMailbox = Mailbox<()>;

const BOUNDS: Bounds = Bounds::SERVER;

fn mailbox() -> TestMailbox {
    Mailbox::new(BOUNDS)
}

fn mail(message: Message) -> Mail<()> {
    Mail::Message(SessionMessage::Response(message.into()))
}

fn update(sid: &str, version: u32, metadata: usize) -> Mail<()> {
    let participant = ParticipantInfo {
        sid: sid.into(),
        version,
        metadata: "m".repeat(metadata),
        ..Default::default()
    };
    mail(Message::Update(ParticipantUpdate {
        participants: vec![participant],
    }))
}

fn answer(length: usize) -> Mail<()> {
    mail(Message::RequestResponse(RequestResponse {
        message: "m".repeat(length),
        ..Default::default()
    }))
}

fn response(mail: Mail<()>) -> Response {
    match mail {
        Mail::Message(SessionMessage::Response(response)) => response,
        _ => panic!("another mail"),
    }
}

fn read(mailbox: &mut TestMailbox) -> Vec<(String, u32)> {
    std::iter::from_fn(|| mailbox.pop())
        .map(|mail| match response(mail).message() {
            Some(Message::Update(update)) => {
                let participant = &update.participants[0];
                (participant.sid.clone(), participant.version)
            }
            _ => ("other".into(), 0),
        })
        .collect()
}

#[test]
fn what_a_crowd_is_told_together_is_replaced_part_by_part_where_a_client_is_behind() {
    let together = |version| {
        let parts = ["PA_a", "PA_b"].map(|sid| response(update(sid, version, 10)));
        let all = Response::together(parts.to_vec()).unwrap();
        Mail::Message(SessionMessage::Response(all))
    };
    let mut mailbox = mailbox();
    // Nothing waits: it is one message.
    assert_eq!(mailbox.push(together(1)), Ok(()));
    let first = response(mailbox.pop().unwrap());
    assert!(
        matches!(first.message(), Some(Message::Update(update)) if update.participants.len() == 2)
    );
    assert!(mailbox.is_empty());
    for version in 2..=100_000 {
        assert_eq!(mailbox.push(together(version)), Ok(()));
    }
    assert_eq!(mailbox.push(update("PA_a", 100_001, 10)), Ok(()));
    let waits = read(&mut mailbox);
    assert!(waits.len() <= 3, "{waits:?}");
    assert!(waits.contains(&("PA_a".to_owned(), 100_001)));
    assert!(waits.contains(&("PA_b".to_owned(), 100_000)));
}

#[test]
fn what_others_do_fills_no_mailbox_and_the_newest_state_is_read() {
    let mut mailbox = mailbox();
    for version in 1..=100_000 {
        let sid = if version % 2 == 0 { "PA_a" } else { "PA_b" };
        assert_eq!(mailbox.push(update(sid, version, 10)), Ok(()));
    }
    let leave = mail(Message::Leave(LeaveRequest::default()));
    assert_eq!(mailbox.push(leave), Ok(()));
    assert_eq!(mailbox.push(update("PA_a", 100_001, 10)), Ok(()));
    let expected = [("PA_b", 99_999), ("PA_a", 100_001), ("other", 0)];
    let expected = expected.map(|(sid, version)| (sid.to_owned(), version));
    assert_eq!(read(&mut mailbox), expected);
    // What was read is told anew.
    assert_eq!(mailbox.push(update("PA_a", 100_002, 10)), Ok(()));
    assert_eq!(read(&mut mailbox), [("PA_a".to_owned(), 100_002)]);
}

#[test]
fn the_message_after_the_last_that_fits_is_refused_by_number_and_by_bytes() {
    let mut mailbox = mailbox();
    for _ in 0..BOUNDS.messages {
        assert_eq!(mailbox.push(answer(1)), Ok(()));
    }
    assert_eq!(mailbox.push(answer(1)), Err(Undelivered::Full));
    assert_eq!(
        mailbox.push(update("PA_a", 1, 10)),
        Ok(()),
        "state still fits"
    );
    assert_eq!(read(&mut mailbox).len(), BOUNDS.messages + 1);
    assert_eq!(mailbox.push(answer(2 * BOUNDS.bytes)), Ok(()), "alone");
    assert_eq!(mailbox.push(answer(1)), Err(Undelivered::Full));
    assert!(mailbox.pop().is_some());
    let half = answer(BOUNDS.bytes / 2 - 100);
    assert_eq!(mailbox.push(half), Ok(()));
    assert_eq!(mailbox.push(answer(BOUNDS.bytes / 2 - 100)), Ok(()));
    assert_eq!(
        mailbox.push(answer(BOUNDS.bytes / 2)),
        Err(Undelivered::Full)
    );
}

#[test]
fn who_writes_no_more_is_read_to_the_end_and_who_reads_no_more_is_told_nothing() {
    let mut mailbox = mailbox();
    assert_eq!(mailbox.push(answer(1)), Ok(()));
    mailbox.finish();
    assert_eq!(mailbox.push(answer(1)), Err(Undelivered::Gone));
    assert_eq!(read(&mut mailbox).len(), 1);
    let mut mailbox = self::mailbox();
    assert_eq!(mailbox.push(answer(1)), Ok(()));
    mailbox.abandon();
    assert!(mailbox.is_empty());
    assert_eq!(mailbox.push(answer(1)), Err(Undelivered::Gone));
}
