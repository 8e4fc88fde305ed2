"""Options that would change nothing are refused: whoever gives one expects something of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusion.errors import FusionError

if TYPE_CHECKING:
    import typer


def refuse_idle(context: typer.Context, **needs: str) -> None:
    """Refuse options given on the command line that nothing will come of.

    Args:
        context: of the command.
        needs: name of such an option's parameter → when it would mean something.

    Raises:
        FusionError: names the option, and when it means something.
    """
    for name, need in needs.items():
        source = context.get_parameter_source(name)
        option = next(parameter.opts[0] for parameter in context.command.params if parameter.name == name)
        if source is not None and source.name == "COMMANDLINE":
            raise FusionError(
                f"playfuse {context.command.name}",
                got=f"{option}, which changes nothing here",
                expected=f"it {need}",
                fix=f"Leave {option} out.",
            )
