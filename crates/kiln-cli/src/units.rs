//! Numbers for people.

/// `1.2 M`, `350 k`, `17`: a count.
pub fn count(value: f64) -> String {
    scaled(value, 1000.0, &["", " k", " M", " G", " T", " P"])
}

/// `1.5 GiB`: bytes.
pub fn bytes(value: f64) -> String {
    scaled(value, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

/// `2 h 05 min`, `3 min 20 s`, `4.2 s`: a duration.
pub fn seconds(value: f64) -> String {
    if !value.is_finite() || value < 0.0 {
        return "unknown".into();
    }
    if value < 10.0 {
        return format!("{value:.1} s");
    }
    let whole = value.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

fn scaled(value: f64, base: f64, units: &[&str]) -> String {
    let (mut value, mut unit) = (value, 0);
    while value.abs() >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = if unit == 0 || value.abs() >= 100.0 { 0 } else { 1 };
    format!("{value:.decimals$}{}", units.get(unit).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_and_durations() {
        assert_eq!(count(17.0), "17");
        assert_eq!(count(1_234_567.0), "1.2 M");
        assert_eq!(count(350_000.0), "350 k");
        assert_eq!(bytes(1536.0), "1.5 KiB");
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(seconds(4.24), "4.2 s");
        assert_eq!(seconds(59.6), "1 min 00 s");
        assert_eq!(seconds(200.0), "3 min 20 s");
        assert_eq!(seconds(7500.0), "2 h 05 min");
        assert_eq!(seconds(f64::NAN), "unknown");
    }
}
