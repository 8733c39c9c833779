//! Canned media, played into a room: for tests and probes.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::Handle;
use crate::{
    Error,
    fixtures::{self, FRAMES_PER_SECOND, MovingPicture, OPUS_FRAME_TICKS},
    media::AudioLevel,
};

/// Sends the canned tone on the published audio track `cid` in real time, until the track or the session ends.
///
/// # Errors
/// The errors of [`Handle::write_frame`].
pub async fn play_tone(handle: Handle, cid: String) -> Result<(), Error> {
    let mut clock = interval(Duration::from_millis(20));
    // A task that is late sends all frames that are due: a listener counts packets.
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let level = Some(AudioLevel {
        dbov: -20,
        voice: true,
    });
    let mut timestamp = 0u32;
    for frame in fixtures::tone().into_iter().cycle() {
        clock.tick().await;
        handle
            .write_frame(&cid, None, frame.to_vec(), timestamp, level)
            .await?;
        timestamp = timestamp.wrapping_add(OPUS_FRAME_TICKS);
    }
    Ok(())
}

/// Sends `picture` on the published video track `cid` in real time, with a key frame where one is asked for, until the
/// track or the session ends.
///
/// # Errors
/// The errors of [`Handle::write_frame`].
pub async fn play_picture(
    handle: Handle,
    cid: String,
    mut picture: MovingPicture,
) -> Result<(), Error> {
    let mut clock = interval(Duration::from_secs(1) / FRAMES_PER_SECOND);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut answered = Vec::new();
    loop {
        clock.tick().await;
        let cid = cid.clone();
        let write = move |participant: &mut crate::Participant, now| {
            let asked = participant.key_frame_requests(&cid);
            for (layer, count) in &asked {
                if !answered.contains(&(*layer, *count)) {
                    picture.restart(*layer);
                }
            }
            let (timestamp, frames) = picture.next_frames();
            for (layer, frame) in frames {
                participant.write_frame(&cid, layer, frame, timestamp, None, now)?;
            }
            Ok((picture, asked))
        };
        (picture, answered) = handle.call(write).await??;
    }
}
