//! How much memory the process has used.

/// The most memory this process ever held, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(target_os = "linux")]
    fn this_test_takes_some_memory() {
        let peak = super::peak_memory().unwrap();
        assert!((1 << 20..1 << 40).contains(&peak), "{peak}");
    }
}
