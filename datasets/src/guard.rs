//! A guard around readers of others, which may panic on damaged input.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Once,
};

/// Reason given for a file whose reader panicked.
pub(crate) const CONTRADICTION: &str = "its contents contradict each other";

/// Catches panics of third-party code that may panic on odd input, such as a reader; `None` where
/// it panicked. What it worked on must then be dropped.
pub fn guarded<T>(read: impl FnOnce() -> T) -> Option<T> {
    silence_readers();
    READING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(read));
    READING.set(false);
    outcome.ok()
}

thread_local! {
    /// Whether this thread is inside a reader whose panics are caught.
    static READING: Cell<bool> = const { Cell::new(false) };
}

/// Keeps panics of readers and of Polars' own threads off the terminal: they are caught and become
/// our error. All others are reported as before.
fn silence_readers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let polars =
                || std::thread::current().name().is_some_and(|name| name.starts_with("polars-"));
            if !READING.get() && !polars() {
                report(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_are_caught() {
        assert_eq!(guarded(|| 3), Some(3));
        assert_eq!(guarded(|| Vec::<u8>::new()[0]), None);
        assert!(!READING.get());
    }
}
