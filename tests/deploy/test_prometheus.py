from __future__ import annotations

import subprocess

import yaml

from tests.support.prometheus import CONFIG
from tests.support.tools import tool


def test_scrape_configuration_is_valid() -> None:
    done = subprocess.run([tool("promtool"), "check", "config", CONFIG], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_scrape_timeout_is_shorter_than_its_interval() -> None:
    general = yaml.safe_load(CONFIG.read_text())["global"]
    assert int(general["scrape_timeout"].rstrip("s")) < int(general["scrape_interval"].rstrip("s"))
