"""headstart: a folder of pictures in, an image classifier you can trust out.

    import headstart as hs
    photos = hs.Dataset.from_folder("flowers/")
    print(hs.audit(photos))
    result = hs.train(photos)
    print(result.accuracy, result.verdict)
    result.classifier.predict("tulip.jpg").label
    result.classifier.save("flowers.keras")

Nothing is imported until it is asked for, so `import headstart` costs next to nothing.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    import inspect

    from headstart import errors as errors
    from headstart import sources as sources
    from headstart.answers import pictures_in as pictures_in
    from headstart.answers import write_csv as write_csv
    from headstart.api import audit as audit
    from headstart.api import compare as compare
    from headstart.api import compare_scratch as compare_scratch
    from headstart.api import evaluate as evaluate
    from headstart.api import features as features
    from headstart.api import finetune as finetune
    from headstart.api import fit_head as fit_head
    from headstart.api import learning_curve_of as learning_curve_of
    from headstart.api import load_recipe as load_recipe
    from headstart.api import rank as rank
    from headstart.api import source as source
    from headstart.api import summary as summary
    from headstart.api import train as train
    from headstart.classifier import Classifier as Classifier
    from headstart.comparison import Comparison as Comparison
    from headstart.dataset import Dataset as Dataset
    from headstart.evaluate import Evaluation as Evaluation
    from headstart.evaluate import Rate as Rate
    from headstart.explanation import Explanation as Explanation
    from headstart.features import Features as Features
    from headstart.findings import Finding as Finding
    from headstart.findings import Findings as Findings
    from headstart.head_start import HeadStart as HeadStart
    from headstart.heads import Head as Head
    from headstart.intervals import wilson as wilson
    from headstart.label_figures import LabelsEvaluation as LabelsEvaluation
    from headstart.learning_curve import LearningCurve as LearningCurve
    from headstart.number_figures import NumbersEvaluation as NumbersEvaluation
    from headstart.predictions import LabelsPrediction as LabelsPrediction
    from headstart.predictions import NumberPrediction as NumberPrediction
    from headstart.predictions import Prediction as Prediction
    from headstart.ranking import Ranking as Ranking
    from headstart.recipe import Recipe as Recipe
    from headstart.rejection import Rejection as Rejection
    from headstart.result import TrainResult as TrainResult
    from headstart.sources import Source as Source
    from headstart.summary import LayerFacts as LayerFacts
    from headstart.summary import Summary as Summary
    from headstart.trunk import Trunk as Trunk
    from headstart.tuning_evidence import Tuning as Tuning

__all__ = [
    "Classifier", "Comparison", "Dataset", "Evaluation", "Explanation", "Features", "Finding", "Findings", "Head",
    "HeadStart", "LabelsEvaluation", "LabelsPrediction", "LayerFacts", "LearningCurve", "NumberPrediction",
    "NumbersEvaluation", "Prediction", "Ranking", "Rate", "Recipe", "Rejection", "Source", "Summary", "TrainResult",
    "Trunk", "Tuning", "__version__", "audit", "compare", "compare_scratch", "errors", "evaluate", "features",
    "finetune", "fit_head", "learning_curve_of", "load_recipe", "pictures_in", "rank", "source", "sources", "summary",
    "train", "wilson", "write_csv",
]  # fmt: skip

_HOME = {
    "Classifier": "classifier", "Prediction": "predictions", "LabelsPrediction": "predictions",
    "NumberPrediction": "predictions", "LabelsEvaluation": "label_figures", "NumbersEvaluation": "number_figures",
    "Dataset": "dataset", "Evaluation": "evaluate",
    "Rate": "evaluate", "Explanation": "explanation", "Rejection": "rejection", "Features": "features",
    "Finding": "findings", "Findings": "findings", "Head": "heads", "wilson": "intervals", "Recipe": "recipe",
    "TrainResult": "result", "Source": "sources", "Trunk": "trunk", "Comparison": "comparison", "compare": "api",
    "HeadStart": "head_start", "LearningCurve": "learning_curve", "compare_scratch": "api",
    "learning_curve_of": "api", "fit_head": "api", "load_recipe": "api", "source": "api", "LayerFacts": "summary",
    "Summary": "summary", "Ranking": "ranking", "rank": "api", "Tuning": "tuning_evidence",
    "pictures_in": "answers", "write_csv": "answers",
}  # fmt: skip
"""Which module each public name is found in; `errors` and `sources` are modules themselves."""

_STAGES = frozenset({"audit", "evaluate", "features", "finetune", "summary", "train"})
"""Modules that can be called, since the stage in `headstart.api` has the module's name."""


class _Stage(ModuleType):
    """A module of this package that is called like the stage it holds: `headstart.train(photos)`.

    Importing a submodule binds its name in the package, over any function of that name. So these stay modules,
    whatever was imported first, and the call is passed on.
    """

    @property
    def _stage(self) -> Any:
        return getattr(importlib.import_module("headstart.api"), self.__name__.rpartition(".")[2])

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._stage(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        import inspect

        return inspect.signature(self._stage)


class _Package(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        if name in _STAGES and isinstance(value, ModuleType):
            value.__class__ = _Stage
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
        globals()[name] = value
        return value
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
