//! The driver over real sockets on the loopback interface, against a scripted server: a WebSocket whose messages are
//! written out by hand here, and str0m as answerer on a UDP socket.

use std::time::Instant;

use crate::support::Answerer;
use base64::{Engine, engine::general_purpose::URL_SAFE};
use client::{Client, ConnectOptions, Error, Event, Publish, Reconnect, fixtures};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    livekit::{
        JoinRequest, JoinResponse, ParticipantInfo, ReconnectResponse, SessionDescription,
        SignalRequest, SignalResponse, TrackInfo, TrackPublishedResponse, WrappedJoinRequest,
        signal_request::Message as Request, signal_response::Message as Response,
    },
    prost::Message,
};
use tokio::{
    net::{TcpListener, TcpStream, UdpSocket},
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{self, handshake::server},
};

/// What the scripted server saw.
#[derive(Debug, PartialEq)]
enum Seen {
    Join { reconnect: bool },
    Request(Box<Request>),
    Packet(Vec<u8>),
}

type Signal = WebSocketStream<TcpStream>;

/// Takes one WebSocket in and reads its join request.
async fn accept(listener: &TcpListener) -> (Signal, JoinRequest) {
    let (stream, _) = listener.accept().await.unwrap();
    let mut request = None;
    #[allow(clippy::result_large_err)] // The library's callback.
    let callback = |upgrade: &server::Request, response: server::Response| {
        assert_eq!(upgrade.uri().path(), "/prefix/rtc/v1");
        assert_eq!(upgrade.headers()["authorization"], "Bearer token");
        let query = upgrade
            .uri()
            .query()
            .unwrap()
            .strip_prefix("join_request=")
            .unwrap();
        let wrapped = URL_SAFE.decode(query.replace("%3D", "=")).unwrap();
        let wrapped = WrappedJoinRequest::decode(wrapped.as_slice()).unwrap();
        let mut inner = flate2::read::GzDecoder::new(wrapped.join_request.as_slice());
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut inner, &mut bytes).unwrap();
        request = Some(JoinRequest::decode(bytes.as_slice()).unwrap());
        Ok(response)
    };
    let signal = accept_hdr_async(stream, callback).await.unwrap();
    (signal, request.unwrap())
}

async fn send(signal: &mut Signal, message: Response) {
    let bytes = SignalResponse {
        message: Some(message),
    }
    .encode_to_vec();
    signal
        .send(tungstenite::Message::Binary(bytes.into()))
        .await
        .unwrap();
}

/// Joins a client, answers its offers, accepts its tracks; cuts the WebSocket at the first mute, and then resumes.
async fn serve(listener: TcpListener, seen: mpsc::UnboundedSender<Seen>) {
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = udp.local_addr().unwrap();
    let mut media = Answerer::new(&address.to_string(), Instant::now());
    let (mut signal, join) = accept(&listener).await;
    seen.send(Seen::Join {
        reconnect: join.reconnect,
    })
    .unwrap();
    let me = ParticipantInfo {
        sid: "PA_me".into(),
        ..Default::default()
    };
    let response = JoinResponse {
        participant: Some(me),
        ..Default::default()
    };
    send(&mut signal, Response::Join(response)).await;
    answer(&mut signal, &mut media, &join.publisher_offer.unwrap()).await;
    let mut buffer = [0; 2048];
    loop {
        while let Some(transmit) = media.poll_transmit() {
            udp.send_to(&transmit.payload, transmit.remote)
                .await
                .unwrap();
        }
        for (_, _, packet) in media.packets.drain(..) {
            let _ = seen.send(Seen::Packet(packet.payload.to_vec()));
        }
        tokio::select! {
            received = udp.recv_from(&mut buffer) => {
                let (len, remote) = received.unwrap();
                media.receive_from(remote, &buffer[..len], Instant::now());
            }
            () = tokio::time::sleep_until(media.poll_timeout().into()) => media.handle_timeout(Instant::now()),
            message = signal.next() => {
                let Some(Ok(tungstenite::Message::Binary(bytes))) = message else { return };
                let request = SignalRequest::decode(bytes).unwrap().message.unwrap();
                match &request {
                    Request::Offer(offer) => answer(&mut signal, &mut media, offer).await,
                    Request::AddTrack(add) => {
                        let track = TrackInfo { sid: "TR_AMmine".into(), ..Default::default() };
                        let response = TrackPublishedResponse { cid: add.cid.clone(), track: Some(track) };
                        send(&mut signal, Response::TrackPublished(response)).await;
                    }
                    Request::Mute(mute) if mute.muted => {
                        drop(signal);
                        let (again, join) = accept(&listener).await;
                        signal = again;
                        seen.send(Seen::Join { reconnect: join.reconnect }).unwrap();
                        send(&mut signal, Response::Reconnect(ReconnectResponse::default())).await;
                    }
                    _ => {}
                }
                let _ = seen.send(Seen::Request(Box::new(request)));
            }
        }
    }
}

async fn answer(signal: &mut Signal, media: &mut Answerer, offer: &SessionDescription) {
    let sdp = media.answer(&offer.sdp, Instant::now());
    let answer = SessionDescription {
        r#type: "answer".into(),
        sdp,
        id: offer.id,
        ..Default::default()
    };
    send(signal, Response::Answer(answer)).await;
}

async fn wait(seen: &mut mpsc::UnboundedReceiver<Seen>, wanted: impl Fn(&Seen) -> bool) {
    while !wanted(&seen.recv().await.expect("the server goes on")) {}
}

#[tokio::test]
async fn a_client_joins_publishes_resumes_and_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/prefix", listener.local_addr().unwrap());
    let (sender, mut seen) = mpsc::unbounded_channel();
    let server = tokio::spawn(serve(listener, sender));

    let mut client = Client::connect(&url, "token", ConnectOptions::default())
        .await
        .unwrap();
    assert_eq!(seen.recv().await, Some(Seen::Join { reconnect: false }));
    let cid = client.publish(Publish::microphone()).await.unwrap();
    while !matches!(
        client.next_event().await.unwrap(),
        Event::TrackPublished { .. }
    ) {}
    client
        .write_frame(&cid, None, fixtures::OPUS_SILENCE.to_vec(), 0, None)
        .await
        .unwrap();
    wait(&mut seen, |seen| {
        *seen == Seen::Packet(fixtures::OPUS_SILENCE.to_vec())
    })
    .await;

    client.set_muted(&cid, true).await.unwrap();
    wait(&mut seen, |seen| *seen == Seen::Join { reconnect: true }).await;
    while client.next_event().await.unwrap() != Event::Reconnecting(Reconnect::Resume) {}
    while client.next_event().await.unwrap() != Event::Resumed {}
    wait(
        &mut seen,
        |seen| matches!(seen, Seen::Request(r) if matches!(**r, Request::SyncState(_))),
    )
    .await;
    client.set_muted(&cid, false).await.unwrap();
    wait(
        &mut seen,
        |seen| matches!(seen, Seen::Request(r) if matches!(&**r, Request::Mute(m) if !m.muted)),
    )
    .await;

    client.leave().await;
    server.abort();
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = [0; 16 * 1024];
        tokio::io::AsyncReadExt::read(&mut stream, &mut request)
            .await
            .unwrap();
        let response = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 13\r\n\r\ninvalid token";
        tokio::io::AsyncWriteExt::write_all(&mut stream, response)
            .await
            .unwrap();
    });
    let refused = Client::connect(&url, "token", ConnectOptions::default()).await;
    let Err(Error::Refused(reason)) = refused else {
        panic!("{refused:?}")
    };
    assert!(
        reason.contains("401") && reason.contains("invalid token"),
        "{reason}"
    );
    server.await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}", listener.local_addr().unwrap());
    drop(listener);
    let Err(Error::Signal { url: named, .. }) =
        Client::connect(&url, "token", ConnectOptions::default()).await
    else {
        panic!("nobody listens there")
    };
    assert_eq!(named, url);
}
