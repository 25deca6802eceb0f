//! What people ask a cache: which entries leave next, and why a key is there, or isn't.

use crate::key::Name;
use crate::memory::{Memory, NAMESPACE};
use forecache_core::expiry::NEVER;
use forecache_core::store::{Ending, Explained, Here, Left};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// Weight, seconds left, owner, tags, whether it is immutable, pinned, and how it stands with the policy.
type Place = (u64, Option<f64>, String, Vec<String>, bool, bool, String);

/// What became of a key: the name of the cause, seconds since, and why.
type Told = (&'static str, f64, String);

const SECOND: f64 = 1e9;

fn place(Here { rest, pinned, reason }: Here, now: u64) -> Place {
    let left = (rest.deadline != NEVER).then(|| rest.deadline.saturating_sub(now) as f64 / SECOND);
    let tags = rest.tags.into_iter().map(String::from).collect();
    (rest.weight, left, rest.owner.into(), tags, rest.immutable, pinned, reason)
}

fn told(Left { ending, ago, reason }: Left) -> Told {
    let (cause, reason) = match ending {
        Ending::Left(cause) => (cause.name(), reason),
        Ending::TooLarge => ("refused", "too large beside what is pinned".into()),
        Ending::NotAdmitted => ("refused", "what is there was preferred: its owners come first, or all of it is pinned".into()),
    };
    (cause, ago as f64 / SECOND, reason)
}

#[pymethods]
impl Memory {
    /// Key, score and reason of the next `n` entries that would leave.
    fn _candidates(&self, py: Python<'_>, n: usize) -> PyResult<Vec<(Py<PyString>, f64, String)>> {
        self.change(py, |state, gone| {
            let candidates = state.store.candidates(n, gone).into_iter();
            candidates.map(|each| (state.store.held(each.slot).0.0.clone_ref(py), each.score, each.reason)).collect()
        })
    }

    /// Where a key stands in memory, what became of it, and how many removals are remembered, if not all of them.
    fn _explain(&self, py: Python<'_>, key: &Bound<'_, PyAny>) -> PyResult<(Option<Place>, Option<Told>, Option<usize>)> {
        let name = Name::of(key)?;
        self.change(py, |state, gone| {
            let lookup = name.lookup(NAMESPACE);
            state.refresh(&lookup, gone);
            let Explained { here, left, most } = state.store.explain(&lookup, gone);
            let now = state.store.now();
            (here.map(|here| place(here, now)), left.map(told), most)
        })
    }
}
