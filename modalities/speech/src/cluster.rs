//! Units for masked prediction, as HuBERT has them (<https://arxiv.org/abs/2106.07447>): frames
//! clustered by k-means, first those of a spectrogram, later the model's own.

use kiln_core::Rng;
use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand::RngExt;
use rayon::prelude::*;

/// Centres of clusters.
#[derive(Clone, Debug, PartialEq)]
pub struct KMeans {
    /// `[clusters, width]`
    pub centres: Array2<f32>,
}

/// Frames that cannot be clustered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// Fewer frames than clusters, or no cluster.
    #[error("{frames} frames make no {clusters} clusters; expected at least one, and a frame each")]
    TooFew {
        /// Frames given.
        frames: usize,
        /// Clusters asked for.
        clusters: usize,
    },
    /// A value is infinite or NaN.
    #[error("frame {frame} has a value that is not finite")]
    NotFinite {
        /// Its number.
        frame: usize,
    },
}

impl KMeans {
    /// Clusters frames, `[frames, width]`, by Lloyd's algorithm from distant frames (k-means++,
    /// Arthur and Vassilvitskii, 2007), until no frame changes its cluster or for so many
    /// `iterations`. A cluster that loses all frames keeps its centre.
    ///
    /// # Errors
    /// When there are fewer frames than clusters, or a value is not finite.
    pub fn fit(
        frames: ArrayView2<'_, f32>,
        clusters: usize,
        iterations: usize,
        rng: &mut Rng,
    ) -> Result<Self, ClusterError> {
        if clusters == 0 || frames.nrows() < clusters {
            return Err(ClusterError::TooFew { frames: frames.nrows(), clusters });
        }
        let rows = frames.axis_iter(Axis(0));
        let broken = rows.enumerate().find(|(_, row)| row.iter().any(|value| !value.is_finite()));
        if let Some((frame, _)) = broken {
            return Err(ClusterError::NotFinite { frame });
        }
        let mut found = Self { centres: distant(frames, clusters, rng) };
        let mut units = found.units(frames);
        for _ in 0..iterations {
            found.move_centres(frames, &units);
            let moved = found.units(frames);
            let settled = moved == units;
            units = moved;
            if settled {
                break;
            }
        }
        Ok(found)
    }

    /// The nearest cluster of each frame, `[frames, width]`.
    pub fn units(&self, frames: ArrayView2<'_, f32>) -> Vec<u32> {
        let lengths: Vec<f32> =
            self.centres.axis_iter(Axis(0)).map(|centre| centre.dot(&centre)).collect();
        // The frame's own length is the same for all centres.
        let nearest = |products: ArrayView1<'_, f32>| {
            let distances = lengths.iter().zip(products).map(|(own, product)| own - 2.0 * product);
            let best = distances.enumerate().min_by(|(_, a), (_, b)| a.total_cmp(b));
            best.map_or(0, |(cluster, _)| cluster as u32)
        };
        let blocks: Vec<_> = frames.axis_chunks_iter(Axis(0), BLOCK).collect();
        let transposed = self.centres.t();
        let units = blocks.into_par_iter().map(|block| {
            let products = block.dot(&transposed);
            products.axis_iter(Axis(0)).map(nearest).collect::<Vec<u32>>()
        });
        units.collect::<Vec<_>>().concat()
    }

    /// The mean squared distance of frames, `[frames, width]`, from their clusters' centres.
    pub fn distortion(&self, frames: ArrayView2<'_, f32>) -> f64 {
        let units = self.units(frames);
        let rows = frames.axis_iter(Axis(0)).zip(&units);
        let total: f64 = rows.map(|(row, unit)| distance(row, self.centre(*unit))).sum();
        total / units.len().max(1) as f64
    }

    fn centre(&self, unit: u32) -> ArrayView1<'_, f32> {
        self.centres.row(unit as usize)
    }

    fn move_centres(&mut self, frames: ArrayView2<'_, f32>, units: &[u32]) {
        let mut sums = Array2::<f64>::zeros(self.centres.raw_dim());
        let mut counts = vec![0usize; self.centres.nrows()];
        for (row, unit) in frames.axis_iter(Axis(0)).zip(units) {
            let mut sum = sums.row_mut(*unit as usize);
            sum.zip_mut_with(&row, |sum, value| *sum += f64::from(*value));
            counts[*unit as usize] += 1;
        }
        let centres = self.centres.axis_iter_mut(Axis(0));
        for ((mut centre, sum), count) in centres.zip(sums.axis_iter(Axis(0))).zip(counts) {
            if count > 0 {
                centre.zip_mut_with(&sum, |centre, sum| *centre = (sum / count as f64) as f32);
            }
        }
    }
}

/// Frames multiplied with the centres at once.
const BLOCK: usize = 1024;

fn distance(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// Frames drawn with the square of their distance from those drawn before.
fn distant(frames: ArrayView2<'_, f32>, clusters: usize, rng: &mut Rng) -> Array2<f32> {
    let mut centres = Array2::zeros((clusters, frames.ncols()));
    let mut nearest = vec![f64::INFINITY; frames.nrows()];
    let mut drawn = rng.random_range(0..frames.nrows());
    for mut centre in centres.axis_iter_mut(Axis(0)) {
        centre.assign(&frames.row(drawn));
        nearest.par_iter_mut().enumerate().for_each(|(frame, nearest)| {
            *nearest = nearest.min(distance(frames.row(frame), frames.row(drawn)));
        });
        let total: f64 = nearest.iter().sum();
        let mut left = rng.random::<f64>() * total;
        // Where all frames are alike any will do.
        drawn = nearest
            .iter()
            .position(|distance| {
                left -= distance;
                left < 0.0
            })
            .unwrap_or_else(|| rng.random_range(0..frames.nrows()));
    }
    centres
}

#[cfg(test)]
mod tests {
    use super::*;
    use kiln_core::Seed;
    use ndarray::array;

    #[test]
    fn clusters_that_lie_apart_are_found() {
        let mut rng = Seed::new(3).rng();
        let corners = [[0.0, 0.0], [10.0, 0.0], [0.0, 10.0], [10.0, 10.0]];
        let mut frames = Array2::zeros((4000, 2));
        for (at, mut row) in frames.axis_iter_mut(Axis(0)).enumerate() {
            row[0] = corners[at % 4][0] + rng.random_range(-1.0..1.0);
            row[1] = corners[at % 4][1] + rng.random_range(-1.0..1.0);
        }
        let found = KMeans::fit(frames.view(), 4, 50, &mut rng).unwrap();
        let units = found.units(frames.view());
        let mut seen = units[..4].to_vec();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3]);
        assert!(units.iter().enumerate().all(|(at, unit)| *unit == units[at % 4]));
        for (corner, unit) in corners.iter().zip(&units) {
            let centre = found.centre(*unit);
            assert!((centre[0] - corner[0]).abs() < 0.1 && (centre[1] - corner[1]).abs() < 0.1);
        }
        // Each coordinate is uniform over a length of two: a variance of a third.
        assert!((found.distortion(frames.view()) - 2.0 / 3.0).abs() < 0.03);
    }

    #[test]
    fn the_same_seed_finds_the_same_and_equal_frames_are_no_trouble() {
        let frames = Array2::from_elem((10, 3), 1.5);
        let fit = || KMeans::fit(frames.view(), 3, 5, &mut Seed::new(1).rng()).unwrap();
        assert_eq!(fit(), fit());
        assert_eq!(fit().distortion(frames.view()), 0.0);
    }

    #[test]
    fn what_cannot_be_clustered_is_named() {
        let rng = &mut Seed::new(1).rng();
        let few = KMeans::fit(array![[1.0]].view(), 2, 5, rng).unwrap_err().to_string();
        assert!(few.starts_with("1 frames make no 2 clusters"), "{few}");
        let broken = KMeans::fit(array![[1.0], [f32::NAN]].view(), 1, 5, rng).unwrap_err();
        assert_eq!(broken, ClusterError::NotFinite { frame: 1 });
    }
}
