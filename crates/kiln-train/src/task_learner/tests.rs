use super::*;
use crate::testing::{Net, Toy, alone, learner, stage};

/// One optimizer step at a rate; gives the loss.
fn step(learner: &mut dyn Learner, step: u64, accumulate: u64, rate: f64) -> f64 {
    let mut loss = 0.0;
    for micro in 0..accumulate {
        loss += learner.accumulate(step, micro, micro == 0).unwrap().loss / accumulate as f64;
    }
    learner.update(rate).unwrap();
    loss
}

#[test]
fn each_optimizer_learns_a_line() {
    let _turn = alone();
    for (optimizer, rate) in [
        ("optimizer.adamw = {}", 0.02),
        ("optimizer.lion = {}", 0.005),
        ("optimizer.sgd = { momentum = 0.9 }", 0.02),
        ("optimizer.sgd = { momentum = 0.9, nesterov = true }", 0.02),
        ("optimizer.sgd = { momentum = 0.0 }", 0.1),
        ("optimizer.muon = { adamw_share = 0.5 }", 0.05),
        ("optimizer.adafactor = {}", 0.1),
        ("optimizer.adafactor = { relative = false, momentum = 0.9 }", 0.02),
    ] {
        let stage = stage(optimizer);
        let mut learner = learner(&Toy::default(), &stage, 1);
        let losses: Vec<f64> = (0..80).map(|at| step(&mut learner, at, 1, rate)).collect();
        let (first, last) = (losses[..5].iter().sum::<f64>(), losses[75..].iter().sum::<f64>());
        assert!(last < 0.4 * first, "{optimizer}: {first} to {last}");
        let measures = learner.validate().unwrap();
        assert!(measures[0].value < 0.5, "{optimizer}: {measures:?}");
    }
}

#[test]
fn a_restored_learner_goes_on_to_the_same_bits() {
    let _turn = alone();
    // 20 examples, 12 a step: epochs end within the second and the fourth step.
    for optimizer in ["adamw", "lion", "sgd", "muon", "adafactor"] {
        let stage = stage(&format!("accumulate = 2\nema = 0.9\noptimizer.{optimizer} = {{}}"));
        let mut undisturbed = learner(&Toy::default(), &stage, 5);
        let mut states = vec![undisturbed.state().unwrap()];
        for at in 0..6 {
            step(&mut undisturbed, at, 2, 0.01);
            states.push(undisturbed.state().unwrap());
        }
        for from in 0..6 {
            // A step of its own first: nothing of it may survive.
            let mut resumed = learner(&Toy::default(), &stage, 5);
            step(&mut resumed, 9, 2, 0.5);
            resumed.restore(&states[from]).unwrap();
            assert_eq!(resumed.state().unwrap(), states[from], "{optimizer} at {from}");
            for at in from..6 {
                resumed.validate().unwrap();
                step(&mut resumed, at as u64, 2, 0.01);
            }
            assert_eq!(resumed.state().unwrap(), states[6], "{optimizer} from {from}");
        }
    }
}

#[test]
fn the_seed_decides_the_start() {
    let _turn = alone();
    let stage = stage("");
    let start = |seed| learner(&Toy::default(), &stage, seed).state().unwrap();
    assert_eq!(start(3), start(3));
    assert_ne!(start(3), start(4));
}

#[test]
fn states_have_names_and_shapes() {
    let _turn = alone();
    let stage = stage("ema = 0.5");
    let mut learner = learner(&Toy::default(), &stage, 1);
    step(&mut learner, 0, 1, 0.01);
    let state = learner.state().unwrap();
    for (name, shape) in [
        ("model.first.weight", vec![2, 8]),
        ("model.norm.running_mean", vec![8]),
        ("ema.first.weight", vec![2, 8]),
        ("optimizer.mean.head.bias", vec![1]),
        ("optimizer.square.head.weight", vec![8, 1]),
    ] {
        assert_eq!(state[name].shape, shape, "{name}");
    }
    assert_eq!(state["optimizer.updates"].values, [0.0, 1.0]);
    assert!(!state.contains_key("ema.norm.running_mean"));
    assert!(!state.contains_key("optimizer.mean.norm.running_mean"));
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() {
    let _turn = alone();
    let stage = stage("ema = 0.9");
    let mut ours = learner(&Toy::default(), &stage, 1);
    let before = ours.state().unwrap();
    let mut other = learner(&Toy::default(), &stage, 2);
    step(&mut other, 0, 1, 0.01);
    let fits = other.state().unwrap();
    type Damage = fn(&mut LearnerState);
    let damage: [(&str, Damage); 5] = [
        ("`model.head.bias` is missing", |s| drop(s.remove("model.head.bias"))),
        ("`ema.head.bias` has shape [1], expected [9]", |_| {}),
        ("it holds", |s| {
            let extra = s["model.head.bias"].clone();
            s.insert("model.other".into(), extra);
        }),
        ("state of `head.bias` is incomplete", |s| drop(s.remove("optimizer.mean.head.bias"))),
        ("`optimizer.updates` is missing", |s| drop(s.remove("optimizer.updates"))),
    ];
    for (message, change) in damage {
        let mut state = fits.clone();
        change(&mut state);
        if message.contains("[9]") {
            state.get_mut("ema.head.bias").unwrap().shape = vec![9];
        }
        let message = message.replace("[1], expected [9]", "[9], expected [1]");
        let error = ours.restore(&state).unwrap_err().to_string();
        assert!(error.contains(&message), "{error}");
        assert_eq!(ours.state().unwrap(), before);
    }
}

#[test]
fn a_bad_loss_or_gradient_leaves_no_trace() {
    let _turn = alone();
    let stage = stage("accumulate = 1\nema = 0.9");
    let toy = Toy { nan_at: (0..20).collect(), ..Toy::default() };
    let mut learner = learner(&toy, &stage, 1);
    let before = learner.state().unwrap();
    assert!(learner.accumulate(0, 0, false).unwrap().loss.is_nan());
    learner.discard();
    assert_eq!(learner.state().unwrap(), before, "discarded");
    learner.accumulate(1, 0, false).unwrap();
    let report = learner.update(0.1).unwrap();
    assert!(!report.applied && !report.gradient_norm.is_finite());
    assert_eq!(learner.state().unwrap(), before, "not applied");
}

#[test]
fn micro_batches_are_averaged() {
    let _turn = alone();
    // All three examples are in every micro-batch; without dropout each gives the same gradient.
    let toy = Toy { examples: 3, ..Toy::default() };
    let norms: Vec<f64> = [1, 2, 3]
        .into_iter()
        .map(|accumulate| {
            let stage = stage(&format!("batch = 3\nclip = 1e9\naccumulate = {accumulate}"));
            let build = |device: &_| {
                let mut net = Net::new(device);
                net.dropout.prob = 0.0;
                Ok(net)
            };
            let mut learner: TaskLearner<crate::testing::Cpu, Toy> =
                TaskLearner::new(toy.clone(), build, &stage, Seed::new(1), Default::default())
                    .unwrap();
            for micro in 0..accumulate {
                learner.accumulate(0, micro, false).unwrap();
            }
            learner.update(0.0).unwrap().gradient_norm
        })
        .collect();
    for norm in &norms {
        // The step's own noise differs a little.
        assert!((norm / norms[0] - 1.0).abs() < 0.05, "{norms:?}");
    }
}

#[test]
fn clipping_shortens_steps() {
    let _turn = alone();
    let change = |clip: &str| {
        let stage = stage(&format!("{clip}\noptimizer.sgd = {{ momentum = 0.0 }}"));
        let mut learner = learner(&Toy::default(), &stage, 1);
        let before = learner.state().unwrap()["model.head.bias"].values[0];
        learner.accumulate(0, 0, false).unwrap();
        let report = learner.update(1.0).unwrap();
        let after = learner.state().unwrap()["model.head.bias"].values[0];
        (report, (after - before).abs())
    };
    let (free, long) = change("clip = 1e6");
    let (clipped, short) = change("clip = 0.01");
    assert!(!free.clipped && clipped.clipped);
    assert_eq!(free.gradient_norm, clipped.gradient_norm);
    let expected = f64::from(long) * 0.01 / free.gradient_norm;
    assert!((f64::from(short) / expected - 1.0).abs() < 1e-2, "{short} {expected}");
}

#[test]
fn frozen_weights_stay_and_are_counted() {
    let _turn = alone();
    let stage = stage("freeze = [\"first.*\", \"norm.*\"]");
    let mut learner = learner(&Toy::default(), &stage, 1);
    let before = learner.state().unwrap();
    step(&mut learner, 0, 1, 0.1);
    let after = learner.state().unwrap();
    assert_eq!(before["model.first.weight"], after["model.first.weight"]);
    assert_eq!(before["model.norm.gamma"], after["model.norm.gamma"]);
    assert_ne!(before["model.head.weight"], after["model.head.weight"]);
    assert!(!after.contains_key("optimizer.mean.first.weight"));
    let parameters = learner.parameters();
    assert_eq!(parameters, Parameters { trainable: 8 * 8 + 8 + 8 + 1, frozen: 2 * 8 + 8 + 16 });
}

#[test]
fn what_is_forgotten_is_drawn_anew() {
    let _turn = alone();
    let after = |more: &str, steps: u64| {
        let mut learner = learner(&Toy::default(), &stage(more), 1);
        for at in 0..steps {
            step(&mut learner, at, 1, 0.1);
        }
        learner.state().unwrap()
    };
    let forget = "forget = { parameters = [\"head.w*\"], every = 2 }";
    assert_eq!(after("", 1), after(forget, 1));
    let (kept, forgot) = (after("", 2), after(forget, 2));
    assert_eq!(kept["model.first.weight"], forgot["model.first.weight"]);
    assert_ne!(kept["model.head.weight"], forgot["model.head.weight"]);
    assert!(!forgot.contains_key("optimizer.mean.head.weight"));
    assert_eq!(forgot, after(forget, 2));
}

#[test]
fn the_average_is_what_is_validated_and_written() {
    let _turn = alone();
    let stage = stage("ema = 0.99\noptimizer.sgd = { momentum = 0.0 }");
    let mut learner = learner(&Toy::default(), &stage, 1);
    for at in 0..5 {
        step(&mut learner, at, 1, 0.1);
    }
    let state = learner.state().unwrap();
    assert_ne!(state["ema.head.weight"], state["model.head.weight"]);
    let written = named::weights(&learner.averaged());
    assert_eq!(crate::testing::values(&written["head.weight"]), state["ema.head.weight"].values);
    let running = "norm.running_mean";
    let live = &state[&format!("model.{running}")];
    assert_eq!(
        crate::testing::values(&written[running]),
        live.values,
        "running statistics as they are"
    );
    assert!(live.values.iter().any(|value| *value != 0.0));
}

#[test]
fn settings_that_cannot_work_are_named() {
    let _turn = alone();
    for (setting, message) in [
        ("batch = 0", "`batch` is 0, expected at least 1"),
        ("accumulate = 0", "`accumulate` is 0, expected at least 1"),
        ("ema = 1.0", "`ema` is 1, expected 0 or more, less than 1"),
        ("clip = 0.0", "`clip` is 0, expected more than 0"),
        ("layer_decay = 1.5", "`layer_decay` is 1.5, expected more than 0, at most 1"),
    ] {
        let build = |device: &_| Ok(Net::new(device));
        let learner = TaskLearner::<crate::testing::Cpu, Toy>::new(
            Toy::default(),
            build,
            &stage(setting),
            Seed::new(1),
            Default::default(),
        );
        assert_eq!(learner.err().unwrap().to_string(), message);
    }
}

#[test]
fn a_broken_example_is_named() {
    let _turn = alone();
    let toy = Toy { broken: Some(7), ..Toy::default() };
    let mut learner = learner(&toy, &stage(""), 1);
    let error = (0..5).find_map(|at| learner.accumulate(at, 0, false).err()).unwrap();
    assert_eq!(error.to_string(), "cannot read training example 7");
}
