"""Tuning: how a deployment runs a model best, measured."""
