"""Fill-reducing orderings.

multilevel -> separators -> bisection -> dissection, with leaves -> named
"""

from padchol.symbolic.ordering.named import NAMED as NAMED
from padchol.symbolic.ordering.named import candidates as candidates
from padchol.symbolic.ordering.named import dissection_pays as dissection_pays
from padchol.symbolic.ordering.named import dissection_suffices as dissection_suffices
from padchol.symbolic.ordering.named import given as given
