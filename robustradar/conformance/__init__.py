"""The kit for plugin authors: what every plugin promises, one clause a function.

On the command line, ``robustradar plugins check NAME|FILE``. In an author's own tests, one line:

    from robustradar.conformance import contract_test

    test_contract = contract_test("mine")

and, for a metric whose answer is known, `measured` on a network of the test's own.
"""

from robustradar.conformance.clause import Verdict
from robustradar.conformance.inspection import check, contract_test
from robustradar.conformance.laboratory import measured, patterns

__all__ = ["Verdict", "check", "contract_test", "measured", "patterns"]
