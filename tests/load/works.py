"""Single requests of each kind, drawn by popularity, for a load that comes by the clock."""

from collections.abc import Callable, Mapping
from random import Random

from llmemb.api.items import ItemBody
from llmemb.client import calls
from tests.load.config import Work
from tests.load.population import Population
from tests.load.steps import AnyCall

Make = Callable[[], AnyCall]
"""Makes the next request."""


def maker(work: Work, population: Population, random: Random, new_items: int = 1) -> Make:
    """Return what makes requests of a kind.

    Args:
        work: the kind. None of them leaves anything behind.
        population: what is drawn from.
        random: draws.
        new_items: new texts of one request that embeds.
    """

    def new_bodies() -> list[ItemBody]:
        return [ItemBody(id=f"{i}", attributes=population.new_attributes(random)) for i in range(new_items)]

    makers: dict[Work, Make] = {
        "search": lambda: calls.item_page(query=population.word(random)),
        "similar": lambda: calls.similar_items(population.item(random).id, k=10),
        "recommend": lambda: calls.recommend(population.history(random)),
        "embed_items": lambda: calls.embed_items(new_bodies()),
        "embeddings": lambda: calls.embeddings([" ".join(population.word(random) for _ in range(8))]),
    }
    return makers[work]


def mixed(mix: Mapping[Work, float], population: Population, random: Random) -> Make:
    """Return what makes requests of several kinds by their weights."""
    makers = [maker(work, population, random) for work in mix]
    weights = list(mix.values())
    return lambda: random.choices(makers, weights)[0]()
