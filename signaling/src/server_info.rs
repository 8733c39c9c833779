//! The `ServerInfo` for clients and for workers of agents.

use protocol::livekit::{ServerInfo, server_info::Edition};

use crate::api::{AGENT_PROTOCOL, COMPATIBLE_VERSION, Config, PROTOCOL_VERSION};

/// The `ServerInfo` for clients and for workers of agents.
pub(crate) fn server_info(config: &Config) -> ServerInfo {
    ServerInfo {
        edition: Edition::Standard.into(),
        version: COMPATIBLE_VERSION.to_owned(),
        protocol: PROTOCOL_VERSION,
        region: config.region.clone(),
        node_id: config.node_id.clone(),
        agent_protocol: AGENT_PROTOCOL,
        ..ServerInfo::default()
    }
}
