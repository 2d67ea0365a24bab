use super::{
    shape::{Attention, AttentionBackward},
    *,
};
use crate::{
    Kernel,
    testing::{Check, Numbers, agrees, close, gradients_agree, outputs_agree},
};
use burn::{
    backend::Autodiff,
    tensor::{Int, TensorData, TensorPrimitive},
};
use burn_flex::Flex;

crate::on_every_backend!(
    agrees_with_the_reference,
    hides_what_it_is_told,
    biases_have_gradients,
    documents_in_one_row,
    padding_in_documents,
    prefixes_and_contexts,
    cross_attention_and_caches,
    dropout_is_replayed,
    large_scores_stay_finite,
);

/// Every query attends to every key, and nothing is added.
fn plain(width: usize) -> Attention {
    Attention {
        packed: None,
        pattern: AttentionPattern::Bidirectional,
        window: None,
        scale: 1.0 / (width as f64).sqrt(),
        mask_pad: false,
        documents: false,
        bias: false,
        alibi: None,
        dropout: None,
    }
}

const CAUSAL: AttentionPattern<()> = AttentionPattern::Causal;

fn integers(values: &[i64]) -> TensorData {
    TensorData::new(values.to_vec(), [values.len()])
}

/// Odd sizes, one token, several tiles, shared keys; one tensor.
fn agrees_with_the_reference<B: Backend>() {
    let mut numbers = Numbers::new(1);
    for (batch, tokens, heads, kv_heads, width) in
        [(1, 1, 1, 1, 1), (2, 7, 3, 1, 5), (1, 131, 4, 2, 48)]
    {
        let kernel = Attention { packed: Some([heads, kv_heads]), ..plain(width) };
        let packed = numbers.floats([batch, tokens, heads + 2 * kv_heads, width]);
        agrees::<B, _>(&kernel, &[packed], &[]);
    }
}

/// Causal, windows, padding at an end and in the middle, a row of the batch that is all padding.
fn hides_what_it_is_told<B: Backend>() {
    let mut numbers = Numbers::new(2);
    let (batch, tokens, heads, width) = (3, 37, 2, 8);
    let packed = numbers.floats([batch, tokens, 3 * heads, width]);
    let mask = (0..batch * tokens).map(|index| {
        let (row, token) = (index / tokens, index % tokens);
        i64::from(row == 1 || (row == 0 && token >= 29) || (row == 2 && token % 5 == 0))
    });
    let mask = TensorData::new(mask.collect::<Vec<i64>>(), [batch, tokens]);
    for (causal, window, mask_pad) in [
        (true, None, false),
        (true, Some(5), false),
        (false, Some(1), true),
        (false, Some(9), true),
        (false, None, true),
    ] {
        let packed_heads = Some([heads, heads]);
        let pattern = if causal { CAUSAL } else { AttentionPattern::Bidirectional };
        let kernel = Attention { packed: packed_heads, pattern, window, mask_pad, ..plain(width) };
        let ints = if mask_pad { vec![mask.clone()] } else { Vec::new() };
        agrees::<B, _>(&kernel, std::slice::from_ref(&packed), &ints);
    }
}

/// A bias of each shape that broadcasts; slopes; both.
fn biases_have_gradients<B: Backend>() {
    let mut numbers = Numbers::new(3);
    let (batch, tokens, heads, kv_heads, width) = (2, 19, 4, 2, 8);
    let packed = numbers.floats([batch, tokens, heads + 2 * kv_heads, width]);
    for (shape, alibi, causal) in [
        (Some([1, heads]), None, false),
        (Some([batch, 1]), None, false),
        (Some([batch, heads]), None, false),
        (Some([1, 1]), Some(alibi_slopes(heads)), true),
        (None, Some(alibi_slopes(heads)), false),
    ] {
        let packed_heads = Some([heads, kv_heads]);
        let bias = shape.is_some();
        let pattern = if causal { CAUSAL } else { AttentionPattern::Bidirectional };
        let kernel = Attention { packed: packed_heads, bias, alibi, pattern, ..plain(width) };
        let mut floats = vec![packed.clone()];
        floats.extend(shape.map(|[b, h]| numbers.floats([b, h, tokens, tokens])));
        agrees::<B, _>(&kernel, &floats, &[]);
    }
}

/// Documents of several lengths, an empty one, tokens before the first and after the last.
fn documents_in_one_row<B: Backend>() {
    let mut numbers = Numbers::new(4);
    let (tokens, heads, width) = (70, 2, 8);
    let packed = numbers.floats([1, tokens, 3 * heads, width]);
    for (offsets, causal, window) in
        [(&[0, 1, 8, 8, 51, 70][..], false, None), (&[3, 40, 64], true, Some(9))]
    {
        let packed_heads = Some([heads, heads]);
        let pattern = if causal { CAUSAL } else { AttentionPattern::Bidirectional };
        let kernel =
            Attention { packed: packed_heads, documents: true, pattern, window, ..plain(width) };
        agrees::<B, _>(&kernel, std::slice::from_ref(&packed), &[integers(offsets)]);
    }
}

/// Lengths of none, within a tile, of several tiles, negative, and past the end; padding; a window;
/// documents; a cache.
fn prefixes_and_contexts<B: Backend>() {
    let mut numbers = Numbers::new(13);
    let (batch, tokens, heads, width) = (5, 150, 2, 8);
    let packed = numbers.floats([batch, tokens, 3 * heads, width]);
    let lengths = integers(&[0, 7, 130, -3, 900]);
    let mask = (0..batch * tokens).map(|at| i64::from(at % tokens > 140 || at % 11 == 4));
    let mask = TensorData::new(mask.collect::<Vec<i64>>(), [batch, tokens]);
    for pattern in [AttentionPattern::Prefix(()), AttentionPattern::Context(())] {
        let kernel = Attention { packed: Some([heads, heads]), pattern, ..plain(width) };
        let floats = std::slice::from_ref(&packed);
        agrees::<B, _>(&kernel, floats, std::slice::from_ref(&lengths));
        let padded = Attention { mask_pad: true, window: Some(70), ..kernel.clone() };
        agrees::<B, _>(&padded, floats, &[mask.clone(), lengths.clone()]);
        let row = numbers.floats([1, 230, 3 * heads, width]);
        let packed_row = Attention { documents: true, ..kernel };
        let offsets = integers(&[2, 3, 9, 9, 20, 200, 220]);
        let ints = [offsets, integers(&[1, 0, 4, 99, 20, 19])];
        agrees::<B, _>(&packed_row, std::slice::from_ref(&row), &ints);
        let step = Attention { packed: None, documents: false, ..packed_row };
        let floats = [
            numbers.floats([2, 3, heads, width]),
            numbers.floats([2, 90, 1, width]),
            numbers.floats([2, 90, 1, width]),
        ];
        agrees::<B, _>(&step, &floats, &[integers(&[40, 89])]);
    }
}

/// Fewer queries than keys, and more.
fn cross_attention_and_caches<B: Backend>() {
    let mut numbers = Numbers::new(5);
    let (heads, kv_heads, width) = (4, 2, 12);
    for (queries, keys, causal, window) in
        [(1, 20, true, Some(7)), (5, 40, true, Some(7)), (21, 3, false, None), (40, 4, false, None)]
    {
        let pattern = if causal { CAUSAL } else { AttentionPattern::Bidirectional };
        let kernel = Attention { pattern, window, ..plain(width) };
        let floats = [
            numbers.floats([2, queries, heads, width]),
            numbers.floats([2, keys, kv_heads, width]),
            numbers.floats([2, keys, kv_heads, width]),
        ];
        agrees::<B, _>(&kernel, &floats, &[]);
    }
}

fn dropout_is_replayed<B: Backend>() {
    let mut numbers = Numbers::new(6);
    let dropout = Some(AttentionDropout { p: 0.3, seed: [7, 0x9000_0001] });
    let kernel = Attention { packed: Some([2, 2]), dropout, pattern: CAUSAL, ..plain(8) };
    agrees::<B, _>(&kernel, &[numbers.floats([2, 29, 6, 8])], &[]);
    agrees::<B, _>(&kernel, &[numbers.floats([1, 75, 6, 8])], &[]);
}

/// Scores of about 1e9, of one sign and of both.
fn large_scores_stay_finite<B: Backend>() {
    let device = B::Device::default();
    for sign in [1.0, -1.0] {
        let large: Vec<f32> =
            (0..12).map(|index| 3e4 * if index % 4 == 0 { sign } else { 1.0 }).collect();
        let queries = Tensor::<B, 1>::from_floats(large.as_slice(), &device).reshape([1, 3, 1, 4]);
        let values = Tensor::<B, 4>::ones([1, 3, 1, 4], &device);
        let out = attention(queries.clone(), queries, values, AttentionOptions::causal());
        let out: Vec<f64> = out.into_data().iter::<f64>().collect();
        close("output", 1e-6, &out, &[1.0; 12]);
    }
}

/// Fewer threads than tasks and the reverse divide the work differently.
#[test]
fn any_number_of_threads() {
    let mut numbers = Numbers::new(7);
    let packed = numbers.floats([1, 600, 3, 8]);
    let kernel = Attention { packed: Some([1, 1]), pattern: CAUSAL, ..plain(8) };
    for threads in [1, 3, 16] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let Ok(pool) = pool else { unreachable!("no pool of {threads} threads") };
        pool.install(|| agrees::<Flex, _>(&kernel, std::slice::from_ref(&packed), &[]));
    }
}

/// More queries than keys: the first are before every key and attend to nothing.
#[test]
fn queries_before_every_key() {
    let mut numbers = Numbers::new(11);
    let kernel = Attention { pattern: CAUSAL, ..plain(12) };
    let floats = [[1, 9, 2, 12], [1, 4, 2, 12], [1, 4, 2, 12]].map(|shape| numbers.floats(shape));
    agrees::<Flex, _>(&kernel, &floats, &[]);
}

/// Documents and padding within them.
fn padding_in_documents<B: Backend>() {
    let mut numbers = Numbers::new(12);
    let (tokens, heads, width) = (70, 2, 8);
    let packed = numbers.floats([1, tokens, 3 * heads, width]);
    let kernel =
        Attention { packed: Some([heads, heads]), documents: true, mask_pad: true, ..plain(width) };
    let mask = (0..tokens).map(|token| i64::from(token % 7 == 2)).collect::<Vec<i64>>();
    let mask = TensorData::new(mask, [1, tokens]);
    agrees::<B, _>(&kernel, &[packed], &[mask, integers(&[0, 20, 70])]);
}

#[test]
fn half_precision_is_storage() {
    let mut numbers = Numbers::new(8);
    let kernel = Attention { packed: Some([2, 1]), pattern: CAUSAL, bias: true, ..plain(16) };
    let floats = [numbers.floats([2, 21, 4, 16]), numbers.floats([1, 2, 21, 21])];
    gradients_agree::<Flex, _>(Check::BF16, &kernel, &floats, &[]);
}

/// The backward step's own reference, and gradients that nobody asked for.
#[test]
fn the_backward_step_agrees() {
    let mut numbers = Numbers::new(9);
    let mut attention = Attention { pattern: CAUSAL, bias: true, ..plain(8) };
    let shapes = [[2, 9, 2, 8], [2, 9, 1, 8], [2, 9, 1, 8], [1, 2, 9, 9]];
    let mut floats: Vec<TensorData> = shapes.iter().map(|&s| numbers.floats(s)).collect();
    let forward = |attention: &Attention, floats: &[TensorData]| {
        let device = Default::default();
        let inputs = floats.iter().map(|data| {
            Tensor::<Flex, 4>::from_data(data.clone(), &device).into_primitive().tensor()
        });
        let outputs = attention.reference::<Flex>(Tensors::floats(inputs));
        let data = outputs.into_iter().map(|tensor| tensor.into_data());
        data.collect::<Vec<TensorData>>()
    };
    floats.extend(forward(&attention, &floats));
    floats.push(numbers.floats([2, 9, 2, 8]));
    for (queries, keys, bias) in
        [(true, true, true), (true, false, false), (false, true, false), (false, false, true)]
    {
        let step = AttentionBackward { attention: attention.clone(), queries, keys, bias };
        outputs_agree::<Flex, _>(Check::F32, &step, &floats, &[]);
    }
    attention.packed = Some([1, 1]);
    attention.bias = false;
    let mut floats = vec![numbers.floats([1, 9, 3, 8])];
    floats.extend(forward(&attention, &floats));
    floats.push(numbers.floats([1, 9, 1, 8]));
    let step = AttentionBackward { attention, queries: true, keys: false, bias: false };
    outputs_agree::<Flex, _>(Check::F32, &step, &floats, &[]);
}

#[test]
fn by_hand() {
    let device = Default::default();
    // Scores of 0 and ln 3 (scale 1): weights of 1/4 and 3/4.
    let ln3 = 3f32.ln();
    let queries = Tensor::<Flex, 4>::from_floats([[[[1.0]], [[1.0]]]], &device);
    let keys = Tensor::<Flex, 4>::from_floats([[[[0.0]], [[ln3]]]], &device);
    let values = Tensor::<Flex, 4>::from_floats([[[[4.0]], [[8.0]]]], &device);
    let found = |options: AttentionOptions<Flex>| {
        let out = attention(queries.clone(), keys.clone(), values.clone(), options);
        out.into_data().iter::<f64>().collect::<Vec<f64>>()
    };
    close("plain", 1e-6, &found(AttentionOptions::default()), &[7.0, 7.0]);
    close("causal", 1e-6, &found(AttentionOptions::causal()), &[4.0, 7.0]);
    // The slope ln 3 takes away what the farther key is ahead, or doubles it.
    let alibi = Attention { alibi: Some(vec![ln3]), ..plain(1) };
    let inputs = [&queries, &keys, &values].map(|x| x.clone().into_primitive().tensor());
    let out = Flex::run(&alibi, Tensors::floats(inputs)).swap_remove(0);
    let out = Tensor::<Flex, 4>::from_primitive(TensorPrimitive::Float(out)).into_data();
    close("alibi", 1e-6, &out.iter::<f64>().collect::<Vec<f64>>(), &[6.0, 7.6]);
    let mask = Tensor::<Flex, 1, Int>::from_ints([0, 1], &device).equal_elem(1).reshape([1, 2]);
    let padded = AttentionVisibility::bidirectional().with_mask_pad(mask);
    close("padded", 1e-6, &found(padded.into()), &[4.0, 4.0]);
    let lengths = |length: i32| Tensor::<Flex, 1, Int>::from_ints([length], &device);
    let prefix = |length| found(AttentionVisibility::prefix(lengths(length)).into());
    close("prefix of none", 1e-6, &prefix(0), &[4.0, 7.0]);
    close("prefix of all", 1e-6, &prefix(2), &[7.0, 7.0]);
    let context = |length| found(AttentionVisibility::context(lengths(length)).into());
    close("context of none", 1e-6, &context(0), &[4.0, 8.0]);
    close("context of one", 1e-6, &context(1), &[4.0, 7.0]);
}

/// A packed tensor and its parts give the same.
#[test]
fn packed_is_the_parts() {
    type A = Autodiff<Flex>;
    let device = Default::default();
    let data = Numbers::new(10).floats([2, 6, 8, 4]);
    let packed = Tensor::<A, 4>::from_data(data, &device).require_grad();
    let options = || AttentionOptions::<A> { kv_heads: Some(2), ..AttentionOptions::causal() };
    let whole = self_attention(packed.clone(), options());
    let part = |first, count| packed.clone().narrow(2, first, count);
    let parts = attention(part(0, 4), part(4, 2), part(6, 2), options());
    let gradient = |out: Tensor<A, 4>| -> Vec<f64> {
        let gradients = out.square().sum().backward();
        let gradient = packed.grad(&gradients).into_iter();
        gradient
            .flat_map(|gradient| gradient.into_data().iter::<f64>().collect::<Vec<_>>())
            .collect()
    };
    close("gradient", 1e-6, &gradient(whole), &gradient(parts));
}

/// What is masked in the kernel and what is masked in the bias give the same.
#[test]
fn a_mask_is_a_bias() {
    let device = Default::default();
    let mut numbers = Numbers::new(14);
    let packed = Tensor::<Flex, 4>::from_data(numbers.floats([1, 9, 6, 4]), &device);
    let ints = |ints: &[i64]| Tensor::<Flex, 1, Int>::from_data(integers(ints), &device);
    let pad = Tensor::<Flex, 1, Int>::arange(0..9, &device).equal_elem(6).reshape([1, 9]);
    let visibility = AttentionVisibility::prefix(ints(&[2, 1])).with_window(3);
    let visibility = visibility.with_documents(ints(&[0, 5, 9])).with_mask_pad(pad);
    let bias = visibility.clone().into_bias([9, 9], &device);
    assert!(bias.documents.is_none() && bias.mask_pad.is_some());
    let [one, other] = [visibility, bias].map(|visibility| {
        let out = self_attention(packed.clone(), visibility.into());
        out.into_data().iter::<f64>().collect::<Vec<f64>>()
    });
    close("bias", 1e-6, &one, &other);
}

#[test]
fn slopes_of_the_paper() {
    assert_eq!(alibi_slopes(8)[..2], [0.5, 0.25]);
    assert_eq!(alibi_slopes(8)[7], 1.0 / 256.0);
    assert_eq!(alibi_slopes(6)[4..], [0.5, 0.125]);
}

#[test]
#[should_panic(expected = "packed heads")]
fn packed_heads_must_fit() {
    let packed = Tensor::<Flex, 4>::zeros([1, 2, 2, 4], &Default::default());
    self_attention(packed, AttentionOptions::default());
}
