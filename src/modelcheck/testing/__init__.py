"""For tests of transforms and judges, one's own too: models and inputs to draw, laws, faults.

models, battery    need hypothesis
faults, runner     do not
"""
