//! Learning-rate schedules: the rate as a function of the step.
//!
//! Closed forms: nothing is carried from step to step, so a resumed run has the same rates. A
//! decay never restarts: beyond the last step the floor is kept. Warm-up starts at zero, as in
//! `get_cosine_schedule_with_warmup` of Hugging Face.

use crate::recipe::Schedule;

/// The learning rate over the steps of one stage.
#[derive(Clone, Debug)]
pub struct Rates {
    schedule: Schedule,
    highest: f64,
    steps: u64,
}

impl Rates {
    /// The rates of a stage of `steps` steps whose highest rate is `highest`.
    pub fn new(schedule: Schedule, highest: f64, steps: u64) -> Self {
        Self { schedule, highest, steps }
    }

    /// The rate of `step`, counted from zero.
    pub fn at(&self, step: u64) -> f64 {
        self.highest * self.share(step)
    }

    /// Steps of warm-up.
    pub fn warmup(&self) -> u64 {
        match &self.schedule {
            Schedule::Cosine(decay) | Schedule::Linear(decay) => decay.warmup,
            Schedule::Constant(warmup) => warmup.warmup,
            Schedule::WarmupStableDecay(stable) => stable.warmup,
        }
    }

    /// The rate as a share of the highest.
    fn share(&self, step: u64) -> f64 {
        let warmup = self.warmup();
        if step < warmup {
            return step as f64 / warmup as f64;
        }
        match &self.schedule {
            Schedule::Cosine(decay) => {
                let done = progress(step, warmup, self.steps);
                let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                decay.floor + (1.0 - decay.floor) * cosine
            }
            Schedule::Linear(decay) => {
                1.0 - (1.0 - decay.floor) * progress(step, warmup, self.steps)
            }
            Schedule::Constant(_) => 1.0,
            Schedule::WarmupStableDecay(stable) => {
                let start = self.steps.saturating_sub(stable.decay).max(warmup);
                1.0 - (1.0 - stable.floor) * progress(step, start, self.steps)
            }
        }
    }
}

/// How far `step` is on the way from `start` to `end`, 0 to 1.
fn progress(step: u64, start: u64, end: u64) -> f64 {
    let length = end.saturating_sub(start).max(1);
    (step.saturating_sub(start) as f64 / length as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        recipe::{Decay, StableDecay, Warmup},
        testing::{close, fixture},
    };

    #[test]
    fn each_schedule_at_its_corners() {
        let cosine = Rates::new(Schedule::Cosine(Decay { warmup: 10, floor: 0.1 }), 2.0, 110);
        assert!(close(cosine.at(0), 0.0, 1e-12));
        assert!(close(cosine.at(5), 1.0, 1e-12));
        assert!(close(cosine.at(10), 2.0, 1e-12));
        assert!(close(cosine.at(60), 2.0 * 0.55, 1e-12));
        assert!(close(cosine.at(110), 0.2, 1e-12));
        assert!(close(cosine.at(1000), 0.2, 1e-12), "no restart");

        let linear = Rates::new(Schedule::Linear(Decay { warmup: 0, floor: 0.0 }), 1.0, 4);
        assert_eq!([0, 1, 2, 4, 9].map(|s| linear.at(s)), [1.0, 0.75, 0.5, 0.0, 0.0]);

        let constant = Rates::new(Schedule::Constant(Warmup { warmup: 2 }), 1.0, 4);
        assert_eq!([0, 1, 2, 9].map(|s| constant.at(s)), [0.0, 0.5, 1.0, 1.0]);

        let stable = StableDecay { warmup: 2, decay: 4, floor: 0.5 };
        let stable = Rates::new(Schedule::WarmupStableDecay(stable), 1.0, 10);
        assert_eq!([1, 2, 6, 8, 10, 20].map(|s| stable.at(s)), [0.5, 1.0, 1.0, 0.75, 0.5, 0.5]);
    }

    #[test]
    fn no_steps_of_decay_left() {
        let rates = Rates::new(Schedule::Cosine(Decay { warmup: 10, floor: 0.0 }), 1.0, 10);
        assert!(rates.at(10).is_finite());
        assert_eq!(rates.at(11), 0.0);
    }

    #[test]
    fn parity_cosine_schedule() {
        let Some(fixture) = fixture("conv/cosine_schedule") else { return };
        let mut compared = 0;
        for (case, settings) in fixture.params["cases"].as_object().unwrap() {
            // Several cycles are restarts, which recipes do not offer.
            if settings["num_cycles"] != 0.5 {
                continue;
            }
            let steps = settings["total_steps"].as_u64().unwrap();
            let warmup = settings["warmup_steps"].as_u64().unwrap();
            let highest = settings["base_lr"].as_f64().unwrap();
            let decay = Decay { warmup, floor: 0.0 };
            let rates = Rates::new(Schedule::Cosine(decay), highest, steps);
            // Past the last step the reference climbs again; ours keeps the floor.
            let expected = &fixture.outputs[&format!("lr_{case}")].values;
            for (step, expected) in expected.iter().enumerate().take(steps as usize + 1) {
                let got = rates.at(step as u64);
                assert!(
                    close(got, f64::from(*expected), 1e-6 * highest),
                    "case {case}, step {step}: expected {expected}, got {got}"
                );
                compared += 1;
            }
        }
        assert!(compared > 50);
    }
}
