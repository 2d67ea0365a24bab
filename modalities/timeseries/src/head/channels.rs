//! Lists of channels.

use burn::tensor::{Int, Tensor, TensorData};
use kiln_core::Backend;
use kiln_nn::ConfigError;

/// Checks a rising list of channels.
pub fn channel_list(key: &str, list: &[usize], channels: usize) -> Result<(), ConfigError> {
    let rising = list.windows(2).all(|pair| pair[0] < pair[1]);
    if list.is_empty() || !rising || list.last().is_some_and(|last| *last >= channels) {
        let expected = format!("rising channel numbers below {channels}");
        return Err(ConfigError::new(key, format!("{list:?}"), expected));
    }
    Ok(())
}

/// Some channels of `[batch, rows, channels]`.
pub fn select<B: Backend>(x: Tensor<B, 3>, channels: &[usize]) -> Tensor<B, 3> {
    let [_, _, all] = x.dims();
    // The usual cases need no copy.
    if channels.iter().copied().eq(0..channels.len()) {
        return if channels.len() == all { x } else { x.narrow(2, 0, channels.len()) };
    }
    let index: Vec<i64> = channels.iter().map(|channel| *channel as i64).collect();
    let index =
        Tensor::<B, 1, Int>::from_data(TensorData::new(index, [channels.len()]), &x.device());
    x.select(2, index)
}
