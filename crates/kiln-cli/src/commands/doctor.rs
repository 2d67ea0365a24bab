//! `kiln doctor`: what this machine offers, and what is in the way.

use crate::{cli::Doctor, modalities, units::bytes};
use kiln_hub::Hub;
use kiln_train::{
    failure::{Failure, Result},
    runner::threads,
    start::RUNS,
};
use serde_json::{Value, json};
use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
    thread,
};

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    value: Value,
    /// Whether work can go on with it, and what to do if not.
    problem: Option<String>,
}

impl Finding {
    fn new(name: &'static str, value: impl Into<Value>) -> Self {
        Self { name, value: value.into(), problem: None }
    }
}

/// Looks at the machine; a failure when something is in the way.
pub fn run(args: &Doctor, out: &mut dyn Write) -> Result<()> {
    let findings = findings();
    if args.json {
        let values = findings.iter().map(|one| (one.name.replace(' ', "_"), one.value.clone()));
        let mut all = Value::Object(values.collect());
        let problems: Vec<_> = findings.iter().filter_map(|one| one.problem.as_ref()).collect();
        all["problems"] = json!(problems);
        writeln!(out, "{all:#}")?;
    } else {
        for finding in &findings {
            writeln!(out, "{:<14} {}", finding.name, shown(&finding.value))?;
        }
    }
    let problems: Vec<_> = findings.into_iter().filter_map(|one| one.problem).collect();
    match problems.first() {
        None if args.json => Ok(()),
        None => Ok(writeln!(out, "\nnothing is in the way")?),
        Some(first) if problems.len() == 1 => Err(Failure::Machine(first.clone())),
        Some(first) => {
            let count = problems.len();
            Err(Failure::Machine(format!("{count} things are in the way; the first: {first}")))
        }
    }
}

fn findings() -> Vec<Finding> {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    let mut findings = vec![
        Finding::new("kiln", env!("CARGO_PKG_VERSION")),
        Finding::new("system", format!("{} {}", env::consts::OS, env::consts::ARCH)),
        Finding::new("modalities", names()),
        Finding::new("devices", devices()),
        Finding::new("cores", cores),
        Finding::new("threads", threads()),
        Finding::new("simd", simd()),
    ];
    if let Some((total, available)) = memory() {
        findings.push(Finding::new("memory", bytes(total)));
        findings.push(Finding::new("memory free", bytes(available)));
    }
    findings.push(writable("runs", Path::new(RUNS)));
    match Hub::from_env() {
        Ok(hub) => {
            findings.push(writable("hub cache", &hub.cache));
            let offline = if hub.offline { " (offline: HF_HUB_OFFLINE is set)" } else { "" };
            findings.push(Finding::new("hub", format!("{}{offline}", hub.endpoint)));
            let token =
                if hub.token.is_some() { "set" } else { "none, only gated models need one" };
            findings.push(Finding::new("hub token", token));
        }
        Err(error) => {
            let problem = Some(error.to_string());
            findings.push(Finding { problem, ..Finding::new("hub cache", Value::Null) });
        }
    }
    findings
}

fn names() -> Vec<&'static str> {
    modalities::all().iter().map(|modality| modality.name).collect()
}

fn devices() -> Vec<String> {
    let cuda = match (cfg!(feature = "cuda"), Path::new("/dev/nvidiactl").exists()) {
        (true, true) => "cuda",
        (true, false) => "no cuda: no NVIDIA driver was found",
        (false, true) => "no cuda: built without it (cargo build --features cuda)",
        (false, false) => return vec!["cpu".into()],
    };
    vec!["cpu".into(), cuda.into()]
}

/// Vector instructions that the backend can use here.
fn simd() -> Vec<&'static str> {
    #[allow(unused_mut)]
    let mut found = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! look {
            ($($name:tt),*) => {
                $(if std::arch::is_x86_feature_detected!($name) { found.push($name); })*
            };
        }
        look!("sse4.2", "avx", "fma", "f16c", "avx2", "avx512f", "avx512bf16");
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! look {
            ($($name:tt),*) => {
                $(if std::arch::is_aarch64_feature_detected!($name) { found.push($name); })*
            };
        }
        look!("neon", "fp16", "bf16", "sve", "sve2");
    }
    found
}

/// Bytes of memory, in all and available; `None` where the system does not say.
fn memory() -> Option<(f64, f64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key))?;
        let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kib * 1024.0)
    };
    Some((value("MemTotal:")?, value("MemAvailable:")?))
}

/// Whether files can be written to a directory, or to the nearest one above that exists.
fn writable(name: &'static str, dir: &Path) -> Finding {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let existing = absolute.ancestors().find(|dir| dir.is_dir()).map(Path::to_path_buf);
    let probe = existing.unwrap_or_else(|| PathBuf::from(".")).join(".kiln-doctor");
    let result = kiln_host::write_atomic(&probe, |out| out.write_all(b"kiln"));
    let _ = fs::remove_file(&probe);
    let problem = result.err().map(|error| {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        format!("{} cannot be written: {}", dir.display(), cause.unwrap_or_default())
    });
    let note = if problem.is_some() { "not writable" } else { "writable" };
    Finding { problem, ..Finding::new(name, format!("{} ({note})", dir.display())) }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "none".into(),
        Value::String(text) => text.clone(),
        Value::Array(values) if values.is_empty() => "none".into(),
        Value::Array(values) => values.iter().map(shown).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_makes_sense() {
        let findings = findings();
        let value = |name: &str| &findings.iter().find(|one| one.name == name).unwrap().value;
        assert!(value("threads").as_u64() >= Some(1));
        assert!(value("devices").as_array().unwrap().contains(&json!("cpu")));
        if cfg!(target_os = "linux") {
            assert!(shown(value("memory")).contains("iB"));
        }
    }

    #[test]
    fn a_directory_that_is_a_file_is_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        assert!(writable("x", &dir.path().join("not/yet/there")).problem.is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        assert_eq!(shown(&json!(["a", "b"])), "a, b");
    }
}
