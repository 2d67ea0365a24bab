//! Pretraining from Rust: `cargo run -p kiln-train --example pretrain`.
//!
//! The task in `line.rs` stands for a modality: its model, its data and its loss. Stop it with
//! Ctrl-C and start it again: it goes on where it stopped.

mod line;

use burn::backend::Autodiff;
use burn_flex::Flex;
use kiln_core::Seed;
use kiln_train::{
    interrupt::Interrupt,
    learner::Learner as _,
    logs::Progress,
    recipe::{SharedOnly, Stage},
    task_learner::TaskLearner,
    trainer,
};
use std::{error::Error, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let stage: Stage<SharedOnly> = serde_json::from_value(serde_json::json!({
        "objective": null, "steps": 500, "batch": 32, "validate_every": 100, "ema": 0.99,
        "optimizer": { "adamw": { "learning_rate": 0.03 } },
        "schedule": { "cosine": { "warmup": 20 } },
    }))?;
    let build = |device: &_| Ok(line::model(device));
    let seed = Seed::new(42);
    let mut learner =
        TaskLearner::<Autodiff<Flex>, _>::new(line::Line, build, &stage, seed, Default::default())?;
    let (dir, interrupt) = (Path::new("runs/line"), Interrupt::on_signals()?);
    let end = trainer::train(&stage, &mut learner, dir, &interrupt, Progress::new())?;
    if !end.interrupted {
        learner.write_model(&dir.join("model"))?;
    }
    println!("step {}, best validation {:?}", end.manifest.step, end.manifest.best);
    Ok(())
}
