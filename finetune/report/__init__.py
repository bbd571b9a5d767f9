"""The report: ``render`` makes one self-contained HTML page of what the stages recorded."""

from finetune.report.page import render

__all__ = ["render"]
