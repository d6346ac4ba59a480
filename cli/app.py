"""The Typer application: one command a verb, and the one place where errors become exit codes."""

from importlib.metadata import version as installed

import typer

from ..runtime.errors import ConfigError, EdgerecError
from . import bench, cache, demo, diff, distill, export, inspect, pack, predict, prune, quantize, train
from .console import print_error

app = typer.Typer(
    name="edgerec",
    help="Make image-recognition models small and fast for a device, and prove it with measurements.",
    epilog="Start with: edgerec demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command(epilog=train.EXAMPLE)(train.train)
app.command(epilog=prune.EXAMPLE)(prune.prune)
app.command(epilog=distill.EXAMPLE)(distill.distill)
app.command(epilog=export.EXAMPLE)(export.export)
app.command(epilog=quantize.EXAMPLE)(quantize.quantize)
app.command(epilog=bench.EXAMPLE)(bench.bench)
app.command(epilog=diff.EXAMPLE)(diff.diff)
app.command(epilog=inspect.EXAMPLE)(inspect.inspect)
app.command(epilog=pack.EXAMPLE)(pack.pack)
app.command(epilog=predict.EXAMPLE)(predict.predict)
app.command(epilog=demo.EXAMPLE)(demo.demo)
app.command(epilog=cache.EXAMPLE)(cache.cache)

EXTRAS = {
    "cpu": ("onnxruntime",),
    "quantize": ("onnx", "onnx_ir"),
    "toolkit": ("torch", "torch_pruning", "onnxscript", "accelerate", "kornia", "safetensors", "altair", "vl_convert"),
}


def run(arguments: list[str] | None) -> int:
    """Run the command; return 0, an error's own exit code, 2 for wrong usage, or 130 when interrupted."""
    try:
        app(arguments)
    except EdgerecError as error:
        print_error(error)
        return error.exit_code
    except ModuleNotFoundError as error:
        if (missing := not_installed(error)) is None:
            raise
        print_error(missing)
        return missing.exit_code
    except SystemExit as end:  # how Typer ends; it turns an interrupt into 130
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    return 0


def not_installed(error: ModuleNotFoundError) -> EdgerecError | None:
    """Return what to install for a missing package of ours; None for any other."""
    package = (error.name or "").partition(".")[0]
    extra = next((extra for extra, packages in EXTRAS.items() if package in packages), None)
    return ConfigError("a package is not installed that this command needs", package, f'pip install "edgerec[{extra}]"') if extra else None


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgerec {installed('edgerec')}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version and exit.")) -> None:
    """Make image-recognition models small and fast for a device, and prove it with measurements."""
