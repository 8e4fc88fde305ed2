"""Every bash and python snippet of README.md and docs/ is run, page by page, in the order of reading."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from benchmarks.render import ROOT, documents

if TYPE_CHECKING:
    from collections.abc import Iterator

SHOWN_ONLY: Final = {"text", "yaml", "json", "proto", "promql"}
"""Languages of blocks that show output or a file."""
RESOURCES: Final = ("loadtests", "deploy", "benchmarks", "protos", "README.md")
"""What the snippets refer to; the working folder has links to it."""
LIMIT_SECONDS: Final = 220
PREAMBLE: Final = """
set -euo pipefail
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
listening() {
  for _ in $(seq 600); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; then return; fi
    kill -0 $! || break
    sleep 0.05
  done
  echo "nothing listens on port $1" >&2
  return 1
}
"""
FENCE: Final = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Snippet:
    """One fenced block: where it stands, its language, its text."""

    place: str
    language: str
    text: str


def snippets(path: Path) -> Iterator[Snippet]:
    content = path.read_text()
    for match in FENCE.finditer(content):
        line = content.count("\n", 0, match.start()) + 1
        yield Snippet(f"{path.name}:{line}", match[1], match[2])


def check_make(words: list[str]) -> None:
    """Too long to run here, or the very command that runs this: the target has to exist."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {word for word in words[1:] if "=" not in word} <= targets


def check_pip(words: list[str]) -> None:
    """Installing is what `tests/e2e/test_install.py` does: here, the distribution and its extras have to be ours."""
    assert words[1] == "install"
    requirement = re.fullmatch(r"'?playfuse(?:\[([a-z,]+)\])?'?", words[2])
    assert requirement is not None
    extras = set(filter(None, (requirement[1] or "").split(",")))
    pyproject = (ROOT / "pyproject.toml").read_text()
    assert all(re.search(rf"^{extra} = \[", pyproject, re.MULTILINE) for extra in extras)


def check_docker(words: list[str]) -> None:
    """There may be no engine: the files it is given have to exist (`tests/deploy` checks what is in them)."""
    files = [words[index + 1] for index, word in enumerate(words) if word == "-f"]
    assert all((ROOT / file).is_file() for file in files)


VERIFIED: Final = {"make": check_make, "pip": check_pip, "docker": check_docker}
"""First word of a command that is not run → what is verified instead."""


def runnable(snippet: Snippet) -> str:
    """The snippet as bash, without the lines that are verified instead.

    A reader looks at what a new server says before typing on: so does the script.
    """
    lines = []
    for line in snippet.text.splitlines():
        command = line.split("#")[0].split()
        words = command[next((i for i, word in enumerate(command) if "=" not in word), 0) :]
        if words and words[0] in VERIFIED:
            VERIFIED[words[0]](words)
        else:
            lines.append(line)
        if words[:2] == ["playfuse", "serve"] and words[-1] == "&":
            port = words[words.index("--port") + 1] if "--port" in words else "50051"
            lines.append(f"listening {port}")
    return "\n".join(lines)


def as_script(path: Path, folder: Path) -> str:
    """One bash script for the whole page, so that a server or a variable of one block is there in the next."""
    parts = [PREAMBLE]
    for number, snippet in enumerate(snippets(path)):
        if snippet.language == "bash":
            code = runnable(snippet)
        elif snippet.language == "python":
            file = folder / f"snippet_{number}.py"
            file.write_text(snippet.text)
            code = f"python {file.name}"
        else:
            assert snippet.language in SHOWN_ONLY, f"{snippet.place}: got language {snippet.language!r}"
            continue
        parts += [f"echo '--- {snippet.place}' >&2", code]
    return "\n".join(parts) + "\n"


@cache
def own_network() -> tuple[str, ...]:
    """What to run a page under so that its ports are its own: the pages name fixed ones, as a reader types them.

    Where the kernel grants no network namespace, the ports of the machine have to be free.
    """
    inside = ("unshare", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    if shutil.which("unshare") and subprocess.run([*inside, "true"], capture_output=True, check=False).returncode == 0:
        return inside
    return ()


def in_group(path: Path) -> pytest.MarkDecorator:
    """Pages with ports of their own may run at the same time."""
    return pytest.mark.xdist_group(path.name if own_network() else "docs")


@pytest.mark.process
@pytest.mark.parametrize("path", [pytest.param(path, id=path.name, marks=in_group(path)) for path in documents()])
def test_snippets_of_a_page_run_in_order(path: Path, tmp_path: Path) -> None:
    for name in RESOURCES:
        (tmp_path / name).symlink_to(ROOT / name)
    script = tmp_path / "page.sh"
    script.write_text(as_script(path, tmp_path))
    output = run_page(script)
    assert output.code == 0, f"the snippet named last failed:\n{output.text}"


@dataclass(frozen=True)
class Outcome:
    code: int
    text: str


def run_page(script: Path) -> Outcome:
    """Run a script in its folder; whatever it left behind is stopped with it."""
    log = script.with_suffix(".log")
    # Without the tracing of coverage, which other tests have of the same lines and which makes all this much slower.
    untraced = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment = {**untraced, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "120"}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*own_network(), "bash", script.name],
            cwd=script.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            code = 124
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return Outcome(code, log.read_text())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("```bash\ntrue\n```\n\n```bash\nls missing-file\n```\n", "missing-file"),
        ("```python\nraise SystemExit('wrong answer')\n```\n", "wrong answer"),
        ("```bash\nfalse | cat\n```\n", "page.md:1"),
    ],
)
def test_a_failing_snippet_fails_its_page(text: str, fault: str, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(text)
    script = tmp_path / "page.sh"
    script.write_text(as_script(page, tmp_path))
    outcome = run_page(script)
    assert outcome.code != 0
    assert fault in outcome.text


@pytest.mark.parametrize(
    "line", ["make nothing", "make test nothing", "pip install playfuse[nothing]", "docker build -f nothing ."]
)
def test_a_verified_command_is_verified(line: str) -> None:
    with pytest.raises(AssertionError):
        runnable(Snippet("page.md:1", "bash", line))


def test_a_block_of_unknown_language_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\nsomething\n```\n")
    with pytest.raises(AssertionError, match="language"):
        as_script(page, tmp_path)


def test_links_between_pages_lead_somewhere() -> None:
    broken = [
        f"{path.name}: {target}"
        for path in [*documents(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text())
        if not (path.parent / target).exists()
    ]
    assert not broken
