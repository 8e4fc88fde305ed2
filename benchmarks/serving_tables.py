"""Results of what is measured on running servers → Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.markdown import table


def serving(results: dict[str, Any]) -> str:
    """Each transport beside its bare echo, then what was checked on the way."""
    model, start = results["model"], results["start"]
    intro = (
        f"The whole server with the {model['name']} model ({model['features']} features, {model['behaviours']} "
        f"behaviours, {model['bytes']:,} bytes) beside a server that only echoes, on the same transport with the same "
        f"options and message sizes; server on one core, client on the other; {results['machine']}; medians of turns. "
        f"CPU per request: echo / playfuse; of playfuse's, the model's graph alone, run in the largest batch of "
        f"that load. Start to ready {start['ready_seconds']:.2f} s, resident "
        f"{start['resident_mib']:.0f} MiB."
    )
    parts = [intro]
    for name, measured in results["transports"].items():
        parts += [f"**{name}**", _served_beside_echo(measured["cases"]), _served_checked(measured)]
        clients = {case: of["grpc_client"] for case, of in measured["cases"].items()}
        parts += ["The same by grpcio's Python client, which is what limits it:", _served_beside_echo(clients)]
    return "\n\n".join(parts)


def _served_beside_echo(cases: dict[str, Any]) -> str:
    with_graph = all("graph_us_per_request" in case for case in cases.values())
    rows = [
        (
            name,
            f"{case['echo']['requests_per_second']:,.0f}",
            f"{case['playfuse']['requests_per_second']:,.0f}",
            f"**{case['throughput_ratio']:.2f}**",
            f"{case['echo']['p50_ms']:.2f} / {case['echo']['p99_ms']:.2f}",
            f"{case['playfuse']['p50_ms']:.2f} / {case['playfuse']['p99_ms']:.2f}",
            f"{case['echo']['cpu_us_per_request']:.0f} / {case['playfuse']['cpu_us_per_request']:.0f}",
            *([f"{case['graph_us_per_request']:.1f}"] if with_graph else []),
        )
        for name, case in cases.items()
    ]
    header = ("load", "echo, requests/s", "playfuse", "ratio", "echo p50 / p99 ms", "playfuse p50 / p99 ms", "CPU µs")
    return table((*header, "graph alone µs") if with_graph else header, rows)


def _served_checked(measured: dict[str, Any]) -> str:
    half, identity, sigterm = measured["half_load"], measured["identity"], measured["sigterm"]
    lines = [
        f"- 64 players per request at half of the peak load: p50 {half['p50_ms']:.2f} ms, p99 {half['p99_ms']:.2f} ms, "
        f"{half['p99_over_p50']:.1f} times as long{_of_the_echo(half)}.",
        f"- {identity['requests']:,} requests of 1 to 64 players from {identity['threads']} threads, checked by value: "
        f"{identity['wrong']} wrong; resident after the load {measured['resident_mib_after_load']:.0f} MiB.",
        f"- SIGTERM under load: {sigterm['answered']:,} calls answered, {sigterm['told_to_go_elsewhere']} late ones "
        f"told UNAVAILABLE, {sigterm['lost']} lost, exit code {sigterm['exit_code']}.",
    ]
    for over in (measured["overload"], measured["flood"]):
        lines.append(
            f"- {over['offered_per_second']:,.0f} requests/s offered, three times the peak, {over['under_way']:,} of "
            f"them under way at most: answered {over['goodput_over_peak']:.0%} of the peak, "
            f"{1 - over['answered_share']:.1%} refused, p99 of all {over['p99_ms']:.0f} ms, memory "
            f"{over['resident_growth_mib']:+.0f} MiB{_of_the_refused(over)}."
        )
    return "\n".join(lines)


def _of_the_echo(half: dict[str, Any]) -> str:
    bare = half["echo"]
    return (
        f" (the echo at the same load: {bare['p50_ms']:.2f} and {bare['p99_ms']:.2f} ms, {bare['p99_over_p50']:.1f}); "
        f"in the median tenth of a second, which stops of the machine hardly reach, p99 {half['usual_p99_ms']:.2f} "
        f"ms, {half['usual_p99_over_p50']:.1f} times (the echo {bare['usual_p99_over_p50']:.1f})"
    )


def _of_the_refused(over: dict[str, Any]) -> str:
    """What a few callers beside the load saw."""
    refused = over["callers_beside"].get("RESOURCE_EXHAUSTED")
    if refused is None:
        return ""
    return (
        f"; a caller that was refused heard it after {refused['p50_ms']:.1f} ms (p99 {refused['p99_ms']:.1f}, "
        f"{refused['calls']} calls)"
    )


def swaps(results: dict[str, Any]) -> str:
    """What callers heard and what the server held while versions were swapped."""
    before, after = results["before"], results["after"]
    peace, swapping = results["latency_in_peace_ms"], results["latency_ms"]
    failed = sum(results["failed"].values())
    rows = [
        ("calls while swapping, on all versions", f"{results['calls']:,}"),
        ("failed / answered with other values than the named version's", f"**{failed}** / **{results['wrong']}**"),
        ("one change, read to live: median / longest", f"{_ms(results['swap_ms'], 'median', 'largest')} ms"),
        ("p50 / p99 of calls while swapping without a pause", f"{_ms(swapping, 'p50', 'p99')} ms"),
        ("p50 / p99 of the same calls in peace", f"{_ms(peace, 'p50', 'p99')} ms"),
        *(
            (f"{label}, before → after", f"{before[key] / unit:,.{digits}f} → {after[key] / unit:,.{digits}f}")
            for label, key, unit, digits in (
                ("resident MiB", "resident_bytes", 2**20, 1),
                ("threads", "threads", 1, 0),
                ("file descriptors", "descriptors", 1, 0),
            )
        ),
        (
            "resident MiB after each tenth of the swaps",
            ", ".join(f"{value / 2**20:.0f}" for value in results["resident_bytes_on_the_way"]),
        ),
    ]
    intro = f"{results['swaps']} swaps under {results['callers']} callers in closed loops; {results['machine']}."
    return f"{intro}\n\n{table(('what', 'measured'), rows)}"


def _ms(times: dict[str, float], one: str, other: str) -> str:
    return f"{times[one]:.1f} / {times[other]:.1f}"


def soak(results: dict[str, Any]) -> str:
    """What long mixed load left behind, one row per transport."""
    rows = []
    for transport, one in results.items():
        first, middle, last = (one[when] for when in ("first", "middle", "last"))
        calls = {status: count for status, count in one["calls"].items() if status != "wrong"}
        others = ", ".join(f"{count:,} {status}" for status, count in sorted(calls.items()) if status != "OK")
        judged = one["verdict"]
        rows.append(
            (
                f"{transport}, {one['minutes']:.0f} min",
                f"{calls['OK']:,}; {others}",
                f"**{judged['wrong']}** / **{judged['unexpected']}**",
                " → ".join(f"{sample['resident_mib']:.0f}" for sample in (first, middle, last)),
                f"{judged['resident_growth_mib']:+.1f}",
                f"{first['threads']} → {last['threads']}",
                f"{first['descriptors']} → {last['descriptors']}",
            )
        )
    header = ("", "answered; told", "wrong / unexpected", "resident MiB", "last third", "threads", "file descriptors")
    return table(header, rows)


def peers(results: dict[str, Any]) -> str:
    """The users' job in playfuse and in other servers, one table per kind of job."""
    parts = [
        f"Eight behaviours; server on one core, client on the other; medians of {results['repeats']} turns; "
        f"{results['machine']}. A prediction is one behaviour of one player. "
        "Last column: how many times the jobs playfuse does per second, and how many times its CPU time the job takes."
    ]
    for name, case in results["cases"].items():
        rows = [
            (
                one["title"],
                one["setting"],
                f"{one['jobs_per_second']:,.0f}",
                f"{one['jobs_per_second'] * case['players'] * len(results['teachers_bytes']):,.0f}",
                f"{one['cpu_us_per_job']:,.0f}",
                f"{one['resident_mib']:,.0f}",
                f"**{one['playfuse_jobs_ratio']:.1f}** / {one['playfuse_cpu_ratio']:.1f}",
            )
            for one in case["servers"].values()
        ]
        header = ("", "setting", "jobs/s", "predictions/s", "CPU µs per job", "MiB", "playfuse ahead: jobs/s / CPU")
        parts += [f"### {name.capitalize()}, {case['jobs_under_way']} jobs under way", table(header, rows)]
    return "\n\n".join(parts)


def peers_summary(results: dict[str, Any]) -> str:
    """The same in a glance: jobs per second of every server, and how far playfuse is ahead."""
    cases = results["cases"]
    servers = {name: one["title"] for case in cases.values() for name, one in case["servers"].items()}

    def of(name: str, case: dict[str, Any]) -> str:
        one = case["servers"].get(name)
        if one is None:
            return ""
        ratio = one["playfuse_jobs_ratio"]
        return f"{one['jobs_per_second']:,.0f}" + (f" (1/{ratio:.3g})" if ratio != 1.0 else "")

    rows = [(title, *(of(name, case) for case in cases.values())) for name, title in servers.items()]
    return table(("jobs per second and core: eight behaviours", *cases), rows)


def connections(results: dict[str, Any]) -> str:
    """What holding many connections costs."""
    header = (
        "",
        "idle, held",
        "active",
        "calls, failed",
        "p50 / p99 ms",
        "resident MB, before",
        "with all",
        "open files",
    )
    rows = [
        (
            name,
            f"{case['idle']:,}, {case['idle_held']:,}",
            f"{case['active']:,}",
            f"{case['calls']:,}, {case['failed']:,}",
            f"{case['p50_ms']:.2f} / {case['p99_ms']:.2f}",
            f"{case['resident_mb_before']:.0f}",
            f"{case['resident_mb_with_all']:.0f}",
            f"{case['open_files']:,}",
        )
        for name, case in results["cases"].items()
    ]
    intro = (
        f"One player per call, eight callers in a closed loop that go round over the active connections; "
        f"{results['machine']}, client and server together on it. Held: an HTTP/2 ping was answered in the end."
    )
    return f"{intro}\n\n{table(header, rows)}"
