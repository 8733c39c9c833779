//! What gets its turn on a media thread, and what waits for the next one.
//!
//! A turn is: datagrams, commands, what came over links, packets of other shards, timers; then everything goes out.
//! Each has a share. What is above it waits for the next turn, in which datagrams come first again.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant},
};

/// The number of datagrams between two flushes: as many as the shard's fan-out works on at once.
pub const FLUSH_EVERY: usize = 64;

/// The most receive batches of one socket before timers and commands have their turn.
pub const MAX_BATCHES: usize = 16;

/// The time for commands before datagrams have their turn: others must not wait for the work that somebody causes. A
/// command that has begun is finished, however many participants it concerns.
pub const TIME_FOR_COMMANDS: Duration = Duration::from_millis(1);

/// The most arrivals over links before datagrams have their turn.
pub const ARRIVALS_PER_TURN: usize = 256;

/// The most batches from other media threads before datagrams have their turn.
pub const RELAYED_PER_TURN: usize = 64;

/// What is left when a share is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Nothing,
    /// There may be more, which has its turn after datagrams: the thread wakes itself.
    Waits,
    /// The thread is to end.
    Stop,
}

/// Carries out commands as long as `time` lasts, and one in any case. `carry_out` is given the time of `clock`, and
/// breaks when the thread is to end.
pub fn by_time<M>(
    time: Duration,
    mut clock: impl FnMut() -> Instant,
    mut next: impl FnMut() -> Option<M>,
    mut carry_out: impl FnMut(M, Instant) -> ControlFlow<()>,
) -> Rest {
    let began = clock();
    let mut now = began;
    while now.saturating_duration_since(began) <= time {
        let Some(command) = next() else {
            return Rest::Nothing;
        };
        if carry_out(command, now).is_break() {
            return Rest::Stop;
        }
        now = clock();
    }
    Rest::Waits
}

/// Takes messages until there are none, and `most` at most.
pub fn by_number<M>(
    most: usize,
    mut next: impl FnMut() -> Option<M>,
    mut take: impl FnMut(M),
) -> Rest {
    for _ in 0..most {
        match next() {
            Some(message) => take(message),
            None => return Rest::Nothing,
        }
    }
    Rest::Waits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_take_turns_with_datagrams_by_their_time() {
        let turns = |each: Duration| {
            let start = Instant::now();
            let (mut now, mut queue, mut turns) = (start, 0..160, 0);
            loop {
                turns += 1;
                let at = std::cell::Cell::new(now);
                let rest = by_time(
                    TIME_FOR_COMMANDS,
                    || at.get(),
                    || queue.next(),
                    |_, _| {
                        at.set(at.get() + each);
                        ControlFlow::Continue(())
                    },
                );
                now = at.get();
                if rest == Rest::Nothing {
                    return turns;
                }
            }
        };
        assert_eq!(turns(Duration::ZERO), 1, "there is time for all");
        assert_eq!(turns(TIME_FOR_COMMANDS * 2), 161, "one in each turn");
        assert_eq!(turns(TIME_FOR_COMMANDS / 3), 41, "four in each turn");
    }

    #[test]
    fn a_command_that_ends_the_thread_is_the_last() {
        let now = Instant::now();
        let mut done = Vec::new();
        let mut queue = [1, 2, 3].into_iter();
        let rest = by_time(
            TIME_FOR_COMMANDS,
            || now,
            || queue.next(),
            |command, _| {
                done.push(command);
                match command {
                    2 => ControlFlow::Break(()),
                    _ => ControlFlow::Continue(()),
                }
            },
        );
        assert_eq!((rest, done), (Rest::Stop, vec![1, 2]));
    }

    #[test]
    fn messages_above_the_share_wait() {
        let mut queue = 0..5;
        let mut taken = 0;
        assert_eq!(by_number(3, || queue.next(), |_| taken += 1), Rest::Waits);
        assert_eq!(by_number(3, || queue.next(), |_| taken += 1), Rest::Nothing);
        assert_eq!(taken, 5);
    }
}
