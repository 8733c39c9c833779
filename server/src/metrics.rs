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

use crate::{media::ShardHandle, rooms::Rooms};

/// What is counted outside of the shards. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Joins that were refused.
    pub join_errors: Family<JoinError, Counter>,
    /// Signal connections that are open.
    pub sessions: Gauge,
    /// Signal connections that ended.
    pub sessions_closed: Family<Cause, Counter>,
    /// Signal messages from clients.
    pub messages_in: Counter,
    /// Signal messages to clients.
    pub messages_out: Counter,
}

/// Label of a refused join.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JoinError {
    /// HTTP status.
    pub status: u16,
}

/// Label of an ended signal connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Cause {
    /// Why.
    pub cause: &'static str,
}

/// All there is to read, ready to be asked.
pub struct Exporter(Registry);

impl Exporter {
    /// Collects from `metrics` and, at each reading, from `rooms` and its shards.
    pub fn new(metrics: &Metrics, rooms: Rooms) -> Arc<Self> {
        let mut registry = Registry::with_prefix("conclave");
        registry.register(
            "join_errors",
            "Refused joins by HTTP status",
            metrics.join_errors.clone(),
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
        registry.register_collector(Box::new(NodeCollector(rooms)));
        Arc::new(Self(registry))
    }

    /// The figures now, in the OpenMetrics text format.
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

/// How a figure of a shard is read.
type Read = fn(&ShardHandle) -> u64;

const GAUGES: [(&str, &str, Read); 2] = [
    ("participants", "Participants", |shard| {
        shard.figures().peers.load(Relaxed) as u64
    }),
    ("tracks", "Published tracks", |shard| {
        shard.figures().tracks.load(Relaxed) as u64
    }),
];

const COUNTERS: [(&str, &str, Read); 10] = [
    ("packets_in", "Datagrams received", |shard| {
        load(&shard.sockets().counters().packets_in)
    }),
    ("bytes_in", "Bytes received", |shard| {
        load(&shard.sockets().counters().bytes_in)
    }),
    ("packets_out", "Datagrams sent", |shard| {
        load(&shard.sockets().counters().packets_out)
    }),
    ("bytes_out", "Bytes sent", |shard| {
        load(&shard.sockets().counters().bytes_out)
    }),
    ("receive_calls", "System calls that received", |shard| {
        load(&shard.sockets().counters().receive_calls)
    }),
    ("send_calls", "System calls that sent", |shard| {
        load(&shard.sockets().counters().send_calls)
    }),
    ("shard_turns", "Turns of the media thread's loop", |shard| {
        load(&shard.figures().turns)
    }),
    (
        "shard_busy_microseconds",
        "Time the media thread did not wait",
        |shard| load(&shard.figures().busy_nanos) / 1000,
    ),
    (
        "shard_late_microseconds",
        "Lag of the media thread's timers, in all",
        |shard| load(&shard.figures().late_nanos) / 1000,
    ),
    (
        "shard_restarts",
        "Media threads that started anew after a bug",
        |shard| load(&shard.figures().restarts),
    ),
];

/// Reasons for which the sockets drop datagrams.
const DROPS: [(&str, Read); 4] = [
    ("foreign_address", |shard| {
        load(&shard.sockets().counters().dropped_in)
    }),
    ("send_buffer_full", |shard| {
        load(&shard.sockets().counters().dropped_would_block)
    }),
    ("send_refused", |shard| {
        load(&shard.sockets().counters().dropped_refused)
    }),
    ("unsendable", |shard| {
        load(&shard.sockets().counters().dropped_unsendable)
    }),
];

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

impl Collector for NodeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let shards = self.0.media().shards();
        let rooms = ConstGauge::new(self.0.count() as i64);
        rooms.encode(encoder.encode_descriptor(
            "rooms",
            "Open rooms",
            None,
            rooms.metric_type(),
        )?)?;
        for (name, help, read) in GAUGES {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (index, shard) in shards.iter().enumerate() {
                let labels = [("shard", index.to_string())];
                ConstGauge::new(read(shard) as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        for (name, help, read) in COUNTERS {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            for (index, shard) in shards.iter().enumerate() {
                let labels = [("shard", index.to_string())];
                ConstCounter::new(read(shard)).encode(family.encode_family(&labels)?)?;
            }
        }
        let help = "Datagrams that the sockets dropped, by reason";
        let mut family = encoder.encode_descriptor("drops", help, None, MetricType::Counter)?;
        for (index, shard) in shards.iter().enumerate() {
            for (reason, read) in DROPS {
                let labels = [("shard", index.to_string()), ("reason", reason.to_owned())];
                ConstCounter::new(read(shard)).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
