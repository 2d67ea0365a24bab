//! Generated stock prices with something to learn, for pretext tasks on stocks
//! (system SSPT: which stock, which sector, the moving average; <https://arxiv.org/abs/2506.16746>).
//!
//! Daily returns are a market factor, a sector factor and the stock's own part. Sectors drift with
//! momentum; a stock that has strayed from its sector comes back; volatility clusters. Each stock
//! has its own volatility, market share and pace, by which its windows can be told from another's.

use super::arma;
use chrono::NaiveDate;
use kiln_datasets::{DataError, Frequency, Result, Series, draw::Draw};
use kiln_host::Seed;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Synthetic stock market: daily prices of several stocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Prices {
    /// Stocks, spread evenly over the sectors.
    pub stocks: usize,
    /// Sectors.
    pub sectors: usize,
    /// Trading days.
    pub days: usize,
    /// How much of the returns can be foreseen: 0 is a random walk, 1 (the default) gives daily
    /// returns whose foreseeable part has about a sixth of their deviation.
    pub signal: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self { stocks: 40, sectors: 5, days: 1500, signal: 1.0 }
    }
}

impl Prices {
    /// Checks the configuration.
    ///
    /// # Errors
    /// Names the first value that cannot be.
    pub fn validate(&self) -> Result<()> {
        let refuse = |key: &str, found: String, expected: &str| {
            Err(DataError::Config { key: key.into(), found, expected: expected.into() })
        };
        if self.sectors == 0 || self.stocks < self.sectors || self.stocks > 100_000 {
            let found = format!("{} for {} sectors", self.stocks, self.sectors);
            return refuse("stocks", found, "at least one stock a sector, at most 100000");
        }
        if !(2..=100_000).contains(&self.days) {
            return refuse("days", self.days.to_string(), "2 to 100000");
        }
        if !(0.0..=3.0).contains(&self.signal) {
            return refuse("signal", self.signal.to_string(), "0 to 3");
        }
        Ok(())
    }

    /// Closing prices, one series a stock, `[days, 1]`; the group is the sector. Trading days are
    /// numbered daily rows without weekends.
    ///
    /// # Errors
    /// As [`Self::validate`].
    pub fn generate(&self, seed: Seed) -> Result<Vec<Series>> {
        self.validate()?;
        let seed = seed.part("prices");
        let signal = self.signal as f32;
        let market = factor(seed.part("market"), self.days, 0.008, 0.3 * signal);
        let sectors: Vec<Vec<f32>> = (0..self.sectors as u64)
            .map(|sector| factor(seed.part("sector").at(sector), self.days, 0.007, signal))
            .collect();
        let start = NaiveDate::from_ymd_opt(2015, 1, 1).and_then(|day| day.and_hms_opt(0, 0, 0));
        let stock = |stock: usize| {
            let sector = stock % self.sectors;
            let id = format!("S{stock:03}");
            let prices = stock_prices(
                seed.part("stock").at(stock as u64),
                &market,
                &sectors[sector],
                signal,
            );
            Series {
                channels: vec!["close".into()],
                start,
                group: u32::try_from(sector).ok(),
                ..Series::univariate(id, prices, Frequency::DAILY)
            }
        };
        Ok((0..self.stocks).map(stock).collect())
    }
}

/// Daily log returns of a factor: GARCH shocks of this deviation on a drift with momentum.
fn factor(seed: Seed, days: usize, deviation: f32, signal: f32) -> Vec<f32> {
    let rng = &mut seed.rng();
    let shocks = arma::garch(rng, days);
    let keep = 1.0 - rng.log_uniform(0.02, 0.08);
    let step = (1.0f32 - keep * keep).sqrt() * 0.2 * signal * deviation;
    let mut drift = 0.0;
    shocks
        .into_iter()
        .map(|shock| {
            drift = keep * drift + step * rng.normal();
            0.0002 + drift + deviation * shock
        })
        .collect()
}

fn stock_prices(seed: Seed, market: &[f32], sector: &[f32], signal: f32) -> Vec<f32> {
    let rng = &mut seed.rng();
    let (beta, exposure) = (rng.between(0.5, 1.5), rng.between(0.6, 1.4));
    let deviation = rng.log_uniform(0.005, 0.02);
    // A part of each shock is taken back over days to weeks.
    let (back, pace) = (signal * rng.between(0.1, 0.5), rng.log_uniform(0.05, 0.4));
    let mut stray = 0.0;
    let mut price = rng.log_uniform(8.0, 200.0);
    let shocks = arma::garch(rng, market.len());
    let day = |((market, sector), shock): ((&f32, &f32), f32)| {
        let own = deviation * shock;
        let correction = -pace * stray;
        stray += correction + back * own;
        let log = beta * market + exposure * sector + own + correction;
        // Half or double in a day is a trading halt, and keeps any run of days finite.
        price = (price * log.clamp(-0.5, 0.5).exp()).clamp(0.01, 1e6);
        price
    };
    market.iter().zip(sector).zip(shocks).map(day).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returns(series: &Series) -> Vec<f32> {
        let prices: Vec<f32> = series.values.iter().copied().collect();
        prices.windows(2).map(|w| (w[1] / w[0]).ln()).collect()
    }

    fn correlation(a: &[f32], b: &[f32]) -> f32 {
        let n = a.len() as f32;
        let (ma, mb) = (a.iter().sum::<f32>() / n, b.iter().sum::<f32>() / n);
        let sum = |f: &dyn Fn(f32, f32) -> f32| {
            a.iter().zip(b).map(|(x, y)| f(x - ma, y - mb)).sum::<f32>()
        };
        sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
    }

    #[test]
    fn sectors_move_together() {
        let market = Prices { stocks: 12, sectors: 3, ..Prices::default() };
        let series = market.generate(Seed::new(1)).unwrap();
        assert_eq!(series.len(), 12);
        assert_eq!((series[4].group, series[4].channels[0].as_str()), (Some(1), "close"));
        let (mut same, mut other, mut pairs) = (0.0, 0.0, (0, 0));
        for a in 0..12 {
            for b in 0..a {
                let c = correlation(&returns(&series[a]), &returns(&series[b]));
                if series[a].group == series[b].group {
                    (same, pairs.0) = (same + c, pairs.0 + 1);
                } else {
                    (other, pairs.1) = (other + c, pairs.1 + 1);
                }
            }
        }
        let (same, other) = (same / pairs.0 as f32, other / pairs.1 as f32);
        assert!(same > other + 0.08, "{same} within, {other} across sectors");
        assert!(series.iter().flat_map(|s| &s.values).all(|p| p.is_finite() && *p > 0.0));
    }

    #[test]
    fn the_signal_is_there_and_can_be_turned_off() {
        // What remains of a stock when its sector's mean is taken off comes back.
        let reversal = |signal| {
            let market = Prices { stocks: 30, sectors: 1, days: 3000, signal };
            let series = market.generate(Seed::new(2)).unwrap();
            let all: Vec<Vec<f32>> = series.iter().map(returns).collect();
            let mean = |t: usize| all.iter().map(|r| r[t]).sum::<f32>() / 30.0;
            let means: Vec<f32> = (0..all[0].len()).map(mean).collect();
            let total: f32 = all
                .iter()
                .map(|r| {
                    let own: Vec<f32> = r.iter().zip(&means).map(|(r, m)| r - m).collect();
                    let past: Vec<f32> = own.windows(5).map(|w| w.iter().sum()).collect();
                    correlation(&past[..past.len() - 1], &own[5..])
                })
                .sum();
            total / 30.0
        };
        let (with, without) = (reversal(1.0), reversal(0.0));
        assert!(with < without - 0.03, "{with} with, {without} without");
    }

    #[test]
    fn mistakes_are_named() {
        let wrong = Prices { stocks: 2, sectors: 3, ..Prices::default() };
        let text = wrong.generate(Seed::new(1)).unwrap_err().to_string();
        assert_eq!(
            text,
            "`stocks` is 2 for 3 sectors, expected at least one stock a sector, at most 100000"
        );
        assert!(Prices { signal: f64::NAN, ..Prices::default() }.validate().is_err());
    }
}
