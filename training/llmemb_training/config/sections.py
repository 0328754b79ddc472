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
    """Generic sources: names of the columns."""

    user_id: str = "user_id"
    """User column of the interactions."""
    item_id: str = "item_id"
    """Item column of the interactions and of the items."""
    timestamp: str = "timestamp"
    """Time column of the interactions: a number that increases with time, or a date."""
    rating: str = "rating"
    """Rating column of the interactions; read only if `min_rating` is set."""


class PrepareConfig(Section):
    """Reading the source and splitting it."""

    path: str
    """Folder of the source."""
    format: SourceFormat | Literal["auto"] = "auto"
    """Format of the files, see docs/data.md; `auto` detects it from the file names."""
    domain: str = Field(min_length=1)
    """What the items are, a singular noun for the prompt, such as `movie`."""
    instruction: Annotated[str, AfterValidator(check_instruction)] = INSTRUCTION
    """The text before an item's attributes in every prompt, such as the instruction that an encoder was trained with.
    `{domain}` is replaced by the domain; literal braces are doubled. May be empty."""
    attributes: dict[str, str] = {}
    """Attribute name -> column of the source, in the order of the prompt. Empty: the default columns of the format, see
    docs/data.md; in generic and RecBole sources these are all columns except the id."""
    list_attributes: tuple[str, ...] = ()
    """RecBole, CSV and Parquet: attributes whose text cells contain several values, separated by spaces in RecBole
    files and by `|` in others."""
    columns: ColumnsConfig = ColumnsConfig()
    min_rating: float | None = None
    """Minimum rating: interactions with a lower rating are dropped; None keeps all. Needs a source with ratings."""
    min_interactions: int = Field(default=5, ge=1)
    """k of the k-core, for users and items."""
    cold_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the items that are held out of all training and used to evaluate new items."""
    cold_interactions: int = Field(default=10, ge=1)
    """Maximum number of first interactions of a cold item that become targets."""

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
    """Number of first layers to keep; None keeps all; `auto`: chosen on validation, see `select.depth`."""
    pooling: Literal["mean", "last", "cls"] = "mean"
    """Mean over the tokens, the last token, or the first one if the tokenizer adds it for pooling, as in BERT."""
    max_tokens: int = Field(default=256, ge=8)
    """Maximum length of a prompt, in tokens; at most the number of positions of the LLM."""
    max_value_characters: int = Field(default=100, ge=1)
    """Attribute values are truncated to this length."""


class ScftConfig(Section):
    """Supervised contrastive fine-tuning."""

    enabled: bool = True
    """False: the LLM is not fine-tuned."""
    positives: Literal["views", "next", "both"] = "views"
    """The positive pairs. `views`: two views of an item, as in the paper; `next`: the preceding items and the next item
    at each step of a training history; `both`: the sum of the two losses."""
    batch_histories: int = Field(default=96, ge=2)
    """`next` and `both`: histories per step, over all processes; each of their items is embedded once."""
    history_window: int = Field(default=20, ge=2)
    """`next` and `both`: maximum number of items of a history in a step; of a longer history, each epoch uses a random
    window of this length."""
    history: int = Field(default=10, ge=1)
    """`next` and `both`: number of most recent items in a query."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """`next` and `both`: weight of an item of a query relative to the next item; 1: equal weights."""
    batch_items: int = Field(default=64, ge=2)
    """`views`: items per step, over all processes."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the histories, or with `views` over the items; each epoch draws new views."""
    max_pairs: int | None = Field(default=None, ge=1)
    """Number of positive pairs after which training ends; replaces `epochs`."""
    max_minutes: float | None = Field(default=None, gt=0.0)
    """Time limit of the training; the learning rate decays to zero by then. The result depends on the machine's
    speed."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Maximum length of a text in training, in tokens; None: `encoder.max_tokens`."""
    part_tokens: int = Field(default=4096, ge=1)
    """Maximum number of tokens in one forward pass, including padding; texts of similar length are grouped."""
    held_states: int = Field(default=131072, ge=0)
    """Maximum number of tokens times layers of a step, in one process, whose activations are kept for the backward
    pass, at about 80 bytes for each unit of the LLM's width; a larger step runs the LLM twice (gradient caching)."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Data type of matrix products; `auto`: bfloat16 if it is faster on the processor. Trained weights and the loss are
    always float32."""
    temperature: float = Field(default=0.05, gt=0.0)
    """tau: cosines are divided by it."""
    whitened_components: int = Field(default=128, ge=0)
    """Width of the whitened space for the cosines, fitted on the LLM before tuning (less if the catalogue is too
    small). 0: cosines of the raw embeddings, as in the paper."""
    drop_share: float = Field(default=0.4, ge=0.0, lt=1.0)
    """Share of an item's attributes that a view drops."""
    learning_rate: float = Field(default=2e-4, gt=0.0)
    """Maximum learning rate of AdamW, with linear decay to zero."""
    warmup_share: float = Field(default=0.1, ge=0.0, lt=1.0)
    """Share of the steps used for learning rate warm-up."""
    generation_weight: float = Field(default=0.0, ge=0.0)
    """Weight of the generation loss: the mean next-token cross-entropy of a view after its first attribute. Needs a
    causal LLM with tied token embeddings; 0 disables it."""
    lora_rank: int = Field(default=8, ge=1)
    """LoRA rank r."""
    lora_alpha: int = Field(default=16, ge=1)
    """LoRA alpha: the update is scaled by alpha / r."""
    lora_dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout on the input of the LoRA update; the paper's 0.1 makes a step a third slower."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """Number of steps between checkpoints."""


class EmbedConfig(Section):
    """Embedding every item once."""

    batch_tokens: int = Field(default=2048, ge=1)
    """Maximum number of tokens in a batch, as counted by the encoder's engine."""
    engine: Literal["local", "ray"] = "local"
    """`ray` distributes the shards over a Ray cluster: the one at `RAY_ADDRESS`, or else a local one. Every worker must
    see the run folder at the same path."""
    ray_workers: int = Field(default=2, ge=1)
    """Number of encoders that run in parallel on Ray."""
    shard_items: int = Field(default=1024, ge=1)
    """Items per shard; completed shards are not computed again after an interruption."""


class AlignmentConfig(Section):
    """Alignment of the adapted embeddings to the collaborative ones."""

    form: Literal["infonce", "soft"] = "infonce"
    """`soft`: the targets are the similarities between the items, as in the paper's code; `infonce`: each item's own
    vector is the only target."""
    alpha: float = Field(default=0.01, ge=0.0)
    """Weight of the alignment loss; 0 disables it."""
    temperature: float = Field(default=2.0, gt=0.0)
    """tau: cosines are divided by it."""


class ResidualConfig(Section):
    """The collaborative residual."""

    mode: Literal["none", "all", "popular", "auto"] = "all"
    """`all`: every item with training interactions has one; `popular`: those with at least `min_interactions`;
    `auto`: chosen on validation, see `select.residual`."""
    min_interactions: int = Field(default=5, ge=1)
    """Minimum number of training interactions of a popular item."""
    dropout: float = Field(default=0.3, ge=0.0, le=1.0)
    """Dropout of whole residuals: share of the items without a residual in a step, so that the semantic part stays
    useful by itself."""


class SemanticTermConfig(Section):
    """The semantic term: `score += gamma * similarity(history profile, candidate)`, in the LLM's whitened space."""

    gamma: NonNegativeFloat | Literal["auto"] = 0.0
    """Weight of the semantic term; 0 disables it; `auto`: chosen on validation, see `select.gamma`."""
    trained: bool = True
    """Whether the term is part of the scores in training, where `gamma = "auto"` is then learned too. False: the term
    is added only when items are scored after training."""
    components: int = Field(default=256, ge=2)
    """Width of the space, q."""
    history: int = Field(default=10, ge=1)
    """Number of most recent items in the profile."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of an item of the history relative to the next item; 1: equal weights."""


class SuccessorsConfig(Section):
    """Successor vectors: the items that follow an item in training histories, in the space of the semantic term.

    `auto`: chosen on validation, see `SelectConfig`. They need a semantic term.
    """

    delta: NonNegativeFloat | Literal["auto"] = 0.0
    """Weight of the successor vectors; 0 disables them."""
    estimator: Literal["mean", "ridge", "auto"] = "ridge"
    """`mean`: weighted mean of the followers' profile vectors; `ridge`: the vector whose inner products with the
    profile vectors of all items best fit the item's follower counts."""
    out_power: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = 0.5
    """a: counts are divided by (followers of the item)^a."""
    in_power: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] = 0.0
    """b: counts are also divided by (number of times the follower follows any item)^b, which reduces the weight of
    popular followers."""
    window: PositiveInt | Literal["auto"] = 3
    """Maximum number of steps from an item to a follower."""
    decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of each step relative to the step before."""
    ridge: float = Field(default=1.0, gt=0.0)
    """Regularisation of `ridge` and of the text map."""
    text_map: bool | Literal["auto"] = "auto"
    """Whether the successor vector of an item without training interactions is predicted from its text; otherwise it
    has none. `auto`: chosen on pseudo-cold items."""


class RatConfig(Section):
    """Recommendation adaptation training."""

    model: SequenceModelSpec = SequenceModelSpec()
    """The sequence model of the adapted and of the vanilla recommender."""
    reduction: Literal["whiten", "pca", "none"] = "whiten"
    """How raw embeddings are reduced to `components` dimensions; `none` only centres them."""
    components: PositiveInt | Literal["auto"] = 256
    """p; `auto`: chosen on validation, see `select.components`."""
    adapter_layers: Literal[1, 2] = 2
    """Linear layers of the adapter, with no activation between them."""
    table: Literal["frozen", "trained"] = "frozen"
    """Whether the reduced embeddings of the warm items are also trained."""
    scoring: Literal["dot", "cosine"] = "dot"
    """`cosine`: item embeddings are scaled to unit length, so that length does not affect the ranking."""
    loss: Literal["softmax", "bce", "sampled_softmax", "gbce"] = "softmax"
    """Full softmax over the items; binary cross-entropy with one negative; or, for large catalogues, softmax or
    generalised binary cross-entropy over `num_negatives`."""
    num_negatives: int = Field(default=256, ge=1)
    """Number of negatives of `sampled_softmax` and `gbce`, drawn uniformly for each batch and shared by its
    predictions."""
    gbce_t: float = Field(default=0.75, ge=0.0, le=1.0)
    """t of gBCE: 0 is plain binary cross-entropy, 1 fully corrects overconfidence."""
    logit_adjustment: float = Field(default=0.0, ge=0.0)
    """tau: in the loss only, tau times the logarithm of an item's share of the training interactions is added to its
    score, so that the embedding need not encode popularity. This improves tail and new items at the cost of the most
    popular ones. For loss `softmax`, and the adapted model only."""
    alignment: AlignmentConfig = AlignmentConfig()
    residual: ResidualConfig = ResidualConfig()
    semantic_term: SemanticTermConfig = SemanticTermConfig()
    successors: SuccessorsConfig = SuccessorsConfig()
    new_item_scale: PositiveFloat | Literal["auto"] = 1.0
    """Scale of the embeddings of items without training interactions, which are shorter because they have no residual.
    For scoring `dot` with residuals only. `auto`: chosen on validation, see `select.new_item_scale`."""
    mask_share: float = Field(default=0.3, gt=0.0, lt=1.0)
    """BERT4Rec: share of the positions that are masked in the windows that are not truncated."""
    truncated_share: float = Field(default=0.5, ge=0.0, le=1.0)
    """BERT4Rec: share of the windows that are truncated after a random item; only that item is masked, as in serving.
    Such a window has one target: choose a smaller share for long histories."""
    batch_size: int = Field(default=128, ge=1)
    """Average number of history windows per step."""
    learning_rate: float = Field(default=1e-3, gt=0.0)
    """Of AdamW."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Of AdamW."""
    max_epochs: int = Field(default=200, ge=1)
    patience: int = Field(default=20, ge=1)
    """Early stopping: number of epochs without a better validation NDCG@10. It is five times as large while the best
    score is less than 10 % above that of the most popular items, because a model learns popularity first."""

    @model_validator(mode="after")
    def _softmax_is_adjusted(self) -> "RatConfig":
        if self.logit_adjustment and self.loss != "softmax":
            raise ValueError(f"logit_adjustment {self.logit_adjustment:g} needs loss 'softmax', not {self.loss!r}")
        return self


class SelectConfig(Section):
    """Candidates for options set to `auto`; the best one on validation is chosen."""

    depth: tuple[PositiveInt, ...] = (2, 4, 6)
    """Candidates for `encoder.depth`."""
    components: tuple[PositiveInt, ...] = (128, 256)
    """Candidates for `rat.components`."""
    residual: tuple[Literal["none", "all", "popular"], ...] = ("none", "all", "popular")
    """Candidates for `rat.residual.mode`."""
    gamma: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
    """Candidates for `rat.semantic_term.gamma`. Among those that lose at most `gamma_cost` on the validation targets,
    the one that best ranks pseudo-cold items among themselves is chosen."""
    gamma_cost: float = Field(default=0.01, ge=0.0, lt=1.0)
    """Maximum loss of validation NDCG@10 in favour of new items, as a share of the best."""
    successor_estimator: tuple[Literal["mean", "ridge"], ...] = ("ridge", "mean")
    """Candidates for `rat.successors.estimator`; each is evaluated at its best delta."""
    successor_out_power: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = (0.5, 1.0)
    """Candidates for `rat.successors.out_power`."""
    successor_in_power: tuple[Annotated[float, Field(ge=0.0, le=1.0)], ...] = (0.0, 0.25, 0.5)
    """Candidates for `rat.successors.in_power`."""
    successor_window: tuple[PositiveInt, ...] = (3, 1, 10)
    """Candidates for `rat.successors.window`."""
    delta: tuple[NonNegativeFloat, ...] = (0.0, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0)
    """Candidates for `rat.successors.delta`; the best is chosen, or 0 if none is better."""
    new_item_scale: tuple[PositiveFloat, ...] = (1.0, 1.05, 1.1, 1.15, 1.2, 1.25, 1.3, 1.4, 1.5, 1.75, 2.0)
    """Candidates for `rat.new_item_scale`. Among those that lose at most `new_item_cost` on the validation targets, the
    one that best ranks pseudo-cold items among all items is chosen."""
    new_item_cost: float = Field(default=0.02, ge=0.0, lt=1.0)
    """Maximum loss of validation NDCG@10, ranked with the pseudo-cold items, in favour of new items, as a share of the
    best."""
    pseudo_cold_share: float = Field(default=0.07, gt=0.0, lt=0.5)
    """Share of the warm items that act as new items when `rat` chooses options; `rat` trains once without them."""
    pseudo_cold_interactions: int = Field(default=10, ge=1)
    """Maximum number of interactions of each pseudo-cold item that become targets."""
    max_epochs: int = Field(default=20, ge=1)
    """Maximum number of epochs for each candidate."""


SearchedOption = Literal[
    "rat.learning_rate",
    "rat.weight_decay",
    "rat.batch_size",
    "rat.mask_share",
    "rat.truncated_share",
    "rat.model.dropout",
    "rat.model.layers",
    "rat.model.heads",
    "rat.model.max_length",
]
"""Options that every trained row of `llmemb table` uses. `rat.model.dim` is excluded: a row and the item table that it
is aligned to must have the same width."""


class SearchConfig(Section):
    """The search that `llmemb table` runs in the same way for every row; other verbs do not use it."""

    options: dict[SearchedOption, tuple[PositiveInt | NonNegativeFloat, ...]] = {
        "rat.model.dropout": (0.2, 0.5),
        "rat.learning_rate": (1e-3, 3e-3),
        "rat.model.layers": (2, 1),
    }
    """Option -> candidates. Options are chosen one by one on validation NDCG@10; an option that is not chosen yet
    has its first candidate. Empty: no search."""
    max_epochs: int = Field(default=20, ge=1)
    """Maximum number of epochs for each candidate; the training of the best one is resumed up to `rat.max_epochs`."""

    @model_validator(mode="after")
    def _options_have_candidates(self) -> "SearchConfig":
        for option, candidates in self.options.items():
            if not candidates or len(set(candidates)) < len(candidates):
                raise ValueError(f"options: {option!r} has {list(candidates)}, not one or more different candidates")
        return self


class EvaluateConfig(Section):
    """Ranking the test targets."""

    ks: tuple[int, ...] = (5, 10, 20)
    """Cut-offs of HR@k and NDCG@k; must include 10."""
    num_negatives: int = Field(default=100, ge=1)
    """Number of negatives in the sampled protocol."""
    exclude_history: bool = True
    """Whether items of the history are excluded from ranking (the target never is)."""
    tail_share: float = Field(default=0.8, gt=0.0, lt=1.0)
    """Share of the items, those with the fewest training interactions, in the tail; and of the users, those with the
    shortest histories."""
    knn_history: int = Field(default=10, ge=1)
    """Number of most recent items in the profile of the semantic nearest-neighbour baseline."""
    knn_decay: float = Field(default=0.7, gt=0.0, le=1.0)
    """Weight of an item of that profile relative to the next item; 1: equal weights."""
    ease_regularisation: float = Field(default=200.0, gt=0.0)
    """lambda of the EASE baseline."""
    bootstrap_samples: int = Field(default=1000, ge=100)
    """Number of bootstrap samples for each confidence interval, and of draws for each p-value."""
    confidence: float = Field(default=0.95, gt=0.0, lt=1.0)
    """Confidence level of the intervals."""
    baselines: bool = True
    """Whether to train the trainable baselines: vanilla with the other loss, and LLMInit."""

    @model_validator(mode="after")
    def _has_ten(self) -> "EvaluateConfig":
        if 10 not in self.ks or min(self.ks) < 1:
            raise ValueError("ks must be positive and hold 10, by which models are selected")
        return self


class BundleConfig(Section):
    """Options of the bundle."""

    index: IndexKind | Literal["auto"] = "auto"
    """Kind of the index; `auto`: flat up to 200,000 items, IVF above."""
    categories_attribute: str = "auto"
    """The attribute whose values are an item's categories for filters; empty: none; `auto`: the first of `categories`,
    `category`, `genres` and `genre` that is an attribute."""


class ReplayConfig(Section):
    """`llmemb replay`: the gain of new items from their first clicks, see `llmemb.scoring.first_clicks`."""

    ks: tuple[int, ...] = (0, 1, 3, 5, 10)
    """Numbers of first clicks from which a held-out item's residual is fitted, one table row each, ascending from 0.
    All rows are measured on the same clicks: those after the last k."""
    later_clicks: PositiveInt | None = 10
    """Maximum number of measured clicks per item after the last k, so that popular items do not dominate; None: all."""
    prior: float = Field(default=10.0, gt=0.0)
    """lambda: regularisation of a residual."""
    own_clicks: float = Field(default=1.5, ge=0.0)
    """a: weight of the frozen model's estimate of an item, in clicks, which limits the effect of the first clicks."""
    exposure: float = Field(default=1.4, ge=0.0)
    """Number of sessions without the item that one exposure represents."""
    exposures: Literal["time", "all"] = "time"
    """The exposures of an item. `time`: the interactions of all users from when the item became available until the
    click; `all`: those of the whole replay, which does not distinguish frequent from rare items."""
    background_sessions: int = Field(default=3000, ge=1)
    """m: number of random training histories that represent the sessions without an item."""
    items: Literal["all", "first_half", "second_half"] = "all"
    """The half of the held-out items whose later clicks are measured: one random half to choose the options above, the
    other to report. All items are candidates and learn in both cases."""
    trained_anew: bool = True
    """Whether to train the recommender again on histories that include the first clicks, for comparison; takes as long
    as `rat`."""

    @model_validator(mode="after")
    def _ks_ascend(self) -> "ReplayConfig":
        if len(self.ks) < 2 or self.ks[0] != 0 or list(self.ks) != sorted(set(self.ks)):
            raise ValueError(f"ks {list(self.ks)} must begin with 0 and ascend, such as [0, 1, 5]")
        return self
