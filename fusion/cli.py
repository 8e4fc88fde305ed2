"""The build half's commands. Heavy imports wait inside the commands, so that `--help` answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Build time: session logs and teachers in, one small fused network out.",
)


@app.command()
def data(
    context: typer.Context,
    log: Annotated[
        Path | None,
        typer.Argument(help="Session log, or table of players: .csv, .csv.gz or .parquet.", show_default=False),
    ] = None,
    spec: Annotated[
        str | None,
        typer.Option(
            help="Name of a shipped spec, or a YAML file that says what the columns mean.", show_default=False
        ),
    ] = None,
    simulate: Annotated[
        int | None,
        typer.Option(metavar="PLAYERS", min=1, help="Simulate a log of so many players.", show_default=False),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(help="Draw rows without labels from a file of `playfuse statistics`.", show_default=False),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="That are drawn from statistics.")] = 50_000,
    seed: Annotated[int, typer.Option(min=0, help="Of the simulator, or of the rows drawn.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write the dataset to; without it, only the report is made.", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn a session log or a table of players into features and labels; say what was dropped, censored, split how.

    [bold]Examples[/]

      playfuse data sessions.csv.gz --spec my_game.yaml --out runs/data

      playfuse data telemetry-outriders.csv.gz --spec outriders --json

      playfuse data SkillCraft1_Dataset.csv --spec skillcraft1 --out runs/data

      playfuse data --simulate 2000 --seed 1 --out runs/data

      playfuse data --statistics statistics.json --out runs/drawn
    """
    from fusion.options import refuse_idle
    from fusion.telemetry.command import run

    if log is None:
        refuse_idle(context, spec="only with a log")
    if statistics is None:
        refuse_idle(context, rows="only with --statistics")
    if simulate is None and statistics is None:
        refuse_idle(context, seed="only with --simulate or --statistics")
    run(log=log, spec=spec, simulate=simulate, statistics=statistics, rows=rows, seed=seed, out=out, as_json=as_json)


@app.command()
def statistics(
    data: Annotated[Path, typer.Argument(help="Folder that `playfuse data` wrote.")],
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("statistics.json"),
) -> None:
    """Export what may leave instead of rows: quantiles and correlations of at least 100 players, no labels.

    Whoever has the file and the teachers can fuse them, on rows drawn from it (`playfuse data --statistics`).

    [bold]Examples[/]

      playfuse statistics runs/data --out statistics.json
    """
    from fusion.distill.command import run

    run(data=data, out=out)


@app.command()
def train(
    context: typer.Context,
    data: Annotated[Path, typer.Argument(help="Folder that `playfuse data` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder for the teachers; those of the same name are replaced.")],
    preset: Annotated[str, typer.Option(help="full (minutes) or demo (smaller, well under a minute).")] = "full",
    spec: Annotated[
        Path | None,
        typer.Option(help="YAML file of the teachers to train, instead of a preset.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of every teacher.", min=0, max=2**31 - 1)] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Train teachers: boosted trees and an MLP for each behaviour; a GRU, a TCN and a linear model for all of them.

    Each is written as an ONNX file with a card beside it as soon as it is ready.

    [bold]Examples[/]

      playfuse train runs/data --out runs/teachers

      playfuse train runs/data --out runs/teachers --preset demo --json

      playfuse train runs/data --out runs/teachers --spec teachers.yaml
    """
    from fusion.options import refuse_idle
    from fusion.teachers.command import run

    if spec is not None:
        refuse_idle(context, preset="only without --spec")
    run(data=data, out=out, preset_name=preset, spec=spec, seed=seed, as_json=as_json)


@app.command()
def fuse(
    context: typer.Context,
    data_folder: Annotated[Path, typer.Argument(metavar="DATA", help="Dataset that `playfuse data` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder to write the artifact to.")],
    folder: Annotated[
        Path | None, typer.Argument(metavar="TEACHERS", help="The same as --teachers.", show_default=False)
    ] = None,
    teachers: Annotated[
        Path | None,
        typer.Option(help="Folder of teachers: what `playfuse train` wrote, and your own.", show_default=False),
    ] = None,
    recipe: Annotated[str, typer.Option(help="full, demo, or a YAML file.")] = "full",
    seed: Annotated[
        int | None, typer.Option(min=0, max=2**31 - 1, help="Instead of the recipe's.", show_default=False)
    ] = None,
    auto: Annotated[bool, typer.Option("--auto", help="Search for the best recipe that holds the budget.")] = False,
    budget: Annotated[str, typer.Option(help="Of the search: server, console, mobile, or a YAML file.")] = "server",
    study: Annotated[
        Path | None,
        typer.Option(help="SQLite file of the search, to go on from. By default beside OUT.", show_default=False),
    ] = None,
    with_report: Annotated[
        bool, typer.Option("--report/--no-report", help="Also write report.html, about 150 kB, into the artifact.")
    ] = True,
    with_baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also train one network per behaviour within the same total size, to compare with. Takes several "
            "times as long as fusing.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the passport as JSON.")] = False,
) -> None:
    """Fuse teachers into one small low-rank network and write its artifact, ready to serve.

    With --auto, recipes are tried and measured on this machine, and the best one that holds the budget is followed.

    [bold]Examples[/]

      playfuse fuse runs/data --teachers runs/teachers --out runs/artifact

      playfuse fuse runs/data --teachers runs/teachers --recipe mine.yaml --seed 1 --out runs/artifact

      playfuse fuse runs/data --teachers runs/teachers --baselines --out runs/artifact

      playfuse fuse runs/data --teachers runs/teachers --auto --budget mobile --out runs/artifact
    """
    from fusion.command import one_folder, run
    from fusion.options import refuse_idle

    if not auto:
        refuse_idle(context, budget="only with --auto", study="only with --auto")
    run(
        data=data_folder,
        teachers=one_folder(folder, teachers),
        out=out,
        recipe=recipe,
        seed=seed,
        budget=budget if auto else None,
        study=study,
        with_report=with_report,
        with_baselines=with_baselines,
        as_json=as_json,
    )


@app.command()
def report(
    artifact: Annotated[Path, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("report.html"),
) -> None:
    """Make the report of an artifact anew, from its passport alone: one HTML file that loads nothing.

    [bold]Examples[/]

      playfuse report runs/artifact

      playfuse report runs/artifact --out yesterday.html
    """
    from fusion.report.command import run

    run(artifact=artifact, out=out)


@app.command()
def update(
    context: typer.Context,
    artifact: Annotated[Path, typer.Argument(help="Folder that `playfuse fuse` wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder to write the new artifact to; may be the old one.")],
    version: Annotated[str, typer.Option(help="Of the new model.")],
    add: Annotated[
        str | None, typer.Option(metavar="BEHAVIOUR", help="To predict as well, or anew.", show_default=False)
    ] = None,
    called: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="What to call what is added, a region's own.", show_default=False),
    ] = None,
    remove: Annotated[
        str | None, typer.Option(metavar="BEHAVIOUR", help="To predict no more.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Dataset to learn from (`playfuse data`).", show_default=False)
    ] = None,
    teachers: Annotated[
        Path | None, typer.Option(help="Teachers that predict it (`playfuse train`).", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the passport as JSON.")] = False,
) -> None:
    """Add, refresh or remove one behaviour; the others' answers keep every bit.

    [bold]Examples[/]

      playfuse update runs/artifact --add churn_14d --data runs/data --teachers runs/teachers --version 2 --out runs/v2

      playfuse update runs/artifact --add churn_7d --as churn_7d_eu --data runs/eu --teachers runs/eu_teachers
      --version 3 --out runs/v3

      playfuse update runs/artifact --remove next_gap_hours --version 4 --out runs/v4
    """
    from fusion.incremental.command import run
    from fusion.options import refuse_idle

    if add is None:
        refuse_idle(context, called="only with --add", data="only with --add", teachers="only with --add")
    run(
        artifact=artifact,
        added=add,
        called=called,
        removed=remove,
        data=data,
        teachers=teachers,
        out=out,
        version=version,
        as_json=as_json,
    )
