//! What is counted of keys that come, are asked for and leave, and the conclusions that are drawn from it, an epoch after the other.

use super::Learned;
use crate::learn::features::{History, Scale};
use crate::learn::ghosts::Ghost;
use crate::learn::judge::STAYING;
use crate::learn::model::Model;
use crate::learn::outcome::Outcomes;
use std::time::Instant;

/// Of 2^so many keys one is counted where nothing is learned: none, but for two fingerprints, of which nothing is concluded.
pub(super) const NONE_COUNTED: u32 = 31;

impl Learned {
    /// The ages at which a key of this history was watched up to now, in this epoch since it began.
    #[inline]
    fn ages(&self, history: &History) -> (u32, u32) {
        let age = self.now.wrapping_sub(history.last);
        (age.saturating_sub(self.now.wrapping_sub(self.begin)), age)
    }

    /// A key of this history was watched up to now.
    #[inline]
    pub(super) fn watched(&mut self, history: &History) {
        let (from, age) = self.ages(history);
        let Model { outcomes, scale, .. } = &mut *self.model;
        outcomes.expose(history.class, from, age, scale);
    }

    /// All that wait were watched up to now.
    pub(super) fn watch_all(&self, outcomes: &mut Outcomes) {
        let scale = &self.model.scale;
        let mut watch = |history: &History| {
            let (from, age) = self.ages(history);
            outcomes.expose(history.class, from, age, scale);
        };
        self.histories[..self.counted].iter().for_each(&mut watch);
        for (_, Ghost { history, watched }) in self.ghosts[0].iter(self.now) {
            if watched {
                watch(&History { class: scale.class(&history), ..history });
            }
        }
    }

    /// An entry that is counted was asked for.
    #[inline(never)]
    pub(super) fn count_hit(&mut self, place: usize) {
        self.judge.asked(self.residents[place].fingerprint, self.now);
        let history = self.histories[place];
        self.count(&history);
    }

    /// Has it judged what is expected of a key that is counted.
    fn expect(&mut self, fingerprint: u32, history: &History, evicted: bool) {
        let (age, window) = (self.now.wrapping_sub(history.last), self.model.scale.entries);
        let chance = || self.model.chance_within(history.class, age, window);
        self.judge.expect(fingerprint, evicted, self.now, window, chance);
    }

    /// A key that is counted was asked for.
    #[inline(never)]
    pub(super) fn count(&mut self, history: &History) {
        self.watched(history);
        let Model { outcomes, scale, .. } = &mut *self.model;
        outcomes.hit(history.class, self.now.wrapping_sub(history.last), scale);
    }

    /// What was remembered of a key that comes, with this request counted.
    pub(super) fn recall(&mut self, fingerprint: u32) -> History {
        let counted = self.is_counted(fingerprint);
        if counted {
            self.judge.asked(fingerprint, self.now);
        }
        let Some(Ghost { mut history, watched }) = self.ghosts[usize::from(!counted)].take(fingerprint, self.now) else {
            return History::new(self.now);
        };
        history.class = self.model.scale.class(&history);
        if counted && watched {
            self.count(&history);
        }
        history.touch(self.now, &self.model.scale);
        history
    }

    /// The class of a key that isn't there, if it comes now.
    pub(super) fn class_to_be(&self, fingerprint: u32) -> u16 {
        let ghosts = &self.ghosts[usize::from(!self.is_counted(fingerprint))];
        let Some(Ghost { mut history, .. }) = ghosts.get(fingerprint, self.now) else { return 0 };
        history.touch(self.now, &self.model.scale);
        history.class
    }

    pub(super) fn remember(&mut self, fingerprint: u32, history: History, watched: bool) {
        let counted = self.is_counted(fingerprint);
        if counted && watched {
            self.expect(fingerprint, &history, true);
        }
        let forgotten = self.ghosts[usize::from(!counted)].put(fingerprint, Ghost { history, watched }, self.now);
        if let Some(Ghost { mut history, watched: true }) = forgotten.filter(|_| counted) {
            history.class = self.model.scale.class(&history);
            self.watched(&history);
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn end_epoch(&mut self) {
        let began = Instant::now();
        self.ghosts.iter_mut().for_each(|ghosts| ghosts.sweep(self.now));
        let longest = self.settings.epochs.1.max((self.entries() / 2) as u32);
        let fades = if self.epoch >= longest { self.settings.fades } else { self.settings.fades / 2.0 };
        if self.settings.online {
            self.learn(1.0 - fades);
        }
        self.pace = (self.clock.0 - self.clock.1) as f32 / self.now.wrapping_sub(self.begin).max(1) as f32;
        (self.begin, self.clock.1) = (self.now, self.clock.0);
        self.epoch = (self.epoch * 2).min(longest);
        self.rescale();
        self.spent += began.elapsed();
    }

    /// Draws conclusions, and has some of what stays judged by them. What was seen before counts for this share of it from now on.
    fn learn(&mut self, share: f32) {
        let mut outcomes = std::mem::replace(&mut self.model.outcomes, Outcomes::new(0));
        self.watch_all(&mut outcomes);
        self.model.outcomes = outcomes;
        self.model.learn(share);
        self.updates += 1;
        self.judge.settle(self.now, share);
        for place in (0..self.counted).step_by((self.counted / STAYING).max(1)) {
            let history = self.histories[place];
            self.expect(self.residents[place].fingerprint, &history, false);
        }
    }

    /// Goes over to the number of entries that there are or will be, if it changed much.
    pub(super) fn rescale(&mut self) {
        let scale = Scale::of(self.entries());
        let old = self.model.scale.entries;
        if scale.entries.abs_diff(old) <= old / 16 {
            return;
        }
        self.model.rescale(scale);
        let share = (self.entries() / self.settings.counted.max(1)).max(1).next_power_of_two().ilog2().min(16);
        let share = if self.settings.online { share } else { NONE_COUNTED };
        let all = self.resort(share);
        self.fit_ghosts();
        for (fingerprint, ghost) in all {
            let counted = self.is_counted(fingerprint);
            self.ghosts[usize::from(!counted)].put(fingerprint, ghost, self.now);
        }
    }

    /// Room for as many ghosts as belong to the entries that are there: how many there will be is a guess until the cache is full, and
    /// nothing is evicted before.
    pub(super) fn fit_ghosts(&mut self) {
        let (share, limit) = (self.share, self.residents.len() * self.settings.ghosts);
        // Half as many again where only some keys are counted: which of them come is chance.
        let counted = limit >> share;
        let limits = if share == 0 { [limit, 0] } else { [counted, limit - counted] };
        for (ghosts, limit) in self.ghosts.iter_mut().zip(limits) {
            ghosts.fit(limit, &self.model.scale, self.now);
        }
    }
}
