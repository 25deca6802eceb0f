//! Forks: whether this process is still the one that opened something, told without a system call.

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

static FORKS: AtomicU32 = AtomicU32::new(0);

extern "C" fn in_child() {
    FORKS.fetch_add(1, Relaxed);
}

/// A number that is another one in the child of a fork.
#[inline]
pub fn process() -> u32 {
    static WATCH: Once = Once::new();
    // SAFETY: the function is there as long as the module, which Python never unloads, and it only adds to an atomic. If there is no
    // memory to register it, forks go unnoticed here, and `forked()` tells.
    WATCH.call_once(|| _ = unsafe { libc::pthread_atfork(None, None, Some(in_child)) });
    FORKS.load(Relaxed)
}
