//! Figures for Prometheus.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text::encode},
    metrics::{
        MetricType,
        counter::{ConstCounter, Counter},
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
    registry::Registry,
};

use sfu::stats::{DROP_REASON_NAMES, Stats};

use crate::{media::ShardHandle, rooms::Rooms, udp::UdpCounters};

/// The counters outside of the shards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Joins that were refused.
    pub join_errors: Family<JoinError, Counter>,
    /// Calls of the server API.
    pub api_calls: Family<ApiCall, Counter>,
    /// Signal connections that are open.
    pub sessions: Gauge,
    /// Signal connections that ended.
    pub sessions_closed: Family<Cause, Counter>,
    /// Signal messages from clients.
    pub messages_in: Counter,
    /// Signal messages to clients.
    pub messages_out: Counter,
    /// Connections that carry media (ICE over TCP).
    pub media_connections: Gauge,
    /// Connections for media that were refused, or ended otherwise than by the client.
    pub media_connections_closed: Family<Refusal, Counter>,
    /// Allocations of our TURN server.
    pub turn_allocations: Gauge,
    /// TURN messages that were refused.
    pub turn_refused: Family<Refusal, Counter>,
    /// Workers of agents that are connected.
    pub agent_workers: Gauge,
    /// Jobs of agents that no worker has.
    pub agent_jobs_waiting: Gauge,
    /// Jobs of agents that a worker has.
    pub agent_jobs_running: Gauge,
    /// Outcomes of webhook events; `failed` counts attempts.
    pub webhooks: Family<WebhookOutcome, Counter>,
    /// Bytes of webhook events that wait.
    pub webhook_queue: Gauge,
    /// Webhook events that are not on disk yet.
    pub webhook_unstored: Gauge,
}

/// Label: the reason of a refusal or an end.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Refusal {
    /// The reason.
    pub reason: &'static str,
}

/// Label: the outcome of a webhook event.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WebhookOutcome {
    /// `delivered`, `failed`, `refused`, `expired` or `dropped`.
    pub outcome: &'static str,
}

/// Label: the status of a refused join.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JoinError {
    /// HTTP status.
    pub status: u16,
}

/// Label: a call of the server API.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiCall {
    /// The method; `unknown` for one that does not exist.
    pub method: &'static str,
    /// HTTP status.
    pub status: u16,
}

/// Label: the cause of the end of a signal connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Cause {
    /// The cause.
    pub cause: &'static str,
}

/// All figures, ready to be read.
pub struct Exporter(Registry);

impl Exporter {
    /// Collects from `metrics` and, at each reading, from `rooms` and its shards.
    pub fn new(metrics: &Metrics, rooms: Rooms) -> Arc<Self> {
        let mut registry = Registry::with_prefix("conclave");
        registry.register(
            "agent_workers",
            "Workers of agents that are connected",
            metrics.agent_workers.clone(),
        );
        registry.register(
            "agent_jobs_waiting",
            "Jobs of agents that no worker has",
            metrics.agent_jobs_waiting.clone(),
        );
        registry.register(
            "agent_jobs_running",
            "Jobs of agents that a worker has",
            metrics.agent_jobs_running.clone(),
        );
        registry.register(
            "join_errors",
            "Refused joins by HTTP status",
            metrics.join_errors.clone(),
        );
        registry.register(
            "api_calls",
            "Calls of the server API by method and HTTP status",
            metrics.api_calls.clone(),
        );
        registry.register(
            "sessions",
            "Open signal connections",
            metrics.sessions.clone(),
        );
        registry.register(
            "sessions_closed",
            "Ended signal connections by cause",
            metrics.sessions_closed.clone(),
        );
        registry.register(
            "signal_messages_in",
            "Signal messages received",
            metrics.messages_in.clone(),
        );
        registry.register(
            "signal_messages_out",
            "Signal messages sent",
            metrics.messages_out.clone(),
        );
        registry.register(
            "media_connections",
            "Connections that carry media (ICE over TCP)",
            metrics.media_connections.clone(),
        );
        registry.register(
            "media_connections_closed",
            "Connections for media that were refused or given up, by reason",
            metrics.media_connections_closed.clone(),
        );
        registry.register(
            "turn_allocations",
            "Allocations of the TURN server",
            metrics.turn_allocations.clone(),
        );
        registry.register(
            "turn_refused",
            "TURN messages that were refused, by reason; each client is challenged once",
            metrics.turn_refused.clone(),
        );
        registry.register(
            "webhooks",
            "Webhook events by outcome; failed attempts are repeated",
            metrics.webhooks.clone(),
        );
        registry.register(
            "webhook_queue_bytes",
            "Webhook events that wait to be delivered",
            metrics.webhook_queue.clone(),
        );
        registry.register(
            "webhook_unstored",
            "Webhook events that are not on disk yet",
            metrics.webhook_unstored.clone(),
        );
        registry.register_collector(Box::new(NodeCollector(rooms)));
        Arc::new(Self(registry))
    }

    /// The figures now, in the OpenMetrics text format. Blocks until the media threads have answered.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.0);
        text
    }
}

struct NodeCollector(Rooms);

impl fmt::Debug for NodeCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeCollector")
    }
}

/// A shard's figures at one reading.
struct Reading<'a> {
    shard: &'a ShardHandle,
    /// The shard's counters; empty where the media thread is too busy to answer.
    stats: Stats,
}

/// A function that reads a figure.
type Read = fn(&Reading<'_>) -> u64;

const GAUGES: [(&str, &str, Read); 3] = [
    ("participants", "Participants", |r| r.stats.peers as u64),
    ("tracks", "Published tracks", |r| r.stats.up_tracks as u64),
    ("subscriptions", "Subscribed tracks", |r| {
        r.stats.down_tracks as u64
    }),
];

const COUNTERS: [(&str, &str, Read); 22] = [
    ("packets_in", "Datagrams received", |r| {
        load(&r.udp().packets_in)
    }),
    ("bytes_in", "Bytes received", |r| load(&r.udp().bytes_in)),
    ("packets_out", "Datagrams sent", |r| {
        load(&r.udp().packets_out)
    }),
    ("bytes_out", "Bytes sent", |r| load(&r.udp().bytes_out)),
    ("receive_calls", "System calls that received", |r| {
        load(&r.udp().receive_calls)
    }),
    ("send_calls", "System calls that sent", |r| {
        load(&r.udp().send_calls)
    }),
    ("rtp_in", "RTP packets accepted from publishers", |r| {
        r.stats.rtp_in
    }),
    ("rtp_out", "RTP packets forwarded", |r| r.stats.rtp_out),
    ("rtp_out_bytes", "Bytes of forwarded RTP packets", |r| {
        r.stats.rtp_out_bytes
    }),
    ("retransmitted", "RTP packets sent again", |r| {
        r.stats.retransmitted
    }),
    ("recovered", "RTP packets publishers sent again", |r| {
        r.stats.recovered
    }),
    ("nacked", "RTP packets asked for again", |r| r.stats.nacked),
    ("key_frame_requests", "Key frames asked for", |r| {
        r.stats.key_frame_requests
    }),
    ("data_in", "Data packets received", |r| r.stats.data_in),
    ("data_out", "Data packets forwarded", |r| r.stats.data_out),
    (
        "data_held",
        "Data packets kept back for a slow receiver",
        |r| r.stats.data_held,
    ),
    (
        "slow_readers",
        "Receivers of data given up as too slow",
        |r| r.stats.slow_readers,
    ),
    ("peer_panics", "Participants closed because of a bug", |r| {
        r.stats.panics
    }),
    (
        "shard_restarts",
        "Media threads that started anew after a bug",
        |r| load(&r.shard.figures().restarts),
    ),
    ("shard_turns", "Turns of the media thread's loop", |r| {
        load(&r.shard.figures().turns)
    }),
    (
        "shard_busy_microseconds",
        "Time the media thread did not wait",
        |r| load(&r.shard.figures().busy_nanos) / 1000,
    ),
    (
        "shard_late_microseconds",
        "Lag of the media thread's timers, in all",
        |r| load(&r.shard.figures().late_nanos) / 1000,
    ),
];

/// Reasons for which the shell drops packets, with their counters. The engine has reasons of its own.
const SOCKET_DROPS: [(&str, Read); 8] = [
    ("foreign_address", |r| load(&r.udp().dropped_in)),
    ("socket_full", |r| load(&r.udp().dropped_would_block)),
    ("socket_refused", |r| load(&r.udp().dropped_refused)),
    ("unsendable", |r| load(&r.udp().dropped_unsendable)),
    ("link_slow", |r| load(&r.udp().dropped_link_slow)),
    ("link_gone", |r| load(&r.udp().dropped_link_gone)),
    ("link_in", |r| load(&r.udp().dropped_link_in)),
    ("relay_slow", |r| load(&r.shard.figures().dropped_relayed)),
];

impl Reading<'_> {
    fn udp(&self) -> &UdpCounters {
        self.shard.sockets().counters()
    }

    fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let engine = DROP_REASON_NAMES.into_iter().zip(self.stats.dropped);
        engine.chain(SOCKET_DROPS.map(|(reason, read)| (reason, read(self))))
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let shards = self.0.media().shards().iter();
        let readings: Vec<_> = shards
            .map(|shard| Reading {
                shard,
                stats: shard.stats().unwrap_or_default(),
            })
            .collect();
        let rooms = ConstGauge::new(self.0.count() as i64);
        rooms.encode(encoder.encode_descriptor(
            "rooms",
            "Open rooms",
            None,
            rooms.metric_type(),
        )?)?;
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (index, reading) in readings.iter().enumerate() {
                let labels = [("shard", index.to_string())];
                ConstGauge::new(read(reading) as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (index, reading) in readings.iter().enumerate() {
                let labels = [("shard", index.to_string())];
                ConstCounter::new(read(reading)).encode(family.encode_family(&labels)?)?;
            }
        }
        let (name, help) = (
            "shard_turn_cpu_seconds",
            "Processor time of a media thread's turn",
        );
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (index, reading) in readings.iter().enumerate() {
            let labels = [("shard", index.to_string())];
            let (sum, count, buckets) = reading.shard.figures().turn_times.read();
            let mut turns = family.encode_family(&labels)?;
            turns.encode_histogram::<[(&str, &str); 0]>(sum, count, &buckets, None)?;
        }
        let help = "Packets that went no further, by reason";
        let mut family = encoder.encode_descriptor("drops", help, None, MetricType::Counter)?;
        for (index, reading) in readings.iter().enumerate() {
            for (reason, count) in reading.drops() {
                let labels = [("shard", index.to_string()), ("reason", reason.to_owned())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Media that should have arrived and did not, by what was done about it";
        let mut family = encoder.encode_descriptor("repairs", help, None, MetricType::Counter)?;
        for (index, reading) in readings.iter().enumerate() {
            for (kind, count) in reading.stats.repairs.by_kind() {
                let labels = [("shard", index.to_string()), ("kind", kind.to_owned())];
                ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
