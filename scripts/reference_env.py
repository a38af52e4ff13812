"""The Python environment of the reference scripts: made on first use, pinned, outside of version control."""

import argparse
import os
import pathlib
import subprocess
import sys
import venv

ROOT = pathlib.Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "scripts" / "reference-requirements.txt"


def parser(description):
    """An argument parser that knows --venv, for a script that calls `enter` with its answer."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument(
        "--venv",
        type=pathlib.Path,
        default=ROOT / ".venv",
        help="where the environment is or shall be made (about 5 GB; default: .venv, which git ignores)",
    )
    return result


def enter(directory, requirements=REQUIREMENTS):
    """Goes on inside the environment in `directory`: makes it where it is missing or pinned otherwise, then
    starts the running script again with its interpreter. Returns only there."""
    directory = directory.resolve()
    stamp = directory / requirements.name
    wanted = requirements.read_text(encoding="utf-8")
    python = directory / "bin" / "python"
    if not (stamp.exists() and stamp.read_text(encoding="utf-8") == wanted):
        print(f"preparing the reference environment in {directory}", file=sys.stderr, flush=True)
        if not python.exists():
            venv.create(directory, with_pip=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", str(requirements)], check=True)
        stamp.write_text(wanted, encoding="utf-8")
    if pathlib.Path(sys.prefix).resolve() != directory:
        # No hub is ever asked: everything that the scripts load lies in the directory they are given.
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
        os.execve(python, [str(python), *sys.argv], environment)
