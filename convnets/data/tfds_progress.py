"""Shows the progress of TFDS (downloads, archives, examples) with our progress bar, in place of its own bars."""

import io
from typing import Any

from tqdm.std import tqdm

from convnets.runtime.progress import Progress


class Bar(tqdm):
    """A tqdm bar that is shown by `Progress`."""

    def __init__(self, *arguments: Any, **options: Any):
        self.progress: Progress | None = None
        super().__init__(*arguments, **{**options, "file": io.StringIO()})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Shows the bar as it stands; called by tqdm, whose arguments are not needed here."""
        if self.progress is None:
            what = (self.desc or "").strip(" .:")
            self.progress = Progress(f"{what}:" if what else "", 0, (self.unit or "").strip())
        self.progress.estimate.total = int(self.total or 0)  # it grows, or stays unknown
        self.progress.update(int(self.n))
        return True

    def close(self) -> None:
        """Ends the bar."""
        super().close()
        if self.progress:
            self.progress.close()


def replace_bars() -> None:
    """Replaces the bars of TFDS, which has no public way to do so."""
    from tensorflow_datasets.core.utils import tqdm_utils

    tqdm_utils.tqdm_lib = type("Bars", (), {"tqdm": Bar})
