"""Display names of models, groups and metrics in the report."""

from collections.abc import Mapping

from llmemb_training.config import Config
from llmemb_training.evaluation.figures import Figures

MODEL_ORDER = (
    "llmemb",
    "vanilla",
    "vanilla_softmax",
    "vanilla_bce",
    "llm_init",
    "ease",
    "item_knn",
    "semantic_knn",
    "popular",
)
_BACKBONES = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}
_LOSSES = {
    "softmax": "full softmax",
    "bce": "binary cross-entropy with one negative",
    "sampled_softmax": "sampled softmax",
    "gbce": "gBCE",
}
METRICS = {
    "mrr": "MRR",
    "coverage@10": "Coverage@10",
    "tail_share@10": "Tail share@10",
    "gini@10": "Gini@10",
}
GROUPS = {
    "all": "All",
    "tail": "Tail items",
    "head": "Head items",
    "cold": "New items",
    "cold_among_cold": "New among new items",
    "tail_users": "Tail users",
    "head_users": "Head users",
}


class Wording:
    """Display names; unknown keys are returned unchanged.

    Args:
        config: configuration of the run, with the sequence model and the loss.
        figures: metrics of the run, with the bounds of the groups.
    """

    def __init__(self, config: Config, figures: Figures) -> None:
        backbone = _BACKBONES.get(config.rat.model.name, config.rat.model.name)
        self.backbone = backbone
        loss = _LOSSES[config.rat.loss]
        self._models: Mapping[str, tuple[str, str]] = {
            "llmemb": ("LLMEmb", f"{backbone} on item embeddings made by the tuned LLM from the items' texts"),
            "vanilla": (f"Vanilla {backbone}", f"the same {backbone} on one free vector per item, trained with {loss}"),
            "vanilla_softmax": (f"Vanilla {backbone}, softmax", f"the same, trained with {_LOSSES['softmax']}"),
            "vanilla_bce": (f"Vanilla {backbone}, BCE", f"the same, trained with {_LOSSES['bce']}"),
            "llm_init": ("LLMInit", f"vanilla {backbone} whose free vectors are initialised with the LLM's"),
            "ease": ("EASE", "a linear item-to-item model"),
            "item_knn": ("ItemKNN", "items that co-occur with the items of the history"),
            "semantic_knn": ("Semantic neighbours", "items whose text embeddings are nearest to those of the history"),
            "popular": ("Most popular", "the same items for every user"),
        }
        self._figures = figures
        self._bounds = {bounds.group: bounds for bounds in figures.group_bounds}

    def model(self, name: str) -> str:
        """Return a model's name, with "(not converged)" if its training has a fault."""
        return self._figures.label(name, self._models.get(name, (name, ""))[0])

    def model_in_sentence(self, name: str) -> str:
        """Return a model's name for use within a sentence."""
        label = self.model(name)
        return label[0].lower() + label[1:] if label[1:2].islower() else label

    def model_note(self, name: str) -> str:
        """Return a description of a model; "" if it is unknown."""
        return self._models.get(name, (name, ""))[1]

    def metric(self, name: str) -> str:
        """Return a metric's name."""
        return METRICS.get(name, name.upper())

    def group(self, name: str) -> str:
        """Return a group's name."""
        kind, _, number = name.rpartition("_")
        if number.isdigit():
            return f"{kind.capitalize()} {number}"
        return GROUPS.get(name, name)

    def group_note(self, name: str) -> str:
        """Return the bounds of a group as text; "" if it has none."""
        bounds = self._bounds.get(name)
        if bounds is None:
            return ""
        unit = "training interactions" if bounds.by == "target_train_count" else "items in the history"
        if bounds.high is None:
            return f"{bounds.low:,} or more {unit}"
        if bounds.low == bounds.high:
            return f"{bounds.low:,} {unit}"
        return f"at most {bounds.high:,} {unit}" if bounds.low == 0 else f"{bounds.low:,} to {bounds.high:,} {unit}"


def in_order(models: set[str]) -> list[str]:
    """Sort models: known ones in the order of `MODEL_ORDER`, then the others by name."""
    known = {name: place for place, name in enumerate(MODEL_ORDER)}
    return sorted(models, key=lambda name: (known.get(name, len(known)), name))
