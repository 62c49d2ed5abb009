"""The tasks that a choice is judged on, in two halves that share no data set."""

from dataclasses import dataclass

SHARE = 0.8
"""The share of each class that trains where no number is named."""
LOOK_ALIKES = "look-alikes"


@dataclass(frozen=True)
class Task:
    """What is drawn: `each` pictures of a class, or SHARE of them where it is 0.

    Attributes:
        pictures: name of a set; `SET:grey` and `SET:64px` are altered copies.
        classes: those that are kept, all where none is named; `look-alikes` are the two that training pictures show to
            be confused most.
        apart: train on the set's training split and measure on its validation split; else measure on all the rest.
    """

    name: str
    half: str
    pictures: str
    each: int = 0
    classes: tuple[str, ...] = ()
    apart: bool = False


TASKS = (
    Task("trash", "develop", "trashnet6"),
    Task("trash-10", "develop", "trashnet6", 10),
    Task("trash-30", "develop", "trashnet6", 30),
    Task("trash-grey-30", "develop", "trashnet6:grey", 30),
    Task("trash-64px", "develop", "trashnet6:64px"),
    Task("glass-plastic-40", "develop", "trashnet6", 40, ("glass", "plastic")),
    Task("paper-cardboard-120", "develop", "trashnet6", 120, ("cardboard", "paper")),
    Task("textile", "develop", "textile"),
    Task("textile-30", "develop", "textile", 30),
    Task("cats-5", "report", "cats_vs_dogs", 5),
    Task("cats-30", "report", "cats_vs_dogs", 30),
    Task("cats", "report", "cats_vs_dogs", apart=True),
    Task("cats-64px-100", "report", "cats_vs_dogs:64px", 100),
    Task("grocery", "report", "grocery43", apart=True),
    Task("grocery-grey", "report", "grocery43:grey", apart=True),
    Task("grocery-look-alikes", "report", "grocery43", classes=(LOOK_ALIKES,), apart=True),
    Task("digits", "report", "sign_digits10"),
    Task("digits-10", "report", "sign_digits10", 10),
    Task("digits-30", "report", "sign_digits10", 30),
    Task("digits-grey-30", "report", "sign_digits10:grey", 30),
)


def find(name):
    return next(task for task in TASKS if task.name == name)
