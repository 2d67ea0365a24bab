//! A series model, put together by its configuration.

use crate::{
    batch::{BatchError, SeriesBatch},
    config::SeriesModelConfig,
    frontend::Frontend,
    head::{ForecastHead, HeadOutput, TokenHead, channels::select, label::LabelHead},
    scaler::Scaled,
};
use burn::{
    module::Module,
    tensor::{Bool, Tensor},
};
use kiln_core::{Backend, Tokens};
use kiln_nn::{
    Backbone, ConfigError, Linear, LinearConfig,
    adapt::{Adapt, Walk},
};

/// A series model.
#[derive(Module, Debug)]
pub struct SeriesModel<B: Backend> {
    /// From scaled rows to tokens.
    pub frontend: Frontend<B>,
    /// From tokens to tokens.
    pub backbone: Backbone<B>,
    /// A second backbone before the forecast head.
    pub decoder: Option<Decoder<B>>,
    /// From tokens to forecasts.
    pub forecast_head: Option<ForecastHead<B>>,
    /// From tokens to patches.
    pub token_head: Option<TokenHead<B>>,
    /// From pooled tokens to labels, in the order of the configuration.
    pub label_heads: Vec<LabelHead<B>>,
    #[module(skip)]
    config: SeriesModelConfig,
}

/// A second backbone.
#[derive(Module, Debug)]
pub struct Decoder<B: Backend> {
    /// To its width, where that differs.
    pub adapter: Option<Linear<B>>,
    /// Embeds patches to be added.
    pub raw: Option<Linear<B>>,
    /// What it is made of.
    pub backbone: Backbone<B>,
}

/// What a model makes of a batch before any head. Where tokens hold all channels, these count as one.
#[derive(Clone, Debug)]
pub struct Encoded<B: Backend> {
    /// `[batch * channels, tokens, width]`, tokens in front of the patches included.
    pub tokens: Tokens<B>,
    /// `[batch * channels, patches, patch]`, scaled, nothing hidden.
    pub patches: Tensor<B, 3>,
    /// The scaled past and how to undo it.
    pub scaled: Scaled<B>,
}

/// A forecast in scaled units, and how to undo the scaling.
#[derive(Clone, Debug)]
pub struct ScaledForecast<B: Backend> {
    /// `[batch, rows, targets]` and what belongs to it.
    pub output: HeadOutput<B>,
    /// `[batch, 1, targets]`
    pub loc: Tensor<B, 3>,
    /// `[batch, 1, targets]`
    pub scale: Tensor<B, 3>,
    /// The channels that are forecast.
    pub targets: Vec<usize>,
    /// `[batch * channels, patches, width]`, what the backbone made of the past.
    pub tokens: Tokens<B>,
}

/// A forecast in units of the data.
#[derive(Clone, Debug)]
pub struct SeriesForecast<B: Backend> {
    /// `[batch, horizon, targets]`
    pub point: Tensor<B, 3>,
    /// `[batch, horizon, targets, levels]`, rising along the levels of the configuration.
    pub quantiles: Option<Tensor<B, 4>>,
    /// `[batch, 1, targets]`, what scaling subtracted.
    pub loc: Tensor<B, 3>,
    /// `[batch, 1, targets]`, what scaling divided by.
    pub scale: Tensor<B, 3>,
}

impl<B: Backend> Adapt<B> for SeriesModel<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("backbone", &mut self.backbone);
        walk.enter("decoder", &mut self.decoder);
    }
}

impl<B: Backend> Adapt<B> for Decoder<B> {
    fn places(&mut self, walk: &mut Walk<'_, B>) {
        walk.enter("backbone", &mut self.backbone);
    }
}

impl<B: Backend> SeriesModel<B> {
    /// A model with random weights.
    ///
    /// # Errors
    /// When the configuration makes no sense.
    pub fn new(config: SeriesModelConfig, device: &B::Device) -> Result<Self, ConfigError> {
        config.validate()?;
        Ok(Self::init(config, device))
    }

    /// A model of a valid configuration.
    fn init(config: SeriesModelConfig, device: &B::Device) -> Self {
        let shape = config.backbone_shape();
        let decoder = config.decoder.as_ref().map(|decoder| Decoder {
            adapter: (decoder.width != config.width)
                .then(|| LinearConfig::new(config.width, decoder.width).init(device)),
            raw: decoder.raw_residual.then(|| {
                let patch = config.frontend.patch_values(config.built_channels());
                LinearConfig::new(patch, decoder.width).init(device)
            }),
            backbone: decoder
                .backbone
                .init(kiln_nn::BackboneShape { width: decoder.width, ..shape }, device),
        });
        let (width, channels) = (config.width, config.built_channels());
        let patch = config.frontend.patch_values(channels);
        Self {
            frontend: config.frontend.init(config.context, channels, width, device),
            backbone: config.backbone.init(shape, device),
            decoder,
            forecast_head: config
                .forecast
                .as_ref()
                .map(|forecast| forecast.init(config.forecast_shape(), device)),
            token_head: config.token.map(|token| token.init(width, patch, device)),
            label_heads: config.labels.iter().map(|label| label.init(width, device)).collect(),
            config,
        }
    }

    /// What it was built from.
    pub fn config(&self) -> &SeriesModelConfig {
        &self.config
    }

    /// Checks that a batch fits.
    ///
    /// # Errors
    /// When a size differs or covariates are missing.
    pub fn check(&self, batch: &SeriesBatch<B>) -> Result<(), BatchError> {
        let [_, rows, channels] = batch.dims();
        let size = |what, expected, found| {
            if expected == found { Ok(()) } else { Err(BatchError::Size { what, expected, found }) }
        };
        size("rows of history", self.config.context, rows)?;
        if let Some(expected) = self.config.channels.filter(|_| self.config.fixes_channels()) {
            size("channels", expected, channels)?;
        }
        let covariates = self.covariates();
        if !covariates.is_empty() && batch.future.is_none() {
            return Err(BatchError::Lacks("the future of its covariates"));
        }
        Ok(())
    }

    fn covariates(&self) -> &[usize] {
        let reconcile = self.config.forecast.as_ref().and_then(|head| head.reconcile.as_ref());
        reconcile.map_or(&[], |reconcile| reconcile.covariates.as_slice())
    }

    /// The channels of a batch that are forecast.
    pub fn targets_of(&self, batch: &SeriesBatch<B>) -> Vec<usize> {
        let [_, _, channels] = batch.dims();
        match &self.config.forecast {
            Some(forecast) => forecast.targets(channels, batch.known),
            None => (0..channels.saturating_sub(batch.known)).collect(),
        }
    }

    /// The past in scaled units.
    pub(crate) fn scaled(&self, batch: &SeriesBatch<B>) -> Scaled<B> {
        let SeriesModelConfig { scaler, frontend, .. } = &self.config;
        scaler.scale(batch.past.clone(), batch.missing.as_ref(), frontend.patch)
    }

    /// Scaling, frontend and backbone; patches of `mask`, `[batch * channels, patches]`, are masked.
    pub fn encode_all(
        &self,
        batch: &SeriesBatch<B>,
        mask: Option<Tensor<B, 2, Bool>>,
        causal: bool,
    ) -> Encoded<B> {
        self.encode_scaled(self.scaled(batch), batch, mask, causal)
    }

    /// The same with the model's own attention, nothing masked.
    pub(crate) fn encode_plainly(&self, batch: &SeriesBatch<B>) -> Encoded<B> {
        self.encode_all(batch, None, self.config.causal)
    }

    pub(crate) fn encode_scaled(
        &self,
        scaled: Scaled<B>,
        batch: &SeriesBatch<B>,
        mask: Option<Tensor<B, 2, Bool>>,
        causal: bool,
    ) -> Encoded<B> {
        let patches = self.frontend.patches(scaled.values.clone());
        let tokens = self.patches_to_tokens(patches.clone(), batch, mask);
        Encoded { tokens: self.backbone.forward(tokens, causal), patches, scaled }
    }

    /// What the backbone takes.
    pub(crate) fn embed(&self, batch: &SeriesBatch<B>) -> Tokens<B> {
        self.patches_to_tokens(self.frontend.patches(self.scaled(batch).values), batch, None)
    }

    fn patches_to_tokens(
        &self,
        patches: Tensor<B, 3>,
        batch: &SeriesBatch<B>,
        mask: Option<Tensor<B, 2, Bool>>,
    ) -> Tokens<B> {
        let channels = self.sequences(batch);
        let values = self.frontend.forward(patches, mask, batch.resolution.clone(), channels);
        Tokens { values, mask_pad: None, channels }
    }

    /// How many sequences of tokens a window of a batch becomes: one a channel, or one.
    pub(crate) fn sequences(&self, batch: &SeriesBatch<B>) -> usize {
        let [_, _, channels] = batch.dims();
        self.config.frontend.sequences(channels)
    }

    /// Without the tokens in front of the patches.
    pub(crate) fn patch_tokens(&self, tokens: Tokens<B>) -> Tokens<B> {
        let [_, count, _] = tokens.dims();
        let extra = self.config.frontend.extra_tokens();
        if extra == 0 {
            return tokens;
        }
        let values = tokens.values.clone().narrow(1, extra, count - extra);
        tokens.with_values(values)
    }

    /// Where patches hold missing values, `[batch * channels, patches, patch]`.
    pub(crate) fn missing_patches(&self, batch: &SeriesBatch<B>) -> Option<Tensor<B, 3, Bool>> {
        let missing = batch.missing.clone()?;
        Some(self.frontend.patches(missing.float()).greater_elem(0.5))
    }

    /// What the forecast head reads: the decoder's output, or the backbone's.
    pub fn decode_tokens(&self, encoded: &Encoded<B>) -> Tokens<B> {
        match &self.decoder {
            Some(decoder) => decoder.forward(encoded),
            None => encoded.tokens.clone(),
        }
    }

    /// The forecast head's output in scaled units; `None` for models without that head.
    pub fn forecast_scaled(&self, batch: &SeriesBatch<B>) -> Option<ScaledForecast<B>> {
        let (config, head) = (self.config.forecast.as_ref()?, self.forecast_head.as_ref()?);
        let encoded = self.encode_plainly(batch);
        let [_, _, channels] = batch.dims();
        let targets = config.targets(channels, batch.known);
        let rows = config.rows(self.config.horizon);
        let tokens = self.decode_tokens(&encoded).values;
        let mut output = head.forward(tokens, channels, rows, &targets);
        let Scaled { values, loc, scale } = encoded.scaled;
        if let (Some(reconcile), Some(reconciler)) = (&config.reconcile, &head.reconcile)
            && let Some(point) = output.parameters.pop()
        {
            let (past, future) = if reconcile.raw_values {
                (batch.past.clone(), batch.future.clone())
            } else {
                let future = batch.future.clone().map(|f| (f - loc.clone()) / scale.clone());
                (values, future)
            };
            let corrected =
                reconciler.forward(point.clone(), past, future, &targets, &reconcile.covariates);
            // Quantiles move along with the point.
            let shift = corrected.clone() - point;
            output.quantiles = output.quantiles.map(|levels| levels + shift.unsqueeze_dim(3));
            output.parameters.push(corrected);
        }
        let (loc, scale) = (select(loc, &targets), select(scale, &targets));
        let tokens = self.patch_tokens(encoded.tokens);
        Some(ScaledForecast { output, loc, scale, targets, tokens })
    }

    /// One vector a sequence: the class token or the mean over tokens, `[batch * channels, width]`.
    pub(crate) fn pooled_of(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        self.config.label_pooling().forward(tokens.values.clone())
    }

    /// One vector a window, the mean over its channels, of a batch's tokens: `[batch, width]`.
    pub(crate) fn represent_tokens(&self, tokens: &Tokens<B>) -> Tensor<B, 2> {
        let pooled = self.pooled_of(tokens);
        let ([sequences, width], channels) = (pooled.dims(), tokens.channels.max(1));
        let items = sequences / channels;
        pooled.reshape([items, channels, width]).mean_dim(1).reshape([items, width])
    }
}

impl<B: Backend> Decoder<B> {
    /// `[batch * channels, tokens, width]` to the decoder's width.
    fn forward(&self, encoded: &Encoded<B>) -> Tokens<B> {
        let mut x = encoded.tokens.values.clone();
        if let Some(adapter) = &self.adapter {
            x = adapter.forward(x);
        }
        if let Some(raw) = &self.raw {
            let [batch, tokens, _] = x.dims();
            let [_, count, patch] = encoded.patches.dims();
            let mut patches = encoded.patches.clone();
            if tokens > count {
                // Tokens in front of the patches have no rows of their own.
                let blank = Tensor::zeros([batch, tokens - count, patch], &patches.device());
                patches = Tensor::cat(vec![blank, patches], 1);
            }
            x = x + raw.forward(patches);
        }
        self.backbone.forward(encoded.tokens.clone().with_values(x), false)
    }
}
