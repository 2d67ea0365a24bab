"""`kiln embed` beside sentence-transformers: the same directory, the same texts, the same threads.

    compare.py --kiln BINARY --model DIR --sentences FILE.jsonl [--threads 2] [--rounds 3]

Prints a table in Markdown and the largest difference between vectors. Sides take turns. Kiln's rate
is of the whole process less what one short text takes (start, loading); sentence-transformers' is of
`encode` alone, after a warm-up, at the best of several batch sizes.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

BATCHES = (16, 32, 64)


def kiln(args, out, *inputs):
    command = [args.kiln, "embed", "--quiet", "--model", args.model, "--out", out, *inputs]
    environment = dict(os.environ, RAYON_NUM_THREADS=str(args.threads))
    began = time.perf_counter()
    subprocess.run(command, check=True, env=environment)
    return time.perf_counter() - began


def reference_start(args):
    """A process that embeds one short text."""
    program = (
        "import sys, torch; torch.set_num_threads(int(sys.argv[2]));"
        "from sentence_transformers import SentenceTransformer as S;"
        "S(sys.argv[1], device='cpu').encode(['a'])"
    )
    began = time.perf_counter()
    command = [sys.executable, "-c", program, args.model, str(args.threads)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kiln", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sentences", required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()

    import numpy
    import sentence_transformers
    import torch

    torch.set_num_threads(args.threads)
    lines = pathlib.Path(args.sentences).read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line)["text"] for line in lines]
    model = sentence_transformers.SentenceTransformer(args.model, device="cpu")
    model.encode(texts[:64])
    rates = {"kiln": [], **{size: [] for size in BATCHES}}
    starts = {"kiln": [], "reference": []}
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "vectors.npy")
        for _ in range(args.rounds):
            start = kiln(args, out, "--text", "a")
            starts["kiln"].append(start)
            rates["kiln"].append(len(texts) / (kiln(args, out, args.sentences) - start))
            for size in BATCHES:
                began = time.perf_counter()
                expected = model.encode(texts, batch_size=size)
                rates[size].append(len(texts) / (time.perf_counter() - began))
            starts["reference"].append(reference_start(args))
        found = numpy.load(out)
    cosine = (found * expected).sum(1) / (
        numpy.linalg.norm(found, axis=1) * numpy.linalg.norm(expected, axis=1)
    )
    middle = {name: statistics.median(values) for name, values in rates.items()}
    best = max(BATCHES, key=middle.get)
    version = f"{sentence_transformers.__version__}, PyTorch {torch.__version__}"
    print(f"{len(texts)} texts, {args.threads} threads, sentence-transformers {version}\n")
    print("| | Kiln | sentence-transformers | Kiln / theirs |")
    print("| --- | ---: | ---: | ---: |")
    print(
        f"| texts a second (theirs at batches of {best}) | {middle['kiln']:.0f} | "
        f"{middle[best]:.0f} | {middle['kiln'] / middle[best]:.2f} |"
    )
    starts = {name: statistics.median(values) for name, values in starts.items()}
    ours, theirs = starts["kiln"], starts["reference"]
    print(f"| one short text, whole process (s) | {ours:.2f} | {theirs:.2f} | {ours / theirs:.3f} |")
    print(f"\nlargest difference {abs(found - expected).max():.2e}, least cosine {cosine.min():.7f}")
    if abs(found - expected).max() > 1e-4:
        sys.exit("the vectors differ")


if __name__ == "__main__":
    main()
