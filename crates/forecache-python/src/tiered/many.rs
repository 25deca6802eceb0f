//! The way up of many keys: the same steps as for one, without a call of Python's for each.

use crate::envelope::Entry;
use crate::express::RAW;
use crate::memory::Memory;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyInt};

type Pairs<'py> = Vec<(Bound<'py, PyAny>, Bound<'py, PyAny>)>;

#[pymethods]
impl Memory {
    /// `_look` for those of `keys` that are neither in `found` nor in `tickets`: tickets go there, and what else there is comes back.
    fn _look_many<'py>(
        &self,
        keys: &Bound<'py, PyAny>,
        found: &Bound<'py, PyDict>,
        tickets: &Bound<'py, PyDict>,
    ) -> PyResult<Pairs<'py>> {
        let mut others = Vec::new();
        for key in keys.try_iter()? {
            let key = key?;
            if !found.contains(&key)? && !tickets.contains(&key)? {
                let seen = self._look(key.py(), &key)?;
                if seen.is_exact_instance_of::<PyInt>() {
                    tickets.set_item(key, seen)?;
                } else {
                    tickets.set_item(&key, seen.get_item(0)?)?;
                    others.push((key, seen));
                }
            }
        }
        Ok(others)
    }

    /// `_promote` for those of a tier's `entries` that are bytes as they are, whose values go to `found`; the others come back.
    fn _promote_many<'py>(
        slf: &Bound<'py, Self>,
        entries: &Bound<'py, PyDict>,
        tickets: &Bound<'py, PyDict>,
        found: &Bound<'py, PyDict>,
        now: u64,
        depth: usize,
    ) -> PyResult<Pairs<'py>> {
        let mut others = Vec::new();
        for (key, entry) in entries.iter() {
            let Some(ticket) = tickets.get_item(&key)? else { continue }; // nobody asked for it
            match entry.cast::<Entry>() {
                Ok(sealed) if sealed.get().codec == RAW => {
                    let value = sealed.get().payload.bind(slf.py()).as_any();
                    found.set_item(&key, value)?;
                    slf.get().fill(&key, ticket.extract()?, sealed, depth)?;
                    slf.get().climb(&key, value, ticket.extract()?, sealed.get(), now)?;
                }
                _ => others.push((key, entry)),
            }
        }
        super::wake(slf)?;
        Ok(others)
    }

    /// `_forget` for all keys of `tickets`.
    fn _forget_many(&self, py: Python<'_>, tickets: &Bound<'_, PyDict>) -> PyResult<()> {
        tickets.iter().try_for_each(|(key, ticket)| self._forget(py, &key, ticket.extract()?))
    }
}
