//! `learned` on disk: the model of the memory policy of that name ([`crate::policy::Learned`]) over the stamps of the index.
//!
//! It begins with the prior that ships, and is corrected by what this process sees: hits by class and age, also those on entries
//! that left and came back, and how many entries of each class and age there were to be hit, from the samples that are drawn for eviction. What
//! was learned stays in the process: the next one begins with the prior again, which knows more than the first thousands of requests tell.

use super::{Access, Pace, Seen};
use crate::learn::features::{CLASSES, History, LOW, MOST_USES, Scale};
use crate::learn::model::Model;
use crate::learn::outcome::Outcomes;
use crate::learn::prior::Prior;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Requests of the first epoch, each later one being twice as long, and of the last, unless half the entries are more.
const EPOCHS: (u32, u64) = (256, 8192);
/// What is left of what was seen after an epoch.
const KEEP: f32 = 0.95;

/// See the head of this file.
#[derive(Debug)]
pub struct Learner {
    model: RwLock<Model>,
    counted: Mutex<Counted>,
    pace: Pace,
}

/// What this process counted in the epoch that goes on, at the model's scale.
#[derive(Debug)]
struct Counted {
    outcomes: Outcomes,
    scale: Scale,
    /// Requests since a sample was drawn, and since the epoch began.
    requests: (u32, u32),
    epoch: u32,
    /// Whether anything had to leave yet: as long as there is room nothing depends on it.
    full: bool,
}

impl Counted {
    /// Adds what was counted to the model's counts, and begins anew.
    fn hand_over(&mut self, all: &mut Outcomes) {
        for class in 0..CLASSES {
            let (hits, exposure) = self.outcomes.of(class);
            hits.iter().zip(exposure).enumerate().for_each(|(age, (&hits, &exposure))| all.add(class, age, hits, exposure));
        }
        self.outcomes = Outcomes::new(self.scale.ages);
    }
}

impl Default for Learner {
    fn default() -> Self {
        let scale = Scale::of(0);
        let counted = Counted { outcomes: Outcomes::new(scale.ages), scale, requests: (0, 0), epoch: EPOCHS.0, full: false };
        let model = RwLock::new(Model::new(Arc::new(Prior::shipped()), scale));
        Learner { model, counted: Mutex::new(counted), pace: Pace::default() }
    }
}

/// The class of an entry.
fn class(access: &Access, scale: &Scale) -> u16 {
    let uses = access.uses.min(MOST_USES);
    let Some(before) = uses.checked_sub(1) else { return 0 };
    let [last, earlier] = access.gaps().map(|octave| octave.min(30));
    let mut history = History { last: 0, class: 0, uses: before, gaps: earlier };
    history.touch(1 << last, scale);
    history.class
}

impl Learner {
    /// See [`super::Judge::worth`]; of what has not expired.
    pub fn worth(&self, access: &Access, age: u32, tick: u32, now_ms: u64) -> f32 {
        let model = self.model.read().unwrap_or_else(PoisonError::into_inner);
        let (class, entries) = (class(access, &model.scale), model.scale.entries);
        let turnover = self.pace.milliseconds(entries.into(), tick, now_ms);
        let worth = if access.deadline_ms == u64::MAX {
            model.worth(class, age)
        } else {
            let left = (access.deadline_ms - now_ms) as f32;
            model.worth_within(class, age, left / turnover.max(f32::MIN_POSITIVE) * entries as f32)
        };
        let density = access.cost / access.length.max(1) as f32;
        (worth * density).min(f32::MAX)
    }

    /// See [`super::Judge::request`].
    pub fn request(&self, before: Option<&Access>, tick: u32) {
        let Some(mut counted) = self.counted.try_lock().ok().filter(|counted| counted.full) else { return };
        counted.requests.0 += 1;
        if let Some(before) = before {
            let Counted { outcomes, scale, .. } = &mut *counted;
            outcomes.hit(class(before, scale), before.age(tick), scale);
        }
    }

    /// See [`super::Judge::sampled`].
    pub fn sampled(&self, sample: &[Access], ghosts: impl Iterator<Item = Access>, ghosts_each: u64, seen: &Seen) {
        let Ok(mut counted) = self.counted.try_lock() else { return };
        let counted = &mut *counted;
        let begins = !std::mem::replace(&mut counted.full, true);
        let (scale, before) = (Scale::of(seen.entries as usize), counted.scale.entries);
        if begins || scale.entries.abs_diff(before) > before / 16 {
            self.rescale(counted, scale);
        }
        let elapsed = std::mem::take(&mut counted.requests.0);
        // Each stands for so many, and all of them waited since the last sample.
        let there = elapsed as f32 * seen.entries as f32 / sample.len().max(1) as f32;
        let left = elapsed as f32 * ghosts_each as f32;
        let waits = sample.iter().map(|access| (*access, there)).chain(ghosts.map(|access| (access, left)));
        for (access, waited) in waits {
            let bucket = counted.scale.bucket(access.age(seen.tick));
            let width = LOW[bucket + 1] - LOW[bucket];
            counted.outcomes.add(class(&access, &counted.scale).into(), bucket, 0.0, waited / width);
        }
        counted.requests.1 += elapsed;
        if counted.requests.1 >= counted.epoch {
            self.conclude(counted);
            counted.epoch = (counted.epoch * 2).min((seen.entries / 2).clamp(EPOCHS.1, 1 << 30) as u32);
        }
    }

    /// Ends an epoch.
    fn conclude(&self, counted: &mut Counted) {
        let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
        counted.hand_over(&mut model.outcomes);
        model.learn(KEEP);
        counted.requests.1 = 0;
    }

    /// Goes over to another number of entries.
    fn rescale(&self, counted: &mut Counted, scale: Scale) {
        let mut model = self.model.write().unwrap_or_else(PoisonError::into_inner);
        counted.hand_over(&mut model.outcomes);
        model.rescale(scale);
        (counted.scale, counted.outcomes) = (scale, Outcomes::new(scale.ages));
    }
}
