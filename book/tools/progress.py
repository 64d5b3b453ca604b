"""A pytest plugin: one line for each chapter when it is done, with its seconds."""

from __future__ import annotations

from pathlib import Path

import pytest


class Progress:
    """Prints as results arrive, in the process that the reader sees."""

    def __init__(self, config: pytest.Config) -> None:
        """Keep the terminal and count from zero."""
        self.config = config
        self.done = 0

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print one line for each finished chapter."""
        if report.when != "call":
            return
        self.done += 1
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        name = Path(report.nodeid.split("::")[0]).stem
        word = "" if report.passed else "  FAILED"
        assert terminal is not None
        terminal.ensure_newline()
        line = f"  [{self.done}] {name:<32}{report.duration:6.1f} s{word}"
        terminal.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(
    report: pytest.TestReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """Print no dot beside the line above."""
    if report.when == "call" and report.passed:
        return report.outcome, "", ""
    return None


def pytest_configure(config: pytest.Config) -> None:
    """Register the lines in the main process only."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress(config), "visattn-progress")
