"""Tables of what benchmarks/ measured, of the newest line of each case: nothing in them is typed by hand."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convnets.errors import UsageError
from convnets.ledger import ROOT

RESULTS = ROOT / "benchmarks" / "results.jsonl"
SHORT = {"float32": "f32", "bfloat16": "bf16"}
NONE = ["Not measured yet."]

Lines = Sequence[Mapping[str, Any]]


def read() -> list[dict[str, Any]]:
    """The lines, each with `where` it was measured; but for the first two, which do not tell."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return [{**line, "where": where(line)} for line in lines if "cores" in line]


def where(line: Mapping[str, Any]) -> str:
    """The accelerator, or the processor, whose name the first lines do not tell."""
    device = line.get("device", "cpu")
    return f"{line['cores']} x {line.get('processor', 'cpu')}" if device == "cpu" else device


def newest(lines: Lines, benchmark: str, *keys: str) -> dict[tuple, Mapping[str, Any]]:
    """The last line of a benchmark for each value of `keys`, in the order in which they were first measured."""
    return {tuple(line[k] for k in keys): line for line in lines if line["benchmark"] == benchmark}


def spread(values: Mapping[str, float], form: str = ",.0f") -> str:
    """The median, and what it lies between."""
    return f"{values['median']:{form}} ({values['least']:{form}} to {values['most']:{form}})"


def number(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def steps(lines: Lines, kind: str) -> list[str]:
    """Images/s in training or inference beside PyTorch, a row a network and type."""
    found = newest(lines, kind, "where", "net", "dtype")
    out = ["| network | type | batch | ours, images/s | PyTorch eager | compiled | ours / the faster | of the products' rate"
           " | ours, MiB | PyTorch | where | commit |", "|---|---|---|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for (_, net, dtype), v in found.items():
        rates = [
            number(v[s]["images_per_second"]["median"]) if s in v else "failed"
            for s in ("ours", "torch", "torch_compiled")
        ]
        out.append(f"| `{net}` | {SHORT[dtype]} | {v['batch']} | {' | '.join(rates)} | **{spread(v['ratio'], '.2f')}**"
                   f" | {100 * v['share_of_products']:.0f} % | {v['ours']['peak_mib']:,.0f} | {v[v['beside']]['peak_mib']:,.0f}"
                   f" | {v['where']} | {v['commit'][:7]} |")  # fmt: skip
    return out if found else NONE


def ratios(lines: Lines) -> list[str]:
    """Ours / the faster of PyTorch's two, a row a machine and network: the README's."""
    kinds = ("train", "inference")
    found = {k: v for kind in kinds for k, v in newest(lines, kind, "where", "net", "benchmark", "dtype").items()}
    columns = [(kind, dtype) for kind in kinds for dtype in SHORT]
    out = ["| network | " + " | ".join(f"{'training' if k == 'train' else k}, {SHORT[d]}" for k, d in columns) + " | where |",
           "|---|" + "---|" * len(columns) + "---|"]  # fmt: skip
    for where, net in dict.fromkeys(key[:2] for key in found):
        cells = [found.get((where, net, *column)) for column in columns]
        out.append(
            f"| `{net}` | " + " | ".join(f"{c['ratio']['median']:.2f}" if c else "" for c in cells) + f" | {where} |"
        )
    return out if found else NONE


def inputs(lines: Lines) -> list[str]:
    out = ["| images | ours, images/s | DataLoader, uint8 | float32 | ours / uint8 | / float32 | where | commit |",
           "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    found = newest(lines, "input", "where", "task")
    for (_, task), v in found.items():
        rate = lambda s, v=v: f"{v[s]['images_per_second']['median']:,.0f}" if s in v else ""  # noqa: E731
        times = lambda s, v=v: spread(v["ratios"][s], ".2f") if s in v["ratios"] else ""  # noqa: E731
        out.append(f"| {task} | {rate('ours')} | {rate('torch_uint8')} | {rate('torch_float32')} | {times('torch_uint8')}"
                   f" | {times('torch_float32')} | {v['where']} | {v['commit'][:7]} |")  # fmt: skip
    return out if found else NONE


def starts(lines: Lines) -> list[str]:
    found = newest(lines, "start", "where", "net")
    sides = list(next(iter(found.values()))["seconds"]) if found else []
    out = ["| network | " + " | ".join(f"{s.replace('torch', 'PyTorch').replace('_', ' ')}, s" for s in sides) + " | where | commit |",
           "|---|" + "---|" * (len(sides) + 2)]  # fmt: skip
    out += [f"| {net} | " + " | ".join(spread(v["seconds"][s], ".1f") for s in sides) + f" | {v['where']} | {v['commit'][:7]} |"
            for (_, net), v in found.items()]  # fmt: skip
    return out if found else NONE


def scales(lines: Lines) -> list[str]:
    found = newest(lines, "scale", "where", "what", "net", "batch", "devices")
    out = ["| what grows | network | batch | devices | images/s | CPU ms an image | ratio | where | commit |",
           "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    out += [f"| {what} | `{net}` | {batch} | {devices} | {spread(v['images_per_second'])} | {v['cpu_ms']:.2f}"
            f" | {spread(v['ratio'], '.2f')} of {'PyTorch' if v['beside'] == 'torch' else v['beside']} | {v['where']}"
            f" | {v['commit'][:7]} |" for (_, what, net, batch, devices), v in found.items()]  # fmt: skip
    return out if found else NONE


def seeds(lines: Lines) -> list[str]:
    found = newest(lines, "seeds", "where", "net", "seeds")
    out = ["| network | seeds | one program, seeds/s | one after the other | times as fast | where | commit |",
           "|---|---|---|---|---|---|---|"]  # fmt: skip
    out += [f"| `{net}` | {count} | {v['together']['median']:.3g} | {v['one_by_one']['median']:.3g}"
            f" | {spread(v['ratio'], '.2f')} | {v['where']} | {v['commit'][:7]} |"
            for (_, net, count), v in found.items()]  # fmt: skip
    return out if found else NONE


def kernels(lines: Lines) -> list[str]:
    """Every form of kernels.py, from the newest line of each machine."""
    found = newest(lines, "kernels", "where")
    out = ["| form | shape | ours, ms | plain, ms | times as fast | in CPU time | where | commit |",
           "|---|---|---|---|---|---|---|---|"]  # fmt: skip
    out += [f"| {form} | {shape} | {v['ours_ms']:.2f} | {v['plain_ms']:.2f} | {v['ratio']:.2f} | {v['ratio_of_cpu']:.2f}"
            f" | {where} | {line['commit'][:7]} |"
            for (where,), line in found.items() for form, cases in line["forms"].items() for shape, v in cases.items()]  # fmt: skip
    return out if found else NONE


def parts(lines: Lines) -> list[str]:
    """Where the time of a training step goes, a row a network and type."""
    found = newest(lines, "parts", "where", "net", "dtype")
    columns = list(dict.fromkeys(name for v in found.values() for name in v["parts"]))
    out = ["| " + " | ".join(["network", "type", "batch", "a step, CPU ms", *columns, "products, GFLOP/s", "where", "commit"]) + " |",
           "|---" * (len(columns) + 7) + "|"]  # fmt: skip
    for (where, net, dtype), v in found.items():
        cells = [part(v["parts"].get(name), v["step_cpu_ms"]) for name in columns]
        out.append(f"| `{net}` | {SHORT[dtype]} | {v['batch']} | {v['step_cpu_ms']:,.0f} | {' | '.join(cells)}"
                   f" | {v['gflops_of_products']} | {where} | {v['commit'][:7]} |")  # fmt: skip
    return out if found else NONE


def part(measured: dict[str, float] | None, total: float) -> str:
    """CPU ms, share of the step and GFLOP/s."""
    if measured is None:
        return ""
    rate = f", {measured['gflops']} GFLOP/s" if "gflops" in measured else ""
    return f"{measured['cpu_ms']:,.0f} ({100 * measured['cpu_ms'] / total:.0f} %{rate})"


TABLES: dict[str, Callable[[Lines], list[str]]] = {
    "training": lambda lines: steps(lines, "train"), "inference": lambda lines: steps(lines, "inference"),
    "ratios": ratios, "input": inputs, "start": starts, "scale": scales, "seeds": seeds, "kernels": kernels, "parts": parts,
}  # fmt: skip


def table(name: str) -> list[str]:
    """Markdown lines.

    Raises:
        UsageError: there is no such table.
    """
    if name not in TABLES:
        raise UsageError(f"no table of speed is called '{name}': there are {', '.join(TABLES)}")
    return TABLES[name](read())
