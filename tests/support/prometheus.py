"""A real Prometheus on a free port of loopback, with the scrape configuration that ships in deploy/."""

from __future__ import annotations

import contextlib
import re
import subprocess
import urllib.error
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import yaml

from inference.scraping import scrape
from tests.support.tools import tool
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playfuse.server_process import ServerProcess

CONFIG = Path(__file__).resolve().parents[2] / "deploy" / "prometheus" / "prometheus.yml"
_LISTENING = re.compile(r'msg="Listening on" address=(\S+)')


@contextlib.contextmanager
def running_prometheus(folder: Path, server: ServerProcess) -> Iterator[str]:
    """Its URL. The shipped configuration, pointed at `server` and scraping every second."""
    config = yaml.safe_load(CONFIG.read_text())
    config["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s"}
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [urlsplit(server.metrics_url).netloc]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    log = folder / "prometheus.log"
    command = [
        tool("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        assert until(lambda: _LISTENING.search(log.read_text()) is not None, seconds=30), log.read_text()
        listening = _LISTENING.search(log.read_text())
        assert listening is not None
        url = f"http://{listening[1]}"
        assert until(lambda: _is_ready(url), seconds=30), log.read_text()
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _is_ready(url: str) -> bool:
    """Whether it answers queries: it listens a moment before."""
    try:
        scrape(f"{url}/-/ready", timeout_seconds=10)
    except urllib.error.HTTPError:
        return False
    return True
