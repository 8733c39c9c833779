//! The name of a room on a node: tenants do not see each other's rooms.

use std::sync::Arc;

use protocol::RoomName;

/// Somebody for whom rooms are hosted: the owner of API keys. Of all tokens and calls with these keys, each is about
/// rooms of this tenant only.
///
/// All keys of the configuration belong to one tenant, the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant whose API key this is.
    pub fn of(_api_key: &str) -> Self {
        Self::default()
    }
}

impl Tenant {
    /// Its name; empty: the default.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Tenant {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

/// The key of a room: its name, as its tenant knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomKey {
    /// The tenant whose room it is.
    pub tenant: Tenant,
    /// The name of the room.
    pub name: RoomName,
}

impl RoomKey {
    /// The key of a room that a token with this API key names.
    pub fn new(api_key: &str, name: RoomName) -> Self {
        Self {
            tenant: Tenant::of(api_key),
            name,
        }
    }
}

impl From<RoomName> for RoomKey {
    /// The key of a room of the default tenant.
    fn from(name: RoomName) -> Self {
        Self {
            tenant: Tenant::default(),
            name,
        }
    }
}
