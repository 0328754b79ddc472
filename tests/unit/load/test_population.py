"""What requests are drawn from."""

from collections import Counter
from pathlib import Path
from random import Random

from llmemb.bundle import read_bundle
from llmemb.item import parse_attributes
from tests.load.population import read_population


def test_population_is_the_bundle_as_the_service_reads_it(tiny_bundle: Path) -> None:
    """Ids, attributes and prompts, though only two of its files are read."""
    bundle, population = read_bundle(tiny_bundle), read_population(tiny_bundle)

    assert population.bundle_id == bundle.manifest.id
    assert tuple(item.id for item in population.items) == bundle.items.ids
    assert [dict(item.attributes) for item in population.items] == [bundle.items.attributes(row) for row in range(40)]
    assert population.prompts(population.items) == [
        bundle.prompt.render(bundle.items.attributes(row)) for row in range(40)
    ]


def test_items_are_drawn_by_popularity(tiny_bundle: Path) -> None:
    """Often in proportion; one without interactions is met too."""
    bundle, population, random = read_bundle(tiny_bundle), read_population(tiny_bundle), Random(1)
    number = 40_000

    drawn = Counter(population.item(random).id for _ in range(number))

    weights = bundle.items.popularity + 1
    for item_id, weight in zip(bundle.items.ids, weights, strict=True):
        expected = number * weight / weights.sum()
        assert abs(drawn[item_id] - expected) < 6 * expected**0.5
    assert drawn[bundle.items.ids[-1]] > 0


def test_a_seed_draws_the_same_again(tiny_bundle: Path) -> None:
    """Words, histories and new items."""
    population = read_population(tiny_bundle)

    def draw(seed: int) -> object:
        random = Random(seed)
        return population.word(random), population.history(random), population.new_attributes(random)

    assert draw(1) == draw(1) != draw(2)


def test_new_items_are_usable_and_unknown(tiny_bundle: Path) -> None:
    """No two have the same text, and the bundle knows their attributes."""
    population, random = read_population(tiny_bundle), Random(1)

    new = [parse_attributes(population.new_attributes(random)) for _ in range(100)]

    for attributes in new:
        population.prompt.check(attributes)
    texts = {population.prompt.render(attributes) for attributes in new}
    assert len(texts) == 100
    assert texts.isdisjoint(population.prompts(population.items))
