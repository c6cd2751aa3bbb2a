"""One observer out of many, so that whoever tells facts knows of only one."""

from __future__ import annotations

import logging

from pacslite.facts import Fact, Observe

_logger = logging.getLogger("pacslite.observe")


def fan_out(*observers: Observe) -> Observe:
    """An :data:`Observe` that tells each of ``observers``, in order; one that fails does not keep it from the others.

    Facts are told from the middle of serving a peer: a defect in a log line must not become an aborted association.
    """
    failing: set[tuple[Observe, type[Fact], type[Exception]]] = set()

    def observe(fact: Fact) -> None:
        for observer in observers:
            try:
                observer(fact)
            except Exception as error:
                defect = (observer, type(fact), type(error))
                if defect not in failing:  # once is enough to find it; every object would be a flood
                    failing.add(defect)
                    _logger.exception("an observer failed on %s; this is logged once", type(fact).__name__)

    return observe
