"""The ledger: what was judged when, where and with what result, in one SQLite file."""

from modelcheck.ledger.book import Book, Earlier
from modelcheck.ledger.changes import Change, Moved, SincePass, since_last_pass
from modelcheck.ledger.entry import OutputFigures, Run, Verdict
from modelcheck.ledger.file import DamagedLedger, LedgerFile, NewerLedger
from modelcheck.ledger.place import ledger_path
from modelcheck.ledger.recording import Occasion, run_of
from modelcheck.ledger.regression import SINCE_LAST
from modelcheck.ledger.selection import Selection, nothing_of

__all__ = [
    "SINCE_LAST",
    "Book",
    "Change",
    "DamagedLedger",
    "Earlier",
    "LedgerFile",
    "Moved",
    "NewerLedger",
    "Occasion",
    "OutputFigures",
    "Run",
    "Selection",
    "SincePass",
    "Verdict",
    "ledger_path",
    "nothing_of",
    "run_of",
    "since_last_pass",
]
