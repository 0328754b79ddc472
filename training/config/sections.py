"""The sections of the configuration: every value that changes a number, checked before anything runs."""

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from llmemb.encoder.prompt import INSTRUCTION, check_instruction
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
    instruction: Annotated[str, AfterValidator(check_instruction)] = INSTRUCTION
    """The text before an item's attributes in every prompt, as an encoder was trained with one; `{domain}` stands for
    the domain, a brace is written twice. May be empty."""
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
    pooling: Literal["mean", "last", "cls"] = "mean"
    """Mean over the tokens, the last one, or the first where the tokenizer puts one there for this, as BERT's does."""
    max_tokens: int = Field(default=256, ge=8)
    """The longest prompt, in tokens; no more than the LLM has positions."""
    max_value_characters: int = Field(default=100, ge=1)
    """Attribute values are cut to this length."""


class ScftConfig(Section):
    """Supervised contrastive fine-tuning."""

    enabled: bool = True
    """False leaves the LLM as it is."""
    positives: Literal["views", "next", "both"] = "views"
    """What is pulled together: `views`: two views of an item, as in the paper; `next`: at each step of a training
    history, what was taken before and what was taken then; `both`: the sum of the two losses."""
    batch_histories: int = Field(default=96, ge=2)
    """`next` and `both`: histories of a step, over all processes together; each item of them is embedded once."""
    history_window: int = Field(default=20, ge=2)
    """`next` and `both`: items of a history that take part in a step; of a longer one, each epoch takes as many in a
    row, from a random place on."""
    history: int = Field(default=10, ge=1)
    """`next` and `both`: most recent items that make a query."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """`next` and `both`: weight of an item of a query over that of the next one; 1 weighs all alike."""
    batch_items: int = Field(default=64, ge=2)
    """`views`: items contrasted with each other in a step, over all processes together."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the histories, or with `views` over the items, each with fresh views."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Positive pairs after which training ends, in place of `epochs`: as many passes as that takes."""
    max_minutes: float | None = Field(default=None, gt=0.0)
    """Ends training earlier, the learning rate falling to zero by then; the result then hangs on the machine."""
    max_tokens: int | None = Field(default=None, ge=8)
    """The longest text in training, in tokens; None: `encoder.max_tokens`."""
    part_tokens: int = Field(default=4096, ge=1)
    """Bound on the tokens that go through the LLM at once, padding included; like lengths go together."""
    held_states: int = Field(default=131072, ge=0)
    """Bound on tokens times layers of a step, in one process, whose intermediate results are held for the backward
    pass, at some 80 bytes for each unit of the LLM's width; a larger step runs the LLM twice (gradient caching)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of the matrix products; `auto`: bfloat16 where the processor multiplies it faster. All weights that are trained,
    and the loss, are float32."""
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
    generation_weight: float = Field(default=0.0, ge=0.0)
    """Weight of a second loss: the mean cross-entropy of the tokens of a view after its first attribute, each from all
    before it. Needs a causal LLM whose head is its token embeddings; 0 leaves it out."""
    lora_rank: int = Field(default=8, ge=1)
    """r."""
    lora_alpha: int = Field(default=16, ge=1)
    """Scale of the update: alpha / r."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """On the input of the update; the paper's .1 makes a step a third longer."""
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


class SuccessorsConfig(Section):
    """Successor vectors of the semantic term: what followed an item in training histories, in the term's space.

    `auto` leaves a value open: chosen on validation, see `SelectConfig`. Without a semantic term there are none.
    """

    delta: NonNegativeFloat | Literal["auto"] = 0.0
    """Weight beside gamma; 0 leaves them out."""
    estimator: Literal["mean", "ridge", "auto"] = "ridge"
    """`mean`: of the followers' profile vectors; `ridge`: the vector whose inner products with the profile vectors of
    all items come nearest to the item's follower counts."""
    out_power: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = 0.5
    """a: counts are divided by (followers of the item)^a."""
    in_power: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = 0.0
    """b: and by (times that the follower follows anything)^b, which keeps popular followers down."""
    window: PositiveInt | Literal["auto"] = 3
    """Steps within which an item follows another."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of a step over that of the step before it."""
    ridge: float = Field(default=1.0, gt=0.0)
    """Regularisation of `ridge`, and of the text map."""
    text_map: bool | Literal["auto"] = "auto"
    """Whether an item without training interactions gets, in a history, the successor vector that its text suggests;
    else it has none. `auto`: where that is better for pseudo-cold items."""


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
    successors: SuccessorsConfig = SuccessorsConfig()
    new_item_scale: PositiveFloat | Literal["auto"] = 1.0
    """Factor on the embeddings of items without training interactions, which lack the length that a residual adds;
    with scoring `dot` and residuals only. `auto`: chosen on validation, see `select.new_item_scale`."""
    mask_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """BERT4Rec: share of the positions that are masked in training. Half of the windows end at a random item instead,
    which alone is masked."""
    batch_size: int = Field(default=128, ge=1)
    """Histories of a step."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Of AdamW."""
    max_epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=20, ge=1)
    """Epochs without a better validation NDCG@10 before training stops; five times as many while the best is less than
    10 % above that of the most popular items, for a model learns popularity first and may stay there for epochs."""

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
    """Of `rat.semantic_term.gamma`: of those that cost the validation targets at most `gamma_cost`, the one by which
    pseudo-cold items are ranked best in their own pool."""
    gamma_cost: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Share of the best validation NDCG@10 that may be given up for the ranking of new items."""
    successor_estimator: tuple[Literal["mean", "ridge"], ...] = ("ridge", "mean")
    """Of `rat.successors.estimator`; each candidate for a form is judged at its best delta."""
    successor_out_power: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = (0.5, 1.0)
    """Of `rat.successors.out_power`."""
    successor_in_power: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = (0.0, 0.25, 0.5)
    """Of `rat.successors.in_power`."""
    successor_window: tuple[PositiveInt, ...] = (3, 1, 10)
    """Of `rat.successors.window`."""
    delta: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
    """Of `rat.successors.delta`: the best is taken, 0 where none is better."""
    new_item_scale: tuple[PositiveFloat, ...] = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2.0)
    """Of `rat.new_item_scale`: of those that cost the validation targets at most `new_item_cost`, the one by which
    pseudo-cold items are ranked best among all items."""
    new_item_cost: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Share of the best validation NDCG@10, pseudo-cold items being candidates, that may be given up for new items."""
    pseudo_cold_share: float = Field(default=0.07, gt=0.0, lt=0.5)
    """Share of the warm items that stand for new ones where `rat` chooses: it trains once without them for that."""
    pseudo_cold_interactions: int = Field(default=10, ge=1)
    """Interactions of each of them, at most, that become targets."""
    max_epochs: int = Field(default=20, ge=1)
    """Of a candidate's training."""


SearchedOption = Literal[
    "rat.learning_rate",
    "rat.weight_decay",
    "rat.batch_size",
    "rat.mask_share",
    "rat.model.dropout",
    "rat.model.layers",
    "rat.model.heads",
    "rat.model.max_length",
]
"""Options that every trained row of `llmemb table` reads. Not `rat.model.dim`: a row is aligned to another one's item
table, which must be as wide."""


class SearchConfig(Section):
    """The search that `llmemb table` runs for every row alike; other verbs do not search."""

    options: dict[SearchedOption, tuple[PositiveInt | NonNegativeFloat, ...]] = {
        "rat.model.dropout": (0.2, 0.5),
        "rat.learning_rate": (1e-3, 3e-3),
        "rat.model.layers": (2, 1),
    }
    """Option -> candidates, chosen one option after another by validation NDCG@10; until an option is chosen it has its
    first candidate. Empty: no search, every row is trained as configured."""
    max_epochs: int = Field(default=20, ge=1)
    """Of a candidate's training; the winner's goes on from there to `rat.max_epochs`."""

    @model_validator(mode="after")
    def _options_have_candidates(self) -> "SearchConfig":
        for option, candidates in self.options.items():
            if not candidates or len(set(candidates)) < len(candidates):
                raise ValueError(f"options: {option!r} has {list(candidates)}, not one or more different candidates")
        return self


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
    """`llmemb replay`: what new items gain by their first clicks, see `llmemb.scoring.first_clicks`."""

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
