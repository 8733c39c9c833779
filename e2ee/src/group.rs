//! The group of a meeting, as one of its members has it (RFC 9420).

use std::fmt::Display;

use openmls::{
    group::{
        MlsGroup, MlsGroupCreateConfig, MlsGroupJoinConfig, PURE_PLAINTEXT_WIRE_FORMAT_POLICY,
        StagedWelcome, WireFormatPolicy,
    },
    prelude::{
        BasicCredential, Capabilities, CommitMessageBundle, ContentType, CredentialType, Extension,
        ExtensionType, Extensions, ExternalSender, ExternalSendersExtension, GroupId, KeyPackage,
        KeyPackageIn, LeafNodeIndex, LeafNodeParameters, MlsMessageBodyIn, MlsMessageIn,
        MlsMessageOut, OpenMlsProvider as _, ProcessedMessageContent, Proposal, ProposalType,
        ProtocolVersion, RatchetTreeIn, RequiredCapabilitiesExtension, Sender,
    },
};
use openmls_rust_crypto::OpenMlsRustCrypto;
use tls_codec::{Deserialize as _, Serialize as _};

use crate::{
    base_key::{self, BaseKey},
    code,
    identity::Identity,
    policy::{self, Policy, Refusal},
    profile::Profile,
    ticket::{Ticket, Tickets},
};

/// Handshake messages can be read by the delivery service, which orders and checks them; what members say is encrypted.
const WIRE_FORMAT: WireFormatPolicy = PURE_PLAINTEXT_WIRE_FORMAT_POLICY;

/// Why something does not work with a group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The bytes are not what they should be.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// A rule of the group forbids it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It is of another group, another epoch, or does not fit together. The text is for a log.
    #[error("{0}")]
    Invalid(String),
}

/// One of those who can decrypt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its leaf index.
    pub leaf: u32,
    /// The identity of the participant.
    pub identity: String,
    /// Its signature key.
    pub key: Vec<u8>,
}

/// A commit that is on its way to the delivery service. It changes nothing here before the service has taken it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The handshake message.
    pub message: Vec<u8>,
    /// What those need who are added.
    pub welcome: Option<Vec<u8>>,
    /// What others need to come in from outside, after this commit.
    pub group_info: Vec<u8>,
}

/// What a message from the delivery service was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Processed {
    /// A proposal. The next commit carries it out.
    Proposal,
    /// A commit: the group has a new epoch.
    Epoch {
        /// Somebody is no member any more.
        removes: bool,
    },
    /// A commit that removes this member: it has no group any more.
    Removed,
    /// A message of a member.
    Message {
        /// The leaf index of its sender.
        leaf: u32,
        /// What it says.
        bytes: Vec<u8>,
    },
}

/// Somebody who waits to be added.
pub struct Joiner {
    provider: OpenMlsRustCrypto,
    me: Identity,
    key_package: Vec<u8>,
}

/// A group, as one of its members has it.
pub struct Group {
    provider: OpenMlsRustCrypto,
    me: Identity,
    group: MlsGroup,
}

impl Joiner {
    /// Somebody with a fresh key package for groups of this profile.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn new(me: Identity, profile: Profile) -> Result<Self, GroupError> {
        let provider = OpenMlsRustCrypto::default();
        let bundle = KeyPackage::builder()
            .leaf_node_capabilities(capabilities(profile))
            .build(profile.suite(), &provider, me.signer(), me.credential())
            .map_err(invalid)?;
        let message = MlsMessageOut::from(bundle.into_key_package());
        Ok(Self {
            key_package: message.to_bytes().map_err(invalid)?,
            provider,
            me,
        })
    }

    /// Its key package.
    pub fn key_package(&self) -> &[u8] {
        &self.key_package
    }

    /// Comes into the group of `room` with the welcome it got, and with the group's tree.
    ///
    /// # Errors
    /// When they are not for it, do not fit together, or are of another room.
    pub fn join(self, room: &[u8], welcome: &[u8], tree: &[u8]) -> Result<Group, GroupError> {
        let MlsMessageBodyIn::Welcome(welcome) = message(welcome)?.extract() else {
            return Err(GroupError::Malformed("welcome"));
        };
        let staged = StagedWelcome::new_from_welcome(
            &self.provider,
            &join_config(),
            welcome,
            Some(read_tree(tree)?),
        )
        .map_err(invalid)?;
        let group = staged.into_group(&self.provider).map_err(invalid)?;
        Group::checked(self.provider, self.me, group, room)
    }
}

impl Group {
    /// Founds the group of a room. `server` is the key of the delivery service, which may remove members who are gone.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn found(
        me: Identity,
        room: &[u8],
        profile: Profile,
        policy: &Policy,
        server: Option<&[u8]>,
    ) -> Result<Self, GroupError> {
        let provider = OpenMlsRustCrypto::default();
        let mut extensions = vec![
            policy.to_extension(),
            Extension::RequiredCapabilities(RequiredCapabilitiesExtension::new(
                &[ExtensionType::Unknown(policy::EXTENSION)],
                &[ProposalType::SelfRemove],
                &[CredentialType::Basic],
            )),
        ];
        if let Some(key) = server {
            extensions.push(Extension::ExternalSenders(external_senders(key)));
        }
        let config = MlsGroupCreateConfig::builder()
            .ciphersuite(profile.suite())
            .wire_format_policy(WIRE_FORMAT)
            .capabilities(capabilities(profile))
            .with_group_context_extensions(Extensions::from_vec(extensions).map_err(invalid)?)
            .build();
        let group = MlsGroup::new_with_group_id(
            &provider,
            me.signer(),
            &config,
            GroupId::from_slice(room),
            me.credential(),
        );
        let group = group.map_err(invalid)?;
        Ok(Self {
            provider,
            me,
            group,
        })
    }

    /// Comes into the group of `room` from outside, by a commit of its own: as the first after its founder, or again. Where
    /// the delivery service does not take the commit, the group is worth nothing.
    ///
    /// # Errors
    /// When the group information or the tree do not fit together, or are of another room.
    pub fn enter(
        me: Identity,
        room: &[u8],
        group_info: &[u8],
        tree: &[u8],
        ticket: Ticket,
    ) -> Result<(Self, Commit), GroupError> {
        let provider = OpenMlsRustCrypto::default();
        let MlsMessageBodyIn::GroupInfo(info) = message(group_info)?.extract() else {
            return Err(GroupError::Malformed("group information"));
        };
        let profile = [Profile::Classic, Profile::Hybrid]
            .into_iter()
            .find(|profile| profile.suite() == info.ciphersuite())
            .ok_or(GroupError::Malformed("group information"))?;
        let leaf = LeafNodeParameters::builder()
            .with_capabilities(capabilities(profile))
            .build();
        let (group, bundle) = MlsGroup::external_commit_builder()
            .with_ratchet_tree(read_tree(tree)?)
            .with_config(join_config())
            .with_aad(Tickets::from_iter([ticket]).to_bytes())
            .build_group(&provider, info, me.credential())
            .map_err(invalid)?
            .leaf_node_parameters(leaf)
            .load_psks(provider.storage())
            .map_err(invalid)?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), me.signer(), |_| true)
            .map_err(invalid)?
            .finalize(&provider)
            .map_err(invalid)?;
        let commit = Commit::from_bundle(bundle)?;
        Ok((Self::checked(provider, me, group, room)?, commit))
    }

    /// A group that others have made: it is the one of this room, and has rules.
    fn checked(
        provider: OpenMlsRustCrypto,
        me: Identity,
        group: MlsGroup,
        room: &[u8],
    ) -> Result<Self, GroupError> {
        if group.group_id().as_slice() != room {
            return Err(GroupError::Invalid("the group is of another room".into()));
        }
        Policy::of(group.extensions()).ok_or(Refusal::NoPolicy)?;
        Ok(Self {
            provider,
            me,
            group,
        })
    }

    /// Commits to what was proposed, adds those who hold a ticket, and removes these leaves. After it there may be a new
    /// policy.
    ///
    /// # Errors
    /// When a key package is none, or the group's rules forbid it.
    pub fn commit(
        &mut self,
        added: &[(&[u8], Ticket)],
        removed: &[u32],
        policy: Option<&Policy>,
    ) -> Result<Commit, GroupError> {
        let (provider, suite) = (&self.provider, self.group.ciphersuite());
        let mut packages = Vec::new();
        for (bytes, _) in added {
            let package = message(bytes)?.extract();
            let MlsMessageBodyIn::KeyPackage(package) = package else {
                return Err(GroupError::Malformed("key package"));
            };
            let package =
                KeyPackageIn::validate(package, provider.crypto(), ProtocolVersion::Mls10);
            let package = package.map_err(invalid)?;
            if package.ciphersuite() != suite {
                return Err(GroupError::Malformed("key package"));
            }
            packages.push(package);
        }
        let tickets: Tickets = added.iter().map(|(_, ticket)| ticket.clone()).collect();
        self.group.set_aad(tickets.to_bytes());
        let changed = match policy {
            Some(policy) => {
                let mut extensions = self.group.extensions().clone();
                extensions
                    .add_or_replace(policy.to_extension())
                    .map_err(invalid)?;
                Some(extensions)
            }
            None => None,
        };
        let mut builder = self
            .group
            .commit_builder()
            .propose_adds(packages)
            .propose_removals(removed.iter().map(|leaf| LeafNodeIndex::new(*leaf)))
            .force_self_update(true);
        if let Some(extensions) = changed {
            builder = builder
                .propose_group_context_extensions(extensions)
                .map_err(invalid)?;
        }
        let bundle = builder
            .load_psks(provider.storage())
            .map_err(invalid)?
            .create_group_info(true)
            .build(provider.rand(), provider.crypto(), self.me.signer(), |_| {
                true
            })
            .map_err(invalid)?
            .stage_commit(provider)
            .map_err(invalid)?;
        Commit::from_bundle(bundle)
    }

    /// The delivery service has taken the commit of this member.
    ///
    /// # Errors
    /// When there is none.
    pub fn accepted(&mut self) -> Result<Processed, GroupError> {
        let pending = self.group.pending_commit();
        let pending = pending.ok_or(GroupError::Invalid("there is no commit under way".into()))?;
        let removes = removes(pending);
        self.group
            .merge_pending_commit(&self.provider)
            .map_err(invalid)?;
        Ok(Processed::Epoch { removes })
    }

    /// The delivery service has taken another commit, or none: the one of this member never was.
    ///
    /// # Errors
    /// When the group's state cannot be written.
    pub fn rejected(&mut self) -> Result<(), GroupError> {
        self.group
            .clear_pending_commit(self.provider.storage())
            .map_err(invalid)
    }

    /// Takes a message that the delivery service has ordered. `now` is in seconds since the epoch of Unix.
    ///
    /// # Errors
    /// When it is not valid here and now, or breaks a rule; the group stays as it was.
    pub fn process(&mut self, bytes: &[u8], now: u64) -> Result<Processed, GroupError> {
        let protocol_message = message(bytes)?.try_into_protocol_message();
        let protocol_message = protocol_message.map_err(|_| GroupError::Malformed("message"))?;
        let processed = self.group.process_message(&self.provider, protocol_message);
        let processed = processed.map_err(invalid)?;
        let (sender, aad) = (processed.sender().clone(), processed.aad().to_vec());
        match processed.into_content() {
            ProcessedMessageContent::ApplicationMessage(said) => match sender {
                Sender::Member(leaf) => Ok(Processed::Message {
                    leaf: leaf.u32(),
                    bytes: said.into_bytes(),
                }),
                _ => Err(GroupError::Malformed("sender")),
            },
            ProcessedMessageContent::ProposalMessage(proposal) => {
                self.group
                    .store_pending_proposal(self.provider.storage(), *proposal)
                    .map_err(invalid)?;
                Ok(Processed::Proposal)
            }
            ProcessedMessageContent::OwnPendingCommit => self.accepted(),
            ProcessedMessageContent::StagedCommitMessage(staged) => {
                let crypto = self.provider.crypto();
                policy::check(
                    self.group.public_group(),
                    &sender,
                    &staged,
                    &aad,
                    now,
                    crypto,
                )?;
                let (removes, is_removed) = (removes(&staged), staged.self_removed());
                self.group
                    .merge_staged_commit(&self.provider, *staged)
                    .map_err(invalid)?;
                match is_removed {
                    true => Ok(Processed::Removed),
                    false => Ok(Processed::Epoch { removes }),
                }
            }
            _ => Err(GroupError::Malformed("message")),
        }
    }

    /// Says something to all members.
    ///
    /// # Errors
    /// When this member is none any more.
    pub fn say(&mut self, bytes: &[u8]) -> Result<Vec<u8>, GroupError> {
        let said = self
            .group
            .create_message(&self.provider, self.me.signer(), bytes);
        said.map_err(invalid)?.to_bytes().map_err(invalid)
    }

    /// Proposes to leave. Somebody else commits to it.
    ///
    /// # Errors
    /// When this member is none any more.
    pub fn leave(&mut self) -> Result<Vec<u8>, GroupError> {
        let left = self
            .group
            .leave_group_via_self_remove(&self.provider, self.me.signer());
        left.map_err(invalid)?.to_bytes().map_err(invalid)
    }

    /// Signs a ticket. It is good where this member may let others in.
    ///
    /// # Errors
    /// When the signer cannot sign.
    pub fn ticket(&self, identity: &str, key: &[u8], not_after: u64) -> Result<Ticket, GroupError> {
        let issuer = self.me.public_key();
        let ticket = Ticket::issue(
            self.id(),
            identity,
            key,
            not_after,
            issuer,
            self.me.signer(),
        );
        ticket.map_err(|_| GroupError::Invalid("the signer cannot sign".into()))
    }

    /// Whether a ticket lets this identity with this key in, now.
    pub fn admits(&self, ticket: &Ticket, identity: &[u8], key: &[u8], now: u64) -> bool {
        let (group, crypto) = (self.group.public_group(), self.provider.crypto());
        policy::admits(group, ticket, (identity, key), now, crypto)
    }

    /// The group's id: the room.
    pub fn id(&self) -> &[u8] {
        self.group.group_id().as_slice()
    }

    /// The number of its epoch.
    pub fn epoch(&self) -> u64 {
        self.group.epoch().as_u64()
    }

    /// The leaf index of this member.
    pub fn own_leaf(&self) -> u32 {
        self.group.own_leaf_index().u32()
    }

    /// Who this member is.
    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// Those who can decrypt, this member among them.
    pub fn members(&self) -> impl Iterator<Item = Member> + '_ {
        self.group.members().map(member)
    }

    /// Its rules.
    pub fn policy(&self) -> Policy {
        Policy::of(self.group.extensions()).unwrap_or_default()
    }

    /// The secret from which the keys of this epoch's frames are derived.
    ///
    /// # Errors
    /// When this member is none any more.
    pub fn base_key(&self) -> Result<BaseKey, GroupError> {
        let secret =
            self.group
                .export_secret(self.provider.crypto(), base_key::LABEL, &[], base_key::LEN);
        let secret = zeroize::Zeroizing::new(secret.map_err(invalid)?);
        let bytes = secret.as_slice().try_into();
        Ok(BaseKey::new(
            bytes.map_err(|_| GroupError::Malformed("secret"))?,
        ))
    }

    /// The verification code of this epoch.
    pub fn code(&self) -> String {
        let authenticator = self.group.epoch_authenticator().as_slice();
        code::digits(self.provider.crypto(), authenticator).unwrap_or_default()
    }

    /// The tree, as those need it who come in.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tree(&self) -> Result<Vec<u8>, GroupError> {
        self.group
            .export_ratchet_tree()
            .tls_serialize_detached()
            .map_err(invalid)
    }

    /// What others need to come in from outside.
    ///
    /// # Errors
    /// When this member is none any more.
    pub fn group_info(&self) -> Result<Vec<u8>, GroupError> {
        let info = self
            .group
            .export_group_info(self.provider.crypto(), self.me.signer(), false);
        info.map_err(invalid)?.to_bytes().map_err(invalid)
    }
}

impl Commit {
    fn from_bundle(bundle: CommitMessageBundle) -> Result<Self, GroupError> {
        let (message, welcome, info) = bundle.into_messages();
        let bytes = |message: MlsMessageOut| message.to_bytes().map_err(invalid);
        Ok(Self {
            message: bytes(message)?,
            welcome: welcome.map(bytes).transpose()?,
            group_info: bytes(info.ok_or(GroupError::Malformed("commit"))?)?,
        })
    }
}

/// What clients of ours know besides what all do.
fn capabilities(profile: Profile) -> Capabilities {
    Capabilities::builder()
        .ciphersuites(vec![profile.suite()])
        .extensions(vec![ExtensionType::Unknown(policy::EXTENSION)])
        .proposals(vec![ProposalType::SelfRemove])
        .credentials(vec![CredentialType::Basic])
        .build()
}

fn join_config() -> MlsGroupJoinConfig {
    MlsGroupJoinConfig::builder()
        .wire_format_policy(WIRE_FORMAT)
        .build()
}

pub(crate) fn message(bytes: &[u8]) -> Result<MlsMessageIn, GroupError> {
    MlsMessageIn::tls_deserialize_exact(bytes).map_err(|_| GroupError::Malformed("message"))
}

/// Whether a message is a commit.
pub(crate) fn is_commit(bytes: &[u8]) -> bool {
    let message = message(bytes).ok();
    let message = message.and_then(|message| message.try_into_protocol_message().ok());
    message.is_some_and(|message| message.content_type() == ContentType::Commit)
}

pub(crate) fn read_tree(bytes: &[u8]) -> Result<RatchetTreeIn, GroupError> {
    RatchetTreeIn::tls_deserialize_exact(bytes).map_err(|_| GroupError::Malformed("tree"))
}

/// Whether somebody is no member any more after the commit.
fn removes(staged: &openmls::group::StagedCommit) -> bool {
    let mut proposals = staged.queued_proposals();
    proposals.any(|queued| {
        matches!(
            queued.proposal(),
            Proposal::Remove(_) | Proposal::SelfRemove
        )
    })
}

/// The delivery service as a group knows it: it may propose to remove members.
pub(crate) fn external_senders(key: &[u8]) -> ExternalSendersExtension {
    let credential = BasicCredential::new(b"delivery service".to_vec()).into();
    vec![ExternalSender::new(key.into(), credential)]
}

pub(crate) fn member(member: openmls::prelude::Member) -> Member {
    let basic = BasicCredential::try_from(member.credential);
    let identity = basic.map(|basic| String::from_utf8_lossy(basic.identity()).into_owned());
    Member {
        leaf: member.index.u32(),
        identity: identity.unwrap_or_default(),
        key: member.signature_key,
    }
}

pub(crate) fn invalid(error: impl Display) -> GroupError {
    GroupError::Invalid(error.to_string())
}
