//! Runs one work as it is told, a line at a time:
//!
//! - `loss`: the loss of the training batch, nothing changed
//! - `train N`: N training steps, their losses, seconds, and those of the update alone
//! - `infer N`: N forward passes on the batch of one, their seconds and a sample of what comes out
//! - `memory`: the most memory held since the work was loaded, in bytes
//! - `quit`
//!
//! Each answer is a line of JSON; the first line, unasked, says what runs.

use clap::{Parser, ValueEnum};
use kiln_benches::{
    Error, Result, machine,
    tensors::Tensors,
    work::{self, Step, Work},
};
use kiln_train::logs::peak_memory;
use serde_json::{Value, json};
use std::{
    io::{BufRead, Write, stdin, stdout},
    path::PathBuf,
};

#[derive(Debug, Parser)]
#[command(about = "Runs one work of the comparison as stdin says")]
struct Arguments {
    /// Which work.
    #[arg(value_parser = work::NAMES)]
    work: String,
    /// Weights and inputs.
    tensors: PathBuf,
    /// What computes.
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Device {
    /// All threads of the processor; `RAYON_NUM_THREADS` says how many.
    Cpu,
    /// The first NVIDIA GPU.
    Cuda,
}

fn main() -> Result<()> {
    kiln_kernels::keep_freed_memory();
    let arguments = Arguments::parse();
    let tensors = Tensors::read(&arguments.tensors)?;
    let mut work = open(&arguments.work, tensors, arguments.device)?;
    kiln_kernels::give_back_freed_memory();
    machine::reset_peak_memory();
    say(json!({
        "work": arguments.work,
        "threads": machine::threads(),
        "instructions": machine::instructions(),
        "profile": if cfg!(debug_assertions) { "dev" } else { "release" },
    }))?;
    for line in stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let answer = match words.next() {
            Some("loss") => json!({ "loss": work.loss()? }),
            Some("train") => train(work.as_mut(), count(words.next())?)?,
            Some("infer") => infer(work.as_ref(), count(words.next())?)?,
            Some("memory") => json!({ "memory": peak_memory() }),
            Some("quit") | None => break,
            Some(_) => return Err(format!("unknown line `{line}`").into()),
        };
        say(answer)?;
    }
    Ok(())
}

fn open(work: &str, tensors: Tensors, device: Device) -> Result<Box<dyn Work>> {
    match device {
        Device::Cpu => work::open::<burn::backend::Autodiff<burn_flex::Flex>>(
            work,
            tensors,
            Default::default(),
        ),
        Device::Cuda => cuda(work, tensors),
    }
}

#[cfg(feature = "cuda")]
fn cuda(work: &str, tensors: Tensors) -> Result<Box<dyn Work>> {
    work::open::<burn::backend::Autodiff<burn_cuda::Cuda>>(work, tensors, Default::default())
}

#[cfg(not(feature = "cuda"))]
fn cuda(_: &str, _: Tensors) -> Result<Box<dyn Work>> {
    Err("this binary was built without CUDA: build it with `--features cuda`".into())
}

fn train(work: &mut dyn Work, count: usize) -> Result<Value> {
    let steps = (0..count).map(|_| work.train()).collect::<Result<Vec<_>>>()?;
    let each = |of: fn(&Step) -> f64| steps.iter().map(of).collect::<Vec<_>>();
    Ok(json!({
        "losses": each(|step| step.loss),
        "seconds": each(|step| step.seconds),
        "update": each(|step| step.update),
    }))
}

fn infer(work: &dyn Work, count: usize) -> Result<Value> {
    let (sample, seconds) = work.infer(count)?;
    Ok(json!({ "sample": sample, "seconds": seconds }))
}

fn count(word: Option<&str>) -> Result<usize> {
    let word = word.ok_or("how many is missing")?;
    word.parse().map_err(|_| Error::from(format!("`{word}` is no count")))
}

fn say(answer: Value) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{answer}")?;
    Ok(out.flush()?)
}
