//! The way up of many keys at once: `_look`, `_promote` and `_forget`, each in one call.

use crate::envelope::Entry;
use crate::express::RAW;
use crate::foreign;
use crate::key::Name;
use crate::memory::{Memory, NAMESPACE};
use pyo3::prelude::*;
use pyo3::types::PyDict;

#[pymethods]
impl Memory {
    /// Gives `tickets` one for each of `keys` that isn't in `found`, or 0 if something of it lies in the queues: those keys are the
    /// answer, and `_look` tells of them.
    fn _look_many<'py>(
        &self,
        py: Python<'py>,
        keys: &Bound<'py, PyAny>,
        found: &Bound<'py, PyDict>,
        tickets: &Bound<'py, PyDict>,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut asked = Vec::new();
        for key in foreign::list(keys)?.iter() {
            if !found.contains(&key)? && !tickets.contains(&key)? {
                tickets.set_item(&key, 0)?;
                asked.push(key);
            }
        }
        let named = |key| Name::of(key).and_then(|name| self.mark(py, &name).map(|mark| (name, mark)));
        let names = asked.iter().map(named).collect::<PyResult<Vec<_>>>()?;
        let given = self.change(py, |state, _| {
            let mut given = Vec::with_capacity(names.len());
            for (name, mark) in &names {
                let lookup = name.lookup(NAMESPACE);
                let idle = state.below.depths.iter().all(|depth| depth.queue.get(&lookup).is_none());
                given.push(if idle { state.announce(lookup.hash, *mark) } else { 0 });
            }
            given
        })?;
        drop(names);
        let mut others = Vec::new();
        for (key, ticket) in asked.into_iter().zip(given) {
            if ticket == 0 {
                others.push(key);
            } else {
                tickets.set_item(key, ticket)?;
            }
        }
        Ok(others)
    }

    /// Adds to `found` what of the `entries` of the tier at `depth` is bytes as they are, and stores it; the keys of the others are the answer.
    fn _promote_many<'py>(
        slf: &Bound<'py, Self>,
        entries: &Bound<'py, PyDict>,
        tickets: &Bound<'py, PyDict>,
        found: &Bound<'py, PyDict>,
        now: u64,
        depth: usize,
    ) -> PyResult<Vec<Bound<'py, PyAny>>> {
        let mut others = Vec::new();
        // A list, because weighers and listeners run meanwhile, and the dictionary is the tier's.
        let entries: Vec<_> = entries.iter().collect();
        let stored = entries.into_iter().try_for_each(|(key, entry)| {
            let entry = entry.cast::<Entry>()?;
            let Some(ticket) = tickets.get_item(&key)? else { return Ok(()) }; // nobody asked for it
            if entry.get().codec == RAW {
                let (value, ticket) = (entry.get().payload.bind(slf.py()).as_any(), ticket.extract()?);
                found.set_item(&key, value)?;
                slf.get().fill(&key, ticket, entry, depth)?;
                slf.get().climb(&key, value, ticket, entry.get(), now)?;
            } else {
                others.push(key);
            }
            Ok(())
        });
        super::wake(slf)?;
        stored.map(|()| others)
    }

    /// Takes announcements back.
    fn _forget_many(&self, py: Python<'_>, tickets: &Bound<'_, PyDict>) -> PyResult<()> {
        let all = tickets.iter().map(|(key, ticket)| Ok((key, ticket.extract()?))).collect::<PyResult<Vec<(_, u64)>>>()?;
        let named = |(key, ticket): &_| Ok((Name::of(key)?.lookup(NAMESPACE).hash, *ticket));
        let all = all.iter().map(named).collect::<PyResult<Vec<_>>>()?;
        self.change(py, |state, _| {
            for (hash, ticket) in all {
                state.redeem(hash, ticket);
            }
        })
    }
}
