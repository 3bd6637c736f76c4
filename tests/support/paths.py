"""Where things are in the checkout."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def _tracked_files() -> list[Path]:
    """Files of the checkout relative to its root, without what git ignores; everything when git is not there."""
    try:
        listing = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return [
            path.relative_to(ROOT) for path in ROOT.rglob("*") if path.is_file() and ".venv-tests" not in path.parts
        ]
    return [Path(line) for line in sorted(listing) if (ROOT / line).is_file()]


TRACKED = _tracked_files()
