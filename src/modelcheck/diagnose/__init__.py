"""Diagnosis: which layer it is, where two models part company on a target."""

from modelcheck.diagnose.evidence import Diagnosis, LayerEvidence, Origin, Reproduction
from modelcheck.diagnose.plan import SAMPLES, DiagnosisPlan
from modelcheck.diagnose.repro import check_folder, write_repro
from modelcheck.diagnose.run import diagnose

__all__ = [
    "SAMPLES",
    "Diagnosis",
    "DiagnosisPlan",
    "LayerEvidence",
    "Origin",
    "Reproduction",
    "check_folder",
    "diagnose",
    "write_repro",
]
