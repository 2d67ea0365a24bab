"""A process that answers lines with lines of JSON."""

import json
import subprocess
import tempfile


class WorkerError(Exception):
    """The process ended; what it last said on stderr."""


class Worker:
    def __init__(self, command: list[str], environment: dict[str, str]):
        self.errors = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.about = self._answer()

    def ask(self, line: str) -> dict:
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self._answer()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.errors.seek(0)
        tail = "".join(self.errors.readlines()[-12:])
        raise WorkerError(f"{self.process.args[0]} ended with {code}:\n{tail}")
