"""What the commands hand to Hydra, against what ``hydra.main`` does with the same words."""

from __future__ import annotations

import sys

import hydra
import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from script_exp.config.command_line import CONF, check_arguments
from script_exp.config.launch import run_composed


def test_a_checked_config_is_the_one_that_hydra_main_composes(monkeypatch, capsys):
    words = [
        "limit=4",
        "pruner=trim",
        "budget=0.5",
        "+pruner.more=[1,2]",
        "outputs='a b'",
        "experiment=smoke",
    ]
    seen = []

    def task(config):
        mine = OmegaConf.to_container(HydraConfig.get(), resolve=True)
        changed = ("choices", "output_dir", "version_base", "cwd", "config_sources")
        seen.append((
            OmegaConf.to_container(config, resolve=True), {key: mine["runtime"][key] for key in changed},
            mine["mode"], mine["job"]["name"], mine["sweeper"], mine["job_logging"],
            config._get_flag("struct"),
        ))  # fmt: skip
        raise RuntimeError("out of luck")

    monkeypatch.setattr(sys, "argv", ["run.py", *words])
    main = hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")(task)
    said = []
    for run in (lambda: run_composed(task, check_arguments(words)), main):
        with pytest.raises(SystemExit) as left:
            run()
        assert left.value.code == 1
        said.append(capsys.readouterr().err)
    ours, theirs = seen
    assert ours[:3] + ours[4:] == theirs[:3] + theirs[4:]
    assert ours[3] == "run"
    for text in said:  # the same traceback; the words are listed in another order
        assert text.startswith("Error executing job with overrides: [")
        assert text.endswith("HYDRA_FULL_ERROR=1 for a complete stack trace.\n")
        assert "RuntimeError: out of luck" in text
    assert check_arguments([*words, "hydra.verbose=true"]) is None
    assert check_arguments([*words, "--cfg", "job"]) is None
    assert check_arguments([*words, "seed=1,2"]) is None
