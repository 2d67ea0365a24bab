use super::*;
use crate::{DataError, Frequency, Standardizer, split::SplitProtocol};
use ndarray::{array, s};
use polars::prelude::{
    DataFrame, DataType, IntoColumn as _, NamedFrom as _, ParquetWriter, Series as Polars, TimeUnit,
};
use proptest::prelude::*;
use tempfile::TempDir;

/// A folder with one file.
fn written(name: &str, bytes: impl AsRef<[u8]>) -> (TempDir, TableSpec) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(name);
    std::fs::write(&path, bytes).unwrap();
    (dir, TableSpec::new(path))
}

fn read(text: &str, spec: impl FnOnce(TableSpec) -> TableSpec) -> Result<Vec<Series>> {
    let (_dir, table) = written("sales.csv", text);
    spec(table).read()
}

/// The message without the folder.
fn message(text: &str, spec: impl FnOnce(TableSpec) -> TableSpec) -> String {
    let text = read(text, spec).unwrap_err().to_string();
    text.get(text.find("sales.csv").unwrap()..).unwrap().to_owned()
}

const SALES: &str = "\
date,units,price,note
2024-01-03,7,1.5,c
2024-01-01,5,,a
2024-01-02,NA,1.0,b
2024-01-05,9,2.0,d
2024-01-06,,2.5,e
2024-01-07,,3.5,f
";

#[test]
fn a_wide_table_is_sorted_and_its_gaps_are_rows() {
    let series = read(SALES, |spec| spec.with_time("date")).unwrap();
    let [series] = series.as_slice() else { panic!("one series") };
    assert_eq!((series.id.as_str(), series.frequency), ("sales", Frequency::DAILY));
    assert_eq!(series.channels, ["units", "price"], "the text column is left out");
    assert_eq!(series.len(), 7, "the fourth is missing");
    assert_eq!(series.values.slice(s![..;2, 0]).to_vec()[..2], [5.0, 7.0]);
    assert!(series.values[[1, 0]].is_nan() && series.values[[3, 1]].is_nan());
    assert_eq!(series.start.unwrap().to_string(), "2024-01-01 00:00:00");
    assert!(series.future.is_none());
}

#[test]
fn rows_after_the_last_target_are_the_future() {
    let spec =
        |spec: TableSpec| spec.with_time("date").with_targets(["units"]).with_known(["price"]);
    let series = &read(SALES, spec).unwrap()[0];
    assert_eq!((series.len(), series.known, series.targets()), (5, 1, 1));
    assert_eq!(series.future, Some(array![[2.5], [3.5]]));
    // Without targets named, a known covariate is none.
    let series = &read(SALES, |spec| spec.with_time("date").with_known(["price"])).unwrap()[0];
    assert_eq!(series.channels, ["units", "price"]);
}

#[test]
fn a_long_table_has_a_series_an_id() {
    let text =
        "id,t,y\nb,2024-02,2\na,2024-01,1\nb,2024-01,1\na,2024-04,4\na,2024-02,2\nc,2024-01,9\n";
    let series = read(text, |spec| spec.with_time("t").with_id("id")).unwrap();
    let ids: Vec<_> = series.iter().map(|s| (s.id.as_str(), s.len())).collect();
    assert_eq!(ids, [("b", 2), ("a", 4), ("c", 1)], "in order of appearance");
    assert!(series.iter().all(|s| s.frequency == Frequency::MONTHLY), "one row borrows it");
    assert_eq!(series[0].values.column(0).to_vec(), [1.0, 2.0]);
    assert_eq!(series[0].channels, ["y"]);
    // Numbers as ids, no times.
    let series = read("k,y\n1,5\n2,6\n1,7\n", |spec| spec.with_id("k")).unwrap();
    assert_eq!((series[0].id.as_str(), series[0].values.column(0).to_vec()), ("1", vec![5.0, 7.0]));
}

#[test]
fn separators_quotes_and_marks() {
    let text = "\u{feff}Datum;\"Wert, netto\"\r\n31.01.2024;1,5\r\n01.02.2024;\"2,5\"\r\n";
    let series = &read(text, |spec| spec.with_time("Datum")).unwrap()[0];
    assert_eq!(series.channels, ["Wert, netto"]);
    assert_eq!(series.values.column(0).to_vec(), [1.5, 2.5]);
    let latin = [b"temp\xe9rature\n".as_slice(), b"1\n2\n"].concat();
    let (_dir, spec) = written("latin.csv", latin);
    assert_eq!(spec.read().unwrap()[0].len(), 2);
    let series = &read("a\tb\n1\t2\n\n3\t4\n", |spec| spec).unwrap()[0];
    assert_eq!(series.values, array![[1.0, 2.0], [3.0, 4.0]]);
    let series = &read("a\n1\n\n3\n\n\n", |spec| spec).unwrap()[0];
    assert!(series.len() == 3 && series.values[[1, 0]].is_nan(), "a blank line is a missing value");
    let series = &read("a,b\n1,2", |spec| spec).unwrap()[0];
    assert_eq!(series.values, array![[1.0, 2.0]], "no line break at the end");
}

#[test]
fn line_breaks_inside_quotes_are_part_of_their_cell() {
    let text = "shop,y\n\"North\n\nStreet\",1\n\"North\nStreet\",2\n\n\"North\n\nStreet\",3\n";
    let series = read(text, |spec| spec.with_id("shop")).unwrap();
    let ids: Vec<_> = series.iter().map(|s| (s.id.as_str(), s.len())).collect();
    assert_eq!(ids, [("North\n\nStreet", 2), ("North\nStreet", 1)], "a blank line is kept");
    // An empty last cell of a table with tabs is a cell.
    let series = &read("a\tb\n1\t2\n3\t\n", |spec| spec).unwrap()[0];
    assert!(series.len() == 2 && series.values[[1, 1]].is_nan());
    let text = message("a,b\n1,2\n3,\"4\n5,6\n", |s| s);
    assert!(text.contains("line 3: a quote is opened and never closed"), "{text}");
}

#[test]
fn missing_files_and_columns_name_the_nearest() {
    let (dir, spec) = written("sales.csv", SALES);
    let text = TableSpec::new(dir.path().join("sale.csv")).read().unwrap_err().to_string();
    assert!(text.ends_with("sale.csv: no such file; did you mean `sales.csv`?"), "{text}");
    let text = TableSpec::new(dir.path()).read().unwrap_err().to_string();
    assert!(text.contains("cannot be read"), "a folder: {text}");
    let text = spec.with_targets(["Unit"]).read().unwrap_err().to_string();
    let expected =
        "no column `Unit`; did you mean `units`?; its columns are `date`, `units`, `price`, `note`";
    assert!(text.ends_with(expected), "{text}");
    let twice = message(SALES, |spec| spec.with_targets(["price"]).with_known(["price"]));
    assert_eq!(twice, "sales.csv: column `price` is named both as target and as known covariate");
}

#[test]
fn empty_files() {
    assert!(message("", |s| s).contains("the file is empty"));
    assert!(message("a,b\n", |s| s).contains("there is a header but no row"));
    assert!(message("a,b\n\n  \n", |s| s).contains("there is a header but no row"));
    assert!(message("\n\n", |s| s).contains("header, is empty"));
    assert!(message("note\nx\ny\n", |s| s).contains("no numeric column"));
}

#[test]
fn bad_cells_name_row_and_text() {
    let text = message("t,y\n2024-01-01,1\nsoon,2\n", |s| s.with_time("t"));
    let expected =
        "sales.csv: column `t`, row 2: `soon` is not a time, the rows before are like `2024-01-01`";
    assert_eq!(text, expected);
    let text = message("t,y\n2024-01-01,1\n,2\n", |s| s.with_time("t"));
    assert!(text.contains("row 2: `` is not a time"), "{text}");
    let text = message("t,y\n01/02/2024,1\n02/02/2024,2\n", |s| s.with_time("t"));
    assert!(text.contains("`01/02/2024` may be day/month or month/day"), "{text}");
    let text = message("y\n1\n2\n3a\n", |s| s);
    let expected = "sales.csv: column `y`, row 3: `3a` is not a number; leave missing cells empty";
    assert_eq!(text, expected);
    let text = message(SALES, |s| s.with_targets(["note"]));
    assert!(text.contains("column `note`, row 1: `c` is not a number"), "{text}");
    let text = message("id,y\na,1\n,2\n", |s| s.with_id("id"));
    assert_eq!(text, "sales.csv: column `id`, row 2: the id is empty");
}

#[test]
fn duplicate_times_name_both_rows() {
    let text = message("t,y\n2024-01-01,1\n2024-01-02,2\n2024-01-01,3\n", |s| s.with_time("t"));
    let expected = "sales.csv: column `t`: 2024-01-01 00:00:00 appears in rows 1 and 3; \
        remove one, or name the column that tells series apart as the id";
    assert_eq!(text, expected);
    let text = "t,k,y\n2024-01-01,a,1\n2024-01-01,b,2\n2024-01-01,b,3\n";
    let text = message(text, |s| s.with_time("t").with_id("k"));
    assert!(text.contains("of series `b` appears in rows 2 and 3; remove one"), "{text}");
}

#[test]
fn all_missing_columns_and_irregular_steps() {
    let text = message("x,y\n1,\n2,NaN\n", |s| s);
    assert!(text.contains("column `y` has no value at all"), "{text}");
    let text = message("k,y\na,1\nb,\n", |s| s.with_id("k"));
    assert!(text.contains("column `y` of series `b` has no value at all"), "{text}");
    let text = "t,y\n2024-01-01,1\n2024-01-02,2\n2024-01-03,2\n2024-01-03 07:00,3\n";
    let text = message(text, |s| s.with_time("t"));
    assert!(text.contains("rows are not evenly spaced: most steps are 1 day, but from"), "{text}");
}

#[test]
fn ragged_rows_are_named() {
    let text = message("a,b\n1,2\n3,4,5\n", |s| s);
    assert!(text.starts_with("sales.csv: row 2 has 3 cells, the header has 2"), "{text}");
    let text = message("a,b\n1,2\n3\n4,5\n", |s| s);
    assert!(text.starts_with("sales.csv: row 2 has 1 cell, the header has 2"), "{text}");
    assert!(matches!(
        read("a,b\n1,\"2\n3,4\n", |s| s),
        Err(DataError::Ragged { .. } | DataError::Format { .. } | DataError::NotNumeric { .. })
    ));
}

fn frame() -> DataFrame {
    let times: Vec<i64> = (0..50).map(|row| 1_704_067_200_000 + row * 3_600_000).collect();
    let times = Polars::new("t".into(), times)
        .cast(&DataType::Datetime(TimeUnit::Milliseconds, None))
        .unwrap();
    let values: Vec<Option<f64>> =
        (0..50).map(|row| (row != 3).then_some(f64::from(row))).collect();
    let counts: Vec<i32> = (0..50).collect();
    let names: Vec<String> = (0..50).map(|row| format!("n{row}")).collect();
    let columns = vec![
        times.into_column(),
        Polars::new("y".into(), values).into_column(),
        Polars::new("n".into(), counts).into_column(),
        Polars::new("name".into(), names).into_column(),
    ];
    DataFrame::new(50, columns).unwrap()
}

fn parquet_bytes() -> Vec<u8> {
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame()).unwrap();
    bytes
}

#[test]
fn parquet_is_read_by_its_types() {
    let (_dir, spec) = written("data.parquet", parquet_bytes());
    let series = &spec.clone().with_time("t").read().unwrap()[0];
    assert_eq!((series.frequency, series.len()), (Frequency::HOURLY, 50));
    assert_eq!(series.channels, ["y", "n"]);
    assert!(series.values[[3, 0]].is_nan() && series.values[[3, 1]] == 3.0);
    assert_eq!(series.start.unwrap().to_string(), "2024-01-01 00:00:00");
    let text = spec.with_targets(["t"]).read().unwrap_err().to_string();
    assert!(text.ends_with("column `t` holds times, expected numbers"), "{text}");
}

#[test]
fn damaged_parquet_is_an_error() {
    let bytes = parquet_bytes();
    for cut in [4, 8, 12, bytes.len() / 2, bytes.len() - 1] {
        let (_dir, spec) = written("data.parquet", &bytes[..cut]);
        let text = spec.read().unwrap_err().to_string();
        assert!(text.contains("data.parquet: not a readable CSV or Parquet file"), "{text}");
    }
    // Cut in the middle, with the end in place.
    let (_dir, spec) =
        written("data.parquet", [&bytes[..40], &bytes[bytes.len() - 200..]].concat());
    assert!(spec.read().is_err());
}

#[test]
fn binary_garbage_is_an_error() {
    let noise: Vec<u8> =
        (0u32..4000).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let starts: [&[u8]; 5] = [b"", b"PAR1", b"\x89PNG\r\n", b"PK\x03\x04", b"a,b\n1,2\n"];
    for start in starts {
        let (_dir, spec) = written("data.csv", [start, &noise].concat());
        let text = spec.read().unwrap_err().to_string();
        assert!(text.contains("not a readable CSV or Parquet file"), "{text}");
    }
}

#[test]
fn a_recipe_can_name_a_table() {
    let spec: TableSpec = toml::from_str("path = 'a.csv'\ntime = 't'\nknown = ['p']").unwrap();
    assert_eq!(spec, TableSpec::new("a.csv").with_time("t").with_known(["p"]));
    let error = toml::from_str::<TableSpec>("path = 'a.csv'\ntarget = ['p']").unwrap_err();
    assert!(error.to_string().contains("targets"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_bytes_give_series_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let (_dir, spec) = written("x.csv", &bytes);
        let _ = spec.read();
    }

    #[test]
    fn any_cells_give_series_or_an_error(text in "([0-9a-z\",;.\t-]{0,6}[,;\n]){0,40}") {
        let (_dir, spec) = written("x.csv", &text);
        let _ = spec.clone().read();
        let _ = spec.with_time("a").with_id("b").read();
    }
}

#[test]
fn flipped_bits_of_parquet_do_not_panic() {
    let sound = parquet_bytes();
    let mut refused = 0;
    for place in (0..sound.len()).step_by(11) {
        let mut bytes = sound.clone();
        bytes[place] ^= 1 << (place % 8);
        let (_dir, spec) = written("x.parquet", &bytes);
        refused += usize::from(spec.with_time("t").read().is_err());
    }
    assert!(refused > 10, "{refused} of the damaged files were refused");
}

#[test]
fn real_hourly_data() {
    let Some(path) = kiln_host::testing::data("timeseries/ETTh1.csv") else { return };
    let series = &TableSpec::new(path).with_time("date").read().unwrap()[0];
    assert_eq!((series.len(), series.channels.len()), (17_420, 7));
    assert_eq!((series.frequency, series.channels[6].as_str()), (Frequency::HOURLY, "OT"));
    assert_eq!(series.time(17_419).unwrap().to_string(), "2018-06-26 19:00:00");
    let split = SplitProtocol::Ett.split(series).unwrap();
    let scale = Standardizer::fit(series.values.slice(s![split.train.rows, ..]));
    // The mean and deviation of OT over the first 12 months, as scikit-learn gives them.
    assert!(
        (scale.mean[6] - 17.128).abs() < 0.01 && (scale.std[6] - 9.176).abs() < 0.01,
        "{scale:?}"
    );
}
