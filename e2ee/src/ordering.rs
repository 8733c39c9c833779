//! Which commit comes next in a group, and who is to make it. Nothing here knows what is in a commit: whether one is valid is
//! asked before it comes here.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

/// The time that a committer has before the next one is asked as well.
pub const PATIENCE: Duration = Duration::from_millis(200);

/// The time for which joins are gathered behind a commit that was under way when they came.
pub const WINDOW: Duration = Duration::from_millis(150);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step<S> {
    /// Ask this member for a commit to all that waits.
    Ask(S),
    /// Nobody is awake who could: this one, who waits to be added, is to come in by a commit of its own.
    Enter(S),
    /// All members who are awake have the keys of this epoch.
    Go(u64),
}

/// The order of commits in one group. `S` names a connection. Times are those of any clock that only goes forward.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Ordering<S: Ord> {
    epoch: u64,
    /// The connections, and the leaf of each that is a member's.
    awake: BTreeMap<S, Option<u32>>,
    /// Those of members who have the keys of the epoch; `None` once all had.
    ready: Option<BTreeSet<S>>,
    /// Those who wait to be added, in the order in which they came.
    joins: VecDeque<S>,
    /// Leaves whose members are gone.
    removals: BTreeSet<u32>,
    /// Those who have been asked, and when the next one is.
    asked: Option<(Vec<S>, Duration)>,
    /// Joins alone ask for nothing before this.
    window: Option<Duration>,
    steps: VecDeque<Step<S>>,
}

impl<S: Copy + Ord> Ordering<S> {
    /// A group that is in this epoch. Nobody is connected.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            awake: BTreeMap::new(),
            ready: None,
            joins: VecDeque::new(),
            removals: BTreeSet::new(),
            asked: None,
            window: None,
            steps: VecDeque::new(),
        }
    }

    /// The epoch of the group.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The leaves that the next commit has to remove.
    pub fn removals(&self) -> impl Iterator<Item = u32> + '_ {
        self.removals.iter().copied()
    }

    /// Those who wait to be added.
    pub fn joins(&self) -> impl Iterator<Item = S> + '_ {
        self.joins.iter().copied()
    }

    /// Somebody connects: the member of this leaf, or one who is no member yet.
    pub fn connect(&mut self, who: S, leaf: Option<u32>, now: Duration) {
        self.awake.insert(who, leaf);
        self.look(now);
    }

    /// A connection has ended. Whoever it was may come back; a member stays one until it is removed.
    pub fn disconnect(&mut self, who: S, now: Duration) {
        self.awake.remove(&who);
        self.joins.retain(|one| *one != who);
        if let Some((asked, next_at)) = &mut self.asked {
            // Nobody waits for who is gone.
            let waits_for_others = asked.iter().any(|one| self.awake.contains_key(one));
            if !waits_for_others {
                *next_at = (*next_at).min(now);
            }
        }
        self.look(now);
    }

    /// Somebody who is connected waits to be added.
    pub fn join(&mut self, who: S, now: Duration) {
        if self.awake.contains_key(&who) && !self.joins.contains(&who) {
            self.joins.push_back(who);
        }
        self.look(now);
    }

    /// The member of this leaf is gone. That does not wait for anything.
    pub fn remove(&mut self, leaf: u32, now: Duration) {
        self.removals.insert(leaf);
        let last = self.asked.as_ref().and_then(|(asked, _)| asked.last());
        match last.copied() {
            // What it is about to send leaves that member in.
            Some(last) if self.committers().iter().any(|(_, who)| *who == last) => {
                self.steps.push_back(Step::Ask(last));
            }
            Some(last) => self.failed(last, now),
            None => {}
        }
        self.look(now);
    }

    /// Whether this one has been asked for a commit.
    pub fn is_asked(&self, who: S) -> bool {
        let asked = self.asked.as_ref();
        asked.is_some_and(|(asked, _)| asked.contains(&who))
    }

    /// Who was asked has sent something that is no commit, or cannot send one: nobody waits for it any longer.
    pub fn failed(&mut self, who: S, now: Duration) {
        if let Some((asked, next_at)) = &mut self.asked
            && asked.last() == Some(&who)
        {
            *next_at = (*next_at).min(now);
        }
        self.look(now);
    }

    /// Whether a commit for this epoch would be the next one, with what it removes: the first valid one is, and none that leaves
    /// somebody in who is gone. Where no member is awake, who comes in from outside can remove nobody, and does so next.
    pub fn takes(&self, epoch: u64, removed: &BTreeSet<u32>) -> bool {
        let leaves_nobody = self.removals.is_subset(removed) || self.committers().is_empty();
        epoch == self.epoch && leaves_nobody
    }

    /// Whether somebody is gone and members are awake who remove it: nobody comes in from outside before they have.
    pub fn waits_for_removal(&self) -> bool {
        !self.removals.is_empty() && !self.committers().is_empty()
    }

    /// Takes a commit: the group has a new epoch with these members among those who are connected. Call it where
    /// [`Ordering::takes`] says so. `removed` are the leaves that it removes.
    pub fn commit(&mut self, members: &BTreeMap<S, u32>, removed: &BTreeSet<u32>, now: Duration) {
        self.epoch += 1;
        self.removals.retain(|leaf| !removed.contains(leaf));
        for (who, leaf) in &mut self.awake {
            *leaf = members.get(who).copied();
        }
        self.joins.retain(|who| !members.contains_key(who));
        self.ready = Some(BTreeSet::new());
        // What came while it was under way is gathered; what comes after that is not.
        self.window = self.asked.take().map(|_| now + WINDOW);
        self.look(now);
    }

    /// A member says that it has the keys of this epoch.
    pub fn ready(&mut self, who: S, epoch: u64) {
        if epoch == self.epoch
            && let Some(ready) = &mut self.ready
        {
            ready.insert(who);
        }
        self.look_ready();
    }

    /// The next step.
    pub fn poll(&mut self) -> Option<Step<S>> {
        self.steps.pop_front()
    }

    /// When there may be a further step.
    pub fn due(&self) -> Option<Duration> {
        if !self.has_work() {
            return None;
        }
        match &self.asked {
            Some((_, next_at)) => Some(*next_at),
            None => self.window,
        }
    }

    /// That time has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.look(now);
    }

    fn has_work(&self) -> bool {
        !self.joins.is_empty() || !self.removals.is_empty()
    }

    fn look(&mut self, now: Duration) {
        self.look_ready();
        if !self.has_work() {
            return;
        }
        let waits = match &self.asked {
            Some((_, next_at)) => now < *next_at,
            None => self.removals.is_empty() && self.window.is_some_and(|until| now < until),
        };
        if waits {
            return;
        }
        // Where there is nobody to ask, whoever connects is the next occasion, and no time.
        self.window = None;
        let asked = self.asked.take().map_or_else(Vec::new, |(asked, _)| asked);
        self.ask(asked, now);
    }

    /// Asks the next in the order of leaves; from the first one on again when all have been asked.
    fn ask(&mut self, mut asked: Vec<S>, now: Duration) {
        let ranked = self.committers();
        let step = match ranked.first() {
            // A commit from outside can remove nobody but who makes it, so that removals wait for members.
            None => self.joins.front().map(|who| Step::Enter(*who)),
            Some((_, first)) => {
                let next = ranked.iter().find(|(_, who)| !asked.contains(who));
                if next.is_none() {
                    asked.clear();
                }
                Some(Step::Ask(next.map_or(*first, |(_, who)| *who)))
            }
        };
        let (Some(Step::Ask(who)) | Some(Step::Enter(who))) = step else {
            return;
        };
        asked.push(who);
        self.asked = Some((asked, now + PATIENCE));
        self.steps.extend(step);
    }

    /// The members who are awake and stay, by their leaves.
    fn committers(&self) -> Vec<(u32, S)> {
        let members = self.awake.iter();
        let mut members: Vec<_> = members
            .filter_map(|(who, leaf)| leaf.map(|leaf| (leaf, *who)))
            .filter(|(leaf, _)| !self.removals.contains(leaf))
            .collect();
        members.sort_unstable();
        members
    }

    fn look_ready(&mut self) {
        let Some(ready) = &self.ready else {
            return;
        };
        let mut members = self.awake.iter().filter(|(_, leaf)| leaf.is_some());
        if members.all(|(who, _)| ready.contains(who)) {
            self.ready = None;
            self.steps.push_back(Step::Go(self.epoch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn steps(ordering: &mut Ordering<char>) -> Vec<Step<char>> {
        std::iter::from_fn(|| ordering.poll()).collect()
    }

    /// A group of three in epoch 5.
    fn three() -> Ordering<char> {
        let mut ordering = Ordering::new(5);
        for (who, leaf) in [('a', 0), ('b', 1), ('c', 2)] {
            ordering.connect(who, Some(leaf), at(0));
        }
        ordering
    }

    fn members(names: &str) -> BTreeMap<char, u32> {
        names.chars().zip(0..).collect()
    }

    #[test]
    fn a_lone_join_is_committed_at_once_and_those_behind_it_are_gathered() {
        let mut ordering = three();
        for who in ['d', 'e', 'f'] {
            ordering.connect(who, None, at(0));
        }
        ordering.join('d', at(0));
        assert_eq!(steps(&mut ordering), [Step::Ask('a')]);
        ordering.join('e', at(20));
        assert!(ordering.takes(5, &BTreeSet::new()));
        ordering.commit(&members("abcd"), &BTreeSet::new(), at(50));
        ordering.join('f', at(60));
        assert_eq!(
            (steps(&mut ordering), ordering.due()),
            (vec![], Some(at(200)))
        );
        ordering.handle_timeout(at(200));
        assert_eq!(steps(&mut ordering), [Step::Ask('a')]);
        assert_eq!(ordering.joins().collect::<String>(), "ef");
    }

    #[test]
    fn the_first_commit_of_an_epoch_is_taken_and_no_other() {
        let mut ordering = three();
        assert!(ordering.takes(5, &BTreeSet::new()) && !ordering.takes(4, &BTreeSet::new()));
        ordering.commit(&members("abc"), &BTreeSet::new(), at(0));
        assert!(!ordering.takes(5, &BTreeSet::new()) && ordering.takes(6, &BTreeSet::new()));
    }

    #[test]
    fn who_does_not_commit_is_not_waited_for() {
        let mut ordering = three();
        ordering.connect('d', None, at(0));
        ordering.join('d', at(0));
        for (time, asked) in [(0, 'a'), (200, 'b'), (400, 'c'), (600, 'a'), (800, 'b')] {
            ordering.handle_timeout(at(time));
            assert_eq!(steps(&mut ordering), [Step::Ask(asked)]);
        }
        ordering.disconnect('b', at(900));
        assert_eq!(steps(&mut ordering), [], "another one is still asked");
        ordering.disconnect('a', at(910));
        assert_eq!(steps(&mut ordering), [Step::Ask('c')]);
    }

    #[test]
    fn a_removal_waits_for_nothing_and_no_commit_leaves_it_out() {
        let mut ordering = three();
        ordering.connect('d', None, at(0));
        ordering.join('d', at(0));
        ordering.commit(&members("abcd"), &BTreeSet::new(), at(10));
        steps(&mut ordering);
        ordering.remove(0, at(20));
        assert_eq!(
            steps(&mut ordering),
            [Step::Ask('b')],
            "not the one who is gone"
        );
        assert!(!ordering.takes(6, &BTreeSet::new()));
        assert!(ordering.takes(6, &BTreeSet::from([0])));
    }

    #[test]
    fn where_no_member_is_awake_who_comes_enters_from_outside() {
        let mut ordering = Ordering::new(3);
        ordering.connect('d', None, at(0));
        ordering.join('d', at(0));
        assert_eq!(steps(&mut ordering), [Step::Enter('d')]);
        ordering.commit(&BTreeMap::from([('d', 4)]), &BTreeSet::new(), at(10));
        ordering.ready('d', 4);
        assert_eq!(steps(&mut ordering), [Step::Go(4)]);
    }

    #[test]
    fn those_who_are_all_gone_keep_nobody_out_and_are_removed_next() {
        let mut ordering = Ordering::new(3);
        ordering.remove(0, at(0));
        ordering.remove(1, at(0));
        ordering.connect('d', None, at(0));
        ordering.join('d', at(0));
        assert_eq!(steps(&mut ordering), [Step::Enter('d')]);
        assert!(ordering.takes(3, &BTreeSet::new()));
        ordering.commit(&BTreeMap::from([('d', 2)]), &BTreeSet::new(), at(10));
        assert_eq!(steps(&mut ordering), [Step::Ask('d')]);
        assert!(!ordering.takes(4, &BTreeSet::from([0])));
        ordering.commit(&BTreeMap::from([('d', 2)]), &BTreeSet::from([0, 1]), at(20));
        assert_eq!((steps(&mut ordering), ordering.due()), (vec![], None));
    }

    #[test]
    fn what_nobody_can_do_is_due_at_no_time() {
        let mut ordering = three();
        ordering.connect('d', None, at(0));
        ordering.join('d', at(0));
        ordering.commit(&members("abcd"), &BTreeSet::new(), at(10));
        ordering.remove(3, at(20));
        for who in ['a', 'b', 'c', 'd'] {
            ordering.disconnect(who, at(30));
        }
        ordering.handle_timeout(at(1000));
        assert_eq!(ordering.due(), None);
        steps(&mut ordering);
        ordering.connect('b', Some(1), at(2000));
        assert_eq!(steps(&mut ordering), [Step::Ask('b')]);
    }

    #[test]
    fn all_who_are_awake_are_waited_for_and_nobody_else() {
        let mut ordering = three();
        ordering.commit(&members("abc"), &BTreeSet::new(), at(0));
        ordering.ready('a', 6);
        ordering.ready('b', 5);
        assert_eq!(steps(&mut ordering), []);
        ordering.ready('b', 6);
        ordering.disconnect('c', at(5));
        assert_eq!(steps(&mut ordering), [Step::Go(6)]);
        ordering.ready('a', 6);
        assert_eq!(steps(&mut ordering), []);
    }
}
