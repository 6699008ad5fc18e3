"""The classic convolutional networks, as their papers describe them, in JAX and Flax.

`create`, `summary`, `load_weights` and `open_run` are imported when they are first used, see `convnets.api`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convnets.api import create, load_weights, open_run, summary

__version__ = "0.1.0"
__all__ = ["create", "load_weights", "open_run", "summary"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'convnets' has no attribute '{name}'")
    from convnets import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
