//! Error attribution: whether the user or the machine is to blame, declared beside each error type.

use std::error::Error;

/// Whom an error is attributed to.
#[derive(Clone, Copy, Debug)]
pub enum Blame<'a> {
    /// The user: what was typed, or a file that was given.
    User,
    /// The machine, the network, or this program.
    Machine,
    /// Whomever the error that it wraps is attributed to.
    Inner(&'a (dyn Error + 'static)),
    /// Whomever its cause is attributed to.
    Cause,
}

/// An error that says whom it is attributed to: the user, unless it says otherwise.
pub trait Blamed: Error + 'static {
    /// Whom this error is attributed to.
    fn blame(&self) -> Blame<'_> {
        Blame::User
    }
}

/// Attribution by one error type; `None` for errors of other types.
pub type BlameOf = for<'a> fn(&'a (dyn Error + 'static)) -> Option<Blame<'a>>;

/// [`BlameOf`] an error type.
pub fn blame_of<'a, E: Blamed>(error: &'a (dyn Error + 'static)) -> Option<Blame<'a>> {
    error.downcast_ref::<E>().map(E::blame)
}

/// Whether an error is the user's: the first in its chain of causes that one of `types` knows
/// decides. The machine's where none does.
pub fn is_users(error: &(dyn Error + 'static), types: &[BlameOf]) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        next = match types.iter().find_map(|blame| blame(error)) {
            Some(Blame::User) => return true,
            Some(Blame::Machine) => return false,
            Some(Blame::Inner(inner)) => Some(inner),
            Some(Blame::Cause) | None => error.source(),
        };
    }
    false
}
