//! Timestamps as people write them.
//!
//! A column's format is decided by the whole column: the readings that fit its first cell are kept
//! as long as they fit every other, so that `13/02/2024` settles how `01/02/2024` is meant.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};

/// Ways to read a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// `2024-01-31`, also with `/` or `.`, with or without a time of day.
    YearMonthDay,
    /// `31/01/2024`, also with `-` or `.`.
    DayMonthYear,
    /// `01/31/2024`.
    MonthDayYear,
    /// `2024-01`, `2024/01`, `202401`.
    YearMonth,
    /// `2024Q1`, `2024-Q1`, `2024 Q1`.
    Quarter,
    /// `2024`.
    Year,
    /// `20240131`.
    Compact,
    /// `31 Jan 2024`, `Jan 31, 2024`, `Jan 2024`.
    MonthName,
    /// Seconds since 1970, 9 or 10 digits; milliseconds with 12 or 13.
    Unix,
}

const READINGS: [Reading; 9] = [
    Reading::YearMonthDay,
    Reading::DayMonthYear,
    Reading::MonthDayYear,
    Reading::YearMonth,
    Reading::Quarter,
    Reading::Year,
    Reading::Compact,
    Reading::MonthName,
    Reading::Unix,
];

/// Why a column is not one of times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TimeError {
    /// The cell at this place, from 0, cannot be read as those before it.
    Unreadable { place: usize, hint: String },
    /// Day and month cannot be told apart.
    Ambiguous { place: usize },
}

/// Reads a column of text.
pub(crate) fn parse_column(cells: &[Option<String>]) -> Result<Vec<NaiveDateTime>, TimeError> {
    let mut readings = READINGS.to_vec();
    let text = |place: usize| cells.get(place).and_then(Option::as_deref).unwrap_or("").trim();
    for place in 0..cells.len() {
        let fits: Vec<Reading> = readings
            .iter()
            .copied()
            .filter(|reading| reading.read(text(place)).is_some())
            .collect();
        if fits.is_empty() {
            let hint = if place == 0 {
                "; write times as 2024-01-31 or 2024-01-31 18:00:00".into()
            } else {
                format!(", the rows before are like `{}`", text(0))
            };
            return Err(TimeError::Unreadable { place, hint });
        }
        readings = fits;
    }
    let both = [Reading::DayMonthYear, Reading::MonthDayYear];
    if both.iter().all(|reading| readings.contains(reading)) {
        // Where day and month are always equal both readings give the same times.
        let differ = (0..cells.len()).find(|p| both[0].read(text(*p)) != both[1].read(text(*p)));
        if let Some(place) = differ {
            return Err(TimeError::Ambiguous { place });
        }
    }
    let Some(reading) = readings.first() else { return Ok(Vec::new()) };
    Ok((0..cells.len()).filter_map(|place| reading.read(text(place))).collect())
}

impl Reading {
    fn read(self, text: &str) -> Option<NaiveDateTime> {
        match self {
            Self::YearMonthDay | Self::DayMonthYear | Self::MonthDayYear => {
                let (date, rest) = date_and_rest(text);
                let [a, b, c] = three_numbers(date)?;
                let year_first = a.len() == 4;
                let year_last = c.len() == 4;
                let (year, month, day) = match self {
                    Self::YearMonthDay if year_first => (a, b, c),
                    Self::DayMonthYear if year_last => (c, b, a),
                    Self::MonthDayYear if year_last => (c, a, b),
                    _ => return None,
                };
                with_clock(date_of(year, month, day)?, rest)
            }
            Self::YearMonth => {
                let (year, month) = match text.split_once(['-', '/', '.']) {
                    Some(parts) => parts,
                    None if text.len() == 6 => text.split_at_checked(4)?,
                    None => return None,
                };
                (year.len() == 4).then_some(())?;
                midnight(date_of(year, month, "1")?)
            }
            Self::Quarter => {
                let (year, quarter) = text.split_once(['Q', 'q'])?;
                let year = year.trim_end_matches(['-', ' ']);
                let quarter: u32 = digits(quarter)?;
                let month = quarter.checked_sub(1)?.checked_mul(3)?.checked_add(1)?;
                (year.len() == 4).then_some(())?;
                midnight(NaiveDate::from_ymd_opt(digits(year)?, month, 1)?)
            }
            Self::Year => {
                // `1959.0` is how a year looks after a table tool has made it a float.
                let text = text.strip_suffix(".0").unwrap_or(text);
                (text.len() == 4).then_some(())?;
                let year: i32 = digits(text)?;
                (1000..3000).contains(&year).then_some(())?;
                midnight(NaiveDate::from_ymd_opt(year, 1, 1)?)
            }
            Self::Compact => {
                let (date, rest) = text.split_at_checked(8)?;
                (date.is_ascii()).then_some(())?;
                with_clock(date_of(date.get(..4)?, date.get(4..6)?, date.get(6..)?)?, rest)
            }
            Self::MonthName => month_name(text),
            Self::Unix => {
                let text = text.strip_suffix(".0").unwrap_or(text);
                let number: i64 = digits(text)?;
                let time = match text.len() {
                    9 | 10 => DateTime::from_timestamp(number, 0),
                    12 | 13 => DateTime::from_timestamp_millis(number),
                    _ => None,
                };
                Some(time?.naive_utc())
            }
        }
    }
}

fn midnight(date: NaiveDate) -> Option<NaiveDateTime> {
    date.and_hms_opt(0, 0, 0)
}

/// A number of nothing but ASCII digits: no sign, no space.
fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

fn date_of(year: &str, month: &str, day: &str) -> Option<NaiveDate> {
    NaiveDate::from_ymd_opt(digits(year)?, digits(month)?, digits(day)?)
}

/// The date, and what follows the `T` or space after it.
fn date_and_rest(text: &str) -> (&str, &str) {
    text.split_once(['T', 't', ' ']).unwrap_or((text, ""))
}

fn three_numbers(date: &str) -> Option<[&str; 3]> {
    let separator = date.bytes().find(|b| !b.is_ascii_digit())?;
    if !matches!(separator, b'-' | b'/' | b'.') {
        return None;
    }
    let mut parts = date.split(char::from(separator));
    let three = [parts.next()?, parts.next()?, parts.next()?];
    parts.next().is_none().then_some(three)
}

/// Adds a time of day: `18:00`, `18:00:00.5`, `6:00 PM`, each with `Z` or `+02:00`, or nothing.
fn with_clock(date: NaiveDate, rest: &str) -> Option<NaiveDateTime> {
    let rest = rest.trim_start_matches(['T', ' ']).trim();
    if rest.is_empty() {
        return midnight(date);
    }
    let upper = rest.to_ascii_uppercase();
    let (clock, offset) = split_offset(&upper)?;
    let (clock, afternoon) = if let Some(clock) = clock.strip_suffix("PM") {
        (clock.trim_end(), Some(true))
    } else if let Some(clock) = clock.strip_suffix("AM") {
        (clock.trim_end(), Some(false))
    } else {
        (clock, None)
    };
    let mut parts = clock.split(':');
    let hour: u32 = digits(parts.next()?)?;
    let minute: u32 = parts.next().map_or(Some(0), digits)?;
    let (second, nanosecond) = match parts.next() {
        None => (0, 0),
        Some(seconds) => {
            let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
            let fraction: String = fraction.chars().chain("000000000".chars()).take(9).collect();
            (digits(whole)?, digits(&fraction)?)
        }
    };
    if parts.next().is_some() || (!clock.contains(':') && afternoon.is_none()) {
        return None;
    }
    let hour = match afternoon {
        None => hour,
        Some(pm) => (1..=12).contains(&hour).then_some(hour % 12 + if pm { 12 } else { 0 })?,
    };
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanosecond)?;
    date.and_time(time).checked_sub_signed(offset)
}

/// `18:00Z`, `18:00+02:00` or `18:00 UTC`: the clock, and how far it is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, TimeDelta)> {
    for utc in ["Z", "UTC"] {
        if let Some(clock) = text.strip_suffix(utc) {
            return Some((clock.trim_end(), TimeDelta::zero()));
        }
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, TimeDelta::zero())) };
    let (clock, offset) = text.split_at_checked(at)?;
    let (sign, offset) = offset.split_at_checked(1)?;
    let (hours, minutes) = match offset.split_once(':') {
        Some(parts) => parts,
        None => offset.split_at_checked(2)?,
    };
    let minutes = if minutes.is_empty() { 0 } else { digits::<i64>(minutes)? };
    let seconds = digits::<i64>(hours)?.checked_mul(3600)?.checked_add(minutes.checked_mul(60)?)?;
    let offset = TimeDelta::try_seconds(if sign == "-" { -seconds } else { seconds })?;
    Some((clock.trim_end(), offset))
}

fn month_name(text: &str) -> Option<NaiveDateTime> {
    const MONTHS: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let (mut year, mut month, mut day) = (None, None, None);
    for part in text.split([' ', '-', ',', '/', '.']).filter(|part| !part.is_empty()) {
        if let Some(number) = digits::<u32>(part) {
            match part.len() {
                4 if year.is_none() => year = Some(number),
                1 | 2 if day.is_none() => day = Some(number),
                _ => return None,
            }
        } else {
            let name = part.get(..3)?.to_ascii_lowercase();
            let number = MONTHS.iter().position(|known| *known == name)?;
            (month.is_none() && part.bytes().all(|b| b.is_ascii_alphabetic())).then_some(())?;
            month = u32::try_from(number + 1).ok();
        }
    }
    midnight(NaiveDate::from_ymd_opt(i32::try_from(year?).ok()?, month?, day.unwrap_or(1))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(cells: &[&str]) -> Result<Vec<String>, TimeError> {
        let cells: Vec<_> = cells.iter().map(|cell| Some((*cell).to_owned())).collect();
        Ok(parse_column(&cells)?.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_people_write() {
        let cases = [
            ("2024-01-31", "2024-01-31 00:00:00"),
            ("2024/1/31 6:05", "2024-01-31 06:05:00"),
            ("2024-01-31T18:00:00Z", "2024-01-31 18:00:00"),
            ("2024-01-31T18:00:00.250+02:00", "2024-01-31 16:00:00.250"),
            ("2024-01-31 18:00:00-0530", "2024-01-31 23:30:00"),
            ("31.01.2024 18:00", "2024-01-31 18:00:00"),
            ("1/31/2024 6:00 PM", "2024-01-31 18:00:00"),
            ("1/31/2024 12:00 AM", "2024-01-31 00:00:00"),
            ("2024-02", "2024-02-01 00:00:00"),
            ("202402", "2024-02-01 00:00:00"),
            ("2024Q3", "2024-07-01 00:00:00"),
            ("1871", "1871-01-01 00:00:00"),
            ("20240131", "2024-01-31 00:00:00"),
            ("31-Jan-2024", "2024-01-31 00:00:00"),
            ("January 2024", "2024-01-01 00:00:00"),
            ("Jan 31, 2024", "2024-01-31 00:00:00"),
            ("1706724000", "2024-01-31 18:00:00"),
            ("1706724000000", "2024-01-31 18:00:00"),
        ];
        for (text, time) in cases {
            assert_eq!(parse(&[text]).unwrap(), [time], "{text}");
        }
    }

    #[test]
    fn what_nobody_should_write() {
        for text in [
            "",
            "soon",
            "2024-13-01",
            "2024-02-30",
            "12",
            "2024-01-31 25:00",
            "2024-01-31 x",
            "ä24-01-31",
            "99999999999999999999",
            "2024Q5",
            "2024Q0",
            "€€€€€€€€",
            "2024-01-31 12:00+99999999999999999",
        ] {
            assert!(
                matches!(parse(&[text]), Err(TimeError::Unreadable { place: 0, .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_later_row_decides_day_and_month() {
        assert_eq!(parse(&["01/02/2024", "13/02/2024"]).unwrap()[0], "2024-02-01 00:00:00");
        assert_eq!(parse(&["01/02/2024", "02/13/2024"]).unwrap()[0], "2024-01-02 00:00:00");
        assert_eq!(parse(&["01/02/2024", "02/02/2024"]), Err(TimeError::Ambiguous { place: 0 }));
        assert_eq!(parse(&["01/01/2024"]).unwrap(), ["2024-01-01 00:00:00"]);
    }

    #[test]
    fn the_odd_row_is_named() {
        let error = parse(&["2024-01-01", "2024-01-02", "n/a"]).unwrap_err();
        let hint = ", the rows before are like `2024-01-01`".to_owned();
        assert_eq!(error, TimeError::Unreadable { place: 2, hint });
    }
}
