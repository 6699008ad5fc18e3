"""Published weights and the included networks, on whole test sets (`make test-published`); skipped without them."""

import pytest

from convnets import api
from convnets.runtime import files, included
from experiments import published
from tests.conftest import SHARED

pytestmark = [pytest.mark.published, pytest.mark.timeout(900), pytest.mark.usefixtures("optimized")]


@pytest.mark.parametrize("variant", published.PUBLISHED)
def test_a_published_file_has_its_published_error(variant, shared_data):
    if not published.path(variant).exists():
        pytest.skip(f"no {published.path(variant)}; set CONVNETS_SHARED")
    result = published.test_weights(variant)
    assert result["num_examples"] == 10_000
    assert round(result["top1_error"], 2) == published.PUBLISHED[variant][1]


@pytest.mark.parametrize("name", included.names())
def test_a_network_that_comes_along_has_the_error_of_its_card(name, shared_data):
    card = files.read_json(included.FOLDER / name / "manifest.json")
    if not (SHARED / "tfds" / card["dataset"]["name"]).exists():
        pytest.skip(f"no {card['dataset']['name']} in {shared_data}")
    result = api.open_run(name, f"data.data_dir={shared_data}").evaluate()
    for key in ("num_examples", "top1_error", "top5_error", "protocol"):
        assert result[key] == card[key], key
