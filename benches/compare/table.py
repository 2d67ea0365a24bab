"""The outcome as Markdown."""

SIDES = ("ours", "eager", "compile")


def markdown(result: dict) -> str:
    parts = [_about(result["about"])]
    for phase, title in (("train", "Training step"), ("infer", "Forward pass, batch of one")):
        parts.append(f"**{title}**\n\n" + _table(result, phase))
    return "\n\n".join(parts) + "\n"


def _about(about: dict) -> str:
    gpu = f", {about['gpu']}" if about["gpu"] else ""
    return (
        f"{about['date']}, commit {about['commit']}: {about['processor']}{gpu}, "
        f"{about['threads']} threads, {about['instructions']} ({about['precision']}); "
        f"PyTorch {about['torch']} ({about['torch_instructions']}), Python {about['python']}, "
        f"Kiln in the {about['profile']} profile; {about['statistic']} of {about['rounds']} rounds; "
        f"load average {about['load']:.1f} at the start, {about['load_after']:.1f} at the end.\n"
        f"`{about['command']}`"
    )


def _table(result: dict, phase: str) -> str:
    # Utilisation is of a GPU's peak; a processor's is not known.
    peak = result["about"]["peak_tflops"]
    columns = ["work", "Kiln (ms)", "PyTorch eager", "torch.compile", "eager / Kiln"]
    columns += ["memory: Kiln (MiB)", "eager", "compile"]
    if peak:
        columns += ["MFU: Kiln", "eager", "compile"]
    rows = [columns, ["---"] + ["---:"] * (len(columns) - 1)]
    for name, work in result["works"].items():
        sides = [work[side].get(phase) if work[side] else None for side in SIDES]
        seconds = [side and side["seconds"] for side in sides]
        ratio = f"{seconds[1] / seconds[0]:.2f}" if seconds[0] and seconds[1] else "-"
        row = [name] + [f"{value * 1e3:.1f}" if value else "-" for value in seconds] + [ratio]
        memory = [side and side["memory"] for side in sides]
        row += [f"{value / 2**20:.0f}" if value else "-" for value in memory]
        if peak:
            flops = work["flops"][phase]
            share = lambda value: f"{flops / value / (peak * 1e12):.1%}" if value else "-"
            row += [share(value) for value in seconds]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
