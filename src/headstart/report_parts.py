"""What a report is made of: frozen, plain Python data that the caller of `headstart.report` fills."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headstart.findings import Finding
from headstart.head_start import HeadStart

if TYPE_CHECKING:
    from headstart.evaluate import Rate as Measured
    from headstart.learning_curve import LearningCurve
    from headstart.tuning_evidence import Tuning


@dataclass(frozen=True)
class Rate:
    """A share of pictures (0 to 1) with its 95 % interval, the number of pictures and the split they are of."""

    value: float
    low: float
    high: float
    n: int
    split: str
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """One more rate worth showing beside the main one, such as the validation accuracy where a test set exists."""

    name: str
    rate: Rate


@dataclass(frozen=True)
class Start:
    """Where the untrained head stood: accuracy from 0 to 1, and loss."""

    accuracy: float
    loss: float | None = None


@dataclass(frozen=True)
class Images:
    """How many pictures each part had."""

    train: int
    validation: int = 0
    test: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class SourceFacts:
    """What is worth saying of the pretrained network; `image_size` is (height, width) in pixels."""

    name: str
    parameters: int | None = None
    size_mb: float | None = None
    licence: str = ""
    image_size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Picture:
    """A sample: its label, a small JPEG (about 200 px, a few kB) and the file as the user knows it."""

    label: str
    thumbnail_jpeg: bytes
    file: str


@dataclass(frozen=True)
class Choice:
    """One thing that was tried: `accuracy`, `low` and `high` from 0 to 1, cross-validated; `dimensions` of features."""

    cut: str
    pooling: str
    head: str
    dimensions: int
    accuracy: float
    low: float
    high: float
    chosen: bool = False
    note: str = ""
    source: str = ""


@dataclass(frozen=True)
class NamedHistory:
    """Another run to compare with: its name, its Keras history, and what its curves say."""

    name: str
    history: Mapping[str, Sequence[float]]
    reading: str = ""


@dataclass(frozen=True)
class Strength:
    """One strength of regularisation (> 0) and what cross-validation gave there."""

    strength: float
    accuracy: float
    loss: float
    chosen: bool = False


@dataclass(frozen=True)
class ClassRow:
    """Precision, recall and F1 (0 to 1) of one class over its `n` pictures; NaN where one is undefined.

    The intervals are those of precision and recall, where they are known.
    """

    name: str
    precision: float
    recall: float
    f1: float
    n: int
    precision_interval: tuple[float, float] | None = None
    recall_interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Mistake:
    """A picture that the classifier got wrong, with the probability (0 to 1) that it gave to its answer.

    `map_jpeg` shows in the same proportions which places spoke for the answer; None where that is not known.
    """

    file: str
    thumbnail_jpeg: bytes
    truth: str
    predicted: str
    probability: float
    map_jpeg: bytes | None = None


@dataclass(frozen=True)
class Reliable:
    """Answers of about equal probability: their mean, the share that was right with its 95 % interval, how many."""

    probability: float
    right: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Reliability:
    """Whether probabilities mean what they say, on pictures that decided nothing.

    Attributes:
        after: the answers of the classifier as it is saved, by probability.
        before: the same before a temperature was applied; empty where none was.
        words: what was found and done.
    """

    after: tuple[Reliable, ...]
    before: tuple[Reliable, ...] = ()
    words: str = ""


@dataclass(frozen=True)
class Headline:
    """What stands at the top in place of an accuracy.

    Attributes:
        value, words, interval: the figure as text, what it is, and its interval with the pictures it is of.
        rate: the same as a share to draw, where it is one; `guess` and `before` are drawn beside it.
        facts: (name, value, note) of further figures.
        note: what a reader should know of them.
    """

    value: str
    words: str
    interval: str
    rate: Rate | None = None
    guess: float | None = None
    guess_words: str = ""
    before: float | None = None
    facts: tuple[tuple[str, str, str], ...] = ()
    note: str = ""


@dataclass(frozen=True)
class LabelRow:
    """Figures of one label over the pictures, `n` of which have it; NaN where one is undefined."""

    name: str
    n: int
    average_precision: float
    average_precision_interval: tuple[float, float]
    guessing: float
    threshold: float
    precision: float
    precision_interval: tuple[float, float]
    recall: float
    recall_interval: tuple[float, float]
    f1: float
    f1_interval: tuple[float, float]


@dataclass(frozen=True)
class Missed:
    """A picture with a wrong answer about a label: what it is labelled, and the label's probability."""

    file: str
    thumbnail_jpeg: bytes
    labels: str
    probability: float
    map_jpeg: bytes | None = None


@dataclass(frozen=True)
class LabelMistakes:
    """Wrong answers about one label: how many times it was said wrongly and missed, and some pictures of each."""

    name: str
    wrongly: int
    missed: int
    said: tuple[Missed, ...] = ()
    unsaid: tuple[Missed, ...] = ()

    @property
    def mapped(self) -> bool:
        """Whether there are maps of what spoke for the label."""
        return any(picture.map_jpeg for picture in (*self.said, *self.unsaid))


@dataclass(frozen=True)
class NumbersPart:
    """(true, predicted) of each picture, and the half width of the interval with the share that it promises."""

    points: tuple[tuple[float, float], ...]
    half_width: float | None = None
    promised: float = float("nan")


@dataclass(frozen=True)
class Off:
    """A picture whose number was far off."""

    file: str
    thumbnail_jpeg: bytes
    truth: float
    predicted: float


@dataclass(frozen=True)
class Seconds:
    """Where the time went; what `total` has beyond the parts is shown as everything else."""

    features: float
    head: float
    fine_tune: float
    total: float


@dataclass(frozen=True)
class Cache:
    """How many features came from the store (`hits`) and how many had to be computed (`misses`)."""

    hits: int
    misses: int


@dataclass(frozen=True)
class Snippet:
    """A piece of code to copy."""

    title: str
    code: str


@dataclass(frozen=True)
class Report:
    """All that the page tells.

    Attributes:
        title: what the page is about, such as the name of the folder of pictures.
        verdict: the one sentence that a reader should take away.
        notes: sentences that a reader should see before the figures.
        views: one picture as it is and as augmentation makes it, the clean one first; labels say which is which.
        views_words: what was done to it.
        ranking: an SVG of accuracy against the cost of prediction, where sources were ranked; shown as it is.
        history: a Keras history: `accuracy`, `loss`, `val_accuracy`, `val_loss`, one number an epoch.
        reading: what the curves of `history` say.
        name: what this run is called where `others` are drawn with it.
        others: further runs, drawn on the same charts.
        tuning: what fine-tuning did, or why nothing was tuned; `frozen` is the frozen classifier's figure on the
            pictures of `accuracy`, where a tuned one is reported.
        confusion: rows are the true classes, columns the answers, both in the order of `classes`.
        reliability: how probabilities compare with what was right.
        thumbnails: small JPEGs for files that `findings` name.
        skipped: (file, reason) of the pictures that were left out.
        learning_curve: accuracy with fewer training pictures, and what more of them would bring.
        head_start: what the reuse gained over training from scratch.
        task: `classes`, `labels` or `numbers`: what `classes` are.
        headline: what stands at the top in place of `accuracy`, of which then only `n` and `split` count.
        score_words, loss_words: what is cross-validated while choosing, and what the loss is.
        rule_words: how outputs become answers.
        labels, missed: figures of each label, and its wrong answers.
        numbers, furthest: predicted against true numbers, and the pictures that were furthest off.
        how_to_load: code to copy; where empty and `model_path` is given, `snippets` fills it.

    Raises:
        ValueError: `confusion` is not square in the number of classes.
    """

    title: str
    verdict: str
    accuracy: Rate
    classes: tuple[str, ...]
    images: Images
    source: SourceFacts
    cut: str
    pooling: str
    head: str
    fine_tuned: bool = False
    loss: float | None = None
    before_training: Start | None = None
    other_figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()
    samples: tuple[Picture, ...] = ()
    views: tuple[Picture, ...] = ()
    views_words: str = ""
    choices: tuple[Choice, ...] = ()
    ranking: str = ""
    history: Mapping[str, Sequence[float]] | None = None
    reading: str = ""
    name: str = "this run"
    others: tuple[NamedHistory, ...] = ()
    tuning: Tuning | None = None
    frozen: Measured | None = None
    tuned: Measured | None = None
    strengths: tuple[Strength, ...] = ()
    per_class: tuple[ClassRow, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    mistakes: tuple[Mistake, ...] | None = None
    reliability: Reliability | None = None
    findings: tuple[Finding, ...] | None = None
    thumbnails: Mapping[str, bytes] = field(default_factory=dict)
    skipped: tuple[tuple[str, str], ...] = ()
    seconds: Seconds | None = None
    cache: Cache | None = None
    recipe: Mapping[str, Any] | None = None
    provenance: Mapping[str, Any] | None = None
    learning_curve: LearningCurve | None = None
    head_start: HeadStart | None = None
    model_path: str = ""
    how_to_load: tuple[Snippet, ...] = ()
    task: str = "classes"
    headline: Headline | None = None
    score_words: str = "Accuracy"
    loss_words: str = "Cross-entropy"
    rule_words: str = ""
    labels: tuple[LabelRow, ...] = ()
    missed: tuple[LabelMistakes, ...] | None = None
    numbers: NumbersPart | None = None
    furthest: tuple[Off, ...] | None = None

    def __post_init__(self) -> None:
        k = len(self.classes)
        if self.confusion and [len(row) for row in self.confusion] != [k] * k:
            shape = f"{len(self.confusion)} rows of {sorted({len(row) for row in self.confusion})} columns"
            raise ValueError(f"confusion must have {k} rows of {k} columns, one a class. Received: {shape}")
