//! A table to try forecasting with: two years of a shop's sales.

use chrono::{Datelike as _, Days, NaiveDate};
use kiln_datasets::draw::Draw as _;
use kiln_host::Seed;
use std::fmt::Write as _;

/// Rows of [`demo_sales`].
const DAYS: u64 = 730;

/// A CSV table `date,units,price,promo`, daily, two years from 2023-01-01, always the same.
///
/// Units sold follow the weekday, the time of the year, a slow trend, the price, and whether there
/// is a promotion (0 or 1).
pub fn demo_sales() -> String {
    let rng = &mut Seed::new(2023).part("demo-sales").rng();
    // Monday to Sunday; the shop is quiet early in the week.
    const WEEKDAY: [f32; 7] = [0.82, 0.8, 0.86, 0.95, 1.2, 1.45, 0.92];
    let first = NaiveDate::from_ymd_opt(2023, 1, 1).unwrap_or_default();
    let mut table = String::from("date,units,price,promo\n");
    let (mut price, mut mood, mut promo_days) = (3.99f32, 0.0f32, 0u32);
    for day in 0..DAYS {
        let Some(date) = first.checked_add_days(Days::new(day)) else { break };
        if date.day() == 1 && rng.chance(0.25) {
            price = (price + 0.1 * rng.sign()).clamp(3.49, 4.49);
        }
        // Promotions start on Thursdays and last until Sunday.
        if date.weekday().number_from_monday() == 4 && rng.chance(0.22) {
            promo_days = 4;
        }
        let promo = promo_days > 0;
        promo_days = promo_days.saturating_sub(1);
        let paid = if promo { price - 0.5 } else { price };
        let year = (day as f32 / 365.25 * std::f32::consts::TAU - 1.1).sin();
        mood = 0.8 * mood + 0.04 * rng.normal();
        let weekday = WEEKDAY[date.weekday().num_days_from_monday() as usize];
        let log = 0.12 * year + 0.0002 * day as f32 - 1.5 * (paid / 3.99).ln()
            + mood
            + if promo { 0.25 } else { 0.0 };
        let units = rng.count(120.0 * weekday * log.exp());
        // Writing to a string cannot fail.
        let _ = writeln!(table, "{date},{units},{paid:.2},{}", u8::from(promo));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_datasets::{Frequency, TableSpec};

    #[test]
    fn the_demo_table_can_be_read() {
        let file = tempfile::NamedTempFile::with_suffix(".csv").unwrap();
        std::fs::write(file.path(), demo_sales()).unwrap();
        let spec = TableSpec::new(file.path())
            .with_time("date")
            .with_targets(["units"])
            .with_known(["price", "promo"]);
        let series = spec.read().unwrap().remove(0);
        assert_eq!((series.len(), series.frequency), (730, Frequency::DAILY));
        assert_eq!(series.time(729).unwrap().to_string(), "2024-12-30 00:00:00");
        // Saturdays (the first row is a Sunday) sell more than Tuesdays.
        let sold =
            |weekday: usize| -> f32 { (0..100).map(|w| series.values[[7 * w + weekday, 0]]).sum() };
        assert!(sold(6) > 1.4 * sold(2), "{} {}", sold(6), sold(2));
        assert_eq!(demo_sales(), demo_sales());
    }
}
