"""What a server says once it is ready: label → text, as people and `playfuse.server_process` read it."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from inference.console import notes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inference.contract.artifact import Manifest
    from inference.server import Server

_FEW_FEATURES: Final = 3


def lines(server: Server) -> dict[str, str]:
    """Of one server; rich markup."""
    manifests, meter = server.manifests, server.meter
    names = ", ".join(f"[bold]{escape(manifest.name)} {escape(manifest.version)}[/]" for manifest in manifests)
    is_synthetic = any(manifest.synthetic for manifest in manifests)
    synthetic = " [yellow](simulated players: for trying out, not for decisions)[/]" if is_synthetic else ""
    return {
        "serving": (names or "nothing; all models were unloaded") + synthetic,
        "gRPC": server.address,
        "metrics": server.metrics_url,
        "admin": server.admin_address,
        "transport": server.transport,
        "behaviours": "; ".join(", ".join(manifest.behaviour_names) for manifest in manifests),
        "energy": "measured (RAPL)" if meter.source == "rapl" else "estimated from CPU time",
        "try": f"playfuse predict --target {server.address} {_example(manifests[0])}" if len(manifests) == 1 else "",
    }


def show(said: Mapping[str, str]) -> None:
    """Print it, and after it that the server is ready."""
    ready = f"{time.monotonic() - _process_start_seconds():.2f} s after the start; Ctrl-C or SIGTERM drains"
    # A full disk under the log is no reason not to serve.
    with suppress(OSError):
        for label, text in {**said, "ready": ready}.items():
            if not text:
                continue
            notes.print(f"[bold]{label:<11}[/]{text}", highlight=False, soft_wrap=True)


def _example(manifest: Manifest) -> str:
    """One player as this model can be asked about: sessions, or values by name where those are not enough."""
    if not manifest.own_features:
        return "--history '2026-01-05T18:00,3600;2026-01-06T20:30,1800'"
    values = zip(manifest.features, manifest.probe.rows[0], strict=True)
    known = [f"--feature {name}={value:g}" for name, value in values if value is not None]
    return " ".join(known[:_FEW_FEATURES])


def _process_start_seconds() -> float:
    """When this process was started, on the clock of `time.monotonic` (proc_pid_stat(5), field 22)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    since_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return since_boot + time.monotonic() - time.clock_gettime(time.CLOCK_BOOTTIME)
