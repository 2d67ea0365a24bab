//! What types cannot say about a recipe: ranges, and values that must fit each other.

use super::{
    contents::{Init, ModalitySpec, Recipe, Schedule, Stage},
    optimizer::Optimizer,
    problem::Problem,
};
use kiln_nn::adapt::AdaptConfig;

/// Everything that is wrong, in the order of the recipe.
pub(super) fn problems<P: ModalitySpec>(recipe: &Recipe<P>) -> Vec<Problem> {
    let mut check = Check::default();
    if !is_directory_name(&recipe.name) {
        let expected = "expected letters, digits, `-`, `_` and `.`, as it names a directory";
        check.add("name", format!("is {:?}, {expected}", recipe.name));
    }
    if recipe.stage.is_empty() {
        check.add("stage", "is empty, expected at least one [[stage]]");
    }
    for (index, stage) in recipe.stage.iter().enumerate() {
        check.stage(&format!("stage.{index}"), stage);
    }
    let mut problems = check.0;
    problems.extend(P::check(recipe));
    problems
}

fn is_directory_name(name: &str) -> bool {
    let allowed = |one: char| one.is_alphanumeric() || "-_.".contains(one);
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(allowed)
}

#[derive(Default)]
struct Check(Vec<Problem>);

impl Check {
    fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem::new(key, message));
    }

    /// Adds a problem unless `holds`; NaN never does.
    fn number(&mut self, key: String, value: f64, holds: bool, expected: &str) {
        if !holds {
            self.add(key, format!("is {value}, expected {expected}"));
        }
    }

    fn at_least_one(&mut self, key: String, value: u64) {
        if value == 0 {
            self.add(key, "is 0, expected 1 or more");
        }
    }

    fn stage<P: ModalitySpec>(&mut self, at: &str, stage: &Stage<P>) {
        self.at_least_one(format!("{at}.steps"), stage.steps);
        self.at_least_one(format!("{at}.batch"), stage.batch as u64);
        self.at_least_one(format!("{at}.accumulate"), stage.accumulate);
        self.at_least_one(format!("{at}.keep"), stage.keep as u64);
        self.at_least_one(format!("{at}.log_every"), stage.log_every);
        if stage.name.is_empty() {
            self.add(format!("{at}.name"), "is empty, expected a name");
        }
        if let Some(clip) = stage.clip {
            let expected = "more than 0 (`inf` for no clipping)";
            self.number(format!("{at}.clip"), clip, clip > 0.0, expected);
        }
        if let Some(ema) = stage.ema {
            let holds = ema > 0.0 && ema < 1.0;
            let expected = "more than 0 and less than 1, such as 0.999";
            self.number(format!("{at}.ema"), ema, holds, expected);
        }
        if let Some(decay) = stage.layer_decay {
            let holds = decay > 0.0 && decay <= 1.0;
            self.number(format!("{at}.layer_decay"), decay, holds, "more than 0 and at most 1");
        }
        if stage.patience == Some(0) {
            self.add(format!("{at}.patience"), "is 0, expected 1 or more");
        }
        let unread = stage.validate_every == 0;
        if stage.patience.is_some() && unread {
            let message = "needs validations: set `validate_every` to the steps between them";
            self.add(format!("{at}.patience"), message);
        }
        if stage.restore_best && unread {
            let message = "needs validations: set `validate_every` to the steps between them";
            self.add(format!("{at}.restore_best"), message);
        }
        for (index, pattern) in stage.freeze.iter().enumerate() {
            if pattern.trim().is_empty() {
                self.add(format!("{at}.freeze.{index}"), "is empty, expected a pattern of names");
            }
        }
        if let Some(forget) = &stage.forget {
            self.at_least_one(format!("{at}.forget.every"), forget.every);
            if let Some(schedule) = &forget.schedule {
                self.schedule(&format!("{at}.forget.schedule"), schedule, forget.every);
            }
        }
        if let Some(Err(error)) = stage.adapt.as_ref().map(AdaptConfig::validate) {
            let message = format!("is {}, expected {}", error.found, error.expected);
            self.add(format!("{at}.adapt.{}", error.key), message);
        }
        if let Some(init) = &stage.init {
            self.init(&format!("{at}.init"), init);
        }
        self.optimizer(&format!("{at}.optimizer"), &stage.optimizer);
        self.schedule(&format!("{at}.schedule"), &stage.schedule, stage.steps);
    }

    fn init(&mut self, at: &str, init: &Init) {
        let parts = init.parts.iter().enumerate();
        let parts = parts.map(|(index, part)| (format!("{at}.parts.{index}"), &part.model));
        for (at, model) in [(at.to_owned(), &init.model)].into_iter().chain(parts) {
            if model.trim().is_empty() {
                let message = "is empty, expected a run, a model directory or a hub id";
                self.add(format!("{at}.model"), message);
            }
        }
        for (index, part) in init.parts.iter().enumerate() {
            if part.names.is_empty() {
                let message = "is empty, expected patterns of names";
                self.add(format!("{at}.parts.{index}.names"), message);
            }
        }
    }

    fn optimizer(&mut self, at: &str, optimizer: &Optimizer) {
        let (name, decay) = match optimizer {
            Optimizer::Adamw(adamw) => {
                self.betas(&format!("{at}.adamw.betas"), adamw.betas);
                let holds = adamw.epsilon > 0.0 && adamw.epsilon.is_finite();
                self.number(format!("{at}.adamw.epsilon"), adamw.epsilon, holds, "more than 0");
                ("adamw", adamw.weight_decay)
            }
            Optimizer::Lion(lion) => {
                self.betas(&format!("{at}.lion.betas"), lion.betas);
                ("lion", lion.weight_decay)
            }
            Optimizer::Muon(muon) => {
                self.share(format!("{at}.muon.momentum"), muon.momentum);
                let holds = muon.adamw_share > 0.0 && muon.adamw_share.is_finite();
                let key = format!("{at}.muon.adamw_share");
                self.number(key, muon.adamw_share, holds, "more than 0");
                ("muon", muon.weight_decay)
            }
            Optimizer::Sgd(sgd) => {
                self.share(format!("{at}.sgd.momentum"), sgd.momentum);
                if sgd.nesterov && sgd.momentum == 0.0 {
                    self.add(format!("{at}.sgd.nesterov"), "needs a `momentum` above 0");
                }
                ("sgd", sgd.weight_decay)
            }
            Optimizer::Adafactor(adafactor) => {
                let at = format!("{at}.adafactor");
                self.share(format!("{at}.momentum"), adafactor.momentum);
                let [square, scale] = adafactor.epsilons;
                for (key, value) in [
                    ("decay", adafactor.decay),
                    ("threshold", adafactor.threshold),
                    ("epsilons.0", square),
                    ("epsilons.1", scale),
                ] {
                    let holds = value > 0.0 && value.is_finite();
                    self.number(format!("{at}.{key}"), value, holds, "more than 0");
                }
                ("adafactor", adafactor.weight_decay)
            }
        };
        let rate = optimizer.learning_rate();
        let holds = rate > 0.0 && rate.is_finite();
        self.number(format!("{at}.{name}.learning_rate"), rate, holds, "more than 0");
        let holds = decay >= 0.0 && decay.is_finite();
        self.number(format!("{at}.{name}.weight_decay"), decay, holds, "0 or more");
    }

    fn betas(&mut self, at: &str, betas: [f64; 2]) {
        for (index, beta) in betas.into_iter().enumerate() {
            self.share(format!("{at}.{index}"), beta);
        }
    }

    /// A number from 0 to 1, without 1.
    fn share(&mut self, key: String, value: f64) {
        self.number(key, value, (0.0..1.0).contains(&value), "0 or more and less than 1");
    }

    fn schedule(&mut self, at: &str, schedule: &Schedule, steps: u64) {
        let (name, warmup, decay, floor) = match schedule {
            Schedule::Cosine(decay) => ("cosine", decay.warmup, 0, decay.floor),
            Schedule::Linear(decay) => ("linear", decay.warmup, 0, decay.floor),
            Schedule::Constant(constant) => ("constant", constant.warmup, 0, 0.0),
            Schedule::WarmupStableDecay(stable) => {
                ("warmup-stable-decay", stable.warmup, stable.decay, stable.floor)
            }
        };
        if warmup.saturating_add(decay) > steps {
            let (key, what) = if decay > 0 && warmup <= steps {
                ("decay", format!("is {decay}; with {warmup} of warm-up that is"))
            } else {
                ("warmup", format!("is {warmup},"))
            };
            let message = format!("{what} more than the {steps} steps there are");
            self.add(format!("{at}.{name}.{key}"), message);
        }
        let holds = (0.0..=1.0).contains(&floor);
        self.number(format!("{at}.{name}.floor"), floor, holds, "from 0 to 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::testing::Toy;

    /// The problems of a recipe whose stage has these lines.
    fn problems_of(lines: &str) -> Vec<String> {
        let text = format!(
            "name='a'\nmodality='toy'\ndata.lines={{path='x'}}\nmodel.width=4\n[[stage]]\n\
             objective.masked={{}}\n{lines}\n"
        );
        let recipe: Recipe<Toy> = toml::from_str(&text).unwrap_or_else(|error| panic!("{error}"));
        problems(&recipe).into_iter().map(|one| format!("{} {}", one.key, one.message)).collect()
    }

    #[test]
    fn a_good_stage_has_none() {
        let lines = "steps=10\nbatch=2\nclip=inf\nema=0.9\nschedule.cosine={warmup=10}\n\
                     optimizer.sgd={momentum=0.5, nesterov=true}\n";
        assert!(problems_of(lines).is_empty(), "{:?}", problems_of(lines));
    }

    #[test]
    fn ranges_are_checked() {
        for (lines, expected) in [
            ("steps=0\nbatch=1", "stage.0.steps is 0, expected 1 or more"),
            ("steps=1\nbatch=0", "stage.0.batch is 0, expected 1 or more"),
            ("steps=1\nbatch=1\naccumulate=0", "stage.0.accumulate is 0"),
            ("steps=1\nbatch=1\nlog_every=0", "stage.0.log_every is 0"),
            ("steps=1\nbatch=1\nclip=0", "stage.0.clip is 0, expected more than 0"),
            ("steps=1\nbatch=1\nclip=nan", "stage.0.clip is NaN"),
            ("steps=1\nbatch=1\nema=1.0", "stage.0.ema is 1, expected more than 0"),
            ("steps=1\nbatch=1\nlayer_decay=1.5", "stage.0.layer_decay is 1.5"),
            ("steps=1\nbatch=1\npatience=2", "stage.0.patience needs validations"),
            ("steps=1\nbatch=1\nrestore_best=true", "stage.0.restore_best needs validations"),
            ("steps=1\nbatch=1\nfreeze=['a', '']", "stage.0.freeze.1 is empty"),
            ("steps=1\nbatch=1\nadapt={}", "stage.0.adapt.lora is absent, expected it or"),
            ("steps=1\nbatch=1\nadapt.lora={rank=0}", "stage.0.adapt.lora.rank is 0, expected"),
            ("steps=1\nbatch=1\ninit.model=''", "stage.0.init.model is empty"),
            (
                "steps=1\nbatch=1\ninit={model='a', parts=[{model='b', names=[]}]}",
                "stage.0.init.parts.0.names is empty",
            ),
            (
                "steps=1\nbatch=1\noptimizer.adamw={betas=[0.9, 1.0]}",
                "stage.0.optimizer.adamw.betas.1 is 1, expected 0 or more and less than 1",
            ),
            (
                "steps=1\nbatch=1\noptimizer.lion={learning_rate=0}",
                "stage.0.optimizer.lion.learning_rate is 0, expected more than 0",
            ),
            (
                "steps=1\nbatch=1\noptimizer.muon={weight_decay=-1}",
                "stage.0.optimizer.muon.weight_decay is -1, expected 0 or more",
            ),
            (
                "steps=1\nbatch=1\noptimizer.adafactor={threshold=0}",
                "stage.0.optimizer.adafactor.threshold is 0, expected more than 0",
            ),
            (
                "steps=1\nbatch=1\noptimizer.sgd={momentum=0, nesterov=true}",
                "stage.0.optimizer.sgd.nesterov needs",
            ),
            (
                "steps=5\nbatch=1\nschedule.linear={warmup=6}",
                "stage.0.schedule.linear.warmup is 6, more than the 5 steps there are",
            ),
            (
                "steps=5\nbatch=1\nschedule.warmup-stable-decay={warmup=3, decay=3}",
                "stage.0.schedule.warmup-stable-decay.decay is 3; with 3 of warm-up",
            ),
            (
                "steps=5\nbatch=1\nforget={parameters=['*'], every=2, schedule.linear={warmup=3}}",
                "stage.0.forget.schedule.linear.warmup is 3, more than the 2 steps",
            ),
            (
                "steps=5\nbatch=1\nschedule.cosine={floor=2}",
                "stage.0.schedule.cosine.floor is 2, expected from 0 to 1",
            ),
        ] {
            let problems = problems_of(lines);
            assert_eq!(problems.len(), 1, "{lines}: {problems:?}");
            assert!(problems[0].starts_with(expected), "{problems:?}");
        }
    }

    #[test]
    fn names_make_directories() {
        for (name, holds) in [
            ("zero-shot", true),
            ("v1.2_x", true),
            ("", false),
            ("../x", false),
            ("a/b", false),
            (".hidden", false),
            ("a b", false),
        ] {
            assert_eq!(is_directory_name(name), holds, "{name}");
        }
    }
}
