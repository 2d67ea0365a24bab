//! Whether a series has a season, and the season taken out: as in the M3 and M4 benchmarks.

/// How a season acts on a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Value = trend + season.
    Additive,
    /// Value = trend * season; needs positive values.
    Multiplicative,
}

/// Whether the autocorrelation at lag `season` exceeds its 90 % limit and at least three seasons
/// were seen: the test of the M4 benchmarks.
pub fn is_seasonal(series: &[f64], season: usize) -> bool {
    if season < 2 || series.len() < 3 * season {
        return false;
    }
    let length = series.len() as f64;
    let mean = series.iter().sum::<f64>() / length;
    let centred: Vec<_> = series.iter().map(|value| value - mean).collect();
    let variance: f64 = centred.iter().map(|value| value * value).sum();
    if variance <= 0.0 {
        return false;
    }
    let correlation = |lag: usize| {
        let pairs = centred.iter().zip(centred.iter().skip(lag));
        pairs.map(|(then, now)| then * now).sum::<f64>() / variance
    };
    let before: f64 = (1..season).map(|lag| correlation(lag).powi(2)).sum();
    correlation(season).abs() > 1.645 / length.sqrt() * (1.0 + 2.0 * before).sqrt()
}

/// A classical decomposition: a centred moving average as the trend, and one number a phase.
#[derive(Clone, Debug, PartialEq)]
pub struct Decomposition {
    /// How the season acts.
    pub model: Model,
    /// `[season]`, phase 0 is that of the first value; zero or one on average.
    pub indices: Vec<f64>,
}

impl Decomposition {
    /// Decomposes a series of at least two seasons; `None` for shorter ones.
    pub fn new(series: &[f64], season: usize, model: Model) -> Option<Self> {
        if season < 2 || series.len() < 2 * season {
            return None;
        }
        // An even season needs half weights at both ends to be centred.
        let window = season + 1 - season % 2;
        let edge = if season.is_multiple_of(2) { 0.5 } else { 1.0 };
        let mut sums = vec![(0.0, 0_u32); season];
        for (start, values) in series.windows(window).enumerate() {
            let inner: f64 = values.iter().sum();
            let ends = values.first().zip(values.last()).map_or(0.0, |(first, last)| first + last);
            let trend = (inner - (1.0 - edge) * ends) / season as f64;
            let row = start + window / 2;
            let (Some(value), Some(sum)) = (series.get(row), sums.get_mut(row % season)) else {
                continue;
            };
            let index = match model {
                Model::Additive => value - trend,
                Model::Multiplicative => value / trend,
            };
            *sum = (sum.0 + index, sum.1 + 1);
        }
        let means: Vec<_> =
            sums.iter().map(|(sum, count)| sum / f64::from((*count).max(1))).collect();
        let mean = means.iter().sum::<f64>() / season as f64;
        let indices: Vec<f64> = match model {
            Model::Additive => means.iter().map(|index| index - mean).collect(),
            Model::Multiplicative => means.iter().map(|index| index / mean).collect(),
        };
        let usable = |index: &f64| index.is_finite() && (model == Model::Additive || *index > 1e-6);
        indices.iter().all(usable).then_some(Self { model, indices })
    }

    /// The season of a row, counted from the first value of the series.
    pub fn at(&self, row: usize) -> f64 {
        self.indices.get(row % self.indices.len().max(1)).copied().unwrap_or(match self.model {
            Model::Additive => 0.0,
            Model::Multiplicative => 1.0,
        })
    }

    /// A value of a row without its season.
    pub fn remove(&self, row: usize, value: f64) -> f64 {
        match self.model {
            Model::Additive => value - self.at(row),
            Model::Multiplicative => value / self.at(row),
        }
    }

    /// A value of a row with its season.
    pub fn restore(&self, row: usize, value: f64) -> f64 {
        match self.model {
            Model::Additive => value + self.at(row),
            Model::Multiplicative => value * self.at(row),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_tells_a_season_from_a_walk() {
        let seasonal: Vec<_> = (0..48).map(|t| [0.0, 1.0, 5.0, 2.0][t % 4]).collect();
        assert!(is_seasonal(&seasonal, 4));
        assert!(!is_seasonal(&seasonal[..11], 4), "fewer than three seasons");
        assert!(!is_seasonal(&[1.0; 48], 4), "constant");
        let alternating: Vec<_> = (0..48_u64).map(|t| (t * 7919 % 31) as f64).collect();
        assert!(!is_seasonal(&alternating, 4));
    }

    #[test]
    fn additive_indices_of_a_line_with_a_season() {
        for season in [&[1.0, -1.0][..], &[2.0, 0.0, -2.0]] {
            let length = season.len();
            let series: Vec<_> = (0..24).map(|t| t as f64 * 0.5 + season[t % length]).collect();
            let found = Decomposition::new(&series, length, Model::Additive).unwrap();
            for (found, expected) in found.indices.iter().zip(season) {
                assert!((found - expected).abs() < 1e-12);
            }
            assert!((found.remove(5, series[5]) - 2.5).abs() < 1e-12);
        }
    }

    #[test]
    fn multiplicative_indices_of_a_constant_with_a_season() {
        let series: Vec<_> = (0..16).map(|t| 10.0 * [0.5, 1.5, 1.25, 0.75][t % 4]).collect();
        let found = Decomposition::new(&series, 4, Model::Multiplicative).unwrap();
        for (found, expected) in found.indices.iter().zip([0.5, 1.5, 1.25, 0.75]) {
            assert!((found - expected).abs() < 1e-12);
        }
        assert!((found.restore(17, found.remove(17, 7.0)) - 7.0).abs() < 1e-12);
    }

    #[test]
    fn too_short_a_series_is_not_decomposed() {
        assert_eq!(Decomposition::new(&[1.0; 7], 4, Model::Additive), None);
    }
}
