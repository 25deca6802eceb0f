//! Some of a trace's keys, with all that was asked of them, to stand for the whole.
//!
//! Source: Waldspurger, Park, Garthwaite and Ahmad, "Efficient MRC construction with SHARDS" (FAST 2015). A hash of the key decides, so
//! a chosen key has all its accesses, and a cache of a tenth of the size sees of a tenth of the keys what the whole would see.

use super::{Column, Key, Keys, Trace};
use crate::fingerprint::fingerprint;

/// Any but those that caches have by chance: what policies know keys by has to be independent of it.
const SEED: u64 = 0x5348_4152_4453;
/// Marks of keys in place of their new numbers.
const OUT: u32 = u32::MAX;
const UNSEEN: u32 = u32::MAX - 1;

impl Trace {
    /// The rows of about the share `keys` of the keys, which are numbered anew. The sample of a smaller share is a part of that of a
    /// larger one. Requests fall apart into accesses.
    pub fn sample(&self, keys: f64) -> Trace {
        if keys >= 1.0 {
            return self.clone();
        }
        let below = (keys * 2f64.powi(64)) as u64;
        let chosen = |id| if hash(self.key(id)) < below { UNSEEN } else { OUT };
        let mut numbers: Vec<u32> = (0..self.unique() as u32).map(chosen).collect();
        let (mut rows, mut ids, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (row, &id) in self.ids.iter().enumerate() {
            let number = &mut numbers[id as usize];
            match *number {
                OUT => continue,
                UNSEEN => {
                    *number = kept.len() as u32;
                    kept.push(id);
                }
                _ => {}
            }
            ids.push(*number);
            rows.push(row as u32);
        }
        Trace {
            facts: self.facts.clone(),
            path: self.path.clone(),
            ids,
            times: self.times.of_rows(&rows),
            sizes: self.sizes.of_rows(&rows),
            operations: self.operations.of_rows(&rows),
            times_to_live: self.times_to_live.of_rows(&rows),
            owners: self.owners.of_rows(&rows),
            costs: self.costs.of_rows(&rows),
            skipped: self.skipped.clone(),
            continues: Column::default(),
            keys: match &self.keys {
                Keys::Numbers(numbers) => Keys::Numbers(kept.iter().map(|&id| numbers[id as usize]).collect()),
                Keys::Texts(texts) => Keys::Texts(kept.iter().map(|&id| texts[id as usize].clone()).collect()),
            },
            owner_names: self.owner_names.clone(),
            footprint: (self.footprint as f64 * keys) as u64,
        }
    }

    /// Whether an access to a key says another size than one before.
    pub fn resizes(&self) -> bool {
        if self.sizes.same().is_some() {
            return false;
        }
        let mut sizes = vec![None; self.unique()];
        let mut stored = (0..self.len()).filter(|&row| self.operations.at(row) != super::Operation::Delete);
        stored.any(|row| *sizes[self.ids[row] as usize].get_or_insert(self.sizes.at(row)) != self.sizes.at(row))
    }

    /// The same with each time to live multiplied; with `None`, nothing expires.
    pub fn with_times_to_live(&self, factor: Option<f64>) -> Trace {
        use crate::expiry::NEVER;
        let change = |time: u64| match factor {
            Some(factor) if time != NEVER => ((time as f64 * factor) as u64).clamp(1, NEVER - 1),
            _ => NEVER,
        };
        let times_to_live = match &self.times_to_live {
            Column::Same(time) => Column::Same(change(*time)),
            Column::Each(_) if factor.is_none() => Column::Same(NEVER),
            Column::Each(times) => Column::Each(times.iter().map(|&time| change(time)).collect()),
        };
        Trace { times_to_live, ..self.clone() }
    }
}

fn hash(key: Key) -> u64 {
    match key {
        Key::Number(number) => fingerprint(&number.to_le_bytes(), SEED),
        Key::Text(text) => fingerprint(text.as_bytes(), SEED),
    }
}
