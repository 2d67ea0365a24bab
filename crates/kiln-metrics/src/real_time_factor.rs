//! Real-time factor: how fast recognition is.

use std::{fmt, ops::AddAssign, time::Duration};

/// Real-time factor, as a streaming sum of time spent on audio.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RealTimeFactor {
    /// Audio, in s.
    pub audio: f64,
    /// Time spent, in s.
    pub spent: f64,
}

impl RealTimeFactor {
    /// `audio` seconds took `spent`.
    pub fn new(audio: f64, spent: Duration) -> Self {
        Self { audio, spent: spent.as_secs_f64() }
    }

    /// Time spent per time heard: below 1 is faster than real time. `None` without audio.
    pub fn value(&self) -> Option<f64> {
        (self.audio > 0.0).then(|| self.spent / self.audio)
    }
}

impl AddAssign for RealTimeFactor {
    fn add_assign(&mut self, other: Self) {
        self.audio += other.audio;
        self.spent += other.spent;
    }
}

impl fmt::Display for RealTimeFactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Some(factor) => write!(f, "real-time factor {factor:.4}"),
            None => f.write_str("real-time factor undefined"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_and_prints() {
        let mut factor = RealTimeFactor::new(8.0, Duration::from_secs(1));
        factor += RealTimeFactor::new(2.0, Duration::from_secs(4));
        assert_eq!(factor.value(), Some(0.5));
        assert_eq!(factor.to_string(), "real-time factor 0.5000");
        assert_eq!(RealTimeFactor::default().to_string(), "real-time factor undefined");
    }
}
