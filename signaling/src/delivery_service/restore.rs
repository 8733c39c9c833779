//! What is kept of a group, so that a meeting goes on where the server starts anew.

use std::time::{Duration, Instant};

use e2ee::{identity::Identity, ordering::Ordering, profile::Profile, public_group::PublicGroup};

use super::{
    ARRIVE_WITHIN, DeliveryService,
    log::Log,
    record::{Saved, Snapshot},
};

impl DeliveryService {
    /// The delivery service of a meeting that went on before this server started. Members who do not come back are removed.
    /// `seed`, `unix_now` and `now` as in [`DeliveryService::new`]. `None`: what was kept does not fit together.
    pub fn restore(saved: Saved, seed: [u8; 32], unix_now: Duration, now: Instant) -> Option<Self> {
        let Saved { snapshot, entries } = saved;
        let profile = Profile::new(snapshot.profile)?;
        let me = Identity::with_key("", &snapshot.key)?;
        let group = PublicGroup::restore(me.again(), &snapshot.group_info, &snapshot.tree).ok()?;
        let mut this = Self::with(profile, me, seed, unix_now, now);
        this.id = snapshot.id;
        let first = entries.first().map_or(snapshot.next, |entry| entry.number);
        this.log = Log::starting_at(first);
        this.group = Some(group);
        let mut removals = Vec::new();
        for entry in entries {
            if entry.number != this.log.next() {
                return None;
            }
            if entry.number >= snapshot.next {
                let group = this.group.as_mut()?;
                // They were taken in their time: tickets have expired since.
                if let Ok(checked) = group.check(&entry.message, 0) {
                    let is_commit = checked.removed().is_some();
                    removals.extend(checked.proposes_to_remove());
                    group.apply(checked, &entry.group_info).ok()?;
                    if is_commit {
                        removals.clear();
                    }
                } else if !entry.group_info.is_empty() {
                    return None;
                }
            }
            this.log.append(entry.message, entry.group_info);
        }
        this.refresh_members();
        this.ordering = Ordering::new(this.group.as_ref()?.epoch());
        for leaf in removals {
            this.ordering.remove(leaf, Duration::ZERO);
        }
        this.absent_until = Some(now + ARRIVE_WITHIN);
        Some(this)
    }

    /// The whole group, to be kept.
    pub(super) fn snapshot(&self) -> Option<Snapshot> {
        let group = self.group.as_ref()?;
        Some(Snapshot {
            id: self.id.clone(),
            profile: self.profile as u8,
            key: self.me.key_to_keep(),
            next: self.log.next(),
            first: self.log.first(),
            group_info: group.group_info().to_vec(),
            tree: group.tree().ok()?,
        })
    }
}
