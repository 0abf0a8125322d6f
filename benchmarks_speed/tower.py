"""Time the vision tower up to the last layer that is read, against all its layers as in transformers.

python benchmarks_speed/tower.py [--device cpu] [--processor-time]
"""

from __future__ import annotations

from typing import Any

import torch
from report import Given, command_line, compared, print_cases, write_report
from transformers import AutoConfig, LlavaForConditionalGeneration

from script_exp.measure.clock import interleaved
from script_exp.models.loading.architectures import ARCHITECTURES
from script_exp.models.tower_layers import unused_layers_skipped, used_tower_layers
from script_exp.tiny import WEIGHTS

_CASES = (("tiny", 1), ("llava_1_5_7b", 1), ("llava_1_5_7b", 5))  # crops


def without_llm(name: str, device: torch.device) -> Any:
    """Build a random tower and projector with a minimal LLM: half precision on a GPU, else float32."""
    config = AutoConfig.from_pretrained(WEIGHTS) if name == "tiny" else ARCHITECTURES[name]()
    config.text_config.num_hidden_layers, config.text_config.vocab_size = 1, 32
    config.text_config.intermediate_size, config.text_config.pad_token_id = 32, None
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        return LlavaForConditionalGeneration._from_config(config, dtype=dtype).eval()


def case(name: str, crops: int, given: Given) -> dict[str, Any]:
    """Time one tower on some crops: up to the last layer that is read, and whole."""
    model = without_llm(name, given.clock.device)
    vision = model.config.vision_config
    shape = crops, 3, vision.image_size, vision.image_size
    pixels = torch.randn(shape, dtype=model.dtype, device=model.device)

    def whole() -> list[torch.Tensor]:
        features: list[torch.Tensor] = model.model.get_image_features(pixels).pooler_output
        return features

    def ours() -> list[torch.Tensor]:
        with unused_layers_skipped(model):
            return whole()

    if not all(torch.equal(one, other) for one, other in zip(ours(), whole(), strict=True)):
        raise RuntimeError(f"{name}: the features differ")
    calls = {"used layers": ours, "whole": whole, "whole again": whole}
    times = interleaved(given.clock, calls, warm_up=given.warm_up, repeats=given.repeats)
    layers = f"{used_tower_layers(model.config)} of {vision.num_hidden_layers} layers"
    return {"case": f"{name}: {layers}, crops: {crops}", **compared(times, "used layers")}


@torch.inference_mode()
def main(arguments: list[str] | None = None) -> None:
    given = command_line(__doc__, arguments, repeats=15)
    on_cpu = given.clock.device.type == "cpu"
    cases = [
        case(name, crops, given)
        for name, crops in _CASES
        if not (on_cpu and crops > 1)  # each call takes a quarter of a minute
    ]
    print_cases(f"vision tower ({given.clock_name})", cases, "used layers")
    write_report("tower", given, {"cases": cases})


if __name__ == "__main__":
    main()
