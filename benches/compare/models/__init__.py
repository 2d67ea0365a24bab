"""PyTorch's side of each work: a module with `Model`, `train_inputs` and `infer_inputs`.

A model is plain eager PyTorch as one writes it today. `Model.forward(**train_inputs)` is the loss,
`Model.infer(**infer_inputs)` the answer to a batch of one. Modules are named as Kiln's are, so that
weights need no table: see `export`.
"""

import importlib

import torch

NAMES = ("mae", "bert", "gpt2", "wav2vec2", "wav2vec2-base", "ttm")


def build(name: str):
    """The model with its weights, and its inputs; the same in every process."""
    work = importlib.import_module(f"models.{name.replace('-', '_')}")
    torch.manual_seed(0)
    model = work.Model()
    generator = torch.Generator().manual_seed(1)
    return model, work.train_inputs(generator), work.infer_inputs(generator)


def export(name: str) -> dict[str, torch.Tensor]:
    """Weights and inputs under Kiln's names."""
    model, train, infer = build(name)
    tensors = {}
    for key, value in model.state_dict().items():
        if ".qkv." in key:
            for part, rows in zip(("query", "key", "value"), value.chunk(3)):
                tensors["model." + key.replace("qkv", part)] = rows
        else:
            tensors["model." + key] = value
    tensors |= {f"train.{key}": value for key, value in train.items()}
    tensors |= {f"infer.{key}": value for key, value in infer.items()}
    return {key: value.contiguous() for key, value in tensors.items()}


def decayed(name: str, parameter: torch.nn.Parameter) -> bool:
    """Whether weight decay applies, by Kiln's rule."""
    words = name.lower().replace("_", ".").split(".")
    spared = any(word.startswith(("norm", "position", "bias")) for word in words)
    return parameter.ndim > 1 and not spared
