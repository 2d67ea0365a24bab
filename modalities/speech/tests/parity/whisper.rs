//! Whisper: encoder, decoder and loss.

use crate::{Outputs, compare_outputs, flat, ids, with_weights};
use burn::{backend::Autodiff, tensor::Tensor};
use burn_flex::Flex;
use kiln_core::Backend;
use kiln_hub::testing::{Gradients, Inputs, each_fixture, python_reads, same_weights};
use kiln_speech::whisper::{Whisper, hub::read};
use std::path::Path;

type A = Autodiff<Flex>;

#[test]
fn parity_whisper() {
    each_fixture("whisper", |dir, failures| {
        let model = match Whisper::<Flex>::load(dir, &Default::default()) {
            Ok(model) => model,
            Err(error) => return failures.push(error.to_string()),
        };
        compare_outputs(dir, &run(dir, &model), failures);
        let learning = Whisper::<A>::load(dir, &Default::default()).unwrap();
        let loss = run(dir, &learning).remove("loss").unwrap();
        let gradients = Gradients::of::<A, _>(&learning, &loss.backward());
        let rename = |theirs: &_| read(with_weights(dir, theirs).path()).unwrap().1.tensors;
        gradients.compare(dir, rename, failures);
        let copy = tempfile::tempdir().unwrap();
        model.save(copy.path()).unwrap();
        same_weights(dir, copy.path(), str::to_owned, failures);
        assert_eq!(read(copy.path()).unwrap().0, *model.config());
        python_reads(dir, copy.path(), failures);
    });
}

fn run<B: Backend>(dir: &Path, model: &Whisper<B>) -> Outputs<B> {
    let inputs = Inputs::read(dir);
    let mel: Tensor<B, 3> = inputs.tensor::<B, 3>("input_features").swap_dims(1, 2);
    let tokens = ids(&inputs, "decoder_input_ids").unwrap();
    let memory = model.encode(mel.clone());
    let logits = model.decode(tokens.clone(), &memory);
    let loss = model.loss(mel, tokens, ids(&inputs, "labels").unwrap());
    [("encoder_last_hidden_state", flat(memory.values)), ("logits", flat(logits)), ("loss", loss)]
        .into()
}
