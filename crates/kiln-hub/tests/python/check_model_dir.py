"""Loads a model directory with its own library and compares its weights with the original's.

Usage: check_model_dir.py WRITTEN ORIGINAL. Exits with 0 when every parameter and buffer of the
written directory was used and is equal, bit for bit, to the original's.
"""

import json
import pathlib
import sys

import torch


def load(path):
    config = json.loads((path / "config.json").read_text())
    name = config["architectures"][0]
    if config["model_type"] == "tinytimemixer":
        import tsfm_public

        cls = getattr(tsfm_public, name, None)
        if cls is None:
            from tsfm_public.models import tinytimemixer

            cls = getattr(tinytimemixer, name)
    else:
        import transformers

        cls = getattr(transformers, name)
    model, info = cls.from_pretrained(path, output_loading_info=True)
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if info.get(kind):
            sys.exit(f"{path}: {kind}: {sorted(map(str, info[kind]))}")
    return model


def main():
    written, original = (load(pathlib.Path(argument)) for argument in sys.argv[1:3])
    ours, theirs = written.state_dict(), original.state_dict()
    if ours.keys() != theirs.keys():
        sys.exit(f"names differ: {sorted(ours.keys() ^ theirs.keys())}")
    for name, tensor in theirs.items():
        if ours[name].dtype != tensor.dtype or not torch.equal(ours[name], tensor):
            sys.exit(f"{name} differs")


if __name__ == "__main__":
    main()
