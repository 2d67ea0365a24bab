//! The inputs of a fixture.

use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_hub::testing::{Inputs, tensor};
use kiln_timeseries::{SeriesBatch, SeriesModelConfig};

/// The batch, its past padded in front to the model's context as the reference does.
pub fn batch<B: Backend>(inputs: &Inputs, config: &SeriesModelConfig) -> SeriesBatch<B> {
    let device = Default::default();
    let past: Tensor<B, 3> = tensor(&inputs.get(&["past_values"]).unwrap());
    let observed = inputs.get(&["past_observed_mask", "observed_mask"]);
    let missing = observed.map(|mask| fit(tensor::<B, 3>(&mask), config.context).lower_elem(0.5));
    let future: Option<Tensor<B, 3>> = inputs.get(&["future_values"]).map(|future| {
        let future = tensor::<B, 3>(&future);
        let channels = past.dims()[2];
        let targets = config.forecast.as_ref().map(|head| head.targets(channels, 0));
        match targets {
            // Only the targets' future is given: put them back in their places.
            Some(targets) if future.dims()[2] != channels => {
                let [batch, rows, _] = future.dims();
                let mut all = Tensor::zeros([batch, rows, channels], &device);
                for (at, channel) in targets.into_iter().enumerate() {
                    let column = future.clone().narrow(2, at, 1);
                    all = all.slice_assign([0..batch, 0..rows, channel..channel + 1], column);
                }
                all
            }
            _ => future,
        }
    });
    let future_missing =
        inputs.get(&["future_observed_mask"]).map(|mask| tensor::<B, 3>(&mask).lower_elem(0.5));
    let resolution = inputs.get(&["freq_token"]).map(|ids| {
        let ids: Vec<i64> = ids.values.iter().map(|id| *id as i64).collect();
        let count = ids.len();
        Tensor::<B, 1, Int>::from_data(TensorData::new(ids, [count]), &device)
    });
    SeriesBatch {
        missing,
        future,
        future_missing,
        resolution,
        ..SeriesBatch::new(fit(past, config.context))
    }
}

/// The last `context` rows, zeros in front where there are fewer.
fn fit<B: Backend>(x: Tensor<B, 3>, context: usize) -> Tensor<B, 3> {
    let [batch, rows, channels] = x.dims();
    if rows >= context {
        return x.narrow(1, rows - context, context);
    }
    let blank = Tensor::zeros([batch, context - rows, channels], &Default::default());
    Tensor::cat(vec![blank, x], 1)
}
