//! Mutual exclusion for state that is only touched by threads that hold the GIL: holding it is the lock.
//!
//! What [`Guarded::with`] runs neither calls Python nor lets go of the GIL, so nothing can come between, and an uncontended mutex
//! would cost ten nanoseconds a call.

use pyo3::Python;
use std::cell::{Cell, UnsafeCell};

#[cfg(Py_GIL_DISABLED)]
compile_error!("forecache has not been tested on free-threaded Python yet: build it for the ordinary one");

/// State behind the GIL.
pub struct Guarded<T> {
    busy: Cell<bool>,
    value: UnsafeCell<T>,
}

// SAFETY: `busy` and `value` are only touched by threads that hold the GIL: `with` takes its token, and `try_with` is called by the
// garbage collector, which runs under it.
unsafe impl<T: Send> Sync for Guarded<T> {}

struct Busy<'a>(&'a Cell<bool>);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<T> Guarded<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Guarded { busy: Cell::new(false), value: UnsafeCell::new(value) }
    }

    /// Runs `body` on the state. It must not call Python; should it do so and come back here, that is a panic.
    #[inline]
    pub fn with<R>(&self, _py: Python<'_>, body: impl FnOnce(&mut T) -> R) -> R {
        self.try_with(body).expect("Python code ran while the store was in use")
    }

    /// Runs `body` unless the state is in use. The caller holds the GIL.
    #[inline]
    pub fn try_with<R>(&self, body: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.busy.replace(true) {
            return None;
        }
        let _busy = Busy(&self.busy);
        // SAFETY: the GIL keeps other threads out, `busy` this one, so the reference is the only one.
        Some(body(unsafe { &mut *self.value.get() }))
    }
}
