//! The operating system of a thread that is a simulation: random numbers follow from a seed, and the clock stands until
//! the simulation moves it.
//!
//! Libraries below us ask the system for random numbers (the order of their hash maps, SSRCs, first sequence numbers,
//! SCTP tags) and for the time (str0m ties its virtual instants to the system's clock once, and its sender reports then
//! say that time to the nanosecond). Each such request ends in the C library's `getrandom` or `clock_gettime`; this
//! file is those functions for every program that links this crate. Other threads get the answers of the system.
//!
//! Not covered are the keys and signatures of DTLS, whose library keeps a generator of its own: handshakes differ in
//! their bytes (and by a byte or two in their length), which is why the network does not look at either.

use std::{cell::Cell, ffi::c_void, time::Duration};

/// The time on a simulation's clock at its beginning, since 1970 and since the system's start alike.
const BEGINNING: Duration = Duration::from_secs(1_800_000_000);

thread_local! {
    static STATE: Cell<Option<u64>> = const { Cell::new(None) };
    static CLOCK: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Makes this thread a simulation: its randomness follows from `seed` from now on, and its clock is at the beginning
/// and stands. For a fresh thread: numbers drawn before stay drawn.
pub fn simulate(seed: u64) {
    STATE.set(Some(seed));
    fastrand::seed(seed);
    set_clock(Duration::ZERO);
}

/// The time since the beginning; zero where there is no simulation.
pub fn elapsed() -> Duration {
    CLOCK.get().map_or(Duration::ZERO, |now| now - BEGINNING)
}

/// Sets the clock to `elapsed` after the beginning.
pub fn set_clock(elapsed: Duration) {
    CLOCK.set(Some(BEGINNING + elapsed));
}

/// The next number of SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `getrandom(2)`.
///
/// # Safety
/// `buffer` is valid for writes of `len` bytes, as the manual page asks.
// SAFETY: no other function of this name is linked but the C library's, whose contract this one keeps.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(buffer: *mut c_void, len: usize, flags: u32) -> isize {
    let seeded = STATE.try_with(Cell::get).ok().flatten();
    let Some(mut state) = seeded else {
        // SAFETY: the system call has the contract of this function.
        return unsafe { libc::syscall(libc::SYS_getrandom, buffer, len, flags) as isize };
    };
    // SAFETY: the caller promises `len` writable bytes; zeroed first, since they may be uninitialised.
    let bytes = unsafe {
        std::ptr::write_bytes(buffer.cast::<u8>(), 0, len);
        std::slice::from_raw_parts_mut(buffer.cast::<u8>(), len)
    };
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&next(&mut state).to_le_bytes()[..chunk.len()]);
    }
    STATE.set(Some(state));
    len as isize
}

/// `clock_gettime(2)`. A simulation has one clock, whichever is asked for.
///
/// # Safety
/// `time` is valid for a write, as the manual page asks.
// SAFETY: as for `getrandom`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let Some(now) = CLOCK.try_with(Cell::get).ok().flatten() else {
        // SAFETY: the system call has the contract of this function.
        return unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int };
    };
    let now = libc::timespec {
        tv_sec: now.as_secs().cast_signed(),
        tv_nsec: now.subsec_nanos().into(),
    };
    // SAFETY: the caller promises a `timespec` that may be written.
    unsafe { time.write(now) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        thread,
        time::{Instant, SystemTime},
    };

    fn drawn(seed: u64) -> (Vec<u32>, u64, Vec<u32>) {
        let work = move || {
            simulate(seed);
            let order: HashSet<u32> = (0..100).collect();
            let general = (0..5).map(|_| fastrand::u32(..)).collect();
            (order.into_iter().collect(), rand::random(), general)
        };
        thread::spawn(work).join().unwrap()
    }

    #[test]
    fn a_seeded_thread_draws_the_same_again() {
        assert_eq!(drawn(7), drawn(7));
        let (a, b) = (drawn(7), drawn(8));
        assert!(a.0 != b.0 && a.1 != b.1 && a.2 != b.2);
    }

    #[test]
    fn other_threads_get_what_the_system_gives() {
        let draw = || thread::spawn(rand::random::<u64>).join().unwrap();
        assert_ne!(draw(), draw());
    }

    #[test]
    fn a_simulations_clock_stands_until_it_is_moved() {
        let work = || {
            simulate(1);
            let (start, unix) = (Instant::now(), SystemTime::now());
            thread::sleep(Duration::from_millis(2));
            assert_eq!((Instant::now(), SystemTime::now()), (start, unix));
            let hour = Duration::from_secs(3600);
            set_clock(hour);
            assert_eq!(Instant::now() - start, hour);
            unix
        };
        let unix = thread::spawn(work).join().unwrap();
        assert_eq!(unix, SystemTime::UNIX_EPOCH + BEGINNING);
        let start = Instant::now();
        thread::sleep(Duration::from_millis(2));
        assert!(start.elapsed() >= Duration::from_millis(2));
    }
}
