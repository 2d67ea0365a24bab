"""Makes small decoders with random weights, and what their own library gives for some texts.

Usage: make_decoders.py FAMILY FOLDER. Each folder in FOLDER is a model directory with inputs,
outputs and gradients of all parameters. Exits with 77 where there is no `transformers`.
"""

import pathlib
import sys

import torch
from safetensors.torch import save_file

try:
    import transformers
    from transformers import FalconConfig, OPTConfig
except ImportError:
    sys.exit(77)

VOCABULARY, TOKENS = 40, 9
# Texts hold none of them.
PAD, BOS, EOS = 1, 2, 2
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "eos_token_id": EOS,
}


def opt(**more):
    return OPTConfig(**SIZES, ffn_dim=24, max_position_embeddings=12, **more)


def falcon(**more):
    return FalconConfig(**SIZES, **more)


NEW = {"new_decoder_architecture": True, "num_kv_heads": 2}
# Name, class and configuration, and the side of the padding.
FAMILIES = {
    "opt": [
        ("lm", "OPTForCausalLM", lambda: opt(), None),
        ("lm_left", "OPTForCausalLM", lambda: opt(), "left"),
        ("lm_right", "OPTForCausalLM", lambda: opt(), "right"),
        ("post_norm", "OPTForCausalLM", lambda: opt(do_layer_norm_before=False), None),
        (
            "bare_settings",
            "OPTForCausalLM",
            lambda: opt(
                enable_bias=False,
                activation_function="gelu",
                tie_word_embeddings=False,
                _remove_final_layer_norm=True,
            ),
            None,
        ),
        ("model", "OPTModel", lambda: opt(), None),
        ("sequence", "OPTForSequenceClassification", lambda: opt(num_labels=3), "right"),
    ],
    "falcon": [
        ("multi_query", "FalconForCausalLM", lambda: falcon(), None),
        ("multi_query_left", "FalconForCausalLM", lambda: falcon(), "left"),
        (
            "plain",
            "FalconForCausalLM",
            lambda: falcon(multi_query=False, parallel_attn=False, bias=True),
            None,
        ),
        ("two_norms", "FalconForCausalLM", lambda: falcon(**NEW, bias=True), "right"),
        (
            "one_norm",
            "FalconForCausalLM",
            lambda: falcon(
                **NEW,
                num_ln_in_parallel_attn=1,
                ffn_hidden_size=24,
                tie_word_embeddings=False,
                rope_parameters={"rope_type": "default", "rope_theta": 500.0},
            ),
            None,
        ),
        ("model", "FalconModel", lambda: falcon(**NEW), None),
        ("sequence", "FalconForSequenceClassification", lambda: falcon(num_labels=3), "right"),
    ],
}


def texts(side):
    """Ids, and where they are no padding."""
    ids = torch.randint(3, VOCABULARY, (3, TOKENS))
    seen = torch.ones_like(ids)
    for text, missing in enumerate([0, 3, 5] if side else []):
        place = slice(0, missing) if side == "left" else slice(TOKENS - missing, TOKENS)
        seen[text, place] = 0
    return ids.masked_fill(seen == 0, PAD), seen


def make(folder, name, config, side):
    model = getattr(transformers, name)(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    ids, seen = texts(side)
    inputs = {"input_ids": ids, "attention_mask": seen}
    notes, given = [name], dict(inputs)
    if name.endswith("CausalLM"):
        # A text's first token is not told by the padding before it.
        known = seen.bool() & seen.roll(1, 1).bool()
        given["labels"] = inputs["labels"] = ids.masked_fill(~known, -100)
    output = model(**given, use_cache=False)
    outputs = {}
    for key in ("logits", "last_hidden_state"):
        if key not in output:
            continue
        values = output[key].detach()
        if side and values.dim() == 3:
            # What padding gives means nothing.
            values = values * seen[..., None]
            notes.append(f"{key} multiplied by attention_mask")
        outputs[key] = values.contiguous()
    if "labels" in given:
        outputs["loss"] = output.loss.detach().reshape(1)
        output.loss.backward()
        gradients = {key: one.grad for key, one in model.named_parameters()}
        norm = torch.stack([grad.norm() for grad in gradients.values()]).norm().item()
        path = folder / "grads.safetensors"
        save_file(gradients, path, metadata={"global_grad_norm": str(norm)})
    save_file(inputs, folder / "inputs.safetensors")
    save_file(outputs, folder / "outputs.safetensors")
    (folder / "README.txt").write_text("\n".join(notes))


def main():
    family, place = sys.argv[1:]
    for number, (name, class_name, config, side) in enumerate(FAMILIES[family]):
        torch.manual_seed(number)
        make(pathlib.Path(place) / name, class_name, config(), side)


if __name__ == "__main__":
    main()
