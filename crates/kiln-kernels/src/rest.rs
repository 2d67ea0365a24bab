//! Whether a model trains or is at rest: what drops, draws or gathers statistics asks here.
//!
//! That gradients are recorded does not say it: a teacher on the backend of training has to behave
//! as it would in use.

use crate::Backend;
use std::cell::Cell;

thread_local! {
    static RESTING: Cell<bool> = const { Cell::new(false) };
}

/// Whether models on this thread train now: gradients are recorded, and this is not inside of
/// [`at_rest`].
pub fn is_training<B: Backend>(device: &B::Device) -> bool {
    B::ad_enabled(device) && !RESTING.get()
}

/// Runs a pass of a model in which nothing is dropped and no statistics are gathered, whatever the
/// backend records.
pub fn at_rest<T>(pass: impl FnOnce() -> T) -> T {
    /// Goes back to what was before, after a panic as well.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            RESTING.set(self.0);
        }
    }
    let _before = Before(RESTING.replace(true));
    pass()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn_flex::Flex;

    #[test]
    fn models_rest_inside_only_and_without_gradients_always() {
        let device = Default::default();
        let training = || is_training::<Autodiff<Flex>>(&device);
        assert!(training() && !is_training::<Flex>(&device));
        at_rest(|| {
            assert!(!at_rest(training));
            assert!(!training(), "still inside of the outer one");
        });
        assert!(training());
        assert!(std::panic::catch_unwind(|| at_rest(|| panic!("on purpose"))).is_err());
        assert!(training());
        assert!(at_rest(|| std::thread::scope(|scope| scope.spawn(training).join().unwrap())));
    }
}
