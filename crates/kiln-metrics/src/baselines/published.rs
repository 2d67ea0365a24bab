//! Baselines against the numbers that the M4 competition published for its weekly series
//! (<https://github.com/Mcompetitions/M4-methods>), and their speed.
//!
//! Needs the data, from `KILN_DATA` or beside the repository; says that it skipped without.

use super::{Baseline, Drift, Ets, Naive, SeasonalNaive, Theta};
use crate::forecast::{Mean, PointScores, Unit, seasonal_scale};
use std::time::Instant;

fn data(file: &str) -> Option<String> {
    let path = kiln_host::testing::data(&format!("timeseries/{file}"))?;
    Some(std::fs::read_to_string(path).unwrap())
}

/// One series a line after the head, its name first.
fn series(text: &str) -> Vec<Vec<f32>> {
    let number = |cell: &str| cell.trim_matches('"').parse().ok();
    text.lines().skip(1).map(|line| line.split(',').skip(1).map_while(number).collect()).collect()
}

/// sMAPE and MASE, the mean over series, with a season of 1 as the competition has it for weeks.
fn m4(baseline: &dyn Baseline, train: &[Vec<f32>], test: &[Vec<f32>]) -> (f64, f64) {
    let (mut smape, mut mase) = (Mean::default(), Mean::default());
    for (history, truth) in train.iter().zip(test) {
        let mut scores = PointScores::default();
        let scale = seasonal_scale(history, 1);
        for (truth, forecast) in truth.iter().zip(baseline.forecast(history, truth.len(), 1)) {
            scores.add(f64::from(*truth), f64::from(forecast), scale, Unit::default());
        }
        smape.add(scores.smape.value().unwrap());
        mase.add(scores.mase.value().unwrap());
    }
    (smape.value().unwrap(), mase.value().unwrap())
}

#[test]
fn m4_weekly_agrees_with_published() {
    let (Some(train), Some(test)) = (data("m4/Weekly-train.csv"), data("m4/Weekly-test.csv"))
    else {
        return;
    };
    let (train, test) = (series(&train), series(&test));
    assert_eq!((train.len(), test.len()), (359, 359));
    let cases: [(&dyn Baseline, f64, f64); 2] = [(&Naive, 9.161, 2.777), (&Theta, 9.093, 2.637)];
    for (baseline, smape, mase) in cases {
        let found = m4(baseline, &train, &test);
        println!(
            "{}: sMAPE {:.3} ({smape}), MASE {:.3} ({mase})",
            baseline.name(),
            found.0,
            found.1
        );
        assert!((found.0 / smape - 1.0).abs() < 0.01, "{}: sMAPE {found:?}", baseline.name());
        assert!((found.1 / mase - 1.0).abs() < 0.01, "{}: MASE {found:?}", baseline.name());
    }
    let ets = m4(&Ets, &train, &test);
    println!("ets: sMAPE {:.3}, MASE {:.3}", ets.0, ets.1);
    assert!(ets.0 < 9.161 && ets.1 < 2.777, "smoothing beats naive here: {ets:?}");
}

#[test]
fn etth1_windows_are_quick_and_follow_the_season() {
    let Some(text) = data("ETTh1.csv") else { return };
    let oil: Vec<f32> =
        text.lines().skip(1).filter_map(|line| line.rsplit(',').next()?.parse().ok()).collect();
    let load: Vec<f32> =
        text.lines().skip(1).filter_map(|line| line.split(',').nth(1)?.parse().ok()).collect();
    let mut errors = Vec::new();
    for baseline in [&Naive as &dyn Baseline, &SeasonalNaive, &Drift, &Theta, &Ets] {
        let (mut mae, mut windows, start) = (Mean::default(), 0, Instant::now());
        for channel in [&oil, &load] {
            for window in channel.windows(512 + 96).skip(11_000).take(3_000).step_by(100) {
                let (history, truth) = window.split_at(512);
                for (truth, forecast) in truth.iter().zip(baseline.forecast(history, 96, 24)) {
                    mae.add(f64::from((truth - forecast).abs()));
                }
                windows += 1;
            }
        }
        let spent = start.elapsed().as_secs_f64() * 1e3 / f64::from(windows);
        println!("{}: MAE {:.3}, {spent:.3} ms a window", baseline.name(), mae.value().unwrap());
        // An optimised build takes a hundredth to a half of it; machines under load take longer.
        assert!(spent < 20.0, "{} takes {spent} ms a window", baseline.name());
        errors.push(mae.value().unwrap());
    }
    let naive = errors[0];
    assert!(errors[1] < naive && errors[3] < naive && errors[4] < naive, "{errors:?}");
}
