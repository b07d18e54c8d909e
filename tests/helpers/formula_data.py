"""Data for tests of formulas, the same expressions of i in R and here."""

import numpy as np
import pytest

pandas = pytest.importorskip("pandas")

N = 60
I = np.arange(N)
X = np.cos(2.3 * I)
FLAG = (I // 4) % 2 == 1
DATA = pandas.DataFrame(
    {
        "y": np.sin(1.7 * I) + 0.3 * (I % 4) + 0.5 * (I % 5),
        "x": X,
        "a": np.array(["u", "v", "w"])[I % 3],
        "b": np.array(["p", "q"])[(I // 3) % 2],
        "g": I % 5,
        "h": (I // 2) % 4,
        "site": np.array(["s0", "s0:a"])[I % 2],
        "sub": np.array(["a:b", "b"])[(I // 2) % 2],
        "flag": FLAG,
        "yn": np.where(np.sin(3 * I) + 0.4 * np.cos(I % 5 * 2) + 0.5 * X > 0, "yes", "no"),
        "k": (I * 7 + I // 5) % 6 + (I % 5 == 2) * 3,
        "two x": 2 * X + 3,
    }
)
DATA["e"] = np.array([1.5, -2, 0.7, 3])[I % 4]
DATA["z"] = DATA.y + DATA.e + 0.6 * FLAG
DATA["f"] = pandas.Categorical(
    np.array(["lo", "mid", "hi"])[(I * 5) % 3], ["none", "lo", "mid", "hi"]
)
MISSING_CELL = DATA[~((DATA.a == "w") & (DATA.b == "q"))]
