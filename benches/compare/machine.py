"""What the comparison runs on."""

import os
import platform
import subprocess
from pathlib import Path

# Dense bf16 (fp16 where there is none), in teraflops, from NVIDIA's data sheets; the first name
# that occurs in the GPU's counts.
PEAK_TFLOPS = {
    "B200": 2250,
    "H200": 989,
    "H100 PCIe": 756,
    "H100 NVL": 835,
    "H100": 989,
    "A100": 312,
    "L40S": 362,
    "L4": 121,
    "A10": 125,
    "RTX 5090": 209,
    "RTX 4090": 165,
    "RTX 3090": 71,
    "V100": 125,
    "T4": 65,
}


def threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def load() -> float:
    """Processes that wanted to run in the last minute."""
    return os.getloadavg()[0]


def processor_seconds(process: int) -> float | None:
    """What all threads of a process have computed so far, in steps of 10 ms."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, IndexError):
        return None


def peak_tflops(gpu: str) -> float | None:
    return next((peak for name, peak in PEAK_TFLOPS.items() if name in gpu), None)


def gpu_memory(process: int) -> int | None:
    """Bytes that a process holds on the GPU, as the driver sees them."""
    query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        lines = subprocess.run(query, capture_output=True, text=True, check=True).stdout
        pairs = (line.split(",") for line in lines.splitlines())
        return next(int(used) << 20 for pid, used in pairs if int(pid) == process)
    except (OSError, subprocess.CalledProcessError, StopIteration, ValueError):
        return None


def commit() -> str:
    """The commit of this checkout, with a star where files differ from it."""
    git = lambda *words: subprocess.run(
        ["git", "-C", str(Path(__file__).parent), *words], capture_output=True, text=True
    ).stdout.strip()
    return git("rev-parse", "--short", "HEAD") + ("*" if git("status", "--porcelain") else "")
