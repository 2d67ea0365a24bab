//! On GPUs: a cube a query; 16 threads share a candidate, so that they read it side by side.

use super::{super::cube::total_sum, CandidatesBackward};
use crate::cube::{CubeTensors, LOWEST, ROW_THREADS, cube_max, cube_sum, cubes, room};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Threads a candidate.
const SHARE: usize = 16;
/// Candidates at a time.
const GROUP: usize = ROW_THREADS as usize / SHARE;
/// The most candidates: their similarities are in shared memory.
const MOST: usize = 2048;

pub(super) fn forward<R: CubeRuntime>(inputs: &CubeTensors<R>) -> Option<Vec<CubeTensor<R>>> {
    let [queries, candidates, scale] = [0, 1, 2].map(|index| &inputs.floats[index]);
    let [rows, count, width] = candidates.shape().dims();
    if count > MOST {
        return None;
    }
    let losses = room(queries, [rows], DType::F32);
    forward_row::launch::<R>(
        &queries.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        queries.clone().into_array_arg(),
        candidates.clone().into_array_arg(),
        scale.clone().into_array_arg(),
        losses.clone().into_array_arg(),
        rows as u32,
        count as u32,
        width as u32,
        count.next_multiple_of(GROUP) as u32,
        queries.dtype.into(),
    );
    Some(vec![losses])
}

/// Writes the products of a query and its candidates to shared memory. All threads must call it.
#[cube]
fn compare<F: Float>(
    queries: &Array<F>,
    candidates: &Array<F>,
    row: usize,
    count: usize,
    width: usize,
    products: &mut SharedMemory<f32>,
) {
    let mut shared = SharedMemory::<f32>::new(comptime!(ROW_THREADS as usize));
    let unit = UNIT_POS as usize;
    let lane = unit % comptime!(SHARE);
    let group = unit / comptime!(SHARE);
    for start in range_stepped(0usize, count, comptime!(GROUP)) {
        let candidate = start + group;
        let mut total = 0.0f32;
        if candidate < count {
            let from = (row * count + candidate) * width;
            for column in range_stepped(lane, width, comptime!(SHARE)) {
                total += f32::cast_from(queries[row * width + column])
                    * f32::cast_from(candidates[from + column]);
            }
        }
        shared[unit] = total;
        sync_cube();
        let mut half = comptime!(SHARE / 2).runtime();
        while half > 0 {
            if lane < half {
                let other = shared[unit + half];
                shared[unit] += other;
            }
            sync_cube();
            half /= 2;
        }
        if lane == 0 && candidate < count {
            products[candidate] = shared[unit];
        }
        sync_cube();
    }
}

/// The log-sum-exp of scaled products. All threads must call it.
#[cube]
fn level_of(products: &SharedMemory<f32>, scale: f32, count: usize) -> f32 {
    let unit = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let mut highest = comptime!(LOWEST).runtime();
    for candidate in range_stepped(unit, count, step) {
        let x = scale * products[candidate];
        highest = select(x > highest, x, highest);
    }
    let greatest = cube_max(highest);
    let mut scaled = 0.0f32;
    for candidate in range_stepped(unit, count, step) {
        scaled += (scale * products[candidate] - greatest).exp();
    }
    greatest + cube_sum(scaled).ln()
}

#[cube(launch)]
fn forward_row<F: Float>(
    queries: &Array<F>,
    candidates: &Array<F>,
    scale: &Array<F>,
    losses: &mut Array<f32>,
    rows: u32,
    count: u32,
    width: u32,
    #[comptime] capacity: u32,
    #[define(F)] _dtype: StorageType,
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let mut products = SharedMemory::<f32>::new(comptime!(capacity as usize));
    let scale = f32::cast_from(scale[0]);
    compare::<F>(queries, candidates, row, count as usize, width as usize, &mut products);
    let level = level_of(&products, scale, count as usize);
    if UNIT_POS == 0 {
        losses[row] = level - scale * products[0];
    }
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &CandidatesBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let [queries, candidates, scale, gradient] = [0, 1, 2, 3].map(|index| &inputs.floats[index]);
    let [rows, count, width] = candidates.shape().dims();
    if count > MOST {
        return None;
    }
    let dtype = queries.dtype;
    let [for_queries, for_candidates, for_scale] = kernel.needed;
    // A gradient that nobody needs is not written.
    let queries_out = room(queries, if for_queries { [rows, width] } else { [1, 1] }, dtype);
    let shape = if for_candidates { [rows, count, width] } else { [1, 1, 1] };
    let candidates_out = room(queries, shape, dtype);
    let sums = room(queries, [rows], DType::F32);
    backward_row::launch::<R>(
        &queries.client,
        cubes(rows),
        CubeDim::new_1d(ROW_THREADS),
        queries.clone().into_array_arg(),
        candidates.clone().into_array_arg(),
        scale.clone().into_array_arg(),
        gradient.clone().into_array_arg(),
        queries_out.clone().into_array_arg(),
        candidates_out.clone().into_array_arg(),
        sums.clone().into_array_arg(),
        rows as u32,
        count as u32,
        width as u32,
        count.next_multiple_of(GROUP) as u32,
        for_queries,
        for_candidates,
        [dtype.into(), gradient.dtype.into()],
    );
    let scale_out = room(queries, [1], dtype);
    if for_scale {
        total_sum::launch::<R>(
            &queries.client,
            CubeCount::Static(1, 1, 1),
            CubeDim::new_1d(ROW_THREADS),
            sums.into_array_arg(),
            scale_out.clone().into_array_arg(),
            0,
            rows as u32,
            dtype.into(),
        );
    }
    Some(kernel.choose([queries_out, candidates_out, scale_out]))
}

#[cube(launch)]
fn backward_row<F: Float, G: Float>(
    queries: &Array<F>,
    candidates: &Array<F>,
    scale: &Array<F>,
    gradient: &Array<G>,
    queries_out: &mut Array<F>,
    candidates_out: &mut Array<F>,
    sums: &mut Array<f32>,
    rows: u32,
    count: u32,
    width: u32,
    #[comptime] capacity: u32,
    #[comptime] for_queries: bool,
    #[comptime] for_candidates: bool,
    #[define(F, G)] _dtypes: [StorageType; 2],
) {
    let row = CUBE_POS;
    if row >= rows as usize {
        terminate!();
    }
    let (count, width) = (count as usize, width as usize);
    let unit = UNIT_POS as usize;
    let step = comptime!(ROW_THREADS as usize);
    let mut products = SharedMemory::<f32>::new(comptime!(capacity as usize));
    let scale = f32::cast_from(scale[0]);
    let weight = f32::cast_from(gradient[row]);
    compare::<F>(queries, candidates, row, count, width, &mut products);
    let level = level_of(&products, scale, count);
    // Products become the candidates' weights.
    let mut along = 0.0f32;
    for candidate in range_stepped(unit, count, step) {
        let product = products[candidate];
        let mut each = weight * (scale * product - level).exp();
        if candidate == 0 {
            each -= weight;
        }
        along += each * product;
        products[candidate] = scale * each;
    }
    let along = cube_sum(along);
    if unit == 0 {
        sums[row] = along;
    }
    for column in range_stepped(unit, width, step) {
        let query = f32::cast_from(queries[row * width + column]);
        let mut total = 0.0f32;
        for candidate in 0..count {
            let at = (row * count + candidate) * width + column;
            if for_queries {
                total += products[candidate] * f32::cast_from(candidates[at]);
            }
            if for_candidates {
                candidates_out[at] = F::cast_from(products[candidate] * query);
            }
        }
        if for_queries {
            queries_out[row * width + column] = F::cast_from(total);
        }
    }
}
