"""Writes dashboards/playfuse.json: `python -m deploy.grafana.build_dashboard`. Edit this, never the JSON.

Tests prove that the JSON is what this writes, that a real server has every metric a panel names, and that a real
Prometheus evaluates every expression.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

DASHBOARD: Final = Path(__file__).parent / "dashboards" / "playfuse.json"
_DATASOURCE: Final = {"type": "prometheus", "uid": "prometheus"}
_COLUMNS: Final = 24
_HEIGHT: Final = 8
_WHERE: Final = 'job="playfuse", instance=~"$instance"'
_MODEL: Final = f"playfuse_model_info{{{_WHERE}}}"


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        title: what it shows.
        unit: Grafana's name of the unit.
        queries: legend → PromQL.
        kind: Grafana's panel type.
        about: what a reader should make of it.
    """

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    about: str = ""


def _rate(metric: str, by: str = "", *, where: str = "") -> str:
    grouping = f" by ({by})" if by else ""
    return f"sum{grouping} (rate({metric}{{{_WHERE}{where}}}[$__rate_interval]))"


def _quantile(quantile: float, histogram: str, by: str = "") -> str:
    return f"histogram_quantile({quantile}, {_rate(f'{histogram}_bucket', f'le, {by}' if by else 'le')})"


def _mean(histogram: str) -> str:
    return f"{_rate(f'{histogram}_sum')} / {_rate(f'{histogram}_count')}"


def _gauge(metric: str) -> str:
    return f"sum({metric}{{{_WHERE}}})"


def _total(metric: str, by: str) -> str:
    return f"sum by ({by}) ({metric}{{{_WHERE}}})"


def _highest(metric: str) -> str:
    return f"max by (model, version) ({metric}{{{_WHERE}}})"


ROWS: Final[dict[str, tuple[Panel, ...]]] = {
    "Model": (
        Panel(
            "Served model",
            "none",
            {"{{model}} {{version}} synthetic={{synthetic}}": f"max by (model, version, synthetic) ({_MODEL})"},
            kind="stat",
            about="synthetic=true: trained on simulated players, for trying out only.",
        ),
        Panel("Predictions per second", "ops", {"{{behaviour}}": _rate("playfuse_predictions_total", "behaviour")}),
        Panel(
            "Degraded and unanswered calls, dropped sessions",
            "ops",
            {
                "degraded answers": _rate("playfuse_degraded_total"),
                "unanswered calls": _rate("playfuse_unanswered_total"),
                "dropped sessions": _rate("playfuse_sessions_dropped_total"),
            },
            about="A degraded answer holds each behaviour's prior because the model failed: it should stay at 0.",
        ),
    ),
    "Versions": (
        Panel(
            "Players per second, by version",
            "ops",
            {
                "{{model}} {{version}}": "sum by (model, version) (max by (model, version, instance) "
                f"(rate(playfuse_predictions_total{{{_WHERE}}}[$__rate_interval])))"
            },
            about="Of the behaviour that is asked for most. A swap shows as one line that takes over from another.",
        ),
        Panel(
            "Changes",
            "none",
            {
                "{{model}} swaps": _total("playfuse_swaps_total", "model"),
                "{{model}} taken back: {{reason}}": _total("playfuse_rollbacks_total", "model, reason"),
                "{{model}} failed to load": _total("playfuse_load_failures_total", "model"),
                "state not saved": f"sum(1 - playfuse_state_saved{{{_WHERE}}})",
            },
            about="Since the start. Taken back for errors or latency: the server did it, and its log says why.",
        ),
        Panel(
            "On trial, in the shadow",
            "percent",
            {
                "canary {{model}} {{version}}": _highest("playfuse_canary_percent"),
                "shadow {{model}} {{version}}": _highest("playfuse_shadow_percent"),
            },
        ),
    ),
    "Shadow": (
        Panel(
            "Copies of calls",
            "reqps",
            {"{{model}} {{version}} {{outcome}}": _rate("playfuse_shadow_calls_total", "model, version, outcome")},
            about="dropped: the shadow version is too slow for its share; live answers never wait for it.",
        ),
        Panel(
            "Difference from live",
            "none",
            {
                "{{behaviour}} mean ({{unit}})": _rate("playfuse_shadow_difference_sum", "behaviour, unit")
                + " / "
                + _rate("playfuse_shadow_difference_count", "behaviour, unit"),
                "{{behaviour}} largest ({{unit}})": "max by (behaviour, unit) "
                f"(playfuse_shadow_largest_difference{{{_WHERE}}})",
            },
            about="Absolute, per player: a ratio for probabilities, seconds for times.",
        ),
    ),
    "Requests: rate, errors, duration": (
        Panel("Rate", "reqps", {"{{method}}": _rate("playfuse_request_seconds_count", "method")}),
        Panel(
            "Errors",
            "reqps",
            {
                "{{method}} {{code}}": _rate("playfuse_request_seconds_count", "method, code", where=', code!="OK"'),
                "rejected: {{reason}}": _rate("playfuse_rejected_total", "reason"),
            },
            about="By gRPC status; rejected: refused before any computing, by reason.",
        ),
        Panel(
            "Duration",
            "s",
            {
                f"{{{{method}}}} p{percent}": _quantile(percent / 100, "playfuse_request_seconds", "method")
                for percent in (50, 90, 99)
            },
        ),
    ),
    "Queue and batches": (
        Panel(
            "Waiting and in flight",
            "none",
            {
                "rows waiting": _gauge("playfuse_queue_rows"),
                "rows waiting in the transport": _gauge("playfuse_transport_queue_rows"),
                "requests in flight": _gauge("playfuse_requests_in_flight"),
            },
        ),
        Panel(
            "Queue wait",
            "s",
            {f"p{percent}": _quantile(percent / 100, "playfuse_queue_wait_seconds") for percent in (50, 99)},
            about="Time between arrival and the start of the batch: the signal to scale on.",
        ),
        Panel(
            "Rows per batch",
            "none",
            {"mean": _mean("playfuse_batch_rows"), "p99": _quantile(0.99, "playfuse_batch_rows")},
            about="Grows with load: arrivals collect while the model runs, then go together.",
        ),
        Panel(
            "Time per batch",
            "s",
            {"mean": _mean("playfuse_inference_seconds"), "p99": _quantile(0.99, "playfuse_inference_seconds")},
        ),
    ),
    "Energy": (
        Panel(
            "Joules per 1,000 predictions",
            "joule",
            {
                "{{source}} {{domain}}": "1000 * "
                + _rate("playfuse_energy_joules_total", "source, domain")
                + " / ignoring (source, domain) group_left () "
                + _rate("playfuse_predictions_total")
            },
            about="source=estimate: computed from CPU time, not measured. Sources are never added up.",
        ),
        Panel("Power", "watt", {"{{source}} {{domain}}": _rate("playfuse_energy_joules_total", "source, domain")}),
        Panel(
            "CPU per 1,000 predictions",
            "s",
            {"CPU seconds": f"1000 * {_rate('playfuse_cpu_seconds_total')} / {_rate('playfuse_predictions_total')}"},
        ),
    ),
    "Process": (
        Panel("CPU cores in use", "none", {"{{instance}}": _rate("process_cpu_seconds_total", "instance")}),
        Panel("Resident memory", "bytes", {"{{instance}}": f"process_resident_memory_bytes{{{_WHERE}}}"}),
        Panel("Uptime", "s", {"{{instance}}": f"time() - process_start_time_seconds{{{_WHERE}}}"}, kind="stat"),
    ),
}


def dashboard() -> dict[str, Any]:
    """The dashboard as Grafana's JSON model."""
    panels: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        panels.append(
            {
                "id": len(panels) + 1,
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": _COLUMNS, "h": 1},
            }
        )
        width = _COLUMNS // len(row)
        for column, panel in enumerate(row):
            position = {"x": column * width, "y": y + 1, "w": width, "h": _HEIGHT}
            panels.append({"id": len(panels) + 1, "gridPos": position, **_panel(panel)})
        y += 1 + _HEIGHT
    return {
        "uid": "playfuse",
        "title": "playfuse",
        "tags": ["playfuse"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "5s",
        "time": {"from": "now-15m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_instances()]},
        "panels": panels,
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _DATASOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"textMode": "name"} if panel.title == "Served model" else {},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": _DATASOURCE, "expr": expression, "legendFormat": legend}
            for index, (legend, expression) in enumerate(panel.queries.items())
        ],
    }


def _instances() -> dict[str, Any]:
    return {
        "name": "instance",
        "label": "server",
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": 'label_values(playfuse_model_info{job="playfuse"}, instance)', "refId": "instances"},
        "refresh": 2,
        "includeAll": True,
        "multi": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def main() -> None:
    """Write the file."""
    DASHBOARD.parent.mkdir(parents=True, exist_ok=True)
    DASHBOARD.write_text(json.dumps(dashboard(), indent=1) + "\n")


if __name__ == "__main__":
    main()
