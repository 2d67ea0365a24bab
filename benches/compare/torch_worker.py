"""PyTorch's side of a work: obeys the same lines as Kiln's `compare`, see there.

One line more: `flops`, the floating-point operations of a training step and of an answer.
"""

import argparse
import json
import resource
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import models

RATE, CLIP = 1e-4, 1.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=models.NAMES)
    parser.add_argument("--mode", choices=("eager", "compile"), default="eager")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, required=True)
    return parser.parse_args()


class Work:
    def __init__(self, args: argparse.Namespace):
        self.device, self.name = torch.device(args.device), args.work
        model, train, infer = models.build(args.work)
        self.model = model.to(self.device)
        self.train_inputs = {key: value.to(self.device) for key, value in train.items()}
        self.infer_inputs = {key: value.to(self.device) for key, value in infer.items()}
        compiled = torch.compile if args.mode == "compile" else lambda function: function
        self.forward, self.infer_forward = compiled(self.model), compiled(self.model.infer)
        parameters = list(self.model.named_parameters())
        groups = [
            {
                "params": [p for name, p in parameters if models.decayed(name, p) == decayed],
                "weight_decay": 0.01 if decayed else 0.0,
            }
            for decayed in (True, False)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=RATE, fused=True)

    def precision(self):
        """On a GPU as models are trained there; in full on a CPU."""
        if self.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return nullcontext()

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def loss(self) -> dict:
        with self.precision(), torch.no_grad():
            return {"loss": self.model(**self.train_inputs).item()}

    def train(self, count: int) -> dict:
        losses, seconds, update = [], [], []
        for _ in range(count):
            self.wait()
            began = time.perf_counter()
            with self.precision():
                loss = self.forward(**self.train_inputs)
            loss.backward()
            accumulated = time.perf_counter()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), CLIP)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            update.append(time.perf_counter() - accumulated)
            losses.append(loss.item())
            self.wait()
            seconds.append(time.perf_counter() - began)
        return {"losses": losses, "seconds": seconds, "update": update}

    def infer(self, count: int) -> dict:
        seconds = []
        with self.precision(), torch.inference_mode():
            flat = self.infer_forward(**self.infer_inputs).float().flatten().cpu()
            for _ in range(count):
                self.wait()
                began = time.perf_counter()
                answer = self.infer_forward(**self.infer_inputs)
                self.wait()
                seconds.append(time.perf_counter() - began)
        del answer
        sample = flat[:: max(1, len(flat) // 64)].tolist()
        return {"sample": sample, "seconds": seconds}

    def flops(self) -> dict:
        model, train, infer = models.build(self.name)
        model = model.to("meta")
        on_meta = lambda inputs: {key: value.to("meta") for key, value in inputs.items()}
        # Fused attention would not be counted everywhere.
        with sdpa_kernel(SDPBackend.MATH):
            with FlopCounterMode(display=False) as training:
                model(**on_meta(train)).backward()
            with FlopCounterMode(display=False) as inference, torch.no_grad():
                model.infer(**on_meta(infer))
        return {"train": training.get_total_flops(), "infer": inference.get_total_flops()}


def reset_peak_memory() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pass


def peak_memory() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    args = arguments()
    torch.set_num_threads(args.threads)
    work = Work(args)
    reset_peak_memory()

    def say(answer: dict) -> None:
        print(json.dumps(answer), flush=True)

    say(
        {
            "work": args.work,
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability().lower(),
            "version": torch.__version__,
            "gpu": torch.cuda.get_device_name() if args.device == "cuda" else None,
        }
    )
    for line in sys.stdin:
        match line.split():
            case ["loss"]:
                say(work.loss())
            case ["train", count]:
                say(work.train(int(count)))
            case ["infer", count]:
                say(work.infer(int(count)))
            case ["memory"]:
                say({"memory": peak_memory()})
            case ["flops"]:
                say(work.flops())
            case ["quit"] | []:
                break
            case _:
                sys.exit(f"unknown line {line!r}")


if __name__ == "__main__":
    main()
