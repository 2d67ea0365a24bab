//! Two towers, and crops of different sizes: several embeddings a group.

use super::{A, random, step, train};
use crate::{InfoNce, ObjectiveSpec as _, spec::DynModel};
use burn::{
    module::{Module, Param},
    tensor::{Tensor, activation::softmax},
};
use kiln_core::{
    Backend, Capabilities, Corruption, EmbedGroups, HostBatch, Lack, Layout, Loss, Model,
};
use kiln_nn::{Linear, LinearConfig};

/// Two towers of other width and length, with one embedding width and a learned logit scale: CLIP.
#[derive(Module, Debug)]
struct Towers<B: Backend> {
    image: Linear<B>,
    text: Linear<B>,
    log_scale: Param<Tensor<B, 1>>,
}

/// Images `[batch, patches, width]`, and texts `[batch, tokens, other width]`.
struct ImagesAndTexts<B: Backend>(Tensor<B, 3>, Tensor<B, 3>);

impl<B: Backend> HostBatch for ImagesAndTexts<B> {
    fn layout(&self) -> Layout {
        let [pairs, patches, _] = self.0.dims();
        Layout { group_size: 2, ..Layout::new(pairs, patches) }
    }
}

impl<B: Backend> Model<B> for Towers<B> {
    type Batch = ImagesAndTexts<B>;

    fn device(&self, batch: &Self::Batch) -> B::Device {
        batch.0.device()
    }

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { embed_groups: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> EmbedGroups<B, ImagesAndTexts<B>> for Towers<B> {
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

    fn capabilities(&self) -> Capabilities<'_, B, Self::Batch> {
        Capabilities { embed_groups: Some(self), ..Capabilities::none() }
    }
}

impl<B: Backend> EmbedGroups<B, MultiCrop<B>> for Crops<B> {
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
    let count = losses.len() * target.dims()[0];
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
