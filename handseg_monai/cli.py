"""The command line ``handseg``: each command is the face of a Python function of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from handseg_monai.commands import bundle, datasets, results, submissions, training

# What needs torch or numba is imported inside its command, so that --help answers at once.

app = typer.Typer(
    help="Segment the 29 bones of the hand on radiographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("handseg-demo"),
    seed: Annotated[int, typer.Option(help="Of phantoms and training.")] = 0,
) -> None:
    """Make phantoms, infer, fine-tune and evaluate, in a few minutes on two cores without a GPU."""
    from handseg_monai.run.demo import run_demo

    run_demo(out, seed=seed)


for command in (
    bundle.infer,
    bundle.train,
    bundle.options,
    bundle.publish,
    datasets.phantom,
    datasets.convert,
    datasets.folds,
    datasets.audit,
    training.cross_validate,
    results.evaluate,
    results.joints,
    results.plausibility,
    results.report,
    results.track,
    submissions.thresholds,
    submissions.vote,
    submissions.export,
):
    app.command()(command)


def main() -> None:
    """Run the command line: exit code 0; 1 where a step failed; 2, with one line, for input that can't be right."""
    try:
        app()
    except ChildProcessError as error:
        print(f"handseg: {error}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, OSError, ImportError) as error:
        print(f"handseg: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("handseg: interrupted", file=sys.stderr)
        sys.exit(130)
