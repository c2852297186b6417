"""Named entities of a sentence, in the six coarse classes of MultiCoNER, as TowerInstruct was taught to name them.

A row brings `tokens` and `tags` in `extra`, as `spire data fetch` reads MultiCoNER. Of the 33 fine tags that it has each belongs
to one class; tags of the classes themselves are taken as they are.
"""

from spire_ray.evaluation.tasks import TASKS, Question, Request, Task

CLASSES = {
    "Person": ("Names of people", "Scientist Artist Athlete Politician Cleric SportsManager OtherPER"),
    "Group": (
        "Groups of people, organizations, corporations or other entities",
        "MusicalGRP PublicCORP PrivateCORP AerospaceManufacturer SportsGRP CarManufacturer ORG",
    ),
    "CreativeWorks": (
        "Titles of creative works like movie, song, and book titles",
        "VisualWork MusicalWork WrittenWork ArtWork Software",
    ),
    "Location": ("Location or physical facilities", "Facility OtherLOC HumanSettlement Station"),
    "Medical": (
        "Entities from the medical domain, including diseases, symptoms, and medications",
        "Medication/Vaccine MedicalProcedure AnatomicalStructure Symptom Disease",
    ),
    "Product": (
        "Consumer products such as food, drinks, clothing, and vehicles",
        "Clothing Vehicle Food Drink OtherPROD",
    ),
}
"""Class → what the question says of it, and its fine tags."""
_COARSE = {fine: name for name, (_, given) in CLASSES.items() for fine in (name, *given.split())}


def coarse(tag: str) -> str:
    """`B-Scientist` → `B-Person`. Raises ValueError for a tag of no class."""
    place, _, fine = tag.partition("-")
    if tag == "O":
        return tag
    if place not in ("B", "I") or fine not in _COARSE:
        raise ValueError(
            f"tag {tag!r}: expected O, or B- or I- and a class, one of {', '.join(CLASSES)}, or a tag of MultiCoNER 2"
        )
    return f"{place}-{_COARSE[fine]}"


def name_entities(asked: Question) -> Request:
    """A tag for each token."""
    row = asked.row
    classes = "\n".join(f"- {name} - {said}" for name, (said, _) in CLASSES.items())
    question = (
        f"Study this taxonomy for classifying named entities:\n{classes}. Identify all named entities in the following tokens:\n"
        f"{list(row.tokens)}\nAdditionally, you should add B- to the first token of a given entity and I- to subsequent ones if "
        "they exist. For tokens that are not named entities, mark them as O.\nAnswer: "
    )
    return Request(skill="instruct", row=row, source=row.language, target=row.language, text=question)


TASKS.register(
    "ner",
    Task(
        kind="tags",
        request=name_entities,
        needs=("tags",),
        reference="tags",
        metrics=lambda language: ("f1",),
        direction="instruct.{source}",
        forms=("it",),
    ),
)
