//! Who may change a group, and how. It stands in the group itself, members agree on it with all the rest, and both they and
//! the delivery service check each commit by it. What a server says about it counts for nothing.

use std::collections::BTreeSet;

use openmls::{
    group::{PublicGroup, StagedCommit},
    prelude::{
        BasicCredential, Credential, Extension, Extensions, GroupContext, LeafNodeIndex,
        OpenMlsCrypto, Proposal, Sender, UnknownExtension,
    },
};
use tls_codec::{
    DeserializeBytes as _, Serialize as _, TlsDeserializeBytes, TlsSerialize, TlsSize, VLBytes,
};

use crate::{
    key_id::MAX_LEAVES,
    ticket::{Ticket, Tickets},
};

/// The type of the extension of a group's context that holds its policy, of those for private use (RFC 9420, section 17.3).
pub const EXTENSION: u16 = 0xf0c1;

/// The rules of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq, TlsSerialize, TlsDeserializeBytes, TlsSize)]
pub struct Policy {
    moderators: Vec<VLBytes>,
    banned: Vec<VLBytes>,
}

/// Why a commit is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The group's policy cannot be read.
    #[error("the group has no policy")]
    NoPolicy,
    /// Somebody would join whom no ticket lets in.
    #[error("somebody would join without a ticket")]
    NoTicket,
    /// Somebody would join who has been banned.
    #[error("somebody would join who is banned")]
    Banned,
    /// Somebody would join under an identity that is there already.
    #[error("somebody would join twice")]
    Twice,
    /// Somebody would be removed by who may not.
    #[error("somebody would be removed by one who may not")]
    Removal,
    /// A member would become somebody else.
    #[error("a member would become somebody else")]
    OtherIdentity,
    /// The rules would be changed by who may not, or into what they may not be.
    #[error("the rules would be changed by one who may not")]
    Rules,
    /// A kind of change that our groups do not know.
    #[error("a change of an unknown kind")]
    Unknown,
    /// The group would have more members than it has leaves: 1,024.
    #[error("the group would have more than 1,024 members")]
    Full,
}

impl Policy {
    /// A group whose founder, by its signature key, is its first moderator.
    pub fn moderated(founder: &[u8]) -> Self {
        Self {
            moderators: vec![founder.into()],
            banned: Vec::new(),
        }
    }

    /// A group without moderators: whoever is in it may let others in.
    pub fn open() -> Self {
        Self::default()
    }

    /// The policy in the context of a group.
    pub fn of(extensions: &Extensions<GroupContext>) -> Option<Self> {
        let UnknownExtension(bytes) = extensions.unknown(EXTENSION)?;
        Self::tls_deserialize_exact_bytes(bytes).ok()
    }

    /// As it stands in the context of a group.
    pub fn to_extension(&self) -> Extension {
        let bytes = self.tls_serialize_detached().unwrap_or_default();
        Extension::Unknown(EXTENSION, UnknownExtension(bytes))
    }

    /// Whether whoever is in the group may let others in.
    pub fn is_open(&self) -> bool {
        self.moderators.is_empty()
    }

    /// The signature keys of its moderators.
    pub fn moderators(&self) -> impl Iterator<Item = &[u8]> {
        self.moderators.iter().map(VLBytes::as_slice)
    }

    /// Whether the member with this signature key is a moderator.
    pub fn is_moderator(&self, key: &[u8]) -> bool {
        self.moderators().any(|moderator| moderator == key)
    }

    /// Makes the member with this signature key a moderator.
    pub fn promote(&mut self, key: &[u8]) {
        if !self.is_moderator(key) {
            self.moderators.push(key.into());
        }
    }

    /// It is one no more.
    pub fn demote(&mut self, key: &[u8]) {
        self.moderators
            .retain(|moderator| moderator.as_slice() != key);
    }

    /// Nobody with this signature key comes in again, whatever ticket it has.
    pub fn ban(&mut self, key: &[u8]) {
        self.demote(key);
        if !self.is_banned(key) {
            self.banned.push(key.into());
        }
    }

    /// Whether it may not come in.
    pub fn is_banned(&self, key: &[u8]) -> bool {
        self.banned.iter().any(|banned| banned.as_slice() == key)
    }

    /// Whether the rules may become these.
    fn may_become(&self, next: &Self) -> bool {
        self.is_open() == next.is_open()
    }
}

/// Checks a commit before it is merged: everything that a member, or a server, could do to a group that it must not.
/// `aad` is the commit's additional data, with the tickets of those who join; `now` is in seconds since the epoch of Unix.
///
/// # Errors
/// The first rule that it breaks.
pub fn check(
    group: &PublicGroup,
    sender: &Sender,
    staged: &StagedCommit,
    aad: &[u8],
    now: u64,
    crypto: &impl OpenMlsCrypto,
) -> Result<(), Refusal> {
    let extensions = group.group_context().extensions();
    let policy = Policy::of(extensions).ok_or(Refusal::NoPolicy)?;
    let key_of = |leaf: LeafNodeIndex| group.leaf(leaf).map(|leaf| leaf.signature_key().as_slice());
    let is_moderator = |sender: &Sender| match sender {
        Sender::Member(leaf) => key_of(*leaf).is_some_and(|key| policy.is_moderator(key)),
        _ => false,
    };

    let mut joining = Vec::new();
    let (mut leaving, mut replaced) = (BTreeSet::new(), Vec::new());
    for queued in staged.queued_proposals() {
        match queued.proposal() {
            Proposal::Add(add) => {
                let leaf = add.key_package().leaf_node();
                joining.push((
                    identity(leaf.credential())?,
                    leaf.signature_key().as_slice(),
                ));
            }
            Proposal::Remove(remove) => {
                let may = match queued.sender() {
                    // The server takes away those who are gone. It could keep them from the meeting anyway.
                    Sender::External(_) => true,
                    // Who comes in again takes its old leaf away. It is looked at below.
                    Sender::NewMemberCommit => {
                        replaced.push(remove.removed());
                        true
                    }
                    Sender::Member(leaf) => {
                        *leaf == remove.removed() || is_moderator(queued.sender())
                    }
                    Sender::NewMemberProposal => false,
                };
                if !may {
                    return Err(Refusal::Removal);
                }
                leaving.insert(remove.removed());
            }
            Proposal::SelfRemove => match queued.sender() {
                Sender::Member(leaf) => {
                    leaving.insert(*leaf);
                }
                _ => return Err(Refusal::Removal),
            },
            Proposal::GroupContextExtensions(change) => {
                let next = Policy::of(change.extensions()).ok_or(Refusal::Rules)?;
                let others_stay = others(change.extensions()).eq(others(extensions));
                if !is_moderator(queued.sender()) || !others_stay || !policy.may_become(&next) {
                    return Err(Refusal::Rules);
                }
            }
            Proposal::ExternalInit(_) if *sender == Sender::NewMemberCommit => {}
            _ => return Err(Refusal::Unknown),
        }
    }
    match (sender, staged.update_path_leaf_node()) {
        (Sender::NewMemberCommit, Some(leaf)) => {
            let newcomer = (
                identity(leaf.credential())?,
                leaf.signature_key().as_slice(),
            );
            // By its key, not by its name alone: in an open room any member could write a ticket in another's name.
            for leaf in replaced {
                if key_of(leaf) != Some(newcomer.1) {
                    return Err(Refusal::Removal);
                }
            }
            joining.push(newcomer);
        }
        (Sender::Member(own), Some(leaf)) => {
            let before = group.leaf(*own).ok_or(Refusal::OtherIdentity)?;
            let is_same = leaf.credential() == before.credential()
                && leaf.signature_key() == before.signature_key();
            if !is_same {
                return Err(Refusal::OtherIdentity);
            }
        }
        (Sender::Member(_), None) => {}
        _ => return Err(Refusal::Unknown),
    }

    let tickets = Tickets::read(aad);
    let staying = group
        .members()
        .filter(|member| !leaving.contains(&member.index));
    let mut identities = staying
        .map(|member| identity(&member.credential))
        .collect::<Result<BTreeSet<_>, _>>()?;
    for (identity, key) in joining {
        if policy.is_banned(key) {
            return Err(Refusal::Banned);
        }
        let mut tickets = tickets.iter();
        if !tickets.any(|ticket| admits(group, ticket, (&identity, key), now, crypto)) {
            return Err(Refusal::NoTicket);
        }
        if !identities.insert(identity) {
            return Err(Refusal::Twice);
        }
    }
    match identities.len() <= MAX_LEAVES as usize {
        true => Ok(()),
        false => Err(Refusal::Full),
    }
}

/// Whether a ticket lets this identity with this key into the group, now.
pub(crate) fn admits(
    group: &PublicGroup,
    ticket: &Ticket,
    (identity, key): (&[u8], &[u8]),
    now: u64,
    crypto: &impl OpenMlsCrypto,
) -> bool {
    let Some(policy) = Policy::of(group.group_context().extensions()) else {
        return false;
    };
    // A moderator's word stands while it is away. In an open room it is the word of whoever is there.
    let issuer = ticket.issuer();
    let may = match policy.is_open() {
        true => group.members().any(|member| member.signature_key == issuer),
        false => policy.is_moderator(issuer),
    };
    let group_id = group.group_id().as_slice();
    may && !policy.is_banned(key) && ticket.admits(crypto, group_id, (identity, key), now)
}

/// The identity in a credential.
pub(crate) fn identity(credential: &Credential) -> Result<Vec<u8>, Refusal> {
    let basic = BasicCredential::try_from(credential.clone());
    basic
        .map(|basic| basic.identity().to_vec())
        .map_err(|_| Refusal::OtherIdentity)
}

/// What stands in a group's context besides its policy.
fn others(extensions: &Extensions<GroupContext>) -> impl Iterator<Item = &Extension> {
    extensions
        .iter()
        .filter(|extension| !matches!(extension, Extension::Unknown(EXTENSION, _)))
}
