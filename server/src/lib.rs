//! The conclave server: configuration, threads, sockets, HTTP and WebSocket edge.
//!
//! The one place that knows the outside world. It decides little: it moves datagrams between sockets and `sfu`, and
//! messages between WebSockets and `signaling`.

pub mod agents;
pub mod cli;
pub mod config;
mod database;
pub mod descriptors;
pub mod edge;
pub mod groups;
pub mod ice_tcp;
pub mod links;
pub mod listen;
pub mod media;
pub mod meetings;
pub mod metrics;
pub mod networks;
pub mod per_address;
pub mod rooms;
pub mod serve;
pub mod throttle;
pub mod tls;
pub mod turn;
pub mod udp;
pub mod webhooks;
