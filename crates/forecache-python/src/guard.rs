//! Mutual exclusion for state that is only touched by threads attached to Python.
//!
//! With the GIL, holding it is the lock: what [`Guarded::with`] runs neither calls Python nor lets go of the GIL, so nothing can
//! come between, and an uncontended mutex would cost a fifth of a hit. Without the GIL it is a mutex.

use pyo3::Python;

#[cfg(not(Py_GIL_DISABLED))]
mod imp {
    use super::Python;
    use std::cell::{Cell, UnsafeCell};

    /// State behind the GIL.
    pub struct Guarded<T> {
        busy: Cell<bool>,
        value: UnsafeCell<T>,
    }

    // SAFETY: `busy` and `value` are only touched by threads that hold the GIL: `with` takes its token, and `try_with` is called by
    // the garbage collector, which runs under it.
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
}

#[cfg(Py_GIL_DISABLED)]
mod imp {
    use super::Python;
    use std::sync::{Mutex, PoisonError, TryLockError};

    /// State behind a mutex.
    pub struct Guarded<T>(Mutex<T>);

    impl<T> Guarded<T> {
        /// Guards `value`.
        pub fn new(value: T) -> Self {
            Guarded(Mutex::new(value))
        }

        /// Runs `body` on the state. It must not call Python.
        pub fn with<R>(&self, _py: Python<'_>, body: impl FnOnce(&mut T) -> R) -> R {
            body(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        /// Runs `body` unless the state is in use: the garbage collector must not wait for a thread that it stopped.
        pub fn try_with<R>(&self, body: impl FnOnce(&mut T) -> R) -> Option<R> {
            match self.0.try_lock() {
                Ok(mut value) => Some(body(&mut value)),
                Err(TryLockError::Poisoned(value)) => Some(body(&mut value.into_inner())),
                Err(TryLockError::WouldBlock) => None,
            }
        }
    }
}

pub use imp::Guarded;
