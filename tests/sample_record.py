"""One line of ``samples.jsonl``."""

from script_exp.results.record import SampleRecord

RECORD = SampleRecord(
    id="a", kind="color", unit="1", question="what color?", references=["réd"], prompt_hash="0",
    prediction="réd", answer="réd", score=1.0,
    visual=576, kept=64, layer_average=64.0, separators=0, crops=1, budget_crops=1, offered=576,
    grids=[], text=9, query=5, pruner_operations=7, seconds=0.1, batch=1, kept_indices=None,
)  # fmt: skip
