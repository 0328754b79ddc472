"""The sections of the configuration: every value that changes a number, checked before anything runs."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from llmemb.index import IndexKind
from llmemb.sequence_models import SequenceModelSpec

SourceFormat = Literal["generic", "recbole", "movielens", "amazon_2014", "amazon_2018", "amazon_2023", "yelp"]


class Section(BaseModel):
    """A part of the configuration: frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ColumnsConfig(Section):
    """Generic sources: what the columns that decide are called there."""

    user_id: str = "user_id"
    """Of the interactions."""
    item_id: str = "item_id"
    """Of the interactions and of the items."""
    timestamp: str = "timestamp"
    """Of the interactions: a number that grows with time, or a date in Parquet."""
    rating: str = "rating"
    """Of the interactions; read where `min_rating` is set."""


class PrepareConfig(Section):
    """Reading the source and splitting it."""

    path: str
    """Folder of the source."""
    format: SourceFormat | Literal["auto"] = "auto"
    """Form of the files, see docs/data.md; `auto` looks which of them is there."""
    domain: str = Field(min_length=1)
    """What the items are, a singular noun for the prompt, such as `movie`."""
    attributes: dict[str, str] = {}
    """Attribute name -> column of the source, in the order of the prompt; empty: those that docs/data.md says of the
    form, which in generic and RecBole sources are all columns but the id."""
    list_attributes: tuple[str, ...] = ()
    """RecBole, CSV and Parquet: attributes whose cells of text hold several values: the words in RecBole files, else
    the parts between `|`."""
    columns: ColumnsConfig = ColumnsConfig()
    min_rating: float | None = None
    """Interactions rated lower are dropped; None keeps all. Needs a source with ratings."""
    min_interactions: int = Field(default=5, ge=1)
    """k of the k-core, for users and items."""
    cold_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the items held out of all training, to measure new items on."""
    cold_interactions: int = Field(default=10, ge=1)
    """The first interactions of a cold item that become targets."""

    @model_validator(mode="after")
    def _lists_are_attributes(self) -> "PrepareConfig":
        for name in self.list_attributes:
            if self.attributes and name not in self.attributes:
                raise ValueError(f"list_attributes: {name!r} is none of the attributes")
        return self


class EncoderConfig(Section):
    """The LLM."""

    base: str
    """A Hugging Face id, a folder, or the path of a `.gguf` file."""
    depth: PositiveInt | Literal["auto"] | None = None
    """The first layers that are kept; None keeps all; `auto`: chosen on validation, see `select.depth`."""
    pooling: Literal["mean", "last"] = "mean"
    """Mean over the tokens, or the last one."""
    max_tokens: int = Field(default=256, ge=8)
    """The longest prompt, in tokens."""
    max_value_characters: int = Field(default=100, ge=1)
    """Attribute values are cut to this length."""


class ScftConfig(Section):
    """Supervised contrastive fine-tuning."""

    enabled: bool = True
    """False leaves the LLM as it is."""
    positives: Literal["views", "co_occurrence", "both"] = "views"
    """What is pulled together: two views of an item (the paper's), an item and one that stands near it in training
    histories, each as a view, or both kinds in turn."""
    co_occurrence_window: int = Field(default=3, ge=1)
    """Steps of a history within which two items co-occur."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the items, each with fresh views."""
    max_steps: int | None = Field(default=None, ge=1)
    """Stops earlier, in optimiser steps."""
    batch_items: int = Field(default=64, ge=2)
    """Items contrasted with each other in a step, over all processes together."""
    mini_batch_items: int | None = Field(default=None, ge=1)
    """Items that go through the LLM at once in a process; less than its part of `batch_items` caches gradients, which
    bounds memory and costs one more forward pass. None: the whole part."""
    temperature: float = Field(default=0.05, gt=0.0)
    """tau: cosines are divided by it."""
    whitened_components: int = Field(default=128, ge=0)
    """Directions of the whitened space in which cosines are taken, fitted on the LLM before tuning (fewer where the
    catalogue allows no more); 0 takes them of the raw embeddings, as the paper does."""
    drop_share: float = Field(default=0.4, ge=0.0, lt=1.0)
    """Share of an item's attributes that a view lacks."""
    learning_rate: float = Field(default=2e-4, gt=0.0)
    """Of AdamW, falling linearly to zero."""
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises."""
    lora_rank: int = Field(default=8, ge=1)
    """r."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scale of the update: alpha / r."""
    lora_dropout: float = Field(default=0.1, ge=0.0, lt=1.0)
    """On the input of the update."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """Steps between two checkpoints."""


class EmbedConfig(Section):
    """Embedding every item once."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Bound on the tokens of a batch, as the encoder's engine counts them."""
    engine: Literal["local", "ray"] = "local"
    """`ray` spreads the shards over a Ray cluster: the one that `RAY_ADDRESS` names, else one of this machine. Every
    worker must see the run folder at the same path."""
    ray_workers: int = Field(default=2, ge=1)
    """Encoders that run at once on Ray."""
    shard_items: int = Field(default=1024, ge=1)
    """Items of a shard; a shard that is written is not computed again."""


class AlignmentConfig(Section):
    """Alignment of the adapted embeddings to the collaborative ones."""

    form: Literal["infonce", "soft"] = "infonce"
    """`soft`: the targets are the items' own similarities, as in the paper's code; `infonce`: an item's own vector."""
    alpha: float = Field(default=0.01, ge=0.0)
    """Weight of the alignment loss; 0 switches it off."""
    temperature: float = Field(default=2.0, gt=0.0)
    """tau: cosines are divided by it."""


class ResidualConfig(Section):
    """The collaborative residual."""

    mode: Literal["none", "all", "popular", "auto"] = "all"
    """`all`: every item with training interactions has one; `popular`: those with at least `min_interactions`;
    `auto`: chosen on validation, see `select.residual`."""
    min_interactions: int = Field(default=5, ge=1)
    """Training interactions from which an item counts as popular."""
    dropout: float = Field(default=0.3, ge=0.0, le=1.0)
    """Share of the items that lack theirs in a step, so that the semantic part stays good alone."""


class SemanticTermConfig(Section):
    """The semantic term: `score += gamma * similarity(history profile, candidate)`, in the LLM's whitened space."""

    gamma: NonNegativeFloat | Literal["auto"] = 0.0
    """Its weight; 0 leaves it out; `auto`: chosen on validation, see `select.gamma`."""
    trained: bool = True
    """Whether the sequence model is trained beside the term, which then stands in its loss, and an open gamma is
    learned with it; else the term is added when items are scored, and not before."""
    components: int = Field(default=256, ge=2)
    """Width of the space, q."""
    history: int = Field(default=10, ge=1)
    """Most recent items that make the profile."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of an item of the history over that of the next one; 1 weighs all alike."""


class RatConfig(Section):
    """Recommendation adaptation training."""

    model: SequenceModelSpec = SequenceModelSpec()
    """The sequence model, ours and the vanilla one."""
    reduction: Literal["whiten", "pca", "none"] = "whiten"
    """How raw embeddings become `components` numbers; `none` only centres them and keeps all."""
    components: PositiveInt | Literal["auto"] = 256
    """p; `auto`: chosen on validation, see `select.components`."""
    adapter_layers: Literal[1, 2] = 2
    """Linear layers of the adapter, with no activation between them."""
    table: Literal["frozen", "trained"] = "frozen"
    """Whether the reduced embeddings of the warm items are trained too."""
    scoring: Literal["dot", "cosine"] = "dot"
    """`cosine`: item embeddings have unit length, so that no item is ahead by its length."""
    loss: Literal["softmax", "bce", "sampled_softmax", "gbce"] = "softmax"
    """Full softmax over the items; binary cross-entropy with one negative; or, for large catalogues, softmax or
    generalised binary cross-entropy over `num_negatives`."""
    num_negatives: int = Field(default=256, ge=1)
    """Of `sampled_softmax` and `gbce`, drawn uniformly for each batch and shared by its predictions."""
    gbce_t: float = Field(default=0.75, ge=0.0, le=1.0)
    """t of gBCE: 0 is plain binary cross-entropy, 1 undoes all overconfidence."""
    logit_adjustment: float = Field(default=0.0, ge=0.0)
    """tau: in the loss, and there alone, an item's score is raised by tau times the logarithm of its share of the
    training interactions, so that its embedding need not say how popular it is: the tail and new items gain, the
    best-known lose. With loss `softmax`; of the adapted model, not of the vanilla one."""
    alignment: AlignmentConfig = AlignmentConfig()
    residual: ResidualConfig = ResidualConfig()
    semantic_term: SemanticTermConfig = SemanticTermConfig()
    new_item_scale: PositiveFloat | Literal["auto"] = 1.0
    """Factor on the embeddings of items without training interactions, which lack the length that a residual adds;
    with scoring `dot` and residuals only. `auto`: chosen on validation, see `select.new_item_scale`."""
    mask_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """BERT4Rec: share of the positions that are masked in training."""
    batch_size: int = Field(default=128, ge=1)
    """Histories of a step."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Of AdamW."""
    max_epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation NDCG@10 before training stops."""

    @model_validator(mode="after")
    def _softmax_is_adjusted(self) -> "RatConfig":
        if self.logit_adjustment and self.loss != "softmax":
            raise ValueError(f"logit_adjustment {self.logit_adjustment:g} needs loss 'softmax', not {self.loss!r}")
        return self


class SelectConfig(Section):
    """Candidates for what the configuration leaves open by `auto`; the best on validation is taken."""

    depth: tuple[PositiveInt, ...] = (2, 4, 6)
    """Of `encoder.depth`."""
    components: tuple[PositiveInt, ...] = (128, 256)
    """Of `rat.components`."""
    residual: tuple[Literal["none", "all", "popular"], ...] = ("none", "all", "popular")
    """Of `rat.residual.mode`."""
    gamma: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
    """Of `rat.semantic_term.gamma`: the greatest is taken that costs the validation targets at most `gamma_cost`."""
    gamma_cost: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Share of the best validation NDCG@10 that may be given up for a greater gamma, from which the tail and new items
    gain most."""
    new_item_scale: tuple[PositiveFloat, ...] = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2.0)
    """Of `rat.new_item_scale`: the greatest is taken that costs the validation targets at most `new_item_cost`."""
    new_item_cost: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of the validation NDCG@10, the new items being candidates, that may be given up for new items."""
    max_epochs: int = Field(default=20, ge=1)
    """Of a candidate's training."""


class EvaluateConfig(Section):
    """Ranking the test targets."""

    ks: tuple[int, ...] = (5, 10, 20)
    """Cut-offs of HR@k and NDCG@k; 10 is among them."""
    num_negatives: int = Field(default=100, ge=1)
    """Negatives of the sampled protocol."""
    exclude_history: bool = True
    """Whether items of the history cannot be recommended (the target itself always can)."""
    tail_share: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Share of the items, those with the fewest training interactions, that count as tail; and of the users, those with
    the shortest histories."""
    knn_history: int = Field(default=10, ge=1)
    """Most recent items that make the profile of the semantic nearest-neighbour baseline."""
    knn_decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of an item of that profile over that of the next one; 1 weighs all alike."""
    ease_regularisation: float = Field(default=200.0, gt=0.0)
    """lambda of the EASE baseline."""
    bootstrap_samples: int = Field(default=1000, ge=100)
    """Resamples of the users behind each confidence interval, and draws behind each p-value."""
    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Of the intervals."""
    baselines: bool = True
    """Whether to train the baselines that cost training: vanilla with the other loss, and LLMInit."""

    @model_validator(mode="after")
    def _has_ten(self) -> "EvaluateConfig":
        if 10 not in self.ks or min(self.ks) < 1:
            raise ValueError("ks must be positive and hold 10, by which models are selected")
        return self


class BundleConfig(Section):
    """What the bundle serves with."""

    index: IndexKind | Literal["auto"] = "auto"
    """Kind of the index; `auto`: flat up to 200,000 items, IVF above."""
    categories_attribute: str = "auto"
    """The attribute whose values are an item's categories for filters; empty: none; `auto`: the first of `categories`,
    `category`, `genres` and `genre` that is an attribute."""


class ReplayConfig(Section):
    """`llmemb replay`: what new items gain by their first clicks, see `llmemb.first_clicks`."""

    ks: tuple[int, ...] = (0, 1, 3, 5, 10)
    """Clicks from which a held-out item's residual is fitted, a line of the table each, from 0 up; what is measured are
    the clicks after the last k, the same for all lines."""
    later_clicks: PositiveInt | None = 10
    """Clicks after the last k that are measured of an item, at most, so that no popular item decides the figures; None:
    all."""
    prior: float = Field(default=10.0, gt=0.0)
    """lambda: how strongly a residual is pulled to zero."""
    own_clicks: float = Field(default=1.5, ge=0.0)
    """How many clicks the frozen model's own estimate of an item is worth, a: so that a first click moves it neither
    far up nor, when it comes late, far down."""
    exposure: float = Field(default=1.4, ge=0.0)
    """How many sessions that did not take the item one exposure stands for."""
    exposures: Literal["time", "all"] = "time"
    """What an item's exposures are: `time`, the interactions of everybody since it could be taken, up to the click;
    `all`, those of the whole replay, so that an item that is taken often is not told from one that is taken seldom."""
    background_sessions: int = Field(default=3000, ge=1)
    """Training histories that stand for the sessions in which an item was not taken, m; drawn by the seed."""
    items: Literal["all", "first_half", "second_half"] = "all"
    """The held-out items whose later clicks are measured: one half, drawn by the seed, to choose the options above by,
    and the other to report. All items are candidates, and learn, in any case."""
    trained_anew: bool = True
    """Whether to train the recommender once more on histories with the first clicks in them, for comparison: as long as
    `rat` takes."""

    @model_validator(mode="after")
    def _ks_ascend(self) -> "ReplayConfig":
        if len(self.ks) < 2 or self.ks[0] != 0 or list(self.ks) != sorted(set(self.ks)):
            raise ValueError(f"ks {list(self.ks)} must begin with 0 and ascend, such as [0, 1, 5]")
        return self
