//! Paths, and the endpoints they name.

use std::borrow::Cow;

/// An endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// The signal connection; `v1` needs a `join_request`.
    Rtc { v1: bool },
    /// The checks of a join over plain HTTP, for clients that want to know why they were refused.
    Validate { v1: bool },
    /// The connection of an agent's worker.
    Agent,
    /// The connection to the delivery service of an encrypted meeting.
    E2ee,
    /// The server API.
    Twirp,
    /// Tokens for the web client in development mode.
    DevToken,
    /// Meetings by link: requests of the web client.
    Meetings,
    /// The web client, or health.
    Root,
    /// The link of a meeting: the web client.
    Meeting,
    /// A file of the web client, or nothing.
    Other,
}

const TWIRP: &str = "/twirp/";

/// The number of surplus slashes in the path of a call, all in all: `http://host/` and `/twirp/` make one. A proxy's
/// rule against strangers need not know more than these two.
pub(super) const SURPLUS_SLASHES: usize = 1;

/// Service and method of a call of the server API: `/twirp/<service>/<method>`.
pub(super) fn twirp(path: &str) -> Option<(&str, &str)> {
    path.strip_prefix(TWIRP)?.split_once('/')
}

/// The path without the prefix that a proxy before us leaves in it (`http.prefix`), where it has it.
pub(super) fn without_prefix<'a>(path: &'a str, prefix: &str) -> &'a str {
    match path.strip_prefix(prefix) {
        Some(rest) if rest.starts_with('/') => rest,
        _ => path,
    }
}

/// The path with `//` as `/`: clients join base addresses that end in a slash.
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

/// The endpoint of a collapsed path. The signal endpoints may follow any prefix, as a base address can have a path. The
/// server API may not: an administrator who keeps strangers from `/twirp/` by a rule of a proxy relies on the path.
pub(super) fn endpoint(path: &str) -> Endpoint {
    const RTC: [(&str, Endpoint); 6] = [
        ("/rtc/v1/validate", Endpoint::Validate { v1: true }),
        ("/rtc/validate", Endpoint::Validate { v1: false }),
        ("/rtc/v1", Endpoint::Rtc { v1: true }),
        ("/rtc", Endpoint::Rtc { v1: false }),
        ("/agent", Endpoint::Agent),
        ("/e2ee", Endpoint::E2ee),
    ];
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    if let Some((_, endpoint)) = RTC.iter().find(|(suffix, _)| trimmed.ends_with(suffix)) {
        return *endpoint;
    }
    match path {
        _ if path.starts_with(TWIRP) => Endpoint::Twirp,
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
    fn signal_paths_may_follow_any_prefix() {
        for prefix in ["", "/", "/livekit/sfu", "/a//b/", "/m/x"] {
            assert_eq!(of(&format!("{prefix}/rtc")), Endpoint::Rtc { v1: false });
            assert_eq!(of(&format!("{prefix}/rtc/")), Endpoint::Rtc { v1: false });
            assert_eq!(of(&format!("{prefix}/rtc/v1")), Endpoint::Rtc { v1: true });
            assert_eq!(
                of(&format!("{prefix}//rtc//v1")),
                Endpoint::Rtc { v1: true }
            );
            assert_eq!(of(&format!("{prefix}/agent")), Endpoint::Agent);
            assert_eq!(of(&format!("{prefix}/e2ee")), Endpoint::E2ee);
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
    fn calls_of_the_api_are_at_the_root_or_after_the_configured_prefix() {
        let call = "/twirp/livekit.RoomService/ListRooms";
        let after = |path: &str, prefix| endpoint(without_prefix(&collapse(path), prefix));
        for (path, prefix) in [
            (call.to_owned(), ""),
            (call.to_owned(), "/livekit/sfu"),
            (format!("/{call}"), ""),
            (format!("/livekit/sfu{call}"), "/livekit/sfu"),
        ] {
            assert_eq!(after(&path, prefix), Endpoint::Twirp, "{path}");
        }
        for (path, prefix) in [
            (format!("/x{call}"), ""),
            (format!("/x{call}"), "/livekit"),
            (format!("/m/x{call}"), ""),
            (format!("/livekitx{call}"), "/livekit"),
            (format!("/livekit/x{call}"), "/livekit"),
            ("/%74wirp/livekit.RoomService/ListRooms".to_owned(), ""),
            ("/TWIRP/livekit.RoomService/ListRooms".to_owned(), ""),
        ] {
            assert_ne!(after(&path, prefix), Endpoint::Twirp, "{path}");
        }
        assert_eq!(twirp(call), Some(("livekit.RoomService", "ListRooms")));
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
