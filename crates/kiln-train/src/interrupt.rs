//! Ctrl-C and SIGTERM: the first asks the trainer to write a checkpoint and stop, the second ends
//! the process at once with exit code 130.

use crate::{Error, Result};
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether someone asked to stop.
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// One that only [`Self::request`] sets.
    pub fn new() -> Self {
        Self::default()
    }

    /// One that signals set.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn on_signals() -> Result<Self> {
        let interrupt = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: a signal finds the flag unset, then sets it; the next finds it set.
            flag::register_conditional_shutdown(signal, 130, interrupt.0.clone())
                .and_then(|_| flag::register(signal, interrupt.0.clone()))
                .map_err(Error::Signals)?;
        }
        Ok(interrupt)
    }

    /// Asks to stop.
    pub fn request(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether someone asked.
    pub fn requested(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_sets_the_flag() {
        let interrupt = Interrupt::on_signals().unwrap();
        assert!(!interrupt.requested());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(interrupt.requested());
    }
}
