//! What the contract between models and objectives can host: a toy model for each kind of model that
//! is not a stack of tokens with one head.

use crate::{
    Diffusion, Grpo, InfoNce, Masked, MaskedKind, Mixture, Objective, ObjectiveSpec, Part,
    Prediction, Reward, Supervised, spec::DynModel, toy::rows,
};
use burn::{
    backend::Autodiff,
    module::{Module, Param},
    optim::{AdamConfig, GradientsParams, Optimizer as _},
    tensor::{
        Bool, ElementConversion as _, Int, Tensor, TensorData,
        activation::{silu, softmax},
    },
};
use burn_flex::Flex;
use kiln_core::{
    AttentionVisibility, Backend, Capabilities, Completions, Corruption, Denoise, Diagnostic,
    EmbedGroups, Encode, Labelled, Lack, Language, Layout, Loss, Model, PredictTokens, Seed,
    SourceTarget, StepContext, TaskLoss, TokenTargets, Tokens,
};
use kiln_kernels::{AttentionOptions, attention};
use kiln_nn::{Linear, LinearConfig};
use rand::RngExt as _;
use rand_distr::StandardNormal;

type A = Autodiff<Flex>;

fn step<T>(seed: u64, run: impl FnOnce(&mut StepContext<'_>) -> T) -> T {
    run(&mut StepContext::new(&mut Seed::new(seed).rng()))
}

/// Trains a model for some steps; the loss of the last.
fn train<M, T>(mut model: M, rate: f64, steps: u64, loss: impl Fn(&M, u64) -> Loss<A>) -> (M, f32)
where
    M: burn::module::AutodiffModule<A> + Model<A, Batch = T>,
{
    let mut optimizer = AdamConfig::new().init();
    let mut last = f32::NAN;
    for number in 0..steps {
        let loss = loss(&model, number);
        last = loss.value.clone().into_scalar();
        let gradients = GradientsParams::from_grads(loss.value.backward(), &model);
        model = optimizer.step(rate, model, gradients);
    }
    (model, last)
}

/// Normal numbers, drawn on the host: tests in parallel share the backend's generator.
fn random(shape: [usize; 2], seed: u64) -> Tensor<A, 2> {
    let numbers = Seed::new(seed).rng().sample_iter(StandardNormal);
    let numbers: Vec<f32> = numbers.take(shape[0] * shape[1]).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &Default::default())
}

/// Two towers of other width and length, with one embedding width and a learned logit scale: CLIP.
#[derive(Module, Debug)]
struct Towers<B: Backend> {
    image: Linear<B>,
    text: Linear<B>,
    log_scale: Param<Tensor<B, 1>>,
}

/// Images `[batch, patches, width]`, and texts `[batch, tokens, other width]`.
struct ImagesAndTexts<B: Backend>(Tensor<B, 3>, Tensor<B, 3>);

impl<B: Backend> Model<B> for Towers<B> {
    type Batch = ImagesAndTexts<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.0.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.0.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { embed_groups: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> EmbedGroups<B, ImagesAndTexts<B>> for Towers<B> {
    fn group_size(&self, _: &ImagesAndTexts<B>) -> usize {
        2
    }

    fn embeddings(&self, batch: &ImagesAndTexts<B>, _: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        let pool = |x: Tensor<B, 3>| x.mean_dim(1).squeeze_dim::<2>(1);
        vec![self.image.forward(pool(batch.0.clone())), self.text.forward(pool(batch.1.clone()))]
    }

    fn logit_scale(&self) -> Option<Tensor<B, 1>> {
        Some(self.log_scale.val().exp())
    }
}

#[test]
fn two_towers_align_and_learn_their_logit_scale() {
    let device = Default::default();
    let model = Towers::<A> {
        image: LinearConfig::new(6, 4).init(&device),
        text: LinearConfig::new(3, 4).init(&device),
        log_scale: Param::from_tensor(Tensor::zeros([1], &device)),
    };
    // Eight pairs: a text is the first features of its image, of other length.
    let image = random([8, 6], 1).reshape([8, 1, 6]);
    let text = image.clone().narrow(2, 0, 3).repeat_dim(1, 5);
    let batch = ImagesAndTexts(image.repeat_dim(1, 2), text);
    let objective = InfoNce::default();
    let loss = |model: &Towers<A>, seed| {
        step(seed, |context| objective.loss(model, None, &batch, context)).unwrap()
    };
    let first = loss(&model, 0).value.into_scalar();
    let (model, last) = train(model, 0.05, 150, loss);
    assert!(last < 0.3 && last < first / 3.0, "{first} to {last}");
    assert!(model.log_scale.val().into_scalar() > 0.5, "the temperature fell");
}

/// A model that embeds crops of different sizes, the large ones first: DINO.
#[derive(Module, Debug)]
struct Crops<B: Backend> {
    head: Linear<B>,
}

/// Crops of the same images, `[batch, tokens, width]` each, of any number of tokens.
struct MultiCrop<B: Backend>(Vec<Tensor<B, 3>>);

impl<B: Backend> Model<B> for Crops<B> {
    type Batch = MultiCrop<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.0[0].device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.0[0].dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { embed_groups: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> EmbedGroups<B, MultiCrop<B>> for Crops<B> {
    fn group_size(&self, batch: &MultiCrop<B>) -> usize {
        batch.0.len()
    }

    fn embeddings(&self, batch: &MultiCrop<B>, _: &Corruption<B>) -> Vec<Tensor<B, 2>> {
        let pool = |x: &Tensor<B, 3>| x.clone().mean_dim(1).squeeze_dim::<2>(1);
        batch.0.iter().map(|crop| self.head.forward(pool(crop))).collect()
    }
}

/// The loss of DINO (<https://arxiv.org/abs/2104.14294>) without centring: each small crop of the
/// student against the first crop of the teacher.
fn dino<B: Backend, T>(
    student: &DynModel<'_, B, T>,
    teacher: &DynModel<'_, B, T>,
    batch: &T,
) -> Result<Loss<B>, Lack> {
    let none = Corruption::none();
    let global = teacher.capabilities().embed_groups()?.embeddings(batch, &none).swap_remove(0);
    let target = softmax(global.div_scalar(0.04), 1).detach();
    let local = student.capabilities().embed_groups()?.embeddings(batch, &none).into_iter().skip(1);
    let losses: Vec<Tensor<B, 1>> = local
        .map(|x| (burn::tensor::activation::log_softmax(x, 1) * target.clone()).sum_dim(1).neg())
        .map(|each| each.mean())
        .collect();
    let count = losses.len() * student.batch_size(batch);
    Ok(Loss::new(Tensor::cat(losses, 0).mean(), count))
}

#[test]
fn crops_of_different_sizes_follow_a_teacher() {
    let device = Default::default();
    let model = Crops::<A> { head: LinearConfig::new(4, 3).init(&device) };
    let teacher = Crops { head: LinearConfig::new(4, 3).init(&device) };
    let image = random([6, 4], 2).reshape([6, 1, 4]);
    let batch = MultiCrop(vec![image.clone().repeat_dim(1, 9), image.clone(), image]);
    let loss = |model: &Crops<A>, _| dino(model, &teacher, &batch).unwrap();
    let first = loss(&model, 0);
    assert_eq!(first.count, 12);
    let (_, last) = train(model, 0.1, 200, loss);
    assert!(last < first.value.into_scalar() / 2.0);
}

/// Two heads of continuous targets over one encoder: a token's values, and their negative.
#[derive(Module, Debug)]
struct TwoHeads<B: Backend> {
    heads: Vec<Linear<B>>,
}

impl<B: Backend> Model<B> for TwoHeads<B> {
    type Batch = Tensor<B, 3>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, labelled) = (Some(self as _), Some(self as _));
        let predict_tokens = Some(self as _);
        Capabilities { encode, predict_tokens, labelled, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Tensor<B, 3>> for TwoHeads<B> {
    fn layout(&self, batch: &Tensor<B, 3>) -> Layout {
        let [rows, tokens, _] = batch.dims();
        Layout::new(rows, tokens)
    }

    fn encode(
        &self,
        batch: &Tensor<B, 3>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let mask = corruption.mask.clone();
        let masked = mask.map(|mask| mask.unsqueeze_dim::<3>(2).expand(batch.dims()));
        let visible = batch.clone();
        let visible = match masked {
            Some(mask) => visible.mask_fill(mask, 0.0),
            None => visible,
        };
        // Each token is the mean of those that are visible.
        Tokens::new(visible.clone().mean_dim(1).expand(batch.dims()))
    }
}

impl<B: Backend> PredictTokens<B, Tensor<B, 3>> for TwoHeads<B> {
    fn targets(&self, batch: &Tensor<B, 3>) -> Vec<TokenTargets<B>> {
        let target = |values| TokenTargets::Values { values, mask_missing: None };
        vec![target(batch.clone()), target(batch.clone().neg())]
    }

    fn predict(&self, head: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.heads[head].forward(hidden)
    }
}

impl<B: Backend> Labelled<B, Tensor<B, 3>> for TwoHeads<B> {
    /// The mean of each sequence is its label; those that begin with 0 have none.
    fn supervised(&self, batch: &Tensor<B, 3>, _: &mut StepContext<'_>) -> TaskLoss<B> {
        let [rows, _, width] = batch.dims();
        let starts = batch.clone().narrow(1, 0, 1).abs().sum_dim(2).reshape([rows]);
        let labelled: Vec<bool> =
            starts.into_data().iter::<f32>().map(|start| start > 0.0).collect();
        let count = labelled.iter().filter(|on| **on).count();
        if count == 0 {
            return TaskLoss::empty(&batch.device());
        }
        let mask = TensorData::new(labelled, [rows]);
        let mask = Tensor::<B, 1, Bool>::from_data(mask, &batch.device()).float();
        let mean = batch.clone().mean_dim(1);
        let error = (self.heads[0].forward(mean.clone()) - mean).square();
        let error = error.sum_dim(2).reshape([rows]).div_scalar(width as f64);
        TaskLoss {
            loss: Loss::new((error * mask).sum().div_scalar(count as f64), count),
            tokens: None,
        }
    }
}

fn two_heads() -> TwoHeads<A> {
    let device = Default::default();
    TwoHeads { heads: (0..2).map(|_| LinearConfig::new(2, 2).init(&device)).collect() }
}

#[test]
fn several_heads_predict_continuous_targets() {
    let batch = random([4, 2], 3).reshape([4, 1, 2]).repeat_dim(1, 4);
    let masked = Masked { ratio: 0.25, kind: MaskedKind::Tail, ..Masked::default() };
    let loss = |model: &TwoHeads<A>, seed| {
        step(seed, |context| masked.loss(model, None, &batch, context)).unwrap()
    };
    let (model, last) = train(two_heads(), 0.05, 2000, loss);
    assert!(last < 1e-2, "{last}");
    // Each head has learned its own target: three quarters of a value are seen of it.
    let mean = |x: &Linear<A>| x.weight.val().narrow(0, 0, 1).narrow(1, 0, 1).into_scalar();
    assert!((mean(&model.heads[0]) - 4.0 / 3.0).abs() < 0.2);
    assert!((mean(&model.heads[1]) + 4.0 / 3.0).abs() < 0.2);
}

#[test]
fn a_batch_may_mix_labelled_and_unlabelled_examples() {
    let device = Default::default();
    let rows = [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [5.0, 6.0]]];
    let batch = Tensor::<A, 3>::from_floats(rows, &device);
    let supervised = Objective::Supervised(Supervised {});
    let masked = Masked { ratio: 0.5, kind: MaskedKind::Tail, ..Masked::default() };
    let masked = Objective::Masked(masked);
    let model = two_heads();
    let loss = |objective: &Objective, batch: &Tensor<A, 3>| {
        step(1, |context| objective.loss(&model, None, batch, context)).unwrap()
    };
    assert_eq!(loss(&supervised, &batch).count, 1, "one of two has a label");
    assert_eq!(loss(&masked, &batch).count, 2 * 2);
    let parts = [supervised.clone(), masked.clone()];
    let parts = parts.map(|objective| Part { objective, weight: 1.0, from: 0 }).to_vec();
    let both = Objective::Mixture(Mixture { parts, sum: true });
    let value = |objective: &Objective, batch| loss(objective, batch).value.into_scalar();
    let expected = value(&supervised, &batch) + value(&masked, &batch);
    assert!((value(&both, &batch) - expected).abs() < 1e-4);
    // Without labels the rest is learned from.
    let unlabelled = batch.clone().narrow(0, 1, 1);
    assert_eq!(loss(&supervised, &unlabelled).count, 0);
    assert_eq!(value(&both, &unlabelled), value(&masked, &unlabelled));
}

/// A language model that sees an image in front of its tokens: the logits of the next token are those
/// of the image, whatever stands before it.
#[derive(Module, Debug)]
struct Captioner<B: Backend> {
    head: Linear<B>,
}

/// Images `[batch, width]`, and the captions, `[batch, tokens]`, whose first token is the prompt.
#[derive(Clone)]
struct Captions<B: Backend> {
    images: Tensor<B, 2>,
    ids: Tensor<B, 2, Int>,
}

impl<B: Backend> Model<B> for Captioner<B> {
    type Batch = Captions<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.ids.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.ids.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, language) = (Some(self as _), Some(self as _));
        let predict_tokens = Some(self as _);
        Capabilities { encode, predict_tokens, language, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Captions<B>> for Captioner<B> {
    fn layout(&self, batch: &Captions<B>) -> Layout {
        let [rows, tokens] = batch.ids.dims();
        let loss_mask = (0..rows * tokens).map(|at| at % tokens > 0).collect();
        Layout { loss_mask: Some(loss_mask), ..Layout::new(rows, tokens) }
    }

    fn encode(
        &self,
        batch: &Captions<B>,
        _: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [_, tokens] = batch.ids.dims();
        Tokens::new(batch.images.clone().unsqueeze_dim::<3>(1).repeat_dim(1, tokens))
    }
}

impl<B: Backend> PredictTokens<B, Captions<B>> for Captioner<B> {
    fn targets(&self, batch: &Captions<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Ids { ids: batch.ids.clone() }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        self.head.forward(hidden)
    }
}

impl<B: Backend> Language<B, Captions<B>> for Captioner<B> {
    fn token_ids(&self, batch: &Captions<B>) -> Vec<Vec<u32>> {
        rows(&batch.ids)
    }

    fn sentinels(&self) -> Vec<u32> {
        Vec::new()
    }

    fn seq2seq_loss(
        &self,
        _: &Captions<B>,
        _: Vec<SourceTarget>,
        _: bool,
        _: &mut StepContext<'_>,
    ) -> Result<Loss<B>, Lack> {
        Err(Lack::new("needs a decoder that writes anything but captions"))
    }

    fn sample_completions(
        &self,
        batch: &Captions<B>,
        num_generations: usize,
        max_new_tokens: usize,
        seed: Seed,
    ) -> Result<Option<Completions<Captions<B>>>, Lack> {
        let mut rng = seed.rng();
        let [rows, width] = batch.images.dims();
        let [_, vocabulary] = self.head.weight.dims();
        // The images go along with their prompts.
        let images = batch.images.clone().unsqueeze_dim::<3>(1).repeat_dim(1, num_generations);
        let images = images.reshape([rows * num_generations, width]);
        let logits = self.head.forward(images.clone()).detach();
        let shares: Vec<f32> = softmax(logits, 1).into_data().iter::<f32>().collect();
        let mut draw = |shares: &[f32]| {
            let mut left: f32 = rng.random();
            let drawn = shares.iter().position(|share| {
                left -= share;
                left < 0.0
            });
            drawn.unwrap_or(0) as u32
        };
        let each = shares.chunks(vocabulary);
        let sampled: Vec<Vec<u32>> =
            each.map(|shares| (0..max_new_tokens).map(|_| draw(shares)).collect()).collect();
        let prompts = self.token_ids(batch);
        let row = |(at, completion): (usize, &Vec<u32>)| {
            [&prompts[at / num_generations][..1], completion].concat()
        };
        let ids: Vec<u32> = sampled.iter().enumerate().flat_map(row).collect();
        let ids = TensorData::new(ids, [rows * num_generations, 1 + max_new_tokens]);
        let ids = Tensor::from_data(ids.convert::<i64>(), &batch.ids.device());
        let references = prompts.iter().map(|ids| ids[1..].to_vec()).collect();
        Ok(Some(Completions { batch: Captions { images, ids }, sampled, references }))
    }

    fn with_ids(&self, batch: &Captions<B>, ids: Tensor<B, 2, Int>) -> Captions<B> {
        Captions { ids, images: batch.images.clone() }
    }

    fn split_half(&self, _: &Captions<B>) -> Option<[Captions<B>; 2]> {
        None
    }
}

#[test]
fn images_in_a_language_model_survive_sampling() {
    let device = Default::default();
    // Of two images one is of 1, the other of 2; captions say which, after the prompt 0.
    let batch = Captions::<A> {
        images: Tensor::from_floats([[1.0, 0.0], [0.0, 1.0]], &device),
        ids: Tensor::from_ints([[0, 1], [0, 2]], &device),
    };
    let grpo = Grpo { reward: Reward::Exact, max_new_tokens: 1, ..Grpo::default() };
    let loss = |model: &Captioner<A>, seed| {
        step(seed, |context| grpo.loss(model, None, &batch, context)).unwrap()
    };
    let model = Captioner::<A> { head: LinearConfig::new(2, 3).init(&device) };
    let (model, _) = train(model, 0.05, 150, loss);
    let mean =
        (0..20).map(|seed| loss(&model, 1000 + seed).value.into_scalar()).sum::<f32>() / 20.0;
    assert!(mean < -0.9, "a reward of {}: each completion saw its own image", -mean);
}

/// A denoiser of single numbers, `[batch, 1, 1]`, with a condition of three kinds: none, left, right.
#[derive(Module, Debug)]
struct Numbers<B: Backend> {
    input: Linear<B>,
    hidden: Linear<B>,
    output: Linear<B>,
}

/// Numbers `[batch]`, and the side that each is on, -1 or 1.
struct Sides<B: Backend> {
    values: Tensor<B, 1>,
    sides: Tensor<B, 1>,
}

impl<B: Backend> Numbers<B> {
    fn new(device: &B::Device) -> Self {
        Self {
            input: LinearConfig::new(4, 32).init(device),
            hidden: LinearConfig::new(32, 32).init(device),
            output: LinearConfig::new(32, 1).init(device),
        }
    }
}

impl<B: Backend> Model<B> for Numbers<B> {
    type Batch = Sides<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.values.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { denoise: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> Denoise<B, Sides<B>> for Numbers<B> {
    fn clean(&self, batch: &Sides<B>) -> Tensor<B, 3> {
        let [count] = batch.values.dims();
        batch.values.clone().reshape([count, 1, 1])
    }

    fn denoise(
        &self,
        batch: &Sides<B>,
        noisy: Tensor<B, 3>,
        time: Tensor<B, 1>,
        drop_condition: Tensor<B, 1, Bool>,
    ) -> Tensor<B, 3> {
        let [count, ..] = noisy.dims();
        let side = batch.sides.clone().mask_fill(drop_condition, 0.0);
        let column = |x: Tensor<B, 1>| x.reshape([count, 1]);
        let angle = time.clone().mul_scalar(std::f64::consts::PI);
        let inputs =
            vec![noisy.reshape([count, 1]), column(time), column(angle.cos()), column(side)];
        let x = silu(self.input.forward(Tensor::cat(inputs, 1)));
        self.output.forward(silu(self.hidden.forward(x))).reshape([count, 1, 1])
    }
}

/// A mixture of two narrow Gaussians, at -2 and 2.
fn mixture(count: usize, seed: u64) -> Sides<A> {
    let sides = random([count, 1], seed).reshape([count]).sign();
    let noise = random([count, 1], seed + 1).reshape([count]).mul_scalar(0.1);
    Sides { values: sides.clone().mul_scalar(2.0) + noise, sides }
}

/// Numbers drawn by deterministic steps from noise to data, with a condition or without one.
fn drawn(model: &Numbers<A>, prediction: Prediction, side: Option<f32>) -> Vec<f32> {
    let (count, steps) = (200, 40);
    let device = Default::default();
    let sides = Tensor::<A, 1>::full([count], side.unwrap_or(0.0), &device);
    let batch = Sides { values: sides.clone(), sides };
    let dropped = Tensor::<A, 1>::full([count], f32::from(u8::from(side.is_none())), &device);
    let dropped = dropped.greater_elem(0.5);
    let mut x = random([count, 1], 77).reshape([count, 1, 1]);
    for number in (1..=steps).rev() {
        // The first step is not from noise alone, of which no data can be read.
        let [now, next] = [number, number - 1].map(|at| {
            Tensor::<A, 1>::full([count], 0.98 * f64::from(at) / f64::from(steps), &device)
        });
        let predicted = model.denoise(&batch, x.clone(), now.clone(), dropped.clone()).detach();
        let clean = prediction.clean(x.clone(), predicted, now.clone()).clamp(-4.0, 4.0);
        let three = |x: Tensor<A, 1>| x.reshape([count, 1, 1]);
        let (a, s) = prediction.schedule(now);
        let noise = (x - clean.clone() * three(a)) / three(s);
        let (a, s) = prediction.schedule(next);
        x = (clean * three(a) + noise * three(s)).detach();
    }
    x.into_data().iter::<f32>().collect()
}

#[test]
fn denoisers_learn_a_mixture_of_gaussians_by_any_target() {
    for prediction in [Prediction::Noise, Prediction::Velocity, Prediction::Flow] {
        let objective = Diffusion { prediction, drop_condition: 0.3 };
        let loss = |model: &Numbers<A>, seed| {
            let batch = mixture(256, 2 * seed);
            step(seed, |context| objective.loss(model, None, &batch, context)).unwrap()
        };
        <A as burn::tensor::backend::Backend>::seed(&Default::default(), 5);
        let (model, _) = train(Numbers::new(&Default::default()), 1e-2, 400, loss);
        let free = drawn(&model, prediction, None);
        let size = free.iter().map(|x| x.abs()).sum::<f32>() / free.len() as f32;
        let right = free.iter().filter(|x| **x > 0.0).count() as f32 / free.len() as f32;
        assert!((size - 2.0).abs() < 0.4, "{prediction:?}: {size}");
        assert!((0.3..0.7).contains(&right), "{prediction:?}: {right}");
        for side in [-1.0, 1.0] {
            let found = drawn(&model, prediction, Some(side));
            let there = found.iter().filter(|x| **x * side > 0.0).count() as f32;
            let share = there / found.len() as f32;
            assert!(share > 0.9, "{prediction:?}: {share} are on the side {side}");
        }
        let observed = step(3, |context| {
            context.collect_metrics = true;
            objective.loss(&model, None, &mixture(64, 9), context)
        });
        let observed = observed.unwrap();
        assert!(observed.diagnostics.iter().any(|(kind, value)| {
            *kind == Diagnostic::BaselineLoss && value.clone().into_scalar().elem::<f32>() > 0.5
        }));
    }
}

/// Attention over tokens whose edges have a number each, which is the attention bias.
#[derive(Module, Debug)]
struct Graph<B: Backend> {
    edge_weight: Param<Tensor<B, 1>>,
}

/// Tokens `[batch, tokens, width]`, and the edges between them, `[batch, tokens, tokens]`.
struct Edges<B: Backend> {
    values: Tensor<B, 3>,
    edges: Tensor<B, 3>,
}

impl<B: Backend> Model<B> for Graph<B> {
    type Batch = Edges<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.values.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        let (encode, predict_tokens) = (Some(self as _), Some(self as _));
        Capabilities { encode, predict_tokens, ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Edges<B>> for Graph<B> {
    fn layout(&self, batch: &Edges<B>) -> Layout {
        let [rows, tokens, _] = batch.values.dims();
        Layout::new(rows, tokens)
    }

    fn encode(
        &self,
        batch: &Edges<B>,
        corruption: &Corruption<B>,
        _: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [rows, tokens, width] = batch.values.dims();
        let dims = batch.values.dims();
        let mask = corruption.mask.clone().map(|mask| mask.unsqueeze_dim::<3>(2).expand(dims));
        let values = match mask {
            Some(mask) => batch.values.clone().mask_fill(mask, 0.0),
            None => batch.values.clone(),
        };
        let still = Tensor::zeros([rows, tokens, 1, width], &values.device());
        let bias = batch.edges.clone() * self.edge_weight.val().reshape([1, 1, 1]);
        let bias = bias.reshape([rows, 1, tokens, tokens]);
        let options = AttentionOptions {
            visibility: AttentionVisibility::bidirectional().add_bias(bias),
            ..AttentionOptions::default()
        };
        let heads = values.reshape([rows, tokens, 1, width]);
        let found = attention(still.clone(), still, heads, options);
        Tokens::new(found.reshape([rows, tokens, width]))
    }
}

impl<B: Backend> PredictTokens<B, Edges<B>> for Graph<B> {
    fn targets(&self, batch: &Edges<B>) -> Vec<TokenTargets<B>> {
        vec![TokenTargets::Values { values: batch.values.clone(), mask_missing: None }]
    }

    fn predict(&self, _: usize, hidden: Tensor<B, 3>) -> Tensor<B, 3> {
        hidden
    }
}

#[test]
fn edges_are_an_attention_bias_that_is_learned() {
    let device = Default::default();
    // Two clusters of equal tokens: who is joined by an edge is alike.
    let values = [[[3.0], [3.0], [-3.0], [-3.0], [3.0], [-3.0]]];
    let sign = [1.0, 1.0, -1.0, -1.0, 1.0, -1.0];
    let joined = sign.map(|one| sign.map(|other| if one == other { 1.0 } else { 0.0 }));
    let batch = Edges::<A> {
        values: Tensor::from_floats(values, &device),
        edges: Tensor::from_floats([joined], &device),
    };
    let masked = Masked { ratio: 0.17, ..Masked::default() };
    let loss = |model: &Graph<A>, seed| {
        step(seed, |context| masked.loss(model, None, &batch, context)).unwrap()
    };
    let model = Graph { edge_weight: Param::from_tensor(Tensor::zeros([1], &device)) };
    let (model, _) = train(model, 0.1, 100, loss);
    assert!(
        model.edge_weight.val().into_scalar() > 1.0,
        "the mask of a token is told by its edges"
    );
}

/// Rows of a table, whose test rows attend to training rows: their labels are predicted in context.
struct TableRows;

/// Rows `[batch, rows, width]`, of which the first `[batch]` are for training.
struct Rows<B: Backend> {
    values: Tensor<B, 3>,
    training: Tensor<B, 1, Int>,
}

impl<B: Backend> Model<B> for TableRows {
    type Batch = Rows<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.values.device()
    }

    fn batch_size(&self, batch: &Self::Batch) -> usize {
        batch.values.dims()[0]
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { encode: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> Encode<B, Rows<B>> for TableRows {
    fn layout(&self, batch: &Rows<B>) -> Layout {
        let [tables, rows, _] = batch.values.dims();
        Layout::new(tables, rows)
    }

    fn encode(
        &self,
        batch: &Rows<B>,
        _: &Corruption<B>,
        attends: Option<&AttentionVisibility<B>>,
    ) -> Tokens<B> {
        let [tables, rows, width] = batch.values.dims();
        let context = || AttentionVisibility::context(batch.training.clone());
        let visibility = attends.cloned().unwrap_or_else(context);
        let heads = batch.values.clone().reshape([tables, rows, 1, width]);
        let still = Tensor::zeros([tables, rows, 1, width], &heads.device());
        let options = AttentionOptions { visibility, ..AttentionOptions::default() };
        let found = attention(still.clone(), still, heads, options);
        Tokens::new(found.reshape([tables, rows, width]))
    }
}

#[test]
fn test_rows_attend_to_training_rows_and_to_themselves() {
    let device = Default::default();
    let values = Tensor::<Flex, 3>::from_floats([[[1.0], [3.0], [10.0], [20.0]]], &device);
    let batch = Rows { values, training: Tensor::from_ints([2], &device) };
    let found = TableRows.encode(&batch, &Corruption::none(), None).values;
    let found: Vec<f32> = found.into_data().to_vec().unwrap();
    // The mean of the training rows, and of a test row with them.
    let expected = [2.0, 2.0, 14.0 / 3.0, 8.0];
    assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-5), "{found:?}");
}
