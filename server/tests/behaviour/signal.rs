//! Signal connections over a real WebSocket: limits, and the end of the server.

use crate::support::{PATIENCE, Server, token};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    livekit::{
        DisconnectReason, JoinRequest, Ping, SessionDescription, SignalRequest,
        leave_request::Action, signal_request, signal_response,
    },
    signal::{
        Encoding, Frame, MAX_FRAME_BYTES, decode_response, encode_join_request, encode_request,
    },
};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, http::StatusCode, protocol::frame::coding::CloseCode},
};

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    async fn connect(server: &Server, identity: &str) -> Result<Self, Error> {
        let request = encode_join_request(&JoinRequest::default());
        let token = token("room", identity);
        let url = format!(
            "ws://{}/rtc/v1?access_token={token}&join_request={request}",
            server.address
        );
        Ok(Self(connect_async(url).await?.0))
    }

    /// Connects and reads `join`.
    async fn join(server: &Server, identity: &str) -> Self {
        let mut client = Self::connect(server, identity).await.unwrap();
        let first = client.response().await;
        assert!(
            matches!(first, Some(signal_response::Message::Join(_))),
            "{first:?}"
        );
        client
    }

    async fn next(&mut self) -> Option<Message> {
        loop {
            match timeout(PATIENCE, self.0.next())
                .await
                .expect("the server says nothing")
            {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(message)) => return Some(message),
                Some(Err(_)) | None => return None,
            }
        }
    }

    async fn response(&mut self) -> Option<signal_response::Message> {
        let frame = match self.next().await? {
            Message::Binary(bytes) => Frame::Binary(bytes),
            Message::Text(text) => Frame::Text(text.as_str().to_owned()),
            _ => return None,
        };
        decode_response(&frame).unwrap().message
    }

    /// Sends a ping; true when it is answered.
    async fn is_served(&mut self) -> bool {
        let ping = signal_request::Message::PingReq(Ping {
            timestamp: 7,
            rtt: 0,
        });
        let request = SignalRequest {
            message: Some(ping),
        };
        let Frame::Binary(bytes) = encode_request(&request, Encoding::Protobuf) else {
            unreachable!()
        };
        self.0.send(Message::Binary(bytes)).await.unwrap();
        while let Some(response) = self.response().await {
            if matches!(&response, signal_response::Message::PongResp(pong) if pong.last_ping_timestamp == 7)
            {
                return true;
            }
        }
        false
    }

    /// Reads until the server closes the connection.
    async fn wait_for_close(&mut self) {
        while self.next().await.is_some_and(|message| !message.is_close()) {}
    }
}

#[tokio::test]
async fn too_long_a_message_ends_that_session_only() {
    let server = Server::dev(&[]);
    let mut other = Client::join(&server, "other").await;
    let mut client = Client::join(&server, "client").await;
    let _ = client
        .0
        .send(Message::Binary(vec![0; MAX_FRAME_BYTES + 1].into()))
        .await;
    client.wait_for_close().await;
    server.wait_for_log("too_long");
    assert!(other.is_served().await);
}

#[tokio::test]
async fn a_malformed_message_ends_that_session_only() {
    let server = Server::dev(&[]);
    let mut other = Client::join(&server, "other").await;
    for message in [
        Message::Binary(vec![0xff; 64].into()),
        Message::text("{\"offer\": 3"),
    ] {
        let mut client = Client::join(&server, "client").await;
        client.0.send(message).await.unwrap();
        client.wait_for_close().await;
    }
    server.wait_for_log("malformed");
    assert!(other.is_served().await);
}

#[tokio::test]
async fn whoever_speaks_json_is_answered_in_json() {
    let server = Server::dev(&[]);
    let mut client = Client::join(&server, "client").await;
    client
        .0
        .send(Message::text(
            r#"{"pingReq": {"timestamp": "5", "rtt": "0"}}"#,
        ))
        .await
        .unwrap();
    loop {
        match client.next().await {
            Some(Message::Text(text)) if text.as_str().contains("pongResp") => break,
            Some(_) => {}
            None => panic!("the connection ended"),
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_answered_before_the_upgrade() {
    let server = Server::dev(&[]);
    let request = encode_join_request(&JoinRequest::default());
    let url = format!(
        "ws://{}/rtc/v1?access_token=nonsense&join_request={request}",
        server.address
    );
    let Err(Error::Http(response)) = connect_async(url).await else {
        panic!("no refusal")
    };
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn who_speaks_the_older_protocol_is_offered_a_second_connection() {
    let server = Server::dev(&[]);
    let token = token("room", "elder");
    let url = format!(
        "ws://{}/rtc?access_token={token}&auto_subscribe=1&protocol=15",
        server.address
    );
    let mut client = Client(connect_async(&url).await.unwrap().0);
    let Some(signal_response::Message::Join(join)) = client.response().await else {
        panic!("no join")
    };
    assert!(join.subscriber_primary);
    let offer = loop {
        let response = client.response().await.expect("no offer before the end");
        if let signal_response::Message::Offer(offer) = response {
            break offer;
        }
    };
    assert!(offer.sdp.contains("a=ice-lite") && offer.sdp.contains("webrtc-datachannel"));
    // An answer that is none ends this client, and only this one.
    let mut other = Client::join(&server, "other").await;
    let answer = signal_request::Message::Answer(SessionDescription {
        r#type: "answer".into(),
        sdp: "nonsense".into(),
        id: offer.id,
        ..Default::default()
    });
    let request = SignalRequest {
        message: Some(answer),
    };
    let Frame::Binary(bytes) = encode_request(&request, Encoding::Protobuf) else {
        unreachable!()
    };
    client.0.send(Message::Binary(bytes)).await.unwrap();
    client.wait_for_close().await;
    assert!(other.is_served().await);
    // Unreadable parameters are refused before the upgrade.
    let Err(Error::Http(response)) = connect_async(url.replace("=15", "=x")).await else {
        panic!("no refusal")
    };
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn who_joins_to_publish_only_is_somebody_else_beside_the_person_and_receives_nothing() {
    let server = Server::dev(&[]);
    let mut person = Client::join(&server, "ada").await;
    let connect = async |token: &str| {
        let url = format!(
            "ws://{}/rtc?access_token={token}&publish=screen",
            server.address
        );
        let mut client = Client(connect_async(&url).await.unwrap().0);
        let Some(signal_response::Message::Join(join)) = client.response().await else {
            panic!("no join")
        };
        (client, join)
    };
    let (mut screen, join) = connect(&token("room", "ada")).await;
    let own = join.participant.unwrap();
    assert_eq!(own.identity, "ada#screen");
    let permission = own.permission.unwrap();
    assert!(permission.can_publish && !permission.can_subscribe);
    assert!(!join.subscriber_primary);
    assert!(person.is_served().await, "nobody took her place");
    let refreshed = loop {
        let response = screen.response().await.expect("no token before the end");
        if let signal_response::Message::RefreshToken(token) = response {
            break token;
        }
    };
    let (_, join) = connect(&refreshed).await;
    assert_eq!(join.participant.unwrap().identity, "ada#screen");
    // The newer protocol knows no such thing.
    let request = encode_join_request(&JoinRequest::default());
    let token = token("room", "eve");
    let url = format!(
        "ws://{}/rtc?access_token={token}&join_request={request}&publish=screen",
        server.address
    );
    let mut eve = Client(connect_async(&url).await.unwrap().0);
    let Some(signal_response::Message::Join(join)) = eve.response().await else {
        panic!("no join")
    };
    assert_eq!(join.participant.unwrap().identity, "eve");
}

#[tokio::test]
async fn who_was_removed_does_not_come_back_once_the_room_has_ended() {
    let server = Server::dev(&[]);
    let begin = crate::support::now();
    let old = crate::support::signed(
        &crate::support::grant("room", "mallory"),
        "secret",
        begin - 100,
    );
    let url = |token: &str| format!("ws://{}/rtc?access_token={token}", server.address);
    let mut mallory = Client(connect_async(url(&old)).await.unwrap().0);
    assert!(mallory.response().await.is_some(), "she is in");
    let mut admin = crate::support::grant("room", "");
    admin.video.as_mut().unwrap().room_admin = true;
    admin.video.as_mut().unwrap().room_create = true;
    let admin = crate::support::signed(&admin, "secret", begin);
    let calls = [
        (
            "RemoveParticipant",
            format!(
                r#"{{"room":"room","identity":"mallory","revoke_token_ts":"{}"}}"#,
                begin - 50
            ),
        ),
        ("DeleteRoom", r#"{"room":"room"}"#.to_owned()),
    ];
    for (method, body) in calls {
        let answer = server.request(
            "POST",
            &format!("/twirp/livekit.RoomService/{method}"),
            &[
                ("Authorization", &format!("Bearer {admin}")),
                ("Content-Type", "application/json"),
            ],
            &body,
        );
        assert_eq!(answer.status, 200, "{method}: {}", answer.body);
    }
    mallory.wait_for_close().await;
    let mut again = Client(connect_async(url(&old)).await.unwrap().0);
    let first = again.response().await;
    assert!(
        matches!(first, Some(signal_response::Message::Leave(_))),
        "{first:?}"
    );
    // A new token is a new invitation.
    let new = crate::support::signed(&crate::support::grant("room", "mallory"), "secret", begin);
    let mut invited = Client(connect_async(url(&new)).await.unwrap().0);
    let first = invited.response().await;
    assert!(
        matches!(first, Some(signal_response::Message::Join(_))),
        "{first:?}"
    );
}

#[tokio::test]
async fn who_was_removed_does_not_come_back_as_another_device_of_itself() {
    let server = Server::dev(&[]);
    let mut witness = Client::join(&server, "alice").await;
    // The token that it gets from us is newer than what is revoked, and is as old as its own all the same.
    let begin = crate::support::now();
    let own = crate::support::signed(
        &crate::support::grant("room", "mallory"),
        "secret",
        begin - 100,
    );
    let url = |token: &str, name: &str| {
        let address = server.address;
        format!("ws://{address}/rtc?access_token={token}&publish={name}")
    };
    let mut mallory = Client::join(&server, "mallory").await;
    let mut device = Client(connect_async(url(&own, "one")).await.unwrap().0);
    let refreshed = loop {
        let response = device.response().await.expect("no token before the end");
        if let signal_response::Message::RefreshToken(token) = response {
            break token;
        }
    };
    let mut admin = crate::support::grant("room", "");
    admin.video.as_mut().unwrap().room_admin = true;
    let admin = crate::support::signed(&admin, "secret", crate::support::now());
    let answer = server.request(
        "POST",
        "/twirp/livekit.RoomService/RemoveParticipant",
        &[
            ("Authorization", &format!("Bearer {admin}")),
            ("Content-Type", "application/json"),
        ],
        &format!(
            r#"{{"room":"room","identity":"mallory","revoke_token_ts":"{}"}}"#,
            begin - 50
        ),
    );
    assert_eq!(answer.status, 200, "{}", answer.body);
    mallory.wait_for_close().await;
    device.wait_for_close().await;
    for (token, name) in [(&own, "back"), (&own, "one"), (&refreshed, "one")] {
        let mut again = Client(connect_async(url(token, name)).await.unwrap().0);
        let Some(signal_response::Message::Leave(leave)) = again.response().await else {
            panic!("let in again as {name}")
        };
        assert_eq!(leave.reason(), DisconnectReason::ParticipantRemoved);
    }
    assert!(witness.is_served().await);
}

#[tokio::test]
async fn a_flood_of_websocket_pings_ends_that_session_only() {
    let server = Server::dev(&[]);
    let mut other = Client::join(&server, "other").await;
    let mut client = Client::join(&server, "client").await;
    // As many as there may be at once, and then some more than come back meanwhile.
    for _ in 0..3000 {
        if client
            .0
            .send(Message::Ping(Default::default()))
            .await
            .is_err()
        {
            break;
        }
    }
    client.wait_for_close().await;
    assert!(other.is_served().await);
}

#[tokio::test]
async fn the_end_of_the_server_sends_everybody_elsewhere() {
    let server = Server::dev(&[]);
    let mut client = Client::join(&server, "client").await;
    server.signal("TERM");
    let leave = loop {
        let response = client.response().await.expect("no leave before the end");
        if let signal_response::Message::Leave(leave) = response {
            break leave;
        }
    };
    assert_eq!(leave.reason(), DisconnectReason::ServerShutdown);
    assert_eq!(leave.action(), Action::Reconnect);
    // This client does not go yet: the server waits, and takes nobody else meanwhile.
    let refused = Client::connect(&server, "late").await;
    let Err(Error::Http(response)) = refused.map(|_| ()) else {
        panic!("a late client was let in")
    };
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get("/").status, 503);
    let Some(Message::Close(Some(close))) = client.next().await else {
        panic!("no goodbye")
    };
    assert_eq!(close.code, CloseCode::Normal);
    // Reading on answers the goodbye.
    assert!(client.next().await.is_none());
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("ERROR"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_the_server_at_once() {
    let server = Server::dev(&[("CONCLAVE_SHUTDOWN_DRAIN_SECONDS", "3600")]);
    let client = Client::join(&server, "client").await;
    server.signal("TERM");
    server.wait_for_log("clients are told to reconnect");
    server.signal("TERM");
    let (status, log) = server.wait();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("a second time"), "{log}");
    drop(client);
}

#[tokio::test]
async fn the_log_names_nobody() {
    let server = Server::dev(&[]);
    let mut client = Client::join(&server, "margaret.hamilton").await;
    assert!(client.is_served().await);
    client.0.close(None).await.unwrap();
    server.wait_for_log("session closed");
    assert!(!server.log().contains("hamilton"), "{}", server.log());
}
