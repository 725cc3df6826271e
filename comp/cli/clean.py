"""`comp clean`: what may go."""

from __future__ import annotations

from typing import Annotated

from comp import console
from comp.cli.options import AsJson, WorkspaceDir, Yes, option


def clean(
    dry_run: Annotated[bool, option("--dry-run", "Only say what may go.")] = False,
    yes: Yes = False,
    workspace: WorkspaceDir = None,
    json: AsJson = False,
) -> None:
    """Remove what is no longer needed.

    It shows what may go with its size, and asks. Nothing is removed that a finished run has or an unfinished one needs: deleted runs, what killed processes left half written, and what can be made again.
    """
    from comp.pipelines.clean import clean as remove
    from comp.pipelines.clean import find_clean
    from comp.pipelines.run_bin import in_bytes

    found = find_clean(workspace)
    if found.kinds:
        rows = [(kind.name, len(kind.paths), in_bytes(kind.size), kind.why) for kind in found.kinds]
        console.table("", ("what", "files or folders", "size", "why"), rows)
    else:
        console.print_result("nothing may go")
    result = found if dry_run else remove(workspace, yes=yes)
    if result.removed:
        console.print_result(f"{in_bytes(result.size)} removed")
    if json:
        console.print_json(result.as_json())
