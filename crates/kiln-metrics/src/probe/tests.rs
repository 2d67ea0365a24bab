use super::*;
use ndarray::{Array2, array};
use proptest::prelude::*;

/// Thirty rows of three classes that overlap.
fn overlapping() -> (Array2<f32>, Vec<usize>) {
    let features = Array2::from_shape_fn((30, 3), |(i, feature)| {
        let x = i as f64;
        (match feature {
            0 => (x * 1.3).sin() + (i % 3) as f64,
            1 => (x * 0.7).cos() * 2.0 + f64::from(u8::from(i % 3 == 1)),
            _ => (i * 7 % 11) as f64 / 5.0,
        }) as f32
    });
    (features, (0..30).map(|i| i % 3).collect())
}

/// scikit-learn's `LogisticRegression(C=1)` behind its `StandardScaler`.
#[test]
fn the_optimum_of_scikit_learn() {
    let (features, labels) = overlapping();
    let config = ProbeConfig { l2: 1.0 / 30.0, max_iterations: 200, tolerance: 1e-9 };
    let probe = LogisticProbe::fit(features.view(), &labels, 3, &config).unwrap();
    assert!(probe.converged());
    let expected = [
        [-1.4364181894857373, -0.07380165731032137, 0.09064233271731455],
        [-0.06544250504277646, 0.532818403442121, -0.061883003255081746],
        [1.5018606945285138, -0.4590167461317996, -0.028759329462233106],
    ];
    for (class, weights) in expected.iter().enumerate() {
        for (feature, weight) in weights.iter().enumerate() {
            let found = probe.weights()[[feature, class]];
            // Our features were rounded to `f32`.
            assert!((found - weight).abs() < 1e-5, "{class} {feature}: {found} {weight}");
        }
    }
    let predicted = probe.predict(features.view()).unwrap();
    let hits = predicted.iter().zip(&labels).filter(|(p, l)| p == l).count();
    assert_eq!(hits, 20);
    let stopped = ProbeConfig { max_iterations: 2, ..config };
    assert!(!LogisticProbe::fit(features.view(), &labels, 3, &stopped).unwrap().converged());
}

#[test]
fn separable_classes_and_constant_features() {
    let features = array![[0.0_f32, 7.0], [1.0, 7.0], [2.0, 7.0], [3.0, 7.0]];
    let labels = [0, 0, 1, 1];
    let fit = || LogisticProbe::fit(features.view(), &labels, 2, &ProbeConfig::default()).unwrap();
    assert!(fit().converged());
    assert_eq!(fit().predict(array![[-5.0_f32, 0.0], [9.0, 0.0]].view()).unwrap(), [0, 1]);
    assert_eq!(fit().weights(), fit().weights(), "fitting is deterministic");
}

#[test]
fn neighbours_by_hand() {
    let features = array![[1.0_f32, 0.0], [2.0, 0.1], [0.0, 3.0], [-1.0, 0.0]];
    let probe = NeighbourProbe::fit(features.view(), &[0, 0, 1, 1], 2).unwrap();
    let predict = |x: f32, y: f32, k| probe.predict(array![[x, y]].view(), k).unwrap()[0];
    // Length does not matter, only the angle.
    assert_eq!(predict(100.0, 1.0, 1), 0);
    assert_eq!(predict(0.1, 1.0, 1), 1);
    // Two against one; a tie of two is for the nearer ones.
    assert_eq!(predict(0.1, 1.0, 3), 0);
    assert_eq!(predict(-0.5, 1.0, 100), 1);
}

#[test]
fn mistakes() {
    let features = array![[1.0_f32, 0.0], [2.0, f32::NAN]];
    let fit = |features: &Array2<f32>, labels: &[usize]| {
        NeighbourProbe::fit(features.view(), labels, 2).unwrap_err().to_string()
    };
    assert_eq!(fit(&features, &[0, 1]), "row 1, feature 1: NaN, expected a finite number");
    assert_eq!(fit(&features, &[0]), "1 labels, expected 2");
    assert_eq!(fit(&features, &[0, 2]), "row 1: class 2, expected one below 2");
    assert_eq!(fit(&Array2::zeros((0, 2)), &[]), "no rows, expected at least one");
    let probe = NeighbourProbe::fit(array![[1.0_f32]].view(), &[0], 1).unwrap();
    assert!(probe.predict(array![[1.0_f32, 2.0]].view(), 1).is_err());
    assert_eq!(
        probe.predict(array![[1.0_f32]].view(), 0).unwrap_err().to_string(),
        "`k` is 0, expected at least 1"
    );
    let config = ProbeConfig { l2: -1.0, ..ProbeConfig::default() };
    assert!(LogisticProbe::fit(array![[1.0_f32]].view(), &[0], 1, &config).is_err());
}

proptest! {
    /// The nearest neighbour of a fitted row is itself, or one of the same direction.
    #[test]
    fn fitted_rows_find_themselves(values in prop::collection::vec(-1.0_f32..1.0, 20)) {
        let features = Array2::from_shape_vec((10, 2), values).unwrap();
        let labels: Vec<usize> = (0..10).collect();
        let probe = NeighbourProbe::fit(features.view(), &labels, 10).unwrap();
        for (row, found) in probe.predict(features.view(), 1).unwrap().into_iter().enumerate() {
            let (a, b) = (features.row(row), features.row(found));
            let cosine = a.dot(&b) / (a.dot(&a) * b.dot(&b)).sqrt();
            prop_assert!(cosine > 0.9999 || !cosine.is_finite());
        }
    }
}
