"""Loads adapters upon their bases with `peft` and compares its scores with those expected.

Usage: check_adapter.py WRITTEN... Each directory holds `adapter/` and `scores.safetensors`. Exits
with 0 when every weight was used and the scores agree, with 77 where there is no `peft`.
"""

import json
import pathlib
import sys
import warnings

import torch
from safetensors.torch import load_file

try:
    import peft
except ImportError:
    sys.exit(77)
import transformers

IDS = [[3, 5, 7, 9, 11], [4, 6, 8, 10, 12]]


def check(written):
    """What is wrong, if anything is."""
    adapter = written / "adapter"
    base = pathlib.Path(
        json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    )
    config = json.loads((base / "config.json").read_text())
    model = getattr(transformers, config["architectures"][0]).from_pretrained(base)
    with warnings.catch_warnings():
        # It warns of weights that are missing from the adapter's file.
        warnings.filterwarnings("error", message=".*missing.*")
        model = peft.PeftModel.from_pretrained(model, adapter).eval()
    known = set(peft.get_peft_model_state_dict(model))
    found = set(load_file(adapter / "adapter_model.safetensors"))
    if known != found:
        return f"names differ: {sorted(known ^ found)}"
    ids = torch.tensor(IDS)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if config.get("is_encoder_decoder"):
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        scores = model(**inputs).logits[:, -ids.shape[1] :]
    expected = load_file(written / "scores.safetensors")["scores"]
    worst = (scores - expected).abs().max().item()
    return None if worst < 1e-4 else f"scores differ by {worst}"


def main():
    problems = []
    for written in map(pathlib.Path, sys.argv[1:]):
        try:
            problem = check(written)
        except Exception as error:
            problem = repr(error)
        if problem:
            problems.append(f"{written}: {problem}")
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
