"""Python environments of our own below target/, made when what they hold has changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

TARGET = Path(__file__).resolve().parent.parent.parent / "target"


def python(name: str, requirements: Path, *others: str) -> Path:
    """The interpreter of the environment `name`, which holds `requirements`, and then `others` whatever those say."""
    place = TARGET / name
    wanted = "\n".join([requirements.read_text(), *others])
    stamp, interpreter = place / "requirements.txt", place / "bin" / "python"
    if not stamp.exists() or stamp.read_text() != wanted:
        shutil.rmtree(place, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", place], check=True)
        install = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*install, "-r", requirements], check=True)
        if others:
            subprocess.run([*install, "--no-deps", *others], check=True)
        stamp.write_text(wanted)
    return interpreter


def enter(name: str, requirements: Path) -> None:
    """Goes on in the environment `name`."""
    interpreter = python(name, requirements)
    if Path(sys.prefix).resolve() != (TARGET / name).resolve():
        os.execv(interpreter, [interpreter, *sys.argv])
