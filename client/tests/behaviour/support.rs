//! The other end of a peer connection for tests: str0m as answerer, and a network in virtual time.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use client::{PeerConnection, PeerEvent, Transmit};
use str0m::{
    Candidate, Event, Input, Output, Rtc,
    change::SdpOffer,
    channel::ChannelId,
    media::{Direction, MediaKind, Mid, Rid},
    net::{Protocol, Receive},
    rtp::{RtpPacket, RtpWrite},
};

/// One-way delay of the network.
pub const LATENCY: Duration = Duration::from_millis(10);

/// The answering side.
pub struct Answerer {
    pub rtc: Rtc,
    pub address: SocketAddr,
    pub medias: Vec<(Mid, MediaKind, Direction)>,
    pub packets: Vec<(Mid, Option<Rid>, RtpPacket)>,
    pub channels: Vec<(ChannelId, String)>,
    pub data: Vec<(String, Vec<u8>)>,
    pub connected: bool,
    sequence: u64,
    timeout: Instant,
    out: VecDeque<Transmit>,
}

impl Answerer {
    pub fn new(address: &str, now: Instant) -> Self {
        let address = address.parse().unwrap();
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .build(now);
        rtc.add_local_candidate(Candidate::host(address, "udp").unwrap());
        Self {
            rtc,
            address,
            medias: Vec::new(),
            packets: Vec::new(),
            channels: Vec::new(),
            data: Vec::new(),
            connected: false,
            sequence: 100,
            timeout: now,
            out: VecDeque::new(),
        }
    }

    pub fn answer(&mut self, offer: &str, now: Instant) -> String {
        let offer = SdpOffer::from_sdp_string(offer).expect("a readable offer");
        let answer = self
            .rtc
            .sdp_api()
            .accept_offer(offer)
            .expect("an acceptable offer");
        self.drain(now);
        answer.to_sdp_string()
    }

    /// Sends one packet on the first section of `kind` on which the client receives.
    pub fn send(
        &mut self,
        kind: MediaKind,
        timestamp: u32,
        marker: bool,
        payload: &[u8],
        now: Instant,
    ) {
        let (mid, ..) = *self
            .medias
            .iter()
            .find(|(_, k, d)| *k == kind && *d == Direction::SendOnly)
            .unwrap();
        let pts = self.rtc.media(mid).unwrap().remote_pts().to_vec();
        let pt = self
            .rtc
            .codec_config()
            .params()
            .iter()
            .find(|p| pts.contains(&p.pt()))
            .unwrap()
            .pt();
        let mut direct = self.rtc.direct_api();
        let tx = direct.stream_tx_by_mid(mid, None).unwrap();
        tx.write_rtp(
            RtpWrite::new(pt, self.sequence.into(), timestamp, now, payload).marker(marker),
        );
        self.sequence += 1;
        self.handle_timeout(now);
    }

    pub fn send_data(&mut self, label: &str, payload: &[u8], now: Instant) {
        let id = self.channels.iter().find(|(_, l)| l == label).unwrap().0;
        assert!(self.rtc.channel(id).unwrap().write(true, payload).unwrap());
        self.handle_timeout(now);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        self.drain(now);
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.drain(now);
    }

    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.out.pop_front()
    }

    pub fn poll_timeout(&self) -> Instant {
        self.timeout
    }

    pub fn receive_from(&mut self, remote: SocketAddr, payload: &[u8], now: Instant) {
        let local = self.address;
        self.receive(
            &Transmit {
                local: remote,
                remote: local,
                payload: payload.to_vec(),
            },
            now,
        );
    }

    fn receive(&mut self, transmit: &Transmit, now: Instant) {
        let receive = Receive::new(
            Protocol::Udp,
            transmit.local,
            transmit.remote,
            &transmit.payload,
        )
        .unwrap();
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        self.drain(now);
    }

    fn drain(&mut self, _now: Instant) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(at) => {
                    self.timeout = at;
                    return;
                }
                Output::Transmit(t) => self.out.push_back(Transmit {
                    local: t.source,
                    remote: t.destination,
                    payload: t.contents.to_vec(),
                }),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::MediaAdded(m)) => {
                    self.medias.push((m.mid, m.kind, m.direction))
                }
                Output::Event(Event::MediaChanged(m)) => {
                    let media = self
                        .medias
                        .iter_mut()
                        .find(|(mid, ..)| *mid == m.mid)
                        .unwrap();
                    media.2 = m.direction;
                }
                Output::Event(Event::ChannelOpen(id, label)) => self.channels.push((id, label)),
                Output::Event(Event::ChannelData(data)) => {
                    let label = self
                        .channels
                        .iter()
                        .find(|(id, _)| *id == data.id)
                        .unwrap()
                        .1
                        .clone();
                    self.data.push((label, data.data));
                }
                Output::Event(Event::RtpPacket(packet)) => {
                    let mut direct = self.rtc.direct_api();
                    let stream = direct.stream_rx(&packet.header.ssrc).unwrap();
                    let (mid, rid) = (stream.mid(), stream.rid());
                    self.packets.push((mid, rid, packet));
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// The offering side's face to the network: a peer connection, or a participant that owns one.
pub trait Endpoint {
    fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    );
    fn handle_timeout(&mut self, now: Instant);
    fn poll_timeout(&self) -> Option<Instant>;
    fn poll_transmit(&mut self) -> Option<Transmit>;
}

impl Endpoint for PeerConnection {
    fn handle_datagram(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
        payload: &[u8],
        now: Instant,
    ) {
        self.handle_datagram(local, remote, payload, now);
    }
    fn handle_timeout(&mut self, now: Instant) {
        self.handle_timeout(now);
    }
    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout()
    }
    fn poll_transmit(&mut self) -> Option<Transmit> {
        self.poll_transmit()
    }
}

/// Decides on a datagram, by its bytes and whether it goes to the client.
pub type Loss = Box<dyn FnMut(&[u8], bool) -> bool>;

/// Two ends and the time between them.
pub struct Pair<E> {
    pub now: Instant,
    pub client: E,
    pub server: Answerer,
    /// Datagrams under way: arrival, to the client, content.
    under_way: VecDeque<(Instant, bool, Transmit)>,
    /// Whether to lose a datagram.
    pub lose: Loss,
}

impl<E: Endpoint> Pair<E> {
    pub fn new(client: E, server: Answerer, now: Instant) -> Self {
        Self {
            now,
            client,
            server,
            under_way: VecDeque::new(),
            lose: Box::new(|_, _| false),
        }
    }

    /// Lets `duration` pass.
    pub fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            self.collect();
            let arrival = self.under_way.front().map(|(at, ..)| *at);
            let wakes = [
                arrival,
                self.client.poll_timeout(),
                Some(self.server.timeout),
            ];
            let next = wakes
                .into_iter()
                .flatten()
                .min()
                .unwrap_or(end)
                .max(self.now);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = next;
            if arrival.is_some_and(|at| at <= next) {
                let (_, to_client, t) = self.under_way.pop_front().unwrap();
                match to_client {
                    true => self
                        .client
                        .handle_datagram(t.remote, t.local, &t.payload, self.now),
                    false => self.server.receive(&t, self.now),
                }
            } else if self.client.poll_timeout().is_some_and(|at| at <= next) {
                self.client.handle_timeout(self.now);
            } else {
                self.server.handle_timeout(self.now);
            }
        }
    }

    fn collect(&mut self) {
        while let Some(t) = self.client.poll_transmit() {
            if !(self.lose)(&t.payload, false) {
                self.under_way.push_back((self.now + LATENCY, false, t));
            }
        }
        while let Some(t) = self.server.out.pop_front() {
            if !(self.lose)(&t.payload, true) {
                self.under_way.push_back((self.now + LATENCY, true, t));
            }
        }
    }
}

/// All events a peer connection has.
pub fn events(peer: &mut PeerConnection) -> Vec<PeerEvent> {
    std::iter::from_fn(|| peer.poll_event()).collect()
}

/// A datagram is RTP or RTCP (RFC 7983).
pub fn is_rtp(datagram: &[u8]) -> bool {
    datagram
        .first()
        .is_some_and(|first| (128..192).contains(first))
}
