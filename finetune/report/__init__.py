"""The page and its charts, from the records alone -> results/report.html.

``render`` makes one self-contained HTML page.
"""

from finetune.report.page import render

__all__ = ["render"]
