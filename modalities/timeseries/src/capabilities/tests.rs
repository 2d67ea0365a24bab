use super::*;
use crate::{
    config::SeriesModelConfig,
    head::{ForecastConfig, TokenHeadConfig, loss::PointLoss},
    presets::Preset,
};
use burn::{backend::Autodiff, tensor::Distribution as Random};
use burn_flex::Flex;
use kiln_core::{Layout, Seed};
use kiln_nn::{BackboneConfig, NormConfig, NormKind, TransformerConfig};
use kiln_objectives::{Objective, Pretext, SelfDistillation, Supervised};

type A = Autodiff<Flex>;

fn batch<B: Backend>() -> SeriesBatch<B> {
    let device = Default::default();
    let random = |rows| Tensor::random([2, rows, 3], Random::Normal(5.0, 2.0), &device);
    SeriesBatch {
        future: Some(random(8)),
        series: Some(Tensor::from_ints([1, 9], &device)),
        ..SeriesBatch::new(random(32))
    }
}

fn with_rng<T>(collect_metrics: bool, run: impl FnOnce(&mut StepContext<'_>) -> T) -> T {
    run(&mut StepContext { collect_metrics, ..StepContext::new(&mut Seed::new(1).rng()) })
}

#[test]
fn a_forecast_learns_with_every_loss() {
    for loss in [
        PointLoss::Mse,
        PointLoss::Mae,
        PointLoss::Huber { delta: 1.0 },
        PointLoss::Quantile { level: 0.3 },
        PointLoss::Nll { distribution: Distribution::StudentT },
    ] {
        let config = SeriesModelConfig {
            loss,
            forecast: Some(ForecastConfig { quantiles: vec![0.1, 0.9], ..Default::default() }),
            ..Preset::Tiny.config()
        };
        let model = SeriesModel::<A>::new(config, &Default::default()).unwrap();
        let batch = batch();
        let loss = with_rng(true, |context| model.supervised(&batch, context)).loss;
        assert_eq!(loss.count, 2 * 8 * 3);
        let gradients = loss.value.backward();
        let weight = match &model.frontend.embedding {
            crate::patch::ChannelLinear::Shared(linear) => linear.weight.val(),
            crate::patch::ChannelLinear::Each(_) => panic!("shared"),
        };
        let gradient: f32 = weight.grad(&gradients).unwrap().abs().sum().into_scalar();
        assert!(gradient > 0.0 && gradient.is_finite());
        let forecast = model.predict(&batch).unwrap();
        assert_eq!(forecast.point.dims(), [2, 8, 3]);
        assert_eq!(forecast.quantiles.unwrap().dims(), [2, 8, 3, 2]);
    }
}

#[test]
fn missing_futures_are_not_scored() {
    let model = SeriesModel::<Flex>::new(Preset::Tiny.config(), &Default::default()).unwrap();
    let mut batch = batch();
    let complete = with_rng(false, |context| model.supervised(&batch, context)).loss;
    // Spoil one value and say so.
    batch.future = batch.future.map(|future| future.slice_fill([0..1, 0..1, 0..1], 1e9));
    let missing = Tensor::<Flex, 3>::zeros([2, 8, 3], &Default::default());
    batch.future_missing = Some(missing.slice_fill([0..1, 0..1, 0..1], 1.0).greater_elem(0.5));
    let masked = with_rng(false, |context| model.supervised(&batch, context)).loss;
    assert_eq!((complete.count, masked.count), (48, 47));
    assert!(masked.value.into_scalar() < 100.0);
}

#[test]
fn labels_beyond_the_classes_are_not_scored() {
    let labels = vec![LabelConfig::Series(5), LabelConfig::MovingAverage(vec![2, 4])];
    let config = SeriesModelConfig { labels, ..Preset::Tiny.config() };
    let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
    let batch = batch();
    let loss = with_rng(true, |context| model.pretext("series", &batch, context)).unwrap();
    assert_eq!(loss.loss.count, 1);
    let average = with_rng(true, |context| model.pretext("moving-average", &batch, context));
    assert_eq!(average.unwrap().loss.count, 2 * 3 * 2);
    assert!(with_rng(false, |context| model.pretext("group", &batch, context)).is_none());
}

#[test]
fn token_heads_forecast_too() {
    for causal in [false, true] {
        let transformer = TransformerConfig { layers: 1, heads: 2, ..Default::default() };
        let config = SeriesModelConfig {
            causal,
            forecast: None,
            token: Some(TokenHeadConfig::default()),
            horizon: 11,
            backbone: BackboneConfig::Transformer(transformer),
            ..Preset::Tiny.config()
        };
        let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
        let batch = batch();
        assert_eq!(model.predict(&batch).unwrap().point.dims(), [2, 11, 3]);
        assert_eq!(model.config().layout(2, 3), Layout { channels: 3, ..Layout::new(6, 4) });
        let TokenTargets::Values { values, .. } = model.targets(&batch).remove(0) else {
            panic!("values")
        };
        let encoded = model.patch_tokens(model.encode_all(&batch, None, causal).tokens);
        assert_eq!(PredictTokens::predict(&model, 0, encoded.values).dims(), values.dims());
    }
}

/// Multivariate patching: a token holds a patch of each channel, row after row.
#[test]
fn tokens_of_all_channels() {
    for (causal, forecast) in [(false, true), (false, false), (true, false)] {
        let transformer = TransformerConfig { layers: 1, heads: 2, ..Default::default() };
        let mut config = SeriesModelConfig {
            causal,
            channels: Some(3),
            token: Some(TokenHeadConfig::default()),
            horizon: 11,
            backbone: BackboneConfig::Transformer(transformer),
            ..Preset::Tiny.config()
        };
        config.frontend.joint = true;
        let quantiles = vec![0.1, 0.9];
        config.forecast = forecast.then(|| ForecastConfig { quantiles, ..Default::default() });
        let patch = config.frontend.patch;
        let model = SeriesModel::<Flex>::new(config, &Default::default()).unwrap();
        let batch = batch();
        assert_eq!(model.config().layout(2, 3), Layout { channels: 1, ..Layout::new(2, 4) });
        let TokenTargets::Values { values, .. } = model.targets(&batch).remove(0) else {
            panic!("values")
        };
        assert_eq!(values.dims(), [2, 4, 3 * patch]);
        let encoded = model.patch_tokens(model.encode_all(&batch, None, causal).tokens);
        assert_eq!(PredictTokens::predict(&model, 0, encoded.values).dims(), values.dims());
        let found = model.predict(&batch).unwrap();
        assert_eq!(found.point.dims(), [2, 11, 3]);
        assert_eq!(found.quantiles.is_some(), forecast);
        assert_eq!(
            model.represent_tokens(&model.encode_plainly(&batch).tokens).dims(),
            [2, model.config().width]
        );
        // What a channel does changes the forecast of another.
        let past = batch.past.clone();
        let last = past.clone().narrow(2, 2, 1).flip([1]);
        let other = SeriesBatch::new(Tensor::cat(vec![past.narrow(2, 0, 2), last], 2));
        let first = |found: Tensor<Flex, 3>| found.narrow(2, 0, 1).into_data();
        assert_ne!(first(found.point), first(model.predict(&other).unwrap().point));
    }
    let alone = SeriesModelConfig { channels: None, ..Preset::Tiny.config() };
    let frontend = crate::frontend::FrontendConfig { joint: true, ..alone.frontend.clone() };
    let alone = SeriesModelConfig { frontend, ..alone };
    assert_eq!(alone.validate().unwrap_err().key, "channels");
}

#[test]
fn a_batch_that_does_not_fit_is_refused() {
    let model = SeriesModel::<Flex>::new(Preset::Tiny.config(), &Default::default()).unwrap();
    let short = SeriesBatch::new(Tensor::zeros([1, 9, 1], &Default::default()));
    let message = model.predict(&short).unwrap_err().to_string();
    assert_eq!(message, "the batch has 9 rows of history, the model expects 32");
}

/// What is logged, and what a teacher sees, changes nothing of what is trained.
#[test]
fn a_step_passes_batch_norm_once() {
    let device = Default::default();
    let norm = NormConfig::new(NormKind::Batch);
    let config = SeriesModelConfig {
        backbone: BackboneConfig::Transformer(TransformerConfig {
            layers: 1,
            heads: 2,
            norm,
            ..Default::default()
        }),
        labels: vec![LabelConfig::Series(20)],
        token: Some(TokenHeadConfig::default()),
        ..Preset::Tiny.config()
    };
    let tasks = Pretext { tasks: [("series".to_owned(), 1.0)].into() };
    for objective in [
        Objective::Supervised(Supervised {}),
        Objective::Pretext(tasks),
        Objective::SelfDistillation(SelfDistillation { blocks: 1, ..Default::default() }),
    ] {
        let model = SeriesModel::<A>::new(config.clone(), &device).unwrap();
        let teacher = model.clone();
        let batch = batch();
        let loss = with_rng(true, |step| {
            let drawn = objective.draw(&config.layout(2, 3), step);
            objective.loss_of_drawn(&model, Some(&teacher), &batch, drawn, step)
        });
        let loss = loss.unwrap();
        assert!(
            loss.diagnostics.iter().any(|(sign, _)| *sign == Diagnostic::RepresentationStd),
            "{}",
            objective.name()
        );
        let weights = kiln_hub::collect::<A, _>(&model).unwrap().tensors;
        let batches: Vec<_> =
            weights.iter().filter(|(name, _)| name.ends_with("batches")).collect();
        assert!(!batches.is_empty());
        for (name, batches) in batches {
            assert_eq!(batches.values, [1.0], "{name} after {}", objective.name());
        }
    }
}
