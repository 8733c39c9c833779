//! The verdict on a run: what people would complain of.

use std::time::{Duration, Instant};

use client::TrackSetting;

use crate::{
    media::{Kind, PICTURE_EVERY, SOUND_EVERY, name},
    person::{Person, Source},
    scenario::{Action, Stop},
    world::World,
};

/// The time in which everybody must be back, in the quiet.
const RECOVERY: Duration = Duration::from_secs(45);

/// The time by which data may be late, after a cut.
const LATE_DATA: Duration = Duration::from_secs(40);

/// The time within which a source must have been heard or seen to be there.
const LATELY: Duration = Duration::from_millis(500);

/// The time for which that must be so.
const STEADY: Duration = Duration::from_secs(1);

/// The time in which everybody hears that the server stops.
const TOLD: Duration = Duration::from_secs(3);

/// The time for which it is then watched closely.
const WATCHED: Duration = Duration::from_secs(3);

/// Judges the quiet: the time until everybody has everybody, then a while in which that must stay so. Then everybody
/// leaves, and nothing may be left. Returns the complaints, and how long it took until all was well.
pub fn judge(world: &mut World) -> (Vec<String>, Duration) {
    let (mut complaints, quiet) = (Vec::new(), world.now);
    world.look_up();
    let (mut wrong, mut well_since) = (wrongs(world), world.now);
    while world.now - well_since < STEADY && well_since - quiet < RECOVERY {
        world.allow_all();
        world.forward_all();
        world.run(Duration::from_millis(250));
        world.look_up();
        wrong = wrongs(world);
        if !wrong.is_empty() {
            well_since = world.now;
        }
    }
    let recovery = well_since - quiet;
    world.note(&format!("all well after {recovery:?}"));
    complaints.extend(wrong);
    if complaints.is_empty() {
        complaints.extend(watch(world));
        complaints.extend(world.end_forwards());
    }
    silence_data(world);
    complaints.extend(missing_data(world));
    complaints.extend(gaps(world));
    match world.stops.take() {
        Some(stop) => complaints.extend(shut_down(world, &stop)),
        None => part(world),
    }
    complaints.extend(world.server.leftovers());
    for person in &mut world.people {
        let own = person
            .complaints
            .drain(..)
            .chain(person.listener.complaints.drain(..));
        complaints.extend(own.map(|complaint| format!("{}: {complaint}", person.index)));
    }
    if world.server.panics() > 0 {
        complaints.push(format!("{} panics", world.server.panics()));
    }
    complaints.extend(
        world
            .log
            .errors()
            .into_iter()
            .map(|line| format!("ERROR in the log: {line}")),
    );
    (complaints, recovery)
}

/// The other people in the room, forwarded ones too.
fn others<'a>(world: &'a World, me: &'a Person) -> impl Iterator<Item = &'a Person> {
    let others = world.people.iter();
    let others = others.filter(|other| other.present && other.index != me.index);
    others.filter(|other| world.is_in(other, &me.room))
}

fn wish(me: &Person, source: &Source) -> TrackSetting {
    me.wishes.get(&source.id).copied().unwrap_or_default()
}

/// The things that are not as they should be at this moment.
pub fn wrongs(world: &World) -> Vec<String> {
    let present = world.people.iter().filter(|person| person.present);
    present.flat_map(|me| wrongs_of(world, me)).collect()
}

fn wrongs_of(world: &World, me: &Person) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(participant) = me
        .participant
        .as_ref()
        .filter(|p| p.is_connected() && me.is_linked())
    else {
        return vec![format!("{} is not connected", me.index)];
    };
    if !me.data_open {
        wrong.push(format!("{} has no data channel", me.index));
    }
    let mut known: Vec<_> = participant
        .others()
        .iter()
        .map(|info| info.identity.as_str())
        .collect();
    let mut expected: Vec<_> = others(world, me)
        .map(|other| other.identity.as_str())
        .collect();
    known.sort_unstable();
    expected.sort_unstable();
    if known != expected {
        wrong.push(format!(
            "{} sees {known:?} instead of {expected:?}",
            me.index
        ));
    }
    for other in others(world, me) {
        let Some(info) = participant
            .others()
            .iter()
            .find(|info| info.identity == other.identity)
        else {
            continue;
        };
        let (seen, is) = (&info.metadata, &other.metadata);
        if is.as_ref() != Some(seen) {
            wrong.push(format!(
                "{} sees {seen:?} as metadata of {}, which is {is:?}",
                me.index, other.index
            ));
        }
        let mut tracks: Vec<_> = info
            .tracks
            .iter()
            .map(|track| (track.name.clone(), track.muted))
            .collect();
        let sources = other.sources.iter();
        let mut sources: Vec<_> = sources
            .map(|s| (name(other.index, s.id), s.muted))
            .collect();
        tracks.sort();
        sources.sort();
        if tracks != sources {
            wrong.push(format!(
                "{} thinks that {} has {tracks:?} instead of {sources:?}",
                me.index, other.index
            ));
        }
        for source in other.sources.iter().filter(|source| !source.muted) {
            wrong.extend(unseen(me, other, source, world.now));
        }
    }
    wrong
}

/// The complaint about a source that is not heard, or not seen as wished.
fn unseen(me: &Person, other: &Person, source: &Source, now: Instant) -> Option<String> {
    let wish = wish(me, source);
    if wish.disabled && source.kind != Kind::Sound {
        return None;
    }
    let (to, from, id) = (me.index, other.index, source.id);
    let Some(heard) = me.listener.of(source.id) else {
        return Some(format!(
            "{to} gets nothing of {id} ({:?}) of {from}",
            source.kind
        ));
    };
    if heard.last.is_none_or(|last| now - last > LATELY) {
        return Some(format!(
            "{to} gets no more of {id} ({:?}) of {from}",
            source.kind
        ));
    }
    let size = source.kind.size(wish.layer);
    if source.kind != Kind::Sound && heard.size != size {
        let has = heard.size;
        return Some(format!(
            "{to} sees {id} of {from} at {has:?} instead of {size:?}"
        ));
    }
    None
}

/// Counts, for each listener and source, the frames that come in a while: none may be missing.
fn watch(world: &mut World) -> Vec<String> {
    let frames = |world: &World| -> Vec<((usize, usize, u32), u64)> {
        let mut counts = Vec::new();
        for me in world.people.iter().filter(|person| person.present) {
            for other in others(world, me) {
                for source in &other.sources {
                    let frames = me.listener.of(source.id).map_or(0, |heard| heard.frames);
                    counts.push(((me.index, other.index, source.id), frames));
                }
            }
        }
        counts
    };
    // Frames of a source that was just muted, or is no longer wished for, may still be on their way.
    world.run(Duration::from_millis(500));
    let before = frames(world);
    world.run(WATCHED);
    let mut complaints = wrongs(world);
    for ((key, before), (_, after)) in before.into_iter().zip(frames(world)) {
        let (to, from, id) = key;
        let (me, other) = (&world.people[to], &world.people[from]);
        let Some(source) = other.sources.iter().find(|source| source.id == id) else {
            continue;
        };
        let every = if source.kind == Kind::Sound {
            SOUND_EVERY
        } else {
            PICTURE_EVERY
        };
        let all = WATCHED.as_millis() as u64 / every;
        // Where the subscription began anew meanwhile, only frames since then count.
        let got = after.checked_sub(before).unwrap_or(after);
        let none = source.muted || source.kind != Kind::Sound && wish(me, source).disabled;
        if none && got > 0 {
            complaints.push(format!(
                "{to} gets {got} frames of {id} of {from}, which is muted or not wished for"
            ));
        } else if !none && got < all * 9 / 10 {
            complaints.push(format!("{to} gets {got} of {all} frames of {id} of {from}"));
        }
    }
    complaints
}

/// Stops data messages. Those that a client sent into a network that was away are repeated at growing distances.
fn silence_data(world: &mut World) {
    for person in &mut world.people {
        person.talkative = false;
    }
    let since = world.now;
    while !missing_data(world).is_empty() && world.now - since < LATE_DATA {
        world.run(Duration::from_secs(1));
    }
}

/// Complaints about data: the last message of everybody must have come to everybody.
fn missing_data(world: &World) -> Vec<String> {
    let mut missing = Vec::new();
    for me in world.people.iter().filter(|person| person.present) {
        // Data is not forwarded to other rooms.
        for other in others(world, me).filter(|other| other.room == me.room) {
            let (count, life) = other.data_sent;
            let got = me.listener.last_data(other.index, life);
            if count > 0 && got != Some(count - 1) {
                let (to, from) = (me.index, other.index);
                missing.push(format!("{to} got data of {from} up to {got:?} of {count}"));
            }
        }
    }
    missing
}

/// Complaints about silences that no network explains.
fn gaps(world: &World) -> Vec<String> {
    let mut unexplained = Vec::new();
    for me in &world.people {
        for gap in &me.listener.gaps {
            let Some(from) = world.people.iter().position(|p| p.had(gap.source)) else {
                continue;
            };
            let excuses = world.excuses.iter();
            let excuses = excuses.filter(|e| e.person == from || e.person == me.index);
            let mut times: Vec<_> = excuses.map(|excuse| (excuse.from, excuse.to)).collect();
            let pauses = world.people[from].pauses.iter();
            let pauses = pauses.filter(|(source, ..)| *source == gap.source);
            // Frames that are sent again are still on their way.
            let transit = world.transit(from, me.index);
            times.extend(pauses.map(|(_, from, to)| (*from, *to + transit)));
            let left = uncovered(gap.from, gap.to, times);
            let allowed = gap.allowed + world.silence(from, me.index);
            if left > allowed {
                let at = gap.from - world.start;
                let to = me.index;
                unexplained.push(format!(
                    "{to} did not hear {} of {from} for {left:?} after {at:?}; {allowed:?} would be explained",
                    gap.source
                ));
            }
        }
    }
    unexplained
}

/// The part of a time that none of the others covers.
fn uncovered(from: Instant, to: Instant, mut times: Vec<(Instant, Instant)>) -> Duration {
    times.sort();
    let (mut left, mut at) = (Duration::ZERO, from);
    for (start, end) in times {
        if start > at {
            left += start.min(to).saturating_duration_since(at);
        }
        at = at.max(end);
    }
    left + to.saturating_duration_since(at)
}

/// Lets everybody leave; rooms close a while later.
fn part(world: &mut World) {
    for index in 0..world.people.len() {
        world.act(index, Action::Leave);
    }
    world.run(Duration::from_secs(60));
}

/// Stops the server while people come in; returns what is not as it should be. Nobody finds it again.
fn shut_down(world: &mut World, stop: &Stop) -> Vec<String> {
    for person in &stop.reload {
        world.act(*person, Action::Reload { says_goodbye: true });
    }
    world.run(stop.after);
    world.note("the server stops");
    world.server.close(world.now);
    world.run(TOLD);
    let people = world.people.iter().filter(|person| person.is_linked());
    let complaints = people
        .map(|person| format!("{} was not told that the server stops", person.index))
        .collect();
    for person in &mut world.people {
        person.vanish(false);
    }
    world.run(Duration::from_secs(60));
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_twice_counts_once() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let times = vec![
            (at(4), at(6)),
            (at(1), at(3)),
            (at(2), at(5)),
            (at(9), at(20)),
        ];
        assert_eq!(uncovered(at(0), at(10), times), Duration::from_secs(1 + 3));
        assert_eq!(
            uncovered(at(0), at(10), Vec::new()),
            Duration::from_secs(10)
        );
    }
}
