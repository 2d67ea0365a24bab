//! Training and evaluation mode of models: what drops, draws or gathers statistics asks here.
//!
//! That gradients are recorded does not say it: a teacher on the backend of training has to behave
//! as it would in use.

use crate::Backend;
use std::cell::Cell;

thread_local! {
    static EVAL_MODE: Cell<bool> = const { Cell::new(false) };
}

/// Whether models on this thread train now: gradients are recorded, and this is not inside of
/// [`eval_mode`].
pub fn is_training<B: Backend>(device: &B::Device) -> bool {
    B::ad_enabled(device) && !EVAL_MODE.get()
}

/// Evaluation mode: runs a pass of a model in which nothing is dropped and no statistics are
/// gathered, whatever the backend records.
pub fn eval_mode<T>(pass: impl FnOnce() -> T) -> T {
    /// Restores the mode, after a panic as well.
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            EVAL_MODE.set(self.0);
        }
    }
    let _restore = Restore(EVAL_MODE.replace(true));
    pass()
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::backend::Autodiff;
    use burn_flex::Flex;

    #[test]
    fn eval_mode_is_inside_only_and_without_gradients_always() {
        let device = Default::default();
        let training = || is_training::<Autodiff<Flex>>(&device);
        assert!(training() && !is_training::<Flex>(&device));
        eval_mode(|| {
            assert!(!eval_mode(training));
            assert!(!training(), "still inside of the outer one");
        });
        assert!(training());
        assert!(std::panic::catch_unwind(|| eval_mode(|| panic!("on purpose"))).is_err());
        assert!(training());
        assert!(eval_mode(|| std::thread::scope(|scope| scope.spawn(training).join().unwrap())));
    }
}
