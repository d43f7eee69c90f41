"""A small catalogue that looks like Kaggle's."""

import random

from tests.kaggle_emulator.catalogue import Catalogue, EmulatedDataset, EmulatedFile


def passengers_csv(rows: int = 400) -> bytes:
    """A table of passengers with missing ages, quoted names and a target. The same at each call."""
    chance = random.Random(7)
    lines = ["PassengerId,Survived,Pclass,Name,Sex,Age,Fare"]
    for number in range(1, rows + 1):
        sex = chance.choice(["male", "female"])
        age = "" if chance.random() < 0.2 else f"{chance.uniform(1, 80):.1f}"
        survived = int(chance.random() < (0.75 if sex == "female" else 0.2))
        fare = chance.uniform(5, 250)
        lines.append(f'{number},{survived},{chance.randint(1, 3)},"Passenger, No. {number}",{sex},{age},{fare:.4f}')
    return "\n".join(lines).encode() + b"\n"


def wines_csv(rows: int = 300) -> bytes:
    """A table of wines, separated by semicolons. The same at each call."""
    chance = random.Random(11)
    lines = ["fixed acidity;pH;alcohol;quality"]
    for _ in range(rows):
        alcohol = chance.uniform(8, 14)
        quality = round(alcohol / 2 + chance.gauss(0, 0.5))
        lines.append(f"{chance.uniform(4, 15):.1f};{chance.uniform(2.8, 4):.2f};{alcohol:.1f};{quality}")
    return "\n".join(lines).encode() + b"\n"


def small_catalogue() -> Catalogue:
    """Public data sets with one table, with several and with none, a zipped table, and one private data set."""
    passengers, wines = passengers_csv(), wines_csv()
    return Catalogue(
        [
            EmulatedDataset(
                "yasserh/titanic-dataset",
                "Titanic Dataset",
                [EmulatedFile("Titanic-Dataset.csv", passengers), EmulatedFile("notes/readme.md", b"# Titanic\n")],
                subtitle="Titanic survival prediction",
                tags=["beginner", "binary classification"],
                votes=613,
                downloads=148_225,
            ),
            EmulatedDataset(
                "rajyellow46/wine-quality",
                "Wine Quality",
                [EmulatedFile("red/wines.csv", wines), EmulatedFile("white/wines.csv", wines_csv(310))],
                license="Database: Open Database, Contents: © Original Authors",
                votes=415,
            ),
            EmulatedDataset(
                "ann/large-passengers", "Large passenger list", [EmulatedFile("large.csv", passengers, zipped=True)]
            ),
            EmulatedDataset(
                "ann/photos", "Photos", [EmulatedFile("a.jpg", b"\xff\xd8\xff", content_type="image/jpeg")]
            ),
            EmulatedDataset("ann/private", "Private", [EmulatedFile("secret.csv", b"a,b\n1,2\n")], private_to="ann"),
        ]
    )
