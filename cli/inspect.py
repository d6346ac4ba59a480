"""`edgerec inspect`: what a file really does when it runs, and why it is slow."""

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import print_json, print_table, say

if TYPE_CHECKING:
    from ..benchmarks.audit import Audit
    from ..benchmarks.executed import Executed
    from ..benchmarks.findings import Finding
    from ..benchmarks.peak import Peak

EXAMPLE = "Example: edgerec inspect small.int8.onnx --threads 1"
_WIDEST = 100  # columns of running text; longer lines are hard to read


def inspect(
    file: Annotated[Path, typer.Argument(help="An ONNX file: float, int8, yours or another tool's.")],
    provider: options.Provider = "cpu",
    provider_option: options.ProviderOption = [],  # noqa: B006  # Typer copies list defaults
    min_on_provider: options.MinOnProvider = 0.9,
    allow_fallback: options.AllowFallback = False,
    input_size: options.InputSize = None,
    layout: options.Layout = None,
    nodes: Annotated[int, typer.Option("--nodes", min=0, help="Rows of the table of nodes; 0 shows all.")] = 15,
    threads: options.Threads = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Show which kernels run, what each costs, and what is wrong with the file."""
    from ..benchmarks.audit import audit
    from ..graph.file import load_onnx, read_spec
    from ..runtime.cores import usable_cores
    from ..runtime.errors import ProviderError
    from ..runtime.placement import Placement, check_placement
    from ..runtime.providers import known_provider, parse_options

    model = load_onnx(file)
    spec = options.Foreign(input_size=input_size, layout=layout).fill(read_spec(model), file.name)
    try:
        result = audit(
            file,
            provider=provider,
            options=parse_options(provider_option),
            threads=threads or usable_cores(),
            images=spec.inputs if spec else (),
        )
    except ProviderError:
        from ..benchmarks.file_findings import file_findings

        found = file_findings(model, provider)  # what the file alone gives away holds without the provider
        if json and found:
            print_json({"file": file.name, "provider": provider, "findings": [asdict(one) for one in found]})
        show_findings(found, quiet=quiet or json or not found)
        raise
    if json:
        print_json(result)
    show_audit(result, nodes, quiet=quiet or json)
    if not allow_fallback and (chosen := known_provider(result.provider)):
        check_placement(Placement(result.assignment), chosen, min_on_provider)  # after the report: it shows which nodes, and why


def show_audit(result: "Audit", rows: int, *, quiet: bool = False) -> None:
    """Print the paragraph, the kinds, the most expensive nodes and the findings."""
    if quiet:
        return
    print(_wrapped(result.explanation))
    print()
    print_table("", ["kind", "nodes", "ms", "time", "million MACs"], _kind_rows(result))
    print()
    ordered = sorted(result.nodes, key=lambda node: -node.us)[: rows or None]
    mixed = len(result.placement) > 1
    title = f"the {len(ordered)} most expensive of {len(result.nodes)} nodes"
    columns = ["node", "operator", "kind", "us", "time", "million MACs", "of peak", *(["provider"] if mixed else [])]
    print_table(title, columns, [_node_row(node, result.peak, mixed=mixed) for node in ordered])
    print()
    show_findings(result.findings)
    told = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    shares = {name: f" ({share:.0%} of the MACs)" for name, share in result.macs_share.items() if mixed}
    where = ", ".join(f"{count} on {name}{shares.get(name, '')}" for name, count in result.placement.items())
    say(f"{where}; {result.threads} thread(s), {result.batch} image(s); {result.machine.cpu}; {told}")


def show_findings(findings: "Sequence[Finding]", *, quiet: bool = False) -> None:
    """Print what stands out, what it costs and what to do."""
    from ..benchmarks.explanation import shortened

    if quiet:
        return
    if not findings:
        print("findings: none")
        return
    print("findings")
    for one in findings:
        cost = f", {one.cost_ms:.3f} ms" if one.cost_ms is not None else ""
        names = f" ({shortened(one.nodes)})" if one.nodes else ""
        print(_wrapped(f"- {one.severity}{cost}: {one.title}{names}", "  "))
        print(_wrapped(f"  what to do: {one.advice}", "    "))


def _kind_rows(result: "Audit") -> Iterable[list[str]]:
    for kind, ms in result.ms_by_kind.items():
        own = [node for node in result.nodes if node.kind == kind]
        if own:
            share, macs = sum(node.share for node in own), sum(node.macs for node in own)
            yield [kind, str(len(own)), f"{ms:.3f}", f"{share:.0%}", f"{macs / 1e6:,.3f}" if macs else ""]


def _node_row(node: "Executed", peak: "Peak | None", *, mixed: bool) -> list[str]:
    fastest = (peak.int8_gmacs if node.kind == "int8" else peak.float_gmacs) if peak else 0.0
    reached = f"{node.macs / (node.us * 1e3) / fastest:.0%}" if node.macs and node.us and fastest else ""
    macs = f"{node.macs / 1e6:,.3f}" if node.macs else ""
    row = [node.title, node.op_type, node.kind, f"{node.us:.1f}", f"{node.share:.0%}", macs, reached]
    return [*row, node.provider.removesuffix("ExecutionProvider")] if mixed else row


def _wrapped(text: str, further: str = "") -> str:
    """Return running text in lines that fit the terminal, the second and later ones behind `further`."""
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDEST
    return textwrap.fill(text, min(columns, _WIDEST), subsequent_indent=further, break_long_words=False, break_on_hyphens=False)
