use super::*;
use crate::testing::Last;
use kiln_datasets::{Frequency, Series, SplitProtocol, m4::Holdout};
use ndarray::Array2;

/// Quantiles are one below the point and one above.
fn last(off: f32, levels: &[f64]) -> Last {
    Last { context: 4, horizon: 8, off, lowest: -1.0, levels: levels.to_vec() }
}

fn protocol(horizon: usize, average: Average) -> Protocol {
    Protocol {
        dataset: "toy".into(),
        split: "test".into(),
        horizon,
        season: 2,
        mase_season: 1,
        average,
        baseline_context: Some(4),
        batch: 3,
        pictures: 2,
    }
}

fn value<'a>(evaluation: &'a Evaluation, metric: &str) -> &'a ResultRow {
    evaluation.rows.iter().find(|row| row.metric == metric).unwrap()
}

/// A saw of two channels: 0 1 0 1 ..., and ten times that.
fn saw() -> Series {
    let mut series = Series::univariate("saw", vec![0.0; 40], Frequency::HOURLY);
    series.channels = vec!["a".into(), "b".into()];
    series.values =
        Array2::from_shape_fn((40, 2), |(row, channel)| (row % 2) as f32 * [1.0, 10.0][channel]);
    series
}

#[test]
fn a_naive_model_scores_like_the_naive_baseline() {
    let split = SplitProtocol::Tail { test: 12, validation: 0 }.split(&saw()).unwrap();
    let case = Case::rolling(saw(), &split, &split.test, (4, 2), 1, true);
    assert_eq!(case.origins.len(), 11);
    let model = last(0.0, &[0.1, 0.5, 0.9]);
    let evaluation = evaluate(&model, &[case], &protocol(2, Average::Values)).unwrap();
    for metric in ["mse", "mae", "mase", "smape"] {
        let row = value(&evaluation, metric);
        assert!((row.value - row.baselines["naive"]).abs() < 1e-6, "{row:?}");
        assert!(row.baselines["seasonal-naive"].abs() < 1e-6, "{row:?}");
        assert_eq!(row.baselines.len(), 5);
        assert_eq!((row.task.as_str(), row.dataset.as_str()), ("forecast-2", "toy"));
    }
    // Standardised, the saw is -1 1 -1 1: one of two steps is off by 2.
    assert!((value(&evaluation, "mse").value - 2.0).abs() < 1e-5);
    assert!((value(&evaluation, "mase").value - 0.5).abs() < 1e-5);
    assert!(value(&evaluation, "wql").value > 0.0);
    let pictures = evaluation.sections.iter().filter(|s| matches!(s.body, SectionBody::Svg(_)));
    assert_eq!(pictures.count(), 2);
}

#[test]
fn quantiles_are_scored_in_the_units_of_the_data() {
    let pair = Holdout {
        series: Series::univariate("s", vec![1.0, 2.0, 10.0], Frequency::WEEKLY),
        future: vec![12.0],
    };
    let model = last(0.0, &[0.1, 0.5, 0.9]);
    let evaluation =
        evaluate(&model, &[Case::held_out(pair)], &protocol(1, Average::Series)).unwrap();
    // Quantiles 9, 10, 11 of 12: 2 * (0.1 * 3 + 0.5 * 2 + 0.9 * 1) / 12 / 3.
    assert!((value(&evaluation, "wql").value - 4.4 / 36.0).abs() < 1e-6);
    assert!((value(&evaluation, "wql").baselines["naive"] - 2.0 / 12.0).abs() < 1e-6);
    let SectionBody::Table { rows, .. } = &evaluation.sections[0].body else { panic!("no table") };
    assert_eq!(rows, &[["80.0 %", "0.0 %"]]);
}

#[test]
fn series_count_the_same_however_long() {
    let pair = |values: Vec<f32>, future: Vec<f32>| {
        Case::held_out(Holdout {
            series: Series::univariate("s", values, Frequency::WEEKLY),
            future,
        })
    };
    let cases = || [pair(vec![0.0, 1.0], vec![2.0; 3]), pair(vec![0.0, 2.0], vec![8.0])];
    let model = last(0.0, &[]);
    // Errors 1, 1, 1 with scale 1; and 6 with scale 2.
    let of =
        |average| value(&evaluate(&model, &cases(), &protocol(3, average)).unwrap(), "mase").value;
    assert!((of(Average::Series) - 2.0).abs() < 1e-9);
    assert!((of(Average::Values) - 1.5).abs() < 1e-9);
    let evaluation = evaluate(&model, &cases(), &protocol(3, Average::Series)).unwrap();
    assert!(evaluation.rows.iter().all(|row| row.metric != "wql"), "point models have none");
}

#[test]
fn windows_without_history_are_left_out() {
    let nan = f32::NAN;
    let values = vec![1.0, 2.0, nan, nan, nan, nan, nan, 3.0, 4.0];
    let series = Series::univariate("s", values, Frequency::WEEKLY);
    let model = last(0.0, &[]);
    let case = Case::new(series, 0..2, vec![7, 8]);
    let evaluation = evaluate(&model, &[case], &protocol(1, Average::Values)).unwrap();
    assert_eq!(value(&evaluation, "mae").value, 1.0);
}

#[test]
fn faults_of_the_model_are_errors() {
    let case = || [Case::new(saw(), 0..20, vec![20])];
    let model = last(0.0, &[]);
    let error = evaluate(&model, &case(), &protocol(9, Average::Values)).unwrap_err();
    assert_eq!(error, ForecastError::Horizon { longest: 8, asked: 9 });
    let model = last(f32::NAN, &[]);
    let error = evaluate(&model, &case(), &protocol(2, Average::Values)).unwrap_err();
    assert!(error.to_string().contains("NaN"), "{error}");
    let nothing = evaluate(&model, &[], &protocol(2, Average::Values)).unwrap();
    assert!(nothing.rows.is_empty() && nothing.sections.is_empty());
}
