"""Fill-reducing orderings.

multilevel -> separators -> bisection -> dissection, with leaves -> named, behind dense -> choice
forest -> named: what needs no ordering but leaves first
"""

from padchol.symbolic.ordering.choice import candidates as candidates
from padchol.symbolic.ordering.choice import degree_hopeless as degree_hopeless
from padchol.symbolic.ordering.choice import dissection_pays as dissection_pays
from padchol.symbolic.ordering.choice import dissection_suffices as dissection_suffices
from padchol.symbolic.ordering.choice import dissection_useless as dissection_useless
from padchol.symbolic.ordering.named import NAMED as NAMED
from padchol.symbolic.ordering.named import given as given
