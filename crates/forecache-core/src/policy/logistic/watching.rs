//! What becomes of entries that are watched for a turnover, whether they stay or not: what the model learns from.

use super::{Logistic, Resident};
use crate::learn::logistic::Features;

/// Entries watched in a turnover: so many that are there, and so many that leave.
pub(super) const WATCHED: u32 = 512;

/// An entry as it was when it began to be watched.
#[derive(Debug)]
pub(super) struct Watched {
    fingerprint: u32,
    since: u32,
    features: Features,
}

impl Logistic {
    /// A key was asked for.
    #[cold]
    #[inline(never)]
    pub(super) fn asked_for(&mut self, fingerprint: u32) {
        let Some(since) = self.waiting.remove(&fingerprint) else { return };
        let at = self.watched.partition_point(|watched| self.now.wrapping_sub(watched.since) > self.now.wrapping_sub(since));
        let found =
            self.watched.range(at..).take_while(|watched| watched.since == since).find(|one| one.fingerprint == fingerprint);
        if let Some(Watched { features, .. }) = found {
            self.model.learn(&{ *features }, true);
        }
    }

    /// Watches an entry from now on, if it is time for one of this kind.
    pub(super) fn watch(&mut self, resident: &Resident, kind: usize) -> bool {
        if self.now.wrapping_sub(self.chosen[kind]) < self.turnover() / WATCHED
            || self.waiting.contains_key(&resident.fingerprint)
        {
            return false;
        }
        self.chosen[kind] = self.now;
        self.waiting.insert(resident.fingerprint, self.now);
        let features = self.features(resident);
        self.watched.push_back(Watched { fingerprint: resident.fingerprint, since: self.now, features });
        true
    }

    /// Those that weren't asked for within a turnover.
    pub(super) fn conclude(&mut self) {
        let turnover = self.turnover();
        while self.watched.front().is_some_and(|first| self.now.wrapping_sub(first.since) > turnover) {
            let Some(Watched { fingerprint, since, features }) = self.watched.pop_front() else { return };
            if self.waiting.get(&fingerprint) == Some(&since) {
                self.waiting.remove(&fingerprint);
                self.model.learn(&features, false);
            }
        }
    }
}
