//! Where axes are labelled, and how.

use chrono::{DateTime, Datelike, Days, Months, NaiveDateTime, NaiveTime, TimeDelta};

/// A place on an axis and its label.
pub(super) type Tick = (f64, String);

/// Round numbers from `low` to `high`, about `count` of them.
pub(super) fn numbers(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let span = high - low;
    if !span.is_finite() || span <= 0.0 {
        return vec![(low, number(low, low.abs()))];
    }
    let rough = span / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let step =
        power * [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().find(|s| s * power >= rough).unwrap_or(10.0);
    let first = (low / step - 1e-9).ceil();
    let places = 2 * count as u32 + 2;
    (0..places)
        .map(|place| (first + f64::from(place)) * step)
        .take_while(|value| *value <= high + 1e-9 * step)
        .map(|value| (value, number(value, step)))
        .collect()
}

/// Powers of ten between two positive numbers, with 2 and 5 between where there are few; round
/// numbers where even they are few.
pub(super) fn powers(low: f64, high: f64) -> Vec<Tick> {
    if high / low < 5.0 {
        return numbers(low, high, 4);
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let stride = ((last - first) / 6).max(1) as usize;
    let between: &[f64] = if last - first <= 2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    (first..=last)
        .step_by(stride)
        .flat_map(|power| between.iter().map(move |part| part * 10_f64.powi(power)))
        .filter(|value| *value >= low * 0.999 && *value <= high * 1.001)
        .map(|value| (value, number(value, value)))
        .collect()
}

/// A number with as many decimals as `step` has, thousands shortened.
pub(super) fn number(value: f64, step: f64) -> String {
    let value = if value.abs() < step * 1e-6 { 0.0 } else { value };
    let (value, step, unit) = match value.abs() {
        size if size >= 1e15 || (size > 0.0 && size < 1e-4) => return format!("{value:.1e}"),
        size if size >= 1e9 => (value / 1e9, step / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, step / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, step / 1e3, "k"),
        _ => (value, step, ""),
    };
    let decimals = (0..6).find(|d| {
        let scaled = step * 10_f64.powi(*d);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1e-9) && scaled.round() >= 1.0
    });
    let text = format!("{value:.*}", decimals.unwrap_or(3) as usize);
    format!("{}{unit}", text.replace('-', "\u{2212}"))
}

/// Steps of a time axis.
#[derive(Clone, Copy)]
enum Stride {
    Seconds(i64),
    Days(u64),
    Months(u32),
}

const STRIDES: [(f64, Stride); 25] = {
    use Stride::{Days as D, Months as M, Seconds as S};
    const DAY: f64 = 86_400.0;
    [
        (1.0, S(1)),
        (5.0, S(5)),
        (15.0, S(15)),
        (30.0, S(30)),
        (60.0, S(60)),
        (300.0, S(300)),
        (900.0, S(900)),
        (1800.0, S(1800)),
        (3600.0, S(3600)),
        (3.0 * 3600.0, S(3 * 3600)),
        (6.0 * 3600.0, S(6 * 3600)),
        (12.0 * 3600.0, S(12 * 3600)),
        (DAY, D(1)),
        (2.0 * DAY, D(2)),
        (7.0 * DAY, D(7)),
        (14.0 * DAY, D(14)),
        (30.4 * DAY, M(1)),
        (61.0 * DAY, M(2)),
        (91.3 * DAY, M(3)),
        (182.6 * DAY, M(6)),
        (365.25 * DAY, M(12)),
        (730.5 * DAY, M(24)),
        (1826.0 * DAY, M(60)),
        (3652.5 * DAY, M(120)),
        (18_262.0 * DAY, M(600)),
    ]
};

/// Round times between two moments in seconds since 1970, at most `count` of them.
pub(super) fn times(low: f64, high: f64, count: usize) -> Vec<Tick> {
    let moment = |seconds: f64| DateTime::from_timestamp(seconds as i64, 0).map(|t| t.naive_utc());
    let (Some(start), Some(end)) = (moment(low), moment(high)) else {
        return numbers(low, high, count);
    };
    let enough = |(length, _): &&(f64, Stride)| (high - low) / length <= count.max(1) as f64;
    let stride = STRIDES.iter().find(enough).map_or(Stride::Months(1200), |(_, stride)| *stride);
    let mut ticks: Vec<Tick> = Vec::new();
    let mut year = None;
    let mut next = first(start, stride);
    while let Some(time) = next.filter(|time| *time <= end && ticks.len() < 200) {
        if time >= start {
            let told = year.replace(time.year()) == Some(time.year());
            ticks.push((time.and_utc().timestamp() as f64, label(time, stride, told)));
        }
        next = match stride {
            Stride::Seconds(seconds) => time.checked_add_signed(TimeDelta::seconds(seconds)),
            Stride::Days(days) => time.checked_add_days(Days::new(days)),
            Stride::Months(months) => time.checked_add_months(Months::new(months)),
        };
    }
    ticks
}

/// The last round time before or at `start`.
fn first(start: NaiveDateTime, stride: Stride) -> Option<NaiveDateTime> {
    match stride {
        Stride::Seconds(seconds) => {
            let stamp = start.and_utc().timestamp();
            DateTime::from_timestamp(stamp - stamp.rem_euclid(seconds), 0).map(|t| t.naive_utc())
        }
        Stride::Days(_) => Some(start.date().and_time(NaiveTime::MIN)),
        Stride::Months(months) => {
            let since = i64::from(start.year()) * 12 + i64::from(start.month0());
            let round = since - since.rem_euclid(i64::from(months));
            let year = i32::try_from(round.div_euclid(12)).ok()?;
            let month = u32::try_from(round.rem_euclid(12)).ok()? + 1;
            chrono::NaiveDate::from_ymd_opt(year, month, 1)?.and_hms_opt(0, 0, 0)
        }
    }
}

/// A time as short as it can be said, given whether the year was already `told`.
fn label(time: NaiveDateTime, stride: Stride, told: bool) -> String {
    let midnight = time.time() == NaiveTime::MIN;
    let pattern = match stride {
        Stride::Months(months) if months >= 12 => "%Y",
        Stride::Months(_) => "%b %Y",
        Stride::Seconds(_) | Stride::Days(_) if !told => "%-d %b %Y",
        Stride::Seconds(seconds) if seconds < 60 => "%H:%M:%S",
        Stride::Seconds(_) if !midnight => "%H:%M",
        Stride::Seconds(_) | Stride::Days(_) => "%-d %b",
    };
    time.format(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn round_numbers() {
        assert_eq!(labels(numbers(0.0, 1.0, 5)), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(numbers(-3.0, 7.0, 2)), ["0", "5"]);
        assert_eq!(labels(numbers(0.0, 50_000.0, 2)), ["0", "25k", "50k"]);
        assert_eq!(labels(numbers(2.0, 2.0, 5)), ["2"]);
        assert!(numbers(0.0, f64::INFINITY, 5).len() == 1);
    }

    #[test]
    fn powers_of_ten() {
        assert_eq!(labels(powers(0.01, 100.0)), ["0.01", "0.1", "1", "10", "100"]);
        assert_eq!(labels(powers(0.3, 3.0)), ["0.5", "1", "2"]);
        assert_eq!(labels(powers(2.0, 3.0)), ["2.00", "2.25", "2.50", "2.75", "3.00"]);
    }

    #[test]
    fn round_times() {
        let at = |text: &str| {
            NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M").unwrap().and_utc().timestamp()
                as f64
        };
        let hours = times(at("2024-02-28 21:30"), at("2024-02-29 13:00"), 6);
        assert_eq!(labels(hours), ["29 Feb 2024", "03:00", "06:00", "09:00", "12:00"]);
        let days = times(at("2023-12-30 00:00"), at("2024-01-02 00:00"), 6);
        assert_eq!(labels(days)[1..5], ["12:00", "31 Dec", "12:00", "1 Jan 2024"]);
        let months = times(at("2023-11-05 00:00"), at("2024-04-02 00:00"), 6);
        assert_eq!(labels(months), ["Dec 2023", "Jan 2024", "Feb 2024", "Mar 2024", "Apr 2024"]);
        let years = times(at("1990-05-01 00:00"), at("2020-05-01 00:00"), 8);
        assert_eq!(labels(years), ["1995", "2000", "2005", "2010", "2015", "2020"]);
    }
}
