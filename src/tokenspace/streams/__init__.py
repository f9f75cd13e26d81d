"""Evaluation: prequential runs over streams of tasks (answer first, then learn), their figures and plots."""

from __future__ import annotations
