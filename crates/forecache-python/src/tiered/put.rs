//! The way down, begun: memory and the queues of all tiers change in one step.

use crate::below::{self, Mark, OVERHEAD, Operation, Shelf, What};
use crate::envelope::Entry;
use crate::key::Name;
use crate::memory::{Item, Memory, NAMESPACE};
use crate::options::Said;
use forecache_core::expiry::NEVER;
use forecache_core::store::{New, Options, Outcome};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

/// What `_put` answers beside a mask of the tiers whose queues the caller has to see to.
const TAKEN: i64 = 1;
/// Where that mask begins.
const MASK: u32 = 8;
/// It answers the negative number of the tier whose queue is full, counted from this.
const FULL: i64 = -1;
/// Items that are put before other threads get their turn.
const MANY: usize = 1024;
/// It answers this if the caller has to see first whether what is there is immutable.
const ASK: i64 = -65536;

/// What an entry says, as if the caller had.
fn said_of(entry: &Entry, now: u64) -> Said {
    Said {
        ttl: entry.hard.map(|hard| below::nanoseconds(Some(hard.saturating_sub(now)))),
        tti: entry.time_to_idle.map(|time| below::nanoseconds(Some(time))),
        owner: (!entry.owner.is_empty()).then(|| entry.owner.as_str().into()),
        tags: entry.tags.iter().map(|tag| tag.as_str().into()).collect(),
        cost: entry.cost,
        immutable: entry.immutable,
        pin: entry.pinned,
    }
}

/// What the options come to, for tiers.
fn shelf_of(said: &Said, options: &Options, payload: Py<PyBytes>, codec: u8, now: u64) -> Shelf {
    let milliseconds = |time: u64| (time != NEVER).then(|| (time / 1_000_000).max(1));
    Shelf {
        payload,
        codec,
        written: now,
        hard: milliseconds(options.time_to_live).map(|time| now.saturating_add(time)),
        time_to_idle: milliseconds(options.time_to_idle),
        owner: said.owner.clone().unwrap_or_default(),
        tags: said.tags.clone(),
        cost: said.cost,
        immutable: said.immutable,
        pinned: said.pin,
    }
}

#[pymethods]
impl Memory {
    /// Sets memory (only drops what it has, unless `near`) and queues the payload for the tiers, in one step.
    ///
    /// `plan` has a letter a tier: `b` to write behind, `t` to write through, `d` to delete, `-` for nothing. With a ticket it is done only
    /// if that still stands: else None. `like` gives all that the options would. Negative: nothing was done, since the queue of that
    /// tier, counted from -1, is full; or, unless `sure`, since what is below is immutable.
    #[pyo3(signature = (key, value, stored, now, plan, near=true, ticket=None, like=None, sure=false, *, ttl=None, tti=None, tags=None, owner=None,
        cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _put(
        slf: &Bound<'_, Self>,
        key: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
        stored: Stored<'_>,
        now: u64,
        plan: &[u8],
        near: bool,
        ticket: Option<u64>,
        like: Option<&Bound<'_, Entry>>,
        sure: bool,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Option<i64>> {
        let said = match like {
            None => Said::new(slf.py(), ttl, tti, tags, owner, cost, immutable, pin)?,
            Some(like) => said_of(like.get(), now),
        };
        let how = How { now, plan, near, ticket, like: like.is_some(), sure, said: &said };
        let answer = slf.get().put_one(key, value, &stored, &how)?;
        super::wake(slf)?;
        Ok(answer)
    }

    /// The same for some of many, from the item `start` on: how many were done, what `_put` answered to the one after them (0: it wasn't
    /// asked), how many were taken, and the keys that have to be seen to in the queue of each tier. `sure` is said of the first only.
    #[pyo3(signature = (items, start, now, plan, near=true, sure=false, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false,
        pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _put_many<'py>(
        slf: &Bound<'py, Self>,
        items: &Bound<'py, PyList>,
        start: usize,
        now: u64,
        plan: &[u8],
        near: bool,
        sure: bool,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<(usize, i64, usize, Vec<Keys<'py>>)> {
        let said = Said::new(slf.py(), ttl, tti, tags, owner, cost, immutable, pin)?;
        let mut how = How { now, plan, near, ticket: None, like: false, sure, said: &said };
        let (mut done, mut stopped, mut taken) = (0, Ok(0), 0);
        let mut waiting = vec![Vec::new(); plan.len()];
        for item in items.iter().skip(start).take(MANY) {
            let put = item.extract().and_then(|(key, value, stored): (Bound<'py, PyAny>, Bound<'py, PyAny>, Stored<'py>)| {
                let answer = slf.get().put_one(&key, &value, &stored, &how)?.unwrap_or(0);
                Ok((key, answer))
            });
            match put {
                Ok((key, answer)) if answer >= 0 => {
                    done += 1;
                    taken += (answer & TAKEN) as usize;
                    let seen_to = |&(number, _): &(usize, &mut Vec<_>)| answer >> (MASK as usize + number) & 1 == 1;
                    waiting.iter_mut().enumerate().filter(seen_to).for_each(|(_, keys)| keys.push(key.clone()));
                }
                stop => {
                    stopped = stop.map(|(_, answer)| answer);
                    break;
                }
            }
            how.sure = false;
        }
        // Whatever was queued is seen to, though what came after it was wrong.
        super::wake(slf)?;
        Ok((done, stopped?, taken, waiting))
    }

    /// Removes a key from memory and has the tiers of `plan` delete it (`d`), or not get what left the tier above (`c`, for one that was
    /// told better), or do nothing (`-`): the value, or MISSING, and whether a queue had one. With a ticket only if that still stands:
    /// else None.
    #[pyo3(signature = (key, plan, ticket=None))]
    fn _drop<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        plan: &[u8],
        ticket: Option<u64>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, bool)>> {
        let (py, name, mut old) = (slf.py(), Name::of(key)?, Vec::new());
        let done = slf.get().change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            if ticket.is_some_and(|ticket| state.standing(lookup.hash, ticket).is_none()) {
                return None;
            }
            state.refresh(&lookup, gone);
            let removed = state.store.remove(&lookup, gone);
            state.strike(lookup.hash);
            let value = removed.as_ref().map(|removed| removed.value.clone_ref(py));
            gone.extend(removed);
            let mut queued = false;
            for (letter, depth) in plan.iter().zip(&mut state.below.depths) {
                let there = depth.queue.get(&lookup);
                queued |= there.is_some_and(|operation| !matches!(operation.what, What::Delete));
                old.extend(match letter {
                    b'd' => depth.queue.put(&lookup, name.text(), Operation::delete(), OVERHEAD),
                    b'c' => {
                        depth.queue.withdraw(&lookup, |operation| matches!(operation.what, What::Demote { .. } | What::Sink(_)))
                    }
                    _ => None,
                });
            }
            Some((value, queued))
        });
        below::release(py, old);
        super::wake(slf)?;
        Ok(done?.map(|(value, queued)| (value.map_or_else(|| crate::missing(py), |value| value.into_bound(py)), queued)))
    }

    /// The entry that `set` with these options would give to a tier.
    #[pyo3(signature = (key, payload, codec, now, *, ttl=None, tti=None, tags=None, owner=None, cost=None, immutable=false, pin=false))]
    #[expect(clippy::too_many_arguments, reason = "they are the keywords of the Python method")]
    fn _fresh(
        &self,
        key: &Bound<'_, PyAny>,
        payload: Py<PyBytes>,
        codec: u8,
        now: u64,
        ttl: Option<&Bound<'_, PyAny>>,
        tti: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        owner: Option<&str>,
        cost: Option<f64>,
        immutable: bool,
        pin: bool,
    ) -> PyResult<Entry> {
        let py = key.py();
        let said = Said::new(py, ttl, tti, tags, owner, cost, immutable, pin)?;
        let name = Name::of(key)?;
        let utf8 = name.utf8()?;
        self.change(py, |state, _| {
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let options = self.defaults.options(&said, class, group, 0);
            shelf_of(&said, &options, payload, codec, now).entry(py, Mark::default(), true)
        })
    }

    /// Raises what `set` would raise for this key.
    fn _check_key(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        Name::of(key)?.utf8().map(drop)
    }

    /// Raises what `set_many` would raise for any of these keys.
    fn _check_keys(&self, keys: Vec<Bound<'_, PyAny>>) -> PyResult<()> {
        keys.iter().try_for_each(|key| self._check_key(key))
    }
}

/// How something is put: see `Memory._put`.
struct How<'a> {
    now: u64,
    plan: &'a [u8],
    near: bool,
    ticket: Option<u64>,
    like: bool,
    sure: bool,
    said: &'a Said,
}

type Keys<'py> = Vec<Bound<'py, PyAny>>;

/// A payload, and the number of its codec.
type Stored<'py> = (Bound<'py, PyBytes>, u8);

impl Memory {
    /// See `_put`; nobody is woken.
    fn put_one(&self, key: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>, stored: &Stored<'_>, how: &How) -> PyResult<Option<i64>> {
        let py = key.py();
        let How { now, plan, near, ticket, like, sure, said } = *how;
        let (payload, codec) = stored;
        let item = self.item(key, value)?;
        let utf8 = item.name.utf8()?;
        let bytes = payload.as_bytes().len() as u64 + utf8.len() as u64 + OVERHEAD;
        let mut old = Vec::new();
        let done = self.change(py, |state, gone| {
            let lookup = item.name.lookup(NAMESPACE);
            let mut mark = state.below.mark(&utf8);
            if let Some(ticket) = ticket {
                let Some(standing) = state.standing(lookup.hash, ticket) else { return (None, None) };
                mark = standing.mark;
            }
            state.refresh(&lookup, gone);
            let asks = !sure
                && ticket.is_none()
                && match state.store.slot(&lookup) {
                    Some(slot) => !near && state.store.rest(slot).immutable,
                    None => state.below.is_immutable(py, &lookup, &utf8, now),
                };
            if asks {
                return (Some(ASK), None);
            }
            let mut plan: Vec<u8> = plan.to_vec();
            for (number, (letter, depth)) in plan.iter_mut().zip(&mut state.below.depths).enumerate() {
                if *letter == b'b' && depth.is_full(bytes) {
                    if !depth.refuses {
                        return (Some(FULL - number as i64), None);
                    }
                    depth.refused += 1;
                    *letter = b'd';
                }
            }
            let group = state.store.groups.of(&utf8);
            let class = state.store.groups.get(group).class;
            let number = said.owner.as_deref().map_or(0, |owner| state.store.owners.number(NAMESPACE, owner));
            let mut options = self.defaults.options(said, class, group, number);
            if like {
                (options.time_to_live, options.time_to_idle) = (said.ttl.unwrap_or(NEVER), said.tti.unwrap_or(NEVER));
            }
            let mut outcome = None;
            if near {
                let Item { fingerprint, weight, .. } = item;
                let weight = if self.weigher.is_some() { weight } else { weight.saturating_add(said.tags_weight()) };
                let new = New { key: item.name.text(), fingerprint, value: item.value.clone_ref(py), weight };
                let stored = state.store.set(&lookup, new, &options, gone);
                outcome = Some(stored);
                match stored {
                    Outcome::Immutable => return (Some(0), outcome),
                    Outcome::Stored => {
                        state.mark(py, &lookup, mark, gone);
                        if state.store.tape.is_some() {
                            state.note_stored(&lookup, &utf8, options.cost);
                        }
                    }
                    Outcome::Refused => {
                        // As if it had been evicted at once.
                        if let Some(letter) = plan.iter_mut().find(|letter| **letter == b'd') {
                            *letter = b't';
                        }
                    }
                }
            } else if let Some(removed) = state.store.remove(&lookup, gone) {
                gone.push(removed);
            }
            state.strike(lookup.hash);
            let mut answer = if outcome == Some(Outcome::Stored) { TAKEN } else { 0 };
            let behind = plan.iter().rposition(|letter| *letter == b'b');
            for (number, (letter, depth)) in plan.iter().zip(&mut state.below.depths).enumerate() {
                let (what, bytes) = match letter {
                    b'b' | b't' => {
                        answer |= TAKEN;
                        (What::Set(shelf_of(said, &options, payload.clone().unbind(), *codec, now)), bytes)
                    }
                    b'd' => (What::Delete, OVERHEAD),
                    _ => continue,
                };
                old.extend(depth.queue.put(&lookup, item.name.text(), Operation { what, mark }, bytes));
                // Others look anew when a tier with counters is told, and keep what they find: that has to be below by then.
                let comes_later = depth.counts && behind.is_some_and(|behind| number < behind);
                if *letter == b't' || *letter == b'd' && !comes_later {
                    answer |= 1 << (MASK as usize + number);
                }
            }
            (Some(answer), outcome)
        });
        below::release(py, old);
        match done? {
            (answer, Some(outcome @ (Outcome::Refused | Outcome::Immutable))) => {
                let equal = self.taken(py, &item, outcome)?;
                Ok(answer.map(|answer| answer | if equal { TAKEN } else { 0 }))
            }
            (answer, _) => Ok(answer),
        }
    }
}
