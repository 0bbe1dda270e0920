"""The real `openstack` command, with the clouds.yaml that Nacelle writes and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.nacelle import ROOT, Nacelle

SECONDS = 300
OWN = ROOT / ".venv-client" / "bin" / "openstack"


def command() -> Path:
    """Where the command is: in the environment that `scripts/test.sh` makes, or where NACELLE_OPENSTACK says."""
    path = Path(os.environ.get("NACELLE_OPENSTACK", OWN))
    assert path.exists(), f"there is no {path}; scripts/test.sh installs it from requirements-client.txt"
    return path


class OpenStack:
    """Call it with the words of a command line."""

    def __init__(self, nacelle: Nacelle, folder: Path) -> None:
        self.folder = folder
        plain = {name: value for name, value in os.environ.items() if not name.startswith(("OS_", "PYTHON"))}
        self.environment = {
            **plain,
            "OS_CLIENT_CONFIG_FILE": str(nacelle.data / "clouds.yaml"),
            "OS_CLOUD": "nacelle",
            "HOME": str(folder),
            "COLUMNS": "400",
        }

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        return subprocess.run(
            [str(command()), *words],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def __call__(self, *words: str, **environment: str) -> str:
        """Run it; it must end well. Returns what it printed."""
        ended = self.run(*words, **environment)
        said = f"openstack {' '.join(words)} → {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        assert ended.returncode == 0, said
        assert "Traceback" not in ended.stderr, said
        return ended.stdout

    def json(self, *words: str, **environment: str) -> Any:
        """What it prints, as values."""
        return json.loads(self(*words, "-f", "json", **environment))

    def refused(self, *words: str) -> str:
        """It must fail. Returns its complaint."""
        ended = self.run(*words)
        assert ended.returncode != 0, ended.stdout
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended.stderr.strip()
