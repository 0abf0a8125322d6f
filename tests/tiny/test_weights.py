"""The shipped checkpoint: small, complete, loadable by the Hugging Face classes, and actually trained."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    CLIPConfig,
    CLIPTextModelWithProjection,
    LlavaForConditionalGeneration,
)

from script_exp.shapes.questions import held_out
from script_exp.shapes.scenes import GRID
from script_exp.tiny import WEIGHTS
from script_exp.training.monitor import MONITOR_SEED, accuracy
from script_exp.training.vision_features import to_pixels


@pytest.fixture(scope="module")
def llava():
    model, report = LlavaForConditionalGeneration.from_pretrained(WEIGHTS, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    return model.eval()


@pytest.fixture(scope="module")
def processor():
    return AutoProcessor.from_pretrained(WEIGHTS)


def test_the_safetensors_fit_in_eight_megabytes():
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*.safetensors")) <= 8_000_000


def test_the_processor_gives_576_tokens_and_exact_pixels(processor):
    scene, questions = next(held_out(MONITOR_SEED, 1))
    text = f"USER: <image>\n{questions[0].text} ASSISTANT:"
    inputs = processor(images=Image.fromarray(scene.image), text=text, return_tensors="pt")
    assert (inputs["input_ids"] == processor.image_token_id).sum() == GRID * GRID
    assert processor.tokenizer.unk_token_id not in inputs["input_ids"]
    torch.testing.assert_close(inputs["pixel_values"], to_pixels(scene.image[None]), atol=1e-5, rtol=0)


def test_the_chat_template_gives_the_prompt_of_training(processor):
    content = [{"type": "image"}, {"type": "text", "text": "is there a red star?"}]
    prompt = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    assert prompt == "USER: <image>\nis there a red star? ASSISTANT:"


def test_the_clip_folder_has_the_text_side_only():
    state = load_file(WEIGHTS / "clip" / "model.safetensors")
    assert {name.split(".")[0] for name in state} == {
        "text_model", "text_projection", "visual_projection", "logit_scale",
    }  # fmt: skip
    config = CLIPConfig.from_pretrained(WEIGHTS / "clip")
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS / "clip")
    ids = tokenizer("what color is the star?")["input_ids"]
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert config.text_config.eos_token_id == tokenizer.eos_token_id != 2
    text = {name: value for name, value in state.items() if name.startswith("text_")}
    tower = CLIPTextModelWithProjection.from_pretrained(None, config=config.text_config, state_dict=text)
    assert tower(torch.tensor([ids])).text_embeds.shape == (1, config.projection_dim)


def test_generation_gives_one_word_and_stops(llava, processor):
    scene, questions = next(held_out(MONITOR_SEED, 1))
    text = f"USER: <image>\n{questions[0].text} ASSISTANT:"
    inputs = processor(images=Image.fromarray(scene.image), text=text, return_tensors="pt")
    new = llava.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert len(new) == 2
    assert int(new[-1]) == processor.tokenizer.eos_token_id


def test_unpruned_accuracy_is_far_above_what_the_text_alone_is_worth(llava):
    torch.set_num_threads(1)
    assert accuracy(llava, 9)["all"] > 0.7
