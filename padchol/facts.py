"""What is known of a plan beside its tables: counts for people, and its fingerprint.

Similar plans share compiled programs, so nothing that tells them apart may be static. Facts are
therefore an array (a JSON text as int32 words, padded to a fixed size) that goes wherever JAX takes
the plan: through jit, cond, a thread, a file. Read from an array they are always this plan's.

A function that is being traced has no array to read. It may still ask, say for nnz(L), which is the
length of a structured copy: then it gets the facts of the plan that it is traced for, and the
program is not shared with other plans any more (`Use.depended_on`). JAX asks whether a program may
be shared when it compares the static parts of arguments, which is `Origin.__eq__`.
"""

from __future__ import annotations

import functools
import json
import math
import threading
from typing import Any

import jax
import numpy as np

try:
    from jax.extend.core import get_opaque_trace_state
except ImportError:  # JAX before 0.10
    from jax.core import get_opaque_trace_state

SIZE = 512  # words of the text: 2048 bytes; that of a plan with 12 shapes of bins takes about 900


class Source:
    """The facts of one plan, as an array that is decoded when it is asked for."""

    def __init__(self, text: Any):
        self.text = text

    @functools.cached_property
    def decoded(self) -> dict[str, Any]:
        return json.loads(bytes(np.asarray(self.text)).rstrip(b" "))

    @property
    def fingerprint(self) -> str:
        return self.decoded["fingerprint"]


class Use:
    """What a plan was handed to JAX for, until a function that was being traced has read its facts.

    The origins of one call share it: JAX takes a plan apart several times before it traces.
    """

    depended_on = False


class Turn(threading.local):
    """Counts what this thread has had traced: a program asked for in an earlier turn is complete.

    `started` says that a trace has begun since the last turn; the next time a plan is handed to JAX
    outside of every trace, that trace is over.
    """

    def __init__(self):
        self.thread, self.count, self.started = threading.current_thread(), _Count(), False

    def flattened(self) -> None:
        if self.started and _outside_of_traces():
            self.count.value, self.started = self.count.value + 1, False


class _Count:
    """A number that other threads may look at."""

    value = 0


def _outside_of_traces() -> bool:
    with jax.core.eval_context():
        outside = get_opaque_trace_state(convention="flax")
    return get_opaque_trace_state(convention="flax") == outside


_turn = Turn()


class Origin:
    """The static part of a plan's facts: whose they are, and which thread handed them to JAX.

    Origins of different plans are equal, so that one program serves both, unless a trace has read
    the facts of one, or may yet do so: while another thread is tracing with one of them.
    """

    __slots__ = ("at", "count", "source", "thread", "use")

    def __init__(self, source: Source, use: Use):
        self.source, self.use = source, use
        self.thread, self.count, self.at = _turn.thread, _turn.count, _turn.count.value

    @property
    def settled(self) -> bool:
        """Whether no trace that this was handed to can still be running, but in this thread."""
        mine = self.thread is threading.current_thread()
        return mine or self.count.value > self.at or not self.thread.is_alive()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Origin):
            return False
        depended_on = self.use.depended_on or other.use.depended_on
        if not depended_on and self.settled and other.settled:
            return True
        same = self.source is other.source or self.source.fingerprint == other.source.fingerprint
        if same and depended_on:  # who goes on with this program depends on what it has read
            self.use.depended_on = other.use.depended_on = True
        return same

    def __hash__(self) -> int:
        return 0


@jax.tree_util.register_pytree_node_class
class Facts:
    """Name to value, and the fingerprint, of one plan; a pytree of one array (SIZE,).

    The seconds that the analysis took differ between equal plans. They stay with this object, and
    are NaN in what JAX makes of it.
    """

    def __init__(self, items: dict[str, Any], fingerprint: str):
        counted = {name: value for name, value in items.items() if name != "seconds"}
        text = json.dumps({"items": counted, "fingerprint": fingerprint}).encode()
        if len(text) > 4 * SIZE:
            raise ValueError(f"expected facts of at most {4 * SIZE} bytes; got {len(text)}")
        self.text: Any = np.frombuffer(text.ljust(4 * SIZE), np.int32)
        self.seconds: float = items["seconds"]
        self.source, self.use = Source(self.text), Use()

    @property
    def items(self) -> dict[str, Any]:
        return {**self._decoded["items"], "seconds": self.seconds}

    @property
    def fingerprint(self) -> str:
        return self._decoded["fingerprint"]

    @property
    def _decoded(self) -> dict[str, Any]:
        """The text; raises `ValueError` where it is not that of one plan, as after a vmap."""
        if isinstance(self.text, jax.core.Tracer):
            self.use.depended_on = True
        elif getattr(self.text, "shape", None) != (SIZE,):
            raise ValueError(
                f"expected the facts of one plan, an array of shape ({SIZE},); got "
                f"{getattr(self.text, 'shape', type(self.text).__name__)}: ask the plan that went "
                "into vmap, or index the batch"
            )
        return self.source.decoded

    def tree_flatten(self):
        _turn.flattened()
        if self.use.depended_on and not isinstance(self.text, jax.core.Tracer):
            self.use = Use()  # of the next call
        return (self.text,), Origin(self.source, self.use)

    @classmethod
    def tree_unflatten(cls, origin: Origin, children) -> Facts:
        (text,) = children
        if isinstance(text, jax.core.Tracer):
            _turn.started = True
            return cls._of(text, origin.source, origin.use)
        known = isinstance(text, np.ndarray | jax.Array)
        return cls._of(text, Source(text) if known else origin.source, Use())

    @classmethod
    def _of(cls, text: Any, source: Source, use: Use, seconds: float = math.nan) -> Facts:
        found = object.__new__(cls)
        found.text, found.source, found.use, found.seconds = text, source, use, seconds
        return found

    def __reduce__(self):
        return _restored, (np.asarray(self.text), self.seconds)

    def __deepcopy__(self, memo) -> Facts:
        del memo
        return _restored(self.text, self.seconds)


def _restored(text: Any, seconds: float) -> Facts:
    return Facts._of(text, Source(text), Use(), seconds)
