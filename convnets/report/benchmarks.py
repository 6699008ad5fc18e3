"""Tables of the benchmark results, generated from the newest line of each case in benchmarks/results.jsonl."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from convnets.errors import UsageError
from convnets.models.paper_costs import TRAINING
from convnets.report import markdown
from convnets.runtime.provenance import shorten
from convnets.sweep.experiment import ROOT

RESULTS = ROOT / "benchmarks" / "results.jsonl"
GOLDEN = ROOT / "tests" / "golden" / "models.json"
SHORT = {"float32": "f32", "bfloat16": "bf16"}
NONE = ["Not measured yet."]
UNNAMED = "Intel Xeon, amx_bf16"  # processor of the oldest lines, which do not name it

Lines = Sequence[Mapping[str, Any]]


def read() -> list[dict[str, Any]]:
    """Returns the lines of results.jsonl with `where` and `jax` added, without the first two, which name no machine."""
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    return [{**line, "where": name_machine(line), "jax": line["versions"]["jax"]} for line in lines if "cores" in line]


def name_machine(line: Mapping[str, Any]) -> str:
    """Returns the accelerator, or for a CPU the core count and the processor with its fastest matrix instructions."""
    device = line.get("device", "cpu")
    return f"{line['cores']} cores, {line.get('processor', UNNAMED)}" if device == "cpu" else device


def select_newest(lines: Lines, benchmark: str, *keys: str) -> dict[tuple, Mapping[str, Any]]:
    """Returns a benchmark's last line for each combination of `keys`, in order of first measurement."""
    return {tuple(line[k] for k in keys): line for line in lines if line["benchmark"] == benchmark}


def spread(values: Mapping[str, float], form: str = ",.0f") -> str:
    """Formats the median with the minimum and maximum."""
    return f"{values['median']:{form}} ({values['least']:{form}} to {values['most']:{form}})"


def number(rate: float) -> str:
    """Formats images/s."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


def steps(lines: Lines, kind: str) -> list[str]:
    """Table of images/s and peak memory in training or inference beside PyTorch, one row per network and dtype."""
    columns = ["network", "type", "batch", "ours, images/s", "PyTorch eager", "compiled", "ratio: ours / faster PyTorch",
               "share of the matrix-product rate", "peak memory: ours, MiB", "PyTorch, MiB", "ratio"]  # fmt: skip
    rows = []
    for (_, net, dtype), v in select_newest(lines, kind, "where", "net", "dtype").items():
        rates = [
            number(v[s]["images_per_second"]["median"]) if s in v else "failed"
            for s in ("ours", "torch", "torch_compiled")
        ]
        peaks = [f"{v[side]['peak_mib']:,.0f}" for side in ("ours", v["beside"])]
        rows.append([f"`{net}`", SHORT[dtype], v["batch"], *rates, f"**{spread(v['ratio'], '.2f')}**",
                     f"{100 * v['share_of_products']:.0f} %", *peaks, f"{memory(v):.2f}", *origin(v)])  # fmt: skip
    return make(columns, rows)


def memory(line: Mapping[str, Any]) -> float:
    """Returns our peak memory divided by the peak memory of the faster PyTorch variant (eager or compiled)."""
    return line["ours"]["peak_mib"] / line[line["beside"]]["peak_mib"]


def latest(lines: Lines) -> Lines:
    """Returns the lines of the newest jax among them."""
    version = lambda line: tuple(map(int, re.findall(r"\d+", line["jax"])))  # noqa: E731
    newest = max(map(version, lines), default=())
    return [line for line in lines if version(line) == newest]


def ratios(lines: Lines) -> list[str]:
    """The README's table of our speed relative to the faster PyTorch variant, one row per machine and network.

    Only lines of the newest jax that name their machine are included.
    """
    kinds = ("train", "inference")
    named = latest([line for line in lines if line["benchmark"] in kinds and UNNAMED not in line["where"]])
    by = ("where", "net", "benchmark", "dtype")
    found = {k: v for kind in kinds for k, v in select_newest(named, kind, *by).items()}
    cases = [(kind, dtype) for kind in kinds for dtype in SHORT if any(key[2:] == (kind, dtype) for key in found)]
    rows = []
    for where, net in dict.fromkeys(key[:2] for key in found):
        cells = [found.get((where, net, *case)) for case in cases]
        train = next((c for (kind, _), c in zip(cases, cells, strict=True) if c and kind == "train"), None)
        rows.append([f"`{net}`", *(f"{c['ratio']['median']:.2f}" if c else "" for c in cells),
                     f"{memory(train):.2f}" if train else "", where,
                     ", ".join(sorted({c["jax"] for c in cells if c}))])  # fmt: skip
    columns = [f"{'training' if kind == 'train' else kind}, {SHORT[dtype]}" for kind, dtype in cases]
    return markdown.table(["network", *columns, "memory", "where", "jax"], rows) if rows else NONE


def inputs(lines: Lines) -> list[str]:
    """Table of the input pipeline beside a PyTorch DataLoader, one row per kind of images."""
    rows = []
    for (_, task), v in select_newest(lines, "input", "where", "task").items():
        rates = [
            f"{v[s]['images_per_second']['median']:,.0f}" if s in v else ""
            for s in ("ours", "torch_uint8", "torch_float32")
        ]
        times = [spread(v["ratios"][s], ".2f") if s in v["ratios"] else "" for s in ("torch_uint8", "torch_float32")]
        rows.append([task, *rates, *times, *origin(v)])
    return make(["images", "ours, images/s", "DataLoader, uint8", "float32", "ours / uint8", "/ float32"], rows)


def starts(lines: Lines) -> list[str]:
    """Table of the seconds from the command to the end of the first step, one row per network."""
    found = select_newest(lines, "start", "where", "net")
    sides = list(next(iter(found.values()))["seconds"]) if found else []
    columns = [f"{side.replace('torch', 'PyTorch').replace('_', ' ')}, s" for side in sides]
    rows = [[net, *(spread(v["seconds"][s], ".1f") for s in sides), *origin(v)] for (_, net), v in found.items()]
    return make(["network", *columns], rows)


def scales(lines: Lines) -> list[str]:
    """Table of throughput as batch, depth, devices or steps per dispatch grow."""
    found = select_newest(lines, "scale", "where", "what", "net", "batch", "devices")
    rows = [[what, f"`{net}`", batch, devices, spread(v["images_per_second"]), f"{v['cpu_ms']:.2f}",
             f"{spread(v['ratio'], '.2f')} of {'PyTorch' if v['beside'] == 'torch' else v['beside']}", *origin(v)]
            for (_, what, net, batch, devices), v in found.items()]  # fmt: skip
    return make(["what grows", "network", "batch", "devices", "images/s", "CPU ms an image", "ratio"], rows)


def seeds(lines: Lines) -> list[str]:
    """Table of several seeds trained as one program beside one after the other."""
    rows = [[f"`{net}`", count, f"{v['together']['median']:.3g}", f"{v['one_by_one']['median']:.3g}",
             spread(v["ratio"], ".2f"), *origin(v)]
            for (_, net, count), v in select_newest(lines, "seeds", "where", "net", "seeds").items()]  # fmt: skip
    return make(["network", "seeds", "one program, seeds/s", "one after the other", "times as fast"], rows)


def kernels(lines: Lines) -> list[str]:
    """Table of all forms of cpu_convolution.py and cpu_kernels.py, from the newest line of each machine."""
    rows = [[form, shape, *(f"{v[k]:.2f}" for k in ("ours_ms", "plain_ms", "ratio", "ratio_of_cpu")), *origin(line)]
            for line in select_newest(lines, "kernels", "where").values()
            for form, cases in line["forms"].items() for shape, v in cases.items()]  # fmt: skip
    return make(["form", "shape", "ours, ms", "plain, ms", "times as fast", "in CPU time"], rows)


def parts(lines: Lines) -> list[str]:
    """Table of the time breakdown of a training step, one row per network and dtype."""
    found = select_newest(lines, "parts", "where", "net", "dtype")
    names = list(dict.fromkeys(name for v in found.values() for name in v["parts"]))
    rows = [[f"`{net}`", SHORT[dtype], v["batch"], f"{v['step_cpu_ms']:,.0f}",
             *(part(v["parts"].get(name), v["step_cpu_ms"]) for name in names), v["gflops_of_products"], *origin(v)]
            for (_, net, dtype), v in found.items()]  # fmt: skip
    return make(["network", "type", "batch", "a step, CPU ms", *names, "products, GFLOP/s"], rows)


def compiles(lines: Lines) -> list[str]:
    """Table of the cost of cross-compiling each network's training step for an absent accelerator, with estimates."""
    found = select_newest(lines, "compile", "where", "topology", "net", "dtype")
    rows = [[f"`{net}`", SHORT[dtype], v["batch"], topology, f"{v['lower_s']:.1f}", f"{v['compile_s']:.1f}",
             f"{v['argument_mib'] + v['temporary_mib']:,.0f}", f"{1e3 * v['estimated_s']:.2f}", *origin(v)]
            for (_, topology, net, dtype), v in found.items()]  # fmt: skip
    return make(
        ["network", "type", "batch", "chip", "tracing, s", "compiling, s", "memory, MiB", "a step, estimated ms"], rows
    )


def accelerators(lines: Lines) -> list[str]:
    """Table of the speed of training steps on accelerators, as shares of what they can reach."""
    found = select_newest(
        [v for v in lines if "share_of_roofline" in v and v["device"] != "cpu"], "train", "where", "net", "dtype"
    )
    rows = [[f"`{net}`", SHORT[dtype], v["batch"], number(v["ours"]["images_per_second"]["median"]),
             f"{spread(v['ratio'], '.2f')} of {v['beside'].replace('torch', 'PyTorch').replace('_', ' ')}",
             f"{v['gflops_of_products'] / 1e3:,.0f}", f"{v['gbs_of_copies']:,}", f"{100 * v['share_of_products']:.0f} %",
             f"**{100 * v['share_of_roofline']:.0f} %**", *origin(v)]
            for (_, net, dtype), v in found.items()]  # fmt: skip
    return make(["network", "type", "batch", "images/s", "ratio", "products, TFLOP/s", "copies, GB/s", "of the products",
                 "of the roofline"], rows)  # fmt: skip


def agreements(lines: Lines) -> list[str]:
    """Table of how far the gradients on an accelerator are from the CPU's."""
    cases = {"float32_exact": "float32, exact products", "float32": "float32", "bfloat16": "bfloat16",
             "cpu_bfloat16": "bfloat16 on the CPU"}  # fmt: skip
    equal = {True: "yes", False: "**no**", None: ""}
    found = select_newest([v for v in lines if v.get("device") != "cpu"], "agreement", "where", "net")
    rows = [[f"`{net}`", v["batch"], *(f"**{v['errors'][c]:.1e}**" if c in v["beyond"] else f"{v['errors'][c]:.1e}" for c in cases),
             equal[v.get("deterministic")], *origin(v)] for (_, net), v in found.items()]  # fmt: skip
    return make(["network", "batch", *cases.values(), "equal bits twice"], rows)


def accelerator_parts(lines: Lines) -> list[str]:
    """Table of the parts of benchmarks/accelerator.py: how long each took, on an accelerator and in a rehearsal."""
    found = select_newest(lines, "accelerator_part", "where", "rehearsal", "part")
    rows = [[f"`{name}`", "rehearsal" if rehearsal else "as planned", v["state"], f"{v['seconds']:,.0f}", *origin(v)]
            for (_, rehearsal, name), v in found.items()]  # fmt: skip
    return make(["part", "length", "state", "seconds"], rows)


def make(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Returns a table whose rows end with the cells of `origin`."""
    return markdown.table([*columns, "where", "jax", "commit"], rows) if rows else NONE


def origin(line: Mapping[str, Any]) -> tuple[str, str, str]:
    """Returns the machine, the version of jax and the commit of a line."""
    return line["where"], line["jax"], shorten(line["commit"])


def part(measured: dict[str, float] | None, total: float) -> str:
    """Formats one part of a step: CPU ms, share of the step and GFLOP/s."""
    if measured is None:
        return ""
    rate = f", {measured['gflops']} GFLOP/s" if "gflops" in measured else ""
    return f"{measured['cpu_ms']:,.0f} ({100 * measured['cpu_ms'] / total:.0f} %{rate})"


# The networks whose training the lecture gives a time for, and the measured ones that are most like them.
LIKE = {"alexnet": "alexnet_owt", "vgg_d": "vgg_d", "resnet152": "resnet50_v1_5"}


def costs(lines: Lines) -> list[str]:
    """Table of the days that the papers' trainings took, and would take at the arithmetic rate of our measured networks.

    Only lines of the newest jax are included.
    """
    macs = {name: counts["multiply_adds"] for name, counts in json.loads(GOLDEN.read_text()).items()}
    training = latest([line for line in lines if line["benchmark"] == "train"])
    found = select_newest(training, "train", "where", "net", "dtype")
    rows = []
    for name, like in LIKE.items():
        took = TRAINING[name]
        for (_, net, dtype), v in found.items():
            if net == like:
                rate = v["ours"]["images_per_second"]["median"] * macs[like]
                days = took.images * took.epochs * macs[name] / rate / 86_400
                rows.append([f"`{name}`", took.time, f"`{like}`", SHORT[dtype], f"{days:,.0f}", *origin(v)])
    return make(["network", "training time of the authors", "rate measured on", "type", "days on this machine"], rows)


TABLES: dict[str, Callable[[Lines], list[str]]] = {
    "training": lambda lines: steps(lines, "train"), "inference": lambda lines: steps(lines, "inference"),
    "ratios": ratios, "input": inputs, "start": starts, "scale": scales, "seeds": seeds, "kernels": kernels, "parts": parts,
    "compile": compiles, "costs": costs, "accelerators": accelerators, "agreement": agreements,
    "accelerator parts": accelerator_parts,
}  # fmt: skip


def table(name: str) -> list[str]:
    """Returns the Markdown lines of one of TABLES.

    Raises:
        UsageError: there is no such table.
    """
    if name not in TABLES:
        raise UsageError(f"no table of speed is called '{name}': there are {', '.join(TABLES)}")
    return TABLES[name](read())
