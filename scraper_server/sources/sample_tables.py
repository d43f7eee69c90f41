"""The samples: what each is about, and its table.

The tables are read from scikit-learn's files. Its own loaders would import all of SciPy, which takes seconds.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Sample:
    """A data set and how it is made into a table whose last column is what one would predict."""

    ref: str
    title: str
    subtitle: str
    tags: tuple[str, ...]
    license: str
    file: str
    """Its name among scikit-learn's data."""
    features: tuple[str, ...]
    target: str

    @property
    def path(self) -> str:
        """The one file that it has."""
        return f"{self.ref}.parquet"

    @property
    def url(self) -> str:
        """Where a person can read about it."""
        loader = f"load_{self.ref.replace('-', '_')}"
        return f"https://scikit-learn.org/stable/modules/generated/sklearn.datasets.{loader}.html"


_CC_BY = "CC BY 4.0"
_NUCLEUS = (
    "radius",
    "texture",
    "perimeter",
    "area",
    "smoothness",
    "compactness",
    "concavity",
    "concave points",
    "symmetry",
    "fractal dimension",
)
SAMPLES = (
    Sample(
        "breast-cancer",
        "Breast cancer Wisconsin (diagnostic)",
        "569 tumours, 30 measures of their cell nuclei, and whether each is malignant or benign",
        ("classification", "medicine", "table"),
        _CC_BY,
        "breast_cancer.csv",
        (
            *(f"mean {name}" for name in _NUCLEUS),
            *(f"{name} error" for name in _NUCLEUS),
            *(f"worst {name}" for name in _NUCLEUS),
        ),
        "diagnosis",
    ),
    Sample(
        "diabetes",
        "Diabetes progression",
        "442 patients, age, sex, body mass, blood pressure and six serum values, and how their disease went on",
        ("regression", "medicine", "table"),
        "",
        "diabetes_data_raw.csv.gz",
        ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6"),
        "progression",
    ),
    Sample(
        "digits",
        "Handwritten digits",
        "1797 images of 8 x 8 pixels, one column each, brightness 0 to 16, and the digit that each shows",
        ("classification", "image", "table"),
        _CC_BY,
        "digits.csv.gz",
        tuple(f"pixel_{y}_{x}" for y in range(8) for x in range(8)),
        "digit",
    ),
    Sample(
        "iris",
        "Iris flowers",
        "150 flowers of three species, length and width of their sepals and petals",
        ("classification", "biology", "table"),
        _CC_BY,
        "iris.csv",
        ("sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)"),
        "species",
    ),
    Sample(
        "wine",
        "Wine recognition",
        "178 wines of three cultivars, 13 chemical measures",
        ("classification", "chemistry", "table"),
        _CC_BY,
        "wine_data.csv",
        (
            "alcohol",
            "malic_acid",
            "ash",
            "alcalinity_of_ash",
            "magnesium",
            "total_phenols",
            "flavanoids",
            "nonflavanoid_phenols",
            "proanthocyanins",
            "color_intensity",
            "hue",
            "od280/od315_of_diluted_wines",
            "proline",
        ),
        "cultivar",
    ),
)


def sample_table(sample: Sample) -> pd.DataFrame:
    """The sample's rows, its target last.

    Classes have names, not numbers: a model must not take class 2 for twice class 1.
    """
    path = _data_folder() / sample.file
    if sample.ref == "diabetes":
        cells = np.loadtxt(path)
        target: Any = np.loadtxt(path.with_name("diabetes_target.csv.gz"))
    elif sample.ref == "digits":
        table = np.loadtxt(path, delimiter=",")
        cells, target = table[:, :-1], [str(int(digit)) for digit in table[:, -1]]
    else:  # the first line has the numbers of rows and columns, and the names of the classes
        with path.open() as file:
            _, _, *labels = file.readline().strip().split(",")
        table = np.loadtxt(path, delimiter=",", skiprows=1)
        cells, target = table[:, :-1], [labels[int(code)] for code in table[:, -1]]
    columns = {name: _whole(cells[:, position]) for position, name in enumerate(sample.features)}
    return pd.DataFrame({**columns, sample.target: target})


def _data_folder() -> Path:
    found = importlib.util.find_spec("sklearn")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("scikit-learn, which has the samples, is not installed")
    return Path(found.origin).parent / "datasets" / "data"


def _whole(values: Any) -> Any:
    """Measures that are all whole numbers become integers."""
    whole = values.astype(np.int64)
    return whole if (whole == values).all() else values
