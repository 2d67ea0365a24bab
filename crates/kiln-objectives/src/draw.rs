//! Draws by weight.

use kiln_core::Rng;
use rand::RngExt as _;

/// One of some things, each as often as its weight is a share of all; the last where rounding leaves
/// none, `None` of nothing.
pub(crate) fn drawn<T>(
    things: impl IntoIterator<Item = T, IntoIter: Clone>,
    weight: impl Fn(&T) -> f64,
    rng: &mut Rng,
) -> Option<T> {
    let things = things.into_iter();
    let all: f64 = things.clone().map(|thing| weight(&thing)).sum();
    let mut draw = rng.random::<f64>() * all;
    let mut last = None;
    for thing in things {
        draw -= weight(&thing);
        if draw < 0.0 {
            return Some(thing);
        }
        last = Some(thing);
    }
    last
}
