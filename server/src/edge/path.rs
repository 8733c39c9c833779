//! Which endpoint a path names.

use std::borrow::Cow;

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The signal connection; `v1` needs a `join_request`.
    Rtc { v1: bool },
    /// The same checks over plain HTTP, for clients that want to know why they were refused.
    Validate { v1: bool },
    /// The connection of an agent's worker.
    Agent,
    /// The server API.
    Twirp,
    /// Tokens for the web client in development mode.
    DevToken,
    /// Meetings by link, for the web client.
    Meetings,
    /// The web client, or health.
    Root,
    /// A meeting's link: the web client.
    Meeting,
    /// A file of the web client, or nothing.
    Other,
}

const TWIRP: &str = "/twirp/";

/// Service and method of a call of the server API: `/twirp/<service>/<method>`, after any prefix.
pub(super) fn twirp(path: &str) -> Option<(&str, &str)> {
    let (_, call) = path.rsplit_once(TWIRP)?;
    call.split_once('/')
}

/// `//` counts as `/`: clients join base addresses that end in one.
pub(super) fn collapse(path: &str) -> Cow<'_, str> {
    if !path.contains("//") {
        return path.into();
    }
    let mut collapsed = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !collapsed.ends_with('/') {
            collapsed.push(c);
        }
    }
    collapsed.into()
}

/// The endpoint of a collapsed path. Those of LiveKit may follow any prefix, as a base address can have a path.
pub(super) fn endpoint(path: &str) -> Endpoint {
    const RTC: [(&str, Endpoint); 5] = [
        ("/rtc/v1/validate", Endpoint::Validate { v1: true }),
        ("/rtc/validate", Endpoint::Validate { v1: false }),
        ("/rtc/v1", Endpoint::Rtc { v1: true }),
        ("/rtc", Endpoint::Rtc { v1: false }),
        ("/agent", Endpoint::Agent),
    ];
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if let Some((_, endpoint)) = RTC.iter().find(|(suffix, _)| trimmed.ends_with(suffix)) {
        return *endpoint;
    }
    match path {
        _ if path.contains(TWIRP) => Endpoint::Twirp,
        "/" => Endpoint::Root,
        "/dev/token" => Endpoint::DevToken,
        _ if path.starts_with("/api/") => Endpoint::Meetings,
        _ if path.starts_with("/m/") => Endpoint::Meeting,
        _ => Endpoint::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(path: &str) -> Endpoint {
        endpoint(&collapse(path))
    }

    #[test]
    fn livekit_paths_may_follow_any_prefix() {
        for prefix in ["", "/", "/livekit/sfu", "/a//b/", "/m/x"] {
            assert_eq!(of(&format!("{prefix}/rtc")), Endpoint::Rtc { v1: false });
            assert_eq!(of(&format!("{prefix}/rtc/")), Endpoint::Rtc { v1: false });
            assert_eq!(of(&format!("{prefix}/rtc/v1")), Endpoint::Rtc { v1: true });
            assert_eq!(
                of(&format!("{prefix}//rtc//v1")),
                Endpoint::Rtc { v1: true }
            );
            assert_eq!(of(&format!("{prefix}/agent")), Endpoint::Agent);
            assert_eq!(
                of(&format!("{prefix}/rtc/validate")),
                Endpoint::Validate { v1: false }
            );
            assert_eq!(
                of(&format!("{prefix}/rtc/v1/validate")),
                Endpoint::Validate { v1: true }
            );
        }
        assert_eq!(of("/artc"), Endpoint::Other);
    }

    #[test]
    fn calls_of_the_api_may_follow_any_prefix() {
        for prefix in ["", "/", "/livekit/sfu"] {
            let path = format!("{prefix}/twirp/livekit.RoomService/ListRooms");
            assert_eq!(of(&path), Endpoint::Twirp);
            assert_eq!(twirp(&path), Some(("livekit.RoomService", "ListRooms")));
        }
        assert_eq!(of("/twirp"), Endpoint::Other);
        assert_eq!(twirp("/twirp/nothing"), None);
    }

    #[test]
    fn pages_and_files() {
        assert_eq!(of("/"), Endpoint::Root);
        assert_eq!(of("//"), Endpoint::Root);
        assert_eq!(of("/m/abcd-efg-hij"), Endpoint::Meeting);
        assert_eq!(of("/dev/token"), Endpoint::DevToken);
        assert_eq!(of("/x/dev/token"), Endpoint::Other);
        assert_eq!(of("/api/v1/config"), Endpoint::Meetings);
        assert_eq!(of("/api/v1/rooms/abcd-efgh-jkm/enter"), Endpoint::Meetings);
        assert_eq!(of("/assets/index-1.js"), Endpoint::Other);
    }
}
