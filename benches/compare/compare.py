"""Kiln and PyTorch on the same models, weights and inputs, in turns.

Run through `run.sh`, which finds Python and builds Kiln's side.
"""

import argparse
import datetime
import json
import math
import os
import platform
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

from safetensors.torch import save_file

import machine
import models
import table
from worker import Worker, WorkerError

HERE = Path(__file__).parent
# Relative; the losses after some steps also see gradients and the optimizer.
SAME_LOSS, SAME_TRAINING, SAME_ANSWER = 1e-4, 1e-3, 1e-3
# bf16 on PyTorch's side.
LOOSER = 100
# Seconds between turns: threads that spin after their work must be asleep.
PAUSE = 0.3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kiln", type=Path, required=True, help="the binary `compare`")
    parser.add_argument("--threads", type=int, default=machine.threads())
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--work", nargs="+", choices=models.NAMES, default=list(models.NAMES))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side")
    parser.add_argument("--steps", type=int, default=3, help="training steps a turn")
    parser.add_argument("--best", action="store_true", help="the best of all, for busy machines")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out")
    parser.add_argument("--peak-tflops", type=float, help="the GPU's, for utilisation")
    parser.add_argument("--json", type=Path, help="also write everything measured here")
    return parser.parse_args()


class Comparison:
    def __init__(self, args: argparse.Namespace):
        self.args = args
        threads = str(args.threads)
        names = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        self.environment = os.environ | dict.fromkeys(names, threads)
        self.statistic = min if args.best else statistics.median

    def start(self, work: str, tensors: Path) -> dict[str, Worker | None]:
        common = ["--device", self.args.device]
        theirs = [sys.executable, str(HERE / "torch_worker.py"), work, *common]
        theirs += ["--threads", str(self.args.threads), "--mode"]
        commands = {
            "ours": [str(self.args.kiln), work, str(tensors), *common],
            "eager": [*theirs, "eager"],
            "compile": None if self.args.no_compile else [*theirs, "compile"],
        }
        return {
            side: command and Worker(command, self.environment)
            for side, command in commands.items()
        }

    def work(self, work: str) -> tuple[dict, dict[str, dict]]:
        """What was measured of a work, and what each side says of itself."""
        with tempfile.TemporaryDirectory() as folder:
            tensors = Path(folder) / "work.safetensors"
            save_file(models.export(work), tensors)
            sides = self.start(work, tensors)
        try:
            about = {side: worker.about for side, worker in sides.items() if worker}
            # Before anything is trained, so that memory is that of inference alone.
            measured = {side: {} for side in sides}
            for phase, measure in (("infer", self.infer), ("train", self.train)):
                log(f"{work}: {phase}")
                for side, outcome in measure(sides).items():
                    measured[side][phase] = outcome
            measured["flops"] = sides["eager"].ask("flops")
            return measured, about
        finally:
            for worker in sides.values():
                if worker:
                    worker.close()

    def infer(self, sides: dict[str, Worker | None]) -> dict:
        warm = self.everywhere(sides, "infer 1")
        answers = {side: answer["sample"] for side, answer in warm.items() if answer}
        for side in ("ours", "compile"):
            if side in answers:
                self.agree(f"{side}: answer", SAME_ANSWER, answers[side], answers["eager"])
        # About a second a turn.
        slowest = max(answer["seconds"][0] for answer in warm.values() if answer)
        return self.rounds(sides, f"infer {max(3, min(100, int(1 / slowest)))}")

    def train(self, sides: dict[str, Worker | None]) -> dict:
        first = {side: sides[side].ask("loss")["loss"] for side in ("ours", "eager")}
        self.agree("loss", SAME_LOSS, [first["ours"]], [first["eager"]])
        warm = self.everywhere(sides, "train 3")
        for side in ("ours", "compile"):
            if warm[side]:
                losses, expected = warm[side]["losses"], warm["eager"]["losses"]
                self.agree(f"{side}: training", SAME_TRAINING, losses, expected)
        log("  losses " + " ".join(f"{loss:.6f}" for loss in warm["ours"]["losses"]))
        return self.rounds(sides, f"train {self.args.steps}")

    def rounds(self, sides: dict[str, Worker | None], line: str) -> dict:
        parts = ("seconds", "update", "processor")
        found = {side: {part: [] for part in parts} for side in sides}
        for _ in range(self.args.rounds):
            for side, answer in self.everywhere(sides, line).items():
                for part in parts:
                    found[side][part] += (answer or {}).get(part, [])
        return {
            side: worker
            and {part: self.statistic(found[side][part]) for part in parts if found[side][part]}
            | {"all": found[side]["seconds"], "memory": self.memory(worker)}
            for side, worker in sides.items()
        }

    def everywhere(self, sides: dict[str, Worker | None], line: str) -> dict:
        """Each side's answer in turn. Where torch.compile fails, it is left out from then on."""
        answers = {}
        for side, worker in sides.items():
            time.sleep(PAUSE)
            try:
                answers[side] = worker and self.timed(worker, line)
            except WorkerError as error:
                if side != "compile":
                    raise
                log(f"torch.compile failed: {error}")
                sides[side] = answers[side] = None
        return answers

    def timed(self, worker: Worker, line: str) -> dict:
        """An answer with the processor's seconds a step, which other work hardly disturbs."""
        began = machine.processor_seconds(worker.process.pid)
        answer = worker.ask(line)
        ended = machine.processor_seconds(worker.process.pid)
        # An answer also has a pass that is not timed.
        passes = len(answer["seconds"]) + ("sample" in answer)
        if began is not None and ended is not None:
            answer["processor"] = [(ended - began) / passes]
        return answer

    def memory(self, worker: Worker) -> int | None:
        if self.args.device == "cuda":
            return machine.gpu_memory(worker.process.pid)
        return worker.ask("memory")["memory"]

    def agree(self, what: str, tolerance: float, found: list, expected: list) -> None:
        tolerance *= LOOSER if self.args.device == "cuda" else 1
        error = math.dist(found, expected) / max(math.hypot(*expected), 1e-30)
        # Written so that NaN fails.
        if not (len(found) == len(expected) and error <= tolerance):
            sys.exit(f"{what} differs by {error:.1e} (allowed {tolerance:.0e}):\n{found}\n{expected}")
        log(f"  {what} agrees within {error:.1e}")


def log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def about_run(args: argparse.Namespace, sides: dict[str, dict], load: float) -> dict:
    gpu = sides["eager"]["gpu"]
    words = [word for word in sys.argv[1:] if word != "--kiln" and word != str(args.kiln)]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": machine.commit(),
        "processor": machine.processor(),
        "gpu": gpu,
        "threads": sides["ours"]["threads"],
        "instructions": sides["ours"]["instructions"],
        "torch_instructions": sides["eager"]["instructions"],
        "precision": "Kiln f32, PyTorch bf16 autocast" if gpu else "f32",
        "torch": sides["eager"]["version"],
        "python": platform.python_version(),
        "profile": sides["ours"].get("profile"),
        "statistic": "best" if args.best else "median",
        "rounds": args.rounds,
        "load": load,
        "load_after": machine.load(),
        "peak_tflops": args.peak_tflops or (gpu and machine.peak_tflops(gpu)),
        "command": shlex.join(["benches/compare/run.sh", *words]),
    }


def main() -> None:
    args = arguments()
    load = machine.load()
    comparison, works = Comparison(args), {}
    for work in args.work:
        works[work], sides = comparison.work(work)
    result = {"about": about_run(args, sides, load), "works": works}
    print(table.markdown(result))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
