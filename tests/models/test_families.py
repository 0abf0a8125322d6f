"""What holds for every model family: the unpruned model is unchanged, and pruning is exact.

What is impossible for a family is in ``conftest.py``.
"""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from families import NATIVE, QUESTIONS, build, modality, picture, stock, visuals
from PIL import Image

from script_exp import prune, select
from script_exp.benchmarks.reading.frame_count import Frames
from script_exp.errors import SettingError, UserError
from script_exp.models.families.registry import ADAPTERS, adapter_of
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.wanted import Wanted
from script_exp.pruners import DivPrune, FastV, Graph, NoPruning, Random, Script, Trim
from script_exp.pruners.contract.signals import Reads


@pytest.fixture(scope="module")
def inputs(model, family):
    return model.preprocess(visuals(family), [model.chat_prompt(question) for question in QUESTIONS])


def pruned(model, inputs, pruner):
    images = model.encode_images(inputs, pruner.reads)
    queries = (
        model.encode_queries(QUESTIONS[: len(inputs["input_ids"])], pruner.reads)
        if pruner.reads.question
        else None
    )
    keys = [str(row) for row in range(len(inputs["input_ids"]))]
    return model.prune(inputs, images, pruner, queries, keys)


def rows_by_image(model, prompt, images):
    """The rows of each image that enter the model, which may take them as one tensor."""
    (output,) = prompt.arguments["mm_encoder_outputs"].values()  # GLM's videos are under images
    features = output.pooler_output
    flat = torch.cat([part.reshape(-1, part.shape[-1]) for part in features])
    lengths = [len(image.keep(kept, True)[1]) for image, kept in zip(images, prompt.kept, strict=True)]
    return torch.split(flat, lengths)


def rows_alone(model, family):
    """Each row of the batch as a batch of its own."""
    for row, images in enumerate(visuals(family)):
        yield model.preprocess([images], [model.chat_prompt(QUESTIONS[row])])


def scores(model, arguments, **more):
    with torch.inference_mode():
        output = model.model.generate(
            **arguments,
            max_new_tokens=4,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
            **more,
        )
    return torch.stack(output.logits, dim=1), output.sequences[:, -4:]


def test_pictures_show_what_the_tower_sees(model, family):
    """With the grid in which tokens of a crop are numbered, square or not."""
    adapter, processor = model.adapter, model.processing.image_processor
    for (visual,) in visuals(family):
        processed = model.process(visual)
        image, pictures = model.encode(processed).image, adapter.pictures(processor, processed)
        assert pictures.dtype == np.uint8
        assert len(pictures) == image.crops
        if image.visual.grid is not None:  # OneVision's last one is scaled down
            assert adapter.token_grid(processed) == image.visual.grid
        if family.startswith(NATIVE):
            own = visual if isinstance(visual, Image.Image) else visual[0]
            rows, columns = (length * 28 for length in image.visual.grid)
            assert pictures.shape[1:] == (rows, columns, 3)
            expected = np.asarray(own.resize((columns, rows), Image.Resampling.BICUBIC), dtype=float)
            assert abs(pictures[0] - expected).max() <= 1


def test_keeping_all_is_the_stock_model_bitwise(model, inputs):
    reference, tokens = scores(model, stock(model, inputs))
    logits, found = scores(model, pruned(model, inputs, NoPruning()).arguments)
    assert torch.equal(logits, reference)
    assert torch.equal(found, tokens)


def test_keeping_all_keeps_the_beams(model, inputs):
    """However often a prompt is used: beam search repeats its features in place."""
    beams = {"max_new_tokens": 3, "num_beams": 3, "do_sample": False}
    plain = model.model.generate(**stock(model, inputs), **beams)
    prompt = pruned(model, inputs, NoPruning())
    greedy = model.prefill(prompt).logits
    for _ in range(2):
        assert torch.equal(model.model.generate(**prompt.arguments, **beams), plain)
    assert torch.equal(model.prefill(prompt).logits, greedy)


@pytest.mark.parametrize(
    "make", [Script, DivPrune, Random, lambda budget: FastV(budget=budget, layer=2, budget_as="after")]
)
def test_a_batch_gives_what_its_rows_give(model, family, inputs, make):
    pruner = make(budget=5)
    together = pruned(model, inputs, pruner)
    with model.pruning_inside(together):
        logits, tokens = scores(model, together.arguments)
    for row, alone in enumerate(rows_alone(model, family)):
        images = model.encode_images(alone, pruner.reads)
        queries = model.encode_queries([QUESTIONS[row]], pruner.reads) if pruner.reads.question else None
        single = model.prune(alone, images, pruner, queries, [str(row)])
        with model.pruning_inside(single):
            own_logits, own_tokens = scores(model, single.arguments)
        torch.testing.assert_close(logits[row : row + 1], own_logits, atol=2e-4, rtol=1e-4)
        assert torch.equal(tokens[row : row + 1], own_tokens)


def test_exactly_the_budget_enters_for_every_crop(model, inputs):
    images = model.encode_images(inputs)
    prompt = pruned(model, inputs, Graph(budget=5))
    for row, (kept, image) in enumerate(zip(prompt.kept, images, strict=True)):
        assert kept.indices.numel() == 5 * image.budget_crops
        assert (kept.indices.diff(dim=1) > 0).all()
        shown = int((image.source >= 0).sum())  # without the tokens of the picture's padding
        assert prompt.before[row] == shown
        cut_off = prompt.offered[row] - shown
        assert prompt.offered[row] == kept.indices.shape[0] * image.visual.projected.shape[1] >= shown
        entering = prompt.entering[row]
        assert 5 * image.budget_crops - cut_off <= entering <= 5 * image.budget_crops
    words = (inputs["input_ids"] != model.adapter.placeholder_id) & inputs["attention_mask"].bool()
    words &= ~model.processing.ends_row(inputs["input_ids"])
    lengths = prompt.arguments["attention_mask"].sum(dim=1)
    wanted = words.sum(dim=1) + torch.tensor(prompt.entering) + torch.tensor(prompt.separators)
    assert lengths.tolist() == wanted.tolist()


def test_kept_rows_are_the_models_own_in_its_order(model, inputs):
    """An independent reading of the packed prompt: drop by identity of the feature rows."""
    images = model.encode_images(inputs)
    for pruner in (Random(budget=6), DivPrune(budget=6)):  # crops keep equally many tokens, or not
        prompt = pruned(model, inputs, pruner)
        for image, kept, rows in zip(images, prompt.kept, rows_by_image(model, prompt, images), strict=True):
            chosen = {tuple(row.tolist()) for row in kept.rows}
            every = {tuple(row.tolist()) for row in image.visual.projected.flatten(0, 1)}
            wanted = [row for row in image.packed.tolist() if tuple(row) in chosen or tuple(row) not in every]
            assert rows.tolist() == wanted


def test_text_only_rows_and_several_images(model, family, inputs):
    first, second, _ = visuals(family)
    text = model.processing.tokenizer.decode(
        model.processing.tokenizer("what is it?", add_special_tokens=False)["input_ids"]
    )
    mark = model.processing.mark
    batch = model.preprocess([[], [*first, *second]], [text, f"{mark} and {mark} what?"])
    for pruner in (NoPruning(), Graph(budget=4), FastV(budget=4, layer=2, budget_as="after")):
        prompt = pruned(model, batch, pruner)
        assert prompt.entering[0] == prompt.crops[0] == 0
        with model.pruning_inside(prompt):
            scores(model, prompt.arguments)
    reference, tokens = scores(model, stock(model, batch))
    logits, found = scores(model, pruned(model, batch, NoPruning()).arguments)
    assert torch.equal(found, tokens)
    assert torch.equal(logits, reference)


def test_preserved_positions_equal_masking_the_dropped_tokens(family, tmp_path):
    """Full length, dropped tokens hidden by the mask, positions as they were: the slow reference."""
    model = build(family, tmp_path, positions="preserved")
    images = visuals(family)[:1]
    batch = model.preprocess(images, [model.chat_prompt(QUESTIONS[0])])
    pruner = Graph(budget=6)
    prompt = pruned(model, batch, pruner)
    logits = model.prefill(prompt).logits
    image = model.encode_images(batch)[0]
    rows, _ = image.keep(prompt.kept[0], separators=True)
    mask = batch["attention_mask"].clone()
    mask[batch["input_ids"] == model.adapter.placeholder_id] = rows.long()
    full = pruned(model, batch, NoPruning()).arguments
    with torch.inference_mode():
        reference = model.model(**full | {"attention_mask": mask}, use_cache=True, logits_to_keep=1).logits
    torch.testing.assert_close(logits, reference, atol=2e-5, rtol=1e-4)


def test_newlines_can_be_dropped(family, tmp_path):
    model = build(family, tmp_path, newline="drop")
    batch = model.preprocess(visuals(family), [model.chat_prompt(question) for question in QUESTIONS])
    prompt = pruned(model, batch, Graph(budget=4))
    assert prompt.separators == [0, 0, 0]
    assert (prompt.arguments["input_ids"] == model.adapter.placeholder_id).sum(
        dim=1
    ).tolist() == prompt.entering
    scores(model, prompt.arguments)


def test_newlines_go_even_where_all_patches_stay(family, tmp_path):
    """The unpruned model keeps its separators; a pruner that happens to keep everything does not."""
    model = build(family, tmp_path, newline="drop")
    batch = model.preprocess(visuals(family), [model.chat_prompt(question) for question in QUESTIONS])
    everything = pruned(model, batch, Graph(budget=0.9999))
    assert everything.entering == everything.before
    assert everything.separators == [0, 0, 0]
    stock_separators = pruned(model, batch, NoPruning()).separators
    assert any(stock_separators) == model.adapter.has_separators


def test_trim_puts_its_token_last(model, family, inputs):
    if not model.adapter.has_projector:
        with pytest.raises(SettingError, match="aggregate=True: expected false"):
            pruned(model, inputs, Trim(budget=4))
        return
    prompt = pruned(model, inputs, Trim(budget=4))
    features = rows_by_image(model, prompt, model.encode_images(inputs))
    for kept, rows in zip(prompt.kept, features, strict=True):
        crops = kept.tokens.shape[0]
        assert torch.equal(rows[-crops:], kept.tokens[:, -1])


def test_the_context_manager_and_select_agree_with_the_stages(model, family, inputs):
    pruner = DivPrune(budget=5)
    prompt = pruned(model, inputs, pruner)
    with prune(model.model, model.processing, pruner, modality=modality(family)):
        output = model.model.generate(**stock(model, inputs), max_new_tokens=4, do_sample=False)
    _, tokens = scores(model, prompt.arguments)
    assert torch.equal(output[:, : inputs["input_ids"].shape[1]], inputs["input_ids"])
    assert torch.equal(output[:, -4:], tokens)
    chosen = select(model.model, model.processing, pruner, inputs, modality=modality(family))
    assert all(torch.equal(one, kept.indices) for one, kept in zip(chosen, prompt.kept, strict=True))
    with pytest.raises(UserError, match="FastV prunes inside the LLM"):
        select(model.model, model.processing, FastV(budget=5, layer=2), inputs, modality=modality(family))


def test_a_draw_without_names_follows_words_and_pixels(model, family, inputs):
    """In a batch as alone, with what the stock processor gives, and another one for darker pixels."""

    def drawn(given):
        return select(model.model, model.processing, Random(budget=5), given, modality=modality(family))

    alone = [one for row in rows_alone(model, family) for one in drawn(row)]
    pixels = model.adapter.inputs[0]
    darker = drawn(inputs | {pixels: inputs[pixels] / 2})
    for one, *same, other in zip(drawn(inputs), alone, drawn(stock(model, inputs)), darker, strict=True):
        assert all(torch.equal(one, equal) for equal in same)
        assert not torch.equal(one, other)


def test_too_large_a_budget(model, family, inputs):
    """An error where every image has equally many tokens; elsewhere a small image keeps them all."""
    pruner = Graph(budget=5000)
    if model.adapter.variable_size:
        prompt = pruned(model, inputs, pruner)
        assert prompt.entering == prompt.before
        return
    with pytest.raises(SettingError, match="budget=5000: expected at most"):
        pruned(model, inputs, pruner)


def test_qwen_positions_cannot_be_closed_up(tmp_path):
    with pytest.raises(SettingError, match="positions=contiguous: expected preserved"):
        build("qwen2_5_vl", tmp_path, positions="contiguous")


def test_videos_are_lists_of_frames(tmp_path):
    model = build("llava_next_video", tmp_path)
    prompt = model.chat_prompt("what?")
    with pytest.raises(UserError, match="expected a list of frames"):
        model.preprocess([[picture(50, 50)]], [prompt])
    with pytest.raises(UserError, match=r"have \[1, 2\] frames"):
        model.preprocess([[[picture(50, 50)]], [[picture(50, 50)] * 2]], [prompt] * 2)


def test_an_image_encoded_alone_is_the_same_in_any_prompt(model, family):
    """What the evaluation does: pixels and towers image by image, words batch by batch."""
    rows = visuals(family)
    prompts = [model.chat_prompt(question) for question in QUESTIONS]
    features = [model.encode(model.process(visual), Reads(joint=True)) for (visual,) in rows]
    for one, row, prompt in zip(features, rows, prompts, strict=True):
        inputs = model.preprocess([row], [prompt])
        (image,) = model.encode_images(inputs, Reads(joint=True))
        words = model.words([one], [prompt])
        assert torch.equal(one.image.packed, image.packed)
        assert torch.equal(one.image.visual.joint, image.visual.joint)
        assert all(torch.equal(tensor, inputs[name]) for name, tensor in words.items())
    together, words = model.preprocess(rows, prompts), model.words(features, prompts)
    assert all(torch.equal(tensor, together[name]) for name, tensor in words.items())
    assert set(together) - set(words) <= {*model.adapter.inputs, *model.adapter.on_host}
    positions = model.adapter.position_ids(together)
    if positions is not None:
        assert torch.equal(positions, model.adapter.position_ids(words))


def test_qwen_takes_frames_in_pairs(tmp_path):
    """A pair's patches have channels, then time, then rows: half of each is what a single image has there."""
    model = build("qwen2_5_vl_video", tmp_path)
    frames = [picture(336, 364, seed) for seed in range(3)]
    inputs = model.adapter.process(model.processing.image_processor, [[Frames(frames, rate=0.5)], [frames]])
    alone = [
        model.processing.image_processor([frame], return_tensors="pt")["pixel_values"].view(-1, 3, 2, 14, 14)
        for frame in frames
    ]
    patches = 24 * 26
    assert inputs["video_grid_thw"].tolist() == [[2, 24, 26], [2, 24, 26]]
    assert inputs["second_per_grid_ts"].tolist() == [4.0, 1.0]  # two frames a step; unknown: two a second
    video = inputs["pixel_values_videos"].view(2, 2, patches, 3, 2, 14, 14)
    assert torch.equal(video[0], video[1])
    for step, pair in enumerate([(0, 1), (2, 2)]):  # the last frame fills up the last pair
        for half, frame in enumerate(pair):
            assert torch.equal(video[0, step, :, :, half], alone[frame][:, :, half])
    with pytest.raises(UserError, match="the frames of a video differ in size"):
        model.adapter.process(model.processing.image_processor, [[[picture(336, 364), picture(364, 336)]]])


def test_the_adapter_is_chosen_by_what_is_asked_about():
    for family, video in [("llava_onevision", True), ("qwen2_5_vl", True), ("llava", False)]:
        adapter = ADAPTERS[family]
        assert adapter.taking("image") is adapter
        assert adapter.modality == "image"
        assert (adapter.taking("video").modality == "video") == video
    assert ADAPTERS["llava_next_video"].taking("video") is ADAPTERS["llava_next_video"]


def test_a_family_that_is_not_supported(tmp_path):
    """One sentence, from the config alone and for a model in memory."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gemma3n"}))
    with pytest.raises(UserError, match=r"architecture 'gemma3n' .the nearest by name is gemma3."):
        find_checkpoint(Wanted(str(tmp_path), weights="random"), needs_query=False)
    for unknown, near in (("bert", ""), ("gemma3n", r" \(the nearest by name is gemma3\)")):
        with pytest.raises(UserError, match=f"model of type '{unknown}'{near}; expected one of llava, "):
            adapter_of(SimpleNamespace(config=SimpleNamespace(model_type=unknown)))


def test_settings_of_frames_are_where_transformers_looks(tmp_path):
    """processor_config.json, then video_preprocessor_config.json, then the images' own."""
    load = ADAPTERS["llava_onevision"].taking("video").load_image_processor
    files = {
        "preprocessor_config.json": {"image_mean": [0.1] * 3, "size": {"height": 28, "width": 28}},
        "video_preprocessor_config.json": {"image_mean": [0.2] * 3, "size": {"height": 28, "width": 28}},
        "processor_config.json": {"video_processor": {"image_mean": [0.3] * 3, "num_frames": 8}},
    }
    for mean, (name, settings) in zip((0.1, 0.2, 0.3), files.items(), strict=True):
        (tmp_path / name).write_text(json.dumps(settings))
        processor = load(tmp_path)
        assert list(processor.image_mean) == [mean] * 3
        assert (processor.size.height, processor.size.width) == (
            28,
            28,
        )  # of the images
