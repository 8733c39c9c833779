//! The group of a meeting, as the delivery service has it: who is in it, and whether a message is the next one. It knows no
//! key, and what it says binds nobody: members check the same.

use std::collections::BTreeSet;

use openmls::{
    group::{PublicGroup as Public, StagedCommit},
    prelude::{
        ExternalProposal, LeafNodeIndex, MlsMessageBodyIn, OpenMlsProvider as _,
        ProcessedMessageContent, Proposal, ProposalStore, ProtocolMessage, QueuedProposal, Sender,
        SenderExtensionIndex, Verifiable as _, group_info::VerifiableGroupInfo,
    },
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::Serialize as _;

use crate::{
    group::{GroupError, Member, invalid, member, message, read_tree},
    identity::Identity,
    policy::{self, Policy, Refusal},
    profile::SIGNATURES,
    ticket::Ticket,
};

/// A message that is valid now. It is applied, or dropped.
pub struct Checked(Content);

enum Content {
    Proposal(Box<QueuedProposal>),
    Commit {
        staged: Box<StagedCommit>,
        sender: Sender,
    },
    Message,
}

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The member of this leaf.
    Member(u32),
    /// Somebody who comes in by it: the identity, and its signature key.
    Newcomer(Vec<u8>, Vec<u8>),
    /// A member: which one, only members can read.
    SomeMember,
}

/// A group, as the delivery service has it.
pub struct PublicGroup {
    provider: OpenMlsRustCrypto,
    group: Public,
    group_info: Vec<u8>,
    me: Identity,
}

impl Checked {
    /// Who sent it. `None`: nobody who may.
    pub fn origin(&self) -> Option<Origin> {
        let sender = match &self.0 {
            Content::Message => return Some(Origin::SomeMember),
            Content::Proposal(proposal) => proposal.sender(),
            Content::Commit { staged, sender } => match (sender, staged.update_path_leaf_node()) {
                (Sender::NewMemberCommit, Some(leaf)) => {
                    let identity = policy::identity(leaf.credential()).ok()?;
                    let key = leaf.signature_key().as_slice().to_vec();
                    return Some(Origin::Newcomer(identity, key));
                }
                _ => sender,
            },
        };
        match sender {
            Sender::Member(leaf) => Some(Origin::Member(leaf.u32())),
            _ => None,
        }
    }

    /// The leaf whose member is to be removed, where it is a proposal to do so.
    pub fn proposes_to_remove(&self) -> Option<u32> {
        let Content::Proposal(queued) = &self.0 else {
            return None;
        };
        match (queued.proposal(), queued.sender()) {
            (Proposal::Remove(remove), _) => Some(remove.removed().u32()),
            (Proposal::SelfRemove, Sender::Member(leaf)) => Some(leaf.u32()),
            _ => None,
        }
    }

    /// The leaves whose members are none any more after it; `None`: it is no commit.
    pub fn removed(&self) -> Option<BTreeSet<u32>> {
        let Content::Commit { staged, .. } = &self.0 else {
            return None;
        };
        let removed = staged.queued_proposals().filter_map(|queued| {
            match (queued.proposal(), queued.sender()) {
                (Proposal::Remove(remove), _) => Some(remove.removed().u32()),
                (Proposal::SelfRemove, Sender::Member(leaf)) => Some(leaf.u32()),
                _ => None,
            }
        });
        Some(removed.collect())
    }
}

impl PublicGroup {
    /// Takes the group that somebody has founded for a room. `me` is the delivery service, which the group lets remove
    /// members.
    ///
    /// # Errors
    /// When it is not one that has just been founded for this room, with this delivery service and with rules.
    pub fn found(
        me: Identity,
        room: &[u8],
        group_info: &[u8],
        tree: &[u8],
    ) -> Result<Self, GroupError> {
        let provider = OpenMlsRustCrypto::default();
        let group = read_group(&provider, group_info, tree)?;
        let extensions = group.group_context().extensions();
        let policy = Policy::of(extensions).ok_or(Refusal::NoPolicy)?;
        let senders = extensions.external_senders();
        let expected = crate::group::external_senders(me.public_key());
        let mut members = group.members();
        let founder = members.next();
        let is_new = group.group_id().as_slice() == room
            && group.group_context().epoch().as_u64() == 0
            && members.next().is_none();
        let is_moderated_by_founder = policy.is_open()
            || founder.is_some_and(|founder| policy.is_moderator(&founder.signature_key));
        if !is_new || senders != Some(&expected) || !is_moderated_by_founder {
            return Err(GroupError::Invalid("not a new group of this room".into()));
        }
        drop(members);
        Ok(Self {
            group_info: group_info.to_vec(),
            provider,
            group,
            me,
        })
    }

    /// The group as it was after a commit, with the group information that came with it: where the delivery service starts anew.
    /// What is given is what the delivery service has kept.
    ///
    /// # Errors
    /// When the two do not fit together.
    pub fn restore(me: Identity, group_info: &[u8], tree: &[u8]) -> Result<Self, GroupError> {
        let provider = OpenMlsRustCrypto::default();
        let group = read_group(&provider, group_info, tree)?;
        Ok(Self {
            group_info: group_info.to_vec(),
            provider,
            group,
            me,
        })
    }

    /// Checks whether a message is valid now. `now` is in seconds since the epoch of Unix.
    ///
    /// # Errors
    /// When it is not: of another epoch, forged, or against a rule.
    pub fn check(&self, bytes: &[u8], now: u64) -> Result<Checked, GroupError> {
        let protocol_message = message(bytes)?.try_into_protocol_message();
        let protocol_message = protocol_message.map_err(|_| GroupError::Malformed("message"))?;
        if matches!(protocol_message, ProtocolMessage::PrivateMessage(_)) {
            // What members say cannot be read, and whether it can be decrypted they see themselves.
            let is_of_group = protocol_message.group_id() == self.group.group_id()
                && protocol_message.epoch() == self.group.group_context().epoch();
            return match is_of_group && !protocol_message.is_handshake_message() {
                true => Ok(Checked(Content::Message)),
                false => Err(GroupError::Malformed("message")),
            };
        }
        let crypto = self.provider.crypto();
        let processed = self.group.process_message(crypto, protocol_message);
        let processed = processed.map_err(invalid)?;
        let (sender, aad) = (processed.sender().clone(), processed.aad().to_vec());
        match processed.into_content() {
            ProcessedMessageContent::ProposalMessage(proposal) => {
                // Members propose to leave, and nothing else.
                match (proposal.proposal(), &sender) {
                    (Proposal::SelfRemove, Sender::Member(_))
                    | (Proposal::Remove(_), Sender::External(_)) => {
                        Ok(Checked(Content::Proposal(proposal)))
                    }
                    _ => Err(Refusal::Unknown.into()),
                }
            }
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                policy::check(&self.group, &sender, &staged, &aad, now, crypto)?;
                Ok(Checked(Content::Commit { staged, sender }))
            }
            _ => Err(GroupError::Malformed("message")),
        }
    }

    /// Applies a message. `group_info` is what comes with a commit: others need it to come in from outside.
    ///
    /// # Errors
    /// When the group information is not that of the commit; the group stays as it was.
    pub fn apply(&mut self, checked: Checked, group_info: &[u8]) -> Result<(), GroupError> {
        match checked.0 {
            Content::Message => Ok(()),
            Content::Proposal(proposal) => {
                let added = self.group.add_proposal(self.provider.storage(), *proposal);
                added.map_err(invalid)
            }
            Content::Commit { staged, sender } => {
                self.check_group_info(group_info, &staged, &sender)?;
                let merged = self.group.merge_commit(self.provider.storage(), *staged);
                merged.map_err(invalid)?;
                self.group_info = group_info.to_vec();
                Ok(())
            }
        }
    }

    /// Whoever comes in from outside relies on it, and would be kept out by a false one.
    fn check_group_info(
        &self,
        bytes: &[u8],
        staged: &StagedCommit,
        sender: &Sender,
    ) -> Result<(), GroupError> {
        let info = read_group_info(bytes)?;
        let key = match sender {
            Sender::Member(leaf) => self.group.leaf(*leaf),
            _ => staged.update_path_leaf_node(),
        };
        let key = key
            .ok_or(GroupError::Malformed("commit"))?
            .signature_key()
            .clone();
        let key = key.into_signature_public_key_enriched(SIGNATURES);
        let is_next = info.group_context() == staged.group_context();
        let has_key = info.extensions().external_pub().is_some();
        match is_next && has_key && info.verify_no_out(self.provider.crypto(), &key).is_ok() {
            true => Ok(()),
            false => Err(GroupError::Invalid(
                "group information of another commit".into(),
            )),
        }
    }

    /// Proposes that the member of this leaf be removed, for it is gone. The next commit has to do it.
    ///
    /// # Errors
    /// When there is no such member.
    pub fn propose_removal(&mut self, leaf: u32) -> Result<Vec<u8>, GroupError> {
        let leaf = LeafNodeIndex::new(leaf);
        if self.group.leaf(leaf).is_none() {
            return Err(GroupError::Invalid("there is no such member".into()));
        }
        let proposed = ExternalProposal::new_remove::<OpenMlsRustCrypto>(
            leaf,
            self.group.group_id().clone(),
            self.group.group_context().epoch(),
            self.me.signer(),
            SenderExtensionIndex::new(0),
        );
        let bytes = proposed.map_err(invalid)?.to_bytes().map_err(invalid)?;
        let protocol_message = message(&bytes)?.try_into_protocol_message();
        let protocol_message = protocol_message.map_err(|_| GroupError::Malformed("message"))?;
        let crypto = self.provider.crypto();
        let processed = self.group.process_message(crypto, protocol_message);
        let ProcessedMessageContent::ProposalMessage(proposal) =
            processed.map_err(invalid)?.into_content()
        else {
            return Err(GroupError::Malformed("message"));
        };
        self.apply(Checked(Content::Proposal(proposal)), &[])?;
        Ok(bytes)
    }

    /// Whether a ticket lets this identity with this key in, now.
    pub fn admits(&self, ticket: &Ticket, identity: &[u8], key: &[u8], now: u64) -> bool {
        let crypto = self.provider.crypto();
        policy::admits(&self.group, ticket, (identity, key), now, crypto)
    }

    /// Its rules.
    pub fn policy(&self) -> Policy {
        Policy::of(self.group.group_context().extensions()).unwrap_or_default()
    }

    /// The number of its epoch.
    pub fn epoch(&self) -> u64 {
        self.group.group_context().epoch().as_u64()
    }

    /// Its members.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.group.members().map(member)
    }

    /// Its tree, as those need it who come in.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tree(&self) -> Result<Vec<u8>, GroupError> {
        let tree = self.group.export_ratchet_tree();
        tree.tls_serialize_detached().map_err(invalid)
    }

    /// What others need to come in from outside.
    pub fn group_info(&self) -> &[u8] {
        &self.group_info
    }
}

fn read_group(
    provider: &OpenMlsRustCrypto,
    group_info: &[u8],
    tree: &[u8],
) -> Result<Public, GroupError> {
    let (group, _) = Public::from_external(
        provider.crypto(),
        provider.storage(),
        read_tree(tree)?,
        read_group_info(group_info)?,
        ProposalStore::new(),
    )
    .map_err(invalid)?;
    Ok(group)
}

fn read_group_info(bytes: &[u8]) -> Result<VerifiableGroupInfo, GroupError> {
    match message(bytes)?.extract() {
        MlsMessageBodyIn::GroupInfo(info) => Ok(info),
        _ => Err(GroupError::Malformed("group information")),
    }
}
