//! A thousand people in one room.

#![allow(clippy::disallowed_methods)] // The start of the virtual clock is a real instant.

use std::time::Instant;

#[test]
fn a_thousand_who_come_within_ten_seconds_know_each_other_and_nobody_is_closed_for_slowness() {
    let [hundred, thousand] = [100, 1000].map(|people| {
        let outcome = sim::crowd(1, people, Instant::now());
        let count = outcome.complaints.len();
        let some = &outcome.complaints[..count.min(20)];
        assert!(some.is_empty(), "{count} complaints: {some:#?}");
        println!(
            "{people} people: {} messages, {} bytes each",
            outcome.messages / people,
            outcome.bytes / people
        );
        outcome.bytes / people
    });
    assert!(
        thousand <= 12 * hundred,
        "each reads {thousand} bytes, {hundred} in a room of a hundred"
    );
}
