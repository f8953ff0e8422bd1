"""The command line ``handseg``: each command is the face of a Python function of the package."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from handseg_monai.commands import archive, bundle, datasets, pacs, results, serve, submissions, training

# What needs torch or numba is imported inside its command, so that --help answers at once.

app = typer.Typer(
    help="Segment the 29 bones of the hand on radiographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path("handseg-demo"),
    seed: Annotated[int, typer.Option(help="Seed of phantoms and training.")] = 0,
) -> None:
    """Run the whole pipeline on phantoms in a few minutes, without a GPU: infer, fine-tune and evaluate."""
    from handseg_monai.run.demo import run_demo

    run_demo(out, seed=seed)


app.command(context_settings=bundle.PASSED_ON)(bundle.infer)
app.command(context_settings=bundle.PASSED_ON)(bundle.train)
app.command(context_settings=bundle.PASSED_ON)(training.cross_validate)
app.command(context_settings=bundle.PASSED_ON)(submissions.thresholds)
for command in (
    bundle.options,
    bundle.publish,
    datasets.phantom,
    datasets.convert,
    datasets.folds,
    datasets.audit,
    results.evaluate,
    results.joints,
    results.plausibility,
    results.measure,
    results.report,
    results.track,
    submissions.vote,
    submissions.export,
    serve.serve,
    archive.archive,
    archive.archive_csv,
    pacs.pacs,
):
    app.command()(command)


def main() -> None:
    """Run the command line: exit code 0; 1 if a step failed; 2, with one line, if the input can't be right."""
    try:
        if "" in sys.argv[1:]:  # Typer makes the folder that one works in of it
            raise ValueError("an argument is empty; expected a value (is a variable of the shell not set?)")
        app()
    except ChildProcessError as error:
        print(f"handseg: {error}", file=sys.stderr)
        sys.exit(1)
    except (ValueError, OSError, ImportError) as error:
        print(f"handseg: {_in_words(error)}", file=sys.stderr)
        sys.exit(2)


def _in_words(error: Exception) -> str:
    """Return an error without the number that the system gives it."""
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    return str(error)
