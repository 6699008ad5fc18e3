"""Operation strings for augmentations, schedules and protocols: `name(args)|name(args)|...`, applied left to right.

A pipeline fits in one string, so a flag can override it, a table can quote it and an experiment can ablate it.
"""

import ast
import difflib
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from convnets.errors import UsageError

# Names until 2026-11: recorded configs have them, and `parse` tells users the new names.
RENAMED = {
    "square": "resize_center_crop", "whole": "crop_to_multiple", "five": "five_crop", "six": "six_crop",
    "squares": "three_squares", "mirror": "with_flip", "photometric": "color_jitter", "illuminate": "brightness_gradient",
}  # fmt: skip
LITERALS = (bool, int, float, str, tuple)

# Types of arguments and options; `check_value` knows them, and Literal, tuple[int, ...] and unions of types.
Count = Annotated[int, 1]  # at least 1
Natural = Annotated[int, 0]  # at least 0


class Call(NamedTuple):
    """One parsed operation: its name, the registered function and the bound arguments by name."""

    name: str
    function: Callable[..., Any]
    kwargs: dict[str, Any]

    def __call__(self, *first: Any) -> Any:
        """Calls the function with the run-time arguments `first`, then the bound arguments."""
        signature = inspect.signature(self.function).parameters.values()
        several = next((p.name for p in signature if p.kind is inspect.Parameter.VAR_POSITIONAL), None)
        if several is None:
            return self.function(*first, **self.kwargs)
        named = {k: v for k, v in self.kwargs.items() if k != several}
        inner = [named.pop(p.name) for p in list(signature)[len(first) :]
                 if p.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD and p.name in named]  # fmt: skip
        return self.function(*first, *inner, *self.kwargs.get(several, ()), **named)


def parse(text: str, table: Mapping[str, Callable[..., Any]], skip: int = 0) -> list[Call]:
    """Parses `text` into calls of the functions in `table`.

    Arguments are Python literals. They are bound to the function's parameters after the first `skip`, which the caller
    supplies at run time. The caller also supplies keyword-only parameters whose type is no literal. An empty string
    gives an empty list.

    Raises:
        UsageError: unknown operation (the message suggests the nearest name), or arguments that do not fit.
    """
    calls = []
    for part in filter(None, (p.strip() for p in text.split("|"))):
        try:
            node = ast.parse(part if "(" in part else part + "()", mode="eval").body
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
                raise SyntaxError
            args = [ast.literal_eval(a) for a in node.args]
            keys = [str(k.arg) for k in node.keywords]
            kwargs = {key: ast.literal_eval(k.value) for key, k in zip(keys, node.keywords, strict=True)}
        except (SyntaxError, ValueError, TypeError):
            raise UsageError(f"cannot read operation '{part}': write name(arguments), for example crop(24)") from None
        if len(keys) > len(kwargs):
            raise UsageError(f"operation '{part}': {max(keys, key=keys.count)} is given twice")
        name = node.func.id
        if RENAMED.get(name) in table:
            raise UsageError(f"operation '{name}' in '{text}' is now called '{RENAMED[name]}'")
        if name not in table:
            raise UsageError(f"unknown operation '{name}' in '{text}'{suggest(name, table)}")
        calls.append(bind(table, name, args, kwargs, skip))
    return calls


def bind(
    table: Mapping[str, Callable[..., Any]],
    name: str,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] = {},
    skip: int = 0,
) -> Call:
    """Binds arguments to the parameters of `table[name]` after the first `skip`, and adds the defaults.

    Raises:
        UsageError: the arguments do not fit.
    """
    signature = inspect.signature(table[name])
    given = [p for p in list(signature.parameters.values())[skip:]
             if p.kind is not p.KEYWORD_ONLY or p.annotation in LITERALS]  # fmt: skip
    free = signature.replace(parameters=given)
    given_text = ", ".join([*map(repr, args), *(f"{key}={value!r}" for key, value in kwargs.items())])
    call = f"{name}({given_text})" if given_text else name
    try:
        bound = free.bind(*args, **kwargs)
    except TypeError as e:
        plain = inspect.Signature([p.replace(annotation=_plain(p.annotation)) for p in given])
        raise UsageError(f"operation '{call}': {e}; it takes {name}{plain}") from None
    for key, value in bound.arguments.items():
        several = free.parameters[key].kind is inspect.Parameter.VAR_POSITIONAL
        for v in value if several else [value]:
            if problem := check_value(key, v, free.parameters[key].annotation):
                raise UsageError(f"operation '{call}': {problem}")
    bound.apply_defaults()
    return Call(name, table[name], dict(bound.arguments))


def check_value(key: str, value: Any, kind: Any) -> str:
    """Returns what is wrong with a value of the parameter `key`, of type `kind`; '' if it fits, or the type says nothing."""
    return "" if _fits(value, kind) else f"{key} must be {_describe(kind)}, not {value!r}"


def _fits(value: Any, kind: Any) -> bool:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _fits(value, inner[0]) and value >= inner[1]
    if origin is Literal:
        return isinstance(value, str) and value in inner
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in inner)
    if origin is tuple and isinstance(value, (tuple, list)):
        kinds = [inner[0]] * len(value) if inner[1:] == (...,) else inner
        return len(value) == len(kinds) and all(map(_fits, value, kinds))
    kind = origin or kind
    if kind not in LITERALS:
        return True
    wider = {float: (int, float), tuple: (tuple, list)}.get(kind, kind)
    return isinstance(value, wider) and (kind is bool or not isinstance(value, bool))


def _describe(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return f"{_describe(inner[0])} of at least {inner[1]}"
    if origin is tuple:
        return f"({', '.join('...' if each is ... else _describe(each) for each in inner)})"
    return " or ".join(map(repr if origin is Literal else _describe, inner)) if origin else kind.__name__


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def write(calls: Iterable[Call]) -> str:
    """Writes calls as an operation string, the inverse of `parse`; arguments with their default value are left out."""
    return "|".join(map(_write_call, calls))


def _write_call(call: Call) -> str:
    words: list[str] = []
    by_position = True
    for name, parameter in inspect.signature(call.function).parameters.items():
        if name not in call.kwargs:
            continue
        value = call.kwargs[name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            words += map(repr, value)
        elif value == parameter.default or parameter.kind is parameter.KEYWORD_ONLY:
            by_position = False
        if parameter.kind is not parameter.VAR_POSITIONAL and value != parameter.default:
            words.append(repr(value) if by_position else f"{name}={value!r}")
    return call.name + (f"({', '.join(words)})" if words else "")


def rename(text: str) -> str:
    """Returns an operation string with today's names."""
    return re.sub(rf"(?<=\|)(\s*)({'|'.join(RENAMED)})\b", lambda found: found[1] + RENAMED[found[2]], text)


def choose(table: Mapping[str, Any], what: str, name: str) -> Any:
    """Returns the entry `name` of a table of options.

    Raises:
        UsageError: `name` is not in the table; the message calls the option `what`, for example 'lrn'.
    """
    if name not in table:
        raise UsageError(f"unknown {what} '{name}'{suggest(name, table)}")
    return table[name]


def suggest(name: str, choices) -> str:
    """Returns '; did you mean x?' with the nearest of `choices`, or a list of all choices if none is near."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else f"; known: {', '.join(sorted(choices))}"
