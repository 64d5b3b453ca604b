"""Find the Chromium of the page checks, or install it where that is allowed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from chapters import say

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
HELP = (
    "The page checks need Chromium. Install the package `chromium` (Debian), "
    "`chromium-browser` (Ubuntu) or any Chrome, or set CHROMIUM to its path."
)


def find() -> str | None:
    """Return the path of an installed Chromium; `CHROMIUM` goes first."""
    named = os.environ.get("CHROMIUM")
    if named:
        return named if os.access(named, os.X_OK) else None
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def provide() -> str:
    """Make sure that there is a Chromium; return a message when there is none."""
    if find():
        return ""
    apt = shutil.which("apt-get")
    if not apt or os.environ.get("CHROMIUM"):
        return HELP
    prefix = _as_root()
    if prefix is None:
        return HELP
    say("installing Chromium with apt-get")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run([*prefix, apt, "update", "-q"], check=False, env=quiet)
    for package in ("chromium", "chromium-browser"):
        command = [*prefix, apt, "install", "-y", "-q", "--no-install-recommends"]
        subprocess.run([*command, package], check=False, env=quiet)
        if find():
            return ""
    return HELP


def _as_root() -> list[str] | None:
    """Return what to put before a command to run it as root; None when forbidden."""
    if os.geteuid() == 0:
        return []
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], check=False).returncode == 0:
        return [sudo, "-n"]
    return None


if __name__ == "__main__":
    sys.exit(provide())
