//! Workers of agents over a real WebSocket, and the API that asks for agents.

use crate::support::{Answer, JSON, PATIENCE, Server, now, signed, with};
use futures_util::{SinkExt, StreamExt};
use protocol::{
    livekit::{
        AvailabilityResponse, JobAssignment, JobType, MigrateJobRequest, RegisterWorkerRequest,
        UpdateWorkerStatus, WorkerMessage, WorkerPing, server_message::Message as Told,
        worker_message::Message as Said,
    },
    signal::{Encoding, Frame, decode_server_message, encode_worker_message},
    token::{Grant, Keys, VideoGrant, verify},
};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message},
};

fn workers_token() -> String {
    with(VideoGrant {
        agent: true,
        ..VideoGrant::default()
    })
}

/// Who may moderate `room`, and create any.
fn moderator(room: &str) -> String {
    with(VideoGrant {
        room_admin: true,
        room_create: true,
        room: room.to_owned(),
        ..VideoGrant::default()
    })
}

struct Worker {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    encoding: Encoding,
}

impl Worker {
    async fn connect(server: &Server, token: &str, encoding: Encoding) -> Result<Self, Error> {
        let url = format!("ws://{}/agent?access_token={token}", server.address);
        let (socket, _) = connect_async(url).await?;
        Ok(Self { socket, encoding })
    }

    async fn register(server: &Server, agent_name: &str, encoding: Encoding) -> Self {
        let connected = Self::connect(server, &workers_token(), encoding).await;
        let mut worker = connected.unwrap();
        worker.say(registration(agent_name)).await;
        let Some(Told::Register(response)) = worker.next().await else {
            panic!("not registered")
        };
        assert!(response.worker_id.starts_with("AW_"));
        assert_eq!(response.server_info.unwrap().agent_protocol, 1);
        worker
    }

    async fn say(&mut self, message: Said) {
        // A server that closed meanwhile is found out by what it says.
        let _ = self.socket.send(self.encode(message)).await;
    }

    fn encode(&self, message: Said) -> Message {
        let message = WorkerMessage {
            message: Some(message),
        };
        match encode_worker_message(&message, self.encoding) {
            Frame::Binary(bytes) => Message::Binary(bytes),
            Frame::Text(text) => Message::Text(text.into()),
        }
    }

    /// What the server says next; `None` when it closes.
    async fn next(&mut self) -> Option<Told> {
        loop {
            let next = timeout(PATIENCE, self.socket.next());
            let frame = match next.await.expect("the server says nothing")?.ok()? {
                Message::Binary(bytes) => Frame::Binary(bytes),
                Message::Text(text) => Frame::Text(text.as_str().to_owned()),
                Message::Ping(_) | Message::Pong(_) => continue,
                _ => return None,
            };
            assert_eq!(frame.encoding(), self.encoding);
            return decode_server_message(&frame).unwrap().message;
        }
    }

    /// Takes the next job.
    async fn take(&mut self) -> JobAssignment {
        let Some(Told::Availability(request)) = self.next().await else {
            panic!("not asked")
        };
        let answer = AvailabilityResponse {
            job_id: request.job.unwrap().id,
            available: true,
            participant_name: "Scribe".into(),
            ..AvailabilityResponse::default()
        };
        self.say(Said::Availability(answer)).await;
        match self.next().await {
            Some(Told::Assignment(assignment)) => assignment,
            other => panic!("{other:?}"),
        }
    }

    /// Is it still served?
    async fn is_served(&mut self) -> bool {
        self.say(Said::Ping(WorkerPing { timestamp: 7 })).await;
        loop {
            match self.next().await {
                Some(Told::Pong(pong)) => return pong.last_timestamp == 7,
                Some(_) => {}
                None => return false,
            }
        }
    }
}

fn registration(agent_name: &str) -> Said {
    Said::Register(RegisterWorkerRequest {
        agent_name: agent_name.to_owned(),
        r#type: JobType::JtRoom.into(),
        ..RegisterWorkerRequest::default()
    })
}

fn call(server: &Server, token: &str, method: &str, body: &Value) -> Answer {
    let authorization = format!("Bearer {token}");
    let headers = [JSON, ("Authorization", authorization.as_str())];
    let service = match method {
        "CreateRoom" | "DeleteRoom" => "RoomService",
        _ => "AgentDispatchService",
    };
    let target = format!("/twirp/livekit.{service}/{method}");
    server.request("POST", &target, &headers, &body.to_string())
}

fn answered(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).unwrap()
}

#[tokio::test]
async fn who_is_no_worker_is_refused_before_the_upgrade() {
    let server = Server::dev(&[]);
    let video = |agent| VideoGrant {
        agent,
        ..VideoGrant::default()
    };
    let of = |video, kind: &str, secret| {
        let grant = Grant {
            api_key: "devkey".to_owned(),
            kind: kind.to_owned(),
            video,
            ..Grant::default()
        };
        signed(&grant, secret, now())
    };
    let in_room = |room_join| VideoGrant {
        room_join,
        room: "room".into(),
        ..video(true)
    };
    let anywhere = VideoGrant {
        room_join: true,
        ..video(true)
    };
    for (token, text) in [
        (String::new(), "permissions denied"),
        (of(None, "", "secret"), "permissions denied"),
        (of(Some(video(false)), "", "secret"), "permissions denied"),
        // Who is somebody in a room, or may be, is no worker, whatever its kind.
        (
            of(Some(in_room(true)), "agent", "secret"),
            "permissions denied",
        ),
        (of(Some(in_room(true)), "", "secret"), "permissions denied"),
        (of(Some(in_room(false)), "", "secret"), "permissions denied"),
        (of(Some(anywhere), "", "secret"), "permissions denied"),
        (
            of(Some(video(true)), "", "wrong"),
            "invalid token: token signature is invalid: signature is invalid",
        ),
        ("garbage".into(), "invalid authorization token"),
    ] {
        match Worker::connect(&server, &token, Encoding::Protobuf).await {
            Err(Error::Http(response)) => {
                assert_eq!(response.status().as_u16(), 401);
                let body = response.into_body().unwrap_or_default();
                assert_eq!(String::from_utf8(body).unwrap(), text);
            }
            other => panic!("{text}: {:?}", other.map(|_| ())),
        }
    }
    assert_eq!(server.get("/agent").status, 401);
    let target = format!("/agent?access_token={}", workers_token());
    assert_eq!(server.get(&target).status, 404);
}

#[tokio::test]
async fn a_worker_registers_and_gets_a_job_with_a_token_for_its_agent() {
    let server = Server::dev(&[]);
    for encoding in [Encoding::Protobuf, Encoding::Json] {
        let mut worker = Worker::register(&server, "", encoding).await;
        let room = format!("{encoding:?}");
        let token = moderator(&room);
        answered(&call(
            &server,
            &token,
            "CreateRoom",
            &json!({ "name": room }),
        ));
        let assignment = worker.take().await;
        let keys = Keys::new([("devkey", "secret")]);
        let grant = verify(&assignment.token, &keys, now()).unwrap();
        let job = assignment.job.unwrap();
        assert_eq!(grant.identity, format!("agent-{}", job.id));
        assert_eq!(
            (grant.kind.as_str(), grant.name.as_str()),
            ("agent", "Scribe")
        );
        assert!(grant.video().room_join && !grant.video().agent);
        assert_eq!(grant.video().room, room);
        let until = grant.expires_at.unwrap();
        assert!((now() + 3500..now() + 3700).contains(&until));
        // The agent's token lets nobody register as a worker, the worker's nobody into a room.
        for (path, token) in [
            ("agent", &assignment.token),
            ("rtc/validate", &workers_token()),
        ] {
            let answer = server.get(&format!("/{path}?access_token={token}"));
            assert_eq!(answer.status, 401, "{path}");
        }
        let list = answered(&call(
            &server,
            &token,
            "ListDispatch",
            &json!({ "room": room }),
        ));
        let dispatch = &list["agent_dispatches"][0];
        let state = &dispatch["state"]["jobs"][0]["state"];
        assert_eq!(state["status"], "JS_RUNNING");
        assert_eq!(state["participant_identity"], grant.identity);
        answered(&call(
            &server,
            &token,
            "DeleteRoom",
            &json!({ "room": room }),
        ));
        let Some(Told::Termination(termination)) = worker.next().await else {
            panic!("not told")
        };
        assert_eq!(termination.job_id, job.id);
    }
}

#[tokio::test]
async fn a_worker_whose_connection_ends_is_replaced() {
    let server = Server::dev(&[]);
    let mut first = Worker::register(&server, "scribe", Encoding::Protobuf).await;
    let token = moderator("room");
    let wish = json!({ "room": "room", "agent_name": "scribe", "metadata": "m", "attributes": { "a": "b" } });
    // The room need not be there.
    let dispatch = answered(&call(&server, &token, "CreateDispatch", &wish));
    assert_eq!(dispatch["attributes"], json!({ "a": "b" }));
    let job = first.take().await.job.unwrap();
    assert_eq!(
        (job.metadata.as_str(), job.attributes["a"].as_str()),
        ("m", "b")
    );
    let mut second = Worker::register(&server, "scribe", Encoding::Protobuf).await;
    drop(first);
    let again = second.take().await.job.unwrap();
    assert_eq!(again.id, job.id);
    let list = answered(&call(
        &server,
        &token,
        "ListDispatch",
        &json!({ "room": "room" }),
    ));
    let jobs = &list["agent_dispatches"][0]["state"]["jobs"];
    assert_eq!(jobs.as_array().unwrap().len(), 1);
    assert_eq!(
        jobs[0]["state"]["worker_id"],
        again.state.unwrap().worker_id
    );
    let id = json!({ "room": "room", "dispatch_id": dispatch["id"] });
    answered(&call(&server, &token, "DeleteDispatch", &id));
    assert!(matches!(second.next().await, Some(Told::Termination(_))));
    let list = answered(&call(
        &server,
        &token,
        "ListDispatch",
        &json!({ "room": "room" }),
    ));
    assert_eq!(list, json!({ "agent_dispatches": [] }));
}

#[test]
fn dispatches_are_for_moderators_of_the_room_and_refused_in_livekits_words() {
    let server = Server::dev(&[]);
    let refusal = |answer: &Answer| {
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        (answer.status, body["code"].as_str().unwrap().to_owned())
    };
    let token = moderator("room");
    for method in ["CreateDispatch", "DeleteDispatch", "ListDispatch"] {
        for (token, room) in [
            (&moderator("other"), "room"),
            (&workers_token(), "room"),
            (&token, ""),
        ] {
            let answer = call(&server, token, method, &json!({ "room": room }));
            assert_eq!(
                refusal(&answer),
                (401, "unauthenticated".into()),
                "{method}"
            );
        }
    }
    let ask = |method, body| refusal(&call(&server, &token, method, &body));
    let not_found = || (404, "not_found".to_owned());
    assert_eq!(ask("ListDispatch", json!({ "room": "room" })), not_found());
    let gone = json!({ "room": "room", "dispatch_id": "AD_x" });
    assert_eq!(ask("DeleteDispatch", gone.clone()), not_found());
    answered(&call(
        &server,
        &token,
        "CreateRoom",
        &json!({ "name": "room" }),
    ));
    assert_eq!(ask("DeleteDispatch", gone), not_found());
    assert_eq!(ask("Nonsense", json!({})), (404, "bad_route".into()));
    let invalid = || (400, "invalid_argument".to_owned());
    let long = "x".repeat(600 * 1024);
    for wish in [
        json!({ "room": "room", "metadata": long }),
        json!({ "room": "room", "agent_name": &long[..300] }),
        json!({ "room": "room", "attributes": { "a": long } }),
        json!({ "room": "room", "deployment": "a b" }),
    ] {
        assert_eq!(ask("CreateDispatch", wish), invalid());
    }
    let many = vec![json!({ "agent_name": "x" }); 17];
    let wish = json!({ "name": "new", "agents": many });
    assert_eq!(
        refusal(&call(&server, &token, "CreateRoom", &wish)),
        invalid()
    );
}

#[test]
fn where_rooms_are_to_be_created_first_a_dispatch_creates_none() {
    let server = Server::dev(&[("CONCLAVE_ROOM_AUTO_CREATE", "false")]);
    let token = moderator("room");
    let wish = json!({ "room": "room", "agent_name": "scribe" });
    assert_eq!(call(&server, &token, "CreateDispatch", &wish).status, 404);
    answered(&call(
        &server,
        &token,
        "CreateRoom",
        &json!({ "name": "room" }),
    ));
    answered(&call(&server, &token, "CreateDispatch", &wish));
}

#[test]
fn a_token_that_asks_for_too_many_agents_is_refused() {
    let server = Server::dev(&[]);
    let mut grant = crate::support::grant("room", "ada");
    for (count, status) in [(16, 200), (17, 400)] {
        let settings = protocol::livekit::RoomConfiguration {
            agents: vec![Default::default(); count],
            ..Default::default()
        };
        grant.room_config = Some(Box::new(settings));
        let token = signed(&grant, "secret", now());
        let answer = server.get(&format!("/rtc/validate?access_token={token}"));
        assert_eq!(answer.status, status, "{}", answer.body);
    }
}

#[tokio::test]
async fn hostile_workers_hurt_themselves_only() {
    let server = Server::dev(&[]);
    let mut honest = Worker::register(&server, "honest", Encoding::Protobuf).await;
    let update = || {
        Said::UpdateWorker(UpdateWorkerStatus {
            load: f32::NAN,
            ..UpdateWorkerStatus::default()
        })
    };

    // Floods.
    let mut flood = Worker::register(&server, "", Encoding::Protobuf).await;
    for _ in 0..5000 {
        let message = flood.encode(update());
        if flood.socket.feed(message).await.is_err() {
            break;
        }
    }
    assert!(!flood.is_served().await);
    assert!(honest.is_served().await);

    // Garbage, what is too long, and claims without end.
    let mut garbage = Worker::register(&server, "", Encoding::Protobuf).await;
    let bytes = Message::Binary(vec![0xff; 100].into());
    garbage.socket.send(bytes).await.unwrap();
    assert!(!garbage.is_served().await);
    let mut long = Worker::register(&server, "", Encoding::Protobuf).await;
    let bytes = Message::Binary(vec![0; 700 * 1024].into());
    let _ = long.socket.send(bytes).await;
    assert!(!long.is_served().await);
    let mut claims = Worker::register(&server, "", Encoding::Protobuf).await;
    let job_ids = vec!["AJ_abcdefghijkl".to_owned(); 30_000];
    claims
        .say(Said::MigrateJob(MigrateJobRequest { job_ids }))
        .await;
    claims.is_served().await;
    assert!(honest.is_served().await);

    // Never registers, registers twice.
    let token = workers_token();
    let mut hasty = Worker::connect(&server, &token, Encoding::Protobuf)
        .await
        .unwrap();
    hasty.say(update()).await;
    assert!(!hasty.is_served().await);
    let mut twice = Worker::register(&server, "", Encoding::Protobuf).await;
    twice.say(registration("other")).await;
    assert!(!twice.is_served().await);
    assert!(honest.is_served().await);
}
