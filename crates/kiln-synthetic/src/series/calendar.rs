//! The periods that a calendar gives to series of each frequency.

use kiln_datasets::Frequency;

/// A cycle that people, weather or markets follow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Cycle {
    /// Its length in rows.
    pub period: f32,
    /// How often a series has it.
    pub probability: f64,
    /// Its usual strength beside the others.
    pub strength: f32,
    /// The rows of a cycle of seven of these, whose days differ: a week of days.
    pub week: bool,
}

const DAY: f32 = 86_400.0;
const YEAR: f32 = 365.25;

/// The cycles of a frequency, the usual strongest first; empty where there are none.
pub(crate) fn cycles(frequency: Frequency) -> Vec<Cycle> {
    let cycle =
        |period: f32, probability, strength| Cycle { period, probability, strength, week: false };
    match frequency {
        Frequency::Unknown | Frequency::Seconds(0) | Frequency::Days(0) | Frequency::Months(0) => {
            Vec::new()
        }
        Frequency::Seconds(seconds) => {
            let day = DAY / seconds as f32;
            let mut cycles = vec![
                Cycle { week: true, ..cycle(day, 0.93, 1.0) },
                cycle(day / 2.0, 0.1, 0.4),
                cycle(day * YEAR, 0.3, 0.7),
            ];
            if seconds <= 300 {
                // Machines and timetables go by the hour.
                cycles.push(cycle(3600.0 / seconds as f32, 0.25, 0.5));
            }
            cycles.retain(|cycle| cycle.period >= 3.0);
            cycles
        }
        Frequency::Days(days) => {
            let days = days as f32;
            let mut cycles = vec![
                cycle(YEAR / days, if days < 7.0 { 0.45 } else { 0.55 }, 1.0),
                cycle(30.44 / days, 0.12, 0.4),
                cycle(YEAR / 4.0 / days, 0.08, 0.4),
                cycle(7.0 / days, 0.65, 0.8),
            ];
            cycles.retain(|cycle| cycle.period >= 3.0);
            cycles
        }
        Frequency::Months(months) => {
            let mut cycles = vec![cycle(12.0 / months as f32, 0.7, 1.0)];
            cycles.retain(|cycle| cycle.period >= 2.0);
            cycles
        }
    }
}

/// Rows in which a slow level changes visibly: a day of minutes or hours, a week of days, a
/// quarter of weeks, a year of months.
pub(crate) fn pace(frequency: Frequency) -> f32 {
    match frequency {
        Frequency::Unknown | Frequency::Seconds(0) => 12.0,
        Frequency::Seconds(seconds) => (DAY / seconds as f32).max(4.0),
        Frequency::Days(days) => (14.0 / days.max(1) as f32).max(8.0),
        Frequency::Months(months) => (12.0 / months.max(1) as f32).max(3.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn periods(frequency: Frequency) -> Vec<f32> {
        cycles(frequency).iter().map(|cycle| cycle.period).collect()
    }

    #[test]
    fn periods_are_the_calendars() {
        assert_eq!(periods(Frequency::HOURLY), [24.0, 12.0, 8766.0]);
        assert_eq!(periods(Frequency::Seconds(900))[0], 96.0);
        assert_eq!(periods(Frequency::Seconds(60)), [1440.0, 720.0, 525_960.0, 60.0]);
        assert_eq!(periods(Frequency::DAILY)[3], 7.0);
        assert!((periods(Frequency::WEEKLY)[0] - 52.18).abs() < 0.01);
        assert_eq!(periods(Frequency::QUARTERLY), [4.0]);
        assert!(periods(Frequency::YEARLY).is_empty());
        assert!(periods(Frequency::Unknown).is_empty());
    }
}
