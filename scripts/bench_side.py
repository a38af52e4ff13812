"""Two processes that do the same work in turns: what the benchmarks against other programs are made of."""

import os
import pathlib
import statistics
import subprocess

import reference_env


def built(name):
    """Path of one of Songkin's benchmarks, built first."""
    command = ["cargo", "bench", "--locked", "--bench", name, "--no-run"]
    done = subprocess.run(command, cwd=reference_env.ROOT, check=True, stderr=subprocess.PIPE, text=True)
    return reference_env.ROOT / done.stderr.rsplit("(", 1)[1].split(")")[0]


def built_program(name):
    """Path of one of Songkin's programs, built first."""
    subprocess.run(["cargo", "build", "--locked", "--release", "--bin", name], cwd=reference_env.ROOT, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", reference_env.ROOT / "target")
    return pathlib.Path(target) / "release" / name


def peak_mebibytes():
    """Largest resident memory of this process so far."""
    return status_mebibytes("VmHWM")


def memory_mebibytes():
    """Resident memory of this process."""
    return status_mebibytes("VmRSS")


def status_mebibytes(name):
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{name}:")[1].split()[0]) // 1024


class Side:
    """A process that says `ready`, and then answers every line with a line of numbers."""

    def __init__(self, command, threads):
        names = ("RAYON_NUM_THREADS", "CANDLE_NUM_THREADS", "OMP_NUM_THREADS")
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **dict.fromkeys(names, str(threads))},
        )
        said = self.process.stdout.readline().strip()
        if said != "ready":
            raise SystemExit(f"{command[0]} said {said!r} in place of `ready`")

    def ask(self, line=""):
        """The numbers of the answer."""
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args[0]} ended at {line!r}")
        return [float(field) for field in answer.split()]

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def compare(ours, theirs):
    """Medians of both, and the median of the ratios of neighbouring runs."""
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    return statistics.median(ours), statistics.median(theirs), ratio
