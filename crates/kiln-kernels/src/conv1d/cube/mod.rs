//! On GPUs: products of overlapping rows in tiles of shared memory, with bias and GELU in the same
//! launch; a thread a value where groups are narrow. Half precision is left to the reference
//! where a convolution is dense: Burn's convolution uses tensor cores there.

mod direct;
mod layout;
mod tiles;

use super::{
    Conv1d, Conv1dBackward, Conv1dOptions,
    geometry::{Geometry, Windows},
};
use crate::cube::{CubeTensors, buffer, column_sums, launch};
use burn::tensor::{DType, TensorMetadata};
use burn_cubecl::{CubeRuntime, tensor::CubeTensor};
use cubecl::prelude::*;

/// Output channels of a group from which tiles are worth their shared memory.
const WIDE: usize = 8;

/// Output frames that one part of a weight gradient sums, at least.
const FRAMES_EACH: usize = 256;

/// How many cubes keep a large GPU busy.
const CUBES: usize = 512;

/// Whether the reference does better.
fn for_tensor_cores<R: CubeRuntime>(options: &Conv1dOptions, x: &CubeTensor<R>) -> bool {
    options.groups == 1 && x.dtype != DType::F32
}

pub(super) fn forward<R: CubeRuntime>(
    kernel: &Conv1d,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let (x, weight) = (&inputs.floats[0], &inputs.floats[1]);
    if for_tensor_cores(&kernel.options, x) {
        return None;
    }
    let geometry = Geometry::new(kernel.options, &x.shape(), &weight.shape());
    let out = buffer(x, geometry.out_shape(), x.dtype);
    let slope = kernel.slope.then(|| buffer(x, geometry.out_shape(), x.dtype));
    let product = Product::forward(&geometry);
    let weight = layout::forward(&geometry, weight);
    product.launch(x, &weight, inputs.floats.get(2), &out, slope.as_ref(), kernel.options.gelu);
    Some([out].into_iter().chain(slope).collect())
}

pub(super) fn backward<R: CubeRuntime>(
    kernel: &Conv1dBackward,
    inputs: &CubeTensors<R>,
) -> Option<Vec<CubeTensor<R>>> {
    let (x, weight) = (&inputs.floats[0], &inputs.floats[1]);
    if for_tensor_cores(&kernel.options, x) {
        return None;
    }
    let geometry = Geometry::new(kernel.options, &x.shape(), &weight.shape());
    let gradient = inputs.floats.last()?;
    let gradient = if kernel.options.gelu {
        layout::multiply(gradient, &inputs.floats[2])
    } else {
        gradient.clone()
    };
    let [with_x, with_weight, with_bias] = kernel.needed;
    let mut outputs = Vec::new();
    if with_x {
        let out = buffer(x, x.shape(), x.dtype);
        for phase in geometry.phases() {
            let product = Product {
                geometry: &geometry,
                windows: phase.windows,
                width_in: geometry.width_out(),
                width_out: geometry.width_in(),
                frames_in: geometry.frames_out,
                frames_out: geometry.frames,
                rows: phase.rows,
                first_out: phase.first,
                step_out: geometry.options.stride,
            };
            let weight = layout::x_gradient(&geometry, weight, &phase.taps);
            product.launch(&gradient, &weight, None, &out, None, false);
        }
        outputs.push(out);
    }
    if with_weight {
        outputs.push(weight_gradient(&geometry, x, &gradient));
    }
    if with_bias {
        outputs.push(column_sums(&gradient, geometry.channels_out, gradient.dtype));
    }
    Some(outputs)
}

/// Overlapping rows of one tensor times a packed weight, into rows of another.
struct Product<'a> {
    geometry: &'a Geometry,
    windows: Windows,
    /// Channels of a group that come in and go out.
    width_in: usize,
    width_out: usize,
    frames_in: usize,
    frames_out: usize,
    /// Rows of a sequence; row `r` is frame `first_out + r * step_out` of the output.
    rows: usize,
    first_out: usize,
    step_out: usize,
}

/// The numbers of a [`Product`] on the device.
#[derive(CubeLaunch, CubeType, Clone, Copy)]
struct Sizes {
    batch: usize,
    groups: usize,
    width_in: usize,
    width_out: usize,
    frames_in: usize,
    frames_out: usize,
    rows: usize,
    first_out: usize,
    step_out: usize,
    taps: usize,
    first: i32,
    step: usize,
    spacing: usize,
}

/// What follows a product: bias, the slope of GELU beside the value, and GELU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Epilogue {
    bias: bool,
    slope: bool,
    gelu: bool,
}

impl<'a> Product<'a> {
    fn forward(geometry: &'a Geometry) -> Self {
        Self {
            geometry,
            windows: geometry.windows(),
            width_in: geometry.width_in(),
            width_out: geometry.width_out(),
            frames_in: geometry.frames,
            frames_out: geometry.frames_out,
            rows: geometry.frames_out,
            first_out: 0,
            step_out: 1,
        }
    }

    fn sizes<R: CubeRuntime>(&self) -> SizesLaunch<R> {
        SizesLaunch::new(
            self.geometry.batch,
            self.geometry.options.groups,
            self.width_in,
            self.width_out,
            self.frames_in,
            self.frames_out,
            self.rows,
            self.first_out,
            self.step_out,
            self.windows.taps,
            self.windows.first as i32,
            self.windows.step,
            self.windows.spacing,
        )
    }

    fn launch<R: CubeRuntime>(
        &self,
        x: &CubeTensor<R>,
        weight: &CubeTensor<R>,
        bias: Option<&CubeTensor<R>>,
        out: &CubeTensor<R>,
        slope: Option<&CubeTensor<R>>,
        gelu: bool,
    ) {
        let sequences = self.geometry.batch * self.geometry.options.groups;
        let count = self.rows * sequences * self.width_out;
        if count == 0 {
            return;
        }
        let epilogue = Epilogue { bias: bias.is_some(), slope: slope.is_some(), gelu };
        let nothing = buffer(x, [1], x.dtype);
        let (bias, slope) = (bias.unwrap_or(&nothing), slope.unwrap_or(&nothing));
        if self.width_out < WIDE {
            launch!(
                direct::product,
                x,
                threads(count),
                [x, weight, bias, out, slope],
                self.sizes(),
                epilogue,
                x.dtype.into(),
            );
        } else {
            let side = tiles::SIDE;
            let tiles = self.rows.div_ceil(side) * self.width_out.div_ceil(side) * sequences;
            launch!(
                tiles::product,
                x,
                cubes(tiles, tiles::THREADS),
                [x, weight, bias, out, slope],
                self.sizes(),
                epilogue,
                x.dtype.into(),
            );
        }
    }
}

fn weight_gradient<R: CubeRuntime>(
    geometry: &Geometry,
    x: &CubeTensor<R>,
    gradient: &CubeTensor<R>,
) -> CubeTensor<R> {
    let product = Product::forward(geometry);
    let depth = geometry.kernel * geometry.width_in();
    let longest = (geometry.batch * geometry.frames_out).div_ceil(FRAMES_EACH).max(1);
    let (groups, side) = (geometry.options.groups, tiles::SIDE);
    let tiles = depth.div_ceil(side) * geometry.width_out().div_ceil(side) * groups;
    let narrow = geometry.width_out() < WIDE;
    let parts = if narrow { longest } else { CUBES.div_ceil(tiles).min(longest) };
    let partial = buffer(x, [parts, depth, geometry.channels_out], DType::F32);
    if narrow {
        launch!(
            direct::weight_gradient,
            x,
            threads(parts * depth * geometry.channels_out),
            [x, gradient, partial],
            product.sizes(),
            parts,
            x.dtype.into(),
        );
    } else {
        launch!(
            tiles::weight_gradient,
            x,
            cubes(tiles * parts, tiles::THREADS),
            [x, gradient, partial],
            product.sizes(),
            parts,
            x.dtype.into(),
        );
    }
    layout::unpack(geometry, &partial, x.dtype)
}
