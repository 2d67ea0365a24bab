use super::{
    output::{csv, terminal},
    *,
};
use crate::testing::Last;
use chrono::NaiveDate;

fn request(series: Series, horizon: usize, levels: &[f64]) -> ForecastRequest {
    ForecastRequest {
        model: Box::new(Last {
            context: 16,
            horizon: 20,
            off: 0.0,
            lowest: 0.0,
            levels: levels.to_vec(),
        }),
        series: vec![series],
        horizon,
        level: 0.8,
    }
}

fn daily(values: Vec<f32>) -> Series {
    let mut series = Series::univariate("sales", values, Frequency::DAILY);
    series.start = NaiveDate::from_ymd_opt(2024, 2, 27).and_then(|day| day.and_hms_opt(0, 0, 0));
    series
}

/// Two channels, `units` and the covariate `price`, with three rows of its future.
fn with_price() -> Series {
    let mut series = daily(vec![0.0; 2]);
    series.channels = vec!["units".into(), "price".into()];
    series.values = Array2::from_shape_vec((2, 2), vec![5.0, 1.0, 6.0, 1.0]).unwrap();
    series.known = 1;
    series.future = Some(Array2::from_shape_vec((3, 1), vec![1.0, 2.0, f32::NAN]).unwrap());
    series
}

#[test]
fn quantiles_give_intervals_and_rows_have_dates() {
    let tables = request(daily(vec![3.0, 4.0]), 2, &[0.1, 0.5, 0.9]).run().unwrap();
    let target = &tables[0].targets[0];
    assert_eq!(target.point, [4.0, 4.0]);
    assert_eq!(target.interval, Some((vec![4.0; 2], vec![6.0; 2])));
    let expected = "time,series,target,forecast,lower,upper\n\
                    2024-02-29,sales,sales,4,4,6\n2024-03-01,sales,sales,4,4,6\n";
    assert_eq!(csv(&tables), expected);
    assert!(tables[0].plot(target).svg().contains("80 % interval"));
}

#[test]
fn point_models_get_intervals_from_a_backtest() {
    // A walk of steps of one, up twice and down once: one step ahead is off by one.
    let values: Vec<_> = (0..90).map(|t| (t / 3 + [0, 1, 2][t % 3]) as f32).collect();
    let tables = request(daily(values), 3, &[]).run().unwrap();
    let target = &tables[0].targets[0];
    let (lower, upper) = target.interval.clone().unwrap();
    for step in 0..3 {
        let (down, up) = (target.point[step] - lower[step], upper[step] - target.point[step]);
        assert!((down - up).abs() < 1e-4 && (1.0..=3.0).contains(&up), "{up}");
    }
    let short = request(daily(vec![1.0, 2.0, 3.0]), 3, &[]).run().unwrap();
    assert_eq!(short[0].targets[0].interval, None);
    assert!(csv(&short).contains("2024-03-01,sales,sales,3,,\n"), "{}", csv(&short));
    assert!(terminal(&short).contains("too short"));
}

#[test]
fn covariates_need_their_future() {
    let tables = request(with_price(), 2, &[]).run().unwrap();
    assert_eq!(tables[0].targets.len(), 1, "covariates are not forecast");
    assert_eq!(tables[0].targets[0].point, [7.0, 8.0]);
    let error = request(with_price(), 5, &[]).run().unwrap_err();
    assert!(
        matches!(&error, RequestError::KnownTooShort { column, missing: 3, .. } if column == "price")
    );
    assert!(error.to_string().contains("`price` of series `sales`"), "{error}");
    let mut none = with_price();
    none.future = None;
    let error = request(none, 1, &[]).run().unwrap_err();
    assert!(matches!(error, RequestError::KnownTooShort { missing: 1, .. }));
}

#[test]
fn mistakes_are_named() {
    let message = |request: ForecastRequest| request.run().unwrap_err().to_string();
    assert_eq!(
        message(request(daily(vec![1.0]), 21, &[])),
        "the model forecasts at most 20 rows ahead, 21 were asked for"
    );
    assert_eq!(
        message(request(daily(vec![f32::NAN; 9]), 2, &[])),
        "target `sales` of series `sales` has no value at all"
    );
    assert!(message(request(daily(vec![1.0]), 0, &[])).contains("at least 1"));
    let mut level = request(daily(vec![1.0]), 1, &[]);
    level.level = 80.0;
    assert!(message(level).contains("between 0 and 1"));
    let mut none = request(daily(vec![1.0]), 1, &[]);
    none.series.clear();
    assert_eq!(none.run().unwrap_err(), RequestError::NoSeries);
}

#[test]
fn long_forecasts_are_shown_by_both_ends() {
    let mut series = daily(vec![1.5, 2.5]);
    series.start = None;
    let text = terminal(&request(series, 20, &[0.1, 0.9]).run().unwrap());
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 2 + 8 + 1 + 4 + 1, "{text}");
    assert!(lines[3].starts_with("2 ") && lines[3].ends_with("2.500  2.500  3.500"), "{text}");
    assert!(lines[11].starts_with("… 8 more") && lines[15].starts_with("21 "), "{text}");
}

#[test]
fn names_that_csv_could_break_on_are_quoted() {
    let mut series = daily(vec![1.0]);
    series.id = "a,\"b\"".into();
    let text = csv(&request(series, 1, &[]).run().unwrap());
    assert!(text.contains("\"a,\"\"b\"\"\",sales,1,,"), "{text}");
}
