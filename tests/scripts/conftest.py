"""A house of its own for the shell scripts: copies of them beside an empty logs folder, no settings from outside."""

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ("start.sh", "view_logs.sh", "check_recent_logs.sh")


class House:
    """A folder with the scripts in it, and ways to run them."""

    def __init__(self, folder: Path) -> None:
        """Copy the scripts to ``folder``."""
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.commands = folder / "commands"
        self.commands.mkdir()
        for script in SCRIPTS:
            shutil.copy(ROOT / script, folder / script)

    def log(self, name: str, content: str | bytes, *, age: float = 0) -> Path:
        """Write the log of container ``name``, ``age`` seconds old."""
        path = self.logs / f"{name}.log"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        modified = path.stat().st_mtime - age
        os.utime(path, (modified, modified))
        return path

    def command(self, name: str, script: str) -> None:
        """Put a stand-in for the program ``name`` before all others on the scripts' PATH."""
        path = self.commands / name
        path.write_text(f"#!/bin/bash\n{script}\n")
        path.chmod(0o755)

    def environment(self, **variables: str) -> dict[str, str]:
        """What the scripts see: nothing of this process but where programs are."""
        return {
            "PATH": f"{self.commands}:{os.environ['PATH']}",
            "HOME": str(self.folder),
            "LC_ALL": "C.UTF-8",
            **variables,
        }

    def run(
        self, script: str, *arguments: str, timeout: float = 20, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a script to its end."""
        return subprocess.run(
            [str(self.folder / script), *arguments],
            env=self.environment(**variables),
            cwd="/",
            capture_output=True,
            timeout=timeout,
            check=False,
        )

    def start(self, script: str, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a script that goes on."""
        return subprocess.Popen(
            [str(self.folder / script), *arguments],
            env=self.environment(**variables),
            cwd="/",
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def on_terminal(self, script: str, *arguments: str) -> bytes:
        """What a terminal would receive from a script."""
        ours, theirs = pty.openpty()
        process = subprocess.Popen(
            [str(self.folder / script), *arguments], env=self.environment(), cwd="/", stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        received = b""
        try:
            while block := os.read(ours, 65536):
                received += block
        except OSError:  # the other end is closed
            pass
        os.close(ours)
        assert process.wait(timeout=20) == 0, received
        return received.replace(b"\r\n", b"\n")


@pytest.fixture
def house(tmp_path: Path) -> House:
    """A fresh house with no logs."""
    return House(tmp_path)
