"""A sentence-transformers directory of MiniLM's size with random weights, and texts to embed.

    model.py --text FILE.. --model DIR --sentences FILE.jsonl [--count 4000]

The tokenizer is trained on the texts; half of the sentences are lines, half several lines joined, so
that lengths are mixed (tens to hundreds of tokens).
"""

import argparse
import json
import pathlib
import random

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, BertTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def lines_of(paths):
    """Lines with at least three words; of tables the first column."""
    lines = []
    for path in paths:
        for line in pathlib.Path(path).read_text(encoding="utf-8").splitlines():
            line = line.split("\t")[0].strip()
            if len(line.split()) >= 3:
                lines.append(line)
    return lines


def tokenizer_of(lines):
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=30522, special_tokens=SPECIAL)
    tokenizer.train_from_iterator(lines, trainer)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    return tokenizer


def sentences_of(lines, count):
    draw = random.Random(0)
    sentences = []
    while len(sentences) < count:
        together = 1 if draw.random() < 0.5 else draw.randint(2, 12)
        at = draw.randrange(len(lines) - together)
        sentences.append(" ".join(lines[at : at + together]))
    return sentences


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--sentences", type=pathlib.Path, required=True)
    parser.add_argument("--count", type=int, default=4000)
    args = parser.parse_args()
    lines = lines_of(args.text)

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30522,
        hidden_size=384,
        num_hidden_layers=6,
        num_attention_heads=12,
        intermediate_size=1536,
        initializer_range=0.05,
    )
    args.model.mkdir(parents=True, exist_ok=True)
    BertModel(config).eval().save_pretrained(args.model)
    BertTokenizerFast(tokenizer_object=tokenizer_of(lines), do_lower_case=True).save_pretrained(
        args.model
    )
    write(args.model / "sentence_bert_config.json", {"max_seq_length": 256, "do_lower_case": False})
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    write(
        args.model / "modules.json",
        [
            {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for at, (path, kind) in enumerate(modules)
        ],
    )
    for folder in ("1_Pooling", "2_Normalize"):
        (args.model / folder).mkdir(exist_ok=True)
    pooling = {"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}
    write(args.model / "1_Pooling" / "config.json", pooling)

    with args.sentences.open("w", encoding="utf-8") as out:
        for sentence in sentences_of(lines, args.count):
            out.write(json.dumps({"text": sentence}, ensure_ascii=False) + "\n")


def write(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
