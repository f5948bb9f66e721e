"""The ledger: what was judged when, where and with what result, in one SQLite file.

What a gate does with it is in `book.py`, which imports the gate's values; the rest is light.
"""

from modelcheck.ledger.changes import Change, Moved, SincePass, since_last_pass
from modelcheck.ledger.entry import OutputFigures, Run, Verdict
from modelcheck.ledger.file import DamagedLedger, LedgerFile, NewerLedger
from modelcheck.ledger.place import ledger_path
from modelcheck.ledger.regression import SINCE_LAST
from modelcheck.ledger.selection import Selection, nothing_of

__all__ = [
    "SINCE_LAST",
    "Change",
    "DamagedLedger",
    "LedgerFile",
    "Moved",
    "NewerLedger",
    "OutputFigures",
    "Run",
    "Selection",
    "SincePass",
    "Verdict",
    "ledger_path",
    "nothing_of",
    "since_last_pass",
]
